"""Equal content once: what a file that came is made from, what is recorded of it, and what is on disk.

The files are real. No file system here shares blocks, so that is played at the system call alone: `FICLONE`
copies, or is refused.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from floradl.download.commit import WantedOutput
from floradl.errors import DestinationError
from floradl.repository.entries import OutputOp
from floradl.repository.results import Failure, Receipt, op_of
from floradl.storage.destination import Destination
from floradl.storage.local import fsync
from tests.download.test_transfer import BIG, FOLDER, PNG, Bench, Host, Reply, bench, cut, etag, rest

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

OTHER = PurePosixPath("ws_a/prj_b/run_other/output_9.png")
OTHER_S = 1_600_000_000
DONE_S = 1_700_000_000

needs_links = pytest.mark.skipif(os.name == "nt", reason="counts the names of a file")


def put_other(bench: Bench, data: bytes, *, holds: bytes | None = None) -> Path:
    """A file that is archived, known as `data`; what is in it may be something else by now."""
    bench.disk.write_atomic(OTHER, [data if holds is None else holds], mtime_ms=OTHER_S * 1000)
    bench.context.content_index.put(hashlib.sha256(data).hexdigest(), OTHER)
    return bench.disk.root / OTHER


def sharing(bench: Bench, **changes: object) -> WantedOutput:
    """An output that need not be a copy of its own."""
    return replace(bench.wanted(), shares=True, **changes)  # type: ignore[arg-type]  # names are checked by `replace`


async def fetched(bench: Bench, data: bytes, wanted: WantedOutput | None = None) -> Receipt:
    """The receipt of an output with these bytes."""
    receipt = await bench.fetch(Host([Reply(200, data, etag())], bench.time), wanted or sharing(bench))
    assert isinstance(receipt, Receipt)
    assert (receipt.size_bytes, receipt.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (bench.files, bench.leftovers) == ({"output_1.png": data}, [])
    return receipt


def shared(receipt: Receipt) -> tuple[str | None, str | None]:
    """What the manifest will say of where the bytes are from."""
    op = op_of(receipt, "2026-11-24T02:30:12Z")
    assert isinstance(op, OutputOp)
    return op.entry.same_as, op.entry.shared_by


def own_file(bench: Bench) -> Path:
    """Where the output is."""
    return bench.disk.root / FOLDER / "output_1.png"


def play_reflinks(patch: pytest.MonkeyPatch, *, code: int = 0) -> None:
    """Let the system share blocks, by copying; or refuse it."""

    def ioctl(descriptor: int, request: int, source: int) -> None:
        assert request == 0x40049409
        if code:
            raise OSError(code, os.strerror(code))
        while block := os.read(source, 1 << 20):
            os.write(descriptor, block)

    patch.setattr(fsync, "_fcntl", SimpleNamespace(ioctl=ioctl))
    patch.setattr(sys, "platform", "linux")


@needs_links
@pytest.mark.parametrize("data", [PNG, BIG], ids=["in memory", "from a partial"])
async def test_a_hard_link_where_blocks_cannot_be_shared(bench: Bench, data: bytes) -> None:
    """Both names are of one file, whose date stays what it was, and nothing else is left."""
    other = put_other(bench, data)
    receipt = await fetched(bench, data)
    assert shared(receipt) == (str(OTHER), "hard_link")
    assert own_file(bench).samefile(other)
    assert (other.stat().st_nlink, other.stat().st_mtime) == (2, OTHER_S)


@pytest.mark.parametrize("data", [PNG, BIG], ids=["in memory", "from a partial"])
async def test_shared_blocks_where_that_is_possible(
    bench: Bench, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files, each with its own date."""
    other = put_other(bench, data)
    play_reflinks(monkeypatch)
    assert shared(await fetched(bench, data)) == (str(OTHER), "reflink")
    assert not own_file(bench).samefile(other)
    assert (own_file(bench).stat().st_mtime, other.stat().st_mtime) == (DONE_S, OTHER_S)


@needs_links
@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSPC])
async def test_a_system_that_refuses_to_share_blocks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whatever it says, a hard link is next, and no half-made file is left."""
    put_other(bench, PNG)
    play_reflinks(monkeypatch, code=code)
    assert shared(await fetched(bench, PNG)) == (str(OTHER), "hard_link")


@pytest.mark.parametrize("data", [PNG, BIG], ids=["in memory", "from a partial"])
@pytest.mark.parametrize("code", [errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EACCES])
async def test_the_fetched_copy_where_nothing_can_be_shared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, data: bytes, code: int
) -> None:
    """It is a file of its own, with its own date, and the one that the next equal output is made from."""
    other = put_other(bench, data)

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert shared(await fetched(bench, data)) == (None, None)
    assert (other.stat().st_nlink, own_file(bench).stat().st_mtime) == (1, DONE_S)
    again = await bench.fetch(
        Host([Reply(200, data, etag())], bench.time), sharing(bench, key="output_2", mtime_ms=None)
    )
    assert isinstance(again, Receipt)
    assert again.same_as == f"{FOLDER}/output_1.png"


async def test_the_real_limit_of_links(bench: Bench) -> None:
    """A file that has as many names as the file system allows gets no further one, and no error."""
    if not sys.platform.startswith("linux"):
        pytest.skip("how many names a file has is asked of Linux")
    other = put_other(bench, PNG)
    limit = os.pathconf(other, "PC_LINK_MAX")
    if limit > 70_000:
        pytest.skip("this file system allows more than anybody would make")
    names = other.parent / "names"
    names.mkdir()
    for number in range(limit - 1):
        os.link(other, names / str(number))
    assert shared(await fetched(bench, PNG)) == (None, None)


def remove(path: Path) -> None:
    """It is gone."""
    path.unlink()


def damage(path: Path) -> None:
    """One bit is another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    """It lacks its end."""
    os.truncate(path, 100)


def turn_into_a_link(path: Path) -> None:
    """Somebody put a link to a file with the same bytes in its place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def turn_into_a_folder(path: Path) -> None:
    """Or a folder."""
    path.unlink()
    path.mkdir()


def state_of(path: Path) -> tuple[int, int, int, int] | None:
    """What stands there: its kind, names, size and date; None for nothing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns


@pytest.mark.parametrize("can_reflink", [False, True], ids=["links", "reflinks"])
@pytest.mark.parametrize("happens", [remove, damage, cut_short, turn_into_a_link, turn_into_a_folder])
@pytest.mark.parametrize("data", [PNG, BIG], ids=["in memory", "from a partial"])
async def test_damage_never_spreads(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    happens: Callable[[Path], None],
    data: bytes,
    can_reflink: bool,
) -> None:
    """Of a file that is not any more what was recorded, nothing is made, and it is left as it is."""
    if can_reflink:
        play_reflinks(monkeypatch)
    other = put_other(bench, data)
    happens(other)
    before = state_of(other)
    assert shared(await fetched(bench, data)) == (None, None)
    assert state_of(other) == before
    assert bench.context.content_index.get(hashlib.sha256(data).hexdigest()) == FOLDER / "output_1.png"
    is_told = f"{OTHER} is damaged, and nothing is made from it" in caplog.text
    assert is_told == (happens in (damage, cut_short))


async def test_who_does_not_share_is_a_copy(bench: Bench) -> None:
    """Without being told that it may, an output is a file of its own, and nobody is made from it."""
    other = put_other(bench, PNG)
    assert shared(await fetched(bench, PNG, bench.wanted())) == (None, None)
    assert other.stat().st_nlink == 1
    assert bench.context.content_index.get(hashlib.sha256(PNG).hexdigest()) == OTHER


async def test_the_first_of_its_content_is_a_copy(bench: Bench) -> None:
    """It is what the next one is made from."""
    assert shared(await fetched(bench, PNG)) == (None, None)
    assert bench.context.content_index.get(hashlib.sha256(PNG).hexdigest()) == FOLDER / "output_1.png"


async def test_equal_outputs_at_the_same_time(bench: Bench) -> None:
    """However many come at once, one is a copy and the others are made from it."""
    keys = [f"output_{number}" for number in range(6)]
    receipts = await asyncio.gather(
        *(bench.fetch(Host([Reply(200, BIG, etag())], bench.time), sharing(bench, key=key)) for key in keys)
    )
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    made_from = {receipt.same_as for receipt in receipts if isinstance(receipt, Receipt)}
    (original,) = made_from - {None}
    assert [r.file for r in receipts if isinstance(r, Receipt) and r.same_as is None] == [
        Path(original or "").name
    ]
    assert set(bench.files.values()) == {BIG}
    assert bench.leftovers == []


async def test_a_resumed_output_is_shared_too(bench: Bench) -> None:
    """What counts is what is in it, not how it came."""
    put_other(bench, PNG)
    receipt = await bench.fetch(Host([cut(), rest()], bench.time), sharing(bench))
    assert isinstance(receipt, Receipt)
    assert receipt.same_as == str(OTHER)
    assert bench.leftovers == []


async def test_its_own_place_is_nothing_to_share_with(bench: Bench) -> None:
    """A file that is fetched anew is not made from what stands in its place, nor from what it replaces."""
    for there in (FOLDER / "output_1.png", FOLDER / "output_1.jpg"):
        bench.disk.write_atomic(there, [PNG])
        bench.context.content_index.put(hashlib.sha256(PNG).hexdigest(), there)
        receipt = await fetched(bench, PNG, sharing(bench, replaces=there.name))
        assert (receipt.same_as, receipt.aside is None) == (None, False)


async def test_what_is_in_the_way_is_kept_where_a_file_is_shared(bench: Bench) -> None:
    """A damaged file, and one of somebody's, are set aside before the shared one takes the place."""
    put_other(bench, PNG)
    (bench.disk.ensure_dir(FOLDER) / "output_1.jpg").write_bytes(b"damaged")
    (bench.disk.root / FOLDER / "output_1.png").write_bytes(b"somebody's")
    receipt = await fetched(bench, PNG, sharing(bench, replaces="output_1.jpg"))
    assert receipt.same_as == str(OTHER)
    assert receipt.aside is not None
    assert receipt.in_the_way is not None
    assert (bench.disk.read(receipt.aside), bench.disk.read(receipt.in_the_way)) == (
        b"damaged",
        b"somebody's",
    )


@needs_links
async def test_the_same_file_under_its_name_already(bench: Bench) -> None:
    """A name that was given and not recorded is given again, and no temporary name is left beside it."""
    other = put_other(bench, PNG)
    bench.disk.ensure_dir(FOLDER)
    os.link(other, own_file(bench))
    assert shared(await fetched(bench, PNG)) == (str(OTHER), "hard_link")
    assert (other.stat().st_nlink, own_file(bench).samefile(other)) == (2, True)


@needs_links
async def test_a_shared_file_is_replaced_and_never_written_to(bench: Bench) -> None:
    """Whatever replaces one of two names, the other keeps its bytes."""
    other = put_other(bench, PNG)
    await fetched(bench, PNG)
    await fetched(bench, BIG, replace(bench.wanted(), replaces="output_1.png"))
    assert (other.read_bytes(), own_file(bench).read_bytes()) == (PNG, BIG)


@pytest.mark.parametrize("data", [PNG, BIG], ids=["in memory", "from a partial"])
async def test_a_disk_that_fails_is_no_reason_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """Once the bytes are shared, what fails is what any file needs: it is raised, and no name is given."""
    put_other(bench, data)
    real = os.replace

    def fail(path: Path, target: Path | str, **kwargs: int) -> None:
        if Path(target).name == own_file(bench).name:  # in the folder that is held
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(path, target, **kwargs)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DestinationError, match="Input/output error"):
        await bench.fetch(Host([Reply(200, data, etag())], bench.time), sharing(bench))
    assert not own_file(bench).exists()
    assert not [name for name in bench.leftovers if not name.endswith((".part", ".json"))]


@needs_links
async def test_with_flushes(bench: Bench) -> None:
    """With flushes it is the same; tests/crash/test_steps.py has their order."""
    disk = Destination(bench.disk.root, fsync=True, threads=2)
    try:
        flushed = bench.with_context(disk=disk)
        put_other(flushed, BIG)
        assert (await fetched(flushed, BIG)).same_as == str(OTHER)
    finally:
        disk.close()


async def test_what_is_refused_is_not_shared(bench: Bench) -> None:
    """A body of another size than announced fails although the archive has the very same bytes."""
    put_other(bench, PNG)
    bench.fresh_urls.append(None)
    failure = await bench.with_context(retries=0).fetch(
        Host([Reply(200, PNG, etag())], bench.time), sharing(bench, size_bytes=len(PNG) + 1)
    )
    assert isinstance(failure, Failure)
    assert bench.files == {}

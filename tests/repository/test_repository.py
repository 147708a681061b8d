"""An archive on disk: opened, appended to, folded and closed, and every place where it can be cut off."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from floradl.errors import DestinationError, ManifestError
from floradl.repository import layout
from floradl.repository.entries import (
    JournalHeader,
    Op,
    RunOp,
    VanishedOp,
)
from floradl.repository.journal import encode_lines, parse_journal
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository, load_manifest, require_archive
from floradl.storage import base
from floradl.storage.destination import Destination
from floradl.storage.local.fsync import Flusher
from tests.repository.manifest_support import (
    BASE_URL,
    CLOCK,
    FAILED,
    SUM,
    facts,
    fed,
    recorded,
    scan_op,
    snapshot,
    told,
)
from tests.storage.disk_support import needs_fsync, record_disk_events


@pytest.mark.anyio
async def test_an_older_journal_is_gone_on_with_as_one_of_this_version(tmp_path: Path) -> None:
    """An older floradl understands none of what comes, so the journal says so before anything comes."""
    async with opened_dirs(tmp_path):
        lines = encode_lines([JournalHeader(1, "9f0c", "then"), *recorded("run_1")])
        (tmp_path / ".floradl" / "journal").write_bytes(lines)
    disk = Destination(tmp_path)
    repository = Repository(disk, CLOCK)
    await repository.open()
    await repository.append(recorded("run_2"))
    await repository.close()
    disk.close()
    journal = parse_journal((tmp_path / ".floradl" / "journal").read_bytes())
    assert journal.header == JournalHeader(2, "9f0c", "then")
    assert [op.run_id for op in journal.ops if isinstance(op, RunOp)] == ["run_1", "run_2"]


@asynccontextmanager
async def opened(root: Path, *ops: Op) -> AsyncIterator[Repository]:
    """An open store after these changes; leaving it is what a kill leaves: everything but the fold."""
    disk = Destination(root)
    repository = Repository(disk, CLOCK)
    try:
        await disk.call(disk.prepare)
        await repository.open()
        await repository.append(ops)
        yield repository
    finally:
        await repository.close()
        disk.close()


async def archive(root: Path, *ops: Op) -> None:
    """A whole session with these changes."""
    async with opened(root, *ops) as repository:
        await repository.fold(BASE_URL)


def loaded(root: Path) -> Manifest:
    """The archive's state as a command that only looks sees it."""
    disk = Destination(root)
    try:
        return load_manifest(disk, CLOCK)
    finally:
        disk.close()


def state_of(manifest: Manifest) -> Any:
    """What a manifest says of runs and scans."""
    return {name: told(manifest)[name] for name in ("archive_id", "created_at", "runs", "scans")}


def files(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and its inode, which tells a rewritten file from an untouched one."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_ino)
        for path in root.rglob("*")
        if path.is_file()
    }


def journal_of(root: Path) -> Path:
    """Where the journal stands."""
    return root / layout.JOURNAL


@needs_fsync
@pytest.mark.anyio
async def test_what_is_left_of_a_journal_is_flushed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of which a flush failed may be in the cache alone, and none is written behind such a line."""
    async with opened(tmp_path, *recorded()):
        pass
    events = record_disk_events(monkeypatch)
    read = Destination.read

    def noted_read(disk: Destination, path: PurePosixPath) -> bytes | None:
        events.append(f"read {path.name}")
        return read(disk, path)

    monkeypatch.setattr(Destination, "read", noted_read)
    async with opened(tmp_path):
        size_bytes = journal_of(tmp_path).stat().st_size
    start = events.index(f"fsync {size_bytes} bytes")
    assert events[start + 1 : start + 4] == ["drop 0 0", "fsync .floradl", "read journal"]


@pytest.mark.anyio
async def test_a_session(tmp_path: Path) -> None:
    """A session leaves a manifest and checksums, and no journal."""
    await archive(tmp_path, *recorded(), scan_op())
    assert set(files(tmp_path)) == {"manifest.json", "SHA256SUMS"}
    stored = json.loads((tmp_path / "manifest.json").read_bytes())
    assert stored["updated_at"] == "2026-11-24T02:30:12Z"
    assert stored["created_at"] == "2026-11-24T02:30:12Z"
    assert stored["base_url"] == BASE_URL
    assert len(stored["archive_id"]) == 32
    assert (tmp_path / "SHA256SUMS").read_bytes() == f"{SUM}  ws_a/prj_b/run_1/output_1.png\n".encode()


@pytest.mark.anyio
async def test_the_archive_keeps_its_name(tmp_path: Path) -> None:
    """Id and date of birth are given once, also when the first session was killed."""
    async with opened(tmp_path, *recorded()) as repository:
        born = repository.manifest.archive_id, repository.manifest.created_at
    await archive(tmp_path, *recorded("run_2"))
    async with opened(tmp_path) as repository:
        assert (repository.manifest.archive_id, repository.manifest.created_at) == born
        assert len(repository.manifest) == 2


@pytest.mark.anyio
async def test_a_kill_costs_nothing_that_was_recorded(tmp_path: Path) -> None:
    """Everything appended is found again after a kill, by those who only look and by the next session."""
    await archive(tmp_path, *recorded())
    before = files(tmp_path)
    async with opened(tmp_path, *recorded("run_2"), scan_op(record=b'{\n"a": "\\n"\n}')) as repository:
        expected = state_of(repository.manifest)
    assert {name: files(tmp_path)[name] for name in before} == before
    assert state_of(loaded(tmp_path)) == expected
    async with opened(tmp_path, *recorded("run_3")):
        pass
    await archive(tmp_path)
    assert set(told(loaded(tmp_path))["runs"]) == {"run_1", "run_2", "run_3"}
    assert told(loaded(tmp_path))["scans"] == expected["scans"]
    assert (tmp_path / "SHA256SUMS").read_text().count("\n") == 3


@pytest.mark.anyio
@pytest.mark.parametrize("cut", ["header", "first", "second", "last byte"])
async def test_a_torn_tail_is_cut_off_and_written_on(tmp_path: Path, cut: str) -> None:
    """A session after a power cut goes on behind the last whole line, and both are replayed later."""
    async with opened(tmp_path):
        header_bytes = journal_of(tmp_path).stat().st_size
    async with opened(tmp_path, *recorded("run_1")):
        first_bytes = journal_of(tmp_path).stat().st_size
    async with opened(tmp_path, *recorded("run_2")):
        pass
    data = journal_of(tmp_path).read_bytes()
    at, left = {
        "header": (header_bytes - 1, set[str]()),
        "first": (first_bytes - 1, {"run_1"}),
        "second": (first_bytes + 3, {"run_1"}),
        "last byte": (len(data) - 1, {"run_1", "run_2"}),
    }[cut]
    journal_of(tmp_path).write_bytes(data[:at])
    async with opened(tmp_path, *recorded("run_3")) as repository:
        assert set(told(repository.manifest)["runs"]) == left | {"run_3"}
    assert set(told(loaded(tmp_path))["runs"]) == left | {"run_3"}
    await archive(tmp_path)
    assert set(json.loads((tmp_path / "manifest.json").read_bytes())["runs"]) == left | {"run_3"}


@pytest.mark.anyio
async def test_looking_changes_nothing(tmp_path: Path) -> None:
    """A command that only looks leaves the journal as it is, torn tail and all."""
    async with opened(tmp_path, *recorded()):
        pass
    journal_of(tmp_path).write_bytes(journal_of(tmp_path).read_bytes() + b"torn")
    before = files(tmp_path)
    assert "run_1" in loaded(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.anyio
async def test_cut_between_snapshot_and_journal(tmp_path: Path) -> None:
    """A journal that was folded already and not removed changes nothing."""
    async with opened(tmp_path, *recorded(), VanishedOp("run_1", "today"), scan_op()) as repository:
        journal = journal_of(tmp_path).read_bytes()
        await repository.fold(BASE_URL)
    expected = state_of(loaded(tmp_path))
    journal_of(tmp_path).write_bytes(journal)
    assert state_of(loaded(tmp_path)) == expected
    await archive(tmp_path)
    assert state_of(loaded(tmp_path)) == expected
    assert not journal_of(tmp_path).exists()


@pytest.mark.anyio
async def test_a_fold_that_fails_keeps_the_journal(tmp_path: Path) -> None:
    """When the snapshot cannot be written, the old one and the whole journal are still there."""
    await archive(tmp_path, *recorded())
    async with opened(tmp_path, *recorded("run_2")) as repository:
        shutil.rmtree(tmp_path / base.TEMPORARY)
        with pytest.raises(DestinationError):
            await repository.fold(BASE_URL)
    assert set(json.loads((tmp_path / "manifest.json").read_bytes())["runs"]) == {"run_1"}
    assert set(told(loaded(tmp_path))["runs"]) == {"run_1", "run_2"}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["SHA256SUMS", "manifest.json"])
async def test_a_fold_that_fails_at_either_file_keeps_the_journal(tmp_path: Path, name: str) -> None:
    """Whichever of the two files cannot be had, everything recorded is still found."""
    async with opened(tmp_path, *recorded()) as repository:
        (tmp_path / name).mkdir()
        with pytest.raises(DestinationError):
            await repository.fold(BASE_URL)
    (tmp_path / name).rmdir()
    assert set(told(loaded(tmp_path))["runs"]) == {"run_1"}


@pytest.mark.anyio
async def test_the_journal_of_another_archive(tmp_path: Path) -> None:
    """A journal that belongs to another manifest is refused and left for its owner."""
    await archive(tmp_path, *recorded())
    stranger = encode_lines([JournalHeader(1, "other", "then"), *recorded("run_2")])
    journal_of(tmp_path).write_bytes(stranger)
    before = files(tmp_path)
    with pytest.raises(ManifestError, match="another archive") as caught:
        async with opened(tmp_path):
            pass
    assert "verify --repair" in caught.value.hint
    with pytest.raises(ManifestError, match="another archive"):
        loaded(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", snapshot(version=3), snapshot(format="other")], ids=repr
)
async def test_an_unreadable_manifest_is_left_alone(tmp_path: Path, data: bytes) -> None:
    """Neither opening nor looking replaces a manifest that cannot be read, and nothing else changes."""
    (tmp_path / "manifest.json").write_bytes(data)
    async with opened_dirs(tmp_path):
        before = files(tmp_path)
    for attempt in (lambda: archive(tmp_path), lambda: asyncio.to_thread(loaded, tmp_path)):
        with pytest.raises(ManifestError) as caught:
            await attempt()
        assert caught.value.hint
    assert files(tmp_path) == before


@asynccontextmanager
async def opened_dirs(root: Path) -> AsyncIterator[None]:
    """DEST with its private folder."""
    disk = Destination(root)
    await disk.call(disk.prepare)
    disk.close()
    yield


@pytest.mark.anyio
@pytest.mark.parametrize("was_killed", [False, True])
async def test_nothing_new_writes_nothing(tmp_path: Path, was_killed: bool) -> None:
    """A session without a change leaves every byte and file as it was, also after one that was killed."""
    await archive(tmp_path, *recorded())
    before = files(tmp_path)
    if was_killed:
        async with opened(tmp_path):
            pass
    await archive(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.anyio
async def test_folding_again_changes_nothing(tmp_path: Path) -> None:
    """A second fold of the same session leaves the archive as the first did."""
    async with opened(tmp_path, *recorded()) as repository:
        await repository.fold(BASE_URL)
        expected = state_of(loaded(tmp_path))
        await repository.fold(BASE_URL)
    assert state_of(loaded(tmp_path)) == expected


@pytest.mark.anyio
async def test_checksums_are_rewritten_only_for_files(tmp_path: Path) -> None:
    """A night that only moves a seal leaves `SHA256SUMS` alone."""
    await archive(tmp_path, *recorded())
    before = files(tmp_path)
    await archive(tmp_path, scan_op(), *recorded("run_2", entry=FAILED))
    assert files(tmp_path)["SHA256SUMS"] == before["SHA256SUMS"]
    assert files(tmp_path)["manifest.json"] != before["manifest.json"]


@pytest.mark.anyio
async def test_checksums_that_were_removed_come_back(tmp_path: Path) -> None:
    """A night that only moves a seal writes `SHA256SUMS` again where it is missing."""
    await archive(tmp_path, *recorded())
    (tmp_path / "SHA256SUMS").unlink()
    await archive(tmp_path, scan_op())
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SUM}  ws_a/prj_b/run_1/output_1.png\n"


@pytest.mark.anyio
async def test_checksums_forget_a_file_that_is_lost(tmp_path: Path) -> None:
    """An output that was archived and has failed since is in `SHA256SUMS` no more."""
    await archive(tmp_path, *recorded(), *recorded("run_2"))
    await archive(tmp_path, *recorded(entry=FAILED))
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SUM}  ws_a/prj_b/run_2/output_1.png\n"


class _HeldFlusher(Flusher):
    """Flushes when told to."""

    def __init__(self) -> None:
        super().__init__(is_on=True)
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def file(self, descriptor: int) -> None:
        self.begun.set()
        assert self.may_end.wait(30)
        super().file(descriptor)


@pytest.mark.anyio
async def test_cancelled_while_recording(tmp_path: Path) -> None:
    """A change that became durable while its caller was cancelled is in the snapshot, too."""
    disk = Destination(tmp_path)
    disk.flusher = flusher = _HeldFlusher()
    await disk.call(disk.prepare)
    repository = Repository(disk, CLOCK)
    await repository.open()
    flusher.begun.clear()
    flusher.may_end.clear()
    recording = asyncio.create_task(repository.append(recorded()))
    await asyncio.to_thread(flusher.begun.wait)
    recording.cancel()
    flusher.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert "run_1" in repository.manifest
    await repository.fold(BASE_URL)
    disk.close()
    assert "run_1" in loaded(tmp_path)


@pytest.mark.anyio
async def test_a_change_that_could_not_be_recorded(tmp_path: Path) -> None:
    """What the disk refused is not in the manifest, neither now nor later."""
    async with opened(tmp_path, *recorded()) as repository:
        repository._disk.flusher.file = _refuse  # type: ignore[method-assign]  # a broken disk
        with pytest.raises(DestinationError):
            await repository.append(recorded("run_2"))
        assert "run_2" not in repository.manifest


def _refuse(descriptor: int) -> None:
    raise OSError(28, f"no space left for {descriptor}")


@pytest.mark.anyio
async def test_a_closed_store_records_nothing(tmp_path: Path) -> None:
    """Appending before `open`, after `fold` or after `close` is a mistake that shows at once."""
    ops: Iterable[Op] = recorded()
    async with opened(tmp_path) as repository:
        await repository.fold(BASE_URL)
        with pytest.raises(RuntimeError, match="not open"):
            await repository.append(ops)
    await repository.close()
    with pytest.raises(RuntimeError, match="not open"):
        await Repository(Destination(tmp_path), CLOCK).append(ops)


@pytest.fixture
def _as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any `manifest.json` is a large one."""
    monkeypatch.setattr("floradl.repository.repository.LARGE_MANIFEST_BYTES", 0)


large = pytest.mark.usefixtures("_as_if_large")


@large
@pytest.mark.anyio
async def test_a_date_alone_waits_in_the_journal(tmp_path: Path) -> None:
    """Night after night a large manifest is left as it is; what it says with the journal is the news."""
    await archive(tmp_path, *recorded(), scan_op(5))
    before = files(tmp_path)
    for sealed_before in (6, 7, 8):
        await archive(tmp_path, scan_op(sealed_before))
        assert {name: files(tmp_path)[name] for name in before} == before
        assert told(loaded(tmp_path))["scans"][0]["sealed_before"] == sealed_before
    await archive(tmp_path)
    assert told(loaded(tmp_path))["scans"][0]["sealed_before"] == 8
    assert {name: files(tmp_path)[name] for name in before} == before


@large
@pytest.mark.anyio
@pytest.mark.parametrize(
    "op", [*recorded(), *recorded("run_2", entry=FAILED), VanishedOp("run_1", "today")], ids=repr
)
async def test_any_other_change_ends_the_wait(tmp_path: Path, op: Op) -> None:
    """With the first change of a run or an output all is folded, and the journal is gone."""
    await archive(tmp_path, *recorded(), RunOp("run_2", facts("run_2")), scan_op(5))
    await archive(tmp_path, scan_op(6))
    expected = fed(*recorded(), RunOp("run_2", facts("run_2")), scan_op(6), op)
    await archive(tmp_path, op)
    assert not journal_of(tmp_path).exists()
    stored = json.loads((tmp_path / "manifest.json").read_bytes())
    assert stored["runs"] == told(expected)["runs"]
    assert stored["scans"] == told(expected)["scans"]


@large
@pytest.mark.anyio
async def test_what_a_killed_session_recorded_is_folded(tmp_path: Path) -> None:
    """A journal with an output in it does not wait, whoever left it and whatever came after."""
    await archive(tmp_path, *recorded())
    async with opened(tmp_path, *recorded("run_2"), scan_op(6)):
        pass
    await archive(tmp_path, scan_op(7))
    assert not journal_of(tmp_path).exists()
    assert set(json.loads((tmp_path / "manifest.json").read_bytes())["runs"]) == {"run_1", "run_2"}


@large
@pytest.mark.anyio
async def test_a_journal_that_has_grown_long_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits while it is short: what every start has to replay does not grow for ever."""
    await archive(tmp_path, *recorded(), scan_op(5))
    await archive(tmp_path, scan_op(6))
    night_bytes = journal_of(tmp_path).stat().st_size
    monkeypatch.setattr("floradl.repository.repository.LONG_JOURNAL_BYTES", 3 * night_bytes)
    has_journal = []
    for _ in range(6):
        await archive(tmp_path, scan_op(6))
        has_journal.append(journal_of(tmp_path).exists())
    assert has_journal[0]
    assert not all(has_journal)
    assert json.loads((tmp_path / "manifest.json").read_bytes())["scans"][0]["sealed_before"] == 6


@large
@pytest.mark.anyio
async def test_another_api_is_written_at_once(tmp_path: Path) -> None:
    """What `manifest.json` says of where the archive came from is true after each session."""
    await archive(tmp_path, *recorded(), scan_op(5))
    async with opened(tmp_path, scan_op(6)) as repository:
        await repository.fold("https://other.test/api/v1")
    assert json.loads((tmp_path / "manifest.json").read_bytes())["base_url"] == "https://other.test/api/v1"
    assert not journal_of(tmp_path).exists()


@large
@pytest.mark.anyio
async def test_removed_checksums_come_back_in_a_large_archive(tmp_path: Path) -> None:
    """A date does not wait where `SHA256SUMS` is missing."""
    await archive(tmp_path, *recorded(), scan_op(5))
    (tmp_path / "SHA256SUMS").unlink()
    await archive(tmp_path, scan_op(6))
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SUM}  ws_a/prj_b/run_1/output_1.png\n"


@large
@pytest.mark.anyio
async def test_a_fold_on_demand_does_not_wait(tmp_path: Path) -> None:
    """Who wants both files written has them written."""
    await archive(tmp_path, *recorded(), scan_op(5))
    async with opened(tmp_path, scan_op(6)) as repository:
        await repository.fold(BASE_URL, anew=True)
    assert json.loads((tmp_path / "manifest.json").read_bytes())["scans"][0]["sealed_before"] == 6
    assert not journal_of(tmp_path).exists()


@large
@pytest.mark.anyio
@pytest.mark.parametrize("backup", ["older", "none"])
async def test_a_seal_holds_for_the_manifest_it_was_made_on(tmp_path: Path, backup: str) -> None:
    """Whoever puts back an older manifest, or has lost it, is not told that all is recorded below a date.

    The seal in the journal speaks of a manifest with run_2, which would never be looked for again.
    """
    await archive(tmp_path, *recorded(), scan_op(5))
    older = (tmp_path / "manifest.json").read_bytes()
    await archive(tmp_path, *recorded("run_2"), scan_op(6))
    await archive(tmp_path, scan_op(7))
    if backup == "older":
        (tmp_path / "manifest.json").write_bytes(older)
    else:
        (tmp_path / "manifest.json").unlink()
    sealed = [5] if backup == "older" else []
    assert [scan["sealed_before"] for scan in told(loaded(tmp_path))["scans"]] == sealed
    await archive(tmp_path)
    assert [scan["sealed_before"] for scan in told(loaded(tmp_path))["scans"]] == sealed
    await archive(tmp_path, scan_op(8))
    assert [scan["sealed_before"] for scan in told(loaded(tmp_path))["scans"]] == [8]


@large
@pytest.mark.anyio
async def test_cut_between_a_large_snapshot_and_its_journal(tmp_path: Path) -> None:
    """A journal of dates that were folded already changes nothing, and goes with the next fold."""
    await archive(tmp_path, *recorded(), scan_op(5))
    async with opened(tmp_path, scan_op(6)) as repository:
        journal = journal_of(tmp_path).read_bytes()
        await repository.fold(BASE_URL, anew=True)
    journal_of(tmp_path).write_bytes(journal)
    async with opened(tmp_path, scan_op(7)):
        pass
    assert told(loaded(tmp_path))["scans"][0]["sealed_before"] == 7
    await archive(tmp_path, *recorded("run_2"))
    assert told(loaded(tmp_path))["scans"][0]["sealed_before"] == 7
    assert not journal_of(tmp_path).exists()


@pytest.mark.anyio
async def test_a_journal_of_a_floradl_that_bound_no_seal(tmp_path: Path) -> None:
    """Seals that an earlier version journaled count as they did."""
    await archive(tmp_path, *recorded())
    header = JournalHeader(1, loaded(tmp_path).archive_id, "then")
    journal_of(tmp_path).write_bytes(encode_lines([header, scan_op(6)]))
    assert told(loaded(tmp_path))["scans"][0]["sealed_before"] == 6


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive without a manifest."""
    disk = Destination(tmp_path / "out", threads=2)
    disk.prepare()
    yield disk
    disk.close()


def test_an_archive_is_required(disk: Destination) -> None:
    """A folder is an archive once it has a manifest, or a journal of the first run."""
    with pytest.raises(DestinationError, match="there is no archive in") as caught:
        require_archive(disk)
    assert "mounted" in caught.value.hint
    for path in (layout.JOURNAL, layout.MANIFEST):
        disk.write_atomic(path, [b""])
        require_archive(disk)
        disk.remove(path)


def put(disk: Destination, place: str) -> None:
    """A file somewhere in the folder."""
    path = disk.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


@pytest.mark.parametrize("may_be_remains", [False, True])
@pytest.mark.parametrize("place", [None, "ws_a/prj_b/notes.txt", "run.json"])
def test_a_folder_without_an_archive(disk: Destination, place: str | None, may_be_remains: bool) -> None:
    """It is refused, and the hint is the caller's."""
    if place is not None:
        put(disk, place)
    with pytest.raises(DestinationError, match="no archive") as raised:
        require_archive(disk, may_be_remains=may_be_remains, hint="Look elsewhere.")
    assert raised.value.hint == "Look elsewhere."


@pytest.mark.parametrize("place", ["manifest.json", ".floradl/journal"])
def test_an_archive(disk: Destination, place: str) -> None:
    """Either file tells."""
    put(disk, place)
    require_archive(disk)


@pytest.mark.parametrize(
    "place",
    [
        "SHA256SUMS",
        "ws_a/prj_b/run_1/run.json",
        "ws_a/prj_b/assets/asset_1/asset.json",
        "ws_a/prj_b/canvas/20261126t023000z-canvas.mmd",
        "ws_a/prj_b/canvas/20261126t023000z-nodes.json",
    ],
)
def test_what_is_left_of_one(disk: Destination, place: str) -> None:
    """A check and a repair begin from it; an archive job does not."""
    put(disk, place)
    require_archive(disk, may_be_remains=True)
    with pytest.raises(DestinationError):
        require_archive(disk)

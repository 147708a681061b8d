"""Partials: what survives a stop, what is trusted after one, and how whole bytes reach their final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floradl.buffers import BLOCK_BYTES, Blocks
from floradl.storage.digest import HEAD_BYTES
from floradl.storage.local import partial
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.fsync import Flusher
from floradl.storage.local.partial import MIN_RESUME_BYTES, Partial

ETAG = '"one"'
DATA = bytes(range(256)) * (MIN_RESUME_BYTES // 256) + b"and a tail"

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
needs_fsync = pytest.mark.skipif(sys.platform != "linux", reason="other systems flush by other calls")

Edit = Callable[[bytes], bytes]


def open_partial(folder: Path) -> Partial:
    """The partial of one output, as a new process finds it."""
    return Partial(lambda: folder / "one.part", Flusher(is_on=True), Direct(is_on=True))


def loaded(folder: Path) -> Partial:
    """The same, after looking at what an earlier process left."""
    fresh = open_partial(folder)
    fresh.load()
    return fresh


def leave(folder: Path, data: bytes, *, validator: str = ETAG, total_bytes: int | None = None) -> None:
    """Stop a transfer after these bytes, in an orderly way."""
    begun = open_partial(folder)
    begun.expect(validator, total_bytes)
    begun.append([data])
    begun.suspend()


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_suspend_and_load(tmp_path: Path) -> None:
    """A later process finds size, head, validator and total as they were left, and goes on from there."""
    leave(tmp_path, DATA, total_bytes=len(DATA) + 5)
    later = loaded(tmp_path)
    assert (later.size_bytes, later.head) == (len(DATA), DATA[:HEAD_BYTES])
    assert (later.validator, later.total_bytes) == (ETAG, len(DATA) + 5)

    digest = later.commit([b"re", b"st!"], tmp_path / "final.png", 1_700_000_000_123)
    whole = DATA + b"rest!"
    assert (tmp_path / "final.png").read_bytes() == whole
    assert digest.sha256 == hashlib.sha256(whole).hexdigest()
    assert (digest.size_bytes, digest.head) == (len(whole), whole[:HEAD_BYTES])
    assert (tmp_path / "final.png").stat().st_mtime_ns == 1_700_000_000_123_000_000


def test_a_partial_without_its_checkpoint_is_for_this_process_alone(tmp_path: Path) -> None:
    """Once the checkpoint is removed this process can still finish the file, and a later one starts over."""
    leave(tmp_path, DATA)
    this, later = loaded(tmp_path), open_partial(tmp_path)
    this.unmark()
    later.load()
    assert later.size_bytes == 0
    this.commit([b"rest!"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == DATA + b"rest!"
    assert names(tmp_path) == ["final.png"]


def test_a_partial_that_was_never_begun_touches_nothing(tmp_path: Path) -> None:
    """Most outputs are small and have no partial: to discard it does not remove another process's files."""
    leave(tmp_path, DATA)
    open_partial(tmp_path).discard()
    assert loaded(tmp_path).size_bytes == len(DATA)


def handles() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir())) if os.name != "nt" else 0


def test_commit_leaves_nothing_behind(tmp_path: Path) -> None:
    """After a commit there is the final file and neither partial nor checkpoint."""
    leave(tmp_path, DATA)
    before = handles()
    later = loaded(tmp_path)
    later.commit([], tmp_path / "final.png", None)
    assert names(tmp_path) == ["final.png"]
    assert handles() == before
    later.suspend()
    assert names(tmp_path) == ["final.png"]
    assert (later.size_bytes, later.validator, later.total_bytes) == (0, "", None)


def test_commit_that_fails_costs_no_bytes(tmp_path: Path) -> None:
    """When the final name cannot be had, a later process resumes from what was there."""
    leave(tmp_path, DATA)
    later = loaded(tmp_path)
    (tmp_path / "final.png").mkdir()
    with pytest.raises(OSError, match=r"one\.part"):
        later.commit([b"rest"], tmp_path / "final.png", None)
    later.close()
    assert loaded(tmp_path).size_bytes == len(DATA)


def test_commit_of_nothing_but_last_chunks(tmp_path: Path) -> None:
    """A small output that was never written before goes to its final name in one step."""
    digest = open_partial(tmp_path).commit([b"a", b"", b"b"], tmp_path / "final.txt", None)
    assert (tmp_path / "final.txt").read_bytes() == b"ab"
    assert digest.size_bytes == 2


@pytest.mark.parametrize(
    ("data", "validator"),
    [(DATA[: MIN_RESUME_BYTES - 1], ETAG), (DATA, ""), (b"", ETAG)],
    ids=["small", "no validator", "empty"],
)
def test_what_cannot_be_resumed_is_not_kept(tmp_path: Path, data: bytes, validator: str) -> None:
    """A small partial, or one without a validator, leaves no file."""
    leave(tmp_path, data, validator=validator)
    assert names(tmp_path) == []
    assert loaded(tmp_path).size_bytes == 0


def test_smallest_partial_that_is_kept(tmp_path: Path) -> None:
    """A partial of exactly the least size worth resuming is kept."""
    leave(tmp_path, DATA[:MIN_RESUME_BYTES])
    assert loaded(tmp_path).size_bytes == MIN_RESUME_BYTES


def sidecar_with(**changes: object) -> Edit:
    """A change of some fields of a checkpoint."""
    return lambda text: json.dumps(json.loads(text) | changes).encode()


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        pytest.param("one.part", lambda data: b"\x01" + data[1:], id="first byte changed"),
        pytest.param("one.part", lambda data: data[:-1] + b"\x01", id="last byte changed"),
        pytest.param("one.part", lambda data: data[:-1], id="one byte lost"),
        pytest.param("one.part", lambda _: b"", id="cut to nothing"),
        pytest.param("one.part", lambda data: bytes(len(data)), id="zeroed by a power cut"),
        pytest.param("one.part", lambda data: data[:4096] + bytes(len(data) - 4096), id="zeroed half-way"),
        pytest.param("one.json", lambda _: b"", id="checkpoint empty"),
        pytest.param("one.json", lambda text: text[:-2], id="checkpoint cut"),
        pytest.param("one.json", lambda text: bytes(len(text)), id="checkpoint zeroed"),
        pytest.param("one.json", lambda _: b'{"validator": "\xff"}', id="checkpoint not UTF-8"),
        pytest.param("one.json", lambda _: b'"' + b"\xff" * 9, id="checkpoint of noise"),
        pytest.param("one.json", lambda _: b"[]", id="checkpoint of another form"),
        pytest.param("one.json", lambda _: b"[" * 100_000, id="checkpoint of brackets"),
        pytest.param("one.json", sidecar_with(size_bytes=-1), id="negative size"),
        pytest.param("one.json", sidecar_with(size_bytes=len(DATA) + 1), id="size beyond the end"),
        pytest.param("one.json", sidecar_with(size_bytes=len(DATA) - 1), id="another size"),
        pytest.param("one.json", sidecar_with(sha256="0" * 64), id="another hash"),
        pytest.param("one.json", sidecar_with(validator='"é"'), id="validator no header can carry"),
        pytest.param("one.json", sidecar_with(validator=""), id="no validator"),
    ],
)
def test_changed_checkpoint_is_not_trusted(tmp_path: Path, name: str, edit: Edit) -> None:
    """Where bytes or checkpoint are not as they were left, the transfer starts over, with a whole result."""
    leave(tmp_path, DATA, total_bytes=len(DATA))
    (tmp_path / name).write_bytes(edit((tmp_path / name).read_bytes()))
    later = loaded(tmp_path)
    assert (later.size_bytes, later.head, later.validator, later.total_bytes) == (0, b"", "", None)
    later.commit([b"new"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == b"new"
    assert names(tmp_path) == ["final.png"]


def test_bytes_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """Bytes that a killed process wrote after its last checkpoint do not reach the file."""
    leave(tmp_path, DATA)
    with (tmp_path / "one.part").open("ab") as file:
        file.write(b"never hashed")
    later = loaded(tmp_path)
    assert later.size_bytes == len(DATA)
    later.commit([b"!"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == DATA + b"!"


@pytest.mark.parametrize("missing", ["one.part", "one.json"])
def test_half_a_partial_is_none(tmp_path: Path, missing: str) -> None:
    """Bytes without a checkpoint, or a checkpoint without bytes, count for nothing."""
    leave(tmp_path, DATA)
    (tmp_path / missing).unlink()
    assert loaded(tmp_path).size_bytes == 0


def test_killed_process_costs_what_came_after_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a long transfer runs, checkpoints are written, and a process that dies resumes from the last."""
    monkeypatch.setattr(partial, "CHECKPOINT_BYTES", 1000)
    killed = open_partial(tmp_path)
    killed.expect(ETAG, 5000)
    for _ in range(5):
        killed.append([b"x" * 400])
    killed.close()  # what the kernel does for a dead process
    later = loaded(tmp_path)
    assert (later.size_bytes, later.validator, later.total_bytes) == (1200, ETAG, 5000)

    later.append([b"y" * 999])
    assert loaded(tmp_path).size_bytes == 1200
    later.append([b"y"])
    assert loaded(tmp_path).size_bytes == 2200
    later.close()


def test_a_torn_checkpoint_is_written_over(tmp_path: Path) -> None:
    """What a killed process left of a checkpoint, however long, is not in the next one."""
    (tmp_path / "one.new").write_bytes(b"x" * 10_000)
    leave(tmp_path, DATA)
    assert loaded(tmp_path).size_bytes == len(DATA)


def test_no_checkpoint_without_a_validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that can never be resumed writes no checkpoints."""
    monkeypatch.setattr(partial, "CHECKPOINT_BYTES", 1000)
    begun = open_partial(tmp_path)
    begun.append([b"x" * 5000])
    assert names(tmp_path) == ["one.part"]
    begun.discard()
    assert names(tmp_path) == []


@pytest.mark.parametrize("was_loaded", [False, True])
def test_restart_begins_at_the_first_byte(tmp_path: Path, was_loaded: bool) -> None:
    """After a restart the file holds the new bytes and nothing of, or for, the old ones."""
    if was_loaded:
        leave(tmp_path, DATA)
        begun = loaded(tmp_path)
    else:
        begun = open_partial(tmp_path)
        begun.expect(ETAG, None)
        begun.append([DATA])
    begun.restart()
    assert (begun.size_bytes, begun.head, begun.validator) == (0, b"", "")
    assert [path.stat().st_size for path in tmp_path.iterdir()] == ([] if was_loaded else [0])
    digest = begun.commit([b"other"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == b"other"
    assert digest.sha256 == hashlib.sha256(b"other").hexdigest()
    assert names(tmp_path) == ["final.png"]


def test_restart_of_nothing(tmp_path: Path) -> None:
    """A restart before the first byte is no error."""
    open_partial(tmp_path).restart()
    assert names(tmp_path) == []


@needs_fsync
def test_commit_flushes_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are on disk before they have the final name, and the name is before anybody records it."""
    (tmp_path / "run").mkdir()
    events = record_disk_events(monkeypatch)
    begun = open_partial(tmp_path)
    begun.append([b"some"])
    begun.commit([b" more"], tmp_path / "run" / "final.png", 1)
    assert events == ["write", "write", "utime", "fsync 9 bytes", "replace final.png", "fsync folder"]


@needs_fsync
def test_without_fsync_nothing_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives up durability gets no flush, and still a rename of a whole file."""
    events = record_disk_events(monkeypatch)
    begun = Partial(lambda: tmp_path / "one.part", Flusher(is_on=False), Direct(is_on=False))
    begun.commit([b"some"], tmp_path / "final.png", None)
    assert events == ["write", "replace final.png"]


# --- a disk that fails ---------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, function: str, number: int) -> None:
    """Let one call of a function of the system fail, and all later ones do what they should."""
    real, left = getattr(os, function), [OSError(number, os.strerror(number))]

    def call(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, call)


Use = Callable[[Partial, Path], object]
USES: dict[str, tuple[str, Use]] = {
    "write": ("write", lambda begun, _: begun.append([b"more"])),
    "write ahead": ("write", lambda begun, _: begun.append_ahead(2 * len(DATA), [b"more"])),
    "early flush": ("fdatasync", lambda begun, _: begun.flush()),
    "flush": ("fsync", lambda begun, folder: begun.commit([], folder / "final.png", None)),
}


@needs_fsync
@pytest.mark.parametrize("use", USES)
def test_a_write_that_failed_once_is_never_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """The partial is gone at once, is not committed by this process, and is begun anew by the next."""
    leave(tmp_path, DATA, total_bytes=9 * len(DATA))
    begun = loaded(tmp_path)
    begun.begin_ahead(2 * len(DATA))
    function, act = USES[use]
    failing(monkeypatch, function, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        act(begun, tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="Input/output error"):
        begun.commit([b"rest"], tmp_path / "final.png", None)
    begun.suspend()
    assert names(tmp_path) == []
    assert loaded(tmp_path).size_bytes == 0


@needs_fsync
def test_a_full_disk_costs_what_it_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before it was full is continued: a later process can still flush and read it."""
    leave(tmp_path, DATA)
    begun = loaded(tmp_path)
    failing(monkeypatch, "write", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        begun.append([b"more"])
    begun.suspend()
    later = loaded(tmp_path)
    later.commit([b"rest"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == DATA + b"rest"


@needs_fsync
def test_a_flush_that_finds_the_disk_full_costs_the_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems find room only when they flush, and lose then what they had taken before."""
    leave(tmp_path, DATA)
    begun = loaded(tmp_path)
    failing(monkeypatch, "fdatasync", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        begun.flush()
    begun.suspend()
    assert names(tmp_path) == []


@needs_fsync
def test_what_was_left_is_flushed_and_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order, since a flush that failed before leaves in the cache what the disk has not."""
    leave(tmp_path, DATA)
    events: list[str] = []
    read_into = partial._read_into

    def noted_read(*args: Any) -> bool:
        events.append("read")
        return read_into(*args)

    monkeypatch.setattr(os, "fsync", lambda _: events.append("flush"))
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: events.append("drop"))
    monkeypatch.setattr(partial, "_read_into", noted_read)
    assert loaded(tmp_path).size_bytes == len(DATA)
    assert events == ["flush", "drop", "read"]


@needs_fsync
def test_what_the_disk_lost_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that fails for bytes of an earlier process costs these bytes, and no job."""
    leave(tmp_path, DATA)
    failing(monkeypatch, "fsync", errno.EIO)
    later = loaded(tmp_path)
    assert (later.size_bytes, names(tmp_path)) == (0, [])
    later.commit([b"anew"], tmp_path / "final.png", None)
    assert (tmp_path / "final.png").read_bytes() == b"anew"


@needs_fsync
def test_other_errors_of_a_partial_that_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says nothing of the bytes ends the job, and the bytes stay."""
    leave(tmp_path, DATA)
    with monkeypatch.context() as patch:
        failing(patch, "fsync", errno.EROFS)
        with pytest.raises(OSError, match="Read-only"):
            loaded(tmp_path)
    assert loaded(tmp_path).size_bytes == len(DATA)


@needs_fsync
def test_a_disk_that_does_not_even_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that came first is the one that is told; the partial is removed when it is put away."""
    leave(tmp_path, DATA)
    begun = loaded(tmp_path)
    with monkeypatch.context() as patch:
        failing(patch, "fdatasync", errno.EIO)
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
        with pytest.raises(OSError, match="Input/output error"):
            begun.flush()
    assert names(tmp_path) == ["one.json", "one.part"]
    begun.suspend()
    assert names(tmp_path) == []


@needs_links
def test_checkpoint_is_not_written_through_a_link(tmp_path: Path) -> None:
    """A link planted where the checkpoint goes is an error, and what it leads to stays as it was."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    folder = tmp_path / "partials"
    folder.mkdir()
    (folder / "one.new").symlink_to(target)
    begun = open_partial(folder)
    begun.expect(ETAG, None)
    begun.append([DATA])
    with pytest.raises(OSError, match="symbolic link"):
        begun.suspend()
    assert target.read_bytes() == b"mine"


@needs_links
@pytest.mark.parametrize("name", ["one.part", "one.json"])
def test_no_link_is_read(tmp_path: Path, name: str) -> None:
    """A partial or a checkpoint that is a link is an error, not something to resume from."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "partials"
    elsewhere.mkdir()
    folder.mkdir()
    leave(elsewhere, DATA)
    for file in elsewhere.iterdir():
        if file.name == name:
            (folder / file.name).symlink_to(file)
        else:
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(OSError, match="symbolic link"):
        open_partial(folder).load()


@needs_links
def test_partial_is_not_written_through_a_link(tmp_path: Path) -> None:
    """A link planted where the bytes go is an error, and what it leads to stays as it was."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (tmp_path / "one.part").symlink_to(target)
    begun = open_partial(tmp_path)
    with pytest.raises(OSError, match="symbolic link"):
        begun.append([b"bytes"])
    assert target.read_bytes() == b"mine"


def record_disk_events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every write, date, flush and rename from now on; a flush with what it covers."""
    events: list[str] = []
    write, fsync, utime, replace = os.write, os.fsync, os.utime, os.replace

    def noted_write(descriptor: int, data: bytes) -> int:
        events.append("write")
        return write(descriptor, data)

    def noted_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        events.append("fsync folder" if stat.S_ISDIR(status.st_mode) else f"fsync {status.st_size} bytes")
        fsync(descriptor)

    def noted_utime(path: Path, *, ns: tuple[int, int]) -> None:
        events.append("utime")
        utime(path, ns=ns)

    def noted_replace(path: Path, target: Path | str, **kwargs: int) -> None:
        events.append(f"replace {Path(target).name}")
        replace(path, target, **kwargs)

    monkeypatch.setattr(os, "write", noted_write)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "utime", noted_utime)
    monkeypatch.setattr(os, "replace", noted_replace)
    return events


def test_what_is_written_can_be_looked_at(tmp_path: Path) -> None:
    """Any stretch of the bytes so far, and their hash, before they get their name."""
    begun = open_partial(tmp_path)
    begun.append([b"0123", b"456789"])
    assert (begun.read_at(3, 4), begun.read_at(8, 10), begun.read_at(20, 1)) == (b"3456", b"89", b"")
    assert begun.digest.sha256 == hashlib.sha256(b"0123456789").hexdigest()
    begun.discard()


# --- stretches further on ------------------------------------------------------------------------------


def test_stretches_where_none_can_lie(tmp_path: Path) -> None:
    """Of what a checkpoint tells of stretches, only those count that lie further on and within the file."""
    size, total = len(DATA), len(DATA) + 100
    leave(tmp_path, DATA, total_bytes=total)
    checkpoint = tmp_path / "one.json"
    known = json.loads(checkpoint.read_bytes())
    good = {"start": size + 50, "size_bytes": 20, "sha256": hashlib.sha256(bytes(20)).hexdigest()}
    known["ahead"] = [
        good | {"start": size - 1},
        good | {"size_bytes": 0},
        good | {"size_bytes": -5},
        good | {"start": total - 10},
        good | {"start": size + 80, "sha256": "0" * 64},
        good | {"start": size + 60},
        good,
    ]
    checkpoint.write_text(json.dumps(known))
    os.truncate(tmp_path / "one.part", total)
    found = loaded(tmp_path)
    assert (found.size_bytes, found.ahead) == (size, [(size + 50, 20)])


def test_stretches_that_follow_count_as_there(tmp_path: Path) -> None:
    """What goes on from what is there, one stretch after another, is hashed in order; the rest stays."""
    partial = open_partial(tmp_path)
    partial.expect(ETAG, 50)
    partial.append([b"0123456789"])
    for start, data in ((20, b"ABCDEFGHIJ"), (10, b"abcdefghij"), (40, b"!!!!!!!!!!")):
        partial.begin_ahead(start)
        partial.append_ahead(start, [data])
    partial.absorb()
    assert (partial.size_bytes, partial.ahead) == (30, [(40, 10)])
    assert partial.digest.sha256 == hashlib.sha256(b"0123456789abcdefghijABCDEFGHIJ").hexdigest()
    partial.append_ahead(30, [b"nobody asked for these"])
    assert (partial.size_bytes, partial.ahead) == (30, [(40, 10)])
    partial.drop_ahead()
    assert (partial.ahead, (tmp_path / "one.part").stat().st_size) == ([], 30)
    partial.close()


def test_stretch_whose_bytes_are_gone(tmp_path: Path) -> None:
    """Bytes that were written and cannot be read again are an error of the disk, and never counted."""
    partial = open_partial(tmp_path)
    partial.expect(ETAG, 20)
    partial.append([b"0123456789"])
    partial.begin_ahead(10)
    partial.append_ahead(10, [b"abcdefghij"])
    os.truncate(tmp_path / "one.part", 15)
    with pytest.raises(OSError, match="gone"):
        partial.absorb()
    partial.close()


@needs_fsync
def test_flushed_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A growing file is flushed early where files are flushed at all."""
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    for is_on in (False, True):
        partial = Partial(lambda: tmp_path / "one.part", Flusher(is_on=is_on), Direct(is_on=is_on))
        partial.append([b"0123456789"])
        partial.flush()
        partial.discard()
    assert flushed == [10]


def a_block(fill: bytes) -> memoryview:
    """A block of these bytes."""
    block = Blocks().take()
    block[:] = fill * BLOCK_BYTES
    return block


class Noted(Direct):
    """Notes what it is asked to write, and writes some of it.

    Args:
        most_bytes: of a block.
    """

    def __init__(self, most_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(is_on=True)
        self.asked: list[tuple[int, int]] = []
        self._most_bytes = most_bytes

    def write(self, descriptor: int, chunk: bytes | memoryview, at: int) -> int:
        """As it does."""
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == at
        self.asked.append((at, len(chunk)))
        if not isinstance(chunk, memoryview):
            return 0
        return os.write(descriptor, chunk[: self._most_bytes])


@pytest.mark.parametrize("most_bytes", [BLOCK_BYTES, 8192, 0])
def test_blocks_among_other_chunks(tmp_path: Path, most_bytes: int) -> None:
    """Whoever writes them, all bytes are there, in order and hashed; those further on are not asked about."""
    noted = Noted(most_bytes)
    begun = Partial(lambda: tmp_path / "one.part", Flusher(is_on=True), noted)
    begun.append([a_block(b"a"), b"b" * 100, a_block(b"c")])
    begun.begin_ahead(4 * BLOCK_BYTES)
    begun.append_ahead(4 * BLOCK_BYTES, [a_block(b"f")])
    begun.append([a_block(b"d")])
    assert [size for _, size in noted.asked] == [BLOCK_BYTES, 100, BLOCK_BYTES, BLOCK_BYTES]
    begun.append([b"e" * (BLOCK_BYTES - 100)])
    begun.absorb()
    expected = b"".join(
        [
            b"a" * BLOCK_BYTES,
            b"b" * 100,
            b"c" * BLOCK_BYTES,
            b"d" * BLOCK_BYTES,
            b"e" * (BLOCK_BYTES - 100),
            b"f" * BLOCK_BYTES,
        ]
    )
    digest = begun.commit([], tmp_path / "one", None)
    assert (tmp_path / "one").read_bytes() == expected
    assert (digest.size_bytes, digest.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())


def test_blocks_on_the_disk_of_these_tests(tmp_path: Path) -> None:
    """Directly or not, after another process and between chunks of any size: the file is what came."""
    body = os.urandom(3 * BLOCK_BYTES)
    blocks = [a_block(b"x"), a_block(b"y"), a_block(b"z")]
    for number, block in enumerate(blocks):
        block[:] = body[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
    earlier = open_partial(tmp_path)
    earlier.expect(ETAG, 5 * BLOCK_BYTES)
    earlier.append([blocks[0]])
    earlier.suspend()
    later = loaded(tmp_path)
    assert later.size_bytes == BLOCK_BYTES
    later.append([blocks[1], b"tail"])
    later.append([blocks[2]])
    expected = body[: 2 * BLOCK_BYTES] + b"tail" + body[2 * BLOCK_BYTES :]
    assert later.commit([b"end"], tmp_path / "one", None).size_bytes == len(expected) + 3
    assert (tmp_path / "one").read_bytes() == expected + b"end"

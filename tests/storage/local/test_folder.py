"""The archive's folder: whole files or none, and each durable before it is reported."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from floradl.errors import DestinationError
from floradl.repository import layout
from floradl.storage import base
from floradl.storage.base import COARSE_NS
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local import fsync
from tests.storage.disk_support import (
    FILE,
    RUN,
    SlowFlush,
    fail_with,
    handles,
    needs_fsync,
    record_disk_events,
    temporary_files,
)

pytestmark = pytest.mark.anyio


# --- whole files -------------------------------------------------------------------------------------


def test_write_atomic_writes_what_it_was_given(disk: Destination) -> None:
    """The parts arrive in order under the final name, dated, and the digest is that of the file."""
    digest = disk.write_atomic(FILE, [b"one", b"", b"two"], mtime_ms=1_600_000_000_007)
    path = disk.root / FILE
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mtime_ns == 1_600_000_000_007_000_000
    assert digest == disk.digest(FILE)
    assert digest.sha256 == hashlib.sha256(b"onetwo").hexdigest()
    assert (digest.size_bytes, digest.head) == (6, b"onetwo")
    assert temporary_files(disk) == []


@pytest.mark.parametrize("parts", [[], [b""]])
def test_write_atomic_of_nothing(disk: Destination, parts: list[bytes]) -> None:
    """An empty text output is an empty file."""
    assert disk.write_atomic(FILE, parts).size_bytes == 0
    assert (disk.root / FILE).read_bytes() == b""


def test_write_atomic_replaces(disk: Destination) -> None:
    """A second write replaces the first, longer one whole, and leaves nothing open."""
    disk.write_atomic(FILE, [b"a long first version"])
    before = handles()
    disk.write_atomic(FILE, [b"short"])
    assert disk.read(FILE) == b"short"
    assert temporary_files(disk) == []
    assert handles() == before


def test_failing_source_leaves_no_file(disk: Destination) -> None:
    """When the bytes end in an error there is no file, no temporary one and no open handle; the old stays."""

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    disk.write_atomic(FILE, [b"old"])
    before = handles()
    with pytest.raises(KeyboardInterrupt):
        disk.write_atomic(FILE, broken())
    assert disk.read(FILE) == b"old"
    assert temporary_files(disk) == []
    assert handles() == before


def test_failing_rename_leaves_no_temporary_file(disk: Destination) -> None:
    """When the final name cannot be had, nothing is left in the folder for temporary files."""
    (disk.root / FILE).mkdir(parents=True)
    with pytest.raises(OSError, match=r"output_1\.png"):
        disk.write_atomic(FILE, [b"bytes"])
    assert temporary_files(disk) == []


def test_no_temporary_file_is_written_twice(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two writers would ever pick the same temporary name, the second fails and the first is whole."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "token")
    disk = Destination(disk.root)
    taken = disk.root / base.TEMPORARIES[0] / "token-0"
    taken.write_bytes(b"of another writer")
    with pytest.raises(FileExistsError):
        disk.write_atomic(FILE, [b"bytes"])
    assert taken.read_bytes() == b"of another writer"


@needs_fsync
def test_write_atomic_flushes_in_order(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """New folders are flushed from the top; then bytes, rename, and the folder that got the name."""
    events = record_disk_events(monkeypatch)
    disk.write_atomic(FILE, [b"bytes"])
    assert events == [
        "mkdir ws_a", "fsync out",
        "mkdir prj_b", "fsync ws_a",
        "mkdir run_c", "fsync prj_b",
        "fsync 5 bytes", "replace output_1.png", "fsync run_c",
    ]  # fmt: skip
    events.clear()
    disk.write_atomic(FILE, [b"bytes!"])
    assert events == ["fsync 6 bytes", "replace output_1.png", "fsync run_c"]


@needs_fsync
def test_without_fsync_nothing_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives up durability still gets whole files by rename."""
    disk = Destination(tmp_path / "out", fsync=False)
    disk.prepare()
    events = record_disk_events(monkeypatch)
    disk.write_atomic(layout.MANIFEST, [b"{}"])
    disk.close()
    assert events == ["replace manifest.json"]


# --- reading and removing ----------------------------------------------------------------------------


def test_now_by_the_clock_of_the_file_system(disk: Destination) -> None:
    """It is what a file that is made now is dated with, and nothing is left of how that was found out."""
    before_ns = time.time_ns()
    moment_ns = disk.moment_ns()
    assert moment_ns is not None
    assert before_ns - COARSE_NS <= moment_ns <= time.time_ns()
    assert temporary_files(disk) == []


@pytest.mark.parametrize("late_ns", [0, 1])
def test_a_file_system_that_does_not_date_its_folders(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, late_ns: int
) -> None:
    """Where a folder in which a file was made keeps an old date, no folder's date can be trusted."""
    now_ns = disk.moment_ns()
    assert now_ns is not None
    file = SimpleNamespace(st_mtime_ns=now_ns + COARSE_NS + late_ns)
    folder = SimpleNamespace(st_mtime_ns=now_ns, st_mode=stat.S_IFDIR)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda _: file)
        patch.setattr(Path, "lstat", lambda _: folder)
        assert disk.moment_ns() == (None if late_ns else now_ns + COARSE_NS)


@needs_fsync
def test_what_a_killed_process_left_is_flushed(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is to be recorded is made durable first, and its name too, whoever wrote it.

    Only then is it read, from the disk: a flush that failed before leaves in the cache what the disk has not.
    """
    disk.ensure_dir(RUN)
    (disk.root / FILE).write_bytes(b"picture")
    events = record_disk_events(monkeypatch)
    digest = disk.digest

    def noted_digest(path: PurePosixPath) -> Digest:
        events.append("read")
        return digest(path)

    monkeypatch.setattr(disk, "digest", noted_digest)
    assert disk.adopt(FILE) == Digest(7, hashlib.sha256(b"picture").hexdigest(), b"picture")
    assert events == ["fsync 7 bytes", "drop 0 0", "fsync run_c", "read"]


@needs_fsync
def test_what_a_killed_process_left_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants no flushes gets none for what is recorded now either."""
    disk = Destination(tmp_path, fsync=False)
    (tmp_path / "a").write_bytes(b"a")
    events = record_disk_events(monkeypatch)
    assert disk.adopt(PurePosixPath("a")).size_bytes == 1
    assert events == []
    disk.close()


def test_remove(disk: Destination) -> None:
    """Removing is done once, and a file that is not there is no error."""
    disk.write_atomic(layout.JOURNAL, [b"x"])
    disk.remove(layout.JOURNAL)
    disk.remove(layout.JOURNAL)
    assert disk.read(layout.JOURNAL) is None


@needs_fsync
def test_remove_is_flushed(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was removed does not come back after a power cut."""
    disk.write_atomic(layout.JOURNAL, [b"x"])
    events = record_disk_events(monkeypatch)
    disk.remove(layout.JOURNAL)
    assert events == ["fsync .floradl"]


def test_clean_keeps_what_can_be_resumed(disk: Destination) -> None:
    """Temporary files, partials without a checkpoint and checkpoints without a partial go; pairs stay."""
    partials = disk.root / base.PARTIALS
    for name in ("pair.part", "pair.json", "alone.part", "orphan.json", "pair.new", "torn.new"):
        (partials / name).write_bytes(b"x")
    (disk.root / base.TEMPORARY / "123-0").write_bytes(b"x")
    disk.write_atomic(FILE, [b"x"])
    disk.clean()
    assert sorted(path.name for path in partials.iterdir()) == ["pair.json", "pair.part"]
    assert temporary_files(disk) == []
    assert disk.read(FILE) == b"x"


# --- appending ---------------------------------------------------------------------------------------


def test_append(disk: Destination) -> None:
    """Appends go after one another, and a later opening keeps exactly the bytes it asks for."""
    first = disk.open_append(layout.JOURNAL, keep_bytes=0)
    first.append(b"one\n")
    first.append(b"two\n")
    first.close()
    assert disk.read(layout.JOURNAL) == b"one\ntwo\n"

    second = disk.open_append(layout.JOURNAL, keep_bytes=4)
    second.append(b"three\n")
    second.close()
    assert disk.read(layout.JOURNAL) == b"one\nthree\n"


@needs_fsync
def test_append_is_flushed(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut and the file's name are flushed on opening, and every append before it returns."""
    events = record_disk_events(monkeypatch)
    file = disk.open_append(layout.JOURNAL, keep_bytes=0)
    assert events == ["fsync 0 bytes", "fsync .floradl"]
    file.append(b"entry")
    assert events[2:] == ["fsync 5 bytes"]
    file.close()


@needs_fsync
@pytest.mark.parametrize("function", ["write", "fsync"])
def test_nothing_is_appended_behind_what_failed(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """After an append that the disk refused no later one is reported as durable, and nothing is written."""
    file = disk.open_append(layout.JOURNAL, keep_bytes=0)
    with monkeypatch.context() as patch:
        fail_with(patch, function, errno.EIO)
        with pytest.raises(OSError, match="error"):
            file.append(b"one")
    before = disk.read(layout.JOURNAL)
    with pytest.raises(OSError, match="error"):
        file.append(b"two")
    assert disk.read(layout.JOURNAL) == before
    file.close()


def test_failed_open_append_leaves_no_handle(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be cut is an error that leaves nothing open."""
    before = handles()
    fail_with(monkeypatch, "ftruncate", errno.EIO)
    with pytest.raises(OSError, match="error"):
        disk.open_append(layout.JOURNAL, keep_bytes=0)
    assert handles() == before


# --- links, and other things where files or folders should be ------------------------------------------


def test_ensure_dir_accepts_what_is_there(disk: Destination) -> None:
    """Folders of an earlier process are used, and asking twice is cheap and the same."""
    (disk.root / RUN).mkdir(parents=True)
    assert disk.ensure_dir(RUN) == disk.ensure_dir(RUN) == disk.root / RUN


def test_threads_making_one_folder(tmp_path: Path) -> None:
    """Threads that need the same new folder at the same moment all get it."""
    for attempt in range(20):
        disk = Destination(tmp_path / str(attempt), fsync=False)
        disk.prepare()
        together = threading.Barrier(4)

        def make(disk: Destination = disk, together: threading.Barrier = together) -> None:
            together.wait()
            disk.ensure_dir(RUN)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (disk.root / RUN).is_dir()
        disk.close()


@needs_fsync
def test_a_folder_that_another_thread_is_making(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs a folder that was just made waits until its name is durable: a file in it may be recorded."""
    flush = SlowFlush(monkeypatch)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(disk.ensure_dir(PurePosixPath("ws_a")).name))
        for _ in range(2)
    ]
    threads[0].start()
    assert flush.began.wait(30)
    assert (disk.root / "ws_a").is_dir()
    threads[1].start()
    threads[1].join(timeout=0.1)
    assert made == []
    flush.may_end.set()
    for thread in threads:
        thread.join()
    assert made == ["ws_a", "ws_a"]


# --- looking, moving and setting aside -----------------------------------------------------------------


def test_what_is_refused_gets_no_name(disk: Destination) -> None:
    """A file whose check fails never stands under its name, and nothing is left of it."""

    def refuse(digest: Digest) -> None:
        assert digest.sha256 == hashlib.sha256(b"onetwo").hexdigest()
        raise ValueError("not these")

    with pytest.raises(ValueError, match="not these"):
        disk.write_atomic(FILE, [b"one", b"two"], check=refuse)
    assert (disk.exists(FILE), temporary_files(disk)) == (False, [])


def test_a_move_takes_the_file_to_a_new_folder(disk: Destination) -> None:
    """A file is renamed within the archive; one that is not there moves nothing."""
    disk.write_atomic(PurePosixPath("lost.png"), [b"123"])
    assert disk.move(PurePosixPath("lost.png"), FILE)
    assert disk.read(FILE) == b"123"
    assert not disk.move(PurePosixPath("lost.png"), FILE)
    assert not disk.move(PurePosixPath("none/lost.png"), FILE)
    assert disk.read(FILE) == b"123"


def test_a_link_gives_a_file_a_second_name(disk: Destination, tmp_path: Path) -> None:
    """Both names are of one file, with its date; what stands there is replaced, also by itself."""
    source, seen = tmp_path / "source.png", list[Digest]()
    source.write_bytes(b"123")
    os.utime(source, (7, 7))
    disk.write_atomic(FILE, [b"another"])
    for _ in range(2):
        disk.link(source, FILE, check=seen.append)
        assert (disk.root / FILE).samefile(source)
        assert (source.stat().st_nlink, source.stat().st_mtime, temporary_files(disk)) == (2, 7, [])
    assert {digest.sha256 for digest in seen} == {hashlib.sha256(b"123").hexdigest()}


def test_a_link_that_is_refused_leaves_nothing(disk: Destination, tmp_path: Path) -> None:
    """What is not as it should be gets no second name, and what stands there stays."""

    def refuse(digest: Digest) -> None:
        raise ValueError(digest.sha256)

    (tmp_path / "source.png").write_bytes(b"123")
    disk.write_atomic(FILE, [b"another"])
    with pytest.raises(ValueError, match=hashlib.sha256(b"123").hexdigest()):
        disk.link(tmp_path / "source.png", FILE, check=refuse)
    assert (disk.read(FILE), temporary_files(disk)) == (b"another", [])
    assert (tmp_path / "source.png").stat().st_nlink == 1


@needs_fsync
def test_a_link_is_flushed(disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, which somebody else may have left, then its new name."""
    (tmp_path / "source.png").write_bytes(b"123")
    disk.ensure_dir(FILE.parent)
    events = record_disk_events(monkeypatch)
    disk.link(tmp_path / "source.png", FILE, check=lambda _: None, make_room=lambda: events.append("room"))
    assert events == ["fsync 3 bytes", "room", "replace output_1.png", "fsync run_c"]


def test_a_clone_shares_blocks_or_leaves_nothing(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system can share blocks the file is there, checked and dated; where it cannot, nothing is."""
    (tmp_path / "source.png").write_bytes(b"123")
    seen: list[Digest] = []
    shared: list[int] = []

    def share(descriptor: int, request: int, source: int) -> None:
        assert request == 0x40049409
        shared.append(os.write(descriptor, os.read(source, 100)))

    monkeypatch.setattr(fsync, "_fcntl", SimpleNamespace(ioctl=share))
    monkeypatch.setattr(sys, "platform", "linux")
    disk.clone(tmp_path / "source.png", FILE, mtime_ms=1_600_000_000_000, check=seen.append)
    assert (disk.read(FILE), shared, seen[0].sha256) == (b"123", [3], hashlib.sha256(b"123").hexdigest())
    assert (disk.root / FILE).stat().st_mtime == 1_600_000_000

    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(OSError, match="cannot share blocks"):
        disk.clone(tmp_path / "source.png", RUN / "other.png", mtime_ms=None, check=seen.append)
    assert (disk.exists(RUN / "other.png"), temporary_files(disk)) == (False, [])


def test_room_is_required(tmp_path: Path) -> None:
    """What comes must leave as much room as shall stay free."""
    free_bytes = shutil.disk_usage(tmp_path).free
    Destination(tmp_path, min_free_bytes=1).require_room()
    careful = Destination(tmp_path, min_free_bytes=2 * free_bytes)
    with pytest.raises(DestinationError, match="shall stay so") as caught:
        careful.require_room()
    assert "--min-free" in caught.value.hint
    with pytest.raises(DestinationError, match="shall stay so"):
        Destination(tmp_path, min_free_bytes=1).require_room(2 * free_bytes)


def test_no_folder_is_made_on_another_disk(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DEST lies on another disk than at first, its own was unmounted: nothing is made on that one."""
    disk.ensure_dir(RUN)
    monkeypatch.setattr(disk, "_device", -1)
    with pytest.raises(FileNotFoundError, match="its disk was unmounted"):
        disk.ensure_dir(PurePosixPath("ws_a/prj_b/run_d"))
    assert sorted(path.name for path in (disk.root / "ws_a/prj_b").iterdir()) == ["run_c"]

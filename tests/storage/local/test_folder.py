"""The archive's folder: whole files or none, and no links followed."""

from __future__ import annotations

import errno
import gc
import hashlib
import importlib.util
import os
import pathlib
import shutil
import socket
import stat
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from floradl.errors import DestinationError
from floradl.repository import layout
from floradl.repository.repository import require_archive
from floradl.storage import base
from floradl.storage.base import COARSE_NS, Kind
from floradl.storage.destination import Destination
from floradl.storage.digest import HEAD_BYTES, Digest
from floradl.storage.local import folder as tree
from floradl.storage.local import fsync as durable
from floradl.storage.local.fsync import Flusher, require_real_dir, write_all

pytestmark = pytest.mark.anyio

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
needs_fsync = pytest.mark.skipif(sys.platform != "linux", reason="other systems flush by other calls")

RUN = PurePosixPath("ws_a/prj_b/run_c")
FILE = RUN / "output_1.png"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive in a folder of its own, so that tests can put things beside it."""
    disk = Destination(tmp_path / "out", threads=2)
    disk.prepare()
    yield disk
    disk.close()


def temporary_files(disk: Destination) -> list[str]:
    """What lies in the folder for temporary files."""
    return [path.name for path in (disk.root / base.TEMPORARY).rglob("*") if path.is_file()]


def handles() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/dev/fd").iterdir())) if os.name != "nt" else 0


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


def test_digest_of_a_large_file(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash, size and head do not depend on how a file is cut into blocks."""
    monkeypatch.setattr("floradl.storage.local.reader.READ_BYTES", 1000)
    data = bytes(range(256)) * 20
    disk.write_atomic(FILE, [data])
    digest = disk.digest(FILE)
    assert (digest.size_bytes, digest.head) == (len(data), data[:HEAD_BYTES])
    assert digest.sha256 == hashlib.sha256(data).hexdigest()


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


def test_a_file_piece_by_piece(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its bytes in order, and none through a link."""
    monkeypatch.setattr("floradl.storage.local.reader.READ_BYTES", 4)
    disk.write_atomic(FILE, [b"0123456789"])
    assert [bytes(block) for block in disk.blocks(FILE)] == [b"0123", b"4567", b"89"]
    (disk.root / FILE).with_name("link").symlink_to(disk.root / FILE)
    with pytest.raises(OSError, match=r"regular|symbolic"):
        list(disk.blocks(FILE.with_name("link")))


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time still gets all of them, in order."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


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


def test_drive_caches_are_flushed_where_fsync_does_not(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On macOS, where fsync leaves bytes in the drive's cache, the stronger call is made."""
    asked: list[tuple[int, int]] = []

    class Fcntl:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(descriptor: int, what: int) -> None:
            asked.append((descriptor, what))

    monkeypatch.setattr(durable, "_fcntl", Fcntl)
    with (tmp_path / "file").open("wb") as file:
        disk.flusher.file(file.fileno())
        assert asked == [(file.fileno(), 51)]


def test_a_system_without_fcntl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no `fcntl`; a file is flushed there all the same."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("durable_on_windows", durable.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    events = record_disk_events(monkeypatch)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"bytes")
        module.Flusher(is_on=True).file(file.fileno())
    assert events == ["fsync 5 bytes"]


# --- reading and removing ----------------------------------------------------------------------------


def test_read(disk: Destination) -> None:
    """A file's bytes come back, and a file or folder that is not there is None."""
    disk.write_atomic(FILE, [b"bytes"])
    assert disk.read(FILE) == b"bytes"
    assert disk.read(RUN / "output_2.png") is None
    assert disk.read(PurePosixPath("ws_z/prj_z/run_z/run.json")) is None


def test_which_file_it_is(disk: Destination) -> None:
    """A file is another once it was written anew, with the same bytes too; and its bytes come with it."""
    assert disk.read_identified(FILE) == (None, None)
    disk.write_atomic(FILE, [b"one"], mtime_ms=5000)
    status = (disk.root / FILE).stat()
    data, first = disk.read_identified(FILE)
    assert (data, first) == (b"one", (3, 5_000_000_000, status.st_ino))
    assert disk.identify(FILE) == first
    (disk.root / FILE).rename(disk.root / "kept")  # else its number could be given out again
    disk.write_atomic(FILE, [b"one"], mtime_ms=5000)
    assert disk.identify(FILE) != first


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


def test_digest_of_a_missing_file(disk: Destination) -> None:
    """Hashing a file that is not there is an error."""
    with pytest.raises(FileNotFoundError):
        disk.digest(FILE)


@needs_fsync
def test_what_a_killed_process_left_is_flushed(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is to be recorded is made durable first, and its name too, whoever wrote it."""
    disk.ensure_dir(RUN)
    (disk.root / FILE).write_bytes(b"picture")
    events = record_disk_events(monkeypatch)
    assert disk.adopt(FILE) == Digest(7, hashlib.sha256(b"picture").hexdigest(), b"picture")
    assert events == ["fsync 7 bytes", "fsync run_c"]


@needs_fsync
def test_what_a_killed_process_left_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants no flushes gets none for what is recorded now either."""
    disk = Destination(tmp_path, fsync=False)
    (tmp_path / "a").write_bytes(b"a")
    events = record_disk_events(monkeypatch)
    assert disk.adopt(PurePosixPath("a")).size_bytes == 1
    assert events == []
    disk.close()


def test_sizes(disk: Destination, tmp_path: Path) -> None:
    """Each folder gives its regular files; links and folders are left out, and a missing folder is empty."""
    disk.write_atomic(FILE, [b"12345"])
    disk.write_atomic(RUN / "run.json", [b"{}"])
    (disk.root / RUN / "folder.png").mkdir()
    if os.name != "nt":
        (tmp_path / "elsewhere.png").write_bytes(b"1")
        (disk.root / RUN / "link.png").symlink_to(tmp_path / "elsewhere.png")
    missing = PurePosixPath("ws_z/prj_z/run_z")
    new = Destination(disk.root)
    assert new.sizes([RUN, missing, RUN.parent]) == [{"output_1.png": 5, "run.json": 2}, {}, {}]
    assert disk.sizes([]) == []
    new.close()


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


def test_failed_open_append_leaves_no_handle(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be cut is an error that leaves nothing open."""
    before = handles()
    fail_with(monkeypatch, "ftruncate", errno.EIO)
    with pytest.raises(OSError, match="error"):
        disk.open_append(layout.JOURNAL, keep_bytes=0)
    assert handles() == before


# --- links, and other things where files or folders should be ------------------------------------------


@needs_links
@pytest.mark.parametrize("level", range(1, 4))
def test_linked_folder_is_neither_read_nor_written(disk: Destination, tmp_path: Path, level: int) -> None:
    """With a link in place of a workspace, project or run folder, nothing goes out or comes in through it."""
    outside = tmp_path / "outside"
    below = outside.joinpath(*RUN.parts[level:])
    below.mkdir(parents=True)
    (below / FILE.name).write_bytes(b"mine")
    link = disk.root.joinpath(*RUN.parts[:level])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    for use in (
        lambda: disk.write_atomic(FILE, [b"bytes"]),
        lambda: disk.ensure_dir(RUN),
        lambda: disk.open_append(FILE, keep_bytes=0),
        lambda: disk.remove(FILE),
        lambda: disk.read(FILE),
        lambda: disk.digest(FILE),
        lambda: disk.sizes([RUN]),
    ):
        with pytest.raises(OSError, match="symbolic link"):
            use()
    assert [path.name for path in outside.rglob("*") if path.is_file()] == [FILE.name]
    assert (below / FILE.name).read_bytes() == b"mine"
    assert temporary_files(disk) == []


@needs_links
@pytest.mark.parametrize("name", [base.PRIVATE, base.PARTIALS, base.TEMPORARY])
def test_linked_private_folder_is_refused(tmp_path: Path, name: PurePosixPath) -> None:
    """floradl's own folders are not used when they are links."""
    (tmp_path / "outside").mkdir()
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside")
    disk = Destination(tmp_path / "out")
    with pytest.raises(OSError, match="symbolic link"):
        disk.prepare()
    assert list((tmp_path / "outside").iterdir()) == []
    disk.close()


@needs_links
def test_linked_file_is_neither_read_nor_written(disk: Destination, tmp_path: Path) -> None:
    """A link in place of a file is not read or appended to; a new whole file takes its place."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    disk.ensure_dir(RUN)
    (disk.root / FILE).symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        disk.read(FILE)
    with pytest.raises(OSError, match="symbolic link"):
        disk.digest(FILE)
    with pytest.raises(OSError, match="symbolic link"):
        disk.open_append(FILE, keep_bytes=0)
    disk.write_atomic(FILE, [b"bytes"])
    assert target.read_bytes() == b"mine"
    assert not (disk.root / FILE).is_symlink()
    assert disk.read(FILE) == b"bytes"


@needs_links
def test_clean_removes_links_and_not_what_they_lead_to(disk: Destination, tmp_path: Path) -> None:
    """A link among the temporary files is removed itself."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (disk.root / base.TEMPORARY / "1-0").symlink_to(target)
    disk.clean()
    assert temporary_files(disk) == []
    assert target.read_bytes() == b"mine"


@needs_links
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_not_read(disk: Destination, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, pipe or socket under a file's name is an error at once, not something to wait for."""
    folder = disk.ensure_dir(RUN)
    path = folder / FILE.name
    before = handles()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(folder)  # a socket's name must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    refusals: list[OSError] = []

    def read() -> None:
        try:
            disk.read(FILE)
        except OSError as exc:
            refusals.append(exc)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert [refusal.filename for refusal in refusals] == [str(path)]
    assert handles() == before


def test_file_in_place_of_a_folder(disk: Destination) -> None:
    """A file where a folder should be is an error that says so, for writing and for looking."""
    (disk.root / "ws_a").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError, match="a file stands where a folder"):
        disk.ensure_dir(RUN)
    with pytest.raises(NotADirectoryError, match="a file stands where a folder"):
        disk.sizes([RUN])
    assert (disk.root / "ws_a").read_bytes() == b"mine"


def test_real_folder_passes(tmp_path: Path) -> None:
    """A folder that is one is accepted."""
    require_real_dir(tmp_path)


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


@needs_fsync
def test_threads_share_the_flush_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who ask while a folder is flushed share the next flush, which began after they asked."""
    flush = SlowFlush(monkeypatch)
    flusher = Flusher(is_on=True)
    threads = [threading.Thread(target=lambda: flusher.folder(tmp_path)) for _ in range(6)]
    threads[0].start()
    assert flush.began.wait(30)
    for thread in threads[1:]:
        thread.start()
    while flusher._turns[str(tmp_path)].asked < len(threads):
        threads[1].join(timeout=0.01)
    flush.may_end.set()
    for thread in threads:
        thread.join()
    assert flush.number == 2
    assert flusher._turns == {}


@needs_fsync
def test_a_flush_that_fails_is_tried_again_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks after a flush has failed gets a flush of its own."""
    flusher = Flusher(is_on=True)
    answers = [OSError(errno.EIO, "broken"), None]

    def flush(_: int) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(OSError, match="broken"):
        flusher.folder(tmp_path)
    flusher.folder(tmp_path)
    assert answers == []


@needs_fsync
def test_a_shared_flush_that_fails_fails_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells of a failure once; nobody whose name it was for is told that it is kept."""
    flush = SlowFlush(monkeypatch, [None, OSError(errno.EIO, "broken")])
    flusher = Flusher(is_on=True)
    told: list[str] = []

    def ask() -> None:
        try:
            flusher.folder(tmp_path)
        except OSError as exc:
            told.append(str(exc))
        else:
            told.append("durable")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert flush.began.wait(30)
    for thread in threads[1:]:
        thread.start()
    while flusher._turns[str(tmp_path)].asked < len(threads):
        threads[1].join(timeout=0.01)
    flush.may_end.set()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["[Errno 5] broken"] * 3 + ["durable"]
    assert flusher._turns == {}


class SlowFlush:
    """Lets flushes wait until they may end, and fail where `errors` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, errors: Sequence[OSError | None] = ()) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.number = 0
        self._errors = errors
        monkeypatch.setattr(os, "fsync", self.flush)

    def flush(self, _: int) -> None:
        """One flush."""
        self.number += 1
        self.began.set()
        assert self.may_end.wait(30)
        error = self._errors[self.number - 1] if self.number <= len(self._errors) else None
        if error is not None:
            raise error


def fail_with(monkeypatch: pytest.MonkeyPatch, function: str, number: int) -> None:
    """Let one function of the operating system fail."""

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, failing)


def record_disk_events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every new folder, flush and rename from now on; a flush with the folder or the size it covers."""
    events: list[str] = []
    fsync, replace, mkdir = os.fsync, os.replace, Path.mkdir

    def noted_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        else:
            events.append(f"fsync {status.st_size} bytes")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path | str) -> None:
        events.append(f"replace {Path(target).name}")
        replace(path, target)

    def noted_mkdir(path: Path) -> None:
        events.append(f"mkdir {path.name}")
        mkdir(path)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(Path, "mkdir", noted_mkdir)
    return events


def test_flusher_off_touches_nothing(tmp_path: Path) -> None:
    """Without durability not even a missing folder is noticed."""
    Flusher(is_on=False).folder(tmp_path / "missing")


# --- looking, moving and setting aside -----------------------------------------------------------------


@needs_links
def test_listing_tells_what_stands_there(disk: Destination) -> None:
    """A folder's files with their sizes, its folders, and everything else that no file is."""
    disk.write_atomic(FILE, [b"123"])
    (disk.root / RUN / "folder").mkdir()
    (disk.root / RUN / "link").symlink_to("output_1.png")
    listing = disk.listing(RUN)
    assert {name: (item.kind, item.size_bytes) for name, item in listing.items()} == {
        "output_1.png": (Kind.FILE, 3),
        "folder": (Kind.FOLDER, 0),
        "link": (Kind.OTHER, 0),
    }
    assert disk.listing(PurePosixPath("ws_z")) == {}


@needs_links
def test_is_file_is_true_of_files_alone(disk: Destination) -> None:
    """Neither a folder nor a link is a file, nor what is not there."""
    disk.write_atomic(FILE, [b"123"])
    (disk.root / RUN / "link").symlink_to("output_1.png")
    asked = [FILE, RUN, RUN / "link", RUN / "none", PurePosixPath("ws_z/none")]
    assert [disk.is_file(path) for path in asked] == [True, False, False, False, False]


def test_real_path_of_a_file(disk: Destination) -> None:
    """Where a file stands is told of files alone."""
    disk.write_atomic(FILE, [b"123"])
    assert disk.real_path(FILE) == disk.root / FILE
    with pytest.raises(OSError, match="not a regular file"):
        disk.real_path(RUN)


def test_what_is_refused_gets_no_name(disk: Destination) -> None:
    """A file whose check fails never stands under its name, and nothing is left of it."""

    def refuse(digest: Digest) -> None:
        assert digest.sha256 == hashlib.sha256(b"onetwo").hexdigest()
        raise ValueError("not these")

    with pytest.raises(ValueError, match="not these"):
        disk.write_atomic(FILE, [b"one", b"two"], check=refuse)
    assert (disk.exists(FILE), temporary_files(disk)) == (False, [])


def test_what_is_set_aside_overwrites_nothing(disk: Destination) -> None:
    """Each thing that is set aside gets a name of its own that tells what it was."""
    for data in (b"one", b"two"):
        disk.write_atomic(FILE, [data])
        assert disk.set_aside(FILE) is not None
    assert disk.set_aside(FILE) is None, "nothing stood there"
    aside = disk.root / base.ASIDE
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == {
        "run_c+output_1.png": b"one",
        "run_c+output_1.png.1": b"two",
    }


def test_a_copy_is_put_aside_where_there_is_a_file(disk: Destination) -> None:
    """A file stays where it is; what is no file is moved itself; of nothing nothing is kept."""
    disk.write_atomic(layout.MANIFEST, [b"broken"])
    assert disk.copy_aside(layout.MANIFEST) == base.ASIDE / "manifest.json"
    assert disk.read(layout.MANIFEST) == disk.read(base.ASIDE / "manifest.json") == b"broken"
    disk.remove(layout.MANIFEST)
    (disk.root / layout.MANIFEST).mkdir()
    assert disk.copy_aside(layout.MANIFEST) == base.ASIDE / "manifest.json.1"
    assert not disk.exists(layout.MANIFEST)
    assert disk.copy_aside(layout.MANIFEST) is None


def test_way_is_made_for_a_file(disk: Destination) -> None:
    """What a rename would cost somebody is set aside: other bytes, or a folder."""
    sha256 = hashlib.sha256(b"new").hexdigest()
    assert disk.make_way(FILE, sha256) is None
    for same in (b"new", b""):
        disk.write_atomic(FILE, [same])
        assert disk.make_way(FILE, sha256) is None
        assert disk.exists(FILE)
    disk.write_atomic(FILE, [b"somebody's"])
    assert disk.make_way(FILE, sha256) == base.ASIDE / "run_c+output_1.png"
    (disk.root / FILE).mkdir()
    assert disk.make_way(FILE, sha256) == base.ASIDE / "run_c+output_1.png.1"
    assert not disk.exists(FILE)


def test_a_move_takes_the_file_to_a_new_folder(disk: Destination) -> None:
    """A file is renamed within the archive; one that is not there moves nothing."""
    disk.write_atomic(PurePosixPath("lost.png"), [b"123"])
    assert disk.move(PurePosixPath("lost.png"), FILE)
    assert disk.read(FILE) == b"123"
    assert not disk.move(PurePosixPath("lost.png"), FILE)
    assert not disk.move(PurePosixPath("none/lost.png"), FILE)
    assert disk.read(FILE) == b"123"


@needs_links
def test_an_obstacle_is_the_first_thing_in_the_way(disk: Destination) -> None:
    """The highest link or file on the way to a folder is named; none where all is well, or nothing stands."""
    assert disk.obstacle(RUN) is None
    disk.write_atomic(FILE, [b"123"])
    assert disk.obstacle(RUN) is None
    disk.write_atomic(PurePosixPath("ws_b"), [b"a file"])
    assert disk.obstacle(PurePosixPath("ws_b/prj_a/run_c")) == PurePosixPath("ws_b")
    (disk.root / "ws_a/prj_c").symlink_to("prj_b")
    assert disk.obstacle(PurePosixPath("ws_a/prj_c/run_c")) == PurePosixPath("ws_a/prj_c")


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

    monkeypatch.setattr(durable, "_fcntl", SimpleNamespace(ioctl=share))
    monkeypatch.setattr(sys, "platform", "linux")
    disk.clone(tmp_path / "source.png", FILE, mtime_ms=1_600_000_000_000, check=seen.append)
    assert (disk.read(FILE), shared, seen[0].sha256) == (b"123", [3], hashlib.sha256(b"123").hexdigest())
    assert (disk.root / FILE).stat().st_mtime == 1_600_000_000

    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(OSError, match="cannot share blocks"):
        disk.clone(tmp_path / "source.png", RUN / "other.png", mtime_ms=None, check=seen.append)
    assert (disk.exists(RUN / "other.png"), temporary_files(disk)) == (False, [])


def test_an_archive_is_required(disk: Destination) -> None:
    """A folder is an archive once it has a manifest, or a journal of the first run."""
    with pytest.raises(DestinationError, match="there is no archive in") as caught:
        require_archive(disk)
    assert "mounted" in caught.value.hint
    for path in (layout.JOURNAL, layout.MANIFEST):
        disk.write_atomic(path, [b""])
        require_archive(disk)
        disk.remove(path)


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


def test_only_the_last_run_folders_are_remembered(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of folders does not grow with the history; what was forgotten is looked at again."""
    monkeypatch.setattr("floradl.storage.local.folder.MAX_RUN_DIRS", 50)
    monkeypatch.setattr(disk, "flusher", Flusher(is_on=False))

    # Of this alone: whatever else runs in the process takes and gives back memory at any time.
    ours = [tracemalloc.Filter(True, path) for path in (tree.__file__, pathlib.__file__, __file__)]

    def held() -> int:
        gc.collect()
        return sum(one.size for one in tracemalloc.take_snapshot().filter_traces(ours).statistics("filename"))

    def growth(numbers: range) -> int:
        before = held()
        for number in numbers:
            disk.ensure_dir(PurePosixPath(f"ws_a/prj_b/run_{number}"))
        return held() - before

    tracemalloc.start()
    try:
        assert growth(range(100)) > 5 * growth(range(100, 400))
    finally:
        tracemalloc.stop()
    place = disk.root / "ws_a/prj_b/run_7"
    assert disk.ensure_dir(PurePosixPath("ws_a/prj_b/run_7")) == place
    (place.with_name("run_8")).rmdir()
    (place.with_name("run_8")).write_bytes(b"in the way")
    with pytest.raises(NotADirectoryError):
        disk.ensure_dir(PurePosixPath("ws_a/prj_b/run_8"))


def test_no_forgotten_folder_is_made_on_another_disk(
    disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder that is not remembered any more is no reason to make one on the disk underneath."""
    monkeypatch.setattr("floradl.storage.local.folder.MAX_RUN_DIRS", 1)
    disk.ensure_dir(RUN)
    disk.ensure_dir(RUN.with_name("run_d"))
    (disk.root / RUN).rmdir()
    monkeypatch.setattr(disk, "_device", -1)
    with pytest.raises(FileNotFoundError, match="its disk was unmounted"):
        disk.ensure_dir(RUN)
    assert not (disk.root / RUN).exists()

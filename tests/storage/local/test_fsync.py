"""Whole writes and flushes: what is durable, and which threads share a flush."""

from __future__ import annotations

import errno
import importlib.util
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from floradl.storage.destination import Destination
from floradl.storage.local import fsync
from floradl.storage.local.fsync import OVERWRITE_FLAGS, Flusher, replace_file, write_all
from tests.storage.disk_support import (
    SlowFlush,
    fail_with,
    handles,
    needs_fsync,
    record_disk_events,
)


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time still gets all of them, in order."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


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

    monkeypatch.setattr(fsync, "_fcntl", Fcntl)
    with (tmp_path / "file").open("wb") as file:
        disk.flusher.file(file.fileno())
        assert asked == [(file.fileno(), 51)]


def test_a_system_without_fcntl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no `fcntl`; a file is flushed there all the same."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("fsync_on_windows", fsync.__file__)
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
    while flusher._folders[str(tmp_path)].asked < len(threads):
        threads[1].join(timeout=0.01)
    flush.may_end.set()
    for thread in threads:
        thread.join()
    assert flush.number == 2
    assert flusher._folders == {}


@needs_fsync
def test_no_flush_counts_after_one_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells of a failure once, and a second flush would succeed without a second write."""
    flusher = Flusher(is_on=True)
    answers = [OSError(errno.EIO, "broken"), None]

    def flush(_: int) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(os, "fsync", flush)
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            flusher.folder(tmp_path)
    flusher.folder(tmp_path.parent)  # another folder has nothing to do with it
    assert answers == []


@needs_fsync
def test_what_another_process_wrote_is_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is flushed, then dropped from the cache, then its name is flushed."""
    events = record_disk_events(monkeypatch)
    (tmp_path / "file").write_bytes(b"bytes")
    Flusher(is_on=True).existing(tmp_path / "file")
    assert events == ["fsync 5 bytes", "drop 0 0", f"fsync {tmp_path.name}"]


@needs_fsync
def test_a_system_whose_cache_cannot_be_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is flushed there all the same."""
    events = record_disk_events(monkeypatch)
    monkeypatch.delattr(os, "posix_fadvise")
    (tmp_path / "file").write_bytes(b"bytes")
    Flusher(is_on=True).existing(tmp_path / "file")
    assert events == ["fsync 5 bytes", f"fsync {tmp_path.name}"]


def test_nothing_of_another_process_is_flushed_without_durability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gave flushes up gets none here either, and the cache is kept."""
    events = record_disk_events(monkeypatch)
    (tmp_path / "file").write_bytes(b"bytes")
    Flusher(is_on=False).existing(tmp_path / "file")
    with (tmp_path / "file").open("rb") as file:
        Flusher(is_on=False).settle(file.fileno())
    assert events == []


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
    while flusher._folders[str(tmp_path)].asked < len(threads):
        threads[1].join(timeout=0.01)
    flush.may_end.set()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["[Errno 5] broken"] * 3 + ["durable"]
    assert flusher._folders == {}


def test_flusher_off_touches_nothing(tmp_path: Path) -> None:
    """Without durability not even a missing folder is noticed."""
    Flusher(is_on=False).folder(tmp_path / "missing")


@pytest.mark.parametrize("is_flushed", [True, False])
def test_a_small_file_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_flushed: bool
) -> None:
    """A small file takes the place of the old one, flushed where that was asked for, with no handle left."""
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    (tmp_path / "file").write_bytes(b"old")
    before = handles()
    replace_file(tmp_path / "new", tmp_path / "file", b"bytes", mode=0o600, is_flushed=is_flushed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"bytes"}
    assert (len(flushed), handles()) == (is_flushed, before)
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
def test_a_small_file_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Whatever step fails, the old file is whole, and neither a temporary file nor a handle is left."""
    (tmp_path / "file").write_bytes(b"old")
    before = handles()
    fail_with(monkeypatch, function, errno.ENOSPC)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        replace_file(tmp_path / "new", tmp_path / "file", b"bytes", is_flushed=True)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}
    assert handles() == before


def test_a_temporary_file_of_a_killed_process(tmp_path: Path) -> None:
    """It is written over where its name can be no other's, and otherwise refused and left alone."""
    (tmp_path / "new").write_bytes(b"a longer rest")
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "new", tmp_path / "file", b"bytes")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": b"a longer rest"}
    replace_file(tmp_path / "new", tmp_path / "file", b"bytes", flags=OVERWRITE_FLAGS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"bytes"}

"""The steps that durability is made of: whole writes, flushes, hashes, refusals of links.

Blocking. `tree` and `partial` alone use them; no other code but `direct` writes an archive's files.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

_FICLONE = 0x40049409  # linux/fs.h

# Without O_NONBLOCK, opening a pipe that stands where a file should be waits for ever.
_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
READ_FLAGS = os.O_RDONLY | _SAFE_FLAGS
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | _SAFE_FLAGS


@dataclass(slots=True)
class _Turn:
    """Who waits for a flush of one folder: how many asked, how many of them a flush covers, how many left.

    `error` is what the last flush failed with: the system tells of a failure once, so whoever that flush
    was for learns of it here, and would learn nothing from another flush.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    covered: int = 0
    left: int = 0
    error: OSError | None = None


class Flusher:
    """Makes files and folders durable, or leaves that to the system.

    Args:
        is_on: False leaves it: faster, and a power cut can cost files that were recorded.

    Attributes:
        is_on: as told.
    """

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()

    def file(self, descriptor: int) -> None:
        """Flush a file's bytes and size."""
        if not self.is_on:
            return
        full_sync = getattr(_fcntl, "F_FULLFSYNC", None)
        if full_sync is not None and _fcntl is not None:  # macOS: fsync leaves the data in the drive's cache
            _fcntl.fcntl(descriptor, full_sync)
        else:
            os.fsync(descriptor)

    def ahead(self, descriptor: int) -> None:
        """Begin early with what `file` will have to do; what was written may still be lost after it."""
        if self.is_on:
            getattr(os, "fdatasync", os.fsync)(descriptor)

    def folder(self, path: Path | str) -> None:
        """Flush a folder, so that a name in it stays. Threads that ask at the same time share a flush.

        Raises:
            OSError: it failed; for each of those who shared it.
        """
        if not self.is_on or os.name == "nt":  # Windows cannot open a folder, and journals names itself
            return
        name = str(path)
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
            turn.asked += 1
            mine = turn.asked
        try:
            with turn.lock:
                if turn.covered < mine:
                    turn.covered = turn.asked  # all who asked until now did what they want to be flushed
                    turn.error = None
                    try:
                        _flush_folder(path)
                    except OSError as exc:
                        turn.error = exc
                if turn.error is not None:
                    raise turn.error
        finally:
            with self._lock:
                turn.left += 1
                if turn.left == turn.asked:
                    self._turns.pop(name, None)

    def found(self, path: Path) -> None:
        """Flush a file that another process left, and its folder: it may have been killed before it did."""
        self.content(path)
        self.folder(path.parent)

    def content(self, path: Path | str) -> None:
        """Flush a file that is not open: another process may not have done it."""
        if not self.is_on or os.name == "nt":  # Windows flushes only what is open for writing
            return
        descriptor = open_regular(path)
        try:
            self.file(descriptor)
        finally:
            os.close(descriptor)

    def seal(self, descriptor: int, path: Path | str, mtime_ms: int | None) -> None:
        """Date and flush a file that is complete. The date goes first, so that the flush covers it."""
        if mtime_ms is not None:
            os.utime(path, ns=(mtime_ms * 1_000_000, mtime_ms * 1_000_000))
        self.file(descriptor)


def open_regular(path: Path | str) -> int:
    """Open a file to read; raise `OSError` unless a regular file itself, not a link to one, stands there."""
    descriptor = os.open(path, READ_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _flush_folder(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_real_dir(path: Path | str, status: os.stat_result | None = None) -> None:
    """Raise `OSError` unless a folder itself, not a link to one, stands at `path`.

    Args:
        path: where.
        status: what `lstat` just said of it, if somebody asked.
    """
    mode = (status or os.lstat(path)).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(
            errno.ELOOP, "a symbolic link stands where a folder of the archive should be", str(path)
        )
    if not stat.S_ISDIR(mode):
        raise OSError(errno.ENOTDIR, "a file stands where a folder of the archive should be", str(path))


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def share_blocks(source: Path, descriptor: int) -> None:
    """Let an empty file share all blocks of another; `OSError` where file system or platform cannot."""
    if _fcntl is None or not sys.platform.startswith("linux"):
        raise OSError(errno.ENOTSUP, "this system cannot share blocks between files")
    with os.fdopen(os.open(source, READ_FLAGS), "rb") as file:
        _fcntl.ioctl(descriptor, _FICLONE, file.fileno())


try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]  # there it is never looked at

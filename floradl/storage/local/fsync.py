"""The steps that durability is made of: whole writes, flushes, and renames of files that are complete.

A file that may be seen under its final name has to be whole, also after `kill -9` or a power cut. So it is
written under a temporary name, flushed, renamed, and the folder that holds the name is flushed after that.
`folder`, `partial` and the writer processes put an archive's files together from these steps; `direct_io`
is another way to write the bytes of large files. Everything here blocks.

A flush that failed is final. The system tells of it once, and keeps the bytes that it could not write in its
cache as if they were on the disk: a second flush succeeds, and whoever reads the file gets the right bytes,
until the cache is gone. So a flush counts only if none failed before it. What another process wrote is
flushed, and then read from the disk and not from the cache (`Flusher.settle`), before it is trusted.
Source: fsync(2), "EIO"; PostgreSQL's wiki, "Fsync Errors".
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from floradl.storage.local.no_links import READ_FLAGS, WRITE_FLAGS, HeldFolder, open_regular

Hold = Callable[[], AbstractContextManager[HeldFolder]]
"""Holds a folder in a `with` block; see `no_links.held_folder`."""

_FICLONE = 0x40049409  # linux/fs.h

NEW_FILE_FLAGS = WRITE_FLAGS | os.O_EXCL
"""Flags of `os.open` for a file that must not be there yet."""
OVERWRITE_FLAGS = WRITE_FLAGS | os.O_TRUNC
"""Flags of `os.open` for a file that may be there, left by a process that was killed; it is emptied."""


@dataclass(slots=True)
class _SharedFlush:
    """The threads that want one folder flushed.

    Attributes:
        lock: held by the thread that flushes.
        asked: how many threads have asked so far.
        covered: how many of them, in the order in which they asked, the last flush was for.
        left: how many of them have gone on.
        error: what the last flush failed with. The system tells of a failure only once, so every thread
            that this flush was for must learn of it here: a flush of its own would seem to succeed.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    covered: int = 0
    left: int = 0
    error: OSError | None = None


class Flusher:
    """Makes files and folders durable, or leaves that to the system.

    Args:
        is_on: False does not flush anything. That is faster, and a power cut can then cost files that were
            recorded as archived.

    Attributes:
        is_on: as given.
    """

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self._folders: dict[str, _SharedFlush] = {}
        self._failed: dict[str, OSError] = {}  # folders of which a flush has failed
        self._lock = threading.Lock()

    def file(self, descriptor: int) -> None:
        """Flush the bytes and the size of an open file."""
        if not self.is_on:
            return
        full_sync = getattr(_fcntl, "F_FULLFSYNC", None)
        if full_sync is not None and _fcntl is not None:  # macOS: fsync leaves the data in the drive's cache
            _fcntl.fcntl(descriptor, full_sync)
        else:
            os.fsync(descriptor)

    def data_early(self, descriptor: int) -> None:
        """Flush what was written to an open file so far, so that `file` has less to do at the end.

        This promises nothing by itself: only `file` makes the file durable.
        """
        if self.is_on:
            getattr(os, "fdatasync", os.fsync)(descriptor)

    def folder(self, path: Path | str) -> None:
        """Flush a folder, so that a name that was made in it stays. Threads that ask together share a flush.

        Raises:
            OSError: the flush failed, or one of the same folder did before; raised in each thread that
                shared it.
        """
        if not self.is_on or os.name == "nt":  # Windows cannot open a folder; NTFS journals names itself
            return
        name = str(path)
        with self._lock:
            shared = self._folders.setdefault(name, _SharedFlush())
            shared.asked += 1
            mine = shared.asked
        try:
            with shared.lock:
                if shared.covered < mine:
                    # Read before the flush begins: a thread that asks later may make its name after the
                    # flush went by, so it needs another one.
                    shared.covered = shared.asked
                    shared.error = self._failed.get(name)
                    try:
                        if shared.error is None:
                            _flush_folder(path)
                    except OSError as exc:
                        # Kept: a name that was made before this flush is lost with it, and the next flush
                        # would seem to keep it.
                        shared.error = self._failed[name] = exc
                if shared.error is not None:
                    raise shared.error
        finally:
            with self._lock:
                shared.left += 1
                if shared.left == shared.asked:  # nobody waits for it: forget it, an archive has many folders
                    self._folders.pop(name, None)

    def settle(self, descriptor: int) -> None:
        """Flush an open file that another process wrote, and let it be read from the disk from now on.

        That process may have been killed before it flushed the file. Or a flush of it failed, and the cache
        still has the bytes that the disk has not: this flush succeeds then, so the cache is dropped.

        Raises:
            OSError: the flush failed.
        """
        self.file(descriptor)
        if self.is_on and hasattr(os, "posix_fadvise"):  # where it is not there, the cache cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def existing(self, path: Path) -> None:
        """Make durable a file that another process left, and its name. Read it after this, not before."""
        if not self.is_on or os.name == "nt":  # as `closed_file`
            return
        descriptor = open_regular(path)
        try:
            self.settle(descriptor)
        finally:
            os.close(descriptor)
        self.folder(path.parent)

    def closed_file(self, path: Path | str) -> None:
        """Flush the bytes of a file that is not open, since another process may not have done so."""
        if not self.is_on or os.name == "nt":  # Windows flushes only files that are open for writing
            return
        descriptor = open_regular(path)
        try:
            self.file(descriptor)
        finally:
            os.close(descriptor)

    def date_and_flush(self, descriptor: int, path: Path | str, mtime_ms: int | None) -> None:
        """Give a complete file its date, and flush it. In this order, so that the flush covers the date.

        Args:
            descriptor: the file, open.
            path: the file's path, since not every system can date an open file.
            mtime_ms: its date, in milliseconds since 1970; None leaves the time of the last write.
        """
        if mtime_ms is not None:
            os.utime(path, ns=(mtime_ms * 1_000_000, mtime_ms * 1_000_000))
        self.file(descriptor)


def _flush_folder(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_new(path: str) -> int:
    """Make an empty file and open it to write; `FileExistsError` when anything stands there already."""
    return os.open(path, NEW_FILE_FLAGS, 0o666)


def rename_when_complete(
    temporary: str,
    target: str,
    complete: Callable[[], None],
    hold: Hold | None = None,
) -> None:
    """Complete a temporary file, then give it its final name; if either fails, remove the temporary file.

    Args:
        temporary: the temporary file, made by the caller just now. The caller makes it, so that the file
            of somebody else is not removed when it turns out that the name is taken.
        target: the final name, in a folder of the same file system. What stands there is replaced.
        complete: writes, checks, flushes and closes the temporary file; raises to refuse it.
        hold: as for `rename_into`.
    """
    try:
        complete()
        rename_into(temporary, target, hold)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def rename_into(source: str, target: str, hold: Hold | None) -> None:
    """Rename a file, in place of what stands at the target.

    Args:
        source, target: its path, and its new one.
        hold: holds the folder of `target` during the rename; None for a folder that nobody else writes to.
    """
    # No `Path`: for a small file, to make two path objects takes longer than the call itself.
    path, _, name = target.rpartition("/")
    with hold() if hold is not None else nullcontext(HeldFolder(None, path)) as folder:
        os.replace(source, folder.name(name), dst_dir_fd=folder.descriptor)


def replace_file(
    temporary: Path,
    target: Path,
    data: bytes,
    *,
    flags: int = NEW_FILE_FLAGS,
    mode: int = 0o666,
    is_flushed: bool = False,
) -> None:
    """Write a small file whole or not at all, in place of any that is there.

    Args:
        temporary: where to write it first; in the same folder as `target`.
        target: its final name.
        data: its bytes.
        flags: how to open the temporary file: `NEW_FILE_FLAGS` or `OVERWRITE_FLAGS`.
        mode: who may read and write it; the process's umask takes away from this.
        is_flushed: whether its bytes are flushed before it is renamed. Without it, a power cut can leave an
            empty or a torn file.
    """
    descriptor = os.open(temporary, flags, mode)

    def complete() -> None:
        try:
            write_all(descriptor, data)
            if is_flushed:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    rename_when_complete(str(temporary), str(target), complete)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes: one call of the system may write fewer than it was given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def share_blocks(source: Path, descriptor: int) -> None:
    """Let an empty file share all blocks of another file on the disk (a reflink).

    Args:
        source: the other file.
        descriptor: the empty file, open for writing.

    Raises:
        OSError: the system or the file system cannot share blocks.
    """
    if _fcntl is None or not sys.platform.startswith("linux"):
        raise OSError(errno.ENOTSUP, "this system cannot share blocks between files")
    with os.fdopen(os.open(source, READ_FLAGS), "rb") as file:
        _fcntl.ioctl(descriptor, _FICLONE, file.fileno())


try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]  # checked before each use

"""The archive's folder: with `durable` and `partial` the only code that writes files.

Guarantees:

- A final name appears only by renaming a file that was written whole and flushed (`fsync`), and the
  folder is flushed after it, so that a name that was seen once is still there after a power cut.
- Nothing is written through a symbolic link inside the archive, and no link is read.
- When DEST's disk is unmounted in mid-run, no folder is made on the disk underneath.
- Blocking work runs in threads of its own (`Disk.call`), never on the event loop; a cancelled caller
  waits until its piece of work has ended, so no thread touches a file that somebody else closes.
- Every `OSError` becomes a `DestinationError` here, which is fatal: a full disk is nobody's retry.

Methods that are not `async` block. Call them through `Disk.call`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import ParamSpec, TypeVar

import aiofiles.os

from floradl import layout
from floradl.durable import (
    BLOCK_BYTES,
    READ_FLAGS,
    WRITE_FLAGS,
    Digest,
    Flusher,
    Meter,
    destination_error,
    require_real_dir,
    write_all,
)

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """An archive's folder.

    Args:
        root: DEST.
        fsync: whether to flush before a name or an entry is trusted. Without it a power cut can cost
            files; a killed process still cannot.
        threads: how many pieces of file work run at the same time.
    """

    def __init__(self, root: Path, *, fsync: bool = True, threads: int = 8) -> None:
        self.root = root
        self.flusher = Flusher(is_on=fsync)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="floradl-disk")
        self._known_dirs: set[PurePosixPath] = {PurePosixPath()}
        self._dirs_lock = threading.Lock()
        self._device: int | None = None

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking file work in a thread.

        Raises:
            DestinationError: for any `OSError`.
            asyncio.CancelledError: only after the work has ended.
        """

        def job() -> T:
            try:
                return work(*args, **kwargs)
            except OSError as exc:
                raise destination_error(exc, self.root) from exc

        running = asyncio.ensure_future(aiofiles.os.wrap(job)(executor=self._executor))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(asyncio.CancelledError):  # asked again; it is raised below
                    await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # looked at, so that asyncio does not complain about it
            raise

    def close(self) -> None:
        """Wait for running work and stop the threads."""
        self._executor.shutdown(wait=True)

    def prepare(self) -> None:
        """Make DEST and its private folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (layout.PRIVATE, layout.PARTIALS, layout.TEMPORARY):
            self.ensure_dir(folder)

    def clean(self) -> None:
        """Remove temporary files and partials that cannot be resumed. Only for the lock's holder."""
        for entry in list(os.scandir(self.root / layout.TEMPORARY)):
            Path(entry.path).unlink()
        partials = self.root / layout.PARTIALS
        names = {entry.name for entry in list(os.scandir(partials))}
        for name in names:
            stem, _, suffix = name.rpartition(".")
            if not {"part": f"{stem}.json" in names, "json": f"{stem}.part" in names}.get(suffix, False):
                (partials / name).unlink()

    def ensure_dir(self, relative: PurePosixPath) -> Path:
        """Make a folder below DEST, each new level flushed; refuse one that is a link or a file."""
        path = self.root / relative
        if relative in self._known_dirs:
            return path
        parent = self.ensure_dir(relative.parent)
        with self._dirs_lock:
            if relative not in self._known_dirs:
                self._require_same_device()
                try:
                    path.mkdir()
                    self.flusher.folder(parent)
                except FileExistsError:
                    require_real_dir(path)
                self._known_dirs.add(relative)
        return path

    def _require_same_device(self) -> None:
        """Raise `OSError` when another disk stands at DEST than the one that was there at first.

        Files cannot get there, since all begin in the private folder; a new folder could. The device alone is
        compared: on some network file systems a folder's own number changes.
        """
        device = self.root.stat().st_dev
        if self._device is None:
            self._device = device
        if device != self._device:
            raise FileNotFoundError(errno.ENOENT, "its disk was unmounted", str(self.root))

    def write_atomic(
        self, relative: PurePosixPath, parts: Iterable[bytes], *, mtime_ms: int | None = None
    ) -> Digest:
        """Write a whole file: temporary file, flush, rename, flush of the folder. Replaces what is there."""
        folder = self.ensure_dir(relative.parent)
        temporary = self.root / layout.TEMPORARY / secrets.token_hex(12)
        meter = Meter()
        descriptor = os.open(temporary, WRITE_FLAGS | os.O_EXCL, 0o666)
        try:
            try:
                for part in parts:
                    write_all(descriptor, part)
                    meter.take(part)
                self.flusher.seal(descriptor, temporary, mtime_ms)
            finally:
                os.close(descriptor)
            temporary.replace(folder / relative.name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.flusher.folder(folder)
        return meter.digest()

    def read(self, relative: PurePosixPath) -> bytes | None:
        """A file's bytes; None when there is none."""
        try:
            descriptor = self._open_existing(relative)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def exists(self, relative: PurePosixPath) -> bool:
        """Whether anything stands there, a link included."""
        return os.path.lexists(self.root / relative)

    def digest(self, relative: PurePosixPath) -> Digest:
        """Read a file and hash it."""
        with os.fdopen(self._open_existing(relative), "rb", buffering=0) as file:
            meter = Meter()
            while block := file.read(BLOCK_BYTES):
                meter.take(block)
            return meter.digest()

    def sizes(self, folders: Sequence[PurePosixPath]) -> list[Mapping[str, int]]:
        """For each folder, the names of its regular files and their sizes; links and folders left out."""
        return [self._sizes(folder) for folder in folders]

    def remove(self, relative: PurePosixPath) -> None:
        """Remove one of floradl's own files, if it is there, and flush the folder."""
        self._require_real_dirs(relative.parent)
        path = self.root / relative
        path.unlink(missing_ok=True)
        self.flusher.folder(path.parent)

    def open_append(self, relative: PurePosixPath, *, keep_bytes: int) -> AppendFile:
        """Open a file to append to, cut to its first `keep_bytes` bytes; made when missing."""
        folder = self.ensure_dir(relative.parent)
        descriptor = os.open(folder / relative.name, WRITE_FLAGS | os.O_APPEND, 0o666)
        try:
            os.ftruncate(descriptor, keep_bytes)
            self.flusher.file(descriptor)
            self.flusher.folder(folder)
        except BaseException:
            os.close(descriptor)
            raise
        return AppendFile(descriptor, self.flusher)

    def _sizes(self, folder: PurePosixPath) -> Mapping[str, int]:
        try:
            self._require_real_dirs(folder)
            with os.scandir(self.root / folder) as entries:
                return {
                    entry.name: entry.stat(follow_symlinks=False).st_size
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                }
        except FileNotFoundError:
            return {}

    def _require_real_dirs(self, folder: PurePosixPath) -> None:
        for level in (*reversed(folder.parents), folder):
            if level not in self._known_dirs:
                require_real_dir(self.root / level)

    def _open_existing(self, relative: PurePosixPath) -> int:
        self._require_real_dirs(relative.parent)
        path = self.root / relative
        descriptor = os.open(path, READ_FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return descriptor


class AppendFile:
    """A file that grows by whole, flushed appends."""

    def __init__(self, descriptor: int, flusher: Flusher) -> None:
        self._descriptor = descriptor
        self._flusher = flusher

    def append(self, data: bytes) -> None:
        """Append and flush; when this returns, the bytes are durable."""
        write_all(self._descriptor, data)
        self._flusher.file(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

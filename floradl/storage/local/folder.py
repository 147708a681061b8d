"""Writes an archive's folder. Apart from this package, no code writes an archive's files.

Guarantees:

- A final name appears only by renaming a file that was written whole and flushed (`fsync`). The folder is
  flushed after that, so a name that was seen once is still there after a power cut.
- Nothing is written through a symbolic link inside the archive, and no link is read.
- When DEST's disk is unmounted in the middle of a run, no folder is made on the disk underneath.

Everything here blocks. `destination.Destination` is the same with threads to call it in.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath

from floradl.errors import DestinationError
from floradl.storage import base
from floradl.storage.aside import make_way
from floradl.storage.base import COARSE_NS, NewFile, Written
from floradl.storage.digest import Digest, Meter
from floradl.storage.local.fsync import (
    NEW_FILE_FLAGS,
    Flusher,
    create_new,
    rename_when_complete,
    share_blocks,
    write_all,
)
from floradl.storage.local.no_links import WRITE_FLAGS, HeldFolder, held_folder, require_real_dir
from floradl.storage.local.reader import LocalReader, digest_of


class LocalStorage(LocalReader):
    """An archive's folder. Places are relative to the archive.

    Args:
        root: the archive's folder (DEST).
        fsync: whether to flush before a name or an entry is trusted. Without it a power cut can cost files;
            a killed process still cannot.
        min_free_bytes: how much room on its disk is left to others.
        device: the number of the disk that the archive is on (`st_dev`); None takes the disk that is there
            when it is first looked at.

    Attributes:
        min_free_bytes: as given.
        flusher: makes files and folders durable.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        min_free_bytes: int = 0,
        device: int | None = None,
    ) -> None:
        super().__init__(root)
        self.min_free_bytes = min_free_bytes
        self.flusher = Flusher(is_on=fsync)
        self._device = device
        self._token = secrets.token_hex(8)
        self._numbers = itertools.count()

    @property
    def device(self) -> int | None:
        """The number of the disk that the archive is on; None before it was looked at."""
        return self._device

    def require_room(self, coming_bytes: int = 0) -> None:
        """Make sure that enough room on the disk stays free when so many more bytes are written.

        Raises:
            DestinationError: less than `min_free_bytes` would be left.
        """
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes - coming_bytes < self.min_free_bytes:
            raise DestinationError(
                f"{self.root} has {free_bytes} bytes free, and {self.min_free_bytes} shall stay so",
                hint="Make room, or lower --min-free; the same command goes on from here.",
            )

    def prepare(self) -> None:
        """Make DEST and its private folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (base.PRIVATE, base.PARTIALS, *base.TEMPORARIES):
            self.ensure_dir(folder)

    def clean(self) -> None:
        """Remove the temporary files of processes that are gone, and partials that cannot be resumed.

        Only for the holder of the archive's lock: another process's temporary files would be removed too.
        A partial can be resumed when both of its files are there, the bytes and the checkpoint.
        """
        for folder, _, files in os.walk(self.root / base.TEMPORARY):
            for file in files:
                Path(folder, file).unlink()
        partials = self.root / base.PARTIALS
        names = {entry.name for entry in list(os.scandir(partials))}
        for name in names:
            stem, _, suffix = name.rpartition(".")
            if not {"part": f"{stem}.json" in names, "json": f"{stem}.part" in names}.get(suffix, False):
                (partials / name).unlink()

    def ensure_dir(self, relative: PurePosixPath) -> Path:
        """Make a folder and all folders above it, each durable; one that is there is fine.

        Returns:
            Its path.

        Raises:
            OSError: a link or a file stands in its place or above it, or the disk was unmounted.
        """
        if relative in self.known_folders:
            return self.root / relative
        path = self.root / relative
        parent = self.ensure_dir(relative.parent)
        self._require_same_device()
        try:
            with self.hold(relative.parent) as above:
                os.mkdir(above.name(relative.name), dir_fd=above.descriptor)
        except FileExistsError:
            require_real_dir(path)
        # Also when the folder was there: another thread may have made it a moment ago and not flushed its
        # name yet, and a power cut would take the folder with all that this thread is about to write in it.
        # No lock is held, so that threads that make folders of many runs share the flushes of the project's.
        self.flusher.folder(parent)
        self.known_folders.add(relative)
        return path

    def hold(self, folder: PurePosixPath) -> AbstractContextManager[HeldFolder]:
        """Hold a folder of the archive while names in it are made, changed or removed; see `held_folder`."""
        return held_folder(self.root, str(folder))

    def _require_same_device(self) -> None:
        """Raise `OSError` when DEST is on another disk than at first, as after its disk was unmounted.

        Files need no such check: they begin in the private folder, which is not there any more then. The
        number of the device alone is compared: on some network file systems a folder's inode changes.
        """
        device = self.root.stat().st_dev
        if self._device is None:
            self._device = device
        if device != self._device:
            raise FileNotFoundError(errno.ENOENT, "its disk was unmounted", str(self.root))

    def write_atomic(
        self,
        relative: PurePosixPath,
        parts: Iterable[bytes | memoryview],
        *,
        mtime_ms: int | None = None,
        check: Callable[[Digest], None] = lambda _: None,
        make_room: Callable[[Digest], None] = lambda _: None,
    ) -> Digest:
        """Write a whole file: temporary file, flush, rename, flush of the folder. Replaces what is there.

        Args:
            relative: its place.
            parts: its bytes.
            mtime_ms: its date, in milliseconds since 1970; None for now.
            check: called with the digest of what was written, before the flush; raises to refuse it.
            make_room: called with the same, once it is flushed and just before the rename, to set aside what
                stands at its place.

        Returns:
            The digest of the file.
        """
        self.ensure_dir(relative.parent)
        meter = self._write(relative.parent, relative.name, parts, mtime_ms, check, make_room)
        self.flush_folder(relative.parent)
        return meter.digest()

    def write_files(
        self,
        folder: PurePosixPath,
        files: Iterable[NewFile],
        mtime_ms: int | None,
        *,
        is_flushed_later: bool = False,
    ) -> list[Written]:
        """Write files of one folder, one after another, as `write_atomic` does; flush the folder once.

        Args:
            folder: their folder.
            files: the files.
            mtime_ms: their date, in milliseconds since 1970; None for now.
            is_flushed_later: whether the caller flushes the folder (`flush_folder`) before it reports the
                files as durable.
        """
        self.ensure_dir(folder)
        folder_path = f"{self.root}/{folder}"
        written = [self._write_new(folder, folder_path, file, mtime_ms) for file in files]
        if not is_flushed_later:
            self.flusher.folder(folder_path)
        return written

    def _write_new(
        self, folder: PurePosixPath, folder_path: str, file: NewFile, mtime_ms: int | None
    ) -> Written:
        in_the_way: PurePosixPath | None = None
        target = f"{folder_path}/{file.name}"

        def make_room(digest: Digest) -> None:
            nonlocal in_the_way
            if not file.replaces and os.path.lexists(target):
                in_the_way = make_way(self, folder / file.name, digest.sha256)

        meter = self._write(folder, file.name, file.chunks, mtime_ms, lambda _: None, make_room)
        return Written(meter.digest(), in_the_way)

    def _write(
        self,
        folder: PurePosixPath,
        name: str,
        parts: Iterable[bytes | memoryview],
        mtime_ms: int | None,
        check: Callable[[Digest], None],
        make_room: Callable[[Digest], None],
    ) -> Meter:
        """As `write_atomic`, into a folder that is there and that the caller flushes."""
        meter = Meter()
        temporary = self._temporary_path()
        descriptor = create_new(temporary)

        def complete() -> None:
            try:
                for part in parts:
                    write_all(descriptor, part)
                    meter.take(part)
                check(meter.digest())
                self.flusher.date_and_flush(descriptor, temporary, mtime_ms)
            finally:
                os.close(descriptor)
            make_room(meter.digest())

        target = f"{self.root}/{folder}/{name}"
        rename_when_complete(temporary, target, complete, lambda: self.hold(folder))
        return meter

    def flush_folder(self, folder: PurePosixPath) -> None:
        """Make the names in a folder durable."""
        self.flusher.folder(f"{self.root}/{folder}")

    def clone(
        self,
        source: Path,
        relative: PurePosixPath,
        *,
        mtime_ms: int | None,
        check: Callable[[Digest], None],
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a file that shares the blocks of another one (a reflink), as durably as `write_atomic`.

        Args:
            source: the other file, on the same file system.
            relative, mtime_ms: as for `write_atomic`.
            check: called with the digest of the new file, which is read for that; raises to refuse it.
            make_room: called once the file is flushed and just before the rename.

        Raises:
            OSError: the system or the file system cannot share blocks, or the disk fails.
        """
        self.ensure_dir(relative.parent)
        temporary = self._temporary_path()
        descriptor = create_new(temporary)

        def complete() -> None:
            try:
                share_blocks(source, descriptor)
                check(digest_of(temporary))
                self.flusher.date_and_flush(descriptor, temporary, mtime_ms)
            finally:
                os.close(descriptor)
            make_room()

        target = f"{self.root}/{relative}"
        rename_when_complete(temporary, target, complete, lambda: self.hold(relative.parent))
        self.flush_folder(relative.parent)

    def link(
        self,
        source: Path,
        relative: PurePosixPath,
        *,
        check: Callable[[Digest], None],
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Give another file a second name (a hard link), as durably as `write_atomic`.

        Both names are one file, so its date stays as it is, and a change of one is a change of the other.

        Args:
            source, relative, check, make_room: as for `clone`.

        Raises:
            OSError: the file system has no hard links, or the disk fails.
        """
        self.ensure_dir(relative.parent)
        temporary = self._temporary_path()
        os.link(source, temporary)

        def complete() -> None:
            check(digest_of(temporary))
            self.flusher.closed_file(temporary)
            make_room()

        target = f"{self.root}/{relative}"
        rename_when_complete(temporary, target, complete, lambda: self.hold(relative.parent))
        # Where the target is a name of this file already, the rename does nothing; the temporary name stays.
        Path(temporary).unlink(missing_ok=True)
        self.flush_folder(relative.parent)

    def _temporary_path(self) -> str:
        """The path of a temporary file that no other thread and no other process uses."""
        number = next(self._numbers)
        folder = base.TEMPORARIES[number % len(base.TEMPORARIES)]
        return f"{self.root}/{folder}/{self._token}-{number}"

    def moment_ns(self) -> int | None:
        """Now, by the clock of the archive's file system, which on a network is not this machine's clock.

        Returns:
            Nanoseconds since 1970; None where making a file in a folder does not change the folder's date.
        """
        folder = self.ensure_dir(base.TEMPORARY)
        temporary = folder / secrets.token_hex(12)
        descriptor = os.open(temporary, NEW_FILE_FLAGS, 0o666)
        try:
            moment_ns = os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
            temporary.unlink()
        return moment_ns if folder.lstat().st_mtime_ns >= moment_ns - COARSE_NS else None

    def adopt(self, relative: PurePosixPath) -> Digest:
        """Make durable, read and hash a file that is to be recorded and that another process wrote."""
        # In this order: what is hashed has to be what the disk has, see `Flusher.settle`.
        self._require_real_dirs(relative.parent)
        self.flush_existing(relative)
        return self.digest(relative)

    def flush_existing(self, relative: PurePosixPath) -> None:
        """Make durable a file, and its name, that another process left. Whoever trusts it reads it after."""
        self.flusher.existing(self.root / relative)

    def remove(self, relative: PurePosixPath) -> None:
        """Remove one of floradl's own files, if it is there, and flush the folder."""
        path = self.root / relative
        with self.hold(relative.parent) as folder, suppress(FileNotFoundError):
            os.unlink(folder.name(relative.name), dir_fd=folder.descriptor)
        self.flusher.folder(path.parent)

    def move(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        """Rename within the archive and flush both folders; False when nothing stands at `source`."""
        folder = self.ensure_dir(target.parent)
        try:
            with self.hold(source.parent) as out_of, self.hold(target.parent) as into:
                os.replace(
                    out_of.name(source.name),
                    into.name(target.name),
                    src_dir_fd=out_of.descriptor,
                    dst_dir_fd=into.descriptor,
                )
        except FileNotFoundError:
            return False
        self.flusher.folder(folder)
        self.flusher.folder(self.root / source.parent)
        return True

    def open_append(self, relative: PurePosixPath, *, keep_bytes: int) -> AppendFile:
        """Open a file to append to; made where it is missing.

        Args:
            relative: its place.
            keep_bytes: the file is cut to so many bytes first, so that nothing is appended to a torn end.
        """
        folder = self.ensure_dir(relative.parent)
        with self.hold(relative.parent) as held:
            flags = WRITE_FLAGS | os.O_APPEND
            descriptor = os.open(held.name(relative.name), flags, 0o666, dir_fd=held.descriptor)
        try:
            os.ftruncate(descriptor, keep_bytes)
            self.flusher.file(descriptor)
            self.flusher.folder(folder)
        except BaseException:
            os.close(descriptor)
            raise
        return AppendFile(descriptor, self.flusher)


class AppendFile:
    """A file that grows by whole, flushed appends.

    Args:
        descriptor: the file, opened with `O_APPEND`; closed by `close`.
        flusher: flushes each append.
    """

    def __init__(self, descriptor: int, flusher: Flusher) -> None:
        self._descriptor = descriptor
        self._flusher = flusher
        self._error: OSError | None = None

    def append(self, data: bytes) -> None:
        """Append and flush. When this returns, the bytes are durable.

        Raises:
            OSError: the disk failed, now or at an earlier append. What stands behind a failed append could
                not be read, and its flush would seem to make the failed one durable.
        """
        if self._error is not None:
            raise self._error
        try:
            write_all(self._descriptor, data)
            self._flusher.file(self._descriptor)
        except OSError as exc:
            self._error = exc
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

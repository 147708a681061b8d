"""The archive's folder: with `durable` and `partial` the only code that writes files.

Guarantees:

- A final name appears only by renaming a file that was written whole and flushed (`fsync`), and the
  folder is flushed after it, so that a name that was seen once is still there after a power cut.
- Nothing is written through a symbolic link inside the archive, and no link is read.
- When DEST's disk is unmounted in mid-run, no folder is made on the disk underneath.

All of it blocks. `destination.Destination` is the same with threads to call it in.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from floradl.errors import DestinationError
from floradl.storage import base
from floradl.storage.base import COARSE_NS, FileId, Item, Kind, NewFile, Written
from floradl.storage.digest import Digest, Meter
from floradl.storage.local.fsync import (
    WRITE_FLAGS,
    Flusher,
    open_regular,
    require_real_dir,
    share_blocks,
    write_all,
)
from floradl.storage.local.reader import blocks_of, digest_of, items_of

T = TypeVar("T")


MAX_RUN_DIRS = 2000
"""How many folders of runs are remembered as looked at; more than are ever at work at the same time."""

_RUN_LEVEL = 3


class LocalStorage:
    """An archive's folder.

    Args:
        root: DEST.
        fsync: whether to flush before a name or an entry is trusted. Without it a power cut can cost
            files; a killed process still cannot.
        min_free_bytes: how much room on its disk is left to others.
        device: its disk; None: the one that is there when it is first looked at.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        min_free_bytes: int = 0,
        device: int | None = None,
    ) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes
        self.flusher = Flusher(is_on=fsync)
        self._upper_dirs = {PurePosixPath()}
        self._run_dirs: dict[PurePosixPath, None] = {}
        self._dirs_lock = threading.Lock()
        self._device = device
        self._token = secrets.token_hex(8)
        self._numbers = itertools.count()

    @property
    def device(self) -> int | None:
        """The disk it is on; None as long as nobody looked."""
        return self._device

    def require_room(self, coming_bytes: int = 0) -> None:
        """Raise `DestinationError` when so many more bytes would leave less room than shall stay free."""
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
        """Remove temporary files and partials that cannot be resumed. Only for the lock's holder."""
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
        """Make a folder below DEST, each new level flushed; refuse one that is a link or a file."""
        if self.knows(relative):
            return self.root / relative
        path = self.root / relative
        parent = self.ensure_dir(relative.parent)
        self._require_same_device()
        try:
            path.mkdir()
        except FileExistsError:
            require_real_dir(path)
        # Also where it was there: another thread may have made it just now and not flushed it yet. Not under
        # the lock, so that threads that make folders of many runs share the flushes of their parent.
        self.flusher.folder(parent)
        self.remember(relative)
        return path

    def knows(self, folder: PurePosixPath) -> bool:
        """Whether a folder was made or looked at, and flushed, by this process not long ago."""
        return folder in self._upper_dirs or folder in self._run_dirs

    def remember(self, folder: PurePosixPath) -> None:
        """Spare the next look at a folder that is there and whose name is durable.

        Of runs' folders, which have no end, the last ones are remembered.
        """
        with self._dirs_lock:
            if len(folder.parts) < _RUN_LEVEL or folder.parts[0] == base.PRIVATE.name:
                self._upper_dirs.add(folder)
                return
            self._run_dirs[folder] = None
            if len(self._run_dirs) > MAX_RUN_DIRS:
                del self._run_dirs[next(iter(self._run_dirs))]

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
            mtime_ms: its date.
            check: looks at what was written before it gets its name; raises to refuse it.
            make_room: called with what is about to be renamed, when all of it is flushed.
        """
        self.ensure_dir(relative.parent)
        meter = self._write(f"{self.root}/{relative}", parts, mtime_ms, check, make_room)
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
        """Write some files of a folder, one after the other, and flush it once; see `write_atomic`.

        Args:
            folder: their folder.
            files: the files.
            mtime_ms: their date.
            is_flushed_later: whether the caller flushes the folder (`flush_folder`) before they count.
        """
        self.ensure_dir(folder)
        place = f"{self.root}/{folder}"
        written = [self._write_new(folder, place, file, mtime_ms) for file in files]
        if not is_flushed_later:
            self.flusher.folder(place)
        return written

    def _write_new(self, folder: PurePosixPath, place: str, file: NewFile, mtime_ms: int | None) -> Written:
        in_the_way: PurePosixPath | None = None
        target = f"{place}/{file.name}"

        def make_room(digest: Digest) -> None:
            nonlocal in_the_way
            if not file.replaces and os.path.lexists(target):
                in_the_way = self.make_way(folder / file.name, digest.sha256)

        meter = self._write(target, file.chunks, mtime_ms, lambda _: None, make_room)
        return Written(meter.digest(), in_the_way)

    def _write(
        self,
        target: str,
        parts: Iterable[bytes | memoryview],
        mtime_ms: int | None,
        check: Callable[[Digest], None],
        make_room: Callable[[Digest], None],
    ) -> Meter:
        """As `write_atomic`, in a folder that is there."""
        meter = Meter()

        def fill(temporary: str, descriptor: int) -> None:
            try:
                for part in parts:
                    write_all(descriptor, part)
                    meter.take(part)
                check(meter.digest())
                self.flusher.seal(descriptor, temporary, mtime_ms)
            finally:
                os.close(descriptor)

        self._place(target, _create, fill, lambda: make_room(meter.digest()))
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
        """As `write_atomic`, sharing the blocks of another file; `OSError` where that is not possible."""

        def fill(temporary: str, descriptor: int) -> None:
            try:
                share_blocks(source, descriptor)
                check(digest_of(temporary))
                self.flusher.seal(descriptor, temporary, mtime_ms)
            finally:
                os.close(descriptor)

        self.ensure_dir(relative.parent)
        self._place(f"{self.root}/{relative}", _create, fill, make_room)
        self.flush_folder(relative.parent)

    def link(
        self,
        source: Path,
        relative: PurePosixPath,
        *,
        check: Callable[[Digest], None],
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        """As `clone`, giving another file a second name. Both are one file: its date stays as it is."""

        def fill(temporary: str, _: None) -> None:
            check(digest_of(temporary))
            self.flusher.content(temporary)

        self.ensure_dir(relative.parent)
        target = f"{self.root}/{relative}"
        temporary = self._place(target, lambda path: os.link(source, path), fill, make_room)
        # To rename a file to its own second name does nothing.
        Path(temporary).unlink(missing_ok=True)
        self.flush_folder(relative.parent)

    def _place(
        self,
        target: str,
        make: Callable[[str], T],
        fill: Callable[[str, T], None],
        make_room: Callable[[], None],
    ) -> str:
        """Have a temporary file made and filled, and give it its name; that folder is still to be flushed.

        Returns:
            Where the temporary file was.
        """
        number = next(self._numbers)
        folder = base.TEMPORARIES[number % len(base.TEMPORARIES)]
        temporary = f"{self.root}/{folder}/{self._token}-{number}"
        made = make(temporary)
        try:
            fill(temporary, made)
            make_room()
            # No `Path`, here and where names are put together above: two of them take longer than the call.
            os.replace(temporary, target)  # noqa: PTH105 - see above
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return temporary

    def read(self, relative: PurePosixPath) -> bytes | None:
        """A file's bytes; None when there is none."""
        return self.read_identified(relative)[0]

    def read_identified(self, relative: PurePosixPath) -> tuple[bytes | None, FileId | None]:
        """As `read`, with which file it was."""
        try:
            descriptor = self._open_existing(relative)
        except FileNotFoundError:
            return None, None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(), _file_id(os.fstat(descriptor))

    def identify(self, relative: PurePosixPath) -> FileId:
        """Which file stands there."""
        return _file_id((self.root / relative).lstat())

    def moment_ns(self) -> int | None:
        """Now, by the clock of the archive's file system, which on a network is not this machine's.

        Returns:
            None where a folder's date does not tell that a file was just made in it.
        """
        folder = self.ensure_dir(base.TEMPORARY)
        temporary = folder / secrets.token_hex(12)
        descriptor = os.open(temporary, WRITE_FLAGS | os.O_EXCL, 0o666)
        try:
            moment_ns = os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
            temporary.unlink()
        return moment_ns if folder.lstat().st_mtime_ns >= moment_ns - COARSE_NS else None

    def exists(self, relative: PurePosixPath) -> bool:
        """Whether anything stands there, a link included."""
        return os.path.lexists(f"{self.root}/{relative}")

    def is_file(self, relative: PurePosixPath) -> bool:
        """Whether a regular file stands there, and no link to one."""
        try:
            self._require_real_dirs(relative.parent)
            return stat.S_ISREG((self.root / relative).lstat().st_mode)
        except FileNotFoundError:
            return False

    def digest(self, relative: PurePosixPath) -> Digest:
        """Read a file and hash it."""
        self._require_real_dirs(relative.parent)
        return digest_of(self.root / relative)

    def adopt(self, relative: PurePosixPath) -> Digest:
        """As `digest`, for a file to be recorded that this process did not write: it is flushed."""
        digest = self.digest(relative)
        self.flush_found(relative)
        return digest

    def flush_found(self, relative: PurePosixPath) -> None:
        """Make durable a file that another process left, and its name."""
        self.flusher.found(self.root / relative)

    def blocks(self, relative: PurePosixPath) -> Iterator[memoryview]:
        """A file's bytes, piece by piece; each piece is gone when the next is asked for."""
        self._require_real_dirs(relative.parent)
        yield from blocks_of(self.root / relative)

    def real_path(self, relative: PurePosixPath) -> Path:
        """Where a file stands, once no link leads there; raises `OSError` when it is no regular file."""
        os.close(self._open_existing(relative))
        return self.root / relative

    def sizes(self, folders: Sequence[PurePosixPath]) -> list[Mapping[str, int]]:
        """For each folder, the names of its regular files and their sizes; links and folders left out."""
        return [
            {name: item.size_bytes for name, item in self.listing(folder).items() if item.kind == Kind.FILE}
            for folder in folders
        ]

    def listing(self, folder: PurePosixPath) -> Mapping[str, Item]:
        """What stands in a folder, by name; nothing when there is no such folder."""
        try:
            self._require_real_dirs(folder)
            return items_of(self.root / folder)
        except FileNotFoundError:
            return {}

    def remove(self, relative: PurePosixPath) -> None:
        """Remove one of floradl's own files, if it is there, and flush the folder."""
        self._require_real_dirs(relative.parent)
        path = self.root / relative
        path.unlink(missing_ok=True)
        self.flusher.folder(path.parent)

    def set_aside(self, relative: PurePosixPath) -> PurePosixPath | None:
        """Move what stands at a place, whatever it is, into `.floradl/aside/`, where nothing is overwritten.

        Returns:
            Where it went; None when nothing stood there.
        """
        aside = self._free_aside(relative)
        return aside if self.move(relative, aside) else None

    def make_way(self, relative: PurePosixPath, sha256: str) -> PurePosixPath | None:
        """Set aside what stands where a file with this hash is about to be renamed to.

        Returns:
            Where it went; None when nothing is lost by replacing it.
        """
        if not self.exists(relative):
            return None
        if self.is_file(relative):
            digest = self.digest(relative)
            if not digest.size_bytes or digest.sha256 == sha256:
                return None
        return self.set_aside(relative)

    def copy_aside(self, relative: PurePosixPath) -> PurePosixPath | None:
        """As `set_aside`, with a copy where there is a file to copy."""
        if not self.is_file(relative):
            return self.set_aside(relative)
        data = self.read(relative) or b""
        aside = self._free_aside(relative)
        self.write_atomic(aside, [data])
        return aside

    def obstacle(self, folder: PurePosixPath) -> PurePosixPath | None:
        """The first level of a folder's path where a link or a file stands; None when none is in the way."""
        for level in (*reversed(folder.parents), folder):
            try:
                require_real_dir(self.root / level)
            except FileNotFoundError:
                return None
            except OSError:
                return level
        return None

    def move(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        """Rename within the archive and flush both folders; False when nothing stands at `source`."""
        folder = self.ensure_dir(target.parent)
        try:
            self._require_real_dirs(source.parent)
            (self.root / source).replace(folder / target.name)
        except FileNotFoundError:
            return False
        self.flusher.folder(folder)
        self.flusher.folder(self.root / source.parent)
        return True

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

    def _free_aside(self, relative: PurePosixPath) -> PurePosixPath:
        """A place under `.floradl/aside/` where nothing stands yet, with a name that tells what it is."""
        self.ensure_dir(base.ASIDE)
        stem = "+".join(relative.parts[-2:])
        names = (f"{stem}.{number}" if number else stem for number in itertools.count())
        return next(base.ASIDE / name for name in names if not self.exists(base.ASIDE / name))

    def _require_real_dirs(self, folder: PurePosixPath) -> None:
        for level in (*reversed(folder.parents), folder):
            if not self.knows(level):
                require_real_dir(self.root / level)

    def _open_existing(self, relative: PurePosixPath) -> int:
        self._require_real_dirs(relative.parent)
        return open_regular(self.root / relative)


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


def _create(path: str) -> int:
    return os.open(path, WRITE_FLAGS | os.O_EXCL, 0o666)


def _file_id(status: os.stat_result) -> FileId:
    return FileId(status.st_size, status.st_mtime_ns, status.st_ino)

"""What is read of an archive's folder: files, digests, listings, sizes. No symbolic link is followed.

There are two ways to read, both blocking:

- `LocalReader`, the reading half of `LocalStorage`, reads single files for any thread. At each call it looks
  at the folders above the file again, apart from those that this process made or looked at not long ago.
- `Reader` reads many files in one thread, as `verify` and the gallery do. For a check of thousands of small
  files, a new buffer, new path objects and a look at each level of the path cost more time than their
  hashes. So a `Reader` looks at each folder once, and reads everything into one buffer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Mapping, Sequence
from io import FileIO
from pathlib import Path, PurePosixPath

from floradl.storage.base import FileId, Item, Kind
from floradl.storage.digest import READ_BYTES, Digest, Meter
from floradl.storage.local.known_folders import KnownFolders
from floradl.storage.local.no_links import open_regular, require_real_dirs


class LocalReader:
    """Reads an archive's folder. Places are relative to the archive.

    A place where a link stands, on the way to it or itself, is an `OSError` for every method here unless it
    says otherwise.

    Args:
        root: the archive's folder.

    Attributes:
        root: as given.
        known_folders: folders that are not looked at again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known_folders = KnownFolders()

    def read(self, relative: PurePosixPath) -> bytes | None:
        """A file's bytes; None when there is no file."""
        return self.read_identified(relative)[0]

    def read_identified(self, relative: PurePosixPath) -> tuple[bytes | None, FileId | None]:
        """A file's bytes, and which version of the file they are of; None twice when there is no file."""
        try:
            descriptor = self._open_existing(relative)
        except FileNotFoundError:
            return None, None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(), _file_id(os.fstat(descriptor))

    def identify(self, relative: PurePosixPath) -> FileId:
        """Which version of a file stands there; of a link, the link's own. `OSError` when nothing does."""
        return _file_id((self.root / relative).lstat())

    def is_linked(self, relative: PurePosixPath) -> bool:
        """Whether the file that stands there has another name too (a hard link); it has one date for both."""
        return (self.root / relative).lstat().st_nlink > 1

    def exists(self, relative: PurePosixPath) -> bool:
        """Whether anything stands there, be it a link that leads nowhere."""
        return os.path.lexists(f"{self.root}/{relative}")

    def is_file(self, relative: PurePosixPath) -> bool:
        """Whether a regular file stands there; False when it is a link to one."""
        try:
            self._require_real_dirs(relative.parent)
            return stat.S_ISREG((self.root / relative).lstat().st_mode)
        except FileNotFoundError:
            return False

    def digest(self, relative: PurePosixPath) -> Digest:
        """Read a file and hash it."""
        self._require_real_dirs(relative.parent)
        return digest_of(self.root / relative)

    def blocks(self, relative: PurePosixPath) -> Generator[memoryview, None, None]:
        """A file's bytes, block by block. The next block overwrites the memory of the one before it."""
        self._require_real_dirs(relative.parent)
        yield from blocks_of(self.root / relative)

    def real_path(self, relative: PurePosixPath) -> Path:
        """The path of a regular file, for programs and calls that open it themselves."""
        os.close(self._open_existing(relative))
        return self.root / relative

    def sizes(self, folders: Sequence[PurePosixPath]) -> list[Mapping[str, int]]:
        """For each folder, its regular files with their sizes in bytes; empty when there is no folder."""
        return [self._sizes(folder) for folder in folders]

    def listing(self, folder: PurePosixPath) -> Mapping[str, Item]:
        """Everything in a folder by its name; empty when there is no folder."""
        try:
            self._require_real_dirs(folder)
            return items_of(self.root / folder)
        except FileNotFoundError:
            return {}

    def _sizes(self, folder: PurePosixPath) -> Mapping[str, int]:
        try:
            self._require_real_dirs(folder)
            return sizes_of(self.root / folder)
        except FileNotFoundError:
            return {}

    def _require_real_dirs(self, folder: PurePosixPath) -> None:
        # A folder that was only looked at is not added to the known ones: its name may not be durable.
        require_real_dirs(self.root, str(folder), self.known_folders)

    def _open_existing(self, relative: PurePosixPath) -> int:
        self._require_real_dirs(relative.parent)
        return open_regular(self.root / relative)


class Reader:
    """One pass over many files and folders of an archive, in one thread.

    Places are relative to the archive, with `/`. A reader remembers for its whole life which folders it has
    looked at, so it should live for one piece of work and no longer: a link that takes a folder's place
    meanwhile is not noticed.

    Args:
        root: the archive's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = {"", "."}
        self._buffer: memoryview | None = None

    def listing(self, folder: str) -> Mapping[str, Item]:
        """Everything in a folder by its name; empty when there is no folder.

        Raises:
            OSError: a link or a file stands in the folder's place or above it, or the disk fails.
        """
        try:
            self._require_real_dirs(folder)
            return items_of(f"{self._root}/{folder}")
        except FileNotFoundError:
            return {}

    def digest(self, path: str) -> Digest:
        """Read a file and hash it.

        Raises:
            OSError: there is no regular file, a link leads there, or the disk fails.
        """
        buffer = self._buffer = self._buffer or memoryview(bytearray(READ_BYTES))
        meter = Meter()
        with self.opened(path) as file:
            while length := file.readinto(buffer):
                meter.take(buffer[:length])
        return meter.digest()

    def opened(self, path: str) -> FileIO:
        """Open a file, to read only some of its bytes. The caller closes it.

        Raises:
            OSError: there is no regular file, a link leads there, or the disk fails.
        """
        self._require_real_dirs(path.rpartition("/")[0])
        return FileIO(open_regular(f"{self._root}/{path}"), "rb")

    def _require_real_dirs(self, folder: str) -> None:
        if folder not in self._folders:
            self._folders.update(require_real_dirs(self._root, folder, self._folders))


def blocks_of(path: Path | str) -> Generator[memoryview, None, None]:
    """A regular file's bytes, block by block. The next block overwrites the memory of the one before it."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        # One byte more than the file has, so that a small file is read to its end by the first call.
        block = memoryview(bytearray(min(READ_BYTES, os.fstat(descriptor).st_size + 1)))
        while length := file.readinto(block):
            yield block[:length]


def digest_of(path: Path | str) -> Digest:
    """Read a regular file and hash it."""
    meter = Meter()
    for block in blocks_of(path):
        meter.take(block)
    return meter.digest()


def items_of(folder: Path | str) -> Mapping[str, Item]:
    """Everything in a folder by its name. The caller has made sure that no link leads there."""
    with os.scandir(folder) as entries:
        return {entry.name: _item(entry) for entry in entries}


def sizes_of(folder: Path | str) -> Mapping[str, int]:
    """A folder's regular files, with sizes in bytes. The caller has made sure that no link leads there."""
    with os.scandir(folder) as entries:
        return {
            entry.name: entry.stat(follow_symlinks=False).st_size
            for entry in entries
            if entry.is_file(follow_symlinks=False)
        }


def _item(entry: os.DirEntry[str]) -> Item:
    if entry.is_file(follow_symlinks=False):
        return Item(Kind.FILE, entry.stat(follow_symlinks=False).st_size)
    return Item(Kind.FOLDER if entry.is_dir(follow_symlinks=False) else Kind.OTHER, 0)


def _file_id(status: os.stat_result) -> FileId:
    return FileId(status.st_size, status.st_mtime_ns, status.st_ino)

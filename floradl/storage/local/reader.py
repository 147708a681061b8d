"""Reading many files of an archive, one after another, as a check does.

What `destination.Destination` does for a single file costs a check of thousands more time than hashing them:
a look at each level of the path, a new buffer, a path object a step. Here a `Reader`, which lives for one
piece of work in one thread, looks at each folder once and reads everything into one buffer. It too reads no
link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path

from floradl.storage.base import Item, Kind
from floradl.storage.digest import READ_BYTES, Digest, Meter
from floradl.storage.local.fsync import open_regular, require_real_dir


class Reader:
    """A pass over some files and folders of an archive. Blocks; not for several threads.

    Paths are relative to the archive, with `/`. It holds for a moment only: a folder that was looked at is
    taken to be one for as long as the reader lives.

    Args:
        root: the archive's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = {"", "."}
        self._buffer: memoryview | None = None

    def listing(self, folder: str) -> Mapping[str, Item]:
        """What stands in a folder, by name; nothing when there is no such folder.

        Raises:
            OSError: a link or a file stands in its place or above, or the disk does not give it.
        """
        try:
            self._require_real_dirs(folder)
            return items_of(f"{self._root}/{folder}")
        except FileNotFoundError:
            return {}

    def digest(self, path: str) -> Digest:
        """Read a file and hash it.

        Raises:
            OSError: there is no regular file, a link leads there, or the disk does not give it.
        """
        buffer = self._buffer = self._buffer or memoryview(bytearray(READ_BYTES))
        meter = Meter()
        with self.opened(path) as file:
            while length := file.readinto(buffer):
                meter.take(buffer[:length])
        return meter.digest()

    def opened(self, path: str) -> FileIO:
        """Open a file to read, for whoever wants only some of it.

        Raises:
            OSError: as `digest`.
        """
        self._require_real_dirs(path.rpartition("/")[0])
        return FileIO(open_regular(f"{self._root}/{path}"), "rb")

    def _require_real_dirs(self, folder: str) -> None:
        if folder not in self._folders:
            self._require_real_dirs(folder.rpartition("/")[0])
            require_real_dir(f"{self._root}/{folder}")
            self._folders.add(folder)


def blocks_of(path: Path | str) -> Iterator[memoryview]:
    """A file's bytes, piece by piece; each piece is gone when the next is asked for. No link is followed."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        block = memoryview(bytearray(min(READ_BYTES, os.fstat(descriptor).st_size + 1)))
        while length := file.readinto(block):
            yield block[:length]


def digest_of(path: Path | str) -> Digest:
    """Read a file and hash it. No link is followed."""
    meter = Meter()
    for block in blocks_of(path):
        meter.take(block)
    return meter.digest()


def items_of(folder: Path | str) -> Mapping[str, Item]:
    """What stands in a folder that is known to be one, by name."""
    with os.scandir(folder) as entries:
        return {entry.name: _item(entry) for entry in entries}


def _item(entry: os.DirEntry[str]) -> Item:
    if entry.is_file(follow_symlinks=False):
        return Item(Kind.FILE, entry.stat(follow_symlinks=False).st_size)
    return Item(Kind.FOLDER if entry.is_dir(follow_symlinks=False) else Kind.OTHER, 0)

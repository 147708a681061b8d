"""Values that storages take and give, the private folder's places, and what an `OSError` means for a user."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from floradl.errors import DestinationError
from floradl.storage.digest import Digest

_HINTS = {
    errno.ENOENT: "Was its disk unmounted, or the folder moved? Put it back and run the same command again.",
    errno.ENOSPC: "Make room (or choose another DEST) and run the same command again; it goes on from here.",
    errno.EDQUOT: "Your quota is used up. Make room and run the same command again.",
    errno.EROFS: "The file system is read-only; mount it writable, or choose another DEST.",
    errno.EACCES: "Check who owns DEST and its folders, or choose another DEST.",
    errno.ENOSYS: "This file system has no locks; choose a DEST on another.",
    errno.ENOTDIR: "DEST must be a folder.",
    errno.EIO: "The disk reports an error; check it before you trust it with anything.",
}

PRIVATE = PurePosixPath(".floradl")
"""The folder of an archive that is floradl's own: lock, journal, and everything that is not complete yet."""
PARTIALS = PRIVATE / "partials"
"""Where large files lie while they come, and the checkpoints to resume them from."""
TEMPORARY = PRIVATE / "tmp"
TEMPORARIES = tuple(TEMPORARY / str(number) for number in range(4))
"""Where temporary files are made. There are several, since the kernel locks a folder while a name in it is
made or goes: with one folder, all threads would wait for each other at each file."""
ASIDE = PRIVATE / "aside"
"""Where files are kept whose place was needed; see `aside`."""

COARSE_NS = 2_000_000_000
"""The step of dates on the coarsest file system, in nanoseconds: FAT counts two seconds."""


def destination_error(exc: OSError, root: Path) -> DestinationError:
    """The error for users that says what an `OSError` means for the archive at `root`, and what to do."""
    where = f" ({exc.filename})" if exc.filename else ""
    reason = exc.strerror or type(exc).__name__
    message = f"cannot use the archive {root}: {reason}{where}"
    return DestinationError(message, hint=_HINTS.get(exc.errno or 0, ""))


class Kind(StrEnum):
    """What a name in a folder stands for."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a link, a pipe, a device


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a folder. `size_bytes` is 0 unless it is a file."""

    kind: Kind
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewFile:
    """A small file to write, all of it in memory.

    Attributes:
        name: its name in a folder that is given beside it.
        chunks: its bytes, in order.
        replaces: True overwrites what stands at its place; False sets that aside first.
    """

    name: str
    chunks: Sequence[bytes | memoryview]
    replaces: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of the file, in bytes."""
        return sum(map(len, self.chunks))


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is durable under its name.

    Attributes:
        digest: its size and hash.
        in_the_way: where something is now, relative to the archive, that stood in its place and was set
            aside; None when nothing was.
    """

    digest: Digest
    in_the_way: PurePosixPath | None = None


class FileId(NamedTuple):
    """Tells two versions of a file apart: each is written anew, and renamed over the one before."""

    size_bytes: int
    mtime_ns: int
    inode: int

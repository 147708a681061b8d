"""What every storage speaks of, and the names of the archive's private folder."""

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

PARTIALS = PRIVATE / "partials"
TEMPORARY = PRIVATE / "tmp"
TEMPORARIES = tuple(TEMPORARY / str(number) for number in range(4))
"""Where temporary files begin: in a single folder all threads would wait for each other at every name."""
ASIDE = PRIVATE / "aside"

COARSE_NS = 2_000_000_000
"""How coarse dates are at worst: FAT's are of two seconds."""


def destination_error(exc: OSError, root: Path) -> DestinationError:
    """The `DestinationError` that says what an `OSError` means for the archive at `root`."""
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
    """One thing in a folder; `size_bytes` is 0 for what is no file."""

    kind: Kind
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to write, all of it in memory; what stands at its place is kept unless it `replaces` that."""

    name: str
    chunks: Sequence[bytes | memoryview]
    replaces: bool = False

    @property
    def size_bytes(self) -> int:
        """How long it will be."""
        return sum(map(len, self.chunks))


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is durable under its name, and where something went that stood there."""

    digest: Digest
    in_the_way: PurePosixPath | None = None


class FileId(NamedTuple):
    """What tells one version of a file from another, since each is written anew and then renamed."""

    size_bytes: int
    mtime_ns: int
    inode: int

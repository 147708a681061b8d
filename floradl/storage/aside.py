"""Nothing in an archive is lost by writing: what stands in the way is kept in `.floradl/aside/`.

A file that a person put where floradl writes, a damaged output, a manifest that cannot be read: each is moved
there before something else takes its place, under a name that tells what it was, and nothing that is there
already is overwritten. Everything here blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from floradl.storage import base
from floradl.storage.digest import Digest
from floradl.storage.local.no_links import require_real_dir


class AsideStorage(Protocol):
    """What these functions need of a storage; see `LocalStorage` and `LocalReader`."""

    root: Path

    def exists(self, relative: PurePosixPath) -> bool:
        """Whether anything stands there, be it a link that leads nowhere."""

    def is_file(self, relative: PurePosixPath) -> bool:
        """Whether a regular file stands there."""

    def digest(self, relative: PurePosixPath) -> Digest:
        """Read a file and hash it."""

    def read(self, relative: PurePosixPath) -> bytes | None:
        """A file's bytes."""

    def ensure_dir(self, relative: PurePosixPath) -> Path:
        """Make a folder."""

    def move(self, source: PurePosixPath, target: PurePosixPath) -> bool:
        """Rename durably; False when nothing stands at `source`."""

    def write_atomic(self, relative: PurePosixPath, parts: Iterable[bytes]) -> Digest:
        """Write a whole file durably."""


def set_aside(disk: AsideStorage, relative: PurePosixPath) -> PurePosixPath | None:
    """Move what stands at a place into `.floradl/aside/`, be it a file, a folder, a link or a pipe.

    Returns:
        Where it is now, relative to the archive; None when nothing stood there.
    """
    aside = _free_place(disk, relative)
    return aside if disk.move(relative, aside) else None


def make_way(disk: AsideStorage, relative: PurePosixPath, sha256: str) -> PurePosixPath | None:
    """Set aside what stands where a new file is about to be renamed to, unless nothing is lost with it.

    Nothing is lost with an empty file, and with a file that holds the same bytes.

    Args:
        disk: the archive.
        relative: the new file's place.
        sha256: the new file's hash, in hex.

    Returns:
        Where it is now, relative to the archive; None when nothing was set aside.
    """
    if not disk.exists(relative):
        return None
    if disk.is_file(relative):
        digest = disk.digest(relative)
        if not digest.size_bytes or digest.sha256 == sha256:
            return None
    return set_aside(disk, relative)


def copy_aside(disk: AsideStorage, relative: PurePosixPath) -> PurePosixPath | None:
    """Put a copy of a file into `.floradl/aside/`; anything but a regular file is moved there.

    Returns:
        Where it is now, relative to the archive; None when nothing stood there.
    """
    if not disk.is_file(relative):
        return set_aside(disk, relative)
    data = disk.read(relative) or b""
    aside = _free_place(disk, relative)
    disk.write_atomic(aside, [data])
    return aside


def obstacle(disk: AsideStorage, folder: PurePosixPath) -> PurePosixPath | None:
    """The uppermost level of a folder's path where a link or a file stands, so that no folder can be made.

    Returns:
        The level, relative to the archive; None when all levels are folders, or are not there yet.
    """
    for level in (*reversed(folder.parents), folder):
        try:
            require_real_dir(disk.root / level)
        except FileNotFoundError:
            return None
        except OSError:
            return level
    return None


def _free_place(disk: AsideStorage, relative: PurePosixPath) -> PurePosixPath:
    """A place in `.floradl/aside/` where nothing stands yet, named after its folder and file."""
    disk.ensure_dir(base.ASIDE)
    stem = "+".join(relative.parts[-2:])
    names = (f"{stem}.{number}" if number else stem for number in itertools.count())
    return next(base.ASIDE / name for name in names if not disk.exists(base.ASIDE / name))

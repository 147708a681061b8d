"""What hundreds of thousands of folders hold, at a glance: dates, names and sizes. Reads only.

`destination.Destination` lists one folder with all its care for each; here a night's look at a whole archive
has to take seconds. No link is followed here either: a link in place of a folder is an `OSError`, as there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from floradl.storage.local.fsync import require_real_dir


class FolderDate(NamedTuple):
    """What changes whenever a name in a folder appears, goes or comes to stand for another file.

    The first may be set by anyone; the second tells of that. The third is another after a move or a copy.
    A file that is written to in place leaves all of them as they are.
    """

    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Look:
    """A folder's date from before it was listed (None: no folder), and its regular files with their sizes."""

    date: FolderDate | None
    sizes: Mapping[str, int]


class FolderDates:
    """Looks at an archive's folders, each named by its place, such as `ws_abc/prj_def/run_ghi`. Blocks.

    Args:
        root: the archive.
    """

    def __init__(self, root: Path) -> None:
        self._root = f"{root}{os.sep}"
        self._real: set[str] = {""}

    def is_dated(self, place: str, mtime_ns: int, ctime_ns: int, inode: int) -> bool:
        """Whether a folder has this date still; False when a link stands there, or on the way to it."""
        try:
            self._require_real_parents(place)
            status = os.lstat(self._root + place)
        except OSError:
            return False  # whoever looks closer is told why
        return (
            status.st_mtime_ns == mtime_ns
            and status.st_ctime_ns == ctime_ns
            and status.st_ino == inode
            and stat.S_ISDIR(status.st_mode)
        )

    def look(self, place: str) -> Look:
        """A folder's date and, read after it, what it holds."""
        path = self._root + place
        try:
            self._require_real_parents(place)
            status = os.lstat(path)
            require_real_dir(Path(path), status)
            with os.scandir(path) as entries:
                sizes = {
                    entry.name: entry.stat(follow_symlinks=False).st_size
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                }
        except FileNotFoundError:
            return Look(None, {})
        return Look(FolderDate(status.st_mtime_ns, status.st_ctime_ns, status.st_ino), sizes)

    def has(self, place: str, sizes: Mapping[str, int | None]) -> bool:
        """Whether regular files of these names and sizes stand in a folder; None: of any size."""
        for name, size_bytes in sizes.items():
            try:
                status = os.lstat(f"{self._root}{place}/{name}")
            except OSError:
                return False
            if not stat.S_ISREG(status.st_mode) or size_bytes not in (None, status.st_size):
                return False
        return True

    def _require_real_parents(self, place: str) -> None:
        parent = place.rpartition("/")[0]
        if parent not in self._real:
            self._require_real_parents(parent)
            require_real_dir(Path(self._root + parent))
            self._real.add(parent)

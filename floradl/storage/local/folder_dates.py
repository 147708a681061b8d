"""The dates of an archive's folders, which tell whether anything in them has changed.

Every night `archive` compares the manifest with all folders of runs, which may be hundreds of thousands. To
list each of them takes minutes; to ask for each folder's date takes seconds. A folder whose date is the one
of the night before holds the same names as then. Reads only, blocks, and follows no symbolic link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from floradl.storage.local.no_links import require_real_dir, require_real_dirs
from floradl.storage.local.reader import sizes_of


class FolderDate(NamedTuple):
    """Numbers of a folder that change whenever a name in it appears, goes, or stands for another file.

    A file that is written to in place leaves all three as they are.

    Attributes:
        mtime_ns: when a name in the folder last changed. Any program may set it to another time.
        ctime_ns: when the folder itself last changed; it also changes when `mtime_ns` is set.
        inode: the folder's number on its disk, which is another one after a copy or a restore.
    """

    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class DatedFolder:
    """A folder's date and files.

    Attributes:
        date: the date from before the folder was listed; None when there is no folder.
        sizes: its regular files with their sizes in bytes.
    """

    date: FolderDate | None
    sizes: Mapping[str, int]


class FolderDates:
    """Looks at an archive's folders. A folder is named by its place, such as `ws_abc/prj_def/run_ghi`.

    It remembers for its whole life which workspaces and projects are folders and not links, so it should
    live for one comparison and no longer.

    Args:
        root: the archive's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._folders = {""}

    def is_dated(self, place: str, mtime_ns: int, ctime_ns: int, inode: int) -> bool:
        """Whether a folder still has this date; False when a link stands there, or on the way to it."""
        try:
            self._require_real_parents(place)
            status = os.lstat(f"{self._root}/{place}")
        except OSError:
            return False  # the folder is then listed by `look`, which raises the error
        return (
            status.st_mtime_ns == mtime_ns
            and status.st_ctime_ns == ctime_ns
            and status.st_ino == inode
            and stat.S_ISDIR(status.st_mode)
        )

    def look(self, place: str) -> DatedFolder:
        """List a folder, with its date.

        The date is read first. If a name appears between the two, the listing may have it and the date is
        already another one at the next look, so the folder is listed once more. In the other order, the date
        could cover a name that the listing does not have, and nobody would look again.

        Raises:
            OSError: a link or a file stands in the folder's place or above it, or the disk fails.
        """
        path = f"{self._root}/{place}"
        try:
            self._require_real_parents(place)
            status = os.lstat(path)
            require_real_dir(path, status)
            sizes = sizes_of(path)
        except FileNotFoundError:
            return DatedFolder(None, {})
        return DatedFolder(FolderDate(status.st_mtime_ns, status.st_ctime_ns, status.st_ino), sizes)

    def has(self, place: str, sizes: Mapping[str, int | None]) -> bool:
        """Whether a folder has regular files of these names.

        Args:
            place: the folder.
            sizes: the names, each with the size in bytes that the file must have; None for any size.
        """
        for name, size_bytes in sizes.items():
            try:
                status = os.lstat(f"{self._root}/{place}/{name}")
            except OSError:
                return False
            if not stat.S_ISREG(status.st_mode) or size_bytes not in (None, status.st_size):
                return False
        return True

    def _require_real_parents(self, place: str) -> None:
        parent = place.rpartition("/")[0]
        if parent not in self._folders:
            self._folders.update(require_real_dirs(self._root, parent, self._folders))

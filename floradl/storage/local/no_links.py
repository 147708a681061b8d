"""Nothing of an archive is reached through a symbolic link.

Somebody who can write to an archive's folder could put a link in place of a file or of a folder, so that
floradl reads, overwrites or removes a file elsewhere. Therefore every file is opened with the flags below,
which refuse a link in the last place of a path, and the folders above it are looked at first. A pipe, a
socket or a device in a file's place is refused as well: to read a pipe would wait for ever.

Race: a folder may be swapped for a link after it was looked at. So whatever makes, renames or removes a name
holds the folder meanwhile (`held_folder`): it is opened level by level, without a link, and the system then
works in that very folder, wherever the path leads by then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# O_NONBLOCK: without it, to open a pipe that stands where a file should be waits until somebody writes to it.
_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
READ_FLAGS = os.O_RDONLY | _SAFE_FLAGS
"""Flags of `os.open` to read a file that must not be a link."""
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | _SAFE_FLAGS
"""Flags of `os.open` to write a file that must not be a link; made where it is missing."""


CAN_HOLD_FOLDERS = (
    hasattr(os, "O_DIRECTORY") and {os.open, os.mkdir, os.rename, os.unlink} <= os.supports_dir_fd
)
"""Whether this system can work in a folder that is open; Windows cannot."""

# O_PATH, where it is, needs no permission to list the folder.
_HOLD = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)


class HeldFolder(NamedTuple):
    """A folder in which names are about to be made, changed or removed.

    Attributes:
        descriptor: the folder, open, for the `dir_fd` of the system's calls; None on a system that has no
            such calls, which then take its path.
        path: where it was found.
    """

    descriptor: int | None
    path: str

    def name(self, name: str) -> str:
        """What the system's calls have to be given, beside `descriptor`, for a name in the folder."""
        return f"{self.path}/{name}" if self.descriptor is None else name


@contextmanager
def held_folder(root: Path | str, folder: str) -> Iterator[HeldFolder]:
    """Hold a folder of the archive, so that what is done in it is done in no other.

    Args:
        root: the archive's folder, which itself may be reached through links.
        folder: relative to the archive, with `/`; "." for the archive's folder.

    Raises:
        OSError: as `require_real_dir`, for the first level that is no folder.
    """
    path = f"{root}/{folder}"
    if not CAN_HOLD_FOLDERS:
        require_real_dirs(root, folder, ())  # a look is all that there is
        yield HeldFolder(None, path)
        return
    descriptor = os.open(root, _HOLD)
    try:
        for part in folder.split("/") if folder != "." else ():
            try:
                below = os.open(part, _HOLD | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError:
                require_real_dirs(root, folder, ())  # says what stands there
                raise
            os.close(descriptor)
            descriptor = below
        yield HeldFolder(descriptor, path)
    finally:
        os.close(descriptor)


def open_regular(path: Path | str) -> int:
    """Open a regular file to read.

    Returns:
        The descriptor; the caller closes it.

    Raises:
        FileNotFoundError: nothing stands there.
        OSError: a link, a folder, a pipe, a socket or a device stands there.
    """
    descriptor = os.open(path, READ_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def require_real_dir(path: Path | str, status: os.stat_result | None = None) -> None:
    """Make sure that a folder stands at `path`, and not a link to one.

    Args:
        path: where the folder should be.
        status: the result of `lstat` if the caller has just asked for it; None to ask here.

    Raises:
        FileNotFoundError: nothing stands there.
        OSError: a link (ELOOP) or a file (ENOTDIR) stands there.
    """
    mode = (status or os.lstat(path)).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(
            errno.ELOOP, "a symbolic link stands where a folder of the archive should be", str(path)
        )
    if not stat.S_ISDIR(mode):
        raise OSError(errno.ENOTDIR, "a file stands where a folder of the archive should be", str(path))


def require_real_dirs(root: Path | str, folder: str, known: Container[str]) -> list[str]:
    """Make sure that no link stands at a folder's place, nor at any level above it, up to the archive.

    Args:
        root: the archive's folder, which itself may be reached through links.
        folder: relative to the archive, with `/`, such as `ws_abc/prj_def/run_ghi`.
        known: the levels that the caller does not want to look at again; of these no link is noticed.

    Returns:
        The levels that were looked at, for callers that remember them.

    Raises:
        OSError: as `require_real_dir`, for the first level that is no folder.
    """
    parts = folder.split("/")
    looked_at = []
    for end in range(1, len(parts) + 1):
        level = "/".join(parts[:end])
        if level not in known:
            require_real_dir(f"{root}/{level}")
            looked_at.append(level)
    return looked_at

"""Reading many files with one buffer: the bytes of each, and no link followed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from floradl.storage.destination import Destination
from floradl.storage.digest import READ_BYTES
from floradl.storage.local.reader import Reader

SIZES = [3 * READ_BYTES + 5, 0, 1, READ_BYTES, 7, READ_BYTES - 1, READ_BYTES + 1]
"""Sizes of files that are read in this order: each leaves something in the buffer for the next."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """An archive's folder with a run's."""
    (tmp_path / "out/ws/prj/run").mkdir(parents=True)
    disk = Destination(tmp_path / "out")
    yield disk
    disk.close()


def test_each_file_has_its_own_digest(disk: Destination) -> None:
    """One buffer serves files of all sizes, and nothing of one gets into the digest of the next."""
    reader = Reader(disk.root)
    for number, size in enumerate(SIZES):
        data = os.urandom(size)
        (disk.root / f"ws/prj/run/{number}").write_bytes(data)
        digest = reader.digest(f"ws/prj/run/{number}")
        assert digest.sha256 == hashlib.sha256(data).hexdigest()
        assert (digest.size_bytes, digest.head) == (size, data[:1024])
        assert digest == disk.digest(PurePosixPath(f"ws/prj/run/{number}"))


@pytest.mark.parametrize("folder", ["", ".", "ws", "ws/prj/run", "ws/none", "ws/none/run"])
def test_a_listing_is_the_disks(disk: Destination, folder: str) -> None:
    """A folder shows what `Destination.listing` shows of it; one that is not there, nothing."""
    (disk.root / "ws/prj/run/file").write_bytes(b"12345")
    (disk.root / "ws/prj/run/link").symlink_to(disk.root)
    assert Reader(disk.root).listing(folder) == disk.listing(PurePosixPath(folder))


@pytest.mark.parametrize("level", ["ws", "ws/prj", "ws/prj/run", "ws/prj/run/file"])
def test_no_link_is_read(disk: Destination, level: str, tmp_path: Path) -> None:
    """A link at any level of a path is refused, also by a reader that has read a neighbour before."""
    for folder in ("ws/prj/run", "ws_b/prj/run"):
        (disk.root / folder).mkdir(parents=True, exist_ok=True)
        (disk.root / folder / "file").write_bytes(b"data")
    place = disk.root / level
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    reader = Reader(disk.root)
    assert reader.digest("ws_b/prj/run/file").size_bytes == 4
    with pytest.raises(OSError, match=r"symbolic link"):
        reader.digest("ws/prj/run/file")
    if level != "ws/prj/run/file":
        with pytest.raises(OSError, match=r"symbolic link"):
            reader.listing("ws/prj/run")


def test_a_pipe_is_no_file_and_stops_nobody(disk: Destination) -> None:
    """What is no regular file is refused at once, where opening a pipe would wait for ever."""
    os.mkfifo(disk.root / "ws/prj/run/pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Reader(disk.root).digest("ws/prj/run/pipe")

"""Reading many files with one buffer: the bytes of each, and no link followed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from floradl.storage.base import Kind
from floradl.storage.destination import Destination
from floradl.storage.digest import HEAD_BYTES, READ_BYTES
from floradl.storage.local.reader import Reader
from tests.storage.disk_support import (
    FILE,
    RUN,
    needs_links,
)

SIZES = [3 * READ_BYTES + 5, 0, 1, READ_BYTES, 7, READ_BYTES - 1, READ_BYTES + 1]
"""Sizes of files that are read in this order: each leaves something in the buffer for the next."""


@pytest.fixture
def run_disk(tmp_path: Path) -> Iterator[Destination]:
    """An archive's folder with a run's."""
    (tmp_path / "out/ws/prj/run").mkdir(parents=True)
    disk = Destination(tmp_path / "out")
    yield disk
    disk.close()


def test_each_file_has_its_own_digest(run_disk: Destination) -> None:
    """One buffer serves files of all sizes, and nothing of one gets into the digest of the next."""
    reader = Reader(run_disk.root)
    for number, size in enumerate(SIZES):
        data = os.urandom(size)
        (run_disk.root / f"ws/prj/run/{number}").write_bytes(data)
        digest = reader.digest(f"ws/prj/run/{number}")
        assert digest.sha256 == hashlib.sha256(data).hexdigest()
        assert (digest.size_bytes, digest.head) == (size, data[:1024])
        assert digest == run_disk.digest(PurePosixPath(f"ws/prj/run/{number}"))


@pytest.mark.parametrize("folder", ["", ".", "ws", "ws/prj/run", "ws/none", "ws/none/run"])
def test_a_listing_is_the_disks(run_disk: Destination, folder: str) -> None:
    """A folder shows what `Destination.listing` shows of it; one that is not there, nothing."""
    (run_disk.root / "ws/prj/run/file").write_bytes(b"12345")
    (run_disk.root / "ws/prj/run/link").symlink_to(run_disk.root)
    assert Reader(run_disk.root).listing(folder) == run_disk.listing(PurePosixPath(folder))


@pytest.mark.parametrize("level", ["ws", "ws/prj", "ws/prj/run", "ws/prj/run/file"])
def test_no_link_is_read(run_disk: Destination, level: str, tmp_path: Path) -> None:
    """A link at any level of a path is refused, also by a reader that has read a neighbour before."""
    for folder in ("ws/prj/run", "ws_b/prj/run"):
        (run_disk.root / folder).mkdir(parents=True, exist_ok=True)
        (run_disk.root / folder / "file").write_bytes(b"data")
    place = run_disk.root / level
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "moved")
    reader = Reader(run_disk.root)
    assert reader.digest("ws_b/prj/run/file").size_bytes == 4
    with pytest.raises(OSError, match=r"symbolic link"):
        reader.digest("ws/prj/run/file")
    if level != "ws/prj/run/file":
        with pytest.raises(OSError, match=r"symbolic link"):
            reader.listing("ws/prj/run")


def test_a_pipe_is_no_file_and_stops_nobody(run_disk: Destination) -> None:
    """What is no regular file is refused at once, where opening a pipe would wait for ever."""
    os.mkfifo(run_disk.root / "ws/prj/run/pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Reader(run_disk.root).digest("ws/prj/run/pipe")


def test_digest_of_a_large_file(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash, size and head do not depend on how a file is cut into blocks."""
    monkeypatch.setattr("floradl.storage.local.reader.READ_BYTES", 1000)
    data = bytes(range(256)) * 20
    disk.write_atomic(FILE, [data])
    digest = disk.digest(FILE)
    assert (digest.size_bytes, digest.head) == (len(data), data[:HEAD_BYTES])
    assert digest.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_piece_by_piece(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its bytes in order, and none through a link."""
    monkeypatch.setattr("floradl.storage.local.reader.READ_BYTES", 4)
    disk.write_atomic(FILE, [b"0123456789"])
    assert [bytes(block) for block in disk.blocks(FILE)] == [b"0123", b"4567", b"89"]
    (disk.root / FILE).with_name("link").symlink_to(disk.root / FILE)
    with pytest.raises(OSError, match=r"regular|symbolic"):
        list(disk.blocks(FILE.with_name("link")))


def test_read(disk: Destination) -> None:
    """A file's bytes come back, and a file or folder that is not there is None."""
    disk.write_atomic(FILE, [b"bytes"])
    assert disk.read(FILE) == b"bytes"
    assert disk.read(RUN / "output_2.png") is None
    assert disk.read(PurePosixPath("ws_z/prj_z/run_z/run.json")) is None


def test_which_file_it_is(disk: Destination) -> None:
    """A file is another once it was written anew, with the same bytes too; and its bytes come with it."""
    assert disk.read_identified(FILE) == (None, None)
    disk.write_atomic(FILE, [b"one"], mtime_ms=5000)
    status = (disk.root / FILE).stat()
    data, first = disk.read_identified(FILE)
    assert (data, first) == (b"one", (3, 5_000_000_000, status.st_ino))
    assert disk.identify(FILE) == first
    (disk.root / FILE).rename(disk.root / "kept")  # else its number could be given out again
    disk.write_atomic(FILE, [b"one"], mtime_ms=5000)
    assert disk.identify(FILE) != first


def test_digest_of_a_missing_file(disk: Destination) -> None:
    """Hashing a file that is not there is an error."""
    with pytest.raises(FileNotFoundError):
        disk.digest(FILE)


def test_sizes(disk: Destination, tmp_path: Path) -> None:
    """Each folder gives its regular files; links and folders are left out, and a missing folder is empty."""
    disk.write_atomic(FILE, [b"12345"])
    disk.write_atomic(RUN / "run.json", [b"{}"])
    (disk.root / RUN / "folder.png").mkdir()
    if os.name != "nt":
        (tmp_path / "elsewhere.png").write_bytes(b"1")
        (disk.root / RUN / "link.png").symlink_to(tmp_path / "elsewhere.png")
    missing = PurePosixPath("ws_z/prj_z/run_z")
    new = Destination(disk.root)
    assert new.sizes([RUN, missing, RUN.parent]) == [{"output_1.png": 5, "run.json": 2}, {}, {}]
    assert disk.sizes([]) == []
    new.close()


@needs_links
def test_listing_tells_what_stands_there(disk: Destination) -> None:
    """A folder's files with their sizes, its folders, and everything else that no file is."""
    disk.write_atomic(FILE, [b"123"])
    (disk.root / RUN / "folder").mkdir()
    (disk.root / RUN / "link").symlink_to("output_1.png")
    listing = disk.listing(RUN)
    assert {name: (item.kind, item.size_bytes) for name, item in listing.items()} == {
        "output_1.png": (Kind.FILE, 3),
        "folder": (Kind.FOLDER, 0),
        "link": (Kind.OTHER, 0),
    }
    assert disk.listing(PurePosixPath("ws_z")) == {}


@needs_links
def test_is_file_is_true_of_files_alone(disk: Destination) -> None:
    """Neither a folder nor a link is a file, nor what is not there."""
    disk.write_atomic(FILE, [b"123"])
    (disk.root / RUN / "link").symlink_to("output_1.png")
    asked = [FILE, RUN, RUN / "link", RUN / "none", PurePosixPath("ws_z/none")]
    assert [disk.is_file(path) for path in asked] == [True, False, False, False, False]


def test_real_path_of_a_file(disk: Destination) -> None:
    """Where a file stands is told of files alone."""
    disk.write_atomic(FILE, [b"123"])
    assert disk.real_path(FILE) == disk.root / FILE
    with pytest.raises(OSError, match="not a regular file"):
        disk.real_path(RUN)

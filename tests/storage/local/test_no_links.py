"""No link inside an archive is followed, and nothing but a regular file is read."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path, PurePosixPath

import pytest

from floradl.storage import base
from floradl.storage.destination import Destination
from floradl.storage.local.no_links import require_real_dir, require_real_dirs
from tests.storage.disk_support import (
    FILE,
    RUN,
    handles,
    needs_links,
    temporary_files,
)


@needs_links
@pytest.mark.parametrize("level", range(1, 4))
def test_linked_folder_is_neither_read_nor_written(disk: Destination, tmp_path: Path, level: int) -> None:
    """With a link in place of a workspace, project or run folder, nothing goes out or comes in through it."""
    outside = tmp_path / "outside"
    below = outside.joinpath(*RUN.parts[level:])
    below.mkdir(parents=True)
    (below / FILE.name).write_bytes(b"mine")
    link = disk.root.joinpath(*RUN.parts[:level])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    for use in (
        lambda: disk.write_atomic(FILE, [b"bytes"]),
        lambda: disk.ensure_dir(RUN),
        lambda: disk.open_append(FILE, keep_bytes=0),
        lambda: disk.remove(FILE),
        lambda: disk.read(FILE),
        lambda: disk.digest(FILE),
        lambda: disk.sizes([RUN]),
    ):
        with pytest.raises(OSError, match="symbolic link"):
            use()
    assert [path.name for path in outside.rglob("*") if path.is_file()] == [FILE.name]
    assert (below / FILE.name).read_bytes() == b"mine"
    assert temporary_files(disk) == []


@needs_links
@pytest.mark.parametrize("name", [base.PRIVATE, base.PARTIALS, base.TEMPORARY])
def test_linked_private_folder_is_refused(tmp_path: Path, name: PurePosixPath) -> None:
    """floradl's own folders are not used when they are links."""
    (tmp_path / "outside").mkdir()
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside")
    disk = Destination(tmp_path / "out")
    with pytest.raises(OSError, match="symbolic link"):
        disk.prepare()
    assert list((tmp_path / "outside").iterdir()) == []
    disk.close()


@needs_links
def test_linked_file_is_neither_read_nor_written(disk: Destination, tmp_path: Path) -> None:
    """A link in place of a file is not read or appended to; a new whole file takes its place."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    disk.ensure_dir(RUN)
    (disk.root / FILE).symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        disk.read(FILE)
    with pytest.raises(OSError, match="symbolic link"):
        disk.digest(FILE)
    with pytest.raises(OSError, match="symbolic link"):
        disk.open_append(FILE, keep_bytes=0)
    disk.write_atomic(FILE, [b"bytes"])
    assert target.read_bytes() == b"mine"
    assert not (disk.root / FILE).is_symlink()
    assert disk.read(FILE) == b"bytes"


@needs_links
def test_clean_removes_links_and_not_what_they_lead_to(disk: Destination, tmp_path: Path) -> None:
    """A link among the temporary files is removed itself."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (disk.root / base.TEMPORARY / "1-0").symlink_to(target)
    disk.clean()
    assert temporary_files(disk) == []
    assert target.read_bytes() == b"mine"


@needs_links
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_not_read(disk: Destination, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, pipe or socket under a file's name is an error at once, not something to wait for."""
    folder = disk.ensure_dir(RUN)
    path = folder / FILE.name
    before = handles()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(folder)  # a socket's name must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    refusals: list[OSError] = []

    def read() -> None:
        try:
            disk.read(FILE)
        except OSError as exc:
            refusals.append(exc)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert [refusal.filename for refusal in refusals] == [str(path)]
    assert handles() == before


def test_file_in_place_of_a_folder(disk: Destination) -> None:
    """A file where a folder should be is an error that says so, for writing and for looking."""
    (disk.root / "ws_a").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError, match="a file stands where a folder"):
        disk.ensure_dir(RUN)
    with pytest.raises(NotADirectoryError, match="a file stands where a folder"):
        disk.sizes([RUN])
    assert (disk.root / "ws_a").read_bytes() == b"mine"


def test_real_folder_passes(tmp_path: Path) -> None:
    """A folder that is one is accepted."""
    require_real_dir(tmp_path)


@needs_links
@pytest.mark.parametrize("level", ["a", "a/b", "a/b/c"])
def test_every_level_is_looked_at_once(tmp_path: Path, level: str) -> None:
    """The levels that were looked at are told, and of those that the caller knows no link is noticed."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert require_real_dirs(tmp_path, "a/b/c", {"a"}) == ["a/b", "a/b/c"]
    (tmp_path / level).rename(tmp_path / "moved")
    (tmp_path / level).symlink_to(tmp_path / "moved")
    with pytest.raises(OSError, match="a symbolic link stands where a folder"):
        require_real_dirs(tmp_path, "a/b/c", {""})
    levels = {"a", "a/b", "a/b/c"}
    assert require_real_dirs(tmp_path, "a/b/c", levels) == []
    assert require_real_dirs(tmp_path, "a/b/c", {level}) == sorted(levels - {level})

"""A quick look at folders: what it tells, and that nothing is hidden behind a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from floradl.storage.local.folder_dates import FolderDate, FolderDates

PLACE = "ws_a/prj_b/run_1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with two files, a link, a pipe and a folder."""
    folder = tmp_path / PLACE
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(b"{}")
    (folder / "output_1.png").write_bytes(b"12345")
    (folder / "link.png").symlink_to("output_1.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return folder


def date_of(folder: Path) -> FolderDate:
    """A folder's date, as the system tells it."""
    status = folder.lstat()
    return FolderDate(status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def test_what_a_folder_holds(folder: Path, tmp_path: Path) -> None:
    """Its date, and its regular files with their sizes; links, pipes and folders are none."""
    look = FolderDates(tmp_path).look(PLACE)
    assert look.date == date_of(folder)
    assert look.sizes == {"run.json": 2, "output_1.png": 5}


@pytest.mark.parametrize("place", ["ws_a/prj_b/run_2", "ws_a/prj_x/run_1", "ws_x/prj_b/run_1"])
def test_no_folder(folder: Path, tmp_path: Path, place: str) -> None:
    """Where none stands there is nothing, and no error."""
    assert folder.exists()
    folder_dates = FolderDates(tmp_path)
    assert (folder_dates.look(place).date, folder_dates.look(place).sizes) == (None, {})
    assert not folder_dates.is_dated(place, *date_of(folder))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, level: int) -> None:
    """A link in place of the folder, or of one above it, is no folder of the archive, wherever it leads."""
    date = date_of(folder)
    linked = [folder, *folder.parents][level]
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        FolderDates(tmp_path).look(PLACE)
    assert not FolderDates(tmp_path).is_dated(PLACE, *date)


def test_a_file_in_place_of_a_folder(folder: Path, tmp_path: Path) -> None:
    """It is told; and it is no folder, even with the right date."""
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"")
    with pytest.raises(OSError, match="a file stands where a folder"):
        FolderDates(tmp_path).look(PLACE)
    assert not FolderDates(tmp_path).is_dated(PLACE, *date_of(folder))


def test_each_part_of_a_date_counts(folder: Path, tmp_path: Path) -> None:
    """A folder has its date, and no other: neither part of it may differ."""
    folder_dates, date = FolderDates(tmp_path), date_of(folder)
    assert folder_dates.is_dated(PLACE, *date)
    assert not folder_dates.is_dated(PLACE, date.mtime_ns + 1, date.ctime_ns, date.inode)
    assert not folder_dates.is_dated(PLACE, date.mtime_ns, date.ctime_ns + 1, date.inode)
    assert not folder_dates.is_dated(PLACE, date.mtime_ns, date.ctime_ns, date.inode + 1)


@pytest.mark.parametrize("change", ["remove", "rename", "replace", "add"])
def test_a_changed_name_changes_the_date(folder: Path, tmp_path: Path, change: str) -> None:
    """Whatever happens to a name in a folder shows in its date, also when somebody sets that back."""
    folder_dates, date = FolderDates(tmp_path), date_of(folder)
    os.utime(folder, ns=(0, 0))
    file = folder / "output_1.png"
    match change:
        case "remove":
            file.unlink()
        case "rename":
            file.rename(folder / "output_1.jpg")
        case "replace":
            (tmp_path / "new").write_bytes(b"12345")
            (tmp_path / "new").replace(file)
        case _:
            (folder / "more").write_bytes(b"")
    os.utime(folder, ns=(date.mtime_ns, date.mtime_ns))
    assert not folder_dates.is_dated(PLACE, *date)


def test_files_of_given_sizes(folder: Path, tmp_path: Path) -> None:
    """They are there when each is a regular file of its size, or of any where none is given."""
    folder_dates = FolderDates(tmp_path)
    assert folder.exists()
    assert folder_dates.has(PLACE, {"output_1.png": 5, "run.json": None})
    assert folder_dates.has(PLACE, {})
    for name, size_bytes in (
        ("output_1.png", 4),
        ("output_1.png", 0),
        ("output_2.png", None),
        ("link.png", None),
        ("pipe.png", None),
        ("folder.png", None),
    ):
        assert not folder_dates.has(PLACE, {"run.json": 2, name: size_bytes}), name

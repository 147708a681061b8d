"""No link inside an archive is followed, and nothing but a regular file is read."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath

import pytest

from floradl.storage import base
from floradl.storage.aside import set_aside
from floradl.storage.base import NewFile
from floradl.storage.destination import Destination
from floradl.storage.local import no_links
from floradl.storage.local.no_links import CAN_HOLD_FOLDERS, HeldFolder, require_real_dir, require_real_dirs
from floradl.storage.local.partial import Partial
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


# --- folders that are swapped meanwhile ------------------------------------------------------------------

Use = Callable[[Destination], object]


def commit_partial(disk: Destination) -> None:
    """An output that came through a partial."""
    folder = disk.ensure_dir(RUN)
    partial = Partial(lambda: disk.root / base.PARTIALS / "x.part", disk.flusher, disk.direct)
    partial.append([b"bytes"])
    partial.commit([], folder / FILE.name, None, hold=lambda: disk.hold(RUN))


def link_file(disk: Destination) -> None:
    """An output that is another name of a file."""
    disk.link(disk.root / "equal", FILE, check=lambda _: None)


WRITES: dict[str, Use] = {
    "a file": lambda disk: disk.write_atomic(FILE, [b"bytes"]),
    "files of a run": lambda disk: disk.write_files(RUN, [NewFile(FILE.name, [b"bytes"])], None),
    "an output from a partial": commit_partial,
    "a hard link": link_file,
}


@needs_links
@pytest.mark.skipif(not CAN_HOLD_FOLDERS, reason="this system cannot work in an open folder")
@pytest.mark.parametrize("level", range(1, 4))
@pytest.mark.parametrize("write", WRITES)
def test_a_folder_that_is_swapped_right_before_the_rename(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, level: int
) -> None:
    """The file lands in no other place, and the swap ends the job with an error that names it."""
    (disk.root / "equal").write_bytes(b"bytes")
    disk.ensure_dir(RUN)
    outside = swap_in(disk, tmp_path, monkeypatch, level, "replace")
    with pytest.raises(OSError, match="symbolic link"):
        WRITES[write](disk)
    assert [path for path in outside.rglob("*") if path.is_file()] == []


@needs_links
@pytest.mark.skipif(not CAN_HOLD_FOLDERS, reason="this system cannot work in an open folder")
@pytest.mark.parametrize("level", range(1, 4))
@pytest.mark.parametrize("write", [*WRITES, "set aside", "mkdir", "append", "remove"])
def test_a_folder_that_is_swapped_within_the_call(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, level: int
) -> None:
    """After it was looked at, and before the system acts: the system acts in what was looked at."""
    (disk.root / "equal").write_bytes(b"bytes")
    disk.write_atomic(FILE, [b"before"])
    outside, victim = tmp_path / "outside", disk.root.joinpath(*RUN.parts[:level])
    below = outside.joinpath(*RUN.parts[level:])
    below.mkdir(parents=True)
    (below / FILE.name).write_bytes(b"mine")
    uses = WRITES | {
        "set aside": lambda disk: set_aside(disk, FILE),
        "mkdir": lambda disk: disk.ensure_dir(RUN / "new"),
        "append": lambda disk: disk.open_append(FILE, keep_bytes=0).append(b"more"),
        "remove": lambda disk: disk.remove(FILE),
    }
    name = {"mkdir": "mkdir", "append": "open", "remove": "unlink"}.get(write, "replace")
    real = getattr(os, name)

    def swapping(*args: object, **kwargs: object) -> object:
        is_held = any(each.endswith("dir_fd") for each in kwargs) and args[0] not in RUN.parts
        if is_held and not victim.is_symlink():
            victim.rename(tmp_path / "away")
            victim.symlink_to(outside)
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, swapping)
    with suppress(OSError):  # where the call needs the folder once more, it finds the link
        uses[write](disk)
    monkeypatch.undo()
    assert victim.is_symlink()
    assert [path.read_bytes() for path in outside.rglob("*") if path.is_file()] == [b"mine"]
    assert not (below / "new").exists()


@needs_links
@pytest.mark.skipif(not CAN_HOLD_FOLDERS, reason="this system cannot work in an open folder")
@pytest.mark.parametrize("use", ["mkdir", "move", "set aside", "remove", "append"])
def test_a_folder_that_is_swapped_right_before_it_is_used(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """Nothing is made, moved, removed or appended to elsewhere."""
    disk.write_atomic(FILE, [b"bytes"])
    uses: dict[str, Use] = {
        "mkdir": lambda disk: disk.ensure_dir(RUN.parent / "run_new"),
        "move": lambda disk: disk.move(FILE, FILE.with_name("moved")),
        "set aside": lambda disk: set_aside(disk, FILE),
        "remove": lambda disk: disk.remove(FILE),
        "append": lambda disk: disk.open_append(FILE, keep_bytes=0),
    }
    outside = swap_in(disk, tmp_path, monkeypatch, 2, "hold")
    (outside / RUN.name).mkdir(exist_ok=True)
    (outside / RUN.name / FILE.name).write_bytes(b"mine")
    with pytest.raises(OSError, match="symbolic link"):
        uses[use](disk)
    files = [path for path in outside.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"mine"]
    assert not (outside / "run_new").exists()


def swap_in(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int, before: str
) -> Path:
    """Have somebody swap a folder above the run for a link, right before it is held for something."""
    outside = tmp_path / "outside"
    outside.joinpath(*RUN.parts[level:]).mkdir(parents=True, exist_ok=True)
    victim = disk.root.joinpath(*RUN.parts[:level])
    hold, turns = disk.hold, 0

    def swapping(folder: PurePosixPath) -> AbstractContextManager[HeldFolder]:
        nonlocal turns
        turns += 1
        if turns == 1 or (before == "hold" and not victim.is_symlink()):
            victim.rename(tmp_path / "away")
            victim.symlink_to(outside)
        return hold(folder)

    monkeypatch.setattr(disk, "hold", swapping)
    return outside


def test_what_is_held(disk: Destination) -> None:
    """A folder is worked in wherever its path leads by then; what is no folder is named."""
    disk.ensure_dir(RUN)
    with disk.hold(RUN) as held:
        (disk.root / RUN).rename(disk.root / "elsewhere")
        if held.descriptor is not None:
            os.mkdir(held.name("inside"), dir_fd=held.descriptor)
            assert (disk.root / "elsewhere" / "inside").is_dir()
    with pytest.raises(FileNotFoundError), disk.hold(RUN):
        pass
    (disk.root / RUN).write_bytes(b"a file")
    with pytest.raises(OSError, match="a file stands where a folder"), disk.hold(RUN):
        pass
    with disk.hold(PurePosixPath()) as held:
        assert held.descriptor is None or os.fstat(held.descriptor).st_ino == disk.root.stat().st_ino


@pytest.mark.skipif(not CAN_HOLD_FOLDERS, reason="this system cannot work in an open folder")
def test_a_folder_that_cannot_be_opened(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a folder stands and the system has no descriptor left, that is what is said."""
    disk.ensure_dir(RUN)
    real = os.open

    def refuse(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if path == RUN.name:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    before = handles()
    with pytest.raises(OSError, match="Too many open files"), disk.hold(RUN):
        pass
    assert handles() == before


def test_a_system_that_cannot_hold_a_folder(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works by paths, as on Windows."""
    monkeypatch.setattr(no_links, "CAN_HOLD_FOLDERS", False)
    disk.write_atomic(FILE, [b"bytes"])
    assert disk.move(FILE, FILE.with_name("moved"))
    disk.open_append(FILE, keep_bytes=0).close()
    disk.remove(FILE)
    assert [path.name for path in (disk.root / RUN).iterdir()] == ["moved"]


@needs_links
@pytest.mark.parametrize("can_hold", [True, False])
def test_a_linked_folder_is_found_by_whatever_a_system_can(
    disk: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_hold: bool
) -> None:
    """A folder that became a link is worked in by no call, also where none can be held."""
    disk.write_atomic(FILE, [b"bytes"])
    (disk.root / RUN).rename(tmp_path / "away")
    (disk.root / RUN).symlink_to(tmp_path / "away")
    monkeypatch.setattr(no_links, "CAN_HOLD_FOLDERS", can_hold and CAN_HOLD_FOLDERS)
    uses: list[Use] = [
        lambda disk: disk.write_atomic(FILE, [b"more"]),
        lambda disk: disk.move(FILE, RUN.parent / "moved"),
        lambda disk: disk.remove(FILE),
        lambda disk: disk.open_append(FILE, keep_bytes=0),
    ]
    for use in uses:
        with pytest.raises(OSError, match="symbolic link"):
            use(disk)
    assert [path.read_bytes() for path in (tmp_path / "away").iterdir()] == [b"bytes"]

"""A snapshot of a canvas that no manifest knows gets its entry from its name and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from floradl.repository.canvas import snapshot_op
from floradl.repository.entries import State
from floradl.storage.destination import Destination

FOLDER = PurePosixPath("ws_a/prj_b/canvas")
NAME = "20261126t023000z-nodes.json"
HASH = hashlib.sha256(b"[]").hexdigest()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """An archive with one snapshot, and an empty file beside it."""
    disk = Destination(tmp_path)
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(b"[]")
    (folder / "20261127t023000z-canvas.mmd").touch()
    (folder / "notes.json").write_bytes(b"[]")
    yield disk
    disk.close()


def test_from_its_bytes(disk: Destination) -> None:
    """Nothing tells what they should be: they are what they are."""
    op = snapshot_op(disk, "prj_b", FOLDER / NAME, "now")
    assert op is not None
    assert (op.run_id, op.key) == ("prj_b", "20261126t023000z-nodes")
    entry = op.entry
    assert (entry.type, entry.state, entry.file) == ("nodes", State.ARCHIVED, NAME)
    assert (entry.size_bytes, entry.sha256, entry.archived_at) == (2, HASH, "now")


@pytest.mark.parametrize("name", ["20261127t023000z-canvas.mmd", "20261128t023000z-canvas.mmd"])
def test_of_which_only_a_hash_is_left(disk: Destination, name: str) -> None:
    """It is an entry, of which a check says what is wrong; without a hash there is nothing to enter."""
    op = snapshot_op(disk, "prj_b", FOLDER / name, "now", sha256=HASH)
    assert op is not None
    assert (op.entry.type, op.entry.size_bytes, op.entry.sha256) == ("canvas", 0, HASH)
    assert snapshot_op(disk, "prj_b", FOLDER / name, "now") is None


@pytest.mark.parametrize("name", ["notes.json", "20261126t023000z-nodes.mmd"])
def test_a_file_that_is_no_snapshot(disk: Destination, name: str) -> None:
    """Its name tells, whatever is in it."""
    assert snapshot_op(disk, "prj_b", FOLDER / name, "now", sha256=HASH) is None

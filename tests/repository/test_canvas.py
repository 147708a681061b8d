"""Snapshots of canvases: new only where something changed, and never lost with the manifest."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.canvas import parse_nodes
from floradl.errors import ApiAnswerError
from floradl.repository import canvas
from floradl.repository.canvas import (
    SnapshotType,
    is_changed,
    newest_snapshot,
    nodes_bytes,
    snapshot_key,
    snapshot_op,
    snapshot_stamp,
)
from floradl.repository.entries import OutputEntry, State
from floradl.storage.destination import Destination

FOLDER = PurePosixPath("ws_a/prj_b/canvas")
NAME = "20261126t023000z-nodes.json"
HASH = hashlib.sha256(b"[]").hexdigest()
NOW_MS = 1_795_660_200_999
STAMP = "20261126t023000z"
RECORDS = st.lists(
    st.fixed_dictionaries({}, optional={"node_id": st.sampled_from(["n1", "n2", "é", ""]), "x": st.text()})
    | st.integers()
)


def output(state: State = State.ARCHIVED, **facts: Any) -> OutputEntry:
    """An output's entry."""
    return OutputEntry(**{"type": "imageUrl", "state": state} | facts)


def snapshots(*keys: str, **bytes_of: bytes) -> dict[str, OutputEntry]:
    """The outputs of a canvas, by their keys (with `_` for `-`), with the bytes they have."""
    named = dict.fromkeys(keys, b"") | {key.replace("_", "-"): data for key, data in bytes_of.items()}
    return {
        key: output(type=key.rpartition("-")[2], sha256=hashlib.sha256(data).hexdigest())
        for key, data in named.items()
    }


@given(RECORDS, st.randoms())
def test_the_order_of_nodes_is_no_change(records: list[object], rng: random.Random) -> None:
    """The same nodes in any order, and each however often, are the same bytes, with every record in them."""
    body = json.dumps({"nodes": records}).encode()
    data = nodes_bytes(parse_nodes(body).nodes)
    shuffled = [*records, *records[:2]]
    rng.shuffle(shuffled)
    assert nodes_bytes(parse_nodes(json.dumps({"nodes": shuffled}).encode()).nodes) == data
    content = json.loads(data)
    assert (content["format"], content["version"]) == ("floradl-canvas-nodes", 1)
    assert {json.dumps(node) for node in content["nodes"]} == {json.dumps(node) for node in records}
    assert nodes_bytes(parse_nodes(data).nodes) == data


def test_the_form_of_the_nodes() -> None:
    """A record a line, as it came; those without an id are the last."""
    page = parse_nodes(b'{"nodes": [{"node_id":  "n2"}, {}, {"node_id": "n1", "w": 1.50}]}')
    assert nodes_bytes(page.nodes) == (
        b'{"format":"floradl-canvas-nodes","version":1,"nodes":[\n'
        b'{"node_id": "n1", "w": 1.50},\n{"node_id":  "n2"},\n{}\n]}\n'
    )
    assert nodes_bytes([]) == b'{"format":"floradl-canvas-nodes","version":1,"nodes":[]}\n'


def test_keys_of_snapshots() -> None:
    """A key tells second and type; a second that is taken, or lies behind, gives way to the next."""
    assert snapshot_stamp(NOW_MS, []) == STAMP
    assert snapshot_key(STAMP, SnapshotType.NODES) == "20261126t023000z-nodes"
    assert snapshot_stamp(NOW_MS, [f"{STAMP}-canvas"]) == "20261126t023001z"
    assert snapshot_stamp(NOW_MS, ["20991231t235959z-nodes"]) == "21000101t000000z"
    assert snapshot_stamp(NOW_MS, ["20251231t235959z-nodes", "99991231t235959z-other", "x"]) == STAMP
    for no_time in ("99999999t999999z-canvas", "99991231t235959z-canvas"):
        assert snapshot_stamp(NOW_MS, [no_time]) == STAMP


@given(st.lists(st.integers(0, 10**12 * 4), max_size=20))
def test_a_later_snapshot_has_a_later_key(moments_ms: list[int]) -> None:
    """Whatever the clock does, keys are unique and sort in the order in which they were given."""
    keys: list[str] = []
    for moment_ms in moments_ms:
        keys.append(snapshot_key(snapshot_stamp(moment_ms, keys), SnapshotType.CANVAS))
        assert re.fullmatch(r"\d{8}t\d{6}z-canvas", keys[-1])
    assert keys == sorted(set(keys))


def test_the_newest_snapshot() -> None:
    """The newest is told by type, from what is archived and a snapshot at all."""
    outputs = snapshots("20261126t023000z-canvas", "20261125t023000z-nodes", "20261124t023000z-canvas", "x")
    outputs |= {
        "20261127t023000z-canvas": output(State.FAILED),
        "20261128t023000z-canvas#2": output(),
    }
    assert newest_snapshot(outputs, SnapshotType.CANVAS) == "20261126t023000z-canvas"
    assert newest_snapshot(outputs, SnapshotType.NODES) == "20261125t023000z-nodes"
    assert newest_snapshot({}, SnapshotType.NODES) is None


def test_what_is_a_change() -> None:
    """Only what differs from the newest of its type is new, also where it was so before."""
    outputs = snapshots(
        **{
            "20261124t000000z_canvas": b"one",
            "20261125t000000z_canvas": b"two",
            "20261126t000000z_nodes": b"x",
        }
    )
    assert not is_changed(outputs, SnapshotType.CANVAS, b"two")
    assert is_changed(outputs, SnapshotType.CANVAS, b"one")
    assert not is_changed(outputs, SnapshotType.NODES, b"x")
    assert is_changed({}, SnapshotType.NODES, b"x")


def test_the_nodes_of_a_canvas_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that fill more than a snapshot may have are an error, however few bytes each page had."""
    nodes = parse_nodes(json.dumps({"nodes": [{"node_id": "n" * 30}]}).encode()).nodes
    monkeypatch.setattr(canvas, "MAX_CANVAS_BYTES", 40)
    with pytest.raises(ApiAnswerError, match="nodes have 45 bytes"):
        nodes_bytes(nodes)


# --- a snapshot that no manifest knows gets its entry from its name and its bytes -------------------------


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

"""Runs and assets in folders that no entry knows get entries from their records and bytes, or none."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from floradl.checker.adoption import adopt_folder
from floradl.clock import Clock
from floradl.repository.entries import OutputOp, RunOp, SourcesOp, State
from floradl.storage.destination import Destination
from tests.support.sound_archive import PHOTO, TEXT

RECORDS: dict[str, tuple[dict[str, object], list[str]]] = {
    "of generations": ({"generation_id": "run_x"}, ["generations"]),
    "of nobody knows what": ({}, ["generations"]),
    "of a technique": ({"technique": {"technique_id": "tech_x"}}, ["technique-runs"]),
    "of technique runs": ({"technique_run_id": "run_x"}, ["technique-runs"]),
    "of both": (
        {"generation_id": "run_x", "technique_run_id": "run_x", "technique": {"name": "X"}},
        ["generations", "technique-runs"],
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_the_lists_that_had_a_record(dest: Path, name: str) -> None:
    """The fields of a record say which lists it came from."""
    fields, expected = RECORDS[name]
    record = {"run_id": "run_x", "status": "completed", "workspace_id": "ws_a", "project_id": "prj_a"}
    folder = PurePosixPath("ws_a/prj_a/run_x")
    (dest / folder).mkdir()
    (dest / folder / "run.json").write_text(json.dumps(record | fields))
    disk = Destination(dest)
    adoption = adopt_folder(disk, folder, {}, Clock())
    disk.close()
    assert adoption is not None
    sources = [list(op.sources) for op in adoption.ops if isinstance(op, SourcesOp)]
    assert (sources or [["generations"]]) == [expected]


ASSET = {"asset_id": "asset_x", "status": "ready", "workspace_id": "ws_a", "project_id": "prj_a"}


@pytest.mark.parametrize(
    ("place", "more", "project_id"),
    [
        ("ws_a/prj_a/assets/asset_x", {}, "prj_a"),
        ("ws_a/prj_b/assets/asset_x", {}, "prj_b"),
        ("ws_a/_workspace/assets/asset_x", {}, ""),
        ("ws_a/_workspace/assets/asset_x", {"project_id": None}, ""),
        ("ws_a/_workspace/assets/asset_x", {"project_id": "_workspace"}, ""),
        ("ws_a/prj_a/assets/node_x", {"asset_id": None, "node_id": "node_x"}, "prj_a"),
        ("ws_a/prj_a/assets/asset_x", {"status": "failed"}, None),
        ("ws_a/prj_a/assets/asset_y", {}, None),
        ("ws_a/prj_a/asset_x", {}, None),
        ("ws_a/assets/asset_x", {}, None),
        ("ws_a/p~~q/assets/asset_x", {}, None),
        ("w~~q/_workspace/assets/asset_x", {}, None),
    ],
)
def test_folders_of_assets(dest: Path, place: str, more: dict[str, object], project_id: str | None) -> None:
    """An asset is adopted only with the record of a ready asset, and only where that is archived."""
    folder = PurePosixPath(place)
    (dest / folder).mkdir(parents=True)
    (dest / folder / "asset.json").write_text(json.dumps(ASSET | more))
    disk = Destination(dest)
    adoption = adopt_folder(disk, folder, {}, Clock())
    disk.close()
    if project_id is None:
        assert adoption is None
        return
    assert adoption is not None
    (facts,) = [op.facts for op in adoption.ops if isinstance(op, RunOp)]
    assert (facts.kind, facts.project_id, facts.path) == ("asset", project_id, place)
    assert [op.sources for op in adoption.ops if isinstance(op, SourcesOp)] == [("assets",)]
    assert [op.entry.state for op in adoption.ops if isinstance(op, OutputOp)] == [State.FAILED]


def test_a_file_of_another_size_than_its_record_says(dest: Path) -> None:
    """Such a file is not adopted, unless `SHA256SUMS` has its hash: it may be cut, or another file."""
    folder = PurePosixPath("ws_a/prj_a/assets/asset_x")
    (dest / folder).mkdir(parents=True)
    disk = Destination(dest)
    for size_bytes, state in ((9, State.ARCHIVED), (8, State.FAILED)):
        (dest / folder / "asset.json").write_text(json.dumps(ASSET | {"size_bytes": size_bytes}))
        (dest / folder / "asset_x.bin").write_bytes(b"123456789")
        adoption = adopt_folder(disk, folder, {}, Clock())
        assert adoption is not None
        assert [op.entry.state for op in adoption.ops if isinstance(op, OutputOp)] == [state]
    disk.close()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b'{"run_id": "run_photo", "status": "running"}',
        b'{"run_id": "run_other", "status": "completed"}',
        b'{"run_id": "run_photo", "status": "completed", "workspace_id": "ws_a", "project_id": "A B"}',
    ],
)
def test_folders_that_are_no_runs(dest: Path, record: bytes) -> None:
    """A run is adopted only with the record of a completed run that is archived in this folder."""
    place = PurePosixPath("ws_a/p~~q/run_photo") if b"A B" in record else PurePosixPath(PHOTO)
    (dest / place).mkdir(parents=True, exist_ok=True)
    (dest / place / "run.json").write_bytes(record)
    disk = Destination(dest)
    assert adopt_folder(disk, place, {}, Clock()) is None
    disk.close()


def test_a_text_is_adopted_as_its_record_has_it(dest: Path) -> None:
    """The entry of a text comes from the record, not from a file that may be damaged."""
    (dest / TEXT).write_text("something else")
    disk = Destination(dest)
    adoption = adopt_folder(disk, PurePosixPath(TEXT).parent, {}, Clock())
    disk.close()
    assert adoption is not None
    (size,) = [op.entry.size_bytes for op in adoption.ops if hasattr(op, "entry")]
    assert size == len("A boat of paper, and a long voyage.")

"""A recorded run with outputs to fetch again: what is known of it, what is lost of it, and its visit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floradl.api.models import Output
from floradl.api.records import parse_asset, parse_generation
from floradl.constants import Kind
from floradl.download.missing import Missing, known_record, lost_outputs
from floradl.download.plan import RecordRule
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.storage.destination import Destination

URL = "https://media.test/a.png"
RECORD = {
    "run_id": "run_1",
    "status": "completed",
    "workspace_id": "ws_new",
    "outputs": [{"output_id": "output_1", "type": "imageUrl", "url": URL}],
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive."""
    disk = Destination(tmp_path / "out", fsync=False)
    disk.prepare()
    yield disk
    disk.close()


def archived(size_bytes: int, file: str = "output_1.png") -> OutputEntry:
    """An output that is on disk."""
    return OutputEntry("imageUrl", State.ARCHIVED, file, size_bytes, "ab" * 32, url=URL)


FAILED = OutputEntry("videoUrl", State.FAILED, url=URL, attempts=6)


def missing_run(**outputs: OutputEntry) -> Missing:
    """Run run_1 of ws_a/prj_b, with all these outputs to be fetched again."""
    entry = RunEntry("ws_a", "prj_b", "ws_a/prj_b/run_1", "t2i", 1, 2, None, "00", outputs=outputs)
    return Missing("run_1", entry, tuple(outputs))


def test_a_run_is_known_by_its_record(disk: Destination) -> None:
    """The record in its folder says what is known of a run, outputs included."""
    disk.write_atomic(
        layout.item_path(Kind.RUN, "ws_a", "prj_b", "run_1") / layout.RUN_RECORD,
        [json.dumps(RECORD).encode()],
    )
    known = known_record(disk, missing_run())
    assert (known.run_id, known.workspace_id) == ("run_1", "ws_new")
    assert known.outputs == (Output("output_1", "imageUrl", URL),)


@pytest.mark.parametrize(
    "record",
    [None, b"", b"{", b"[]", b'{"run_id": "run_1"}', json.dumps(RECORD | {"run_id": "run_2"}).encode()],
    ids=["lost", "empty", "torn", "another form", "no status", "another run's"],
)
def test_a_run_whose_record_is_of_no_use(disk: Destination, record: bytes | None) -> None:
    """Without a record of its own a run is known by its entry, so that its files stay in their place."""
    if record is not None:
        disk.write_atomic(layout.item_path(Kind.RUN, "ws_a", "prj_b", "run_1") / layout.RUN_RECORD, [record])
    known = known_record(disk, missing_run())
    assert (known.run_id, known.status, known.outputs) == ("run_1", "completed", None)
    assert (known.workspace_id, known.project_id, known.model_id) == ("ws_a", "prj_b", "t2i")


def test_an_asset_whose_record_is_lost(disk: Destination) -> None:
    """It is known by its entry, as an asset; what FLORA says of it by its id completes that."""
    entry = RunEntry(
        "ws_a", "", "ws_a/_workspace/assets/asset_1", None, 1, None, None, "00", 1, Kind.ASSET, name="Box"
    )
    known = known_record(disk, Missing("asset_1", entry, ("asset_1",), has_record=False))
    assert (known.run_id, known.kind, known.name) == ("asset_1", Kind.ASSET, "Box")
    assert (known.status, known.workspace_id, known.project_id) == ("completed", "ws_a", "")
    assert known.outputs is None
    current = parse_asset(
        b'{"asset_id": "asset_1", "status": "ready", "url": "https://x/y.png"}', known=known
    )
    assert (current.workspace_id, current.name) == ("ws_a", "Box")
    assert [output.value for output in current.outputs or ()] == ["https://x/y.png"]


def test_snapshots_of_a_canvas_are_lost() -> None:
    """FLORA has none of the past: the failure has a code of its own, and the entry stays."""
    entry = RunEntry("ws_a", "prj_b", "ws_a/prj_b/canvas", None, 1, None, None, "", None, Kind.CANVAS)
    entry = msgspec.structs.replace(entry, outputs={"a-canvas": archived(5)})
    (failure,) = lost_outputs(Missing("prj_b", entry, ("a-canvas",)), "why")
    assert (failure.code, failure.message, failure.keeps_entry) == ("lost", "why", True)


def test_outputs_that_nobody_can_bring_back() -> None:
    """Each becomes a failure with its recorded type and URL and the reason; its entry is not touched."""
    failures = lost_outputs(missing_run(output_1=archived(5), output_2=FAILED), "the run is gone")
    assert [(each.key, each.type, each.code, each.message) for each in failures] == [
        ("output_1", "imageUrl", "run_not_found", "the run is gone"),
        ("output_2", "videoUrl", "run_not_found", "the run is gone"),
    ]
    assert all(each.run_id == "run_1" and each.url == URL and each.keeps_entry for each in failures)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_visit_fetches_what_is_missing(is_exact: bool) -> None:
    """The visit replaces what is damaged, and touches only the outputs named where it is told to."""
    run = parse_generation(json.dumps(RECORD).encode())
    entry = RunEntry("ws_a", "prj_b", "ws_a/prj_b/run_1", None, 1, 2, None, "00")
    missing = Missing("run_1", entry, ("output_1",), frozenset({"output_1"}), is_exact=is_exact)
    visit = missing.visit(run, RecordRule.KEEP, is_current=False)
    assert (visit.run, visit.record, visit.is_current) == (run, RecordRule.KEEP, False)
    assert visit.replaces == {"output_1"}
    assert visit.only == ({"output_1"} if is_exact else None)

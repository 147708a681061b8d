"""What has to be asked for again: the manifest against the folders, and what is known of a run that is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl import layout
from floradl.entries import OutputEntry, OutputOp, RunEntry, RunFacts, RunOp, State
from floradl.files import Disk
from floradl.job import RecordRule
from floradl.manifest import Manifest
from floradl.mend import Mend, compare_with_disk, known_record, lost_outputs
from floradl.model import Filters, Output, parse_generation

URL = "https://media.test/a.png"
RECORD = {
    "run_id": "run_1",
    "status": "completed",
    "workspace_id": "ws_new",
    "outputs": [{"output_id": "output_1", "type": "imageUrl", "url": URL}],
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A prepared archive."""
    disk = Disk(tmp_path / "out", fsync=False)
    disk.prepare()
    yield disk
    disk.close()


def archived(size_bytes: int, file: str = "output_1.png") -> OutputEntry:
    """An output that is on disk."""
    return OutputEntry("imageUrl", State.ARCHIVED, file, size_bytes, "ab" * 32, url=URL)


FAILED = OutputEntry("videoUrl", State.FAILED, url=URL, attempts=6)


def memory(**runs: dict[str, OutputEntry]) -> Manifest:
    """A manifest with these runs of ws_a/prj_b, and their outputs."""
    manifest = Manifest("9f0c", "then")
    for run_id, outputs in runs.items():
        path = f"ws_a/prj_b/{run_id}"
        manifest.apply(RunOp(run_id, RunFacts("ws_a", "prj_b", path, "t2i", 1, 2, None, "00")))
        for key, entry in outputs.items():
            manifest.apply(OutputOp(run_id, key, entry))
    return manifest


def compare(
    disk: Disk, manifest: Manifest, filters: Filters | None = None, unwanted: str = ""
) -> tuple[int, int, list[tuple[str, tuple[str, ...]]]]:
    """How many outputs are there, with how many bytes, and what has to be mended."""
    found = compare_with_disk(manifest, disk, filters or Filters(), lambda run_id, _: run_id != unwanted)
    return found.outputs, found.size_bytes, [(mend.run_id, mend.keys) for mend in found.mends]


def write(disk: Disk, run_id: str, **files: bytes) -> None:
    """Put files into a run's folder; `output_1` is `output_1.png`."""
    for name, data in files.items():
        disk.write_atomic(layout.run_path("ws_a", "prj_b", run_id) / f"{name}.png", [data])


def test_an_archive_as_it_should_be(disk: Disk) -> None:
    """Where each file has its recorded size there is nothing to mend, and every byte counts."""
    write(disk, "run_1", output_1=b"12345", output_2=b"")
    write(disk, "run_2", output_1=b"67", stranger=b"89")
    manifest = memory(
        run_1={"output_1": archived(5), "output_2": archived(0, "output_2.png")},
        run_2={"output_1": archived(2)},
        run_3={},
    )
    assert compare(disk, manifest) == (3, 7, [])


def test_what_is_not_as_it_should_be(disk: Disk) -> None:
    """Failed outputs, files of another size and missing files are mended; they count for nothing."""
    write(disk, "run_1", output_1=b"12345")
    write(disk, "run_2", output_1=b"123456")
    manifest = memory(
        run_1={"output_1": archived(5), "output_2": FAILED},
        run_2={"output_1": archived(5)},
        run_3={"output_1": archived(5), "output_2": archived(6, "output_2.png")},
    )
    assert compare(disk, manifest) == (
        1,
        5,
        [("run_1", ("output_2",)), ("run_2", ("output_1",)), ("run_3", ("output_1", "output_2"))],
    )


def test_only_what_is_wanted_is_mended(disk: Disk) -> None:
    """Runs and types that a job does not want are left alone; the archive's size is of all of it."""
    write(disk, "run_2", output_1=b"12345")
    damage = {"output_1": archived(5), "output_2": FAILED}
    manifest = memory(run_1=damage, run_2=damage)
    assert compare(disk, manifest, unwanted="run_2") == (1, 5, [("run_1", ("output_1", "output_2"))])
    videos = Filters(types=frozenset({"videoUrl"}))
    assert compare(disk, manifest, videos) == (1, 5, [("run_1", ("output_2",)), ("run_2", ("output_2",))])


def test_a_run_that_was_named_is_asked_for_in_any_case(disk: Disk) -> None:
    """With --run-id a run is looked at again although nothing of it is missing."""
    write(disk, "run_1", output_1=b"12345")
    named = Filters(run_ids=frozenset({"run_1"}))
    assert compare(disk, memory(run_1={"output_1": archived(5)}), named) == (1, 5, [("run_1", ())])


@pytest.mark.parametrize("count", [499, 500, 501, 1001])
def test_however_many_runs_there_are(disk: Disk, count: int) -> None:
    """No run is left out and none is looked at twice, wherever a batch ends."""
    names = [f"run_{number}" for number in range(count)]
    manifest = memory(**{name: {"output_1": archived(5)} for name in names})
    assert compare(disk, manifest) == (0, 0, [(name, ("output_1",)) for name in names])


def mend_of(**outputs: OutputEntry) -> Mend:
    """Run run_1 of ws_a/prj_b, with all these outputs to be mended."""
    entry = RunEntry("ws_a", "prj_b", "ws_a/prj_b/run_1", "t2i", 1, 2, None, "00", None, outputs)
    return Mend("run_1", entry, tuple(outputs))


def test_a_run_is_known_by_its_record(disk: Disk) -> None:
    """What `run.json` says of a run is what is known, outputs included."""
    disk.write_atomic(
        layout.run_path("ws_a", "prj_b", "run_1") / layout.RUN_RECORD, [json.dumps(RECORD).encode()]
    )
    known = known_record(disk, mend_of())
    assert (known.run_id, known.workspace_id) == ("run_1", "ws_new")
    assert known.outputs == (Output("output_1", "imageUrl", URL),)


@pytest.mark.parametrize(
    "record",
    [None, b"", b"{", b"[]", b'{"run_id": "run_1"}', json.dumps(RECORD | {"run_id": "run_2"}).encode()],
    ids=["lost", "empty", "torn", "another form", "no status", "another run's"],
)
def test_a_run_whose_record_is_of_no_use(disk: Disk, record: bytes | None) -> None:
    """Without a record of its own a run is known by its entry, so that its files stay in their place."""
    if record is not None:
        disk.write_atomic(layout.run_path("ws_a", "prj_b", "run_1") / layout.RUN_RECORD, [record])
    known = known_record(disk, mend_of())
    assert (known.run_id, known.status, known.outputs) == ("run_1", "completed", None)
    assert (known.workspace_id, known.project_id, known.model_id) == ("ws_a", "prj_b", "t2i")


def test_outputs_that_nobody_can_bring_back() -> None:
    """Each is named with what was recorded of it and why, and its entry is not touched."""
    failures = lost_outputs(mend_of(output_1=archived(5), output_2=FAILED), "the run is gone")
    assert [(each.key, each.type, each.code, each.message) for each in failures] == [
        ("output_1", "imageUrl", "run_not_found", "the run is gone"),
        ("output_2", "videoUrl", "run_not_found", "the run is gone"),
    ]
    assert all(each.run_id == "run_1" and each.url == URL and each.keeps_entry for each in failures)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_visit_mends_what_its_mend_says(is_exact: bool) -> None:
    """The visit replaces what is damaged, and touches only the outputs named where it is told to."""
    run = parse_generation(json.dumps(RECORD).encode())
    entry = RunEntry("ws_a", "prj_b", "ws_a/prj_b/run_1", None, 1, 2, None, "00")
    mend = Mend("run_1", entry, ("output_1",), frozenset({"output_1"}), is_exact=is_exact)
    visit = mend.visit(run, RecordRule.KEEP, is_current=False)
    assert (visit.run, visit.record, visit.is_current) == (run, RecordRule.KEEP, False)
    assert visit.replaces == {"output_1"}
    assert visit.only == ({"output_1"} if is_exact else None)

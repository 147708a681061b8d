"""A manifest from what is left of it: never a wrong entry, wherever the file was cut."""

from __future__ import annotations

import json
import random
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from floradl.checker.findings import Trouble
from floradl.checker.inspection import Expected, check_bytes, check_run
from floradl.checker.recovery import Recovered, adopt_folder, read_checksums, recover
from floradl.clock import Clock
from floradl.errors import NewerFormatError
from floradl.repository.entries import OutputEntry, OutputOp, RunEntry, RunOp, SourcesOp, State
from floradl.storage.base import Item, Kind
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from tests.support.damages import line, write_journal
from tests.support.sound_archive import PHOTO, TEXT, Stage, report_of, without_key
from tests.support.support import all_entries, manifest


def recovered_entries(dest: Path) -> dict[str, Any]:
    """The runs, assets and canvases of a manifest that was read as well as it can be."""
    disk = Destination(dest)
    try:
        whole = recover(disk, Clock()).manifest
        tables = json.loads(b"".join(whole.encode(updated_at="", base_url="")))
        found: dict[str, Any] = tables["runs"] | tables.get("assets", {}) | tables.get("canvases", {})
        assert {entry_id for entry_id, _ in whole.iter_entries()} == set(found)
        kinds = {name: entry.get("kind", "run") for name, entry in found.items()}
        assert all(whole.kind(name) == kind for name, kind in kinds.items())
        return found
    finally:
        disk.close()


def test_a_manifest_cut_anywhere(stage: Stage, dest: Path) -> None:
    """Cut at each line and at hundreds of other places, every entry that is found is the one there was."""
    data, sound = (dest / "manifest.json").read_bytes(), all_entries(stage.sound)
    ends = [end for end, byte in enumerate(data) if byte == ord("\n")]
    places = sorted({*ends, *(end + 1 for end in ends), *random.Random(1).sample(range(len(data)), 300)})
    most = 0
    for place in places:
        (dest / "manifest.json").write_bytes(data[:place])
        runs = recovered_entries(dest)
        assert all(sound[run_id] == entry for run_id, entry in runs.items()), place
        assert len(runs) >= most, "a longer piece of the file gave less"
        most = len(runs)
    assert most == len(sound)


def test_a_manifest_with_a_hole(stage: Stage, dest: Path) -> None:
    """What a bad sector takes is lost, and nothing else changes."""
    data, sound = (dest / "manifest.json").read_bytes(), all_entries(stage.sound)
    holes = random.Random(2)
    for _ in range(60):
        start = holes.randrange(len(data) - 600)
        (dest / "manifest.json").write_bytes(data[:start] + bytes(512) + data[start + 512 :])
        runs = recovered_entries(dest)
        assert all(sound[run_id] == entry for run_id, entry in runs.items()), start
        assert len(runs) >= len(sound) - 3


def test_what_tells_the_archive_is_kept(stage: Stage, dest: Path) -> None:
    """The archive stays the archive it was: its id comes from the file, or from the journal."""
    known = manifest(dest)
    data = (dest / "manifest.json").read_bytes()
    (dest / "manifest.json").write_bytes(data[:400])
    disk = Destination(dest)
    assert recover(disk, Clock()).manifest.archive_id == known["archive_id"]
    (dest / "manifest.json").write_bytes(b"")
    head = {"op": "journal", "version": 1, "archive_id": "a" * 32, "created_at": "2026-01-01T00:00:00Z"}
    write_journal(dest, line(head))
    whole = recover(disk, Clock()).manifest
    disk.close()
    assert (whole.archive_id, whole.created_at) == ("a" * 32, "2026-01-01T00:00:00Z")
    assert stage.sound.exists()


def seal_in_journal(dest: Path) -> None:
    """Leave what a quiet night leaves in a large archive: the date of its scan, in the journal."""
    known = manifest(dest)
    scan = known["scans"][0]
    size_bytes = (dest / "manifest.json").stat().st_size
    head = {"op": "journal", "version": 1, "archive_id": known["archive_id"], "created_at": "then"}
    op = {"op": "scan", "scan": scan | {"sealed_before": 9}, "onto": f"{known['updated_at']} {size_bytes}"}
    write_journal(dest, line(head) + line(op))


def recovered_from(dest: Path) -> tuple[Recovered, list[int]]:
    """What is left of a manifest, and the dates of its seals."""
    disk = Destination(dest)
    try:
        found = recover(disk, Clock())
    finally:
        disk.close()
    scans = json.loads(b"".join(found.manifest.encode(updated_at="", base_url="")))["scans"]
    return found, [scan["sealed_before"] for scan in scans[:1]]


def test_a_journal_with_a_date_alone(stage: Stage, dest: Path) -> None:
    """It is nothing to find fault with, and `SHA256SUMS` is held against the manifest all the same."""
    seal_in_journal(dest)
    found, seals = recovered_from(dest)
    assert (found.is_whole, found.is_folded, seals) == (True, True, [9])
    assert without_key(stage.sim, "verify", dest).returncode == 0
    with (dest / "SHA256SUMS").open("ab") as sums:
        sums.write(b"more\n")
    done = without_key(stage.sim, "verify", "--json", dest)
    assert [finding["kind"] for finding in report_of(done)["findings"]] == ["bad_checksums"]


@pytest.mark.parametrize("damage", ["lost", "cut", "an entry"])
def test_no_seal_survives_what_it_sealed(dest: Path, damage: str) -> None:
    """With a manifest that is lost in whole or in part, the journal's seal would hide what is gone."""
    seal_in_journal(dest)
    file = dest / "manifest.json"
    data = file.read_bytes()
    match damage:
        case "lost":
            file.unlink()
        case "cut":
            file.write_bytes(data[:-300])
        case _:
            file.write_bytes(data.replace(b'"path"', b'"htap"', 1))
    found, seals = recovered_from(dest)
    assert [finding.kind for finding in found.findings] == [Trouble.BAD_MANIFEST]
    assert seals == []


def test_newer_formats_are_not_recovered(dest: Path) -> None:
    """What a newer floradl wrote is not broken, whichever of the two files it is."""
    disk = Destination(dest)
    head = {"op": "journal", "version": 3, "archive_id": "a" * 32, "created_at": "2026-01-01T00:00:00Z"}
    write_journal(dest, line(head))
    with pytest.raises(NewerFormatError):
        recover(disk, Clock())
    (dest / ".floradl" / "journal").unlink()
    (dest / "manifest.json").write_text(json.dumps(manifest(dest) | {"version": 3}))
    with pytest.raises(NewerFormatError):
        recover(disk, Clock())
    disk.close()


def test_checksums_that_make_no_sense(dest: Path) -> None:
    """Lines that are none are passed over, names that lead elsewhere are nobody's output."""
    good = "a" * 64
    (dest / "SHA256SUMS").write_bytes(
        f"{good}  {PHOTO}/output_1.png\nnonsense\n{good}  ../../x\n{good} {PHOTO}/y\n".encode() + b"\xff\n"
    )
    disk = Destination(dest)
    assert read_checksums(disk) == {PHOTO: {"output_1.png": good}, "../..": {"x": good}}
    (dest / PHOTO / "output_1.png").unlink()
    adoption = adopt_folder(disk, PurePosixPath(PHOTO), read_checksums(disk), Clock())
    disk.close()
    assert adoption is not None
    assert next(op.entry.sha256 for op in adoption.ops if hasattr(op, "entry")) == good


def test_what_a_lost_manifest_said(stage: Stage, dest: Path) -> None:
    """Every entry of every kind comes back from records, names and bytes; only dates are others."""
    sound = all_entries(stage.sound)
    for lost in (["manifest.json"], ["manifest.json", "SHA256SUMS"]):
        for file in lost:
            (dest / file).unlink()
        done = without_key(stage.sim, "verify", "--repair", dest)
        assert done.returncode == 0, done.stderr
        found = all_entries(dest)
        assert found.keys() == sound.keys()
        for name, entry in found.items():
            known = sound[name]
            outputs, known_outputs = entry.pop("outputs"), known["outputs"]
            if entry.get("kind") == "canvas":  # when its project changed is asked for anew
                assert entry["completed_at"] is None
                entry["completed_at"] = known["completed_at"]
            assert entry == {key: value for key, value in known.items() if key != "outputs"}
            assert outputs.keys() == known_outputs.keys()
            for key, output in outputs.items():
                same = ("type", "state", "file", "size_bytes", "sha256", "url")
                assert [output.get(part) for part in same] == [known_outputs[key].get(part) for part in same]


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
def test_which_lists_had_a_record(dest: Path, name: str) -> None:
    """A record tells by its fields which lists have it."""
    fields, expected = RECORDS[name]
    record = {"run_id": "run_x", "status": "completed", "workspace_id": "ws_a", "project_id": "prj_a"}
    folder = PurePosixPath("ws_a/prj_a/run_x")
    (dest / folder).mkdir()
    (dest / folder / "run.json").write_text(json.dumps(record | fields))
    disk = Destination(dest)
    adoption = adopt_folder(disk, folder, {}, Clock())
    disk.close()
    assert adoption is not None
    told = [list(op.sources) for op in adoption.ops if isinstance(op, SourcesOp)]
    assert (told or [["generations"]]) == [expected]


ASSET = {"asset_id": "asset_x", "status": "ready", "workspace_id": "ws_a", "project_id": "prj_a"}


@pytest.mark.parametrize(
    ("place", "more", "project_id"),
    [
        ("ws_a/prj_a/assets/asset_x", {}, "prj_a"),
        ("ws_a/prj_b/assets/asset_x", {}, "prj_b"),
        ("ws_a/_workspace/assets/asset_x", {}, ""),
        ("ws_a/_workspace/assets/asset_x", {"project_id": None}, ""),
        ("ws_a/_workspace/assets/asset_x", {"project_id": "_workspace"}, "_workspace"),
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
    """A folder is an asset's with the record of a ready asset, at the depth and place of that."""
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


def test_a_file_of_another_size_than_flora_told(dest: Path) -> None:
    """Without a hash that vouches for it, a file that is not as long as its record says is not adopted."""
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
    """A folder is a run's only with the record of a completed run that belongs there."""
    place = PurePosixPath("ws_a/p~~q/run_photo") if b"A B" in record else PurePosixPath(PHOTO)
    (dest / place).mkdir(parents=True, exist_ok=True)
    (dest / place / "run.json").write_bytes(record)
    disk = Destination(dest)
    assert adopt_folder(disk, place, {}, Clock()) is None
    disk.close()


def test_a_text_is_what_its_record_says(dest: Path) -> None:
    """The entry of a text comes from the record, so that a damaged file shows."""
    (dest / TEXT).write_text("something else")
    disk = Destination(dest)
    adoption = adopt_folder(disk, PurePosixPath(TEXT).parent, {}, Clock())
    disk.close()
    assert adoption is not None
    (size,) = [op.entry.size_bytes for op in adoption.ops if hasattr(op, "entry")]
    assert size == len("A boat of paper, and a long voyage.")


ENTRY = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 10, "a" * 64)
RECORD = Item(Kind.FILE, 5)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (None, Trouble.MISSING),
        (Item(Kind.FILE, 0), Trouble.EMPTY),
        (Item(Kind.FILE, 9), Trouble.TRUNCATED),
        (Item(Kind.FILE, 11), Trouble.CHANGED),
        (Item(Kind.FOLDER, 0), Trouble.NOT_A_FILE),
        (Item(Kind.OTHER, 10), Trouble.NOT_A_FILE),
        (Item(Kind.FILE, 10), None),
    ],
)
def test_a_run_against_its_folder(item: Item | None, kind: Trouble | None) -> None:
    """Presence, kind and size tell all but changed bytes; only what is as long has to be read."""
    entry = RunEntry("ws", "prj", "ws/prj/run_a", None, 1, 2, None, "b" * 64, outputs={"output_1": ENTRY})
    listing = {"run.json": RECORD} | ({"output_1.png": item} if item else {})
    check = check_run("run_a", entry, listing)
    assert [finding.kind for finding in check.findings] == ([kind] if kind else [])
    assert [expected.path for expected in check.expected] == ([] if kind else ["ws/prj/run_a/output_1.png"])
    assert len(check.lost) == bool(kind)


def test_bytes_against_their_entry() -> None:
    """Only the same size and the same hash are the same bytes."""
    expected = Expected("run_a", "output_1", "p", 10, "a" * 64)
    assert check_bytes(expected, Digest(10, "a" * 64, b"")) is None
    for digest in (Digest(10, "b" * 64, b""), Digest(11, "a" * 64, b"")):
        finding = check_bytes(expected, digest)
        assert finding is not None
        assert finding.kind == Trouble.CHANGED

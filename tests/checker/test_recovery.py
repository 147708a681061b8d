"""A manifest that is lost or broken is pieced together from what is left: never a wrong entry."""

from __future__ import annotations

import json
import random
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from floradl.checker.adoption import adopt_folder
from floradl.checker.findings import Trouble
from floradl.checker.recovery import Recovered, read_checksums, recover
from floradl.clock import Clock
from floradl.errors import NewerFormatError
from floradl.storage.destination import Destination
from tests.support.archives import all_entries, manifest
from tests.support.damages import line, write_journal
from tests.support.sound_archive import PHOTO, Stage, report_of, without_key


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
    """An entry that a bad sector took is lost, and no other entry changes."""
    data, sound = (dest / "manifest.json").read_bytes(), all_entries(stage.sound)
    holes = random.Random(2)
    for _ in range(60):
        start = holes.randrange(len(data) - 600)
        (dest / "manifest.json").write_bytes(data[:start] + bytes(512) + data[start + 512 :])
        runs = recovered_entries(dest)
        assert all(sound[run_id] == entry for run_id, entry in runs.items()), start
        assert len(runs) >= len(sound) - 3


def test_the_archive_keeps_its_id(stage: Stage, dest: Path) -> None:
    """The id comes from what is left of the file, or else from the journal."""
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
    """Put the date of a scan into the journal, as a quiet night leaves it in a large archive."""
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
    """It is no finding, and `SHA256SUMS` is compared with the manifest all the same."""
    seal_in_journal(dest)
    found, seals = recovered_from(dest)
    assert (found.is_whole, found.is_folded, seals) == (True, True, [9])
    assert without_key(stage.sim, "verify", dest).returncode == 0
    with (dest / "SHA256SUMS").open("ab") as sums:
        sums.write(b"more\n")
    done = without_key(stage.sim, "verify", "--json", dest)
    assert [finding["kind"] for finding in report_of(done)["findings"]] == ["bad_checksums"]


@pytest.mark.parametrize("damage", ["lost", "cut", "an entry"])
def test_no_seal_counts_for_a_manifest_that_lost_entries(dest: Path, damage: str) -> None:
    """The journal's seal would make the next scan stop above the runs that were lost."""
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
    """A manifest or a journal that a newer floradl wrote is not broken: it is refused."""
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
    """Lines in another form are ignored; a path that leads out of the archive is no output's."""
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


def test_a_lost_manifest_is_made_anew(stage: Stage, dest: Path) -> None:
    """Every entry of every kind comes back from records, names and bytes, but for the dates."""
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
            if entry.get("kind") == "canvas":  # the next archive job asks for its nodes again
                assert entry["completed_at"] is None
                entry["completed_at"] = known["completed_at"]
            assert entry == {key: value for key, value in known.items() if key != "outputs"}
            assert outputs.keys() == known_outputs.keys()
            for key, output in outputs.items():
                same = ("type", "state", "file", "size_bytes", "sha256", "url")
                assert [output.get(part) for part in same] == [known_outputs[key].get(part) for part in same]

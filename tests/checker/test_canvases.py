"""Canvas snapshots whose bytes are gone: said, given up, said less loudly, and taken back where they return.

No list has what a canvas was on some day, so nobody can bring a snapshot back. What a repair can is in the
table of damage.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floradl.repository.layout import safe_name
from tests.support.archives import all_entries, assert_sound, manifest
from tests.support.damages import cut, replace_by_folder
from tests.support.sound_archive import (
    CANVAS,
    DIAGRAM,
    EVERYTHING,
    LATER,
    NODES,
    PICTURE,
    SNAPSHOTS,
    Stage,
    edit_manifest,
    flip_bit,
    found_in,
    report_of,
    without_key,
)
from tests.support.zygote import floradl

LOSSES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("missing", lambda d: (d / DIAGRAM).unlink()),
    "empty": ("empty", lambda d: cut(d / DIAGRAM, 0)),
    "half": ("truncated", lambda d: cut(d / DIAGRAM, 9)),
    "a bit changed": ("changed", lambda d: flip_bit(d / DIAGRAM)),
    "a folder": ("not_a_file", lambda d: replace_by_folder(d / DIAGRAM)),
}


def snapshot(dest: Path) -> dict[str, Any]:
    """The entry of the diagram that is lost."""
    entry: dict[str, Any] = all_entries(dest)["prj_a"]["outputs"][Path(DIAGRAM).stem]
    return entry


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_said_once_and_never_forgotten(stage: Stage, dest: Path, name: str) -> None:
    """Damage until a repair says that nothing brings it back; told by every check from then on."""
    kind, harm = LOSSES[name]
    known = snapshot(dest)
    harm(dest)
    left = (dest / DIAGRAM).read_bytes() if (dest / DIAGRAM).is_file() else None
    for _ in range(2):
        done = floradl(stage.sim, "verify", "--json", dest)
        assert (done.returncode, found_in(done)) == (3, [f"{kind} {DIAGRAM}"])
    repair = floradl(stage.sim, "verify", "--repair", "--json", dest)
    (finding,) = report_of(repair)["findings"]
    assert repair.returncode == 3
    assert (finding["kind"], finding["path"], finding["repaired"]) == (kind, DIAGRAM, False)
    assert f"{kind}: {DIAGRAM}" in repair.stderr
    for options in ([], ["--sample", "1/1000"], ["--repair"]):
        done = floradl(stage.sim, "verify", "--json", *options, dest)
        assert (done.returncode, found_in(done)) == (0, [f"lost {DIAGRAM}"]), done.stderr
        assert f"lost: {DIAGRAM}" in done.stderr
        assert "1 canvas snapshot lost for good" in done.stderr
        assert report_of(done)["sound"] is True
    entry = snapshot(dest)
    assert entry["state"] == "lost"
    assert entry["error"]["code"] == "lost"
    assert {key: entry[key] for key in ("file", "sha256", "size_bytes")} == {
        key: known[key] for key in ("file", "sha256", "size_bytes")
    }
    assert ((dest / DIAGRAM).read_bytes() if (dest / DIAGRAM).is_file() else None) == left
    assert_sound(dest)


def test_the_other_damage_is_repaired_all_the_same(stage: Stage, dest: Path) -> None:
    """A loss blocks nothing: what can be had is there again, and one exit code tells of the rest."""
    (dest / DIAGRAM).unlink()
    (dest / NODES).unlink()
    (dest / PICTURE).unlink()
    done = floradl(stage.sim, "verify", "--repair", "--json", dest)
    assert done.returncode == 3
    assert {item["path"]: item["repaired"] for item in report_of(done)["findings"]} == {
        DIAGRAM: False,
        NODES: False,
        PICTURE: True,
    }
    assert report_of(done)["failures"] == []
    assert (dest / PICTURE).read_bytes() == (stage.sound / PICTURE).read_bytes()


def test_what_each_night_says(stage: Stage, dest: Path) -> None:
    """Nights with canvases name it, with exit code 3 and what to do, until a repair has; then it is quiet."""
    (dest / DIAGRAM).unlink()
    assert floradl(stage.sim, dest).returncode == 0, "a night without canvases does not look at them"
    for _ in range(2):
        done = floradl(stage.sim, "--json", *EVERYTHING, dest)
        assert done.returncode == 3
        (failure,) = report_of(done)["failures"]
        assert (failure["run_id"], failure["output"]) == ("prj_a", Path(DIAGRAM).stem)
        assert failure["code"] == "lost"
        assert "floradl verify --repair" in done.stderr
    assert floradl(stage.sim, "verify", "--repair", dest).returncode == 3
    done = floradl(stage.sim, "--json", *EVERYTHING, dest)
    assert (done.returncode, report_of(done)["failures"]) == (0, []), done.stderr
    assert "failed outputs  none" in floradl(stage.sim, "status", dest).stdout


@pytest.mark.parametrize("name", LOSSES)
def test_a_snapshot_that_comes_back(stage: Stage, dest: Path, name: str) -> None:
    """The right bytes, put back by whoever has a copy, make an entry of it that is as it was."""
    _, harm = LOSSES[name]
    known = snapshot(dest)
    harm(dest)
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 3
    if (dest / DIAGRAM).is_dir():
        (dest / DIAGRAM / "mine.txt").unlink()
        (dest / DIAGRAM).rmdir()
    (dest / DIAGRAM).write_text("something else of the same length, perhaps")
    assert found_in(without_key(stage.sim, "verify", "--json", dest)) == [f"lost {DIAGRAM}"]
    (dest / DIAGRAM).write_text(SNAPSHOTS[DIAGRAM][1])
    done = without_key(stage.sim, "verify", "--json", dest)
    assert (done.returncode, found_in(done)) == (3, [f"unrecorded {DIAGRAM}"])
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 0
    assert snapshot(dest) == known
    assert found_in(without_key(stage.sim, "verify", "--json", dest)) == []
    assert_sound(dest)


def test_one_that_comes_back_elsewhere(stage: Stage, dest: Path) -> None:
    """A lost snapshot whose bytes turn up under another name is moved to its place, and is lost no more."""
    known = snapshot(dest)
    (dest / DIAGRAM).unlink()
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 3
    (dest / "found.mmd").write_text(SNAPSHOTS[DIAGRAM][1])
    assert found_in(without_key(stage.sim, "verify", "--json", dest)) == [f"misplaced {DIAGRAM}"]
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 0
    assert snapshot(dest) == known
    assert (dest / DIAGRAM).read_text() == SNAPSHOTS[DIAGRAM][1]


def test_an_entry_that_names_no_file_of_it(stage: Stage, dest: Path) -> None:
    """An entry that never said what the bytes were is given up too, and touches nobody's file."""
    edit_manifest(
        dest, lambda m: m["canvases"]["prj_a"]["outputs"][Path(DIAGRAM).stem].update(file=Path(LATER).name)
    )
    (dest / DIAGRAM).unlink()
    done = floradl(stage.sim, "verify", "--repair", "--json", dest)
    assert done.returncode == 3
    assert {(item["kind"], item["repaired"]) for item in report_of(done)["findings"]} == {
        ("bad_entry", False),
        ("bad_checksums", True),
    }
    done = floradl(stage.sim, "verify", "--json", dest)
    assert (done.returncode, found_in(done)) == (0, [f"lost {CANVAS}"])
    assert (dest / LATER).read_text() == SNAPSHOTS[LATER][1]


def test_a_manifest_made_anew_knows_what_is_lost(stage: Stage, dest: Path) -> None:
    """With `manifest.json` gone, `SHA256SUMS` still tells that there was a snapshot, and what it held."""
    known = snapshot(dest)
    (dest / "manifest.json").unlink()
    (dest / DIAGRAM).unlink()
    done = floradl(stage.sim, "verify", "--json", dest)
    assert found_in(done) == ["bad_manifest manifest.json", f"missing {DIAGRAM}"]
    assert floradl(stage.sim, "verify", "--repair", dest).returncode == 3
    assert snapshot(dest)["sha256"] == known["sha256"]
    assert found_in(floradl(stage.sim, "verify", "--json", dest)) == [f"lost {DIAGRAM}"]


def test_a_canvas_gone_with_the_manifest(stage: Stage, dest: Path) -> None:
    """Where the folder is gone too, `SHA256SUMS` alone tells of it: that is said, and the list is kept."""
    (dest / "manifest.json").unlink()
    for path in SNAPSHOTS:
        (dest / path).unlink()
    (dest / CANVAS).rmdir()
    done = floradl(stage.sim, "verify", "--repair", "--json", dest)
    assert done.returncode == 3
    assert f"unrecorded {CANVAS}" in found_in(done)
    (kept,) = report_of(done)["kept_aside"]
    assert CANVAS in (dest / kept).read_text()
    assert floradl(stage.sim, "verify", dest).returncode == 0


def test_a_canvas_of_a_project_with_a_name_that_tells_no_id(stage: Stage, tmp_path: Path) -> None:
    """Where the folder's name is a digest of the project's id, `project.json` tells the id."""
    assert stage.sound.exists()
    dest = tmp_path / "out"
    folder = f"ws_a/{safe_name('prj A b')}"
    (dest / folder / "canvas").mkdir(parents=True)
    (dest / folder / "canvas" / "20261120t023000z-canvas.mmd").write_text("graph LR\n")
    without = floradl(stage.sim, "verify", "--repair", dest)
    assert without.returncode == 0
    assert "canvases" not in manifest(dest)
    (dest / folder / "project.json").write_text(json.dumps({"project_id": "prj A b", "name": "Boats"}))
    assert floradl(stage.sim, "verify", "--repair", dest).returncode == 0
    assert list(manifest(dest)["canvases"]) == ["prj A b"]
    assert found_in(floradl(stage.sim, "verify", "--json", dest)) == []


def test_what_comes_after_uploads_keeps_the_checksums_right(stage: Stage, dest: Path) -> None:
    """A run that is archived after uploads and canvases stands in `SHA256SUMS` where a check looks for it."""
    (dest / PICTURE).parent.rename(dest / "away")
    edit_manifest(dest, lambda m: m["runs"].pop("run_photo"))
    assert floradl(stage.sim, "--full", *EVERYTHING, dest).returncode == 0
    done = floradl(stage.sim, "verify", "--json", dest)
    assert not [item for item in found_in(done) if not item.startswith("stray away")], done.stderr

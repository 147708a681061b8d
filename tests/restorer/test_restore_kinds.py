"""`floradl restore` of uploads and canvases: which of them, where to, and what of them comes from FLORA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from floradl.simulator import Fault
from tests.support.archives import all_entries, assert_sound, manifest
from tests.support.sound_archive import (
    BOX,
    CANVAS,
    DIAGRAM,
    LABELS,
    LOOSE,
    LOOSE_UPLOAD,
    MOMENT_MS,
    PHOTO,
    SNAPSHOTS,
    UPLOAD,
    Stage,
    edit_manifest,
    flip_bit,
    found_in,
    report_of,
    restored,
    without_key,
)
from tests.support.zygote import floradl

FOUR = {"run_photo", "asset_box", "asset_loose", "prj_a"}
"""Of each kind one, and an upload of no project."""

DAY = "2026-11-18"
assert MOMENT_MS == 1_795_000_000_000, "which is on that day"

FILTERS: dict[str, tuple[list[str], set[str]]] = {
    "everything": ([], FOUR),
    "all sources": (["--source", "all"], FOUR),
    "runs": (["--source", "generations", "--source", "technique-runs"], {"run_photo"}),
    "uploads": (["--source", "assets"], {"asset_box", "asset_loose"}),
    "canvases": (["--source", "canvas"], {"prj_a"}),
    "uploads and canvases": (
        ["--source", "canvas", "--source", "assets"],
        {"asset_box", "asset_loose", "prj_a"},
    ),
    "a project": (["--project-id", "prj_a"], {"run_photo", "asset_box", "prj_a"}),
    "a workspace": (["--workspace-id", "ws_a"], FOUR),
    "a run": (["--run-id", "run_photo"], {"run_photo"}),
    "an upload": (["--run-id", "asset_box"], {"asset_box"}),
    "a run and an upload": (
        ["--run-id", "run_photo", "--run-id", "asset_loose"],
        {"run_photo", "asset_loose"},
    ),
    "a model": (["--model", "*"], {"run_photo"}),
    "a model and an upload's name": (["--model", "x*", "--run-id", "asset_box"], {"asset_box"}),
    "pictures": (["--type", "image"], {"run_photo", "asset_box", "asset_loose"}),
    "films": (["--type", "video"], {"run_photo"}),
    "since then": (["--since", DAY], {"run_photo", "asset_box", "asset_loose"}),
    "until then": (["--until", "2026-11-19"], {"run_photo", "asset_box", "asset_loose"}),
    "the newest run of a project": (["--project-id", "prj_a", "--max-runs", "1"], {"run_photo"}),
    "the newest upload": (["--source", "assets", "--project-id", "prj_a", "--max-runs", "3"], {"asset_box"}),
}


@pytest.mark.parametrize("name", FILTERS)
def test_only_what_filters_name(stage: Stage, dest: Path, tmp_path: Path, name: str) -> None:
    """Scopes and sources speak of everything; filters of runs, and as far as they can of uploads."""
    options, expected = FILTERS[name]
    done = restored(stage, "--json", *options, dest, tmp_path / "new")
    found = all_entries(tmp_path / "new")
    assert FOUR & set(found) == expected
    counts = {
        table: len(manifest(tmp_path / "new").get(table, ())) for table in ("runs", "assets", "canvases")
    }
    assert {table: report_of(done)[table] for table in counts} == counts
    assert_sound(tmp_path / "new")
    assert (tmp_path / "new" / UPLOAD).exists() is ("asset_box" in expected)
    assert (tmp_path / "new" / CANVAS).exists() is ("prj_a" in expected)


def test_what_is_known_comes_along(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Kinds, lists, names, techniques and what a canvas says of a run are in the new archive too."""
    new = tmp_path / "new"
    restored(stage, dest, new)
    assert all_entries(new) == all_entries(dest)
    film, box, canvas = (all_entries(new)[name] for name in ("run_film", "asset_box", "prj_a"))
    assert (film["technique_id"], film["technique_name"]) == ("tech_boat", "Boats")
    assert sorted(film["sources"]) == ["generations", "technique-runs"]
    assert (box["kind"], box["name"], box["sources"]) == ("asset", "Box.png", ["assets"])
    assert (canvas["kind"], canvas["sources"]) == ("canvas", ["canvas"])
    for path in (LABELS, *SNAPSHOTS, UPLOAD, f"{BOX}/asset.json", LOOSE_UPLOAD):
        assert (new / path).read_bytes() == (dest / path).read_bytes()
    assert found_in(without_key(stage.sim, "verify", "--json", new)) == []


def test_one_flat_folder(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """In a flat folder an upload is named after itself, a snapshot after its project and day."""
    flat = tmp_path / "flat"
    restored(stage, "--flat", dest, flat)
    assert (flat / "asset_box.png").read_bytes() == (dest / UPLOAD).read_bytes()
    assert (flat / "asset_loose.png").read_bytes() == (dest / LOOSE_UPLOAD).read_bytes()
    for path, (_, text) in SNAPSHOTS.items():
        assert (flat / f"prj_a+{Path(path).name}").read_text() == text
    assert not list(flat.glob("*canvas.json"))


@pytest.mark.parametrize("option", [[], ["--flat"]])
@pytest.mark.parametrize("harm", ["file", "record", "folder"])
def test_what_the_source_lacks_of_an_upload(
    stage: Stage, dest: Path, tmp_path: Path, option: list[str], harm: str
) -> None:
    """It comes from FLORA where there is a key, and is named where there is none."""
    for place, file in ((BOX, UPLOAD), (LOOSE, LOOSE_UPLOAD)):
        if harm != "record":
            (dest / file).unlink()
        if harm != "file":
            (dest / place / "asset.json").unlink()
    new = tmp_path / "new"
    without = without_key(stage.sim, "restore", *option, dest, tmp_path / "few")
    is_complete = bool(option) and harm == "record"
    assert without.returncode == (0 if is_complete else 3)
    lacking = "asset_box asset.json" if harm == "record" else "asset_box"
    assert is_complete or f"failed: {lacking}: not_in_source" in without.stderr
    done = floradl(stage.sim, "restore", *option, dest, new)
    assert done.returncode == 0, done.stderr
    for file in (UPLOAD, LOOSE_UPLOAD):
        path = new / (Path(file).name if option else file)
        assert path.read_bytes() == (stage.sound / file).read_bytes()
    if not option:
        for place in (BOX, LOOSE):
            there = json.loads((new / place / "asset.json").read_text())
            assert there == json.loads((stage.sound / place / "asset.json").read_text())
        assert manifest(new)["assets"] == manifest(dest)["assets"] | {
            name: manifest(new)["assets"][name] for name in ("asset_box", "asset_loose")
        }
        assert floradl(stage.sim, "verify", new).returncode == 0


def test_an_upload_that_flora_knows_by_no_id(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What FLORA's list has and its single answers have not still comes, by the URL in its record."""
    (dest / UPLOAD).unlink()
    stage.sim.faults.append(Fault("*/assets/asset_box", status=404))
    for option in ([], ["--flat"]):
        done = floradl(stage.sim, "restore", *option, dest, tmp_path / f"new{len(option)}")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", [[], ["--flat"]])
def test_what_the_source_lacks_of_a_canvas(
    stage: Stage, dest: Path, tmp_path: Path, option: list[str]
) -> None:
    """It is named, nobody is asked for it, and everything else comes."""
    flip_bit(dest / DIAGRAM)
    new = tmp_path / "new"
    done = floradl(stage.sim, "restore", "--json", *option, dest, new)
    assert done.returncode == 3
    (failure,) = report_of(done)["failures"]
    assert (failure["run_id"], failure["output"], failure["code"]) == (
        "prj_a",
        Path(DIAGRAM).stem,
        "not_in_source",
    )
    assert not [request for request in stage.sim.requests if "canvas" in request.path]
    assert not (new / (f"prj_a+{Path(DIAGRAM).name}" if option else DIAGRAM)).exists()
    if not option:
        assert floradl(stage.sim, "verify", "--repair", new).returncode == 3
        done = floradl(stage.sim, "verify", "--json", new)
        assert (done.returncode, found_in(done)) == (0, [f"lost {CANVAS}"])


def test_a_loss_that_was_told_comes_along(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What a repair gave up is lost in the new archive too, and no failure of the restore."""
    (dest / DIAGRAM).unlink()
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 3
    restored(stage, dest, tmp_path / "new")
    restored(stage, "--flat", dest, tmp_path / "flat")
    assert all_entries(tmp_path / "new") == all_entries(dest)
    done = without_key(stage.sim, "verify", "--json", tmp_path / "new")
    assert (done.returncode, found_in(done)) == (0, [f"lost {DIAGRAM}"])


def test_a_loss_here_is_none_where_the_snapshot_is(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """An archive that has the snapshot keeps it, whatever the source has lost."""
    new = stage.copy(tmp_path / "new")
    (dest / DIAGRAM).unlink()
    assert without_key(stage.sim, "verify", "--repair", dest).returncode == 3
    restored(stage, dest, new)
    assert all_entries(new) == all_entries(stage.sound)


def test_one_id_for_two_things(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Where the target has a run under the id of an upload, both stay as they are, and it is named."""
    new = tmp_path / "new"
    restored(stage, "--run-id", "run_photo", dest, new)

    def call_it_asset_box(value: dict[str, dict[str, object]]) -> None:
        value["runs"]["asset_box"] = value["runs"].pop("run_photo")

    edit_manifest(new, call_it_asset_box)
    before = all_entries(new)
    done = without_key(stage.sim, "restore", "--run-id", "asset_box", dest, new)
    assert done.returncode == 3
    assert "asset_box: occupied" in done.stderr
    assert all_entries(new) == before


def test_more_lists_than_the_target_knows(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A record that comes to a run which the target has from one list brings the other list's name along."""
    new = tmp_path / "new"
    restored(stage, dest, new)
    edit_manifest(new, lambda m: m["runs"]["run_film"].pop("sources"))
    (new / Path(LABELS).parent / "run.json").unlink()
    restored(stage, dest, new)
    assert sorted(all_entries(new)["run_film"]["sources"]) == ["generations", "technique-runs"]
    assert PHOTO in all_entries(new)["run_photo"]["path"]

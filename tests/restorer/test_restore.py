"""`floradl restore`: the same bytes elsewhere, verified on their way, and no harm done on either side."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.support.archives import all_entries, assert_archived, assert_sound
from tests.support.processes import start
from tests.support.small_disks import make_read_only, make_room
from tests.support.sound_archive import (
    EVERYTHING,
    FILM,
    PHOTO,
    PICTURE,
    SECOND,
    TEXT,
    Stage,
    assert_same,
    edit_manifest,
    flip_bit,
    report_of,
    restored,
    runs_of,
    tree_of,
    without_key,
)
from tests.support.zygote import floradl


def test_an_archive_without_flora(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Without a key and without a request, the same archive stands elsewhere; the source is as it was."""
    before = tree_of(dest)
    done = restored(stage, "--json", dest, tmp_path / "new")
    assert_same(tmp_path / "new", dest)
    assert tree_of(dest) == before
    assert not stage.sim.requests
    report = report_of(done)
    outputs = [output for entry in all_entries(dest).values() for output in entry["outputs"].values()]
    assert (report["format"], report["version"], report["command"]) == ("floradl-restore", 1, "restore")
    assert (report["complete"], report["exit_code"], report["runs"]) == (True, 0, len(runs_of(dest)))
    counts = report["outputs"]
    assert (counts["restored"], counts["already"], counts["failed"]) == (len(outputs), 0, 0)
    assert without_key(stage.sim, "verify", tmp_path / "new").returncode == 0


def test_again_copies_nothing(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """The same command again leaves every file, its date and its inode."""
    restored(stage, dest, tmp_path / "new")
    before = tree_of(tmp_path / "new", private=False)
    done = restored(stage, "--json", dest, tmp_path / "new")
    assert tree_of(tmp_path / "new", private=False) == before
    assert report_of(done)["outputs"]["restored"] == 0


def test_quiet_says_nothing(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With `-q`, a restore that brought everything prints nothing at all."""
    done = restored(stage, "-q", dest, tmp_path / "new")
    assert (done.stdout, done.stderr) == ("", "")


def test_killed_at_random_moments(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Killed and started again, it goes on: never a wrong byte under a final name, complete in the end."""
    moments, new = random.Random(5), tmp_path / "new"
    sound = {facts[1] for facts in tree_of(dest, private=False).values()}
    began_s = time.monotonic()
    restored(stage, dest, tmp_path / "measured")
    duration_s = time.monotonic() - began_s
    for _ in range(8):
        process = start(stage.sim, "restore", dest, new, FLORA_API_KEY="")
        time.sleep(moments.uniform(0.4, 1.0) * duration_s)
        process.kill()
        process.communicate()
        for name, facts in (tree_of(new, private=False) if new.exists() else {}).items():
            assert facts[1] in sound or name in ("manifest.json", "SHA256SUMS"), name
        if (new / "manifest.json").exists():
            assert_sound(new)
            shutil.rmtree(new)  # it was faster; once more from the beginning
    restored(stage, dest, new)
    assert_same(new, dest)


def test_cut_off_before_it_was_recorded(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Files that a killed restore left without an entry are hashed and recorded, not copied again."""
    new = tmp_path / "new"
    restored(stage, dest, new)
    (new / "manifest.json").unlink()
    before = tree_of(new)
    done = restored(stage, "--json", dest, new)
    after = tree_of(new)
    assert all(after[name] == before[name] for name in (PICTURE, TEXT, f"{PHOTO}/run.json"))
    assert report_of(done)["outputs"]["restored"] == 0
    assert_same(new, dest)


FILTERS: dict[str, tuple[list[str], list[str]]] = {
    "a run": (["--run-id", "run_photo"], ["run_photo"]),
    "two runs": (["--run-id", "run_photo", "--run-id", "run_film"], ["run_photo", "run_film"]),
    "a project": (["--project-id", "prj_a"], ["run_photo", "run_film", "run_story"]),
    "the newest two of a project": (["--project-id", "prj_a", "--max-runs", "2"], ["run_photo", "run_film"]),
    "a workspace": (["--workspace-id", "ws_a"], ["run_photo", "run_film", "run_story"]),
    "before a date": (["--until", "2026-11-18T11:06:00Z"], ["run_film", "run_story"]),
    "after a date": (["--project-id", "prj_a", "--since", "2026-11-18T11:06:00Z"], ["run_photo"]),
}


@pytest.mark.parametrize("name", FILTERS)
def test_only_what_filters_name(stage: Stage, dest: Path, tmp_path: Path, name: str) -> None:
    """Filters choose runs as they do for the archive job."""
    arguments, expected = FILTERS[name]
    restored(stage, *arguments, dest, tmp_path / "new")
    assert sorted(runs_of(tmp_path / "new")) == sorted(expected)
    assert_archived(tmp_path / "new", stage.account, [stage.account.get(run_id) for run_id in expected])
    assert_sound(tmp_path / "new")


def test_only_a_type(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With `--type` only such outputs come."""
    restored(stage, "--type", "video", dest, tmp_path / "new")
    entries = runs_of(tmp_path / "new").values()
    assert {output["type"] for run in entries for output in run["outputs"].values()} == {"videoUrl"}
    assert not (tmp_path / "new" / PICTURE).exists()
    assert (tmp_path / "new" / FILM / "output_1.mp4").exists()


def test_only_a_model(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With `--model` only runs of models that match come."""
    restored(stage, "--model", "t2i-*", dest, tmp_path / "new")
    models = {run["model_id"] for run in runs_of(tmp_path / "new").values()}
    assert models
    assert all(model.startswith("t2i-") for model in models)


def test_a_run_that_is_not_there(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A run that the archive does not have is named, with exit code 3."""
    done = without_key(stage.sim, "restore", "--run-id", "run_nobody", dest, tmp_path / "new")
    assert done.returncode == 3
    assert "not found: run_nobody" in done.stderr


def test_one_flat_folder(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With `--flat` every output is one file in one folder, under a name of its own; again copies nothing."""
    flat = tmp_path / "flat"
    restored(stage, "--flat", dest, flat)
    expected = sorted((dest / line[66:]).read_bytes() for line in _sums(dest))
    assert sorted(path.read_bytes() for path in flat.iterdir()) == expected
    assert (flat / "run_photo+output_1.png").read_bytes() == (dest / PICTURE).read_bytes()
    before = tree_of(flat)
    before.pop(".")
    restored(stage, "--flat", dest, flat)
    after = tree_of(flat)
    after.pop(".")
    assert after == before


def test_hard_links(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With `--hard-link` a file has two names, and is one; what was damaged gets no second name."""
    flip_bit(dest / SECOND)
    done = without_key(stage.sim, "restore", "--hard-link", dest, tmp_path / "new")
    assert done.returncode == 3
    assert (tmp_path / "new" / PICTURE).samefile(dest / PICTURE)
    assert not (tmp_path / "new" / SECOND).exists()


@pytest.mark.parametrize("way", ["--reflink", "--hard-link"])
def test_copied_where_nothing_else_is_possible(stage: Stage, dest: Path, small_disk: Path, way: str) -> None:
    """Where blocks cannot be shared or files cannot be linked, they are copied."""
    make_room(small_disk)
    restored(stage, way, dest, small_disk / "new")
    assert_same(small_disk / "new", dest)
    assert (small_disk / "new" / PICTURE).stat().st_nlink == 1


def test_not_both_ways(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Sharing blocks and linking exclude each other."""
    assert floradl(stage.sim, "restore", "--reflink", "--hard-link", dest, tmp_path / "new").returncode == 2
    assert not (tmp_path / "new").exists()


def test_an_archive_job_on_what_was_restored(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """The archive job walks the whole history once, fetches nothing, and is quiet from then on."""
    restored(stage, dest, tmp_path / "new")
    for _ in range(2):
        stage.sim.forget()
        done = floradl(stage.sim, "--json", *EVERYTHING, tmp_path / "new")
        assert done.returncode == 0, done.stderr
        assert not stage.sim.media_requests()
        assert report_of(done)["outputs"]["fetched"] == 0
    assert_same(tmp_path / "new", dest, names=False)


def test_runs_that_vanished_stay_so(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What is known of a run that FLORA has forgotten is kept."""
    edit_manifest(dest, lambda m: m["runs"]["run_photo"].update(vanished_at="2026-11-01T00:00:00Z"))
    restored(stage, dest, tmp_path / "new")
    assert runs_of(tmp_path / "new")["run_photo"]["vanished_at"] == "2026-11-01T00:00:00Z"


def test_a_source_that_cannot_be_written(stage: Stage, small_disk: Path, tmp_path: Path) -> None:
    """A read-only source is enough."""
    make_room(small_disk)
    source = stage.copy(small_disk / "out")
    make_read_only(small_disk)
    restored(stage, source, tmp_path / "new")
    assert_same(tmp_path / "new", source)


def _sums(dest: Path) -> list[str]:
    return (dest / "SHA256SUMS").read_text().splitlines()

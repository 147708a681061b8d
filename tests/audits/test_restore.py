"""`floradl restore`: the same bytes elsewhere, verified on their way, and no harm done on either side."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, serve_in_thread
from tests.audits.stage import (
    FILM,
    PHOTO,
    PICTURE,
    SECOND,
    STORY,
    TEXT,
    Stage,
    edit_manifest,
    flip_bit,
    report_of,
    runs_of,
    tree_of,
    without_key,
)
from tests.small_disks import make_read_only, make_room
from tests.support import assert_archived, assert_sound, completed, floradl, start


def assert_same(dest: Path, source: Path) -> None:
    """The same tree, bytes and dates, but for floradl's own folder and what tells two archives apart."""
    assert runs_of(dest) == runs_of(source)
    ours, theirs = tree_of(dest, private=False), tree_of(source, private=False)
    for tree in (ours, theirs):
        del tree["."], tree["manifest.json"]
    assert {name: facts[:2] for name, facts in ours.items()} == {
        name: facts[:2] for name, facts in theirs.items()
    }
    for file in source.glob("ws_*/*/*/*"):
        assert (dest / file.relative_to(source)).stat().st_mtime_ns == file.stat().st_mtime_ns
    assert_sound(dest)


def restored(stage: Stage, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Restore without a key; all went well."""
    done = without_key(stage.sim, "restore", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_an_archive_without_flora(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Without a key and without a request, the same archive stands elsewhere; the source is as it was."""
    before = tree_of(dest)
    done = restored(stage, "--json", dest, tmp_path / "new")
    assert_same(tmp_path / "new", dest)
    assert tree_of(dest) == before
    assert not stage.sim.requests
    report = report_of(done)
    outputs = [output for run in completed(stage.account) for output in run.outputs]
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


def test_a_foreign_file_in_a_flat_folder(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A file of somebody's that has the name of an output is left alone and named."""
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "run_photo+output_1.png").write_text("mine")
    done = floradl(stage.sim, "restore", "--flat", dest, flat)
    assert done.returncode == 3
    assert "run_photo output_1: occupied" in done.stderr
    assert (flat / "run_photo+output_1.png").read_text() == "mine"


def test_no_flat_files_in_an_archive(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A flat restore refuses a folder that holds an archive, also one that is not folded yet."""
    other = stage.copy(tmp_path / "other")
    assert without_key(stage.sim, "restore", "--flat", dest, other).returncode == 2
    (other / "manifest.json").unlink()
    (other / ".floradl" / "journal").write_text("")
    assert without_key(stage.sim, "restore", "--flat", dest, other).returncode == 2


def test_what_a_flat_restore_lacks_comes_from_flora(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """In a flat folder too, what the archive does not give comes from FLORA where there is a key."""
    (dest / PICTURE).unlink()
    flip_bit(dest / TEXT)
    without = without_key(stage.sim, "restore", "--flat", dest, tmp_path / "few")
    assert without.returncode == 3
    assert "run_photo output_1: not_in_source" in without.stderr
    assert not (tmp_path / "few" / "run_photo+output_1.png").exists()
    done = floradl(stage.sim, "restore", "--flat", dest, tmp_path / "flat")
    assert done.returncode == 0, done.stderr
    for name, path in (("run_photo+output_1.png", PICTURE), ("run_story+output_1.txt", TEXT)):
        assert (tmp_path / "flat" / name).read_bytes() == (stage.sound / path).read_bytes()
    assert not (tmp_path / "flat" / ".floradl").exists()


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


def test_what_the_source_does_not_give(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Damage is named and never copied; with a key it comes from FLORA, in the same words as ever."""
    (dest / PICTURE).unlink()
    flip_bit(dest / SECOND)
    (dest / FILM / "output_1.mp4").write_bytes(b"")
    (dest / STORY / "run.json").unlink()
    done = without_key(stage.sim, "restore", "--json", dest, tmp_path / "new")
    assert done.returncode == 3
    named = {f"{item['run_id']} {item['output']} {item['code']}" for item in report_of(done)["failures"]}
    lost = ("run_photo output_1", "run_photo output_2", "run_film output_1", "run_story run.json")
    assert named == {f"{item} not_in_source" for item in lost}
    assert all(f"failed: {item}: not_in_source" in done.stderr for item in lost)
    assert not any((tmp_path / "new" / path).exists() for path in (PICTURE, SECOND, f"{STORY}/run.json"))
    assert_sound(tmp_path / "new")
    more = floradl(stage.sim, "restore", "--json", dest, tmp_path / "new")
    assert more.returncode == 0, more.stderr
    assert report_of(more)["outputs"]["fetched"] == 3
    assert_archived(tmp_path / "new", stage.account, completed(stage.account))
    assert floradl(stage.sim, "verify", tmp_path / "new").returncode == 0


def test_lacking_while_flora_is_away(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """With a key and no answer, every output that is lacking is named, and the next restore brings it."""
    (dest / PICTURE).unlink()
    (dest / FILM / "output_1.mp4").unlink()
    with serve_in_thread(stage.account.__class__("sk_nobody")) as away:
        base_url = away.base_url
    done = floradl(stage.sim, "restore", "--retries", "0", "--base-url", base_url, dest, tmp_path / "new")
    assert done.returncode == 3
    assert "run_photo output_1: not_in_source" in done.stderr
    assert "run_film output_1: not_in_source" in done.stderr
    assert floradl(stage.sim, "verify", tmp_path / "new").returncode == 3
    assert floradl(stage.sim, "restore", dest, tmp_path / "new").returncode == 0
    assert_archived(tmp_path / "new", stage.account, completed(stage.account))


@pytest.mark.parametrize("option", [[], ["--flat"]])
def test_a_key_that_is_refused(stage: Stage, dest: Path, tmp_path: Path, option: list[str]) -> None:
    """A key that FLORA refuses ends with exit code 4, after everything that needs none."""
    (dest / PICTURE).unlink()
    (dest / FILM / "output_1.mp4").unlink()
    new = tmp_path / "new"
    done = floradl(stage.sim, "restore", *option, dest, new, FLORA_API_KEY="sk_live_wrong")
    assert done.returncode == 4, done.stderr
    assert "run_photo output_1" in done.stderr
    assert "run_film output_1" in done.stderr
    assert {path.read_bytes() for path in new.rglob("output_2.png")} <= {(dest / SECOND).read_bytes()}


@pytest.mark.parametrize("option", [[], ["--flat"]])
def test_a_flora_that_has_no_such_file(stage: Stage, dest: Path, tmp_path: Path, option: list[str]) -> None:
    """What neither the source nor FLORA gives is named with FLORA's reason."""
    (dest / PICTURE).unlink()
    stage.sim.faults.append(Fault(stage.account.get("run_photo").outputs[0].path, status=404))
    done = floradl(stage.sim, "restore", "--retries", "0", *option, dest, tmp_path / "new")
    assert done.returncode == 3
    assert "failed: run_photo output_1: http_404" in done.stderr


@pytest.mark.parametrize("option", [[], ["--flat"]])
def test_a_signal_while_a_file_comes(stage: Stage, dest: Path, tmp_path: Path, option: list[str]) -> None:
    """Ctrl-C ends a restore in order, and the same command goes on."""
    path = stage.account.get("run_film").outputs[0].path
    (dest / FILM / "output_1.mp4").unlink()
    stage.sim.faults.append(Fault(path, stall_after=100))
    process = start(stage.sim, "restore", *option, dest, tmp_path / "new")
    deadline_s = time.monotonic() + 60
    while not any(request.path == path for request in stage.sim.media_requests()):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "The same command goes on from here." in stderr
    stage.sim.faults.clear()
    done = floradl(stage.sim, "restore", "--json", *option, dest, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    counts = report_of(done)["outputs"]
    assert (counts["restored"], counts["fetched"]) == (0, 1)


def test_a_record_that_nobody_has(tmp_path: Path) -> None:
    """A lost `run.json` of a run that FLORA has forgotten is named: it must not go unsaid."""
    account = Account("sk_live_x", [SimRun("run_x", "ws_x", "prj_x", outputs=[_text()])])
    with serve_in_thread(account) as sim:
        assert floradl(sim, tmp_path / "old").returncode == 0
        account.delete("run_x")
        (tmp_path / "old/ws_x/prj_x/run_x/run.json").unlink()
        done = floradl(sim, "restore", tmp_path / "old", tmp_path / "new")
    assert done.returncode == 3
    assert "run_x run.json: not_in_source" in done.stderr


def test_a_source_without_a_manifest(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A source whose manifest is lost or broken ends with exit code 1 and says what mends it."""
    for harm in ((dest / "manifest.json").write_text, lambda _: (dest / "manifest.json").unlink()):
        harm("[]")
        done = without_key(stage.sim, "restore", dest, tmp_path / "new")
        assert done.returncode == 1
        assert "floradl verify --repair" in done.stderr
        assert not (tmp_path / "new").exists()


def test_no_source(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A folder that is no archive gives nothing, and no folder is made."""
    assert dest.exists()
    for source in (tmp_path, tmp_path / "nothing"):
        assert without_key(stage.sim, "restore", source / "x", tmp_path / "new").returncode == 1
    assert not (tmp_path / "new").exists()


def test_one_folder_in_the_other(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """An archive is not restored into itself, into a folder within it or around it, by whatever name."""
    (tmp_path / "link").symlink_to(dest)
    before = tree_of(dest)
    for inner in (dest, dest / "new", dest / ".." / "out", tmp_path, tmp_path / "link" / "x"):
        assert without_key(stage.sim, "restore", dest, inner).returncode == 2
    assert tree_of(dest) == before


def test_links_in_the_source_are_not_followed(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A link in the source gives nothing, even where it leads to the right bytes."""
    shutil.move(dest / PICTURE, tmp_path / "moved.png")
    (dest / PICTURE).symlink_to(tmp_path / "moved.png")
    done = without_key(stage.sim, "restore", dest, tmp_path / "new")
    assert done.returncode == 3
    assert not (tmp_path / "new" / PICTURE).exists()


def test_links_in_the_target_are_not_followed(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Nothing is written through a link that somebody planted in the target."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "ws_a").symlink_to(tmp_path / "elsewhere")
    done = without_key(stage.sim, "restore", dest, tmp_path / "new")
    assert done.returncode == 1
    assert str(tmp_path / "new" / "ws_a") in done.stderr
    assert not list((tmp_path / "elsewhere").iterdir())


def test_occupied_places(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What stands where a file belongs is left alone and named, and never recorded as the output."""
    new = tmp_path / "new"
    (new / SECOND).mkdir(parents=True)
    (new / TEXT).parent.mkdir(parents=True)
    (new / TEXT).write_text("mine")
    (new / STORY / "run.json").write_text("mine too")
    (dest / PICTURE).unlink()  # comes from FLORA, of the same run as one that is occupied
    done = floradl(stage.sim, "restore", dest, new)
    assert done.returncode == 3
    for item in ("run_photo output_2", "run_story output_1", "run_story run.json"):
        assert f"failed: {item}: occupied" in done.stderr
    assert (new / SECOND).is_dir()
    assert (new / TEXT).read_text() == "mine"
    assert (new / STORY / "run.json").read_text() == "mine too"
    assert (new / PICTURE).read_bytes() == (stage.sound / PICTURE).read_bytes()
    entries = runs_of(new)
    assert "output_2" not in entries["run_photo"]["outputs"]
    assert not entries["run_story"]["outputs"]


def test_into_an_archive_that_has_more(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Where the target knows a run already, what it knows stands: files, records, facts and entries."""
    new = stage.copy(tmp_path / "new")

    def forget(value: dict[str, Any]) -> None:
        photo = value["runs"]["run_photo"]
        photo["charged_cost"] = None
        photo["outputs"]["output_1"] = {"type": "imageUrl", "state": "failed"}
        photo["record_sha256"] = "0" * 64

    edit_manifest(dest, forget)
    (dest / PICTURE).unlink()
    before = tree_of(new, private=False)
    done = without_key(stage.sim, "restore", dest, new)
    assert done.returncode == 0, done.stderr
    assert tree_of(new, private=False) == before
    assert without_key(stage.sim, "verify", new).returncode == 0


def test_into_an_archive_with_other_bytes(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Other bytes that the target has archived under the same name are not replaced, and named."""
    new = stage.copy(tmp_path / "new")
    edit_manifest(dest, lambda m: m["runs"]["run_photo"]["outputs"]["output_1"].update(sha256="0" * 64))
    done = without_key(stage.sim, "restore", dest, new)
    assert done.returncode == 3
    assert "run_photo output_1: occupied" in done.stderr
    assert (new / PICTURE).read_bytes() == (stage.sound / PICTURE).read_bytes()
    assert runs_of(new) == runs_of(stage.sound)


def test_into_an_archive_with_the_run_elsewhere(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A run that the target has in another project stays there, and gets there what it lacks."""
    account = make_moved(stage.account)
    with serve_in_thread(account) as sim:
        assert floradl(sim, tmp_path / "new").returncode == 0
    moved = tmp_path / "new/ws_b/prj_b/run_photo"
    (moved / "output_1.png").unlink()
    (moved / "run.json").unlink()
    restored(stage, "--run-id", "run_photo", dest, tmp_path / "new")
    assert (moved / "output_1.png").read_bytes() == (stage.sound / PICTURE).read_bytes()
    assert not (tmp_path / "new" / PHOTO).exists()
    assert without_key(stage.sim, "verify", tmp_path / "new").returncode == 0


def test_into_the_archive_of_another_account(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Two accounts' runs live in one archive, and both stay sound."""
    with serve_in_thread(Account.generate(6, seed=77)) as other:
        assert floradl(other, tmp_path / "new").returncode == 0
        restored(stage, dest, tmp_path / "new")
        assert_archived(tmp_path / "new", stage.account, completed(stage.account))
        assert_archived(tmp_path / "new", other.account, completed(other.account))
    assert_sound(tmp_path / "new")


def test_an_archive_job_on_what_was_restored(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """The archive job walks the whole history once, fetches nothing, and is quiet from then on."""
    restored(stage, dest, tmp_path / "new")
    for _ in range(2):
        stage.sim.forget()
        done = floradl(stage.sim, "--json", tmp_path / "new")
        assert done.returncode == 0, done.stderr
        assert not stage.sim.media_requests()
        assert report_of(done)["outputs"]["fetched"] == 0
    assert_same(tmp_path / "new", dest)


def test_runs_that_vanished_stay_so(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What is known of a run that FLORA has forgotten is kept."""
    edit_manifest(dest, lambda m: m["runs"]["run_photo"].update(vanished_at="2026-11-01T00:00:00Z"))
    restored(stage, dest, tmp_path / "new")
    assert runs_of(tmp_path / "new")["run_photo"]["vanished_at"] == "2026-11-01T00:00:00Z"


def test_a_full_disk(stage: Stage, dest: Path, small_disk: Path) -> None:
    """A full disk ends it with exit code 1 and the folder's name; with room the same command completes."""
    done = without_key(stage.sim, "restore", dest, small_disk / "new")
    assert done.returncode == 1
    assert str(small_disk / "new") in done.stderr
    assert_sound(small_disk / "new")
    make_room(small_disk)
    restored(stage, dest, small_disk / "new")
    assert_same(small_disk / "new", dest)


def test_a_source_that_cannot_be_written(stage: Stage, small_disk: Path, tmp_path: Path) -> None:
    """A read-only source is enough."""
    make_room(small_disk)
    source = stage.copy(small_disk / "out")
    make_read_only(small_disk)
    restored(stage, source, tmp_path / "new")
    assert_same(tmp_path / "new", source)


def _sums(dest: Path) -> list[str]:
    return (dest / "SHA256SUMS").read_text().splitlines()


def _text() -> SimOutput:
    return SimOutput("output_1", "text", text="a text")


def make_moved(account: Account) -> Account:
    """An account that has one run of another, in a project of its own."""
    run = account.get("run_photo")
    copy = SimRun("run_photo", "ws_b", "prj_b", created_at=run.created_at, outputs=run.outputs)
    return Account("sk_live_moved", [copy])

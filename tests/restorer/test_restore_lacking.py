"""`floradl restore` from an archive that lacks something: it is named, or fetched where there is a key."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound
from tests.support.processes import start
from tests.support.sound_archive import (
    FILM,
    PICTURE,
    SECOND,
    STORY,
    TEXT,
    Stage,
    flip_bit,
    report_of,
    without_key,
)
from tests.support.zygote import floradl


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


def test_links_in_the_source_are_not_followed(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A link in the source gives nothing, even where it leads to the right bytes."""
    shutil.move(dest / PICTURE, tmp_path / "moved.png")
    (dest / PICTURE).symlink_to(tmp_path / "moved.png")
    done = without_key(stage.sim, "restore", dest, tmp_path / "new")
    assert done.returncode == 3
    assert not (tmp_path / "new" / PICTURE).exists()


def _text() -> SimOutput:
    return SimOutput("output_1", "text", text="a text")

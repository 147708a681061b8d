"""What a repair must never do: lose a damaged file without a better one, or take it for good."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floradl.checker.repair import RepairOptions, repair
from floradl.checker.verify import VerifyOptions
from floradl.simulator import Fault
from tests.support.accounts import completed, expected_bytes
from tests.support.archives import assert_archived, assert_sound
from tests.support.damages import cut, failed_op, header, replace_by_folder, write_journal
from tests.support.processes import start
from tests.support.sound_archive import (
    FILM,
    PHOTO,
    PICTURE,
    SECOND,
    STORY,
    TEXT,
    Stage,
    archived,
    edit_manifest,
    flip_bit,
    found_in,
    report_of,
    runs_of,
    tree_of,
    without_key,
)
from tests.support.zygote import floradl


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stage]:
    """An account and an archive that a test may change."""
    with archived(tmp_path / "out") as stage:
        yield stage


WITHOUT_KEY: dict[str, Callable[[Path], object]] = {
    "a text": lambda d: (d / TEXT).unlink(),
    "a damaged text": lambda d: flip_bit(d / TEXT),
    "a file elsewhere": lambda d: (d / PICTURE).rename(d / "boat.png"),
    "a file whose URL still serves": lambda d: (d / PICTURE).unlink(),
    "a run.json elsewhere": lambda d: (d / PHOTO / "run.json").rename(d / "run.json"),
    "no manifest.json": lambda d: (d / "manifest.json").unlink(),
    "no SHA256SUMS": lambda d: (d / "SHA256SUMS").unlink(),
}


@pytest.mark.parametrize("name", WITHOUT_KEY)
def test_what_needs_no_key(stage: Stage, dest: Path, name: str) -> None:
    """What the archive itself and its URLs give is repaired without a key, and without asking the API."""
    WITHOUT_KEY[name](dest)
    assert without_key(stage.sim, "verify", dest).returncode == 3
    done = without_key(stage.sim, "verify", "--repair", dest)
    assert done.returncode == 0, done.stderr
    assert without_key(stage.sim, "verify", dest).returncode == 0
    assert not stage.sim.api_requests()
    assert_archived(dest, stage.account, completed(stage.account))


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes only what is open for writing")
def test_what_is_recorded_anew_is_flushed_first(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a killed process left may not be on the disk yet: they are flushed before their entry is."""
    (dest / "manifest.json").unlink()
    files = {path.stat().st_ino: path for path in dest.glob("ws_*/prj_*/run_*/*")}
    flushed: set[Path] = set()
    unflushed: list[set[Path]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        flushed.update(files[inode] for inode in [os.fstat(descriptor).st_ino] if inode in files)

    def noted_replace(path: Path, target: Path | str, **kwargs: int) -> None:
        if Path(target).name == "manifest.json":
            unflushed.append(set(files.values()) - flushed)
        replace(path, target, **kwargs)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    options = RepairOptions(VerifyOptions(dest), "https://app.flora.ai/api/v1")
    report = asyncio.run(repair(options, None))
    assert not report.left
    assert unflushed[0] == set()


def test_what_needs_a_key(stage: Stage, dest: Path) -> None:
    """Without a key a lost record stays lost; it is named, and so is what would bring it back."""
    (dest / PHOTO / "run.json").unlink()
    done = without_key(stage.sim, "verify", "--repair", "--json", dest)
    assert done.returncode == 3
    assert found_in(done) == [f"no_record {PHOTO}/run.json"]
    assert report_of(done)["findings"][0]["repaired"] is False
    assert "Without an API key" in done.stderr


def test_other_bytes_than_were_archived(own: Stage) -> None:
    """Where FLORA has other bytes now they take the place, and the damaged file is kept and named."""
    output = own.account.get("run_photo").outputs[0]
    flip_bit(own.sound / PICTURE)
    damaged = (own.sound / PICTURE).read_bytes()
    output.body += b"and more"
    done = floradl(own.sim, "verify", "--repair", "--json", own.sound)
    assert done.returncode == 0, done.stderr
    (kept,) = report_of(done)["kept_aside"]
    assert (own.sound / kept).read_bytes() == damaged
    assert kept in done.stderr
    assert_archived(own.sound, own.account, completed(own.account))
    assert_sound(own.sound)


def test_a_file_of_mine_under_the_name_that_comes(own: Stage) -> None:
    """A file of somebody's that stands where the new bytes go is moved, whole, and named."""
    output = own.account.get("run_photo").outputs[0]
    (own.sound / PICTURE).unlink()
    (own.sound / PHOTO / "output_1.jpg").write_text("mine")
    output.body, output.content_type = b"\xff\xd8\xff\xe0" + bytes(500), "image/jpeg"
    done = floradl(own.sim, "verify", "--repair", "--json", own.sound)
    assert done.returncode == 0, done.stderr
    (kept,) = report_of(done)["kept_aside"]
    assert (own.sound / kept).read_text() == "mine"
    assert_archived(own.sound, own.account, completed(own.account))


NO_URL = {"output_id": "output_1", "type": "imageUrl", "url": None}


@pytest.mark.parametrize("how", ["404", "no url", "gone", "no answer"])
def test_what_cannot_be_fetched(own: Stage, how: str) -> None:
    """A damaged file that nobody can replace stays where and as it was, its entry too, for ever."""
    run = own.account.get("run_photo")
    flip_bit(own.sound / PICTURE)
    before, entry = tree_of(own.sound, private=False), runs_of(own.sound)["run_photo"]
    api = "/api/v1/runs/run_photo"
    if how == "404":
        own.sim.faults.append(Fault(run.outputs[0].path, status=404))
    elif how == "no url":
        record = own.account.record(run, listed=False) | {"outputs": [NO_URL]}
        own.sim.faults.append(Fault(api, body=json.dumps(record).encode()))
    elif how == "gone":
        own.sim.faults.append(Fault(api, status=404))
        own.sim.faults.append(Fault(run.outputs[0].path, status=410))
    else:
        own.sim.faults.append(Fault("/api/*", drop=True))
    done = floradl(own.sim, "verify", "--repair", "--retries", "0", "--json", own.sound)
    assert done.returncode == 3, done.stderr
    assert found_in(done) == [f"changed {PICTURE}"]
    assert f"changed: {PICTURE}" in done.stderr
    assert runs_of(own.sound)["run_photo"] == entry
    _assert_same_files(own.sound, before)
    own.sim.faults.clear()
    assert floradl(own.sim, own.sound).returncode == 0
    assert runs_of(own.sound)["run_photo"] == entry, "a damaged file was taken for good"
    assert floradl(own.sim, "verify", own.sound).returncode == 3
    assert floradl(own.sim, "verify", "--repair", own.sound).returncode == 0
    assert_archived(own.sound, own.account, completed(own.account))


def _assert_same_files(dest: Path, before: dict[str, tuple[object, ...]]) -> None:
    after = tree_of(dest, private=False)
    ours = {"manifest.json", "SHA256SUMS", "."}
    assert {n: f for n, f in after.items() if n not in ours} == {
        n: f for n, f in before.items() if n not in ours
    }


def test_a_run_that_flora_has_forgotten(own: Stage) -> None:
    """Outputs of a deleted run come by the URLs in its record, as long as they serve."""
    (own.sound / PICTURE).unlink()
    cut(own.sound / FILM / "output_1.mp4", 99)
    for run_id in ("run_photo", "run_film"):
        own.account.delete(run_id)
    done = floradl(own.sim, "verify", "--repair", own.sound)
    assert done.returncode == 0, done.stderr
    assert floradl(own.sim, "verify", own.sound).returncode == 0


def test_a_key_that_is_refused(stage: Stage, dest: Path) -> None:
    """A key that FLORA refuses ends with exit code 4, and harms nothing."""
    flip_bit(dest / PICTURE)
    damaged = (dest / PICTURE).read_bytes()
    done = floradl(stage.sim, "verify", "--repair", dest, FLORA_API_KEY="sk_live_wrong")
    assert done.returncode == 4
    assert (dest / PICTURE).read_bytes() == damaged


def test_a_failure_with_another_reason_is_not_repaired(stage: Stage, dest: Path) -> None:
    """An output that fails again, for another reason, is no finding that was repaired."""
    path = stage.account.get("run_photo").outputs[0].path
    error = {"code": "timeout", "message": "the host fell silent", "at": "2026-11-01T00:00:00Z"}
    failed = {"type": "imageUrl", "state": "failed", "error": error}
    edit_manifest(dest, lambda m: m["runs"]["run_photo"]["outputs"].update(output_1=failed))
    (dest / PICTURE).unlink()
    (dest / "SHA256SUMS").unlink()
    stage.sim.faults.append(Fault(path, status=404))
    done = floradl(stage.sim, "verify", "--repair", "--retries", "0", "--json", dest)
    stage.sim.faults.clear()
    assert done.returncode == 3
    assert {item["kind"]: item["repaired"] for item in report_of(done)["findings"]} == {
        "failed": False,
        "bad_checksums": True,
    }
    assert "1 finding repaired." in done.stderr


def test_quiet_says_nothing_when_nothing_is_wrong(stage: Stage, dest: Path) -> None:
    """With `-q`, a repair that finds nothing prints nothing, with a key or without."""
    (dest / "stray.txt").write_text("mine")
    for done in (
        floradl(stage.sim, "verify", "--repair", "-q", dest),
        without_key(stage.sim, "verify", "--repair", "-q", dest),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_night_with_folders_in_the_way(stage: Stage, dest: Path) -> None:
    """The archive job, too, moves what stands in the way of a file and says where; nothing of it is lost."""
    for path in (PICTURE, TEXT):
        replace_by_folder(dest / path)
    done = floradl(stage.sim, dest)
    assert done.returncode == 0, done.stderr
    assert_archived(dest, stage.account, completed(stage.account))
    for name in ("run_photo+output_1.png", "run_story+output_1.txt"):
        assert (dest / ".floradl/aside" / name / "mine.txt").read_text() == "mine"
        assert f".floradl/aside/{name}" in done.stderr


def test_an_entry_and_checksums_that_agree_on_a_wrong_place(stage: Stage, dest: Path) -> None:
    """An entry's wrong place is put right in `SHA256SUMS` too, by one repair."""
    edit_manifest(dest, lambda m: m["runs"]["run_photo"].update(path="ws_a/prj_a/x"))
    sums = (dest / "SHA256SUMS").read_text()
    (dest / "SHA256SUMS").write_text(sums.replace(f"{PHOTO}/", "ws_a/prj_a/x/"))
    findings = ["bad_checksums SHA256SUMS", f"bad_entry {PHOTO}"]
    assert found_in(floradl(stage.sim, "verify", "--json", dest)) == findings
    assert floradl(stage.sim, "verify", "--repair", dest).returncode == 0
    assert (dest / "SHA256SUMS").read_text() == sums


def test_a_journal_of_a_run_that_the_manifest_lost(stage: Stage, dest: Path) -> None:
    """A change of a run that no entry knows waits until the run's folder has told who it is."""
    edit_manifest(dest, lambda m: m["runs"].pop("run_photo"))
    write_journal(dest, header(dest), failed_op(dest))
    done = floradl(stage.sim, "verify", "--json", dest)
    assert found_in(done) == [
        "bad_journal .floradl/journal",
        f"failed {PHOTO}",
        f"unrecorded {SECOND}",
    ]
    assert floradl(stage.sim, "verify", "--repair", dest).returncode == 0
    assert_archived(dest, stage.account, completed(stage.account))


def _harm(dest: Path) -> None:
    flip_bit(dest / PICTURE)
    cut(dest / SECOND, 4000)
    (dest / FILM / "output_1.mp4").write_bytes(b"short")
    flip_bit(dest / TEXT)
    flip_bit(dest / STORY / "run.json")
    (dest / "manifest.json").write_bytes((dest / "manifest.json").read_bytes()[:-3])


def test_killed_at_twenty_random_moments(own: Stage, tmp_path: Path) -> None:
    """However a repair is killed, every damaged file is still there or replaced; the next one completes."""
    moments, dest, harmed = random.Random(20), tmp_path / "kill", tmp_path / "harmed"
    own.copy(harmed)
    _harm(harmed)
    damaged = {
        (harmed / path).read_bytes(): (own.sound / path).read_bytes()
        for path in (PICTURE, SECOND, TEXT, f"{FILM}/output_1.mp4", f"{STORY}/run.json")
    }
    shutil.copytree(harmed, dest)
    began_s = time.monotonic()
    assert floradl(own.sim, "verify", "--repair", dest).returncode == 0
    duration_s = time.monotonic() - began_s
    own.sim.faults.append(Fault("/node-inputs/*", delay_s=0.02))
    for _ in range(20):
        shutil.rmtree(dest)
        shutil.copytree(harmed, dest)
        process = start(own.sim, "verify", "--repair", "-j", "1", dest)
        time.sleep(moments.uniform(0.4, 1.0) * duration_s)
        process.kill()
        process.communicate()
        there = {path.read_bytes() for path in dest.rglob("*") if path.is_file()}
        for old, new in damaged.items():
            assert old in there or new in there
    own.sim.faults.clear()
    assert floradl(own.sim, "verify", "--repair", dest).returncode == 0
    assert_archived(dest, own.account, completed(own.account))
    assert_sound(dest)


def test_a_signal_while_a_file_comes(own: Stage) -> None:
    """Ctrl-C during a repair ends in order: the damaged file stays, and the same command goes on."""
    output = own.account.get("run_film").outputs[0]
    film = own.sound / FILM / "output_1.mp4"
    flip_bit(film)
    cut(own.sound / PICTURE, 10)
    damaged = film.read_bytes()
    own.sim.faults.append(Fault(output.path, stall_after=100))
    process = start(own.sim, "verify", "--repair", own.sound)
    while not any(request.path == output.path for request in own.sim.media_requests()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Stopped before the end." in stderr
    assert film.read_bytes() == damaged
    own.sim.faults.clear()
    assert floradl(own.sim, "verify", "--repair", own.sound).returncode == 0
    assert film.read_bytes() == expected_bytes(own.account, output)
    assert_archived(own.sound, own.account, completed(own.account))

"""`floradl verify` itself: what it reads, what it prints, whom it waits for. The damage is in the table."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from floradl.checker.audit import Sample
from floradl.checker.findings import Trouble
from floradl.checker.verify import VerifyOptions, verify
from floradl.clock import Clock
from floradl.repository.lock import ArchiveLock, ReadLock
from floradl.simulator import Fault
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local.reader import Reader
from tests.support.archives import all_entries, manifest
from tests.support.clock import FakeTime
from tests.support.processes import start
from tests.support.small_disks import make_read_only, make_room
from tests.support.sound_archive import (
    FILM,
    PICTURE,
    STORY,
    Stage,
    edit_manifest,
    flip_bit,
    found_in,
    report_of,
    runs_of,
    tree_of,
    without_key,
)
from tests.support.zygote import floradl

DAY_S = 86_400


def test_a_sound_archive(stage: Stage, dest: Path) -> None:
    """Everything is counted and read, nothing is found, nobody is asked, and nothing is written."""
    before = tree_of(dest)
    done = without_key(stage.sim, "verify", "--json", dest)
    outputs = [output for entry in all_entries(dest).values() for output in entry["outputs"].values()]
    report = report_of(done)
    assert report.pop("elapsed_s") >= 0
    assert report == {
        "format": "floradl-verify",
        "version": 1,
        "command": "verify",
        "exit_code": 0,
        "sound": True,
        "interrupted": False,
        "sample": "1/1",
        "runs": len(runs_of(dest)),
        "assets": 2,
        "canvases": len(manifest(dest)["canvases"]),
        "outputs": len(outputs),
        "read": len(outputs),
        "read_bytes": sum(output["size_bytes"] for output in outputs),
        "findings": [],
        "kept_aside": [],
        "failures": [],
        "problems": [],
    }
    assert tree_of(dest) == before
    assert not stage.sim.requests


def test_a_finding_as_json(stage: Stage, dest: Path) -> None:
    """A finding says what, where, of which output, and where its bytes stand if that is known."""
    (dest / PICTURE).rename(dest / "boat.png")
    (finding,) = report_of(floradl(stage.sim, "verify", "--json", dest))["findings"]
    assert finding == {
        "kind": "misplaced",
        "path": PICTURE,
        "run_id": "run_photo",
        "output": "output_1",
        "message": "its bytes stand at boat.png",
        "found_at": "boat.png",
        "repaired": None,
    }


def test_quiet(stage: Stage, dest: Path) -> None:
    """With `-q` a sound archive prints nothing, and damage is printed all the same."""
    done = without_key(stage.sim, "verify", "-q", dest)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    flip_bit(dest / PICTURE)
    done = without_key(stage.sim, "verify", "-q", dest)
    assert done.returncode == 3
    assert f"changed: {PICTURE}" in done.stderr


def test_a_name_that_is_no_text(stage: Stage, dest: Path) -> None:
    """A stray whose name is no text is a stray like others, on a terminal and as JSON."""
    (dest / os.fsdecode(b"\xff\x1b.txt")).write_text("mine")
    done = floradl(stage.sim, "verify", "--json", dest)
    assert done.returncode == 0, done.stderr
    assert [item["kind"] for item in report_of(done)["findings"]] == ["stray"]
    assert "\x1b" not in done.stderr


def test_no_archive(stage: Stage, tmp_path: Path) -> None:
    """An empty folder, none, and a file are no archives; none of them is changed."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    before = tree_of(tmp_path)
    for name in ("empty", "none", "file"):
        for option in ([], ["--repair"]):
            done = without_key(stage.sim, "verify", *option, tmp_path / name)
            assert done.returncode == 1
            assert "there is no archive" in done.stderr
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("option", [[], ["--repair"]])
def test_a_newer_manifest(stage: Stage, dest: Path, option: list[str]) -> None:
    """What a newer floradl wrote is not touched."""
    edit_manifest(dest, lambda m: m.update(version=3))
    before = tree_of(dest, private=False)
    done = floradl(stage.sim, "verify", *option, dest)
    assert done.returncode == 1
    assert "Update floradl" in done.stderr
    assert tree_of(dest, private=False) == before


def test_a_disk_that_cannot_be_written(stage: Stage, small_disk: Path) -> None:
    """An archive on a read-only disk is checked like any other."""
    make_room(small_disk)
    dest = stage.copy(small_disk / "out")
    make_read_only(small_disk)
    done = without_key(stage.sim, "verify", dest)
    assert done.returncode == 0, done.stderr


@pytest.mark.anyio
async def test_a_sample_reads_every_file_once_in_its_days(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1/30, thirty days in a row read each file once; sizes are looked at every day."""
    (dest / FILM / "output_1.mp4").write_bytes(b"short")
    reads: Counter[str] = Counter()
    digest = Reader.digest

    def counted(reader: Reader, path: str) -> Digest:
        reads[path] += not path.endswith(("/run.json", "/asset.json"))
        return digest(reader, path)

    monkeypatch.setattr(Reader, "digest", counted)
    time_ = FakeTime()
    for _ in range(30):
        report = await verify(VerifyOptions(dest, Sample(1, 30)), clock=time_.clock)
        assert [finding.kind for finding in report.findings] == [Trouble.TRUNCATED]
        time_.now_s += DAY_S
    read = {path for path, count in reads.items() if count}
    entries = all_entries(dest).values()
    assert read == {f"{its['path']}/{out['file']}" for its in entries for out in its["outputs"].values()} - {
        f"{FILM}/output_1.mp4"
    }
    assert set(reads.values()) <= {0, 1}


@pytest.mark.anyio
async def test_files_that_the_disk_does_not_give(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or a record, that cannot be read is named with the disk's reason, and the rest is checked."""
    digest = Reader.digest

    def broken(reader: Reader, path: str) -> Digest:
        if path in (PICTURE, f"{STORY}/run.json"):
            raise OSError(errno.EIO, "Input/output error")
        return digest(reader, path)

    monkeypatch.setattr(Reader, "digest", broken)
    report = await verify(VerifyOptions(dest))
    assert [(finding.kind, finding.path, finding.message) for finding in report.findings] == [
        (Trouble.UNREADABLE, PICTURE, "Input/output error"),
        (Trouble.UNREADABLE, f"{STORY}/run.json", "Input/output error"),
    ]
    assert report.exit_code == 3


def test_while_an_archive_job_works(stage: Stage, dest: Path) -> None:
    """A check while the archive is being changed exits 5 and names who does; with a timeout it waits."""
    (dest / PICTURE).unlink()
    path = stage.account.get("run_photo").outputs[0].path
    stage.sim.faults.append(Fault(path, stall_after=100))
    job = start(stage.sim, dest)
    _wait_until_asked(stage, path)
    done = without_key(stage.sim, "verify", dest)
    assert done.returncode == 5
    assert f"process {job.pid}" in done.stderr
    source = without_key(stage.sim, "restore", dest, dest.parent / "new")
    assert source.returncode == 5
    assert f"process {job.pid}" in source.stderr
    waiting = start(stage.sim, "verify", "--lock-timeout", "1h", dest, FLORA_API_KEY="")
    job.kill()
    job.communicate()
    stage.sim.faults.clear()
    _, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 3, stderr
    assert f"missing: {PICTURE}" in stderr


@pytest.mark.anyio
async def test_readers_and_writers(stage: Stage, dest: Path) -> None:
    """Two may read at once; meanwhile nobody writes, and no dead process is named for it."""
    disk, clock = Destination(dest), Clock()
    (dest / ".floradl" / "holder.json").write_text(
        f'{{"pid": 4194304, "host": "{os.uname().nodename}", "started_at": "2026-11-01T00:00:00Z"}}'
    )
    try:
        async with ReadLock(disk, clock):
            done = without_key(stage.sim, "verify", dest)
            assert done.returncode == 0, done.stderr
            for arguments in ([dest], ["verify", "--repair", dest]):
                refused = floradl(stage.sim, *arguments)
                assert refused.returncode == 5
                assert "process" not in refused.stderr
        async with ArchiveLock(disk, clock):
            refused = without_key(stage.sim, "verify", dest)
            assert refused.returncode == 5
            assert f"process {os.getpid()}" in refused.stderr
    finally:
        disk.close()


def test_an_archive_that_was_never_locked(stage: Stage, dest: Path) -> None:
    """A copy without floradl's own folder is checked too, and stays without it."""
    for path in sorted((dest / ".floradl").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (dest / ".floradl").rmdir()
    assert without_key(stage.sim, "verify", dest).returncode == 0
    assert not (dest / ".floradl").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("option", [[], ["--repair"]])
def test_a_signal_ends_it(stage: Stage, dest: Path, option: list[str]) -> None:
    """Ctrl-C ends a check with 130; a repair that was stopped while it looked has changed nothing."""
    flip_bit(dest / PICTURE)
    with (dest / FILM / "output_1.mp4").open("r+b") as film:
        film.truncate(2_000_000_000)  # takes a while to read
    size_bytes = (dest / FILM / "output_1.mp4").stat().st_size
    entry = {"size_bytes": size_bytes}
    edit_manifest(dest, lambda m: m["runs"]["run_film"]["outputs"]["output_1"].update(entry))
    before = tree_of_names(dest)
    process = start(stage.sim, "verify", *option, dest)
    while not _has_open(process.pid, dest / FILM / "output_1.mp4"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Stopped before the end." in stderr
    assert tree_of_names(dest) == before


def tree_of_names(dest: Path) -> dict[str, tuple[int, int]]:
    """Sizes and dates, of files that are too large to hash; floradl's own folder apart."""
    files = {path: path.lstat() for path in dest.rglob("*") if ".floradl" not in path.parts}
    return {str(path): (facts.st_size, facts.st_mtime_ns) for path, facts in files.items()}


def _has_open(pid: int, path: Path) -> bool:
    folder = Path(f"/proc/{pid}/fd")
    if not folder.exists():
        pytest.skip("this system does not tell which files are open")
    for link in folder.iterdir():
        try:
            if link.readlink() == path:
                return True
        except OSError:
            continue
    return False


def _wait_until_asked(stage: Stage, path: str) -> None:
    deadline_s = time.monotonic() + 60
    while not any(request.path == path for request in stage.sim.media_requests()):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_two_findings_of_one_run(stage: Stage, dest: Path) -> None:
    """Two findings of one run are two findings."""
    flip_bit(dest / PICTURE)
    (dest / "ws_a/prj_a/run_photo/run.json").unlink()
    done = floradl(stage.sim, "verify", "--json", dest)
    assert found_in(done) == [f"changed {PICTURE}", "no_record ws_a/prj_a/run_photo/run.json"]

"""Real disks that are full, read-only or gone: small file systems in memory, mounted for each test.

Mounting needs Linux and root. Elsewhere these tests are skipped and say so, but never where `CI` is set.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from floradl.repository.entries import State
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.accounts import completed, full_account
from tests.support.archives import (
    assert_all_archived,
    assert_archived,
    assert_entries_true,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    entries,
    output_files,
)
from tests.support.media import png
from tests.support.processes import floradl, start

RUNS = 40
LIST = "/api/v1/generations"
SLOW = Fault("/node-inputs/*", delay_s=0.5)
"""With two workers, a run takes ten seconds: time enough for something to happen to its disk."""


class SmallDisk:
    """A file system in memory at `path`, with what can happen to a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> None:
        """Put it there."""
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path))

    def remount(self, options: str) -> None:
        """Change it while it is there; what it holds stays."""
        _run("mount", "-o", f"remount,{options}", str(self.path))

    def forbid_writing(self) -> None:
        """Make it read-only under a process that has files of it open, which a plain remount refuses."""
        _run("mount", "--bind", str(self.path), str(self.path))
        _run("mount", "-o", "remount,bind,ro", str(self.path))

    def unmount(self) -> None:
        """Take the last mount away, whoever still uses it."""
        _run("umount", "-l", str(self.path))

    def fill(self) -> Path:
        """Leave no room for a single byte; gives the file that takes it all."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        return filler


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk with 300 kB, mounted; whatever is mounted there in the end is taken away."""
    disk = SmallDisk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.mount("size=300k")
    except (OSError, subprocess.CalledProcessError) as exc:
        reason = f"cannot mount a file system here ({getattr(exc, 'stderr', None) or exc})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield disk
    while disk.path.is_mount():
        disk.unmount()


@pytest.fixture
def account() -> Account:
    """40 runs of a picture of 20 kB and a text each."""
    account = Account("sk_live_disks")
    for number in range(RUNS):
        body = png(random.Random(number).randbytes(20_000))
        outputs = [
            SimOutput("output_1", content_type="image/png", body=body),
            SimOutput("output_2", "text", text=f"Text {number}."),
        ]
        account.insert(SimRun(f"run_{number}", "ws_a", "prj_a", created_at=10**9 + number, outputs=outputs))
    return account


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


def assert_refused(done: subprocess.CompletedProcess[str], dest: Path, reason: str, advice: str) -> None:
    """Exit code 1, and two lines: what and where, and what to do."""
    assert done.returncode == 1, done.stderr
    what, todo = done.stderr.splitlines()
    assert f"cannot use the archive {dest}: {reason}" in what
    assert advice in todo


def assert_nothing_lies(dest: Path, account: Account) -> None:
    """What is recorded is true, and what has a final name is whole."""
    assert_sound(dest)
    assert_entries_true(dest)
    assert_files_whole(dest, account)


def assert_completes(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """The same command with a disk that is well: complete, and nothing that was there is fetched again."""
    assert_nothing_lies(dest, sim.account)
    before = output_files(dest)
    sim.forget()
    done = floradl(sim, dest)
    assert done.returncode == 0, done.stderr
    assert_archived(dest, sim.account, completed(sim.account))
    assert_sound(dest)
    assert_not_fetched_again(sim, dest, before)
    assert not list(tmp_path.rglob("*.part"))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.01)


def test_full(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """A full disk ends the run at once, with what and where; with room the same command completes it."""
    dest = disk.path / "out"
    refused = floradl(sim, "-j", "2", dest)
    assert_refused(refused, dest, "No space left on device", "Make room")
    assert len(sim.media_requests()) < RUNS, "it went on after the disk was full"
    disk.remount("size=50m")
    assert_completes(sim, dest, tmp_path)
    assert_tidy(dest)


def test_full_while_a_canvas_is_written(disk: SmallDisk) -> None:
    """A snapshot that finds no room ends the run as an output does; no half of it stays."""
    account = full_account()
    (project, *_) = account.projects
    lines = [f'  n{number}["Words that take room, {number}"]' for number in range(30_000)]
    account.canvas_of(project.project_id).text = "\n".join(["graph LR", *lines])
    disk.remount("size=1m")
    dest = disk.path / "out"
    with serve_in_thread(account) as sim:
        refused = floradl(sim, "--source", "all", dest)
        assert_refused(refused, dest, "No space left on device", "Make room")
        assert any(request.path.endswith("/canvas") for request in sim.api_requests())
        assert_nothing_lies(dest, account)
        texts = [file.read_text() for file in dest.rglob("*.mmd")]
        diagrams = [account.canvas_of(project.project_id).diagram() + "\n" for project in account.projects]
        assert all(text in diagrams[1:] for text in texts)
        disk.remount("size=50m")
        sim.forget()
        done = floradl(sim, "--source", "all", dest)
        assert done.returncode == 0, done.stderr
        assert sim.media_requests() == []
        assert_all_archived(dest, account)
        assert_tidy(dest)


def test_out_of_inodes(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """A disk with room for bytes and none for names is a full disk."""
    disk.remount("size=50m,nr_inodes=60")
    dest = disk.path / "out"
    assert_refused(floradl(sim, dest), dest, "No space left on device", "Make room")
    assert len(sim.media_requests()) < RUNS, "it went on after the disk was full"
    disk.remount("nr_inodes=1000")
    assert_completes(sim, dest, tmp_path)


def test_full_with_entries_in_the_journal(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """What was recorded before the disk was full outlives any number of runs that find it full."""
    dest = disk.path
    assert floradl(sim, "-j", "2", dest).returncode == 1
    assert not (dest / "manifest.json").exists()
    recorded = dict(entries(dest).iter_entries())
    archived = [o for run in recorded.values() for o in run.outputs.values() if o.state == State.ARCHIVED]
    assert len(archived) >= 5, "too few entries for this test to mean anything"
    filler = disk.fill()
    sim.forget()
    for _ in range(2):
        assert_refused(floradl(sim, dest), dest, "No space left on device", "Make room")
        assert dict(entries(dest).iter_entries()) == recorded
        assert_nothing_lies(dest, sim.account)
    assert sim.media_requests() == []
    filler.unlink()
    disk.remount("size=50m")
    assert_completes(sim, dest, tmp_path)


def test_a_quiet_run_on_a_full_disk(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """Also a run that finds nothing new has to write down that it looked: exit 1, and nothing is touched."""
    disk.remount("size=50m")
    dest = disk.path / "out"
    assert floradl(sim, dest).returncode == 0
    before = (dest / "manifest.json").read_bytes()
    filler = disk.fill()
    assert_refused(floradl(sim, dest), dest, "No space left on device", "Make room")
    assert (dest / "manifest.json").read_bytes() == before
    filler.unlink()
    assert_completes(sim, dest, tmp_path)


def test_read_only_from_the_start(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """A disk that is mounted read-only is said to be, before anything is asked of FLORA."""
    dest = disk.path
    disk.remount("size=50m,ro")
    assert_refused(floradl(sim, dest), dest, "Read-only file system", "mount it writable")
    assert sim.requests == []
    disk.remount("rw")
    assert_completes(sim, dest, tmp_path)


def test_read_only_with_an_archive_on_it(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """The same where there is an archive: it stays as it is, and can be gone on with."""
    dest = disk.path / "out"
    disk.remount("size=50m")
    assert floradl(sim, "--max-runs", "5", dest).returncode == 0
    disk.remount("ro")
    before = (dest / "manifest.json").read_bytes()
    assert_refused(floradl(sim, dest), dest, "Read-only file system", "mount it writable")
    assert (dest / "manifest.json").read_bytes() == before
    disk.remount("rw")
    assert_completes(sim, dest, tmp_path)


def test_read_only_in_mid_run(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """A disk that becomes read-only in mid-run ends the run, and costs nothing that is there."""
    dest = disk.path / "out"
    disk.remount("size=50m")
    sim.faults.append(SLOW)
    process = start(sim, "-j", "2", dest)
    wait_for(lambda: len(sim.media_requests()) > 3)
    disk.forbid_writing()
    assert_refused(_ended(process), dest, "Read-only file system", "mount it writable")
    disk.unmount()  # the read-only one on top
    sim.faults.clear()
    assert_completes(sim, dest, tmp_path)


@pytest.mark.parametrize("moment", ["before the first folder", "between two files"])
def test_unmounted_in_mid_run(disk: SmallDisk, sim: Simulator, tmp_path: Path, moment: str) -> None:
    """A disk that is gone in mid-run ends the run, and what is underneath stays as empty as it was."""
    disk.remount("size=50m")
    dest, beside = disk.path, tmp_path / "beside"
    beside.mkdir()
    _run("mount", "--bind", str(dest), str(beside))  # to look at it afterwards
    try:
        early = moment == "before the first folder"
        sim.faults.append(Fault(LIST, query="completed", delay_s=3) if early else SLOW)
        process = start(sim, "-j", "2", dest)
        wait_for(lambda: any("completed" in str(r.query) for r in sim.api_requests()))
        wait_for(lambda: early or len(sim.media_requests()) > 3)
        disk.unmount()
        done = _ended(process)
        reason = (
            "its disk was unmounted"
            if "its disk was unmounted" in done.stderr
            else "No such file or directory"
        )
        assert_refused(done, dest, reason, "run the same command again")
        assert not dest.is_mount()
        assert list(dest.iterdir()) == [], "something was written onto the disk underneath"
        sim.faults.clear()
        assert_completes(sim, beside, tmp_path)
    finally:
        _run("umount", "-l", str(beside))


def test_moved_away_in_mid_run(disk: SmallDisk, sim: Simulator, tmp_path: Path) -> None:
    """An archive that is renamed in mid-run ends the run, is not begun anew, and goes on where it is now."""
    disk.remount("size=50m")
    dest, moved = disk.path / "out", disk.path / "moved"
    sim.faults.append(SLOW)
    process = start(sim, "-j", "2", dest)
    wait_for(lambda: len(sim.media_requests()) > 3)
    dest.rename(moved)
    assert_refused(_ended(process), dest, "No such file or directory", "or the folder moved")
    assert not dest.exists()
    sim.faults.clear()
    assert_completes(sim, moved, tmp_path)


def _ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """The end of a process, which must not take long once the disk has failed it."""
    stdout, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr, stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

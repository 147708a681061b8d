"""Whole jobs whose many small files are written by processes of their own: killed, stopped, without room."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import (
    assert_archived,
    assert_entries_true,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    output_files,
)
from tests.support.media import png
from tests.support.processes import floradl, start, wait_for
from tests.support.small_disks import make_room, small_disk

__all__ = ["small_disk"]

RUNS = 300
PROCESSES = 5
"""The writers, and the one that began them."""
WHOLE = 250
"""So many are sent whole, the others stall: a job has something left to do until it is ended."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads write them")


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """300 runs of one picture each."""
    account = Account("sk_live_scribe")
    for number in range(RUNS):
        outputs = [SimOutput("output_1", "image/png", body=png(random.Random(number).randbytes(20_000)))]
        account.insert(SimRun(f"run_{number}", "ws_a", "prj_a", created_at=10**9 + number, outputs=outputs))
    with serve_in_thread(account) as simulator:
        yield simulator


def stall(sim: Simulator) -> None:
    """Let the last outputs stall."""
    paths = [output.path for run in sim.account.listed(status="completed") for output in run.outputs]
    sim.faults[:] = [Fault(path, stall_after=5_000) for path in paths[WHOLE:]]


def writing_processes(dest: Path) -> list[int]:
    """The processes that write for an archive; they have no argument that names it."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes()
            home = (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"floradl.storage.local.writer_process" in words and str(dest.parent).encode() in home:
            found.append(int(folder.name))
    return found


def assert_completes(sim: Simulator, dest: Path) -> None:
    """What is there is true, and the same command fetches the rest."""
    assert_sound(dest)
    assert_entries_true(dest)
    assert_files_whole(dest, sim.account)
    before = output_files(dest)
    sim.faults.clear()
    sim.forget()
    done = floradl(sim, dest)
    assert done.returncode == 0, done.stderr
    assert_archived(dest, sim.account, completed(sim.account))
    assert_not_fetched_again(sim, dest, before)
    assert_sound(dest)
    assert_tidy(dest)


def at_work(dest: Path) -> bool:
    """Whether the processes are there, and most files are."""
    return len(writing_processes(dest)) == PROCESSES and len(output_files(dest)) > WHOLE - 40


def test_killed_they_end_too(sim: Simulator, tmp_path: Path) -> None:
    """Nobody writes to an archive that another job may have taken over."""
    dest = tmp_path / "out"
    stall(sim)
    process = start(sim, dest, TMPDIR=str(tmp_path))
    wait_for(lambda: at_work(dest))
    process.kill()
    process.communicate()
    wait_for(lambda: not writing_processes(dest))
    assert_completes(sim, dest)


def test_one_of_them_that_is_killed_costs_nothing(sim: Simulator, tmp_path: Path) -> None:
    """The others end, and the job goes on by itself, to its end."""
    dest = tmp_path / "out"
    stall(sim)
    process = start(sim, dest, TMPDIR=str(tmp_path))
    wait_for(lambda: at_work(dest))
    os.kill(max(writing_processes(dest)), signal.SIGKILL)  # not the one that began the others
    wait_for(lambda: not writing_processes(dest))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert_completes(sim, dest)


def test_without_room(sim: Simulator, small_disk: Path) -> None:
    """A writer's error is the job's: what, where, and what to do."""
    make_room(small_disk, "4m")
    dest = small_disk / "out"
    done = floradl(sim, dest)
    assert done.returncode == 1, done.stderr
    assert f"cannot use the archive {dest}: No space left on device" in done.stderr
    assert "Make room" in done.stderr
    assert len(output_files(dest)) > 100
    make_room(small_disk)
    assert_completes(sim, dest)

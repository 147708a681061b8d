"""`kill -9` at any moment: never a partial under a final name, never an entry that does not re-hash."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from floradl.constants import Kind
from floradl.repository.layout import item_path, safe_name
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, generate_account, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import (
    assert_archived,
    assert_entries_true,
    assert_files_whole,
    assert_sound,
    assert_tidy,
    output_files,
)
from tests.support.hypothesis_settings import is_night
from tests.support.media import png
from tests.support.processes import floradl, start, wait_for

pytestmark = pytest.mark.timeout(600)  # hundreds of runs a test

KILLS, OUTPUTS = (200, 150) if is_night() else (40, 60)
WORKERS = 4


@pytest.fixture
def account() -> Account:
    """90 runs of all kinds, and two larger files that take a while."""
    account = generate_account(90, seed=9)
    for number in range(2):
        body = random.Random(number).randbytes(12_000_000)
        output = SimOutput("output_1", content_type="image/png", body=png(body))
        account.insert(SimRun(f"run_large_{number}", "ws_a", "prj_a", outputs=[output]))
    return account


def folder_of(run: SimRun) -> PurePosixPath:
    """Where a run is archived."""
    return item_path(Kind.RUN, run.workspace_id, run.project_id, run.run_id)


class Killing:
    """Kills floradl again and again, and keeps account of what each process asked for.

    A part of the media is sent whole, the rest stalls in the middle of the body; `release` moves the line
    between them on. So there is always something left to do, every process has transfers in flight, and the
    first transfers of each end at any moment around its kill.
    """

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.kills_in_flight = 0
        self.asked: Counter[str] = Counter()
        self.may_ask: Counter[str] = Counter()
        self._moments = random.Random(20)
        runs = sim.account.listed(status="completed")
        self.paths = [output.path for run in runs for output in run.outputs if output.path]
        self.may_ask.update(self.paths)

    def release(self, number: int) -> None:
        """Let the first `number` files be sent whole."""
        self.sim.faults[:] = [Fault(path, stall_after=60) for path in self.paths[number:]]

    def kill_one(self) -> None:
        """Start floradl, kill it at a random moment, and look at what it leaves."""
        self.sim.forget()
        process = start(self.sim, "-j", str(WORKERS), self.dest)
        if self._moments.random() < 0.2:
            time.sleep(self._moments.uniform(0.05, 0.5))  # any moment, also before its first request
        else:
            # Three lists, and as many transfers as there are workers: so many requests are sure to come.
            # The list of technique runs is asked for when no transfer is left, so never here.
            number = self._moments.randint(1, 3 + WORKERS)
            wait_for(lambda: len(self.sim.requests) >= number or process.poll() is not None)
            time.sleep(self._moments.uniform(0, 0.04))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended by itself"
        self._count()
        assert_entries_true(self.dest)
        assert_sound(self.dest)
        assert_files_whole(self.dest, self.sim.account)

    def final_paths(self) -> set[str]:
        """The paths of the media whose files have their final names."""
        names = {name.rpartition(".")[0] for name in output_files(self.dest)}
        return {
            output.path
            for run in completed(self.sim.account)
            for output in run.outputs
            if output.path and str(folder_of(run) / safe_name(output.output_id)) in names
        }

    def _count(self) -> None:
        asked = Counter(request.path for request in self.sim.media_requests())
        in_flight = asked.keys() - self.final_paths()
        self.asked.update(asked)
        self.may_ask.update(in_flight)
        self.kills_in_flight += bool(in_flight)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Killed again and again, it leaves no lie, completes, and fetches only what was in flight once more."""
    account = generate_account(90, seed=9)
    _keep_outputs(account, OUTPUTS)
    with serve_in_thread(account) as sim:
        killing = Killing(sim, tmp_path / "out")
        for number in range(KILLS):
            killing.release(number * (len(killing.paths) - 2 * WORKERS) // KILLS)
            there = killing.final_paths()
            killing.kill_one()
            assert there <= killing.final_paths()
            assert not there & {request.path for request in sim.media_requests()}, "fetched once more"
        assert killing.kills_in_flight > KILLS // 3, "too few kills met a transfer"
        assert len(killing.final_paths()) > len(killing.paths) // 2, "too few kills met the end of one"
        sim.faults.clear()
        sim.forget()
        done = floradl(sim, killing.dest)
        assert done.returncode == 0, done.stderr
        killing.asked.update(request.path for request in sim.media_requests())
    more = {path: number for path, number in killing.asked.items() if number > killing.may_ask[path]}
    assert not more, "asked for more often than once, and once more for each kill in flight"
    assert_archived(killing.dest, account, completed(account))
    assert_sound(killing.dest)
    assert_tidy(killing.dest)


def test_a_killed_transfer_goes_on_where_it_was(account: Account, tmp_path: Path) -> None:
    """A large file that was half there is not fetched from its beginning again."""
    run = account.get("run_large_0")
    path = run.outputs[0].path
    # Far enough beyond 8 MiB: bytes are written, and a checkpoint made, in pieces that may be of over a MiB.
    stalled = Fault(path, stall_after=11_000_000)
    with serve_in_thread(account, faults=[stalled]) as sim:
        process = start(sim, "--run-id", run.run_id, tmp_path)
        wait_for(lambda: any((tmp_path / ".floradl" / "partials").glob("*.json")))
        process.kill()
        process.communicate()
        sim.faults.clear()
        sim.forget()
        assert floradl(sim, "--run-id", run.run_id, tmp_path).returncode == 0
        (request,) = sim.media_requests()
        assert request.status == 206
        assert int(request.headers["range"].removeprefix("bytes=").removesuffix("-")) >= 8_000_000
        assert request.headers["if-range"] == run.outputs[0].etag
    assert_archived(tmp_path, account, [run])


def test_a_large_file_killed_in_parts(tmp_path: Path) -> None:
    """Fetched by several connections and killed again and again: what was noted of each part is kept."""
    account = generate_account(0, seed=9)
    body = png(random.Random(3).randbytes(110_000_000))
    run = SimRun("run_film", "ws_a", "prj_a", outputs=[SimOutput("output_1", "image/png", body=body)])
    account.insert(run)
    slow = Fault(run.outputs[0].path, drip=(65_536, 0.01))
    moments = random.Random(4)
    with serve_in_thread(account, faults=[slow]) as sim:
        for _ in range(3):
            process = start(sim, "--run-id", run.run_id, tmp_path)
            _wait_for_parts(tmp_path, process)
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "it had ended by itself"
            assert not output_files(tmp_path)
        noted = _noted_parts(tmp_path)
        sim.forget()
        assert floradl(sim, "--run-id", run.run_id, tmp_path).returncode == 0
        asked = _parts_asked(sim)
        assert min(start for start, _ in asked) in {end for start, end in noted if start}, "not gone on with"
        assert not [one for one in asked if _overlaps(one, noted)], "asked again"
    assert_archived(tmp_path, account, [run])
    assert_sound(tmp_path)
    assert_tidy(tmp_path)


def _wait_for_parts(dest: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a part ahead of the main stream is noted that was not."""
    before = set(_noted_parts(dest))
    wait_for(lambda: process.poll() is not None or len(set(_noted_parts(dest)) - before) > 1)


def _parts_asked(sim: Simulator) -> list[tuple[int, int]]:
    """The stretches asked for with both ends, first byte and the one after the last."""
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", one.headers.get("range", "")) for one in sim.media_requests()]
    return [(int(one[1]), int(one[2]) + 1) for one in asked if one]


def _noted_parts(dest: Path) -> list[tuple[int, int]]:
    """The stretches that a killed process noted as there, as `_parts_asked` gives them."""
    notes = [json.loads(path.read_bytes()) for path in (dest / ".floradl" / "partials").glob("*.json")]
    parts = [(one["start"], one["start"] + one["size_bytes"]) for note in notes for one in note["ahead"]]
    return [*parts, *((0, note["size_bytes"]) for note in notes)]


def _overlaps(stretch: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any(start < stretch[1] and stretch[0] < end for start, end in others)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_order(account: Account, tmp_path: Path, number: signal.Signals) -> None:
    """The first signal stops new work, lets short transfers end, records them, and says how to go on."""
    with serve_in_thread(account, faults=[Fault("/node-inputs/*", delay_s=0.4)]) as sim:
        process = start(sim, "-j", "4", tmp_path)
        wait_for(lambda: len(sim.media_requests()) >= 6)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "Stopping" in stderr
        assert "The same command goes on from here" in stderr
        assert "Traceback" not in stderr
        assert_sound(tmp_path)
        asked = {request.path for request in sim.media_requests()}
        sim.forget()
        sim.faults.clear()
        assert floradl(sim, tmp_path).returncode == 0
        again = {request.path for request in sim.media_requests()}
        assert not asked & again, "what had begun was not brought to its end"
    assert_archived(tmp_path, account, completed(account))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
def test_a_second_signal_ends_at_once(account: Account, tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice does not wait for a stalled host."""
    path = account.get("run_large_0").outputs[0].path
    with serve_in_thread(account, faults=[Fault(path, stall_after=100)]) as sim:
        process = start(sim, "--run-id", "run_large_0", tmp_path)
        wait_for(lambda: bool(sim.media_requests()))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "Stopping" not in (line := process.stderr.readline()):
            assert line, "it ended with the first signal"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert_sound(tmp_path)


def test_two_at_once(account: Account, tmp_path: Path) -> None:
    """A second floradl on the same archive exits 5 and names the first; a killed first blocks nobody."""
    path = account.get("run_large_0").outputs[0].path
    with serve_in_thread(account, faults=[Fault(path, stall_after=100)]) as sim:
        first = start(sim, "--run-id", "run_large_0", tmp_path)
        wait_for(lambda: bool(sim.media_requests()))
        second = floradl(sim, tmp_path)
        assert second.returncode == 5
        holder = json.loads((tmp_path / ".floradl" / "holder.json").read_bytes())
        began = datetime.fromisoformat(holder["started_at"])
        assert timedelta(0) <= datetime.now(UTC) - began < timedelta(minutes=10)
        named = f"(process {first.pid} on {socket.gethostname()}, since {holder['started_at']})"
        assert named in second.stderr
        assert "--lock-timeout" in second.stderr
        assert len(second.stderr.splitlines()) == 2
        first.kill()
        first.communicate()
        sim.faults.clear()
        third = floradl(sim, tmp_path)
        assert third.returncode == 0, third.stderr
    assert_archived(tmp_path, account, completed(account))
    assert_tidy(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
def test_a_signal_ends_the_wait_for_the_lock(account: Account, tmp_path: Path) -> None:
    """Ctrl-C while another floradl is waited for ends at once, with the signal's exit code."""
    path = account.get("run_large_0").outputs[0].path
    with serve_in_thread(account, faults=[Fault(path, stall_after=100)]) as sim:
        first = start(sim, "--run-id", "run_large_0", tmp_path)
        wait_for(lambda: bool(sim.media_requests()))
        second = start(sim, "--lock-timeout", "1h", tmp_path)
        time.sleep(1.5)
        assert second.poll() is None, "it did not wait"
        second.send_signal(signal.SIGINT)
        _, stderr = second.communicate(timeout=60)
        assert second.returncode == 130
        assert f"process {first.pid}" in stderr
        first.kill()
        first.communicate()


def _keep_outputs(account: Account, number: int) -> None:
    """Take away what an account has above so many outputs, the oldest first."""
    for run in account.listed(status="completed"):
        run.outputs = run.outputs[:number]
        number -= len(run.outputs)
    assert number == 0, "the account has fewer outputs"

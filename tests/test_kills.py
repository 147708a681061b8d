"""`kill -9` at any moment: never a partial under a final name, never an entry that does not re-hash."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support import assert_archived, assert_sound, completed, expected_bytes, floradl, start, wait_for

KILLS = 20


def assert_no_partial_has_a_final_name(dest: Path, account: Account) -> None:
    """Every file in a run's folder is whole, whether or not it is recorded yet."""
    whole = {expected_bytes(account, output) for run in completed(account) for output in run.outputs}
    for file in dest.glob("*/*/*/*"):
        if file.name != "run.json":
            assert file.read_bytes() in whole, f"{file} is not the whole of any output"


@pytest.fixture
def account() -> Account:
    """90 runs of all kinds, and two larger files that take a while."""
    account = Account.generate(90, seed=9)
    for number in range(2):
        body = random.Random(number).randbytes(9_000_000)
        output = SimOutput("output_1", content_type="image/png", body=b"\x89PNG\r\n\x1a\n" + body)
        account.insert(SimRun(f"run_large_{number}", "ws_a", "prj_a", outputs=[output]))
    return account


def test_killed_at_twenty_random_moments(account: Account, tmp_path: Path) -> None:
    """Killed and started again twenty times, the archive is sound each time and complete in the end."""
    dest, moments = tmp_path / "out", random.Random(20)
    with serve_in_thread(account, faults=[Fault("/node-inputs/*", delay_s=0.05)]) as sim:
        duration_s = _time_of_a_whole_run(sim, tmp_path / "measured")
        # One output never ends, so that every kill finds the process at work.
        sim.faults.append(Fault(account.get("run_large_0").outputs[0].path, stall_after=100))
        for _ in range(KILLS):
            process = start(sim, "-j", "4", dest)
            time.sleep(moments.uniform(0.05, 0.45) * duration_s)
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert_sound(dest)
            assert_no_partial_has_a_final_name(dest, account)
        sim.faults.clear()
        done = floradl(sim, dest)
        assert done.returncode == 0, done.stderr
    assert_archived(dest, account, completed(account))
    assert_sound(dest)
    assert not list((dest / ".floradl").rglob("*.part"))


def test_a_killed_transfer_goes_on_where_it_was(account: Account, tmp_path: Path) -> None:
    """A large file that was half there is not fetched from its beginning again."""
    run = account.get("run_large_0")
    path = run.outputs[0].path
    stalled = Fault(path, stall_after=8_600_000)
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_order(account: Account, tmp_path: Path, number: signal.Signals) -> None:
    """The first signal stops new work, lets short transfers end, records them, and says how to go on."""
    with serve_in_thread(account, faults=[Fault("/node-inputs/*", delay_s=0.4)]) as sim:
        process = start(sim, "-j", "4", tmp_path)
        wait_for(lambda: len(sim.media_requests()) >= 6)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
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
        time.sleep(0.5)
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert time.monotonic() - began_s < 5
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
        assert f"process {first.pid}" in second.stderr
        first.kill()
        first.communicate()
        sim.faults.clear()
        assert floradl(sim, tmp_path).returncode == 0


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
        _, stderr = second.communicate(timeout=20)
        assert second.returncode == 130
        assert f"process {first.pid}" in stderr
        first.kill()
        first.communicate()


def _time_of_a_whole_run(sim: Simulator, dest: Path) -> float:
    began_s = time.monotonic()
    assert floradl(sim, "-j", "4", dest).returncode == 0
    return time.monotonic() - began_s

"""What a host that refuses its files costs of the API's budget of requests."""

from __future__ import annotations

from pathlib import Path

from floradl.download.fresh_urls import MAX_USELESS
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.media import png
from tests.support.zygote import floradl

RUNS = 12


def account() -> Account:
    """A dozen runs with a picture each."""
    first_ms = 10**12
    runs = [
        SimRun(f"run_{n}", "ws_a", "prj_a", created_at=first_ms + n, outputs=[picture(n)])
        for n in range(RUNS)
    ]
    return Account("sk_live_refused", runs)


def picture(number: int) -> SimOutput:
    """A picture of a run."""
    return SimOutput(
        "output_1", content_type="image/png", body=png(b"%d" % number), path=f"/media/{number}.png"
    )


def asked_for_fresh_urls(sim: Simulator) -> int:
    """How many records of single runs the API was asked for."""
    return sum("/runs/run_" in request.path for request in sim.api_requests())


def test_a_host_that_refuses_everything(tmp_path: Path) -> None:
    """Each file is named, and the API is asked a few times and not for each run; so it is the next night."""
    with serve_in_thread(account(), faults=[Fault("/media/*", status=403)]) as sim:
        for _ in range(2):
            sim.forget()
            ran = floradl(sim, "--retries", "0", tmp_path)
            assert ran.returncode == 3
            assert f"{RUNS} outputs could not be archived" in ran.stderr
            assert asked_for_fresh_urls(sim) <= 2 * MAX_USELESS - 1
            assert ran.stderr.count("refuses its files") == 1


def test_a_host_that_refuses_some(tmp_path: Path) -> None:
    """Where others of its files come, each that it refuses may have expired, and is asked for."""
    newest = RUNS - 1
    # It comes at once, and the refusals later: in which order runs are worked on is not promised.
    refused = [Fault(f"/media/{number}.png", status=403, delay_s=0.5) for number in range(newest)]
    with serve_in_thread(account(), faults=refused) as sim:
        ran = floradl(sim, "--retries", "0", "-j", "64", tmp_path)
        assert ran.returncode == 3
        assert asked_for_fresh_urls(sim) == newest
        assert "refuses its files" not in ran.stderr

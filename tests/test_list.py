"""`floradl list` for people: a table that fits, ages, progress, and `--watch`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from floradl.commands.generations import list_lines
from floradl.model import Generation, parse_generation
from floradl.simulator import Account, Fault, Simulator, serve_in_thread
from floradl.tables import cells_wide
from tests.support import COMMAND, environment, floradl, start

LIST = "/api/v1/generations"
NOW_MS = 1_795_500_000_000


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A dozen runs, two of them not done."""
    with serve_in_thread(Account.generate(12, seed=11, open_runs=2)) as simulator:
        yield simulator


def generation(**fields: object) -> Generation:
    """A run as the API lists it."""
    facts = {"run_id": "run_1", "status": "completed", "created_at": NOW_MS - 3 * 3_600_000} | fields
    return parse_generation(json.dumps(facts).encode())


def test_a_row_says_how_old_how_far_and_how_much() -> None:
    """Age, progress of what runs (and of nothing else), model, outputs and cost stand in columns."""
    rows = [
        generation(status="running", progress=35, created_at=NOW_MS - 90_000),
        generation(progress=100, charged_cost=0.1234, model={"model_id": "t2i"}, outputs=[{}, {}]),
        generation(status="failed", progress=100, created_at=None),
    ]
    assert list_lines(rows, 80, NOW_MS) == [
        "created    status          run    model  outputs    cost",
        "1 min ago  running    35%  run_1",
        "3 h ago    completed       run_1  t2i          2  $0.123",
        "           failed          run_1",
    ]


def test_what_gives_way_on_a_narrow_terminal() -> None:
    """At 40 columns the run's id, which people copy, is whole; outputs, model and cost give way."""
    run = generation(run_id="run_" + "x" * 20, charged_cost=0.1, model={"model_id": "m" * 60}, outputs=[{}])
    wide = list_lines([run], 80, NOW_MS)
    assert max(map(cells_wide, wide)) == 80
    assert "mmm…" in wide[1]
    narrow = list_lines([run], 40, NOW_MS)
    assert narrow[1].endswith("run_" + "x" * 20)
    assert max(map(cells_wide, narrow)) <= 40


@pytest.mark.parametrize("width", [20, 40, 80])
def test_hostile_fields_do_not_break_the_table(width: int) -> None:
    """Control characters, wide characters and endless ids stay in their cells."""
    hostile = "\x1b[2J\r\n\u202e漢字e\u0301" * 30
    rows = [generation(run_id=hostile, status=hostile, model={"model_id": hostile}), generation()]
    lines = list_lines(rows, width, NOW_MS)
    assert len(lines) == 3
    assert max(map(cells_wide, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_running_runs_with_their_progress(sim: Simulator) -> None:
    """`--status running` shows how far each is."""
    done = floradl(sim, "list", "--status", "running", "--format", "table")
    (run,) = sim.account.listed(status="running")
    assert re.search(rf"ago +running +35% +{run.run_id}", done.stdout)
    none = floradl(sim, "list", "--workspace-id", "ws_none", "--format", "table")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "No such runs.\n")


def _wait_for_requests(sim: Simulator, count: int) -> None:
    deadline_s = time.monotonic() + 30
    while len(sim.api_requests()) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_watch_off_a_terminal_prints_again(sim: Simulator) -> None:
    """--watch prints the same again, without control codes, also after an error, until Ctrl-C."""
    sim.faults.append(Fault(LIST, on=(2,), status=503))
    arguments = ("list", "--watch", "1", "--retries", "0", "--limit", "2", "--format", "table")
    process = start(sim, *arguments)
    _wait_for_requests(sim, 3)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout.count("created") >= 2
    assert "503" in stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", stdout + stderr)
    assert "Traceback" not in stderr


def test_watch_keeps_the_form(sim: Simulator) -> None:
    """Off a terminal the default stays JSON, a page each time."""
    process = start(sim, "list", "--watch", "1s", "--limit", "1")
    _wait_for_requests(sim, 2)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert len(stdout.splitlines()) >= 2
    assert all(len(json.loads(line)["generations"]) == 1 for line in stdout.splitlines())


@pytest.mark.parametrize("columns", [40, 80])
def test_watch_on_a_terminal_redraws(sim: Simulator, columns: int) -> None:
    """On a terminal each look takes the place of the one before, and no more lines than there are."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 6, columns, 0, 0))
    process = subprocess.Popen(
        [COMMAND, "list", "--watch", "1"],
        env={k: v for k, v in environment(sim, TERM="xterm").items() if k not in ("COLUMNS", "LINES")},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while shown.count(b"\x1b[H\x1b[J") < 3:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    os.close(ours)
    assert process.wait(timeout=30) == 130
    screens = shown.decode().split("\x1b[H\x1b[J")[1:3]
    for screen in screens:
        lines = screen.splitlines()
        assert lines[0].startswith("created")
        assert lines[-1] == "… 9 more"
        assert len(lines) == 5
        assert max(map(cells_wide, lines)) <= columns


def test_watch_needs_a_second(sim: Simulator) -> None:
    """An interval that would hammer the API is refused."""
    done = floradl(sim, "list", "--watch=0.1s")
    assert (done.returncode, "a second at least" in done.stderr) == (2, True)
    assert not sim.requests

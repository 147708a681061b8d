"""Running the installed command as a process, with the environment of a user who has set a key."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from floradl.simulator import Simulator

COMMAND = str(Path(sysconfig.get_path("scripts")) / ("floradl.exe" if os.name == "nt" else "floradl"))


def environment(sim: Simulator, **more: str) -> dict[str, str]:
    """The environment of a user who has set a key; it has no other setting of FLORA's tools."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLORA")}
    return kept | {"FLORA_BASE_URL": sim.base_url, "FLORA_API_KEY": sim.account.api_key} | more


def floradl(
    sim: Simulator, *arguments: str | Path, timeout_s: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end, and assert that it shows no traceback."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=environment(sim, **env),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


_started: list[subprocess.Popen[str]] = []


def start(sim: Simulator, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
    """Start the installed command and leave it at work, at most until the end of the test."""
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        env=environment(sim, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    _started.append(process)
    return process


def end_started() -> None:
    """Kill what a test that failed left at work: it would ask the next simulator that gets its port."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds; raise TimeoutExpired when it does not within a minute."""
    deadline_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline_s:
            raise subprocess.TimeoutExpired("condition", 60)
        time.sleep(0.02)


def python_module(*arguments: str) -> list[str]:
    """A command line that runs a module with this Python."""
    return [sys.executable, "-m", *arguments]

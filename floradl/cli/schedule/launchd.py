"""A nightly job with launchd: its list, and installing it."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from floradl.cli.schedule.base import Installed, make_folder, run_tool, write_text
from floradl.cli.schedule.job import PREFIX, NightlyJob, clock_time
from floradl.errors import ScheduleError


def launchd_plist(job: NightlyJob, log: str) -> str:
    """The property list of an agent; launchd makes up for a time that the machine slept through.

    Args:
        job: what runs; the random delay is a settled one, since launchd has none.
        log: the absolute path of the file that takes what the job says.
    """
    hour, minute = job.settled_at
    agent = {
        "Label": job.name,
        "ProgramArguments": list(job.command),
        "StartCalendarInterval": {"Hour": hour, "Minute": minute},
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Nice": 10,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


class Launchd:
    """An agent of the user's launchd."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "Library" / "LaunchAgents"
        self._logs = home / "Library" / "Logs"

    def text(self, job: NightlyJob) -> str:
        """The property list."""
        return launchd_plist(job, str(self._logs / f"{job.name}.log"))

    def install(self, job: NightlyJob) -> list[str]:
        """Write the property list and load it, in place of an earlier one."""
        path = self._folder / f"{job.name}.plist"
        write_text(path, self.text(job).encode())
        make_folder(self._logs)
        self._forget(job.name)
        run_tool(("launchctl", "bootstrap", self._domain(), str(path)), hint="Log in at the screen once.")
        return [
            f"It runs at {clock_time(job.settled_at)} every day, or when the machine wakes up after that.",
            f"What it says goes to {self._logs / f'{job.name}.log'}",
        ]

    def remove(self, name: str) -> bool:
        """Unload the agent and remove its file."""
        path = self._folder / f"{name}.plist"
        if not path.exists():
            return False
        self._forget(name)
        path.unlink()
        return True

    def jobs(self) -> Iterator[Installed]:
        """What the property lists say."""
        for path in sorted(self._folder.glob(f"{PREFIX}*.plist")):
            agent = plistlib.loads(path.read_bytes())
            start = agent["StartCalendarInterval"]
            when = clock_time((start["Hour"], start["Minute"]))
            yield Installed(path.stem, when, str(agent["ProgramArguments"][-1]))

    def _forget(self, name: str) -> None:
        with suppress(ScheduleError):  # it is not loaded
            run_tool(("launchctl", "bootout", f"{self._domain()}/{name}"))

    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

"""A nightly job with launchd, macOS' scheduler: its property list and its agent. See launchd.plist(5)."""

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
    """The property list of an agent. If the machine sleeps at that time, launchd runs it on waking up.

    Args:
        job: the job; launchd has no random delay, so it begins at `NightlyJob.settled_at`.
        log: the absolute path of the file that gets what the job prints.
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
    """The user's own launchd, whose agents run while the user is logged in."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "Library" / "LaunchAgents"
        self._logs = home / "Library" / "Logs"

    def text(self, job: NightlyJob) -> str:
        """The property list."""
        return launchd_plist(job, str(self._logs / f"{job.name}.log"))

    def install(self, job: NightlyJob) -> list[str]:
        """Write the property list and load it; an agent of the same name is unloaded first."""
        path = self._folder / f"{job.name}.plist"
        write_text(path, self.text(job).encode())
        make_folder(self._logs)
        self._unload(job.name)
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
        self._unload(name)
        path.unlink()
        return True

    def jobs(self) -> Iterator[Installed]:
        """The jobs of floradl's property lists."""
        for path in sorted(self._folder.glob(f"{PREFIX}*.plist")):
            agent = plistlib.loads(path.read_bytes())
            start = agent["StartCalendarInterval"]
            when = clock_time((start["Hour"], start["Minute"]))
            yield Installed(path.stem, when, str(agent["ProgramArguments"][-1]))

    def _unload(self, name: str) -> None:
        with suppress(ScheduleError):  # there is no such agent to unload
            run_tool(("launchctl", "bootout", f"{self._domain()}/{name}"))

    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

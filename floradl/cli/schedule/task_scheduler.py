"""A nightly job with Windows' Task Scheduler: its XML, and the calls of `schtasks` that install it.

Facts come from Microsoft's Task Scheduler Schema.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from floradl.cli.schedule.base import Installed, run_tool
from floradl.cli.schedule.job import PREFIX, NightlyJob
from floradl.errors import UsageError, printable

_TASK_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"

_TASK_SETTINGS: dict[str, object] = {
    "MultipleInstancesPolicy": "IgnoreNew",
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "StartWhenAvailable": "true",  # runs as soon as possible after a night when the machine was off
    "RunOnlyIfNetworkAvailable": "true",
    "ExecutionTimeLimit": "PT0S",  # no limit; by default a first long job would be ended after three days
    "Priority": "7",
}


def task_xml(job: NightlyJob, now: datetime) -> str:
    """The XML of a task. It names no encoding, so that it may be stored in any.

    The task runs only while its user is logged in. Otherwise Windows would have to keep the user's password,
    and the keyring with the API key would be locked.

    Args:
        job: the job.
        now: the time now; the first run is the next `job.at` after it.

    Raises:
        UsageError: Task Scheduler would replace a part of a word as a variable.
    """
    for word in job.command:
        if "%" in word or "$(" in word:
            raise UsageError(
                f"Task Scheduler would replace a part of {printable(word)!r}",
                hint="Choose a path without % and $(.",
            )
    hour, minute = job.at
    first = now.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    if first <= now.replace(tzinfo=None):
        first += timedelta(days=1)
    task = ElementTree.Element("Task", {"version": "1.2", "xmlns": _TASK_NAMESPACE})
    _add(task, {"RegistrationInfo": {"Author": "floradl", "Description": f"floradl archives {job.dest}"}})
    trigger = {
        "StartBoundary": first.isoformat(),
        "RandomDelay": f"PT{job.random_delay_s}S",
        "ScheduleByDay": {"DaysInterval": "1"},
    }
    _add(task, {"Triggers": {"CalendarTrigger": trigger}})
    principal = ElementTree.SubElement(
        ElementTree.SubElement(task, "Principals"), "Principal", {"id": "owner"}
    )
    _add(principal, {"LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"})
    _add(task, {"Settings": _TASK_SETTINGS})
    program, *arguments = job.command
    actions = ElementTree.SubElement(task, "Actions", {"Context": "owner"})
    _add(actions, {"Exec": {"Command": program, "Arguments": subprocess.list2cmdline(arguments)}})
    ElementTree.indent(task)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(task, encoding="unicode")}\n'


def _add(parent: ElementTree.Element, content: dict[str, object]) -> None:
    """Add an element for each item, in this order, which the schema prescribes; dicts become children."""
    for name, value in content.items():
        child = ElementTree.SubElement(parent, name)
        if isinstance(value, dict):
            _add(child, value)
        else:
            child.text = str(value)


class TaskScheduler:
    """The tasks of the Windows user, in the task folder `floradl`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def text(self, job: NightlyJob) -> str:
        """The task's XML."""
        return task_xml(job, self._now())

    def install(self, job: NightlyJob) -> list[str]:
        """Register the XML, or replace the task of the same name."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{job.name}.xml"
            path.write_bytes(self.text(job).encode("utf-16"))
            run_tool(("schtasks", "/Create", "/TN", self._path(job.name), "/XML", str(path), "/F"))
        return [f"To run it now: schtasks /Run /TN {self._path(job.name)}"]

    def remove(self, name: str) -> bool:
        """Delete the task."""
        if name not in (job.name for job in self.jobs()):
            return False
        run_tool(("schtasks", "/Delete", "/TN", self._path(name), "/F"))
        return True

    def jobs(self) -> Iterator[Installed]:
        """The tasks in the folder, with their next run. `schtasks` does not tell what they archive."""
        for row in csv.reader(run_tool(("schtasks", "/Query", "/FO", "CSV", "/NH")).splitlines()):
            folder, _, name = row[0].rpartition("\\") if row else ("", "", "")
            if folder == "\\floradl" and name.startswith(PREFIX):
                yield Installed(name, f"next {row[1]}", "")

    def _path(self, name: str) -> str:
        return f"\\floradl\\{name}"

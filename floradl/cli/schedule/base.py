"""The schedulers themselves: what is printed for one, and installing, listing and removing a job with it.

Each speaks to its scheduler through the program that a person would use. Files are written whole or not at
all, and installing the same job again changes nothing.
"""

from __future__ import annotations

import csv
import json
import os
import plistlib
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from floradl.cli.schedule.job import (
    PREFIX,
    SANDBOX,
    NightlyJob,
    clock_time,
    cron_line,
    launchd_plist,
    systemd_service,
    systemd_timer,
    task_xml,
)
from floradl.errors import ScheduleError, printable


@dataclass(frozen=True)
class Installed:
    """A job that was found: its name, when it runs, what it archives; empty where that is not known."""

    name: str
    when: str
    dest: str


class Scheduler(Protocol):
    """What a scheduler does. All but `text` raise `ScheduleError` when it is not there or refuses."""

    def text(self, job: NightlyJob) -> str:
        """The job in the scheduler's words."""

    def install(self, job: NightlyJob) -> list[str]:
        """Install the job, in place of one of the same name; returns what to tell about it."""

    def remove(self, name: str) -> bool:
        """Remove a job; False when there is none of that name."""

    def jobs(self) -> Iterator[Installed]:
        """Every job that floradl installed here."""


class Systemd:
    """A service and a timer of the user's own systemd."""

    def __init__(self, home: Path) -> None:
        base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        self._folder = (base if base.is_absolute() else home / ".config") / "systemd" / "user"

    def text(self, job: NightlyJob) -> str:
        """Both units, each below a line with the file that it belongs into."""
        return "\n".join(f"# {path}\n{text}" for path, text in self._files(job).items())

    def install(self, job: NightlyJob) -> list[str]:
        """Write both units and start the timer. Makes DEST, which the job itself could not."""
        self._call("show", "--property=Version")
        told = []
        if not self._has_sandbox():
            job = replace(job, is_sandboxed=False)
            told.append("Without user namespaces, which this system forbids, it can write wherever you can.")
        files = self._files(job)
        for folder in job.writable:
            _make_folder(Path(folder))
        for path, text in files.items():
            _write(path, text.encode())
        self._call("daemon-reload")
        self._call("enable", "--now", f"{job.name}.timer")
        told.append(f"Next run: {self._next(job.name)}")
        told.append(f"To run it now: systemctl --user start {job.name}")
        told.append(f"To read what it said: journalctl --user -u {job.name}")
        if self._is_lingering() is False:
            told.append("It runs while you are logged in; to let it run always: loginctl enable-linger")
        return told

    def remove(self, name: str) -> bool:
        """Stop the timer and remove both units. A run at work goes on to its end."""
        timer, service = self._folder / f"{name}.timer", self._folder / f"{name}.service"
        if not timer.exists() and not service.exists():
            return False
        if timer.exists():
            self._call("disable", "--now", timer.name)
        for path in (timer, service):
            path.unlink(missing_ok=True)
        self._call("daemon-reload")
        return True

    def jobs(self) -> Iterator[Installed]:
        """What the timers say in their own section, and when they run next."""
        for path in sorted(self._folder.glob(f"{PREFIX}*.timer")):
            said = dict(re.findall(r"^(At|Dest)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE))
            if "At" in said and "Dest" in said:
                when = f"{said['At']}, next {self._next(path.stem)}"
                yield Installed(path.stem, when, str(json.loads(said["Dest"])))

    def _files(self, job: NightlyJob) -> dict[Path, str]:
        return {
            self._folder / f"{job.name}.service": systemd_service(job),
            self._folder / f"{job.name}.timer": systemd_timer(job),
        }

    def _call(self, *arguments: str) -> str:
        return _call(
            ("systemctl", "--user", *arguments),
            hint="Your systemd has to run: log in as yourself, not with su or sudo. Else see --cron.",
        )

    def _next(self, name: str) -> str:
        try:
            said = self._call("show", f"{name}.timer", "--property=NextElapseUSecRealtime", "--value")
        except ScheduleError:
            return "unknown"
        return said.strip() or "unknown"

    def _has_sandbox(self) -> bool:
        """Whether a service with the sandbox starts at all; some systems forbid what it is made of."""
        properties = [word for line in SANDBOX for word in ("--property", line)]
        try:
            _call(("systemd-run", "--user", "--wait", "--collect", "--quiet", *properties, "true"))
        except ScheduleError:
            return False
        return True

    def _is_lingering(self) -> bool | None:
        try:
            said = _call(("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"))
        except ScheduleError:
            return None
        return said.strip() == "yes"


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
        _write(path, self.text(job).encode())
        _make_folder(self._logs)
        self._forget(job.name)
        _call(("launchctl", "bootstrap", self._domain(), str(path)), hint="Log in at the screen once.")
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
            _call(("launchctl", "bootout", f"{self._domain()}/{name}"))

    def _domain(self) -> str:
        return f"gui/{os.getuid()}"


class TaskScheduler:
    """A task of the Windows user, in the folder `floradl`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def text(self, job: NightlyJob) -> str:
        """The task's XML."""
        return task_xml(job, self._now())

    def install(self, job: NightlyJob) -> list[str]:
        """Hand the XML over, in place of an earlier one."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{job.name}.xml"
            path.write_bytes(self.text(job).encode("utf-16"))
            _call(("schtasks", "/Create", "/TN", self._path(job.name), "/XML", str(path), "/F"))
        return [f"To run it now: schtasks /Run /TN {self._path(job.name)}"]

    def remove(self, name: str) -> bool:
        """Delete the task."""
        if name not in (job.name for job in self.jobs()):
            return False
        _call(("schtasks", "/Delete", "/TN", self._path(name), "/F"))
        return True

    def jobs(self) -> Iterator[Installed]:
        """The tasks in the folder, with their next run; they do not say what they archive."""
        for row in csv.reader(_call(("schtasks", "/Query", "/FO", "CSV", "/NH")).splitlines()):
            folder, _, name = row[0].rpartition("\\") if row else ("", "", "")
            if folder == "\\floradl" and name.startswith(PREFIX):
                yield Installed(name, f"next {row[1]}", "")

    def _path(self, name: str) -> str:
        return f"\\floradl\\{name}"


class Cron:
    """A line of the user's crontab. The other lines are kept as they are."""

    def text(self, job: NightlyJob) -> str:
        """The line."""
        return f"{cron_line(job)}\n"

    def install(self, job: NightlyJob) -> list[str]:
        """Put the line in, in place of an earlier one."""
        lines = self._lines()
        line = cron_line(job)
        if line not in lines:
            self._store([*(other for other in lines if self._name(other) != job.name), line])
        return [
            f"It runs at {clock_time(job.settled_at)}, on days when the machine is awake then.",
            "Cron mails what it says; -q lets it speak only when something is wrong.",
        ]

    def remove(self, name: str) -> bool:
        """Take the line out."""
        lines = self._lines()
        rest = [line for line in lines if self._name(line) != name]
        if rest == lines:
            return False
        self._store(rest)
        return True

    def jobs(self) -> Iterator[Installed]:
        """What the lines say."""
        for line in self._lines():
            name = self._name(line)
            if name:
                minute, hour, _, _, _, command = line.split(maxsplit=5)
                words = shlex.split(command.replace("\\%", "%"), comments=True)
                yield Installed(name, clock_time((int(hour), int(minute))), words[-1])

    @staticmethod
    def _name(line: str) -> str:
        match = re.fullmatch(rf"\d+ \d+ \* \* \* .* archive .* # ({PREFIX}[a-z0-9-]+)", line)
        return match[1] if match else ""

    @staticmethod
    def _lines() -> list[str]:
        try:
            text = _call(("crontab", "-l"))
        except ScheduleError as exc:
            if "no crontab" in exc.message:
                return []
            raise
        return text.removesuffix("\n").split("\n")  # other breaks are none to cron

    @staticmethod
    def _store(lines: Sequence[str]) -> None:
        _call(("crontab", "-"), given="".join(f"{line}\n" for line in lines))


def _call(command: Sequence[str], *, given: str = "", hint: str = "") -> str:
    """What a program prints.

    Raises:
        ScheduleError: it is missing, or its exit code is not 0.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs of the system, and no shell
            list(command),
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # a crontab goes back as it came, in whatever encoding
            env=os.environ | {"LC_ALL": "C"},
            check=False,
        )
    except OSError as exc:
        raise ScheduleError(
            f"cannot run {command[0]}: {exc.strerror}",
            hint=hint or "Choose the scheduler that this system has: floradl schedule --help names them.",
        ) from exc
    if done.returncode:
        said = printable((done.stderr or done.stdout).strip().replace("\n", " "), limit=300)
        raise ScheduleError(f"`{shlex.join(command)}` failed: {said or done.returncode}", hint=hint)
    return done.stdout


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ScheduleError(f"cannot make {path}: {exc.strerror}") from exc


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; one that holds just that already is left alone."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and path.read_bytes() == data:
            return
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise ScheduleError(f"cannot write {path}: {exc.strerror}") from exc

"""A nightly job with cron: its line, and the user's crontab. Facts come from crontab(5).

A line of floradl's ends with a comment that is the job's name, by which it is found again. All other lines of
the crontab are written back as they were.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from floradl.cli.schedule.base import Installed, run_tool
from floradl.cli.schedule.job import PREFIX, NightlyJob, clock_time
from floradl.errors import ScheduleError, UsageError

_MAX_CRON_LINE = 990
"""Cron's own limit is 1,000 characters, and it cuts longer lines off without a word."""


def cron_line(job: NightlyJob) -> str:
    """The line of a job. In a crontab `%` means a line break, so it is escaped.

    Raises:
        UsageError: cron cannot run this command.
    """
    if any("\\" in word for word in job.command):
        raise UsageError(
            "cron cannot be given a path with a backslash", hint="Each cron reads it in another way."
        )
    hour, minute = job.settled_at
    line = f"{minute} {hour} * * * {shlex.join(job.command)} # {job.name}".replace("%", "\\%")
    if len(line.encode()) > _MAX_CRON_LINE:
        raise UsageError(
            "the command is too long for cron, which would cut it off",
            hint="Put options into config.toml: `floradl archive --help` names them.",
        )
    return line


class Cron:
    """The user's crontab."""

    def text(self, job: NightlyJob) -> str:
        """The job's line."""
        return f"{cron_line(job)}\n"

    def install(self, job: NightlyJob) -> list[str]:
        """Add the job's line, or replace the one of the same name."""
        lines = self._lines()
        line = cron_line(job)
        if line not in lines:
            self._write_lines([*(other for other in lines if self._name(other) != job.name), line])
        return [
            f"It runs at {clock_time(job.settled_at)}, on days when the machine is awake then.",
            "Cron mails what it says; -q lets it speak only when something is wrong.",
        ]

    def remove(self, name: str) -> bool:
        """Remove the job's line."""
        lines = self._lines()
        rest = [line for line in lines if self._name(line) != name]
        if rest == lines:
            return False
        self._write_lines(rest)
        return True

    def jobs(self) -> Iterator[Installed]:
        """The jobs of floradl's lines."""
        for line in self._lines():
            name = self._name(line)
            if name:
                minute, hour, _, _, _, command = line.split(maxsplit=5)
                words = shlex.split(command.replace("\\%", "%"), comments=True)
                yield Installed(name, clock_time((int(hour), int(minute))), words[-1])

    @staticmethod
    def _name(line: str) -> str:
        """The name of the job that a line runs; "" for lines that are not floradl's."""
        match = re.fullmatch(rf"\d+ \d+ \* \* \* .* archive .* # ({PREFIX}[a-z0-9-]+)", line)
        return match[1] if match else ""

    @staticmethod
    def _lines() -> list[str]:
        try:
            text = run_tool(("crontab", "-l"))
        except ScheduleError as exc:
            if "no crontab" in exc.message:  # how crontab says that the user has none yet
                return []
            raise
        return text.removesuffix("\n").split("\n")  # not splitlines: to cron only this is a line break

    @staticmethod
    def _write_lines(lines: Sequence[str]) -> None:
        run_tool(("crontab", "-"), given="".join(f"{line}\n" for line in lines))

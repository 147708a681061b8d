"""A nightly job with cron: its line, and installing it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from floradl.cli.schedule.base import Installed, run_tool
from floradl.cli.schedule.job import PREFIX, NightlyJob, clock_time
from floradl.errors import ScheduleError, UsageError

_MAX_CRON_LINE = 990  # cron's own limit is 1,000 characters, and what is longer is cut without a word


def cron_line(job: NightlyJob) -> str:
    """A line for a crontab; its end is a comment to the shell, by which it is found again.

    Raises:
        UsageError: cron cannot say it.
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
    """A line of the user's crontab. The other lines are kept as they are."""

    def text(self, job: NightlyJob) -> str:
        """The line."""
        return f"{cron_line(job)}\n"

    def install(self, job: NightlyJob) -> list[str]:
        """Put the line in, in place of an earlier one."""
        lines = self._lines()
        line = cron_line(job)
        if line not in lines:
            self._repository([*(other for other in lines if self._name(other) != job.name), line])
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
        self._repository(rest)
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
            text = run_tool(("crontab", "-l"))
        except ScheduleError as exc:
            if "no crontab" in exc.message:
                return []
            raise
        return text.removesuffix("\n").split("\n")  # other breaks are none to cron

    @staticmethod
    def _repository(lines: Sequence[str]) -> None:
        run_tool(("crontab", "-"), given="".join(f"{line}\n" for line in lines))

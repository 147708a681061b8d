"""What every scheduler can do with a nightly job, and what their modules share.

Files are written whole or not at all, and a file that already has the right content is left alone.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from floradl.cli.private import make_private_folder
from floradl.cli.schedule.job import NightlyJob
from floradl.errors import ScheduleError, printable
from floradl.storage.local.fsync import OVERWRITE_FLAGS, replace_file


@dataclass(frozen=True)
class Installed:
    """A job that a scheduler lists.

    Args:
        name: the job's.
        when: its time of day, its next run, or both, for people.
        dest: the archive's folder; "" where the scheduler does not tell.
    """

    name: str
    when: str
    dest: str


class Scheduler(Protocol):
    """One scheduler of this system.

    All methods but `text` raise `ScheduleError` when the scheduler is not there, or refuses.
    """

    def text(self, job: NightlyJob) -> str:
        """The job as the scheduler's files or lines describe it; `UsageError` where they cannot."""

    def install(self, job: NightlyJob) -> list[str]:
        """Install the job, or replace one of the same name; returns lines for the user."""

    def remove(self, name: str) -> bool:
        """Remove a job; False when there is none of that name."""

    def jobs(self) -> Iterator[Installed]:
        """Every job that floradl installed here."""


def run_tool(command: Sequence[str], *, given: str = "", hint: str = "") -> str:
    """Run a program and return what it prints.

    Args:
        command: the program and its arguments.
        given: what it gets on standard input.
        hint: what the user can do if it fails.


    Raises:
        ScheduleError: it is missing, or its exit code is not 0.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs of the system, and no shell
            list(command),
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # a crontab in whatever encoding is written back byte for byte
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


def make_folder(path: Path, *, is_private: bool = True) -> None:
    """Make a folder and those above it; `ScheduleError` where that is not possible.

    Args:
        path: the folder.
        is_private: whether it is for its user alone; the umask decides about folders that the user named.
    """
    try:
        if is_private:
            make_private_folder(path)
        else:
            path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ScheduleError(f"cannot make {path}: {exc.strerror}") from exc


def write_text(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, unless it has this content already.

    Raises:
        ScheduleError: it cannot be written.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and path.read_bytes() == data:
            return
        replace_file(temporary, path, data, flags=OVERWRITE_FLAGS)
    except OSError as exc:
        raise ScheduleError(f"cannot write {path}: {exc.strerror}") from exc

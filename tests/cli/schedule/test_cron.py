"""A nightly job with cron: a shell reads the very words of the command, or the job is refused."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from floradl.cli.schedule.cron import cron_line
from floradl.errors import UsageError
from tests.cli.schedule.jobs import PATHS, job


@pytest.mark.parametrize("path", [path for path in PATHS if "\\" not in path])
def test_the_line_for_cron(path: str) -> None:
    """A shell, which gets what cron leaves of the line, reads the very words."""
    a_job = replace(job(path, "--model=*"), command=("printf", r"%s\n".replace("\\", "/"), path, "*"))
    line = cron_line(a_job)
    minute, hour, day, month, weekday, command = line.split(maxsplit=5)
    assert (day, month, weekday) == ("*", "*", "*")
    assert (2 * 60 + 30) <= int(hour) * 60 + int(minute) <= 3 * 60
    assert not re.search(r"(?<!\\)%", command)
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("\\%", "%")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{path}/n*/n"


def test_a_line_for_cron_has_limits() -> None:
    """What cron would cut off, or read in its own way, is refused."""
    with pytest.raises(UsageError, match="backslash"):
        cron_line(job("/srv/a\\b"))
    with pytest.raises(UsageError, match="too long"):
        cron_line(job(f"/srv/{'x' * 960}"))

"""A nightly job with launchd: its agent holds the very words of the command."""

from __future__ import annotations

import plistlib
from dataclasses import replace

import pytest

from floradl.cli.schedule.launchd import launchd_plist
from tests.cli.schedule.jobs import PATHS, job


@pytest.mark.parametrize("path", PATHS)
def test_the_agent(path: str) -> None:
    """launchd gets the words as they are, a time, and a file for what is said."""
    a_job = replace(job(path, "--model=$x"), random_delay_s=0)
    agent = plistlib.loads(launchd_plist(a_job, "/logs/x.log").encode())
    assert agent["ProgramArguments"] == list(a_job.command)
    assert agent["StartCalendarInterval"] == {"Hour": 2, "Minute": 30}
    assert (agent["Label"], agent["StandardErrorPath"]) == (a_job.name, "/logs/x.log")

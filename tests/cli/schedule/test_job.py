"""A nightly job: its name, its minute, and the words that every scheduler can hold."""

from __future__ import annotations

import plistlib
import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.cli.schedule.cron import cron_line
from floradl.cli.schedule.job import job_name
from floradl.cli.schedule.launchd import launchd_plist
from floradl.cli.schedule.systemd import systemd_service
from floradl.errors import UsageError
from tests.cli.schedule.jobs import PATHS, exec_start, job


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x85", "\u2028", "\udcff", "\ufffe"])
def test_characters_that_no_job_can_have(character: str) -> None:
    """A line break could begin a directive of its own; it is refused, and not shown as it is."""
    with pytest.raises(UsageError, match="cannot stand in a nightly job") as error:
        job(f"/srv/a{character}ExecStartPre=evil")
    assert character not in error.value.message


@given(st.text(min_size=1, max_size=30))
def test_any_word_survives(text: str) -> None:
    """Whatever is taken comes out again, in every format that takes it."""
    try:
        a_job = job(f"/srv/{text}", f"--model={text}")
    except UsageError:
        return
    assert exec_start(systemd_service(a_job)) == list(a_job.command)
    assert plistlib.loads(launchd_plist(a_job, "/l").encode())["ProgramArguments"] == list(a_job.command)
    if "\\" not in text:
        command = cron_line(a_job).split(maxsplit=5)[5].replace("\\%", "%")
        assert shlex.split(command, comments=True) == list(a_job.command)


def test_names() -> None:
    """Each archive has a name of its own, the same every time, that is good in any file name."""
    names = [job_name(path, None) for path in (*PATHS, "/other/flora", "/srv/FLORA")]
    assert len(set(names)) == len(names)
    assert names == [job_name(path, None) for path in (*PATHS, "/other/flora", "/srv/FLORA")]
    assert all(re.fullmatch(r"floradl-[a-z0-9-]+-[0-9a-f]{8}", name) for name in names)
    assert job_name("/srv/flora", "studio") == "floradl-studio"


def test_a_settled_delay() -> None:
    """Where there are no dice, jobs begin at different minutes all the same, across midnight too."""
    times = [replace(job(f"/srv/{n}"), at=(23, 50), random_delay_s=1200).settled_at for n in range(200)]
    assert len(set(times)) == 21
    assert min((hour * 60 + minute - 12 * 60) % (24 * 60) for hour, minute in times) == 11 * 60 + 50
    assert max((hour * 60 + minute - 12 * 60) % (24 * 60) for hour, minute in times) == 12 * 60 + 10
    assert replace(job("/srv/1"), random_delay_s=59).settled_at == (2, 30)

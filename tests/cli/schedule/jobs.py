"""Nightly jobs with paths that formats have to quote, for the tests of each scheduler."""

from __future__ import annotations

import re
import shlex

from floradl.cli.schedule.job import NightlyJob, job_name

PATHS = (
    "/srv/flora",
    "/home/a b/100% flora",
    '/srv/it\'s "quoted"',
    "/srv/$HOME/${x}/`id`",
    "/srv/Bücher/写真/🌸",
    "/srv/%h %i %%/;",
    "/srv/a\\x20b\\",
)


def job(dest: str, *options: str) -> NightlyJob:
    """A job whose program exists."""
    command = ("/bin/true", "archive", *options, dest)
    return NightlyJob(job_name(dest, None), command, dest, (2, 30), 1800, (dest,))


def exec_start(service: str) -> list[str]:
    """The words of ExecStart=, read by the rules of systemd.service(5)."""
    match = re.search(r"^ExecStart=(.*)$", service, re.MULTILINE)
    assert match
    # Within double quotes, which is all that is used, a shell reads \\ and \" as systemd does.
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(match[1])]

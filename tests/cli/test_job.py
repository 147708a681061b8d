"""A nightly job in the words of each scheduler: what stands there is the command, whatever the paths hold."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.cli.schedule.cron import cron_line
from floradl.cli.schedule.job import NightlyJob, job_name
from floradl.cli.schedule.launchd import launchd_plist
from floradl.cli.schedule.systemd import systemd_service, systemd_timer
from floradl.cli.schedule.task_scheduler import task_xml
from floradl.errors import UsageError

NOW = datetime(2026, 11, 25, 12, 0)
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


def verified(folder: Path, a_job: NightlyJob) -> str:
    """What `systemd-analyze verify` has to say about the units of a job."""
    assert shutil.which("systemd-analyze"), "the tests need systemd-analyze (Debian: systemd)"
    texts = {"service": systemd_service(a_job), "timer": systemd_timer(a_job)}
    for kind, text in texts.items():
        (folder / f"{a_job.name}.{kind}").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *(f"{folder}/{a_job.name}.{kind}" for kind in texts)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr  # a directive that it does not know is told here, and is no failure


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ, reason="no systemd on this machine"
)


@needs_systemd
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_sandboxed", [True, False])
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path, path: str, is_sandboxed: bool) -> None:
    """Both units pass `systemd-analyze verify` without a word, whatever DEST is called."""
    assert verified(tmp_path, replace(job(path, "--model=*%*"), is_sandboxed=is_sandboxed)) == ""


@needs_systemd
def test_systemd_would_say_something(tmp_path: Path) -> None:
    """The check above can fail: a program that is not there is told."""
    with pytest.raises(AssertionError, match="is not executable"):
        verified(tmp_path, replace(job("/srv/flora"), command=("/no/such/program",)))


@needs_systemd
def test_the_exposure_that_systemd_counts(tmp_path: Path) -> None:
    """The sandbox is worth something: systemd's figure stays below a bare service's 9.8."""
    file = tmp_path / "floradl-x.service"
    file.write_text(systemd_service(job("/srv/flora")))
    done = subprocess.run(
        ["systemd-analyze", "--user", "security", "--offline=yes", str(file)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    figure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert figure
    assert float(figure[1]) < 7


@pytest.mark.parametrize("path", PATHS)
def test_the_command_of_a_unit(path: str) -> None:
    """What systemd reads is what was meant: no specifier, no variable, no quote gets lost."""
    a_job = job(path, "--model=$x 50%", "--api-key-file=/k \"e'y")
    assert exec_start(systemd_service(a_job)) == list(a_job.command)


def test_a_unit_writes_to_the_archive_alone() -> None:
    """All is closed but what the job writes to; /tmp is its own, unless something of the job lies there."""
    service = systemd_service(replace(job("/srv/a b"), writable=("/srv/a b", "/var/log/flora")))
    assert 'ReadWritePaths="-/srv/a b" -/var/log/flora\n' in service
    assert {"ProtectSystem=strict", "PrivateUsers=yes", "PrivateTmp=yes"} <= set(service.splitlines())
    assert "PrivateTmp" not in systemd_service(job("/tmp/out"))  # noqa: S108 - it is the case at hand
    assert "PrivateTmp" not in systemd_service(job("/srv/out", "--api-key-file=/var/tmp/key"))
    bare = systemd_service(replace(job("/srv/a"), is_sandboxed=False))
    assert not re.search("ProtectSystem|PrivateUsers|ReadWritePaths|PrivateTmp", bare)
    assert "NoNewPrivileges=yes" in bare


def test_the_timer() -> None:
    """Every night at the time given, at random within the delay, made up for after sleep."""
    timer = systemd_timer(replace(job('/srv/"a"'), at=(4, 5), random_delay_s=600))
    lines = timer.splitlines()
    assert {"OnCalendar=*-*-* 04:05:00", "RandomizedDelaySec=600s", "Persistent=true"} <= set(lines)
    assert json.loads(lines[-1].removeprefix("Dest=")) == '/srv/"a"'


@pytest.mark.parametrize("path", PATHS)
def test_the_agent(path: str) -> None:
    """launchd gets the words as they are, a time, and a file for what is said."""
    a_job = replace(job(path, "--model=$x"), random_delay_s=0)
    agent = plistlib.loads(launchd_plist(a_job, "/logs/x.log").encode())
    assert agent["ProgramArguments"] == list(a_job.command)
    assert agent["StartCalendarInterval"] == {"Hour": 2, "Minute": 30}
    assert (agent["Label"], agent["StandardErrorPath"]) == (a_job.name, "/logs/x.log")


def test_the_task() -> None:
    """Element names, their order and their values are those of Microsoft's schema."""
    a_job = replace(job("C:\\Flora & <me>\\a b"), random_delay_s=600, at=(2, 30))
    root = ElementTree.fromstring(task_xml(a_job, NOW))  # noqa: S314 - our own
    namespace = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    assert root.tag == f"{namespace}Task"
    assert root.get("version") == "1.2"
    tags = {child.tag.removeprefix(namespace): child for child in root}
    assert list(tags) == ["RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"]
    trigger = tags["Triggers"][0]
    # calendarTriggerType: what all triggers have, then RandomDelay, then the schedule
    assert [(part.tag.removeprefix(namespace), part.text) for part in trigger][:2] == [
        ("StartBoundary", "2026-11-26T02:30:00"),
        ("RandomDelay", "PT600S"),
    ]
    assert trigger[2].tag == f"{namespace}ScheduleByDay"
    assert trigger[2][0].text == "1"
    settings = {part.tag.removeprefix(namespace): part.text for part in tags["Settings"]}
    assert settings["StartWhenAvailable"] == settings["RunOnlyIfNetworkAvailable"] == "true"
    assert tags["Principals"][0].get("id") == tags["Actions"].get("Context")
    command, arguments = tags["Actions"][0]
    assert (command.text, arguments.text) == ("/bin/true", 'archive "C:\\Flora & <me>\\a b"')


@pytest.mark.parametrize("path", ["C:\\100%", "C:\\%TEMP%\\x", "C:\\$(Arg0)"])
def test_a_task_cannot_name_everything(path: str) -> None:
    """What Task Scheduler would replace is refused."""
    with pytest.raises(UsageError, match="would replace"):
        task_xml(job(path), NOW)


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

"""A nightly job in the words of each scheduler: systemd, launchd, Task Scheduler and cron.

Pure: a job in, text out. No text ever holds a key: the job finds one when it runs. What a format cannot say
of a path is refused here, before anything is installed.

Facts come from systemd.service(5), systemd.exec(5), systemd.timer(5), launchd.plist(5), crontab(5) and
Microsoft's Task Scheduler Schema.
"""

from __future__ import annotations

import hashlib
import json
import plistlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from xml.etree import ElementTree

from floradl.errors import UsageError, printable

PREFIX = "floradl-"
"""How the name of every job begins, by which they are found again."""

SANDBOX = ("PrivateUsers=yes", "ProtectSystem=strict")
"""What closes the file system for writing. For a user's service both need user namespaces: PrivateUsers= is
what lets an unprivileged manager do the other (systemd.exec(5), "Sandboxing"). Some systems forbid them."""

_MAX_CRON_LINE = 990  # cron's own limit is 1,000 characters, and what is longer is cut without a word
_TASK_NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_PLAIN_WORD = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_TEMPORARY = re.compile(r"(?:^|=)/(?:var/)?tmp(?:/|$)")


@dataclass(frozen=True)
class NightlyJob:
    """A command that runs once a day.

    Args:
        name: what it is called everywhere; begins with `PREFIX`.
        command: the program, absolute, and its arguments.
        dest: the archive's folder, absolute.
        at: hour and minute, local.
        random_delay_s: it begins up to that much later.
        writable: absolute folders that it writes to.
        is_sandboxed: whether all else is closed for writing, where the scheduler can do that.

    Raises:
        UsageError: a word has a character that no scheduler takes, such as a line break.
    """

    name: str
    command: tuple[str, ...]
    dest: str
    at: tuple[int, int]
    random_delay_s: int
    writable: tuple[str, ...]
    is_sandboxed: bool = True

    def __post_init__(self) -> None:
        for word in (*self.command, self.dest, *self.writable):
            if not _is_text(word):
                raise UsageError(
                    f"{printable(word)!r} has characters that cannot stand in a nightly job",
                    hint="Rename the folder or file: no line breaks, tabs or bytes that are no text.",
                )

    @property
    def settled_at(self) -> tuple[int, int]:
        """`at` and a part of the random delay that is always the same for this job: for want of dice."""
        number = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4])
        hour, minute = self.at
        total = (hour * 60 + minute + number % (self.random_delay_s // 60 + 1)) % (24 * 60)
        return divmod(total, 60)


def job_name(dest: str, chosen: str | None) -> str:
    """The chosen name, or one made from the archive's absolute folder: the same on every call."""
    if chosen is not None:
        return f"{PREFIX}{chosen}"
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(dest).name.lower()).strip("-")[:40]
    digest = hashlib.sha256(dest.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{PREFIX}{folder or 'archive'}-{digest}"


def clock_time(at: tuple[int, int]) -> str:
    """`02:30`."""
    return f"{at[0]:02}:{at[1]:02}"


def _is_text(word: str) -> bool:
    """Whether every format can hold a word: no controls, no halves of characters, no non-characters."""
    return not any(
        (ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or character in "\u2028\u2029")
        or 0xD800 <= ord(character) < 0xE000
        or 0xFDD0 <= ord(character) < 0xFDF0
        or ord(character) & 0xFFFE == 0xFFFE
        for character in word
    )


def systemd_service(job: NightlyJob) -> str:
    """The text of NAME.service.

    There is no waiting for the network: a user's units cannot depend on network-online.target, which is the
    system's. A night that ends with exit code 1, as one without network does, is tried again instead.

    Raises:
        UsageError: a path cannot be said.
    """
    program, *arguments = job.command
    if "$" in program:
        raise UsageError(f"systemd cannot run {printable(program)!r}: its path has a $", hint="Use --cron.")
    command = " ".join([_systemd_word(program), *(_systemd_word(word, dollar="$$") for word in arguments)])
    return f"""\
# Made by `floradl schedule`, which replaces and removes it. The API key is not in here and must not be.
[Unit]
Description=floradl archives {job.dest.replace("%", "%%")}
StartLimitIntervalSec=1h
StartLimitBurst=4

[Service]
Type=oneshot
ExecStart={command}
# Exit code 1: the network or the disk is not there yet. All other codes would be the same in ten minutes.
Restart=on-failure
RestartSec=10min
RestartPreventExitStatus=2 3 4 5 130 143
TimeoutStopSec=30s
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7

{chr(10).join(_hardening(job))}
"""


def _hardening(job: NightlyJob) -> Iterator[str]:
    yield "NoNewPrivileges=yes"
    yield "LockPersonality=yes"
    yield "RestrictNamespaces=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    if not job.is_sandboxed:
        return
    yield from SANDBOX
    # The `-` lets it start without them: a disk that is not mounted is floradl's to report.
    yield "ReadWritePaths=" + " ".join(_systemd_word(f"-{path}") for path in job.writable)
    if not any(_TEMPORARY.search(word) for word in (*job.command, *job.writable)):
        yield "PrivateTmp=yes"  # else what lies in /tmp would not be there at night


def _systemd_word(word: str, dollar: str = "$") -> str:
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return f'"{escaped}"'


def systemd_timer(job: NightlyJob) -> str:
    """The text of NAME.timer. Its last section is floradl's own, which systemd skips."""
    return f"""\
# Made by `floradl schedule`, which replaces and removes it.
[Unit]
Description=floradl archives {job.dest.replace("%", "%%")} every night

[Timer]
OnCalendar=*-*-* {clock_time(job.at)}:00
RandomizedDelaySec={job.random_delay_s}s
# A night that the machine slept through is made up for as soon as it is awake.
Persistent=true

[Install]
WantedBy=timers.target

[X-Floradl]
At={clock_time(job.at)}
Dest={json.dumps(job.dest, ensure_ascii=False)}
"""


def launchd_plist(job: NightlyJob, log: str) -> str:
    """The property list of an agent; launchd makes up for a time that the machine slept through.

    Args:
        job: what runs; the random delay is a settled one, since launchd has none.
        log: the absolute path of the file that takes what the job says.
    """
    hour, minute = job.settled_at
    agent = {
        "Label": job.name,
        "ProgramArguments": list(job.command),
        "StartCalendarInterval": {"Hour": hour, "Minute": minute},
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Nice": 10,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def task_xml(job: NightlyJob, now: datetime) -> str:
    """The XML of a task, without a word on its encoding, so that it may be stored in any.

    It runs while its user is logged in: that needs no password in the task, and the user's keyring is open.

    Raises:
        UsageError: a word would be taken for a variable.
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


_TASK_SETTINGS: dict[str, object] = {
    "MultipleInstancesPolicy": "IgnoreNew",
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "StartWhenAvailable": "true",  # makes up for a missed night
    "RunOnlyIfNetworkAvailable": "true",
    "ExecutionTimeLimit": "PT0S",  # none; else a first long run would be ended after three days
    "Priority": "7",
}


def _add(parent: ElementTree.Element, tree: dict[str, object]) -> None:
    for name, value in tree.items():
        child = ElementTree.SubElement(parent, name)
        if isinstance(value, dict):
            _add(child, value)
        else:
            child.text = str(value)


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

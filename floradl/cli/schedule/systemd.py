"""A nightly job with the user's own systemd: a service, a timer, and the calls that install them.

Facts come from systemd.service(5), systemd.exec(5) and systemd.timer(5).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from floradl.cli.schedule.base import Installed, make_folder, run_tool, write_text
from floradl.cli.schedule.job import PLAIN_WORD, PREFIX, NightlyJob, clock_time
from floradl.errors import ScheduleError, UsageError, printable

SANDBOX = ("PrivateUsers=yes", "ProtectSystem=strict")
"""The settings that let a service write nowhere but in `ReadWritePaths=`.

A user's systemd needs user namespaces for both: only with PrivateUsers= may an unprivileged manager use
ProtectSystem= (systemd.exec(5), "Sandboxing"). Some systems forbid user namespaces."""

_TEMPORARY = re.compile(r"(?:^|=)/(?:var/)?tmp(?:/|$)")


def systemd_service(job: NightlyJob) -> str:
    """The text of NAME.service.

    It does not wait for the network, because a user's units cannot depend on network-online.target, which
    belongs to the system. Without network the job ends with exit code 1, and is tried again in ten minutes.

    Raises:
        UsageError: systemd cannot run a program with this path.
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
    """Settings that take away from the service what an archive job does not need."""
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
    # With the `-` the service starts although a folder is missing, so that floradl can report a disk that
    # is not mounted. Without it systemd would refuse, and no log or monitor would hear why.
    yield "ReadWritePaths=" + " ".join(_systemd_word(f"-{path}") for path in job.writable)
    if not any(_TEMPORARY.search(word) for word in (*job.command, *job.writable)):
        yield "PrivateTmp=yes"  # not if the job uses /tmp: it would find an empty one


def _systemd_word(word: str, dollar: str = "$") -> str:
    """A word as systemd reads it back: quoted, with `%` doubled, and `$` too where it would be a variable."""
    if PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return f'"{escaped}"'


def systemd_timer(job: NightlyJob) -> str:
    """The text of NAME.timer. systemd skips its last section; floradl reads DEST and time back from it."""
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


class Systemd:
    """The user's own systemd."""

    def __init__(self, home: Path) -> None:
        base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        self._folder = (base if base.is_absolute() else home / ".config") / "systemd" / "user"

    def text(self, job: NightlyJob) -> str:
        """Both units, each below a comment with the path of its file."""
        return "\n".join(f"# {path}\n{text}" for path, text in self._files(job).items())

    def install(self, job: NightlyJob) -> list[str]:
        """Write both units and start the timer.

        The job's folders are made here: in its sandbox the job could not make DEST, only write into it.
        """
        self._call("show", "--property=Version")
        lines = []
        if not self._has_sandbox():
            job = replace(job, is_sandboxed=False)
            lines.append("Without user namespaces, which this system forbids, it can write wherever you can.")
        files = self._files(job)
        for folder in job.writable:
            make_folder(Path(folder), is_private=False)
        for path, text in files.items():
            write_text(path, text.encode())
        self._call("daemon-reload")
        self._call("enable", "--now", f"{job.name}.timer")
        lines.append(f"Next run: {self._next(job.name)}")
        lines.append(f"To run it now: systemctl --user start {job.name}")
        lines.append(f"To read what it said: journalctl --user -u {job.name}")
        if self._is_lingering() is False:
            lines.append("It runs while you are logged in; to let it run always: loginctl enable-linger")
        return lines

    def remove(self, name: str) -> bool:
        """Stop the timer and remove both units. A job that is running goes on to its end."""
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
        """The jobs of floradl's timers, from their last section, with their next run."""
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
        return run_tool(
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
        """Whether a service with `SANDBOX` starts here, tried with the program `true`."""
        properties = [word for line in SANDBOX for word in ("--property", line)]
        try:
            run_tool(("systemd-run", "--user", "--wait", "--collect", "--quiet", *properties, "true"))
        except ScheduleError:
            return False
        return True

    def _is_lingering(self) -> bool | None:
        """Whether the user's systemd runs while the user is logged out; None where nobody can tell."""
        try:
            said = run_tool(("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"))
        except ScheduleError:
            return None
        return said.strip() == "yes"

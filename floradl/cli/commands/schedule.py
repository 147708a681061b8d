"""`floradl schedule`: prints, installs, lists or removes a nightly job that archives.

The job is `floradl archive` with the options that were given here and with those that the variables of this
shell set, because the variables are not set at night. Only the key is left out: the job looks for it itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from floradl.cli import parser
from floradl.cli.config import Settings, default_config_path, resolve
from floradl.cli.context import expanded, write_line
from floradl.cli.keystore import KEYRING
from floradl.cli.options import COMMANDS, EVERY_OPTION, Option
from floradl.cli.schedule.base import Scheduler
from floradl.cli.schedule.cron import Cron
from floradl.cli.schedule.job import NightlyJob, job_name
from floradl.cli.schedule.launchd import Launchd
from floradl.cli.schedule.systemd import Systemd
from floradl.cli.schedule.task_scheduler import TaskScheduler
from floradl.clock import Clock
from floradl.errors import ScheduleError, UsageError, printable


def run(settings: Settings, dest: str | None, flags: Mapping[str, Any]) -> int:
    """Print, install, list or remove the job of `dest`, as the settings say.

    Args:
        settings: the command's.
        dest: the archive's folder; None where it was not given.
        flags: the options that were typed, by key.
    """
    scheduler = _scheduler(settings)
    if settings.install + settings.remove + settings.list > 1:
        raise UsageError("--install, --remove and --list go one at a time")
    if settings.list:
        jobs = list(scheduler.jobs())
        if not jobs:
            _say("No job is installed with this scheduler; --cron and the like look at another.")
        for found in jobs:
            line = f"{found.name}  {printable(found.when)}  {printable(found.dest, limit=1000)}"
            write_line(line.rstrip().encode())
        return 0
    if settings.remove:
        _remove(settings, scheduler, dest)
        return 0
    if dest is None:
        raise UsageError("DEST is missing", hint="floradl schedule [options] DEST")
    job, warnings = job_of(settings, flags, os.environ, dest)
    if settings.install:
        if settings.require_existing and not Path(job.dest).is_dir():
            raise ScheduleError(
                f"{printable(job.dest)} is not there, and --require-existing wants it to be",
                hint="Is its disk mounted? Else begin the archive first, without --require-existing.",
            )
        notes = scheduler.install(job)
        _say(f"Installed {job.name}, which archives into", f"  {printable(job.dest, limit=500)}", *notes)
        _say(f"To remove it: floradl schedule --remove --name {job.name.removeprefix('floradl-')}")
    else:
        write_line(scheduler.text(job).rstrip("\n").encode())
        _say("Nothing was installed; the same with --install does that.")
    _say(*warnings)
    return 0


def _scheduler(settings: Settings) -> Scheduler:
    """The scheduler that was named, or the one that this system usually has."""
    named = [name for name in ("systemd", "launchd", "task_scheduler", "cron") if getattr(settings, name)]
    if len(named) > 1:
        raise UsageError("only one scheduler at a time can be named")
    own = {"darwin": "launchd", "win32": "task_scheduler"}.get(sys.platform, "systemd")
    match named[0] if named else own:
        case "launchd":
            return Launchd(Path.home())
        case "task_scheduler":
            return TaskScheduler(datetime.now)
        case "cron":
            return Cron()
        case _:
            return Systemd(Path.home())


def _remove(settings: Settings, scheduler: Scheduler, dest: str | None) -> None:
    if dest is None and settings.name is None:
        raise UsageError("which job?", hint="Name its DEST, or --name; floradl schedule --list shows all.")
    name = job_name(_absolute(dest or "."), settings.name)
    if not scheduler.remove(name):
        raise ScheduleError(f"there is no job {name}", hint="floradl schedule --list shows all.")
    _say(f"Removed {name}. The archive and everything else is as it was.")


def job_of(
    settings: Settings, flags: Mapping[str, Any], environment: Mapping[str, str], dest: str
) -> tuple[NightlyJob, tuple[str, ...]]:
    """The job, and warnings about what it will not find at night.

    Raises:
        UsageError: `floradl archive` would refuse these options, or they make no sense at night.
    """
    folder = _absolute(dest)
    words = ["archive", *job_options(flags, environment), folder]
    command, parsed = parser.parse(words)
    del parsed["dest"]
    night = resolve(COMMANDS[command], EVERY_OPTION, parsed, {}, default_config_path())
    from floradl.cli.commands.archive import archive_options  # its imports take long to load

    archive_options(night, folder, Clock())
    job = NightlyJob(
        name=job_name(folder, settings.name),
        command=(*_program(), *words),
        dest=folder,
        at=settings.at,
        random_delay_s=int(settings.random_delay),
        writable=(folder, *_written_folders(night)),
    )
    return job, (*_key_warnings(night), *_secret_warnings(night, environment))


def _key_warnings(night: Settings) -> tuple[str, ...]:
    """Warnings if the job, without the variables of this shell, may find no key."""
    try:
        night.api_key(stdin=str)
    except UsageError as exc:
        return (
            f"At night {exc.message}: what this shell's variables say is not known then.",
            "`floradl login` keeps the key where the job finds it; --api-key-file does as well.",
        )
    if night.key_origin.endswith(KEYRING):
        return (
            f"The key is in {KEYRING}, which can be closed while you are not logged in, and is to cron.",
            "`floradl login --to-file` keeps it where it is found at any time.",
        )
    return ()


def _secret_warnings(night: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """Warnings of secrets other than the key that only this shell's variables hold."""
    for option in COMMANDS["archive"]:
        if not option.is_secret or option.key == "api_key" or getattr(night, option.key):
            continue
        for name in filter(environment.get, option.environment):
            yield f"{name} is not passed on: it is a secret, and would stand in a file."
            yield f"`{option.key} = …` in config.toml is found at night."


def job_options(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    """The options of the job as words of its command; paths are made absolute.

    Raises:
        UsageError: a nightly job must not have this option.
    """
    if flags.get("api_key"):
        raise UsageError(
            "a nightly job must not hold the key: it would stand in a file and in the process list",
            hint="`floradl login` keeps the key where the job finds it; --api-key-file does as well.",
        )
    for option in COMMANDS["archive"]:
        if option.key == "api_key":
            continue
        origin, given = f"--{option.name}", flags.get(option.key)
        if given is None and not option.is_secret:
            origin, given = next(
                ((name, environment[name]) for name in option.environment if environment.get(name)),
                (origin, None),
            )
        if given is not None:
            yield from _words(option, given, origin)


def _words(option: Option, given: object, origin: str) -> Iterator[str]:
    """One option as words; `origin` names the flag or variable in messages."""
    value = option.read(given, origin)
    if option.parse is None:
        if value and option.key == "dry_run":
            raise UsageError(
                "a nightly --dry-run would archive nothing",
                hint="Leave it out. Without --install, schedule only prints.",
            )
        if value:
            yield f"--{option.name}"
        return
    for text in option.texts(given):
        if option.file and text == "-":
            raise UsageError(f"{origin}: at night nobody is there to type", hint="Name a file.")
        yield f"--{option.name}={_absolute(text) if option.file else text}"


def _written_folders(night: Settings) -> Iterator[str]:
    """The folders of files that the job writes, such as its log: the sandbox has to leave them open."""
    for option in COMMANDS["archive"]:
        path = getattr(night, option.key)
        if option.file == "w" and path:
            yield str(Path(_absolute(str(path))).parent)


def _absolute(path: str) -> str:
    """The absolute path. `..` is resolved and links are not: a link may lead elsewhere on a later night."""
    return os.path.abspath(expanded(path))  # noqa: PTH100 - `Path.resolve` would follow links


def _program() -> tuple[str, ...]:
    """The words that run this floradl: the absolute path of the script, or Python and `-m floradl`."""
    script = Path(sys.argv[0])
    if script.stem == "floradl" and script.is_file():
        return (_absolute(sys.argv[0]),)
    return (sys.executable, "-m", "floradl")


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)

"""The table of all options. Flags, variables and config keys are made from it, so that they cannot differ.

`COMMANDS`, at the end, says which command has which options. `config` finds each option's value.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from floradl.cli.values import (
    Choice,
    parse_choice,
    parse_count,
    parse_delay_s,
    parse_duration_s,
    parse_http_url,
    parse_id,
    parse_name,
    parse_sample,
    parse_size,
    parse_switch,
    parse_time,
    parse_timeout_s,
    parse_when,
)
from floradl.constants import (
    DEFAULT_BASE_URL,
    DEFAULT_CONCURRENCY,
    DEFAULT_SOURCES,
    EVERY_SOURCE,
    TYPE_WORDS,
    Source,
    Status,
)
from floradl.errors import UsageError, printable


@dataclass(frozen=True)
class Option:
    """One option of the command line.

    Args:
        name: as in `--concurrency`, `FLORADL_CONCURRENCY` and `concurrency = 8`; with `-` for `_`.
        help: its line in `--help`.
        parse: a reader of `values`; None for a switch, which takes no value.
        default: its value where it is set nowhere.
        short: a one-letter flag, such as `-j`.
        metavar: the name of its value in the help.
        is_list: whether it may be given several times; in variables its values are separated by commas, in
        the
            config file they are a list.
        variables: further environment variables, after `FLORADL_<NAME>`.
        implied: the value of the flag when it is given without one; None where it needs a value.
        file: "r" if its value names a file that is read, "w" a file that is written; else "".
        is_secret: whether only a part of its value may be shown.
        setting: its key in variables and config file where it differs from the flag: `--source` means
        something
            else to each of four commands.
    """

    name: str
    help: str
    parse: Callable[[str], Any] | None = None
    default: Any = None
    short: str | None = None
    metavar: str | None = None
    is_list: bool = False
    variables: tuple[str, ...] = ()
    implied: str | None = None
    file: str = ""
    is_secret: bool = False
    setting: str = ""

    @property
    def key(self) -> str:
        """Its name in the config file and in `Settings`."""
        return self.setting or self.name.replace("-", "_")

    @property
    def environment(self) -> tuple[str, ...]:
        """Its environment variables; the first one that is set counts."""
        return (f"FLORADL_{self.key.upper()}", *self.variables)

    @property
    def value_name(self) -> str:
        """The name of its value in the help."""
        return self.metavar or self.name.rpartition("-")[2].upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that its value may be; empty where it may be anything."""
        return self.parse.words if isinstance(self.parse, Choice) else ()

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Add its flag to a parser. A flag that is not given gets no default, so that other sources count."""
        flags = [self.short] if self.short else []
        flags.append(f"--{self.name}")
        common: dict[str, Any] = {"dest": self.key, "default": argparse.SUPPRESS, "help": self.help}
        if self.parse is None:
            parser.add_argument(*flags, action="store_true", **common)
            return
        common["metavar"] = self.value_name
        if self.implied is not None:
            parser.add_argument(*flags, nargs="?", const=self.implied, **common)
        else:
            parser.add_argument(*flags, action="append" if self.is_list else "store", **common)

    def read(self, value: object, origin: str) -> Any:
        """The value that a flag, a variable or the config file sets.

        Args:
            value: text, or a value of TOML, or a list where the flag was repeated.
            origin: the flag, variable or key, for messages.

        Raises:
            UsageError: it cannot be read.
        """
        if self.parse is None:
            return _fitting(parse_switch, value, origin)
        if isinstance(value, bool) and self.implied is not None:
            return self.parse(self.implied) if value else self.default
        if self.is_list:
            return tuple(_fitting(self.parse, item, origin) for item in _items(value))
        return _fitting(
            self.parse, value[0] if isinstance(value, list) and len(value) == 1 else value, origin
        )

    def texts(self, value: object) -> list[str]:
        """A value as texts, one for each flag that would be needed to set it."""
        return [str(item).strip() for item in (_items(value) if self.is_list else [value])]


def _fitting(parse: Callable[[str], Any], value: object, origin: str) -> Any:
    text = str(value).strip()
    try:
        text.encode()  # raises for bytes that are no text, which an argument may hold
        return parse(text)
    except ValueError as exc:
        raise UsageError(f"{origin}: {printable(text, limit=60)!r} does not fit: {exc}") from exc


def _items(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [item for item in str(value).split(",") if item.strip()]


PROFILE = Option("profile", "take settings from [profile.NAME] of the config file first", str, metavar="NAME")
JSON = Option("json", "print one object on standard output", default=False)
KEY = (
    Option("api-key", "the API key; others on this machine can see it in the process list", str,
           metavar="KEY", variables=("FLORA_API_KEY",), is_secret=True),
    Option("api-key-file", "a file that holds the API key; - reads it from standard input", str, file="r"),
)  # fmt: skip
PLACE = (
    Option("base-url", f"the API (default: {DEFAULT_BASE_URL})", str, DEFAULT_BASE_URL,
           variables=("FLORA_BASE_URL",)),
    PROFILE,
)  # fmt: skip
PATIENCE = (
    Option("timeout", "seconds a connection may stay silent (default: 60)", parse_timeout_s, 60.0,
           metavar="SECONDS"),
    Option("retries", "tries after the first, while nothing arrives (default: 5)", parse_count(0, 100), 5,
           metavar="N"),
)  # fmt: skip
ACCOUNT = (*KEY, *PLACE, *PATIENCE)
OUTPUT = (
    Option("quiet", "print nothing when all goes well", short="-q", default=False),
    Option("verbose", "tell what is being done", short="-v", default=False),
)
REPORTING = (
    JSON,
    Option("no-progress", "show no progress", default=False),
    Option("log-file", "append to PATH what happens, a JSON object a line; a new file every 10 MB", str,
           metavar="PATH", file="w"),
    Option("ping-url", "tell a monitor, such as healthchecks.io, when the job begins and how it ends",
           parse_http_url, metavar="URL", is_secret=True),
    Option("exec-after", "run CMD when the job has ended, with the JSON report on its standard input", str,
           metavar="CMD"),
)  # fmt: skip
SCOPE = (
    Option("workspace-id", "only this workspace; repeatable", parse_id("ws_"), (), is_list=True),
    Option("project-id", "only this project; repeatable", parse_id("prj_"), (), is_list=True),
)
FILTERS = (
    Option("run-id", "only this run; repeatable", parse_id("run_"), (), is_list=True),
    Option("type", f"only outputs of this type: {', '.join(TYPE_WORDS)}; repeatable",
           parse_choice(*TYPE_WORDS), (), is_list=True),
    Option("model", "only runs of models that match, such as 't2i-*'; repeatable", str, (), metavar="GLOB",
           is_list=True),
    Option("since", "only runs created from this date, time or age (7d) on", parse_when,
           metavar="WHEN"),
    Option("until", "only runs created before this date, time or age", parse_when, metavar="WHEN"),
    Option("max-runs", "at most N runs, the newest first", parse_count(1, 10**9), metavar="N"),
)  # fmt: skip
SOURCE = Option("source", f"what to archive: {', '.join(Source)} or {EVERY_SOURCE}; repeatable (default: "
                f"{' and '.join(DEFAULT_SOURCES)})", parse_choice(*Source, EVERY_SOURCE), (),
                is_list=True)  # fmt: skip
LIST_SOURCE = Option("source", f"which list: {', '.join(Source)} (the nodes of the --project-id's canvas); "
                     f"default: {Source.GENERATIONS}", parse_choice(*Source), Source.GENERATIONS,
                     setting="list_source")  # fmt: skip
ARCHIVED_SOURCE = Option(
    "source",
    f"only what came from this: {', '.join(Source)}; repeatable (default: {EVERY_SOURCE})",
    parse_choice(*Source, EVERY_SOURCE),
    (),
    is_list=True,
    setting="restore_source",
)
RUN_OR_ASSET = Option("run-id", "only this run or asset; repeatable", parse_id("run_", "asset_"), (),
                      is_list=True)  # fmt: skip
SCANNED_SOURCE = Option("source", f"how old this is: {', '.join(Source)}; repeatable (default: all that was "
                        "ever scanned)", parse_choice(*Source, EVERY_SOURCE), (), is_list=True,
                        setting="status_source")  # fmt: skip
CONCURRENCY = Option("concurrency", "outputs on their way at the same time, at most; fewer where a "
                     f"host pushes back (default: {DEFAULT_CONCURRENCY})", parse_count(1, 256),
                     DEFAULT_CONCURRENCY, short="-j", metavar="N")  # fmt: skip
LIMIT_RATE = Option("limit-rate", "receive at most SIZE (such as 10M) a second, all together", parse_size, 0,
                    metavar="SIZE")  # fmt: skip
NO_FSYNC = Option("no-fsync", "do not flush files to disk: faster, and a power cut can cost files",
                  default=False)  # fmt: skip
LOCK_TIMEOUT = Option("lock-timeout", "wait this long for another floradl on this archive (default: 0)",
                      parse_duration_s, 0.0, metavar="SECONDS")  # fmt: skip
MIN_FREE = Option("min-free", "stop before less than SIZE (such as 10G) is free on the disk", parse_size, 0,
                  metavar="SIZE")  # fmt: skip
ARCHIVE = (
    CONCURRENCY,
    LIMIT_RATE,
    Option("full", "walk the whole history, not only what is new", default=False),
    Option("wait", "stay for pending and running runs, for a DURATION or until all are done",
           parse_duration_s, implied="52w", metavar="DURATION"),
    Option("dry-run", "say what would be fetched, and touch nothing", short="-n", default=False),
    Option("gallery", "bring index.html, the gallery, up to date afterwards", default=False),
    NO_FSYNC,
    MIN_FREE,
    Option("require-existing", "refuse a DEST without an archive: an unmounted disk?", default=False),
    LOCK_TIMEOUT,
)  # fmt: skip
VERIFY = (
    Option("repair", "fetch what is damaged or missing again, and bring the archive's own files in order",
           default=False),
    Option("sample", "read a part of all files again, such as 1/30: another part every day", parse_sample,
           (1, 1), metavar="K/N"),
    CONCURRENCY,
    LIMIT_RATE,
    LOCK_TIMEOUT,
)  # fmt: skip
RESTORE = (
    Option("flat", "all files into one folder, without records and manifest", default=False),
    Option("reflink", "share blocks with SRC where the file system can, instead of copying", default=False),
    Option("hard-link", "give SRC's files a second name where that is possible", default=False),
    CONCURRENCY,
    LIMIT_RATE,
    NO_FSYNC,
    MIN_FREE,
    LOCK_TIMEOUT,
)
SCHEDULE = (
    Option("at", "the time of day, local (default: 02:30)", parse_time, (2, 30), metavar="HH:MM"),
    Option("random-delay", "begin up to DURATION later, another time than everybody else (default: 30m)",
           parse_delay_s, 1800.0, metavar="DURATION"),
    Option("name", "the job's name (default: made from DEST)", parse_name),
    Option("install", "install the job, in place of printing it; again to change it", default=False),
    Option("remove", "remove the job of DEST, or the one of --name", default=False),
    Option("list", "the jobs that are installed", default=False),
    Option("systemd", "for systemd: a user service and its timer (default on Linux)", default=False),
    Option("launchd", "for launchd: an agent (default on macOS)", default=False),
    Option("task-scheduler", "for Task Scheduler: a task (default on Windows)", default=False),
    Option("cron", "for cron: a line of your crontab", default=False),
)  # fmt: skip
STATUS = (
    Option("max-age", "exit with 3 when the last complete scan is older than AGE, such as 26h",
           parse_duration_s, metavar="AGE"),
    Option("prometheus", "print metrics for node_exporter's textfile collector", default=False),
    LOCK_TIMEOUT,
)  # fmt: skip
PAGE = (
    Option("cursor", "go on at this page, as `meta.next_cursor` named it", str),
    Option("limit", "how many on a page, 1 to 100 (default: 100)", parse_count(1, 100), 100, metavar="N"),
    Option("status", f"only runs that are {', '.join(Status)}", parse_choice(*Status)),
    Option("technique-id", "only runs of this technique", parse_id("tech_")),
    Option("all", "every page, not only one", default=False),
    Option("format", "json (the API's own page), jsonl (a record a line) or table (for people)",
           parse_choice("json", "jsonl", "table")),
    Option("watch", "print it again every SECONDS (5 where none are given) until Ctrl-C", parse_timeout_s,
           implied="5", metavar="SECONDS"),
)  # fmt: skip
ONE_SCOPE = (
    Option("workspace-id", "only this workspace", parse_id("ws_")),
    Option("project-id", "only this project", parse_id("prj_")),
)
TO_FILE = Option("to-file", "keep the key in a file that only you can read, not in the system keyring",
                 default=False)  # fmt: skip

_ARCHIVE_JOB = (*SCOPE, SOURCE, *FILTERS, *ARCHIVE, *ACCOUNT, *OUTPUT, *REPORTING)

COMMANDS: dict[str, tuple[Option, ...]] = {
    "archive": _ARCHIVE_JOB,
    "verify": (*VERIFY, *ACCOUNT, *OUTPUT, *REPORTING),
    "restore": (*SCOPE, ARCHIVED_SOURCE, RUN_OR_ASSET, *FILTERS[1:], *RESTORE, *ACCOUNT, *OUTPUT, *REPORTING),
    "status": (*SCOPE, SCANNED_SOURCE, *STATUS, PROFILE, *OUTPUT, JSON),
    "list": (*ONE_SCOPE, LIST_SOURCE, *PAGE, *ACCOUNT, *OUTPUT),
    "gallery": (NO_FSYNC, LOCK_TIMEOUT, *OUTPUT, *REPORTING),
    "schedule": (*SCHEDULE, *_ARCHIVE_JOB),
    "login": (TO_FILE, *PLACE, *PATIENCE, *OUTPUT),
    "logout": (*PLACE, *OUTPUT),
    "whoami": (JSON, *ACCOUNT, *OUTPUT),
    "config": (JSON, *PLACE, OUTPUT[0]),
    "completion": (),
    "demo": OUTPUT,
}
"""Every command with its options."""


def variants_by_key() -> dict[str, tuple[Option, ...]]:
    """Every key that the config file may have, with all options that have this key."""
    found: dict[str, dict[Option, None]] = {}
    for option in (option for options in COMMANDS.values() for option in options):
        found.setdefault(option.key, {})[option] = None
    return {key: tuple(options) for key, options in found.items()}


EVERY_OPTION = tuple(options[0] for options in variants_by_key().values())

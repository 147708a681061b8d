"""Options: one table from which flags, variables and config keys are made, so that they cannot drift.

A value comes from the first of: the flag; the environment (`FLORADL_<OPTION>`, and the two that FLORA's
own tools use, `FLORA_API_KEY` and `FLORA_BASE_URL`); the config file's `[profile.NAME]`; the config file;
the default. The config file is `config.toml` in the platform's config folder.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs

from floradl.clock import MAX_MS
from floradl.errors import UsageError, printable

DEFAULT_BASE_URL = "https://app.flora.ai/api/v1"

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kKMGT])(iB|B)?|B)?", re.ASCII)
_MAX_VARIABLES = 2
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Option:
    """One option of the command line.

    Args:
        name: as in `--concurrency`, `FLORADL_CONCURRENCY` and `concurrency = 8`; with `-` for `_`.
        help: one line for `--help`.
        parse: reads its text; None for a switch, which takes no value.
        default: what holds when nobody sets it.
        short: a one-letter flag, such as `-j`.
        metavar: what its value is called in the help.
        is_list: whether it may be given several times; a list, or text with commas, elsewhere.
        variables: further environment variables, after `FLORADL_<NAME>`.
        implied: the text that stands for the flag without a value; None where it needs one.
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

    @property
    def key(self) -> str:
        """Its name in the config file and in `Settings`."""
        return self.name.replace("-", "_")

    @property
    def environment(self) -> tuple[str, ...]:
        """Its environment variables, the first that is set counts."""
        return (f"FLORADL_{self.key.upper()}", *self.variables)

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Add its flag to a parser. An absent flag leaves no trace, so that the next source is asked."""
        flags = [self.short] if self.short else []
        flags.append(f"--{self.name}")
        common: dict[str, Any] = {"dest": self.key, "default": argparse.SUPPRESS, "help": self.help}
        if self.parse is None:
            parser.add_argument(*flags, action="store_true", **common)
            return
        common["metavar"] = self.metavar or self.name.rpartition("-")[2].upper()
        if self.implied is not None:
            parser.add_argument(*flags, nargs="?", const=self.implied, **common)
        else:
            parser.add_argument(*flags, action="append" if self.is_list else "store", **common)

    def read(self, value: object, origin: str) -> Any:
        """The value from what a flag, a variable or the config file says.

        Raises:
            UsageError: it does not fit.
        """
        if self.parse is None:
            return _fitting(_switch, value, origin)
        if isinstance(value, bool) and self.implied is not None:
            return self.parse(self.implied) if value else self.default
        if self.is_list:
            return tuple(_fitting(self.parse, item, origin) for item in _items(value))
        return _fitting(
            self.parse, value[0] if isinstance(value, list) and len(value) == 1 else value, origin
        )


class Settings:
    """The options of one call, each from its first source."""

    def __init__(
        self, values: Mapping[str, Any], ranks: Mapping[str, int], key_files: Sequence[Path] = ()
    ) -> None:
        self._values = dict(values)
        self._ranks = dict(ranks)
        self._key_files = list(key_files)

    @property
    def warnings(self) -> list[str]:
        """Files with a key in them that others on this machine can read."""
        return [
            f"others on this machine can read {path}, which holds an API key; `chmod 600` it"
            for path in self._key_files
            if _is_open_to_others(path)
        ]

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def has_api_key(self) -> bool:
        """Whether a key was given, in whatever way."""
        return bool(self._values["api_key"] or self._values["api_key_file"])

    def api_key(self, stdin: Callable[[], str]) -> str:
        """The key: the one given, or the content of the file given, whichever source comes first.

        Raises:
            UsageError: there is none, or its file cannot be read.
        """
        if self._ranks["api_key"] <= self._ranks["api_key_file"] and self._values["api_key"]:
            return str(self._values["api_key"]).strip()
        file = self._values["api_key_file"]
        if not file:
            raise UsageError(
                "there is no API key",
                hint="Set FLORA_API_KEY, or give --api-key-file. FLORA's workspace settings make keys.",
            )
        if file == "-":
            return stdin().strip()
        try:
            path = Path(file).expanduser()
            self._key_files.append(path)
            return path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError, RuntimeError) as exc:  # no file, no text, no path, no such user
            reason = getattr(exc, "strerror", None) or "not text"
            raise UsageError(f"cannot read the key file {printable(file)}: {reason}") from exc


def resolve(
    options: tuple[Option, ...],
    known: tuple[Option, ...],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    config_path: Path,
) -> Settings:
    """Each option's value from its first source.

    Args:
        options: those of the command that was called.
        known: those of every command; any of them may stand in the config file.
        flags: what the parser found.
        environment: the process's.
        config_path: the config file; it may be missing.

    Raises:
        UsageError: a value does not fit, or the config file is wrong.
    """
    profile = flags.get("profile") or environment.get("FLORADL_PROFILE") or None
    config = _load(config_path, known)
    profiles = config.get("profile", {})
    if profile is not None and profile not in profiles:
        raise UsageError(
            f"there is no profile {printable(str(profile))!r} in {config_path}",
            hint=f"There are: {', '.join(profiles) or 'none'}.",
        )
    tables = [
        (profiles[profile] if profile is not None else {}, f"[profile.{profile}]"),
        ({key: value for key, value in config.items() if key != "profile"}, str(config_path)),
    ]
    values, ranks = {}, {}
    for option in options:
        variables = [(environment.get(name) or None, name) for name in option.environment]
        sources = [
            (flags.get(option.key), f"--{option.name}"),
            *variables,
            *[(None, "")] * (_MAX_VARIABLES - len(variables)),  # so that a rank is the same place for all
            *((table.get(option.key), f"{option.key} in {where}") for table, where in tables),
        ]
        ranks[option.key] = len(sources)
        values[option.key] = option.default
        for rank, (value, origin) in enumerate(sources):
            if value is not None:
                values[option.key], ranks[option.key] = option.read(value, origin), rank
                break
    has_key = any("api_key" in table for table in (config, *profiles.values()))
    return Settings(values, ranks, [config_path] if has_key else [])


def default_config_path() -> Path:
    """Where the config file lies on this system."""
    return Path(platformdirs.user_config_dir("floradl", appauthor=False)) / "config.toml"


def _load(path: Path, known: tuple[Option, ...]) -> dict[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    profiles = config.get("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"in {path}, profiles are written as [profile.NAME]")
    names = {option.key for option in known} - {"profile"}
    for table in (config, *profiles.values()):
        for key in table.keys() - names - {"profile"}:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(names))}."
            raise UsageError(f"the config file {path} has an unknown key {printable(key)!r}", hint=hint)
    return config


def parse_count(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of whole numbers within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest} is needed")
        return int(text)

    return parse


def parse_duration_s(text: str) -> float:
    """Seconds from `90`, `45s`, `30m`, `12h`, `7d` or `2w`."""
    match = _AGE.fullmatch(text if text[-1:].isalpha() else f"{text}s")
    if match is None or not math.isfinite(float(match[1])) or float(match[1]) > 1e9:
        raise ValueError("a duration such as 45s, 30m, 12h or 7d is needed")
    return float(match[1]) * _UNIT_S[match[2]]


def parse_size(text: str) -> int:
    """Bytes from `500`, `10M` or `2.5G` (powers of 1000), or with `KiB`, `MiB`, `GiB`, `TiB` (of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("a size such as 500M, 10G or 2GiB is needed")
    power = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] == "iB" else 1000) ** power)


def parse_sample(text: str) -> tuple[int, int]:
    """A fraction such as `1/30`: how many parts, and of how many."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("a fraction such as 1/30 is needed")
    return int(match[1]), int(match[2])


def parse_timeout_s(text: str) -> float:
    """Seconds as `parse_duration_s` reads them, long enough for an answer to arrive at all."""
    seconds = parse_duration_s(text)
    if seconds < 1:
        raise ValueError("a second at least is needed")
    return seconds


def parse_moment_ms(text: str, now_ms: int) -> int:
    """Unix ms from a date, a time (both local unless they say otherwise), or an age such as `7d`."""
    if _AGE.fullmatch(text):
        return now_ms - int(parse_duration_s(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        moment_ms = int(moment.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError("a date (2026-11-23), a time (2026-11-23T02:30) or an age (7d) is needed") from exc
    if not 0 <= moment_ms <= MAX_MS:
        raise ValueError("a moment since 1970 is needed")
    return moment_ms


def parse_id(prefix: str) -> Callable[[str], str]:
    """A reader of ids that begin with `prefix`, as FLORA documents them."""

    def parse(text: str) -> str:
        if not re.fullmatch(rf"{prefix}\S+", text):
            raise ValueError(f"FLORA's ids of this kind look like {prefix}abc123")
        return text

    return parse


def parse_choice(*choices: str) -> Callable[[str], str]:
    """A reader of one of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)} is needed")
        return text

    return parse


def _is_open_to_others(path: Path) -> bool:
    """Whether group or others may read a file. Windows keeps that elsewhere, and most files private."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False


def _fitting(parse: Callable[[str], Any], value: object, origin: str) -> Any:
    text = str(value).strip()
    try:
        text.encode()  # an argument may hold bytes that are no text, which nothing here could send or store
        return parse(text)
    except ValueError as exc:
        raise UsageError(f"{origin}: {printable(text, limit=60)!r} does not fit: {exc}") from exc


def _items(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [item for item in str(value).split(",") if item.strip()]


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false is needed")

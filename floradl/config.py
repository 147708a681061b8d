"""Settings: each option's value, from wherever it was set.

A value comes from the first of: the flag; the environment (`FLORADL_<OPTION>`, and the two that FLORA's
own tools use, `FLORA_API_KEY` and `FLORA_BASE_URL`); the config file's `[profile.NAME]`; the config file;
the default. The config file is `config.toml` in the platform's config folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs

from floradl.clock import MAX_MS
from floradl.errors import UsageError, printable
from floradl.options import Option
from floradl.values import AGE, parse_duration_s

_MAX_VARIABLES = 2


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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    import tomllib  # most who run floradl have no such file, and its reader takes long to start

    try:
        config = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    profiles = config.get("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"in {path}, profiles are written as [profile.NAME]")
    names = {option.key for option in known} - {"profile"}
    for table in (config, *profiles.values()):
        for key in table.keys() - names - {"profile"}:
            import difflib  # only for whoever mistyped

            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(names))}."
            raise UsageError(f"the config file {path} has an unknown key {printable(key)!r}", hint=hint)
    return config


def parse_moment_ms(text: str, now_ms: int) -> int:
    """Unix ms from a date, a time (both local unless they say otherwise), or an age such as `7d`."""
    if AGE.fullmatch(text):
        return now_ms - int(parse_duration_s(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        moment_ms = int(moment.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError("a date (2026-11-23), a time (2026-11-23T02:30) or an age (7d) is needed") from exc
    if not 0 <= moment_ms <= MAX_MS:
        raise ValueError("a moment since 1970 is needed")
    return moment_ms


def _is_open_to_others(path: Path) -> bool:
    """Whether group or others may read a file. Windows keeps that elsewhere, and most files private."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False

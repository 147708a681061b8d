"""`floradl config`: says where the config file is, which value each option has and why, and what is wrong.

`config check` also works on a file that no other command could use. It names every fault, not only the first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from floradl.api.keys import check_key, masked
from floradl.cli.config import (
    Setting,
    Settings,
    Source,
    default_config_path,
    nearest,
    problems_of,
    read_config,
    resolve,
)
from floradl.cli.context import write_line
from floradl.cli.json_output import write_json
from floradl.cli.options import COMMANDS, EVERY_OPTION, variants_by_key
from floradl.cli.ui.console import Console
from floradl.errors import Exit, UsageError, printable
from floradl.network import addresses


def run(action: str, flags: Mapping[str, Any]) -> int:
    """Do what `action` says: `path`, `show` or `check`."""
    if action == "path":
        write_line(os.fsencode(default_config_path()))
        return int(Exit.OK)
    if action == "check":
        return _check(flags)
    return _show(flags)


# --- show -------------------------------------------------------------------------------------------------


def _show(flags: Mapping[str, Any]) -> int:
    path = default_config_path()
    settings = resolve(EVERY_OPTION, EVERY_OPTION, flags, os.environ, path)
    rows = [_row(setting, settings) for setting in sorted(settings, key=lambda each: each.option.key)]
    if settings.json:
        options = {
            key: {"value": value, "source": source, "origin": origin} for key, value, source, origin in rows
        }
        report = {"config_file": str(path), "exists": path.exists(), "profile": settings.profile}
        write_json({**report, "options": options})
        return int(Exit.OK)
    width = max(len(key) for key, *_ in rows)
    shown = [
        (key, printable(_as_text(value), limit=60), source, origin) for key, value, source, origin in rows
    ]
    wide = max(len(value) for _, value, _, _ in shown)
    for key, value, source, origin in shown:
        write_line(f"{key:<{width}}  {value:<{wide}}  {printable(origin or source)}".encode())
    return int(Exit.OK)


def _row(setting: Setting, settings: Settings) -> tuple[str, object, str, str]:
    """An option's key, its value (of a secret only a part), the kind of its source, and the source's name."""
    option, value, source, origin = setting.option, setting.value, setting.source, setting.origin
    if option.key == "api_key" and not value and not settings.api_key_file:
        value, source, origin = _kept_key(settings)
    if option.is_secret and value:
        value = masked(str(value).strip())
    if source == Source.PROFILE:
        origin = f"[profile.{settings.profile}]"
    elif source == Source.CONFIG:
        origin = "config.toml"
    return option.key, value, source, origin


def _kept_key(settings: Settings) -> tuple[str | None, Source, str]:
    """The key that `floradl login` keeps, with its source and origin; None with the reason without one."""
    try:
        kept = settings.kept_key
    except UsageError as exc:
        return None, Source.LOGIN, exc.message
    if kept is None:
        return None, Source.DEFAULT, ""
    return kept.key, Source.LOGIN, settings.key_origin


def _as_text(value: object) -> str:
    """A value as a user would write it."""
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, tuple):  # a list of texts, or a fraction
        return ("," if isinstance(value[0], str) else "/").join(map(str, value))
    return str(value)


# --- check ------------------------------------------------------------------------------------------------


def _check(flags: Mapping[str, Any]) -> int:
    path = default_config_path()
    is_quiet, as_json = _quiet_and_json(flags, path)
    with Console(quiet=is_quiet) as console:
        try:
            config = read_config(path, EVERY_OPTION)
            readers = {
                "base_url": addresses.check_base_url,
                "api_key": lambda key: check_key(str(key).strip()),
            }
            problems = problems_of(config, os.environ, variants_by_key(), readers)
            profiles = list(config.profiles)
        except UsageError as exc:
            problems, profiles = [exc], []
        if as_json:
            listed = [{"problem": problem.message, "hint": problem.hint} for problem in problems]
            write_json({"config_file": str(path), "profiles": profiles, "problems": listed})
        else:
            for problem in problems:
                console.error(problem)
        for warning in _unknown_variables():
            console.warn(warning)
        if problems:
            return int(Exit.USAGE)
        named = f" Profiles: {', '.join(map(printable, profiles))}." if profiles else ""
        state = "is fine" if path.exists() else "does not exist, and need not"
        console.say(f"{path} {state}.{named}")
        return int(Exit.OK)


def _quiet_and_json(flags: Mapping[str, Any], path: Path) -> tuple[bool, bool]:
    """Whether `--quiet` and `--json` are set; where the config file is wrong, only the flags count."""
    try:
        settings = resolve(COMMANDS["config"], EVERY_OPTION, flags, os.environ, path)
    except UsageError:
        return bool(flags.get("quiet")), bool(flags.get("json"))
    return settings.quiet, settings.json


def _unknown_variables() -> list[str]:
    """Warnings of variables that look like floradl's and set no option: other programs may use such names."""
    known = {name.removeprefix("FLORADL_") for option in EVERY_OPTION for name in option.environment}
    found = {name.removeprefix("FLORADL_") for name in os.environ if name.startswith("FLORADL_")}
    warnings = []
    for name in sorted(found - known):
        near = nearest(name, known)
        hint = f" Did you mean FLORADL_{near}?" if near else ""
        warnings.append(f"The variable FLORADL_{printable(name)} sets no option.{hint}")
    return warnings

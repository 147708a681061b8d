"""`floradl login`: keeps an API key, after the API has accepted it.

The key is read without being shown, checked for its form, and sent to the API; only then is it kept. A key
that is refused, or that could not be checked, changes nothing. It cannot be given on the command line, where
other users of the machine could see it.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
import shlex
import sys

from floradl.api.client import FloraApi
from floradl.api.keys import check_key
from floradl.api.models import Workspace
from floradl.cli.commands.whoami import workspace_lines
from floradl.cli.config import Settings, default_config_path, read_config, resolve
from floradl.cli.keystore import KeyStore, Place
from floradl.cli.options import EVERY_OPTION, KEY
from floradl.cli.private import make_private_folder
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.errors import DestinationError, Exit, UsageError, printable
from floradl.network import addresses

_MAX_INPUT = 10_000
"""Longer than any key. A large file that is piped in by mistake is not read into memory."""


def run(settings: Settings) -> int:
    """Ask for a key, check it, and keep it for the profile and the API that the settings name."""
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        base_url = addresses.check_base_url(settings.base_url)
        profile = settings.profile
        if profile is not None and not profile.isprintable():
            raise UsageError(f"{printable(profile)!r} cannot be the name of a profile")
        key = check_key(_read_key())
        api = FloraApi(base_url, key, clock=Clock(), retries=settings.retries, timeout_s=settings.timeout)
        workspaces = asyncio.run(_check(api))
        if profile is not None:
            _add_profile(profile, console)
        kept = KeyStore().keep(Place(base_url, profile), key, to_file=settings.to_file)
        where = kept.where if kept.path is None else f"{kept.where}, which only you can read"
        console.say(f"The key works, and is kept in {where}.")
        for line in workspace_lines(workspaces):
            console.say(f"  {line}")
        _warn_of_others(settings, console)
        if kept.path is None:
            console.say("Jobs that run while nobody is logged in may find it locked; for them use --to-file.")
        chosen = f" --profile {shlex.quote(profile)}" if profile else ""
        console.say(f"Next: floradl{chosen} ./out")
        return int(Exit.OK)


def _read_key() -> str:
    """The key: typed in without being shown, or read from standard input where that is no terminal."""
    if sys.stdin.isatty():
        try:
            return getpass.getpass("API key of FLORA (it is not shown): ").strip()
        except EOFError:
            text = ""
    else:
        text = sys.stdin.read(_MAX_INPUT).strip()
    if not text:
        hint = (
            "Type it in when asked, or pipe it: floradl login < file. FLORA's workspace settings make keys."
        )
        raise UsageError("no key was given", hint=hint)
    return text


async def _check(api: FloraApi) -> tuple[Workspace, ...]:
    async with api:
        return await api.workspaces()


def _add_profile(profile: str, console: Console) -> None:
    """Add a table for the profile to the config file, if it has none, so that `--profile` may name it.

    The empty table is appended. The rest of the file, with the user's comments, is not written again.
    """
    path = default_config_path()
    if profile in read_config(path, EVERY_OPTION).profiles:
        return
    name = profile if re.fullmatch(r"[A-Za-z0-9_-]+", profile) else json.dumps(profile, ensure_ascii=False)
    try:
        make_private_folder(path.parent)
        is_begun = path.exists() and path.stat().st_size > 0
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{chr(10) * 2 if is_begun else ''}[profile.{name}]\n")
    except OSError as exc:
        hint = f"Write [profile.{name}] into it yourself, and run the same command again."
        raise DestinationError(f"cannot add a profile to {path}: {exc.strerror}", hint=hint) from exc
    console.say(f"[profile.{name}] is added to {path}.")


def _warn_of_others(settings: Settings, console: Console) -> None:
    """Warn of a key that is set elsewhere: it has priority, so the key just kept would not be used."""
    flags = {"profile": settings.profile}
    for setting in resolve(KEY, EVERY_OPTION, flags, os.environ, default_config_path()):
        if setting.value:
            console.warn(f"But {setting.origin} is set, and counts before the kept key.")

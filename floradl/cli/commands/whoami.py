"""`floradl whoami`: says which key is in use, and which workspaces it sees in which role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from floradl.api.client import FloraApi
from floradl.api.models import Workspace
from floradl.cli.config import Settings
from floradl.cli.context import open_api, write_line
from floradl.cli.json_output import write_json
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.errors import Exit, printable


def run(settings: Settings) -> int:
    """Ask the API for the workspaces of the key in use."""
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        api = open_api(settings, Clock(), console.warn)
        workspaces = asyncio.run(_ask(api))
        if settings.json:
            report = {
                "base_url": settings.base_url,
                "profile": settings.profile,
                "key": {"shown": api.shown_key, "origin": settings.key_origin},
                "workspaces": workspaces,
            }
            write_json(report)
            return int(Exit.OK)
        console.say(f"The key {api.shown_key} from {settings.key_origin}, at {settings.base_url}:")
        for line in workspace_lines(workspaces):
            write_line(line.encode())
        if not workspaces:
            console.say("It sees no workspace.")
        return int(Exit.OK)


async def _ask(api: FloraApi) -> tuple[Workspace, ...]:
    async with api:
        return await api.workspaces()


def workspace_lines(workspaces: Iterable[Workspace]) -> list[str]:
    """A line for each workspace: its id, the key's role in it, its name."""
    rows = [
        (
            printable(each.workspace_id, limit=60),
            printable(each.role or "", limit=20),
            printable(each.name or ""),
        )
        for each in workspaces
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]

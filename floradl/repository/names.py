"""Names of projects and workspaces: the API's records of them, kept beside what is archived of them.

They lie in `project.json` in a project's folder and `workspace.json` in a workspace's, in the form of
`chronicle`: the newest record, and what it said before. They are for people: no job depends on them, so one
that cannot be had, or cannot be read, is a name that is not shown. Names come from outside; whoever shows one
makes it printable.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from floradl.repository import layout
from floradl.repository.history import History, read_history
from floradl.storage.aside import obstacle
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A project within its workspace, by ids as the API gave them."""

    workspace_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class PlaceName:
    """What a place is called; "" where that is not known. Not printable yet."""

    workspace: str = ""
    project: str = ""


def read_names(disk: Destination, places: Iterable[Place]) -> Mapping[Place, PlaceName]:
    """What some places are called, as far as the archive knows. Blocks."""
    workspaces: dict[str, str] = {}
    found = {}
    for place in places:
        if place.workspace_id not in workspaces:
            path = layout.workspace_record(place.workspace_id)
            workspaces[place.workspace_id] = _name_in(disk, path)
        path = layout.project_record(*place)
        found[place] = PlaceName(workspaces[place.workspace_id], _name_in(disk, path))
    return found


def copy_names(source: Destination, target: Destination, places: Iterable[Place]) -> None:
    """Bring the records of some places into another archive where it has runs of them; none is replaced.

    Blocks.
    """
    for place in archived(target, places):
        records = (layout.project_record(*place), layout.workspace_record(place.workspace_id))
        for path in records:
            raw = read_record(source, path)
            if raw is not None and not target.exists(path):
                target.write_atomic(path, [raw])


def unnamed(disk: Destination, places: Iterable[Place]) -> set[Place]:
    """Those of some places that are archived and whose project has no record yet. Blocks."""
    return {place for place in archived(disk, places) if not disk.exists(layout.project_record(*place))}


def archived(disk: Destination, places: Iterable[Place]) -> set[Place]:
    """Those of some places that have ids and a folder in the archive, no link to one. Blocks."""
    folders = {place: layout.project_record(*place).parent for place in places if all(place)}
    return {
        place for place, folder in folders.items() if disk.exists(folder) and obstacle(disk, folder) is None
    }


def seen_by(disk: Destination, workspace_ids: Iterable[str], account: str) -> set[str]:
    """Those of some workspaces that this account (`FloraApi.account`) is known to have seen. Blocks."""
    return {
        workspace_id
        for workspace_id in workspace_ids
        if account in _history_in(disk, layout.workspace_record(workspace_id)).seen_by
    }


def _name_in(disk: Destination, path: PurePosixPath) -> str:
    return _history_in(disk, path).text("name")


def _history_in(disk: Destination, path: PurePosixPath) -> History:
    """What a file says; nothing where it cannot be read."""
    raw = read_record(disk, path)
    return (None if raw is None else read_history(raw)) or History({})


def read_record(disk: Destination, path: PurePosixPath) -> bytes | None:
    """A record's bytes; None where there is none that can be read."""
    try:
        return disk.read(path)
    except OSError as exc:
        log.info("%s cannot be read: %s", path, exc.strerror)
        return None

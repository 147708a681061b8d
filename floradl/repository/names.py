"""Names of projects and workspaces, read from the API's records of them in the archive.

The records lie in `project.json` in a project's folder and `workspace.json` in a workspace's folder, each
with what it said before (`history`). They are for people, and no job depends on them: when a record is
missing or cannot be read, no name is shown. Names come from outside, so whoever shows one has to make it
printable first.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from floradl.api.models import Scope
from floradl.api.unknown_ids import unknown_error
from floradl.repository import layout
from floradl.repository.history import History, read_history
from floradl.repository.manifest import Manifest
from floradl.storage.aside import obstacle
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A project within its workspace, by ids as the API gave them."""

    workspace_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class PlaceName:
    """The names of a workspace and a project; "" for a name that is not known. Not made printable."""

    workspace: str = ""
    project: str = ""


def read_names(disk: Destination, places: Iterable[Place]) -> Mapping[Place, PlaceName]:
    """The names of some projects and their workspaces, as far as the archive has them. Blocks."""
    workspaces: dict[str, str] = {}
    found = {}
    for place in places:
        if place.workspace_id not in workspaces:
            path = layout.workspace_record(place.workspace_id)
            workspaces[place.workspace_id] = _name_in(disk, path)
        path = layout.project_record(*place)
        found[place] = PlaceName(workspaces[place.workspace_id], _name_in(disk, path))
    return found


def require_places(disk: Destination, manifest: Manifest, scopes: Collection[Scope]) -> None:
    """Refuse a project or workspace of which the archive has nothing: its id may be misspelt. Blocks.

    Args:
        disk: the archive, for the names that the message shows.
        manifest: its state.
        scopes: what the user named. A place that was scanned counts, though it may be empty.

    Raises:
        UsageError: it names the id, and those that are most like it.
    """
    if all(scope.is_everything for scope in scopes):
        return
    places = {Place(run.workspace_id, run.project_id) for _, run in manifest.iter_counted()}
    scanned = {(scan.scope.workspace_id, scan.scope.project_id) for scan in manifest.scans()}
    projects = {place.project_id for place in places} | {project_id for _, project_id in scanned}
    workspaces = {place.workspace_id for place in places} | {workspace_id for workspace_id, _ in scanned}
    for scope in scopes:
        if scope.project_id is not None and scope.project_id not in projects:
            names = read_names(disk, places)
            known = {place.project_id: name.project for place, name in names.items()}
            raise unknown_error("nothing in this archive is of a project {}", scope.project_id, known)
        if scope.project_id is None and scope.workspace_id not in {None, *workspaces}:
            names = read_names(disk, places)
            known = {place.workspace_id: name.workspace for place, name in names.items()}
            raise unknown_error(
                "nothing in this archive is of a workspace {}", scope.workspace_id or "", known
            )


def copy_names(source: Destination, target: Destination, places: Iterable[Place]) -> None:
    """Copy the records of some projects and their workspaces to another archive. Blocks.

    Only records of projects that have a folder there are copied, and none is replaced.
    """
    for place in archived(target, places):
        records = (layout.project_record(*place), layout.workspace_record(place.workspace_id))
        for path in records:
            raw = read_record(source, path)
            if raw is not None and not target.exists(path):
                target.write_atomic(path, [raw])


def unnamed(disk: Destination, places: Iterable[Place]) -> set[Place]:
    """The projects, out of some, that have a folder in the archive and no record in it yet. Blocks."""
    return {place for place in archived(disk, places) if not disk.exists(layout.project_record(*place))}


def archived(disk: Destination, places: Iterable[Place]) -> set[Place]:
    """The projects, out of some, that have a folder in the archive. Blocks.

    Left out are those without an id, and those with a link on the way to their folder.
    """
    folders = {place: layout.project_record(*place).parent for place in places if all(place)}
    return {
        place for place, folder in folders.items() if disk.exists(folder) and obstacle(disk, folder) is None
    }


def seen_by(disk: Destination, workspace_ids: Iterable[str], account: str) -> set[str]:
    """The workspaces, out of some, that an account (`FloraApi.account`) is known to have seen. Blocks."""
    return {
        workspace_id
        for workspace_id in workspace_ids
        if account in _history_in(disk, layout.workspace_record(workspace_id)).seen_by
    }


def _name_in(disk: Destination, path: PurePosixPath) -> str:
    return _history_in(disk, path).text("name")


def _history_in(disk: Destination, path: PurePosixPath) -> History:
    """What a record's file says; an empty history when it cannot be read."""
    raw = read_record(disk, path)
    return (None if raw is None else read_history(raw)) or History({})


def read_record(disk: Destination, path: PurePosixPath) -> bytes | None:
    """A record's bytes; None when it is missing or cannot be read, which is logged."""
    try:
        return disk.read(path)
    except OSError as exc:
        log.info("%s cannot be read: %s", path, exc.strerror)
        return None

"""Names of projects and workspaces: the API's records of them, kept beside what is archived of them.

They lie in `project.json` in a project's folder and `workspace.json` in a workspace's, byte for byte as the
API gave them. They are for people: no job depends on them, so one that cannot be had, or cannot be read, is
a name that is not shown. Names come from outside; whoever shows one makes it printable.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from floradl import layout
from floradl.errors import ApiAnswerError, ApiError, printable
from floradl.files import Disk
from floradl.model import items_verbatim, replace_half_pairs

if TYPE_CHECKING:  # who only reads names needs no HTTP
    from floradl.api import FloraApi

_MAX_PAGES = 50
_PAGE_LIMIT = "100"
_UNAUTHORIZED = 401
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

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


@dataclass(frozen=True, slots=True)
class _Record:
    identifier: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Records:
    items: tuple[_Record, ...]
    next_cursor: str | None = None


def read_names(disk: Disk, places: Iterable[Place]) -> Mapping[Place, PlaceName]:
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


def copy_names(source: Disk, target: Disk, places: Iterable[Place]) -> None:
    """Bring the records of some places into another archive where it has runs of them; none is replaced.

    Blocks.
    """
    for place in archived(target, places):
        records = (layout.project_record(*place), layout.workspace_record(place.workspace_id))
        for path in records:
            raw = _read(source, path)
            if raw is not None and not target.exists(path):
                target.write_atomic(path, [raw])


def unnamed(disk: Disk, places: Iterable[Place]) -> set[Place]:
    """Those of some places that are archived and whose project has no record yet. Blocks."""
    return {place for place in archived(disk, places) if not disk.exists(layout.project_record(*place))}


def archived(disk: Disk, places: Iterable[Place]) -> set[Place]:
    """Those of some places that have ids and a folder in the archive, no link to one. Blocks."""
    folders = {place: layout.project_record(*place).parent for place in places if all(place)}
    return {
        place for place, folder in folders.items() if disk.exists(folder) and disk.obstacle(folder) is None
    }


async def keep_names(api: FloraApi, disk: Disk, places: Iterable[Place]) -> None:
    """Ask for the records of some archived projects and their workspaces, and write those that say more.

    One request for all workspaces, and for each workspace one for a single project, or the pages of its
    projects. What the API refuses is left as it is.

    Raises:
        DestinationError: the disk does not take them.
    """
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for workspace_id, project_id in places:
        wanted[workspace_id].add(project_id)
    try:
        for record in await _try(_workspaces(api), "the workspaces' names") if wanted else ():
            if record.identifier in wanted:
                await disk.call(_keep, disk, layout.workspace_record(record.identifier), record.raw)
        for workspace_id, project_ids in wanted.items():
            what = f"the projects' names of {printable(workspace_id, limit=80)}"
            for record in await _try(_projects(api, workspace_id, project_ids), what):
                if record.identifier in project_ids:
                    path = layout.project_record(workspace_id, record.identifier)
                    await disk.call(_keep, disk, path, record.raw)
    except ApiError:
        return  # it does not answer, or not this key: said already, and asking on would say the same


async def _try(asking: Awaitable[list[_Record]], what: str) -> list[_Record]:
    """The records, or none where the API refuses just these."""
    try:
        return await asking
    except ApiError as exc:
        log.info("%s could not be had: %s", what, exc.message)
        if exc.is_retryable or exc.status == _UNAUTHORIZED:
            raise
        return []


async def _workspaces(api: FloraApi) -> list[_Record]:
    records = await api.ask("workspaces", {}, lambda body: _parse_list(body, "workspaces", "workspace_id"))
    return list(records.items)


async def _projects(api: FloraApi, workspace_id: str, project_ids: set[str]) -> list[_Record]:
    """The records of these projects, and perhaps of others."""
    if len(project_ids) == 1:
        (project_id,) = project_ids
        return [await _project(api, project_id)]
    found: list[_Record] = []
    params = {"workspace_id": workspace_id, "limit": _PAGE_LIMIT}
    for _ in range(_MAX_PAGES):
        page = await api.ask("projects", params, lambda body: _parse_list(body, "projects", "project_id"))
        found.extend(page.items)
        if page.next_cursor is None or project_ids <= {record.identifier for record in found}:
            break
        params["cursor"] = page.next_cursor
    return found


async def _project(api: FloraApi, project_id: str) -> _Record:
    if project_id in (".", ".."):
        raise ApiAnswerError("no project can have this id")
    return await api.ask(f"projects/{quote(project_id, safe='', errors='surrogatepass')}", {}, _parse_project)


def _parse_project(body: bytes) -> _Record:
    """The answer of `GET /projects/{project_id}`: a record, or one below `project`."""
    readable = replace_half_pairs(body)
    fields = _fields(body, readable)
    if "project_id" in fields or "project" not in fields:
        return _record(body.strip(), "project_id")
    (raw,) = items_verbatim(body, readable, [fields["project"]])
    return _record(raw, "project_id")


def _parse_list(body: bytes, field: str, key: str) -> _Records:
    """The records below `field`; those without an id are left out."""
    readable = replace_half_pairs(body)
    fields = _fields(body, readable)
    try:
        items = msgspec.json.decode(fields[field], type=list[msgspec.Raw])
        meta = msgspec.json.decode(fields.get("meta", b"null"))
    except (*_NOT_READABLE, KeyError) as exc:
        raise ApiAnswerError(f"the API's answer has no {field}") from exc
    records = []
    for raw in items_verbatim(body, readable, items):
        try:
            records.append(_record(raw, key))
        except ApiAnswerError as exc:
            log.info("%s", exc.message)
    cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
    return _Records(tuple(records), cursor if isinstance(cursor, str) and cursor else None)


def _record(raw: bytes, key: str) -> _Record:
    identifier = _text(raw, key)
    if not identifier:
        raise ApiAnswerError(f"a record has no {key}")
    return _Record(identifier, raw)


def _fields(body: bytes, readable: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(readable, type=dict[str, msgspec.Raw])
    except _NOT_READABLE as exc:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "no JSON object"
        raise ApiAnswerError(f"the API's answer is {kind}") from exc


def _text(raw: bytes, key: str) -> str:
    """A text of a record; "" where there is none."""
    try:
        value = msgspec.json.decode(replace_half_pairs(raw), type=dict[str, object]).get(key)
    except _NOT_READABLE:
        return ""
    return value if isinstance(value, str) else ""


def _name_in(disk: Disk, path: PurePosixPath) -> str:
    raw = _read(disk, path)
    return "" if raw is None else _text(raw, "name")


def _read(disk: Disk, path: PurePosixPath) -> bytes | None:
    """A record's bytes; None where there is none that can be read."""
    try:
        return disk.read(path)
    except OSError as exc:
        log.info("%s cannot be read: %s", path, exc.strerror)
        return None


def _keep(disk: Disk, path: PurePosixPath, raw: bytes) -> None:
    """Write a record if it says something new; what else stands in its place is left alone."""
    is_ours = disk.is_file(path) or not disk.exists(path)
    if is_ours and _read(disk, path) != raw:
        disk.write_atomic(path, [raw])

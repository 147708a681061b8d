"""Keeps the records of workspaces and projects, with their names, up to date in the archive.

Names are for people to read. So an error of the API is no failure here: what was known once stays, and the
next session that has a reason to ask does so. A file that floradl did not write, or that it cannot read, is
not replaced.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from floradl.api.projects import Discovery, Record, ask_project, ask_projects, ask_workspaces, is_final
from floradl.clock import Clock
from floradl.errors import ApiError, printable
from floradl.repository import layout
from floradl.repository.history import history_bytes, read_history, with_record
from floradl.repository.names import Place, read_record
from floradl.storage.destination import Destination

if TYPE_CHECKING:
    from floradl.api.client import FloraApi


_MAX_PAGES = 50
"""How many pages of a workspace's projects are read at most, for names alone."""

log = logging.getLogger(__name__)


async def keep_names(
    api: FloraApi,
    disk: Destination,
    places: Iterable[Place],
    *,
    clock: Clock | None = None,
    discovery: Discovery | None = None,
    account: str = "",
) -> None:
    """Ask for the records of some archived projects and of their workspaces, and write what is new in them.

    It takes one request for all workspaces; then for each workspace either one request for a single project,
    or the pages of its list of projects.

    Args:
        api: an open session with the API.
        disk: the archive.
        places: the projects.
        clock: for the dates of changes; None: the real one.
        discovery: what this session's discovery of projects brought; nothing in it is asked for again.
        account: who sees the workspaces (`FloraApi.account`); their records keep it, for `seen_by`. "": they
            do not.

    Raises:
        DestinationError: the disk does not take them.
    """
    keeper = _Keeper(api, disk, clock or Clock(), discovery, account)
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for workspace_id, project_id in places:
        wanted[workspace_id].add(project_id)
    try:
        if wanted:
            await keeper.keep_workspaces(wanted)
        for workspace_id, project_ids in wanted.items():
            await keeper.keep_projects(workspace_id, project_ids)
    except ApiError:
        return  # no answer, or an invalid key: every other request would end the same; it is logged already


class _Keeper:
    """The state of one `keep_names`."""

    def __init__(
        self, api: FloraApi, disk: Destination, clock: Clock, discovery: Discovery | None, account: str
    ) -> None:
        self._api = api
        self._disk = disk
        self._clock = clock
        self._discovery = discovery
        self._account = account

    async def keep_workspaces(self, workspace_ids: Collection[str]) -> None:
        """Keep the records of some workspaces."""
        for record in await self._workspaces():
            if record.identifier in workspace_ids:
                path = layout.workspace_record(record.identifier)
                await self._keep(path, record, "workspace_id", self._account)

    async def keep_projects(self, workspace_id: str, project_ids: set[str]) -> None:
        """Keep the records of some projects of a workspace."""
        for record in await self._projects(workspace_id, project_ids):
            if record.identifier in project_ids:
                path = layout.project_record(workspace_id, record.identifier)
                await self._keep(path, record, "project_id")

    async def _workspaces(self) -> Iterable[Record]:
        """The records of all workspaces that the key sees; none where they could not be had."""
        if self._discovery is not None and self._discovery.workspaces is not None:
            return [Record(*item) for item in self._discovery.workspaces.items()]
        if self._discovery is not None and self._discovery.has_asked_workspaces:
            return []
        try:
            return (await ask_workspaces(self._api)).items
        except ApiError as exc:
            _ignore_unless_final(exc, "the workspaces' names")
            return []

    async def _projects(self, workspace_id: str, project_ids: set[str]) -> Iterable[Record]:
        """The records of these projects as far as they can be had, and perhaps of others."""
        known, left = [], set(project_ids)
        if self._discovery is not None:
            projects = self._discovery.projects
            known = [Record(key, projects[key].raw) for key in sorted(left & projects.keys())]
            left = {key for key in left if not self._discovery.has_asked(workspace_id, key)}
        try:
            if len(left) == 1:
                known.append(await ask_project(self._api, *left))
            elif left:
                asking = ask_projects(self._api, workspace_id, max_pages=_MAX_PAGES, wanted=left)
                known.extend((await asking).items)
        except ApiError as exc:
            _ignore_unless_final(exc, f"the projects' names of {printable(workspace_id, limit=80)}")
        return known

    async def _keep(self, path: PurePosixPath, record: Record, key: str, account: str = "") -> None:
        now_ms = self._clock.now_ms()
        await self._disk.call(_keep, self._disk, path, record, key, now_ms=now_ms, account=account)


def unseen(
    discovery: Discovery, places: Iterable[Place], known_workspaces: Collection[str] = ()
) -> list[Place]:
    """The archived projects that the key does not see any more.

    Only a list that is whole can tell that a project is gone: the list of its workspace's projects, or, where
    the workspace itself is gone, the list of all workspaces. The latter tells it only of `known_workspaces`:
    an archive may hold the workspaces of several keys, and this key never saw those of the others.

    Args:
        discovery: what the key sees today.
        places: the archived projects, of the scopes that were asked for.
        known_workspaces: workspaces that this key saw once (`seen_by`).
    """
    gone = set(known_workspaces) - (discovery.workspaces or {}).keys() - discovery.asked
    if not discovery.has_all_workspaces:
        gone = set()
    return sorted(
        place
        for place in set(places)
        if all(place)
        and place.project_id not in discovery.projects
        and (place.workspace_id in discovery.complete or place.workspace_id in gone)
    )


def _ignore_unless_final(error: ApiError, what: str) -> None:
    """Log an error, and raise it if every other request would end the same."""
    log.info("%s could not be had: %s", what, error.message)
    if is_final(error):
        raise error


def _keep(
    disk: Destination, path: PurePosixPath, record: Record, key: str, *, now_ms: int, account: str
) -> None:
    """Write a record if it says something new. Blocks.

    Args:
        disk: the archive.
        path: where the record is kept.
        record: as the API has it today.
        key: the field of its id; a file with another id is not replaced, nor one that cannot be read.
        now_ms: the date of a change, in ms since 1970.
        account: who sees it; "": that is not kept.
    """
    known = None
    if disk.exists(path):
        raw = read_record(disk, path) if disk.is_file(path) else None
        known = None if raw is None else read_history(raw)
        if known is None or known.text(key) != record.identifier:
            log.info("%s is none of ours, or broken, and is left alone", path)
            return
    news = with_record(known, record.raw, now_ms, account=account)
    if news is not None:
        disk.write_atomic(path, [history_bytes(news)])

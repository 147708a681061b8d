"""The records of workspaces and projects, brought up to date."""

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
log = logging.getLogger(__name__)


async def keep_names(
    api: FloraApi,
    disk: Destination,
    places: Iterable[Place],
    *,
    clock: Clock | None = None,
    found: Discovery | None = None,
    account: str = "",
) -> None:
    """Have the records of some archived projects and their workspaces, and write those that say more.

    One request for all workspaces, and for each workspace one for a single project, or the pages of its
    projects. What the API refuses is left as it is.

    Args:
        api: an open session.
        disk: the archive.
        places: which projects.
        clock: for the dates of changes; None: the real one.
        found: what a discovery of this session has; nothing that it asked for is asked again.
        account: who sees the workspaces (`FloraApi.account`), for `seen_by`; "": that is not noted.

    Raises:
        DestinationError: the disk does not take them.
    """
    keeper = _Keeper(api, disk, clock or Clock(), found, account)
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for workspace_id, project_id in places:
        wanted[workspace_id].add(project_id)
    try:
        if wanted:
            await keeper.keep_workspaces(wanted)
        for workspace_id, project_ids in wanted.items():
            await keeper.keep_projects(workspace_id, project_ids)
    except ApiError:
        return  # it does not answer, or not this key: said already, and asking on would say the same


class _Keeper:
    """The state of one `keep_names`."""

    def __init__(
        self, api: FloraApi, disk: Destination, clock: Clock, found: Discovery | None, account: str
    ) -> None:
        self._api = api
        self._disk = disk
        self._clock = clock
        self._found = found
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
        if self._found is not None and self._found.workspaces is not None:
            return [Record(*item) for item in self._found.workspaces.items()]
        if self._found is not None and self._found.has_asked_workspaces:
            return []
        try:
            return (await ask_workspaces(self._api)).items
        except ApiError as exc:
            _pass_over(exc, "the workspaces' names")
            return []

    async def _projects(self, workspace_id: str, project_ids: set[str]) -> Iterable[Record]:
        """The records of these projects, and perhaps of others."""
        known, left = [], set(project_ids)
        if self._found is not None:
            projects = self._found.projects
            known = [Record(key, projects[key].raw) for key in sorted(left & projects.keys())]
            left = {key for key in left if not self._found.has_asked(workspace_id, key)}
        try:
            if len(left) == 1:
                known.append(await ask_project(self._api, *left))
            elif left:
                asking = ask_projects(self._api, workspace_id, max_pages=_MAX_PAGES, wanted=left)
                known.extend((await asking).items)
        except ApiError as exc:
            _pass_over(exc, f"the projects' names of {printable(workspace_id, limit=80)}")
        return known

    async def _keep(self, path: PurePosixPath, record: Record, key: str, account: str = "") -> None:
        now_ms = self._clock.now_ms()
        await self._disk.call(_keep, self._disk, path, record, key, now_ms=now_ms, account=account)


def unseen(found: Discovery, places: Iterable[Place], known_workspaces: Collection[str] = ()) -> list[Place]:
    """Archived projects that the key does not see any more.

    Only what a whole list does not have is not seen: that of the project's workspace, or that of all
    workspaces where it does not have the workspace. The latter counts for `known_workspaces` alone, which the
    key saw once (`seen_by`), since an archive may hold the workspaces of several keys.

    Args:
        found: what the key sees.
        places: what is archived, of the scopes that were asked for.
        known_workspaces: workspaces that this key has seen.
    """
    gone = set(known_workspaces) - (found.workspaces or {}).keys() - found.asked
    if not found.has_all_workspaces:
        gone = set()
    return sorted(
        place
        for place in set(places)
        if all(place)
        and place.project_id not in found.projects
        and (place.workspace_id in found.complete or place.workspace_id in gone)
    )


def _pass_over(error: ApiError, what: str) -> None:
    """Leave it at that, unless whatever else is asked would end the same."""
    log.info("%s could not be had: %s", what, error.message)
    if is_final(error):
        raise error


def _keep(
    disk: Destination, path: PurePosixPath, record: Record, key: str, *, now_ms: int, account: str
) -> None:
    """Write a record if it says something new; what else stands in its place is left alone."""
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

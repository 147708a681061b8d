"""What is around the runs of an archive: which projects there are, their canvases, what they are called.

All of it comes after the runs are recorded. Names are for people, so no answer about them fails a job.
Canvases are archived, so what keeps one from being looked at is told like anything that could not be listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from floradl.api.client import FloraApi
from floradl.api.models import Scope
from floradl.api.projects import Discovery, discover
from floradl.archiver.canvases import keep_canvases
from floradl.archiver.names import keep_names, unseen
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import ScanResults
from floradl.archiver.scan import full_walk_is_due
from floradl.clock import format_ms
from floradl.constants import Kind, Source
from floradl.download.context import Context
from floradl.download.tally import Tally
from floradl.errors import ApiError, printable
from floradl.repository.entries import ScanEntry, ScanOp, ScopeEntry
from floradl.repository.names import Place, PlaceName, archived, read_names, seen_by, unnamed
from floradl.repository.repository import Repository

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Seen:
    """What a session saw around its runs.

    Attributes:
        names: what places with new runs, and those not visible any more, are called.
        unseen: archived projects that the key does not see any more.
    """

    names: Mapping[Place, PlaceName]
    unseen: tuple[Place, ...] = ()

    def name_of(self, place: Place) -> str:
        """What a project is called; "" where that is not known."""
        return self.names.get(place, PlaceName()).project


class AroundRuns:
    """Keeps canvases and names at the end of a session.

    Args:
        options: what is archived.
        api: an open session.
        repository: the manifest, open.
        context: the archive's disk, and time.
        tally: kept up to date.
        found: what the scans found; what canvases bring, and refuse, is added.
    """

    def __init__(
        self,
        options: ArchiveOptions,
        api: FloraApi,
        repository: Repository,
        context: Context,
        tally: Tally,
        found: ScanResults,
    ) -> None:
        self._options = options
        self._api = api
        self._repository = repository
        self._disk = context.disk
        self._clock = context.clock
        self._tally = tally
        self._found = found
        self._account = api.account(repository.manifest.archive_id)

    async def keep(self) -> Seen:
        """Look for projects where that is due, keep their canvases if these are wanted, and all names.

        Raises:
            DestinationError: the disk does not take it.
        """
        wants_canvases = Source.CANVAS in self._options.sources
        discovery = None
        if wants_canvases or (self._found.has_walked_all and not self._options.filters.run_ids):
            discovery = await self._discover(is_needed=wants_canvases)
        if discovery is not None and wants_canvases:
            await self._keep_canvases(discovery)
        await self._keep_names(discovery)
        gone = await self._unseen(discovery) if discovery is not None else []
        names = await self._disk.call(read_names, self._disk, [*self._found.news, *gone])
        return Seen(names, tuple(gone))

    async def _discover(self, *, is_needed: bool) -> Discovery | None:
        known = {place.workspace_id for place in self._found.met if place.workspace_id}
        try:
            return await discover(self._api, self._options.scopes, known=sorted(known))
        except ApiError as exc:
            log.info("the projects could not be listed: %s", exc.message)
            if is_needed:
                self._found.problems.append(exc.concerning("the projects"))
            return None

    async def _keep_canvases(self, discovery: Discovery) -> None:
        found = self._found
        scopes = self._options.scopes
        projects = [
            project
            for project in discovery.projects.values()
            if any(scope.holds(project.workspace_id, project.project_id) for scope in scopes)
        ]
        began_ms, manifest = self._clock.now_ms(), self._repository.manifest
        seals = {scope: manifest.scan(scope.of(Source.CANVAS), self._account) for scope in scopes}
        is_full = self._options.full or any(full_walk_is_due(seal, began_ms) for seal in seals.values())
        kept = await keep_canvases(
            projects,
            self._api,
            self._repository,
            self._disk,
            self._clock,
            self._tally,
            full=is_full,
            news=found.news,
        )
        found.listed[Source.CANVAS] = kept.listed
        found.new[Source.CANVAS] = kept.new
        refusals = [problem for problem in discovery.problems if problem.is_refusal]
        found.problems.extend(problem for problem in discovery.problems if not problem.is_refusal)
        found.problems.extend(kept.problems)
        refusals.extend(kept.refused.values())
        self._note_refusals(refusals)
        if not (refusals or kept.problems or discovery.problems):
            await self._repository.append(
                _seen_op(scope, self._account, seal, format_ms(began_ms), is_full=is_full)
                for scope, seal in seals.items()
            )
        elif not kept.listed and not kept.problems:
            at = format_ms(self._clock.now_ms())
            known = (seal for seal in seals.values() if seal is not None and seal.refused_at is None)
            await self._repository.append(
                ScanOp(msgspec.structs.replace(seal, refused_at=at)) for seal in known
            )

    def _note_refusals(self, refusals: list[ApiError]) -> None:
        """Canvases that this key may not see are left out, and that is no failure unless they were named."""
        if not refusals:
            return
        first = refusals[0]
        if len(refusals) > 1:
            first.message += f", and {len(refusals) - 1} more like it"
        is_required = Source.CANVAS in self._options.required_sources
        self._found.note_refusal(Source.CANVAS, first, is_required=is_required)

    async def _keep_names(self, discovery: Discovery | None) -> None:
        """Have the names of projects beside what is archived of them, at hardly any request.

        They are asked for where a project with new runs has none yet, and after a full walk, since a name may
        change. So a quiet night asks for none.
        """
        if self._options.filters.run_ids:
            return
        found = self._found
        look = archived if found.has_walked_all else unnamed
        due = await self._disk.call(look, self._disk, found.met if found.has_walked_all else found.news)
        if discovery is not None:  # what it has costs nothing
            its = (Place(p.workspace_id, p.project_id) for p in discovery.projects.values())
            due |= await self._disk.call(archived, self._disk, its)
        await keep_names(
            self._api, self._disk, due, clock=self._clock, found=discovery, account=self._account
        )

    async def _unseen(self, discovery: Discovery) -> list[Place]:
        """Archived projects, of those in scope, that the key does not see any more."""
        places = {place for place in self._places() if self._is_in_scope(place)}
        workspaces = {place.workspace_id for place in places}
        known = await self._disk.call(seen_by, self._disk, workspaces, self._account)
        gone = unseen(discovery, places, known)
        for place in gone:
            log.info("project %s is not visible to this key any more", printable(place.project_id, limit=80))
        return gone

    def _is_in_scope(self, place: Place) -> bool:
        return any(scope.holds(*place) for scope in self._options.scopes)

    def _places(self) -> Iterable[Place]:
        """The projects that have a canvas here; after a full walk, those of everything that is archived."""
        manifest = self._repository.manifest
        if self._found.has_walked_all:
            return (Place(run.workspace_id, run.project_id) for _, run in manifest.iter_counted())
        canvases = manifest.iter_entries(Kind.CANVAS)
        return (Place(canvas.workspace_id, canvas.project_id) for _, canvas in canvases)


def _seen_op(scope: Scope, account: str, before: ScanEntry | None, at: str, *, is_full: bool) -> ScanOp:
    """That all canvases of a scope were looked at, without a problem; there is no past to seal."""
    return ScanOp(
        ScanEntry(
            scope=ScopeEntry(Source.CANVAS, scope.workspace_id, scope.project_id),
            account=account,
            sealed_before=None,
            open_runs={},
            last_scan_at=at,
            last_full_scan_at=at if is_full or before is None else before.last_full_scan_at,
        )
    )

"""Projects at the end of a session: which there are, their canvases, and their names.

All of it comes after the runs are recorded: labels of canvas nodes are about runs, and names are asked for
where runs are new. So a quiet night asks for the projects and the diagram of each canvas, and for nothing
else; without canvases it asks for nothing here.

Names are for people to read, so no answer about them, or lack of one, fails a job. Canvases are archived, so
an error that keeps one from being looked at is a problem like a page that could not be listed.
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
from floradl.archiver.refusals import failure_of, was_seen
from floradl.archiver.scan import full_walk_is_due
from floradl.archiver.scan_results import ScanResults
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
class SeenProjects:
    """The projects that a session's report speaks of.

    Attributes:
        names: the names of projects with new runs, and of those in `unseen`.
        unseen: archived projects that the key does not see any more.
    """

    names: Mapping[Place, PlaceName]
    unseen: tuple[Place, ...] = ()

    def name_of(self, place: Place) -> str:
        """The name of a project; "" where it is not known."""
        return self.names.get(place, PlaceName()).project


class AroundRuns:
    """Keeps canvases and names at the end of a session.

    Args:
        options: what is archived.
        api: an open session with the API.
        repository: the manifest, open; all runs of the session are recorded.
        context: the archive's disk, and time.
        tally: kept up to date, for a display.
        results: what the scans brought. What the canvases bring, and their problems, are added to it.
    """

    def __init__(
        self,
        options: ArchiveOptions,
        api: FloraApi,
        repository: Repository,
        context: Context,
        tally: Tally,
        results: ScanResults,
    ) -> None:
        self._options = options
        self._api = api
        self._repository = repository
        self._disk = context.disk
        self._clock = context.clock
        self._tally = tally
        self._results = results
        self._account = api.account(repository.manifest.archive_id)

    async def keep(self) -> SeenProjects:
        """List the projects where that is due, keep their canvases if these are wanted, and keep names.

        Returns:
            The projects that the report speaks of.

        Raises:
            DestinationError: the disk does not take it.
        """
        wants_canvases = Source.CANVAS in self._options.sources
        discovery = None
        if wants_canvases or (self._results.has_walked_all and not self._options.filters.run_ids):
            discovery = await self._discover(is_needed=wants_canvases)
        if discovery is not None and wants_canvases:
            await self._keep_canvases(discovery)
        await self._keep_names(discovery)
        gone = await self._unseen(discovery) if discovery is not None else []
        names = await self._disk.call(read_names, self._disk, [*self._results.news, *gone])
        return SeenProjects(names, tuple(gone))

    async def _discover(self, *, is_needed: bool) -> Discovery | None:
        known = {place.workspace_id for place in self._results.met if place.workspace_id}
        try:
            return await discover(self._api, self._options.scopes, known=sorted(known))
        except ApiError as exc:
            log.info("the projects could not be listed: %s", exc.message)
            if is_needed:
                self._results.problems.append(exc.concerning("the projects"))
            return None

    async def _keep_canvases(self, discovery: Discovery) -> None:
        results = self._results
        scopes = self._options.scopes
        projects = [
            project
            for project in discovery.projects.values()
            if any(scope.holds(project.workspace_id, project.project_id) for scope in scopes)
        ]
        began_ms, manifest = self._clock.now_ms(), self._repository.manifest
        seals = {scope: manifest.scan(scope.of(Source.CANVAS), self._account) for scope in scopes}
        is_full = self._options.full or any(full_walk_is_due(seal, began_ms) for seal in seals.values())
        # Asked now: afterwards the canvases that this session brings would count as seen before.
        has_seen_lists = bool(discovery.problems) and was_seen(Source.CANVAS, scopes, manifest)
        kept = await keep_canvases(
            projects,
            self._api,
            self._repository,
            self._disk,
            self._clock,
            self._tally,
            full=is_full,
            news=results.news,
        )
        results.listed[Source.CANVAS] = kept.listed
        results.new[Source.CANVAS] = kept.new
        refusals = [problem for problem in discovery.problems if problem.is_refusal]
        results.problems.extend(problem for problem in discovery.problems if not problem.is_refusal)
        results.problems.extend(kept.problems)
        refusals.extend(kept.refused.values())
        has_seen_some = any(manifest.kind(project_id) is Kind.CANVAS for project_id in kept.refused)
        self._note_refusals(refusals, has_seen=has_seen_lists or has_seen_some)
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

    def _note_refusals(self, refusals: list[ApiError], *, has_seen: bool) -> None:
        """Leave out canvases that this key may not see, or fail because of them, as `refusals` decides."""
        if not refusals:
            return
        first = refusals[0]
        if len(refusals) > 1:
            first.message += f", and {len(refusals) - 1} more like it"
        failure = failure_of(Source.CANVAS, first, self._options, has_seen=has_seen)
        self._results.note_refusal(Source.CANVAS, first, failure)

    async def _keep_names(self, discovery: Discovery | None) -> None:
        """Write the records of projects and workspaces, with their names, beside what is archived of them.

        They are asked for where a project with new runs has no record yet, and after a full walk, since a
        name may change. So a quiet night asks for none. With `--run-id` none is asked for either: the session
        is about these runs alone.
        """
        if self._options.filters.run_ids:
            return
        results = self._results
        look = archived if results.has_walked_all else unnamed
        due = await self._disk.call(look, self._disk, results.met if results.has_walked_all else results.news)
        if discovery is not None:  # it has the records already, so they cost no request
            its = (Place(p.workspace_id, p.project_id) for p in discovery.projects.values())
            due |= await self._disk.call(archived, self._disk, its)
        await keep_names(
            self._api, self._disk, due, clock=self._clock, discovery=discovery, account=self._account
        )

    async def _unseen(self, discovery: Discovery) -> list[Place]:
        """The archived projects in scope that the key does not see any more."""
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
        """The projects with an archived canvas; after a full walk, all projects with anything archived.

        To go through all entries of a large archive is left to the sessions that walk everything anyway.
        """
        manifest = self._repository.manifest
        if self._results.has_walked_all:
            return (Place(run.workspace_id, run.project_id) for _, run in manifest.iter_counted())
        canvases = manifest.iter_entries(Kind.CANVAS)
        return (Place(canvas.workspace_id, canvas.project_id) for _, canvas in canvases)


def _seen_op(scope: Scope, account: str, before: ScanEntry | None, at: str, *, is_full: bool) -> ScanOp:
    """The change that says when all canvases of a scope were looked at without a problem.

    It is the entry of a scan, so that `status` knows how old the canvases are. It seals nothing: FLORA has no
    list of past canvases.
    """
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

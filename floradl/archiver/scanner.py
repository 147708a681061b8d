"""The scans of one session: every scope and source walked, what is found admitted, the past sealed.

Sources are walked one after another, and what one tells of is recorded before the next is asked: a run that
both lists of runs have is archived once, its record then completed by what the second says more. Within a
source several scopes are walked at the same time. A source that refuses this key leaves the others alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import ScanResults
from floradl.archiver.scan import Scan
from floradl.clock import Clock, format_ms
from floradl.constants import Kind, Source
from floradl.download.missing import Missing
from floradl.download.plan import Visit
from floradl.download.pool import Pool
from floradl.download.tally import Tally
from floradl.errors import ApiAnswerError, ApiError, ApiNotFoundError, KeyRefusedError, printable
from floradl.repository.entries import RunFacts, RunOp, ScanEntry, ScanOp, VanishedOp
from floradl.repository.names import Place
from floradl.repository.repository import Repository
from floradl.tasks import all_of

_SCOPES_AT_ONCE = 4
"""How many lists are walked at the same time. FLORA's rate limits are a workspace's, shared with people at
work on the canvas, and 265 ms a page, as measured there, leave four lists at 15 requests a second."""

_ASKED_ONE_BY_ONE = 50

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Look:
    """How the scan of one scope went: whether it came to its end, or what ended it."""

    scan: Scan
    saw_all: bool = False
    error: ApiError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left unknown, so that the past may be sealed."""
        return self.saw_all and self.error is None and not self.scan.problems

    @property
    def source(self) -> Source:
        """Which list it was of."""
        return Source(self.scan.scope.source)

    @property
    def is_refused(self) -> bool:
        """Whether this list is not for this key; of a key that is not valid at all nothing is known."""
        return self.error is not None and self.error.is_refusal


class Scanner:
    """The scans of one session.

    Args:
        options: what to list.
        api: the API.
        repository: what is known, and where seals are recorded.
        clock: time.
        tally: kept up to date.
    """

    def __init__(
        self, options: ArchiveOptions, api: FloraApi, repository: Repository, clock: Clock, tally: Tally
    ) -> None:
        self._options = options
        self._api = api
        self._repository = repository
        self._manifest = repository.manifest
        self._clock = clock
        self._tally = tally
        self._account = api.account(repository.manifest.archive_id)
        self._admitted: set[str] = set()
        self._wanted_ids = set(options.filters.run_ids)
        self._seals: dict[Scope, ScanEntry] = {}
        self._closed: set[Scope] = set()
        self.found = ScanResults()

    async def scan_all(self, pool: Pool) -> list[Scan]:
        """Scan every scope of every source; an error in one leaves the others alone.

        Returns:
            The scans that saw all there is, without a problem.
        """
        looks: list[_Look] = []
        try:
            for scopes in self._options.phases():
                await pool.drain()
                await self._walk_scopes(pool, scopes, looks)
                if any(isinstance(look.error, KeyRefusedError) and not look.is_refused for look in looks):
                    break  # the key itself is not valid
            order = [scope for scopes in self._options.phases() for scope in scopes]
            looks.sort(key=lambda look: order.index(look.scan.scope))
            for look in looks:
                await self._conclude(pool, look, looks)
        finally:
            looks = self._without_refusals(looks)
            for look in looks:
                self.found.problems.extend([look.error] if look.error else [])
                self.found.problems.extend(look.scan.problems)
        self.raise_if_mute()
        return [look.scan for look in looks if look.is_whole]

    async def _walk_scopes(self, pool: Pool, scopes: list[Scope], looks: list[_Look]) -> None:
        """Walk the scopes in lanes, each scope in one. A lane opens when the one before got its first answer.

        So a client that the API does not answer, or does not want, asks no more often than with one lane.
        """
        filters = self._options.filters
        # `--run-id` and `--max-runs` end when there is enough, over the scopes in the order given.
        is_in_turn = bool(filters.run_ids) or filters.max_runs is not None
        waiting = iter(scopes)
        lanes = range(1 if is_in_turn else min(_SCOPES_AT_ONCE, len(scopes)))
        answered = [asyncio.Event() for _ in lanes]

        async def lane(number: int) -> None:
            if number:
                await answered[number - 1].wait()
            try:
                for scope in waiting:
                    if self._is_enough():
                        return
                    looks.append(_Look(self._new_scan(scope, answered[number])))
                    await self._walk(pool, looks[-1])
            finally:
                answered[number].set()

        await all_of(lane(number) for number in lanes)

    def _new_scan(self, scope: Scope, answered: asyncio.Event) -> Scan:
        earlier = self._seals.get(scope)  # of this session: --wait looks again, filters or not
        scan = Scan(
            self._api,
            scope,
            self._account,
            earlier or self._manifest.scan(scope, self._account),
            self._manifest.__contains__,
            self._clock,
            full=self._options.full and earlier is None,
            since_ms=self._options.filters.since_ms,
            answered=answered,
        )
        log.info("listing %s%s", scope, " from the beginning" if scan.is_full else "")
        return scan

    async def _walk(self, pool: Pool, look: _Look) -> None:
        """Admit what one scan finds, until there is enough."""
        try:
            async with aclosing(look.scan.iter_completed()) as runs:
                async for run in runs:
                    is_again = run.run_id in self._admitted
                    self._tally.listed_runs += run.kind is Kind.RUN and not is_again
                    self.found.listed[look.source] += 1
                    await self._admit(pool, run, look.source)
                    if self._is_enough():
                        return
            look.saw_all = True
        except ApiError as exc:
            look.error = exc

    async def _admit(self, pool: Pool, run: Generation, source: Source) -> None:
        if not self._options.filters.wants(run):
            return
        is_new = run.run_id not in self._manifest
        if not is_new and self._manifest.kind(run.run_id) is not run.kind:
            message = f"{printable(run.run_id, limit=80)} is a {self._manifest.kind(run.run_id)} here already"
            self.found.problems.append(ApiAnswerError(f"{run.kind} {message}: two things with one id"))
            return
        if run.run_id in self._admitted:
            await self._admit_again(pool, run, source)
            return
        self._admitted.add(run.run_id)
        self._wanted_ids.discard(run.run_id)
        place = Place(run.workspace_id, run.project_id)
        self.found.met.add(place)
        if is_new:
            await self._expect_labels(run)
            self.found.news[place] += 1
            self.found.new_assets[place] += run.kind is Kind.ASSET
            self.found.new[source] += 1
        await pool.admit(Visit(run, source=source))

    async def _expect_labels(self, run: Generation) -> None:
        """Let whoever looks at a canvas next, in this session or a later one, ask what it says of a new run.

        A session may have no canvases to look at, or may be killed before it does. So it is recorded before
        the run is: of what moment the canvas is, is not known any more.
        """
        canvas = self._manifest.run(run.project_id)
        if run.kind is Kind.RUN and canvas is not None and canvas.kind is Kind.CANVAS:
            facts = RunFacts(**{name: getattr(canvas, name) for name in RunFacts.__struct_fields__})
            if facts.completed_at is not None:
                renewed = msgspec.structs.replace(facts, completed_at=None)
                await self._repository.append([RunOp(run.project_id, renewed)])

    async def _admit_again(self, pool: Pool, run: Generation, source: Source) -> None:
        """A run that another list had before: its record is completed, and this list noted."""
        known = self._manifest.run(run.run_id)  # None: it could not be had, which was said
        if known is not None and source not in known.sources:
            await pool.admit(Visit(run, source=source, only=frozenset()))

    def _without_refusals(self, looks: list[_Look]) -> list[_Look]:
        """The looks that count, once it is clear which sources are not for this key at all.

        Of such a source every scope is refused, while some other source answered. It is left out, which is
        said, and is no failure unless the source was named: then the key is refused.
        """
        of_source: dict[Source, list[_Look]] = {}
        for look in looks:
            of_source.setdefault(look.source, []).append(look)
        refused = {
            source: [look.error for look in its if look.error is not None]
            for source, its in of_source.items()
            if all(look.is_refused for look in its)
        }
        for source, errors in refused.items():
            if len(refused) < len(of_source):
                self._closed.update(look.scan.scope for look in of_source[source])
            is_required = source in self._options.required_sources
            if not is_required and len(refused) == len(of_source):
                continue
            self.found.note_refusal(source, errors[0], is_required=is_required)
            looks = [look for look in looks if look.source != source]
        return looks

    async def _conclude(self, pool: Pool, look: _Look, looks: Iterable[_Look]) -> None:
        """Look for what has vanished, and keep the seal of a scan that nothing is wrong with.

        Only when all scopes were walked: a run that is gone from one may have moved to another.
        """
        scan = look.scan
        is_filtered = not self._options.filters.is_empty
        try:
            if look.is_whole and not is_filtered and scan.is_full:
                whole = {other.source for other in looks if other.is_whole and other.scan.is_full}
                await self._find_vanished(pool, scan, whole)
        except ApiError as exc:
            look.error = exc
        if look.is_whole:
            self._seals[scan.scope] = scan.sealed()
            self.found.has_walked_all |= scan.is_full and bool(scan.seen) and not is_filtered

    def raise_if_mute(self) -> None:
        """Raise the worst problem if the API gave nothing at all to go on."""
        problems = self.found.problems
        if problems and not self._api.successes:
            raise next((p for p in problems if isinstance(p, KeyRefusedError)), problems[0])

    def _is_enough(self) -> bool:
        """Whether the filters leave nothing more to look for."""
        filters = self._options.filters
        has_all_ids = bool(filters.run_ids) and not self._wanted_ids - self._known_wanted()
        has_all_runs = filters.max_runs is not None and len(self._admitted) >= filters.max_runs
        return has_all_ids or has_all_runs

    def _known_wanted(self) -> set[str]:
        return {run_id for run_id in self._wanted_ids if run_id in self._manifest}

    def iter_due(self, missing_runs: Iterable[Missing]) -> Iterator[Missing]:
        """Those recorded runs with something to mend that no list brought; each once."""
        limit = self._options.filters.max_runs
        for missing in missing_runs:
            if missing.run_id in self._admitted or (limit is not None and len(self._admitted) >= limit):
                continue
            self._admitted.add(missing.run_id)
            self._wanted_ids.discard(missing.run_id)
            yield missing
        self.found.missing = sorted(self._wanted_ids)

    async def _find_vanished(self, pool: Pool, scan: Scan, walked_in_full: set[Source]) -> None:
        """Look once more for recorded runs that a full walk did not meet; what is missing twice is gone."""
        missing: list[str] = []
        moments: list[int | None] = []
        for run_id, entry in self._manifest.iter_entries():
            # A workspace of which nothing was listed is another key's, or closed to this one. Nor is anything
            # known of a run that a list had which was not walked now.
            is_due = entry.vanished_at is None and entry.workspace_id in scan.workspaces
            is_told = scan.scope.source in entry.sources and walked_in_full.issuperset(entry.sources)
            is_met = run_id in scan.seen or run_id in self._admitted
            is_in_scope = scan.scope.holds(entry.workspace_id, entry.project_id)
            if is_due and is_told and is_in_scope and not is_met:
                missing.append(run_id)
                moments.append(entry.created_at)
        if not missing:
            return
        down_to_ms = min((moment for moment in moments if moment is not None), default=None)
        async for run in scan.iter_again(down_to_ms=None if None in moments else down_to_ms):
            await self._admit(pool, run, Source(scan.scope.source))
        gone = [run_id for run_id in missing if run_id not in scan.seen]
        if len(gone) <= _ASKED_ONE_BY_ONE:
            gone = [run_id for run_id in gone if await self._is_unknown(run_id)]
        self.found.vanished.extend(gone)
        at = format_ms(self._clock.now_ms())
        await pool.drain()
        await self._repository.append(VanishedOp(run_id, at) for run_id in gone)

    async def _is_unknown(self, run_id: str) -> bool:
        """Whether the API does not know a run; one that was moved out of the scope it does."""
        try:
            await self._api.item(self._manifest.kind(run_id), run_id)
        except ApiNotFoundError:
            return True
        return False

    async def seal(self, scans: Iterable[Scan], *, is_whole: bool) -> None:
        """Record which lists are closed, and seal what was seen whole. Only when all of it is recorded.

        Args:
            scans: what `scan_all` returned.
            is_whole: whether all that was admitted is recorded: a seal says so of all below it.
        """
        await self._repository.append(self._iter_refusals())
        if is_whole and self._options.filters.is_empty:
            await self._repository.append(ScanOp(self._seals[scan.scope]) for scan in scans)

    def _iter_refusals(self) -> Iterator[ScanOp]:
        """Since when lists are closed to this key that it has seen before: they are not merely old."""
        at = format_ms(self._clock.now_ms())
        for scope in self._closed:
            scan = self._manifest.scan(scope, self._account)
            if scan is not None and scan.refused_at is None:
                yield ScanOp(msgspec.structs.replace(scan, refused_at=at))

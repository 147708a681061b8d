"""The scans of one session: every scope of every source is walked, and each completed run is admitted.

- *Sources are walked one after another*, and everything of one source is recorded before the next is asked.
  A run may be in the list of generations and in that of technique runs. It is then known when the second
  list brings it: its record is completed by the fields that only the second list has, and nothing is fetched
  twice.
- *The scopes of a source are walked at the same time*, at most `_SCOPES_AT_ONCE`. Each is sealed by itself,
  so an error in one costs no other its seal.
- *Vanished runs* are looked for when all scopes are walked: a run that is gone from one project may have
  moved to another.
- *A source that this key may not see* costs the others nothing. Whether it is left out or a failure is
  decided in `refusals`.
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
from floradl.archiver.refusals import failure_of, was_seen
from floradl.archiver.scan import Scan
from floradl.archiver.scan_results import ScanResults
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
"""Up to how many runs that seem to have vanished are asked for by id, which costs a request each. A run that
was only moved to another project still has its id. Where more are missing, two walks of the list decide."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Outcome:
    """How the scan of one scope went: whether it came to its end, or which error ended it."""

    scan: Scan
    has_ended: bool = False
    error: ApiError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the scan saw everything without a problem, so that the past may be sealed."""
        return self.has_ended and self.error is None and not self.scan.problems

    @property
    def source(self) -> Source:
        """The list that was scanned."""
        return Source(self.scan.scope.source)

    @property
    def is_refused(self) -> bool:
        """Whether the API refused this list to the key. A key that is invalid altogether is another error."""
        return self.error is not None and self.error.is_refusal


class Scanner:
    """The scans of one session.

    Args:
        options: which sources and scopes to list, and which of their runs are wanted.
        api: an open session with the API.
        repository: the manifest, open; it says which runs are known, and seals are recorded in it.
        clock: for the times in seals.
        tally: kept up to date, for a display.

    Attributes:
        results: what the scans brought so far.
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
        self._refused_scopes: set[Scope] = set()
        self._silent_scopes: list[Scope] = []
        self.results = ScanResults()

    @property
    def silent_scopes(self) -> list[Scope]:
        """The scopes that gave nothing in any list, neither now nor to an earlier scan with this key.

        An unknown id gives as little, so whoever named these places may have misspelt them.
        """
        return self._silent_scopes

    async def scan_all(self, pool: Pool) -> list[Scan]:
        """Scan every scope of every source; an error in one leaves the others alone.

        Args:
            pool: at work; the completed runs go there.

        Returns:
            The scans that saw everything, without a problem.

        Raises:
            ApiError: the API answered not one request of this session.
        """
        outcomes: list[_Outcome] = []
        try:
            for scopes in self._options.phases():
                # What an earlier source brought is recorded first, so that a run which is in both lists of
                # runs is known when the second list brings it.
                await pool.drain()
                await self._walk_scopes(pool, scopes, outcomes)
                if any(isinstance(each.error, KeyRefusedError) and not each.is_refused for each in outcomes):
                    break  # the key is invalid: every other list would say the same
            self._silent_scopes = [
                scope for scope in self._options.scopes if self._is_silent(scope, outcomes)
            ]
            # Scopes are walked side by side and end in any order; problems are told in the order asked for.
            order = [scope for scopes in self._options.phases() for scope in scopes]
            outcomes.sort(key=lambda outcome: order.index(outcome.scan.scope))
            for outcome in outcomes:
                await self._conclude(pool, outcome, outcomes)
        finally:
            # Also when the session is stopped meanwhile: its report names what went wrong until then.
            outcomes = self._without_refusals(outcomes)
            for outcome in outcomes:
                self.results.problems.extend([outcome.error] if outcome.error else [])
                self.results.problems.extend(outcome.scan.problems)
        self.raise_if_nothing_answered()
        return [outcome.scan for outcome in outcomes if outcome.is_whole]

    async def _walk_scopes(self, pool: Pool, scopes: list[Scope], outcomes: list[_Outcome]) -> None:
        """Walk the scopes of one source in lanes, each scope in one lane.

        A lane begins when the lane before it got its first answer. So while the API does not answer, or
        refuses this client, it is asked no more often than with one lane.
        """
        filters = self._options.filters
        # `--run-id` and `--max-runs` end when there is enough, counted over the scopes in the order given.
        is_one_by_one = bool(filters.run_ids) or filters.max_runs is not None
        waiting = iter(scopes)
        lanes = range(1 if is_one_by_one else min(_SCOPES_AT_ONCE, len(scopes)))
        answered = [asyncio.Event() for _ in lanes]

        async def lane(number: int) -> None:
            if number:
                await answered[number - 1].wait()
            try:
                for scope in waiting:
                    if self._is_enough():
                        return
                    outcome = _Outcome(self._new_scan(scope, answered[number]))
                    outcomes.append(outcome)
                    await self._walk(pool, outcome)
            finally:
                answered[number].set()  # also after an error, or the next lane would wait for ever

        await all_of(lane(number) for number in lanes)

    def _is_silent(self, scope: Scope, outcomes: Iterable[_Outcome]) -> bool:
        if scope.is_everything:
            return False
        its = [outcome for outcome in outcomes if outcome.scan.scope == scope.of(outcome.source)]
        if not its:  # canvases alone are wanted; these ask for each project by its id
            return scope.project_id is None
        earlier = (self._manifest.scan(outcome.scan.scope, self._account) for outcome in its)
        has_given = any(scan is not None and scan.sealed_before is not None for scan in earlier)
        return any(outcome.has_ended for outcome in its) and not (
            has_given or any(outcome.scan.seen for outcome in its)
        )

    def _new_scan(self, scope: Scope, answered: asyncio.Event) -> Scan:
        # With --wait a scope is scanned several times. From the second time on the seal of this session
        # counts, although it may not be recorded: filters are the same, so nothing is hidden by it.
        earlier = self._seals.get(scope)
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

    async def _walk(self, pool: Pool, outcome: _Outcome) -> None:
        """Admit the completed runs of one scan, until there are enough of them."""
        try:
            async with aclosing(outcome.scan.iter_completed()) as runs:
                async for run in runs:
                    is_again = run.run_id in self._admitted
                    self._tally.listed_runs += run.kind is Kind.RUN and not is_again
                    self.results.listed[outcome.source] += 1
                    await self._admit(pool, run, outcome.source)
                    if self._is_enough():
                        return
            outcome.has_ended = True
        except ApiError as exc:
            outcome.error = exc

    async def _admit(self, pool: Pool, run: Generation, source: Source) -> None:
        if not self._options.filters.wants(run):
            return
        is_new = run.run_id not in self._manifest
        if not is_new and self._manifest.kind(run.run_id) is not run.kind:
            # The entry of the one must not be overwritten by the other.
            message = f"{printable(run.run_id, limit=80)} is a {self._manifest.kind(run.run_id)} here already"
            self.results.problems.append(ApiAnswerError(f"{run.kind} {message}: two things with one id"))
            return
        if run.run_id in self._admitted:
            await self._admit_again(pool, run, source)
            return
        self._admitted.add(run.run_id)
        self._wanted_ids.discard(run.run_id)
        place = Place(run.workspace_id, run.project_id)
        self.results.met.add(place)
        if is_new:
            await self._make_canvas_due(run)
            self.results.news[place] += 1
            self.results.new_assets[place] += run.kind is Kind.ASSET
            self.results.new[source] += 1
        await pool.admit(Visit(run, source=source))

    async def _make_canvas_due(self, run: Generation) -> None:
        """Forget the date of the canvas of a new run's project, so that its nodes are asked for again.

        The nodes may have labels for the run. This session may have no canvases to look at, or may be killed
        before it comes to them; the next one would find the canvas with the date that it has recorded, and
        never ask. So the date is dropped, and that is recorded before the run is.
        """
        canvas = self._manifest.run(run.project_id)
        if run.kind is Kind.RUN and canvas is not None and canvas.kind is Kind.CANVAS:
            facts = RunFacts(**{name: getattr(canvas, name) for name in RunFacts.__struct_fields__})
            if facts.completed_at is not None:
                renewed = msgspec.structs.replace(facts, completed_at=None)
                await self._repository.append([RunOp(run.project_id, renewed)])

    async def _admit_again(self, pool: Pool, run: Generation, source: Source) -> None:
        """Complete the record of a run that an earlier list had, and note that this list has it too."""
        known = self._manifest.run(run.run_id)  # None: its record could not be had; that is a problem already
        if known is not None and source not in known.sources:
            await pool.admit(Visit(run, source=source, only=frozenset()))

    def _without_refusals(self, outcomes: list[_Outcome]) -> list[_Outcome]:
        """Leave out the sources that this key may not see at all, and note what the API said of them.

        A source counts as refused when all its scopes are, while some other source answered. Where every
        source is refused, the refusals are problems like any other error. `refusals` decides which of them
        are problems all the same.
        """
        by_source: dict[Source, list[_Outcome]] = {}
        for outcome in outcomes:
            by_source.setdefault(outcome.source, []).append(outcome)
        refused = {
            source: [each.error for each in its if each.error is not None]
            for source, its in by_source.items()
            if all(each.is_refused for each in its)
        }
        for source, errors in refused.items():
            if len(refused) < len(by_source):
                self._refused_scopes.update(each.scan.scope for each in by_source[source])
            if source not in self._options.required_sources and len(refused) == len(by_source):
                continue
            has_seen = was_seen(source, self._options.scopes, self._manifest)
            failure = failure_of(source, errors[0], self._options, has_seen=has_seen)
            self.results.note_refusal(source, errors[0], failure)
            outcomes = [outcome for outcome in outcomes if outcome.source != source]
        return outcomes

    async def _conclude(self, pool: Pool, outcome: _Outcome, outcomes: Iterable[_Outcome]) -> None:
        """Look for vanished runs after a full walk, and keep the seal of a scan without a problem.

        This comes after all scopes are walked: a run that is gone from one may have moved to another.
        """
        scan = outcome.scan
        is_filtered = not self._options.filters.is_empty
        try:
            if outcome.is_whole and not is_filtered and scan.is_full:
                whole = {other.source for other in outcomes if other.is_whole and other.scan.is_full}
                await self._find_vanished(pool, scan, whole)
        except ApiError as exc:
            outcome.error = exc
        if outcome.is_whole:
            self._seals[scan.scope] = scan.sealed()
            self.results.has_walked_all |= scan.is_full and bool(scan.seen) and not is_filtered

    def raise_if_nothing_answered(self) -> None:
        """Raise an error of this session if the API answered none of its requests.

        Raises:
            KeyRefusedError: the key is one of the problems; else the first problem.
        """
        problems = self.results.problems
        if problems and not self._api.successes:
            raise next((p for p in problems if isinstance(p, KeyRefusedError)), problems[0])

    def _is_enough(self) -> bool:
        """Whether all runs that `--run-id` names were met, or as many as `--max-runs` allows."""
        filters = self._options.filters
        has_all_ids = bool(filters.run_ids) and all(run_id in self._manifest for run_id in self._wanted_ids)
        has_all_runs = filters.max_runs is not None and len(self._admitted) >= filters.max_runs
        return has_all_ids or has_all_runs

    def iter_due(self, missing_runs: Iterable[Missing]) -> Iterator[Missing]:
        """The recorded runs that have to be asked for by id, each once: no list of this session brought them.

        Args:
            missing_runs: recorded runs with outputs that failed or whose files are gone.
        """
        limit = self._options.filters.max_runs
        for missing in missing_runs:
            if missing.run_id in self._admitted or (limit is not None and len(self._admitted) >= limit):
                continue
            self._admitted.add(missing.run_id)
            self._wanted_ids.discard(missing.run_id)
            yield missing
        self.results.missing = sorted(self._wanted_ids)

    async def _find_vanished(self, pool: Pool, scan: Scan, walked_in_full: set[Source]) -> None:
        """Walk once more for recorded runs that a full walk did not meet; a run missing twice has vanished.

        Args:
            pool: at work; a run that the second walk meets goes there.
            scan: a full walk without a problem.
            walked_in_full: the sources of all such walks of this session.
        """
        missing: list[str] = []
        created_ms: list[int | None] = []
        for run_id, entry in self._manifest.iter_entries():
            # Of a workspace without any listed run nothing is known: it may be another key's, or closed to
            # this one. Nor of a run that is also in a list which was not walked in full this time.
            is_due = entry.vanished_at is None and entry.workspace_id in scan.workspaces
            is_walked = scan.scope.source in entry.sources and walked_in_full.issuperset(entry.sources)
            is_met = run_id in scan.seen or run_id in self._admitted
            is_in_scope = scan.scope.holds(entry.workspace_id, entry.project_id)
            if is_due and is_walked and is_in_scope and not is_met:
                missing.append(run_id)
                created_ms.append(entry.created_at)
        if not missing:
            return
        oldest_ms = min((moment for moment in created_ms if moment is not None), default=None)
        async for run in scan.iter_again(down_to_ms=None if None in created_ms else oldest_ms):
            await self._admit(pool, run, Source(scan.scope.source))
        gone = [run_id for run_id in missing if run_id not in scan.seen]
        if len(gone) <= _ASKED_ONE_BY_ONE:
            gone = [run_id for run_id in gone if await self._is_unknown(run_id)]
        self.results.vanished.extend(gone)
        at = format_ms(self._clock.now_ms())
        await pool.drain()
        await self._repository.append(VanishedOp(run_id, at) for run_id in gone)

    async def _is_unknown(self, run_id: str) -> bool:
        """Whether the API does not know a run any more. It still knows one that was only moved."""
        try:
            await self._api.item(self._manifest.kind(run_id), run_id)
        except ApiNotFoundError:
            return True
        return False

    async def seal(self, scans: Iterable[Scan], *, is_whole: bool) -> None:
        """Record which lists refuse this key, and the seals of the scans that saw everything.

        Call it after `Pool.drain`: a seal says that every run below it is recorded. Killed between a seal and
        the records that it vouches for, the next session would stop at the seal and never meet those runs.

        Args:
            scans: what `scan_all` returned.
            is_whole: whether everything that was admitted is recorded.
        """
        await self._repository.append(self._iter_refusals())
        if is_whole and self._options.filters.is_empty:
            await self._repository.append(ScanOp(self._seals[scan.scope]) for scan in scans)

    def _iter_refusals(self) -> Iterator[ScanOp]:
        """Note for `status` since when a list refuses this key that answered it before.

        Without the note, `status` would call the archive old for ever: nothing could renew that list's seal.
        """
        at = format_ms(self._clock.now_ms())
        for scope in self._refused_scopes:
            scan = self._manifest.scan(scope, self._account)
            if scan is not None and scan.refused_at is None:
                yield ScanOp(msgspec.structs.replace(scan, refused_at=at))

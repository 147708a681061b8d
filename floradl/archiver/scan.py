"""Scans: seeing every run of a scope, and stopping early where that is proven to be enough.

A list is newest first over an offset: what is inserted while paging shows as repeats, which are
dropped here; what is removed shifts later items across a page's edge, where they would be skipped.
Three things keep a run from being missed:

- Lists of generations are read in the order in which a run moves: pending, running, completed. A run that
  exists when the scan starts is in one of them. Of technique runs and assets there is one list.
- After each further page the one before it is read again, and when that changed the walk goes back to where
  nothing can be missing (`walk.Walk`).
- The past is sealed only by a scan without any error. The next scan walks down to the seal less an
  overlap, asks for each run that was open then, and walks everything once a week.

A scan yields completed runs. What it learned besides (open runs, unreadable records) it keeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import msgspec

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope, is_open
from floradl.api.pages import PageQuery
from floradl.api.raw_json import replace_half_pairs
from floradl.api.records import parse_record
from floradl.api.walk import OVERLAP_MS, Walk, last_status
from floradl.clock import Clock, format_ms, parse_ms
from floradl.constants import Kind, Status
from floradl.errors import ApiAnswerError, ApiError, ApiNotFoundError, KeyRefusedError, printable
from floradl.repository.entries import ScanEntry, ScopeEntry

FULL_EVERY_MS = 7 * 24 * 3_600_000
"""How old the last full walk may be before a scan becomes one by itself."""


log = logging.getLogger(__name__)


class Scan:
    """One scan of one scope.

    Args:
        api: the API.
        scope: what to list.
        account: whose history it is, for the seal.
        previous: what the last clean scan of this scope left, if there was one.
        is_known: whether a run is recorded; a page with one that is not is never the last.
        clock: for the age of the last full walk.
        full: walk everything although there is a seal.
        since_ms: do not walk below this moment (a filter: such a scan seals nothing).
        answered: set when the first page is there.

    Attributes:
        is_full: whether the whole history is walked.
        seen: ids of all runs that a list of this scan had.
        workspaces: ids of the workspaces that these runs are in.
        open_runs: runs that are pending or running.
        problems: what kept the scan from being complete, beside an error that it raised.
    """

    def __init__(
        self,
        api: FloraApi,
        scope: Scope,
        account: str,
        previous: ScanEntry | None,
        is_known: Callable[[str], bool],
        clock: Clock,
        *,
        full: bool = False,
        since_ms: int | None = None,
        answered: asyncio.Event | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._account = account
        self._previous = previous
        self._is_known = is_known
        self._since_ms = since_ms
        self._answered = answered or asyncio.Event()
        self._started_ms = clock.now_ms()
        self._newest_ms: int | None = None
        self._opening_ms = 0
        self.scope = scope
        self.is_full = full or full_walk_is_due(previous, self._started_ms)
        self.seen: set[str] = set()
        self.workspaces: set[str] = set()
        self.open_runs: dict[str, Generation] = {}
        self.problems: list[ApiError] = []

    async def iter_completed(self) -> AsyncGenerator[Generation, None]:
        """Every completed run that may be new, each once, newest first but for stragglers.

        Raises:
            ApiError: a page could not be had; nothing is known of what lies below it.
        """
        began_s = self._clock.monotonic()
        for status in () if last_status(self.scope) is None else (Status.PENDING, Status.RUNNING):
            try:
                async for run in self._walk(status):
                    yield run  # completed since the list was asked for
            except ApiError as exc:
                if exc.status is None or exc.is_refusal or isinstance(exc, KeyRefusedError):
                    raise  # nobody answers, or not this key: the other lists would say the same
                # What is completed can be archived all the same. The past stays unsealed.
                self.problems.append(exc.concerning(f"the list of {status} runs"))
        self._opening_ms = int((self._clock.monotonic() - began_s) * 1000)
        async for run in self._walk(
            last_status(self.scope), floor_ms=self._since_ms, seal_ms=self._walk_down_to_ms()
        ):
            yield run
        async for run in self._iter_formerly_open():
            yield run

    async def iter_again(self, *, down_to_ms: int | None) -> AsyncGenerator[Generation, None]:
        """Walk the completed runs once more, for runs that `iter_completed` should have met and did not.

        Args:
            down_to_ms: when the oldest of them was created; None walks everything.
        """
        floor_ms = None if down_to_ms is None else down_to_ms - OVERLAP_MS
        async for run in self._walk(last_status(self.scope), floor_ms=floor_ms):
            yield run

    def sealed(self) -> ScanEntry:
        """What the next scan needs to know. Only for a scan that ended, and without `problems`."""
        at = format_ms(self._started_ms)
        previous = self._previous
        full_at = at if self.is_full or previous is None else previous.last_full_scan_at
        return ScanEntry(
            scope=ScopeEntry(self.scope.source, self.scope.workspace_id, self.scope.project_id),
            account=self._account,
            sealed_before=self._seal_ms(),
            open_runs={
                run_id: msgspec.Raw(replace_half_pairs(run.raw)) for run_id, run in self.open_runs.items()
            },
            last_scan_at=at,
            last_full_scan_at=full_at,
        )

    def _seal_ms(self) -> int | None:
        known = [self._previous.sealed_before] if self._previous else []
        if self._newest_ms is not None:
            # Where the open lists took so long that the overlap may not cover it, the seal lies lower.
            late_ms = self._opening_ms if self._opening_ms > OVERLAP_MS // 2 else 0
            known.append(self._newest_ms - late_ms)
        return max((moment for moment in known if moment is not None), default=None)

    def _walk_down_to_ms(self) -> int | None:
        sealed = None if self.is_full or self._previous is None else self._previous.sealed_before
        return None if sealed is None else sealed - OVERLAP_MS

    async def _iter_formerly_open(self) -> AsyncGenerator[Generation, None]:
        """Ask, one by one, for the runs that were open at the last seal and in no list this time."""
        for run_id, record in (self._previous.open_runs if self._previous else {}).items():
            if run_id in self.seen:
                continue
            try:
                known = parse_record(self.scope.kind, bytes(record))
                run = await self._api.item(self.scope.kind, run_id, known=known)
            except ApiNotFoundError:
                log.info("run %s was deleted before it completed", run_id)
                continue
            except KeyRefusedError:
                raise
            except ApiError as exc:
                self.problems.append(exc.concerning(f"run {printable(run_id, limit=80)}"))
                if exc.is_retryable:
                    return  # it does not answer; no need to ask it as often as there are runs
                continue
            if self._note(run):
                yield run

    async def _walk(
        self, status: Status | None, *, floor_ms: int | None = None, seal_ms: int | None = None
    ) -> AsyncGenerator[Generation, None]:
        """The completed runs of one list that were not seen before; see `Walk` for how far."""
        walk = Walk(self._api, PageQuery(self.scope, status), floor_ms, seal_ms, self._is_known)
        async for page in walk.iter_pages():
            self._answered.set()
            told = {problem.message for problem in self.problems}
            self.problems.extend(bad for bad in page.bad_records if bad.message not in told)
            for run in page.generations:
                if self._note(run):
                    yield _placed(run, self.scope)

    def _note(self, run: Generation) -> bool:
        """Keep what a record tells; whether the run is completed and new to this scan."""
        self.workspaces.add(run.workspace_id)
        if run.created_at_ms is not None:
            self._newest_ms = max(self._newest_ms or 0, run.created_at_ms)
        if is_open(run.status):
            if run.run_id not in self.seen or run.run_id in self.open_runs:
                self.open_runs[run.run_id] = run
            self.seen.add(run.run_id)
            return False
        if run.status not in tuple(Status):
            message = f"run {printable(run.run_id, limit=80)} has a status that nobody knows: "
            self.problems.append(ApiAnswerError(message + printable(run.status, limit=40)))
        is_new = run.run_id not in self.seen or run.run_id in self.open_runs
        self.open_runs.pop(run.run_id, None)
        self.seen.add(run.run_id)
        return is_new and run.status == Status.COMPLETED


def _placed(run: Generation, scope: Scope) -> Generation:
    """An asset where it was asked for, when its record does not say where it is."""
    if run.kind is Kind.RUN:
        return run
    return replace(
        run,
        workspace_id=run.workspace_id or scope.workspace_id or "",
        project_id=run.project_id or scope.project_id or "",
    )


def full_walk_is_due(previous: ScanEntry | None, now_ms: int) -> bool:
    """Whether a scan walks the whole history without being told to, after what the last clean one left.

    One that found nothing left no moment to walk down to. The next walks to the end without being a full
    one, which is more than a walk: names are asked for anew, and what has vanished is looked for.
    """
    last_ms = None if previous is None else parse_ms(previous.last_full_scan_at)
    if previous is None or last_ms is None:
        return True
    # A clock that was once ahead must not put the next walk off for years.
    return not 0 <= now_ms - last_ms <= FULL_EVERY_MS

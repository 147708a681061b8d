"""One scope's scan: it sees every run of the scope, and stops early only where that is proven to be enough.

The API lists the newest runs first, in pages over an offset, while the account changes. A run that is added
meanwhile shifts the others down, and some are listed twice; those repeats are dropped here. A run that is
removed shifts the others up, and one may slip from the next page to a page that was read already. Three
things keep it from being missed:

- Generations are in three lists, which are read in the order in which a run moves through them: pending,
  running, completed. So a run that exists when the scan begins is met in at least one of them. Technique runs
  and assets are in one list each, and no run moves between lists there.
- After each further page the page before it is read again. If it changed, the walk goes back to a place above
  which nothing can be missing (`api.walk.Walk`).
- A scan seals the past only if it had no error at all. The next scan walks down to the seal less an overlap,
  and asks one by one for the runs that were open at the seal. Once a week a scan walks everything.

A seal counts for the key and the API that it was made with, since another key may see other runs. Each scope
has a seal of its own. The account as a whole is one walk, not one per project: a project that appears while
the projects are walked would be in no list, and the account's seal would say that it was.

A scan yields completed runs, and keeps what else it learned: open runs, and records that cannot be read.
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
"""How old the last full walk may be. When it is older, the next scan walks everything."""

log = logging.getLogger(__name__)


class Scan:
    """One scan of one scope.

    Args:
        api: an open session with the API.
        scope: what to list.
        account: whose history it is (`FloraApi.account`); the seal is valid for this account alone.
        previous: the seal of this scope's last scan without an error; None if there is none.
        is_known: whether a run is recorded. A page with a run that is not recorded is never taken for the
            last one, so a nonsense date far in the future hides nothing behind its seal.
        clock: time, for the seal and for the age of the last full walk.
        full: walk everything although there is a seal.
        since_ms: do not walk below this moment, in ms since 1970; a filter. The scan's seal must then not be
            recorded.
        answered: set when the first page is there.

    Attributes:
        is_full: whether the whole history is walked.
        seen: ids of all runs that a list of this scan had.
        workspaces: ids of the workspaces that these runs are in.
        open_runs: runs that are pending or running, by id.
        problems: errors that left something unlisted, apart from the one that the scan raised.
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
        """Every completed run that may be new, each once.

        The newest come first, apart from runs that completed while the lists of open runs were read, and from
        those that were open at the seal and are asked for one by one in the end.

        Raises:
            ApiError: a page could not be had; nothing is known of the runs below it.
        """
        began_s = self._clock.monotonic()
        for status in () if last_status(self.scope) is None else (Status.PENDING, Status.RUNNING):
            try:
                async for run in self._walk(status):
                    yield run  # it completed between the request and the answer
            except ApiError as exc:
                if exc.status is None or exc.is_refusal or isinstance(exc, KeyRefusedError):
                    raise  # no answer, or not for this key: the other lists would say the same
                # Completed runs can be archived all the same. The problem keeps the past from being sealed.
                self.problems.append(exc.concerning(f"the list of {status} runs"))
        self._opening_ms = int((self._clock.monotonic() - began_s) * 1000)
        async for run in self._walk(
            last_status(self.scope), floor_ms=self._since_ms, seal_ms=self._walk_down_to_ms()
        ):
            yield run
        async for run in self._iter_formerly_open():
            yield run

    async def iter_again(self, *, down_to_ms: int | None) -> AsyncGenerator[Generation, None]:
        """Walk the completed runs once more, for recorded runs that `iter_completed` did not meet.

        Args:
            down_to_ms: when the oldest of them was created, in ms since 1970; None walks everything.

        Raises:
            ApiError: a page could not be had.
        """
        floor_ms = None if down_to_ms is None else down_to_ms - OVERLAP_MS
        async for run in self._walk(last_status(self.scope), floor_ms=floor_ms):
            yield run

    def sealed(self) -> ScanEntry:
        """The seal that the next scan of this scope begins from.

        Only for a scan that came to its end without `problems`; otherwise the next one would stop at the seal
        and never meet what this one missed.
        """
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
        """Down to which moment the next scan has to walk, its overlap apart; None: to the end."""
        known = [self._previous.sealed_before] if self._previous else []
        if self._newest_ms is not None:
            # A run that is created while the open lists are read may be pending when the running ones are
            # listed, and running when the completed ones are: then no list has it. The next scan brings it,
            # since its overlap reaches further down. That would not be certain where the open lists took
            # longer than half the overlap, so the seal lies lower by that time.
            late_ms = self._opening_ms if self._opening_ms > OVERLAP_MS // 2 else 0
            known.append(self._newest_ms - late_ms)
        return max((moment for moment in known if moment is not None), default=None)

    def _walk_down_to_ms(self) -> int | None:
        """How far down the list of completed runs has to be walked; None: to its end."""
        sealed = None if self.is_full or self._previous is None else self._previous.sealed_before
        return None if sealed is None else sealed - OVERLAP_MS

    async def _iter_formerly_open(self) -> AsyncGenerator[Generation, None]:
        """Ask one by one for the runs that were open at the last seal and that no list had this time.

        They may lie far below the seal by now, where this scan does not walk.
        """
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
                    return  # the API does not answer; each other run would have to wait as long for nothing
                continue
            if self._note(run):
                yield run

    async def _walk(
        self, status: Status | None, *, floor_ms: int | None = None, seal_ms: int | None = None
    ) -> AsyncGenerator[Generation, None]:
        """The completed runs of one list that this scan did not see before; `Walk` says how far it goes."""
        walk = Walk(self._api, PageQuery(self.scope, status), floor_ms, seal_ms, self._is_known)
        async for page in walk.iter_pages():
            self._answered.set()
            # Pages are read twice, so an unreadable record comes twice as well; it is one problem.
            known = {problem.message for problem in self.problems}
            self.problems.extend(bad for bad in page.bad_records if bad.message not in known)
            for run in page.generations:
                if self._note(run):
                    yield _placed(run, self.scope)

    def _note(self, run: Generation) -> bool:
        """Keep what a listed record tells about its run.

        Returns:
            Whether the run is completed, and was not met as a completed one by this scan before.
        """
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
    """An asset placed in the workspace and project that were listed, where its record does not name any."""
    if run.kind is Kind.RUN:
        return run
    return replace(
        run,
        workspace_id=run.workspace_id or scope.workspace_id or "",
        project_id=run.project_id or scope.project_id or "",
    )


def full_walk_is_due(previous: ScanEntry | None, now_ms: int) -> bool:
    """Whether a scan has to walk the whole history without being told to.

    A scan that found nothing leaves a seal without a moment to walk down to. The next scan then walks to the
    end as well, but it is no full walk: after one of those names are asked for again, and vanished runs are
    looked for, which would be wasted on an empty scope every night.

    Args:
        previous: the seal of the last scan without an error; None if there is none.
        now_ms: now, in ms since 1970.
    """
    last_ms = None if previous is None else parse_ms(previous.last_full_scan_at)
    if previous is None or last_ms is None:
        return True
    # A date in the future was written while the clock was wrong. It must not put the next full walk off until
    # that date comes.
    return not 0 <= now_ms - last_ms <= FULL_EVERY_MS

"""The main job: list what a scope has, fetch what is missing, record it, seal the past.

The way of one session: lock, read the manifest, compare it with the disk, then per scope scan and admit
each completed run to the pool; afterwards ask one by one for runs whose outputs failed or whose files are
gone; wait until all is recorded; seal the scans that saw everything; ask for names that are due; fold the
journal.

What goes wrong with one page, run or output is a line of the `Report`, and everything else goes on. The
disk and a lock held by another raise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from floradl import layout, net
from floradl.api import FloraApi
from floradl.bandwidth import Bandwidth
from floradl.clock import Clock, format_ms
from floradl.entries import ScanEntry, ScanOp, VanishedOp
from floradl.errors import ApiError, ApiNotFoundError, FloradlError, KeyRefusedError, printable
from floradl.fetching import Tools
from floradl.files import Disk
from floradl.job import GRACE_S, ArchiveOptions, News, Report, Tally, Visit
from floradl.listing import Scan, full_walk_is_due
from floradl.lock import ArchiveLock
from floradl.manifest import Manifest, Store
from floradl.mend import Comparison, Mend, compare_store, keep_stamps
from floradl.model import Generation, Scope
from floradl.names import Place, PlaceName, archived, keep_names, read_names, unnamed
from floradl.pool import Pool
from floradl.pressure import Pressure
from floradl.recall import visit_by_id
from floradl.retry import Backoff, HostGate
from floradl.stamps import Stamps
from floradl.stopping import all_of, ends_by_itself
from floradl.transport import MediaClient, media_transports

_SCOPES_AT_ONCE = 4
"""How many lists are walked at the same time. FLORA's rate limits are a workspace's, shared with people at
work on the canvas, and 265 ms a page, as measured there, leave four lists at 15 requests a second."""

_WAIT_EVERY_S = 15.0
_ASKED_ONE_BY_ONE = 50

log = logging.getLogger(__name__)


async def archive(
    options: ArchiveOptions,
    api: FloraApi,
    *,
    clock: Clock | None = None,
    new_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    backoff: Backoff | None = None,
    stop: asyncio.Event | None = None,
    tally: Tally | None = None,
) -> Report:
    """Archive what `options` name.

    Args:
        options: what and how.
        api: an open session with the API.
        clock: time, for tests.
        new_transport: makes the httpx transport of one media client, for tests.
        backoff: waits between tries, for tests.
        stop: set it to end early; running transfers get `GRACE_S`.
        tally: kept up to date, for a display.

    Raises:
        DestinationError: the folder cannot be used, or another floradl uses it.
        ApiError: not one page could be read.
    """
    clock = clock or Clock()
    disk = Disk(options.dest, fsync=options.fsync, min_free_bytes=options.min_free_bytes)
    allow_loopback = net.is_loopback_host(httpx.URL(options.base_url).host)
    new_transport = new_transport or media_transports(
        allow_loopback=allow_loopback, timeout_s=options.timeout_s
    )
    tally = tally or Tally()
    stop = stop or asyncio.Event()
    tools = Tools(
        disk=disk,
        clock=clock,
        gate=HostGate(clock),
        retries=options.retries,
        allow_loopback=allow_loopback,
        backoff=backoff or Backoff(),
        pressure=Pressure(options.concurrency),
        bandwidth=Bandwidth(clock, options.limit_rate_bytes),
        traffic=tally.traffic,
    )
    try:
        if options.require_existing:
            await disk.call(disk.require_archive)
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, clock, timeout_s=options.lock_timeout_s, stop=stop):
            await disk.call(disk.clean)
            store = Store(disk, clock)
            try:
                await store.open()
                session = _Session(options, api, store, tools, tally)
                pool = await _new_pool(session, new_transport)
                async with pool.at_work():
                    await session.run(pool, stop)
                await store.fold(options.base_url)
                await disk.call(keep_stamps, store, disk, session.stamps)
            finally:
                await store.close()
    finally:
        disk.close()
    return session.report()


async def _new_pool(session: _Session, new_transport: Callable[[], httpx.AsyncBaseTransport]) -> Pool:
    options, tools = session.options, session.tools
    partials = await tools.disk.call(tools.disk.sizes, [layout.PARTIALS])
    return Pool(
        tools=tools,
        api=session.api,
        store=session.store,
        filters=options.filters,
        concurrency=options.concurrency,
        new_client=lambda: MediaClient(new_transport(), timeout_s=options.timeout_s),
        partials=frozenset(partials[0]),
        tally=session.tally,
    )


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


class _Session:
    """The state of one `archive`."""

    def __init__(
        self, options: ArchiveOptions, api: FloraApi, store: Store, tools: Tools, tally: Tally
    ) -> None:
        self.options = options
        self.api = api
        self.store = store
        self.tools = tools
        self.tally = tally
        self._began_s = tools.clock.monotonic()
        self._admitted: set[str] = set()
        self._wanted_ids = set(options.filters.run_ids)
        self._seals: dict[Scope, ScanEntry] = {}
        self._problems: list[FloradlError] = []
        self._missing: list[str] = []
        self._vanished: list[str] = []
        self._open_runs = 0
        self._is_interrupted = False
        self._archived = Comparison()
        self._has_walked_all = False
        self._met: set[Place] = set()
        self._news: Counter[Place] = Counter()
        self._names: Mapping[Place, PlaceName] = {}

    @property
    def manifest(self) -> Manifest:
        """The archive's memory."""
        return self.store.manifest

    @property
    def stamps(self) -> Stamps:
        """What the comparison with the disk leaves for the next one."""
        return self._archived.stamps

    async def run(self, pool: Pool, stop: asyncio.Event) -> None:
        """Do everything, or as much as there is until `stop`."""
        try:
            if not await ends_by_itself(self._work(pool), stop):
                self._is_interrupted = self.tally.is_stopping = True
                await pool.wind_down(GRACE_S)
        finally:
            self._problems.extend(pool.problems)

    async def _work(self, pool: Pool) -> None:
        await self._archive_all(pool)
        await self._keep_names()

    async def _archive_all(self, pool: Pool) -> None:
        mends = await self._compare_with_disk()
        waited_until_s = self.tools.clock.monotonic() + (self.options.wait_s or 0.0)
        while True:
            scans = await self._scan_all(pool)
            await self._visit_known(pool, mends)
            self._raise_if_mute()
            self.tally.is_listed = True
            await pool.drain()
            await self._seal(pool, scans)
            wants = self.options.filters.wants
            self._open_runs = sum(wants(run) for scan in scans for run in scan.open_runs.values())
            left_s = waited_until_s - self.tools.clock.monotonic()
            has_problems = bool(self._problems or pool.problems)
            if self.options.wait_s is None or not self._open_runs or left_s <= 0 or has_problems:
                return
            log.info("waiting for %d runs that are not done yet", self._open_runs)
            await self.tools.clock.sleep(min(_WAIT_EVERY_S, left_s))
            mends = []

    async def _keep_names(self) -> None:
        """Have the names of projects beside what is archived of them, at hardly any request.

        They are asked for where a project with new runs has none yet, and after a full walk, since a name may
        change. So a quiet night asks for none.
        """
        disk = self.tools.disk
        if not self.options.filters.run_ids:
            look = archived if self._has_walked_all else unnamed
            due = await disk.call(look, disk, self._met if self._has_walked_all else self._news)
            account = self.api.account(self.manifest.archive_id)
            await keep_names(self.api, disk, due, clock=self.tools.clock, account=account)
        self._names = await disk.call(read_names, disk, self._news)

    async def _compare_with_disk(self) -> list[Mend]:
        """What of the archive has to be fetched again; notes how large it is on the way."""
        disk, options = self.tools.disk, self.options
        account, now_ms = self.api.account(self.manifest.archive_id), self.tools.clock.now_ms()
        seals = [self.manifest.scan(scope, account) for scope in options.scopes]
        self._archived = await disk.call(
            compare_store,
            self.store,
            disk,
            options.filters,
            options.wants_entry,
            everything=options.full or any(full_walk_is_due(seal, now_ms) for seal in seals),
        )
        return self._archived.mends

    async def _scan_all(self, pool: Pool) -> list[Scan]:
        """Scan every scope, several at the same time; an error in one leaves the others alone.

        Returns:
            The scans that saw all there is, without a problem.
        """
        looks: list[_Look] = []
        try:
            await self._walk_scopes(pool, looks)
            looks.sort(key=lambda look: self.options.scopes.index(look.scan.scope))
            for look in looks:
                await self._conclude(pool, look)
        finally:
            for look in looks:
                self._problems.extend([look.error] if look.error else [])
                self._problems.extend(look.scan.problems)
        self._raise_if_mute()
        return [look.scan for look in looks if look.is_whole]

    async def _walk_scopes(self, pool: Pool, looks: list[_Look]) -> None:
        """Walk the scopes in lanes, each scope in one. A lane opens when the one before got its first answer.

        So a client that the API does not answer, or does not want, asks no more often than with one lane.
        """
        filters = self.options.filters
        # `--run-id` and `--max-runs` end when there is enough, over the scopes in the order given.
        is_in_turn = bool(filters.run_ids) or filters.max_runs is not None
        waiting = iter(self.options.scopes)
        lanes = range(1 if is_in_turn else min(_SCOPES_AT_ONCE, len(self.options.scopes)))
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
        account = self.api.account(self.manifest.archive_id)
        earlier = self._seals.get(scope)  # of this session: --wait looks again, filters or not
        scan = Scan(
            self.api,
            scope,
            account,
            earlier or self.manifest.scan(scope, account),
            self.manifest.__contains__,
            self.tools.clock,
            full=self.options.full and earlier is None,
            since_ms=self.options.filters.since_ms,
            answered=answered,
        )
        log.info("listing %s%s", scope, " from the beginning" if scan.is_full else "")
        return scan

    async def _walk(self, pool: Pool, look: _Look) -> None:
        """Admit what one scan finds, until there is enough."""
        try:
            async with aclosing(look.scan.iter_completed()) as runs:
                async for run in runs:
                    self.tally.listed_runs += 1
                    await self._admit(pool, run)
                    if self._is_enough():
                        return
            look.saw_all = True
        except ApiError as exc:
            look.error = exc

    async def _conclude(self, pool: Pool, look: _Look) -> None:
        """Look for what has vanished, and keep the seal of a scan that nothing is wrong with.

        Only when all scopes were walked: a run that is gone from one may have moved to another.
        """
        scan = look.scan
        try:
            if look.is_whole and self.options.filters.is_empty and scan.is_full:
                await self._find_vanished(pool, scan)
        except ApiError as exc:
            look.error = exc
        if look.is_whole:
            self._seals[scan.scope] = scan.sealed()
            self._has_walked_all |= scan.is_full and self.options.filters.is_empty

    def _raise_if_mute(self) -> None:
        """Raise the worst problem if the API gave nothing at all to go on."""
        if self._problems and not self.api.successes:
            raise next((p for p in self._problems if isinstance(p, KeyRefusedError)), self._problems[0])

    async def _admit(self, pool: Pool, run: Generation) -> None:
        if run.run_id not in self._admitted and self.options.filters.wants(run):
            self._admitted.add(run.run_id)
            self._wanted_ids.discard(run.run_id)
            place = Place(run.workspace_id, run.project_id)
            self._met.add(place)
            if run.run_id not in self.manifest:
                self._news[place] += 1
            await pool.admit(Visit(run))

    def _is_enough(self) -> bool:
        """Whether the filters leave nothing more to look for."""
        filters = self.options.filters
        has_all_ids = bool(filters.run_ids) and not self._wanted_ids - self._known_wanted()
        has_all_runs = filters.max_runs is not None and len(self._admitted) >= filters.max_runs
        return has_all_ids or has_all_runs

    def _known_wanted(self) -> set[str]:
        return {run_id for run_id in self._wanted_ids if run_id in self.manifest}

    async def _visit_known(self, pool: Pool, mends: Iterable[Mend]) -> None:
        """Ask one by one for runs with something to mend that no list brought."""
        due = self._iter_due(mends)
        self._problems.extend(await visit_by_id(due, pool, self.api, self.tools.disk, self.tally))
        self._missing = sorted(self._wanted_ids)

    def _iter_due(self, mends: Iterable[Mend]) -> Iterator[Mend]:
        limit = self.options.filters.max_runs
        for mend in mends:
            if mend.run_id in self._admitted or (limit is not None and len(self._admitted) >= limit):
                continue
            self._admitted.add(mend.run_id)
            self._wanted_ids.discard(mend.run_id)
            yield mend

    async def _find_vanished(self, pool: Pool, scan: Scan) -> None:
        """Look once more for recorded runs that a full walk did not meet; what is missing twice is gone."""
        missing: list[str] = []
        moments: list[int | None] = []
        for run_id, entry in self.manifest.iter_runs():
            # A workspace of which nothing was listed is another key's, or closed to this one.
            is_due = entry.vanished_at is None and entry.workspace_id in scan.workspaces
            is_met = run_id in scan.seen or run_id in self._admitted
            if is_due and not is_met and scan.scope.holds(entry.workspace_id, entry.project_id):
                missing.append(run_id)
                moments.append(entry.created_at)
        if not missing:
            return
        down_to_ms = min((moment for moment in moments if moment is not None), default=None)
        async for run in scan.iter_again(down_to_ms=None if None in moments else down_to_ms):
            await self._admit(pool, run)
        gone = [run_id for run_id in missing if run_id not in scan.seen]
        if len(gone) <= _ASKED_ONE_BY_ONE:
            gone = [run_id for run_id in gone if await self._is_unknown(run_id)]
        self._vanished.extend(gone)
        at = format_ms(self.tools.clock.now_ms())
        await pool.drain()
        await self.store.append(VanishedOp(run_id, at) for run_id in gone)

    async def _is_unknown(self, run_id: str) -> bool:
        """Whether the API does not know a run; one that was moved out of the scope it does."""
        try:
            await self.api.run(run_id)
        except ApiNotFoundError:
            return True
        return False

    async def _seal(self, pool: Pool, scans: Iterable[Scan]) -> None:
        """Seal what was seen whole. Only after `drain`: a seal says that all below it is recorded."""
        if not self.options.filters.is_empty or pool.problems:
            return
        await self.store.append(ScanOp(self._seals[scan.scope]) for scan in scans)

    def report(self) -> Report:
        """What came of it."""
        tally = self.tally
        return Report(
            listed_runs=tally.runs,
            new_runs=tally.new_runs,
            fetched=tally.fetched,
            adopted=tally.adopted,
            already=tally.already,
            failures=tuple(tally.failures),
            problems=tuple(self._problems),
            missing_runs=tuple(printable(run_id) for run_id in self._missing),
            vanished_runs=tuple(printable(run_id) for run_id in self._vanished),
            open_runs=self._open_runs,
            news=tuple(
                News(*place, self._names.get(place, PlaceName()).project, runs)
                for place, runs in self._news.most_common()
            ),
            new_bytes=tally.new_bytes,
            new_cost=tally.charged_cost,
            archive_runs=len(self.manifest),
            archive_outputs=self._archived.outputs + tally.fetched + tally.adopted,
            archive_bytes=self._archived.size_bytes + tally.new_bytes,
            api_calls=self.api.calls,
            elapsed_s=self.tools.clock.monotonic() - self._began_s,
            is_interrupted=self._is_interrupted,
        )

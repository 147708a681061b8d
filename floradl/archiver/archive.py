"""The main job: list what a scope has, fetch what is missing, record it, seal the past.

The way of one session: lock, read the manifest, compare it with the disk, then scan (`scanner`) and admit
each completed run to the pool; afterwards ask one by one for runs whose outputs failed or whose files are
gone; wait until all is recorded; seal the scans that saw everything; ask for names that are due; fold the
journal.

What goes wrong with one page, run or output is a line of the `Report`, and everything else goes on. The
disk and a lock held by another raise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import httpx

from floradl.api.client import FloraApi
from floradl.archiver.compare import Comparison, compare_store, keep_stamps
from floradl.archiver.folder_cache import FolderStamps
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.projects import AroundRuns, Seen
from floradl.archiver.report import News, Report, UnseenProject
from floradl.archiver.scan import Scan, full_walk_is_due
from floradl.archiver.scanner import Scanner
from floradl.clock import Clock
from floradl.constants import Kind
from floradl.download.context import Context, new_context
from floradl.download.missing import Missing
from floradl.download.pool import GRACE_S, Pool
from floradl.download.refetch import visit_by_id
from floradl.download.tally import Tally
from floradl.errors import FloradlError, printable
from floradl.network.client import MediaClient
from floradl.network.retry import Backoff
from floradl.network.transport import media_transports
from floradl.repository.lock import ArchiveLock
from floradl.repository.manifest import Manifest
from floradl.repository.repository import NOT_BEGUN, Repository, require_archive
from floradl.storage import base
from floradl.storage.destination import Destination
from floradl.tasks import ends_by_itself

_WAIT_EVERY_S = 15.0

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
    tally, stop = tally or Tally(), stop or asyncio.Event()
    disk = Destination(options.dest, fsync=options.fsync, min_free_bytes=options.min_free_bytes)
    context = new_context(options, disk, clock, backoff, tally.traffic)
    new_transport = new_transport or media_transports(
        allow_loopback=context.allow_loopback, timeout_s=options.timeout_s
    )
    try:
        if options.require_existing:
            await disk.call(require_archive, disk, hint=NOT_BEGUN)
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, clock, timeout_s=options.lock_timeout_s, stop=stop):
            await disk.call(disk.clean)
            repository = Repository(disk, clock)
            try:
                await repository.open()
                session = _Session(options, api, repository, context, tally)
                pool = await _new_pool(session, new_transport)
                async with pool.at_work():
                    await session.run(pool, stop)
                await repository.fold(options.base_url)
                await disk.call(keep_stamps, repository, disk, session.stamps)
            finally:
                await repository.close()
    finally:
        disk.close()
    return session.report()


async def _new_pool(session: _Session, new_transport: Callable[[], httpx.AsyncBaseTransport]) -> Pool:
    options, context = session.options, session.context
    partials = await context.disk.call(context.disk.sizes, [base.PARTIALS])
    return Pool(
        context=context,
        api=session.api,
        repository=session.repository,
        filters=options.filters,
        concurrency=options.concurrency,
        new_client=lambda: MediaClient(new_transport(), timeout_s=options.timeout_s),
        partials=frozenset(partials[0]),
        tally=session.tally,
    )


class _Session:
    """The state of one `archive`."""

    def __init__(
        self, options: ArchiveOptions, api: FloraApi, repository: Repository, context: Context, tally: Tally
    ) -> None:
        self.options = options
        self.api = api
        self.repository = repository
        self.context = context
        self.tally = tally
        self._began_s = context.clock.monotonic()
        self._scanner = Scanner(options, api, repository, context.clock, tally)
        self._found = self._scanner.found
        self._problems: list[FloradlError] = []
        self._open_runs = 0
        self._is_interrupted = False
        self._archived = Comparison()
        self._seen = Seen({})

    @property
    def manifest(self) -> Manifest:
        """The archive's memory."""
        return self.repository.manifest

    @property
    def stamps(self) -> FolderStamps:
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
        options, api, context = self.options, self.api, self.context
        around = AroundRuns(options, api, self.repository, context, self.tally, self._found)
        self._seen = await around.keep()
        self._scanner.raise_if_mute()

    async def _archive_all(self, pool: Pool) -> None:
        missing_runs = await self._compare_with_disk()
        waited_until_s = self.context.clock.monotonic() + (self.options.wait_s or 0.0)
        while True:
            scans = await self._scanner.scan_all(pool)
            await self._visit_known(pool, missing_runs)
            self.tally.is_listed = True
            await pool.drain()
            await self._scanner.seal(scans, is_whole=not pool.problems)
            self._open_runs = self._count_open(scans)
            left_s = waited_until_s - self.context.clock.monotonic()
            has_problems = bool(self._found.problems or pool.problems)
            if self.options.wait_s is None or not self._open_runs or left_s <= 0 or has_problems:
                return
            log.info("waiting for %d runs that are not done yet", self._open_runs)
            await self.context.clock.sleep(min(_WAIT_EVERY_S, left_s))
            missing_runs = []

    def _count_open(self, scans: Iterable[Scan]) -> int:
        """How many runs are not done yet, whichever lists have them. An upload may never be."""
        wants = self.options.filters.wants
        found = (run for scan in scans for run in scan.open_runs.values())
        return len({run.run_id for run in found if run.kind is Kind.RUN and wants(run)})

    async def _compare_with_disk(self) -> list[Missing]:
        """What of the archive has to be fetched again; notes how large it is on the way."""
        disk, options = self.context.disk, self.options
        account, now_ms = self.api.account(self.manifest.archive_id), self.context.clock.now_ms()
        scopes = (scope for scopes in options.phases() for scope in scopes)
        seals = [self.manifest.scan(scope, account) for scope in scopes]
        self._archived = await disk.call(
            compare_store,
            self.repository,
            disk,
            options.filters,
            options.wants_entry,
            everything=options.full or any(full_walk_is_due(seal, now_ms) for seal in seals),
        )
        return self._archived.missing_runs

    async def _visit_known(self, pool: Pool, missing_runs: Iterable[Missing]) -> None:
        """Ask one by one for runs with something to mend that no list brought."""
        due = self._scanner.iter_due(missing_runs)
        problems = await visit_by_id(due, pool, self.api, self.context.disk, self.tally)
        self._found.problems.extend(problems)
        self._scanner.raise_if_mute()

    def report(self) -> Report:
        """What came of it."""
        tally, found = self.tally, self._found
        vanished: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for run_id in found.vanished:
            vanished[self.manifest.kind(run_id)].append(printable(run_id))
        return Report(
            listed_runs=tally.runs,
            new_runs=tally.new_runs,
            fetched=tally.fetched,
            adopted=tally.adopted,
            already=tally.already,
            failures=tuple(tally.failures),
            problems=(*found.problems, *self._problems),
            missing_runs=tuple(printable(run_id) for run_id in found.missing),
            vanished_runs=tuple(vanished[Kind.RUN]),
            open_runs=self._open_runs,
            news=tuple(
                News(*place, self._seen.name_of(place), number - assets, assets)
                for place, number in found.news.most_common()
                for assets in [found.new_assets[place]]
            ),
            new_bytes=tally.new_bytes,
            new_cost=tally.charged_cost,
            sources=found.of_sources(self.options.sources),
            archive_runs=self.manifest.count(Kind.RUN),
            archive_outputs=self._archived.outputs + tally.fetched + tally.adopted,
            archive_bytes=self._archived.size_bytes + tally.new_bytes,
            api_calls=self.api.calls,
            elapsed_s=self.context.clock.monotonic() - self._began_s,
            is_interrupted=self._is_interrupted,
            listed_assets=tally.assets,
            new_assets=tally.new_assets,
            vanished_assets=tuple(vanished[Kind.ASSET]),
            archive_assets=self.manifest.count(Kind.ASSET),
            archive_canvases=self.manifest.count(Kind.CANVAS),
            unseen=tuple(UnseenProject(*place, self._seen.name_of(place)) for place in self._seen.unseen),
        )

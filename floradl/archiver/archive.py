"""The archive job: list what each scope has, fetch what is missing, record it, seal the past.

What one session does, in this order:

1. Lock the archive, read its manifest and journal (`download.session`).
2. Compare the manifest with the folders, to know which recorded files are gone (`compare`).
3. Scan the lists of FLORA (`scanner`), and admit each completed run to the pool as soon as it is listed.
4. Ask one by one for the runs whose outputs failed or whose files are gone, and that no list brought.
5. Wait until everything is recorded. Only then seal the scans that saw everything: a seal says that all
   below it is recorded, so a seal written earlier could hide a run for ever.
6. Keep canvases and the names of projects (`projects`).
7. Fold the journal into `manifest.json`; only then write the folders' stamps, since they are valid for one
   `manifest.json` and would be for none if they came first.

What goes wrong with one page, run or output becomes a line of the `Report`, and everything else goes on. A
disk that fails and a lock that another floradl holds raise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

import httpx

from floradl.api.client import FloraApi
from floradl.api.unknown_ids import unknown_places
from floradl.archiver.compare import Comparison, compare_repository, keep_stamps
from floradl.archiver.folder_cache import FolderStamps
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.projects import AroundRuns, SeenProjects
from floradl.archiver.report import News, Report, UnseenProject
from floradl.archiver.scan import Scan, full_walk_is_due
from floradl.archiver.scanner import Scanner
from floradl.clock import Clock
from floradl.constants import Kind
from floradl.download.context import Context
from floradl.download.missing import Missing
from floradl.download.pool import GRACE_S, Pool
from floradl.download.refetch import visit_by_id
from floradl.download.session import open_session
from floradl.download.tally import Tally
from floradl.errors import FloradlError, printable
from floradl.network.retry import Backoff
from floradl.repository.manifest import Manifest
from floradl.repository.repository import NOT_BEGUN, Repository, require_archive
from floradl.tasks import ends_by_itself

_WAIT_EVERY_S = 15.0
"""How long `--wait` pauses before it lists everything once more."""

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
        options: what to archive, and how.
        api: an open session with the API.
        clock: time, for tests.
        new_transport: makes the httpx transport of one media client, for tests.
        backoff: the waits between tries, for tests.
        stop: set it to end early; running transfers then get `GRACE_S` seconds.
        tally: kept up to date, for a display.

    Raises:
        DestinationError: the folder cannot be used.
        LockedError: another floradl uses the archive.
        ApiError: not one page could be read.
    """
    clock = clock or Clock()
    tally, stop = tally or Tally(), stop or asyncio.Event()
    async with open_session(
        options,
        options.dest,
        clock=clock,
        backoff=backoff,
        new_transport=new_transport,
        traffic=tally.traffic,
        min_free_bytes=options.min_free_bytes,
    ) as session:
        disk = session.context.disk
        require = partial(require_archive, hint=NOT_BEGUN) if options.require_existing else None
        async with (
            session.locked(timeout_s=options.lock_timeout_s, stop=stop, require=require),
            session.opened_repository() as repository,
        ):
            job = _Job(options, api, repository, session.context, tally)
            pool = await session.new_pool(repository, api, options.filters, tally)
            async with pool.at_work():
                await job.run(pool, stop)
            # After the pool has ended: a fold removes the journal, and nothing may append to it any more.
            await repository.fold(options.base_url)
            await disk.call(keep_stamps, repository, disk, job.stamps)
    return job.report()


class _Job:
    """The state of one `archive`.

    Args:
        options: what was asked for.
        api: an open session with the API.
        repository: the manifest, open.
        context: the archive's disk, and time.
        tally: kept up to date.
    """

    def __init__(
        self, options: ArchiveOptions, api: FloraApi, repository: Repository, context: Context, tally: Tally
    ) -> None:
        self._options = options
        self._api = api
        self._repository = repository
        self._context = context
        self._tally = tally
        self._began_s = context.clock.monotonic()
        self._scanner = Scanner(options, api, repository, context.clock, tally)
        self._results = self._scanner.results
        self._problems: list[FloradlError] = []
        self._open_runs = 0
        self._is_interrupted = False
        self._comparison = Comparison()
        self._projects = SeenProjects({})

    @property
    def _manifest(self) -> Manifest:
        return self._repository.manifest

    @property
    def stamps(self) -> FolderStamps:
        """Which folders the next session need not list: the stamps that its comparison will read."""
        return self._comparison.stamps

    async def run(self, pool: Pool, stop: asyncio.Event) -> None:
        """Do everything, or as much of it as is done when `stop` is set and the grace is over."""
        try:
            if not await ends_by_itself(self._work(pool), stop):
                self._is_interrupted = self._tally.is_stopping = True
                await pool.wind_down(GRACE_S)
        finally:
            self._problems.extend(pool.problems)

    async def _work(self, pool: Pool) -> None:
        await self._archive_runs(pool)
        around = AroundRuns(
            self._options, self._api, self._repository, self._context, self._tally, self._results
        )
        self._projects = await around.keep()
        self._problems.extend(await unknown_places(self._api, self._scanner.silent_scopes))
        self._scanner.raise_if_nothing_answered()

    async def _archive_runs(self, pool: Pool) -> None:
        """Archive runs and assets; with `--wait` again and again, until no run is open any more."""
        missing_runs = await self._compare_with_disk()
        waited_until_s = self._context.clock.monotonic() + (self._options.wait_s or 0.0)
        while True:
            scans = await self._scanner.scan_all(pool)
            await self._visit_missing(pool, missing_runs)
            self._tally.is_listed = True
            # The seals come after all that was admitted is recorded. Killed in between, the next session
            # walks down to the older seals and meets everything once more.
            await pool.drain()
            await self._scanner.seal(scans, is_whole=not pool.problems)
            self._open_runs = self._count_open(scans)
            left_s = waited_until_s - self._context.clock.monotonic()
            has_problems = bool(self._results.problems or pool.problems)
            if self._options.wait_s is None or not self._open_runs or left_s <= 0 or has_problems:
                return
            log.info("waiting for %d runs that are not done yet", self._open_runs)
            await self._context.clock.sleep(min(_WAIT_EVERY_S, left_s))
            missing_runs = []  # they were asked for in the first round

    def _count_open(self, scans: Iterable[Scan]) -> int:
        """How many runs are not done yet, each counted once. Assets do not count: an upload may never end."""
        wants = self._options.filters.wants
        open_runs = (run for scan in scans for run in scan.open_runs.values())
        return len({run.run_id for run in open_runs if run.kind is Kind.RUN and wants(run)})

    async def _compare_with_disk(self) -> list[Missing]:
        """Which runs have outputs to fetch again. Keeps the archive's size and the stamps for later."""
        disk, options = self._context.disk, self._options
        account, now_ms = self._api.account(self._manifest.archive_id), self._context.clock.now_ms()
        scopes = (scope for scopes in options.phases() for scope in scopes)
        seals = [self._manifest.scan(scope, account) for scope in scopes]
        self._comparison = await disk.call(
            compare_repository,
            self._repository,
            disk,
            options.filters,
            options.wants_entry,
            everything=options.full or any(full_walk_is_due(seal, now_ms) for seal in seals),
        )
        return self._comparison.missing_runs

    async def _visit_missing(self, pool: Pool, missing_runs: Iterable[Missing]) -> None:
        """Ask one by one for the runs with outputs to fetch again that no list brought."""
        due = self._scanner.iter_due(missing_runs)
        problems = await visit_by_id(due, pool, self._api, self._context.disk, self._tally)
        self._results.problems.extend(problems)
        self._scanner.raise_if_nothing_answered()

    def report(self) -> Report:
        """What came of it."""
        tally, results = self._tally, self._results
        vanished: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for run_id in results.vanished:
            vanished[self._manifest.kind(run_id)].append(printable(run_id))
        return Report(
            listed_runs=tally.runs,
            new_runs=tally.new_runs,
            fetched=tally.fetched,
            adopted=tally.adopted,
            already=tally.already,
            failures=tuple(tally.failures),
            other_sizes=tuple(tally.other_sizes),
            problems=(*results.problems, *self._problems),
            missing_runs=tuple(printable(run_id) for run_id in results.missing),
            vanished_runs=tuple(vanished[Kind.RUN]),
            open_runs=self._open_runs,
            news=tuple(
                News(*place, self._projects.name_of(place), number - assets, assets)
                for place, number in results.news.most_common()
                for assets in [results.new_assets[place]]
            ),
            new_bytes=tally.new_bytes,
            new_cost=tally.charged_cost,
            sources=results.of_sources(self._options.sources),
            archive_runs=self._manifest.count(Kind.RUN),
            archive_outputs=self._comparison.outputs + tally.fetched + tally.adopted,
            archive_bytes=self._comparison.size_bytes + tally.new_bytes,
            api_calls=self._api.calls,
            elapsed_s=self._context.clock.monotonic() - self._began_s,
            is_interrupted=self._is_interrupted,
            listed_assets=tally.assets,
            new_assets=tally.new_assets,
            vanished_assets=tuple(vanished[Kind.ASSET]),
            archive_assets=self._manifest.count(Kind.ASSET),
            archive_canvases=self._manifest.count(Kind.CANVAS),
            unseen=tuple(
                UnseenProject(*place, self._projects.name_of(place)) for place in self._projects.unseen
            ),
        )

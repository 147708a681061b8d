"""Bounded workers with one recorder.

A run goes in by `Pool.admit` and passes three stages, each behind a bounded queue, so that what is in
memory depends on the settings and not on the history:

1. Preparers look at the disk, decide (`prepare`), and write what needs no network.
2. Workers bring one output at a time under its final name.
3. One recorder journals what came of it, many results to a flush.

A run's facts enter the last queue before its outputs enter the second, so the journal never has an
output of a run that it does not know. Only the disk stops a pool; everything else is a result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import PurePosixPath

from floradl.api.client import FloraApi
from floradl.api.models import MEDIA_TYPES, Filters, Generation
from floradl.api.walk import with_outputs
from floradl.clock import format_ms
from floradl.constants import Kind
from floradl.download import dedupe
from floradl.download.commit import WantedOutput
from floradl.download.context import Context
from floradl.download.dedupe import iter_shareable, shares_content
from floradl.download.plan import (
    Action,
    RecordRule,
    Visit,
    at_recorded_place,
    is_complete_on_disk,
    run_folder,
)
from floradl.download.prepare import Job, Prepared, Preparer, with_kept_entry
from floradl.download.tally import Tally
from floradl.download.transfer import fetch_output
from floradl.errors import ApiError, ApiUnavailableError, FloradlError, KeyRefusedError, printable
from floradl.network.client import MediaClient
from floradl.repository import filetype
from floradl.repository.entries import RunEntry
from floradl.repository.repository import Repository
from floradl.repository.results import Failure, Receipt, Result, op_of, receipt_of
from floradl.storage.base import Written

_PREPARERS = 8
_RESULTS = 512
_MAX_FRESH_RUNS = 256

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""How long transfers may go on after the first signal."""


class Pool:
    """The workers of one session.

    Args:
        context: shared by all transfers.
        api: for outputs and fresh URLs; None when there is no key.
        repository: where results are recorded.
        filters: which outputs are wanted.
        concurrency: how many outputs are worked on at the same time.
        new_client: makes a media client.
        partials: names of the partials that earlier processes left.
        tally: kept up to date.

    Attributes:
        problems: API errors that leave something unknown.
        replaced: receipts of outputs whose damaged files were set aside.
        kept_aside: where other things went that stood in the way.
    """

    def __init__(
        self,
        *,
        context: Context,
        api: FloraApi | None,
        repository: Repository,
        filters: Filters,
        concurrency: int,
        new_client: Callable[[], MediaClient],
        partials: frozenset[str],
        tally: Tally,
    ) -> None:
        self._context = context
        self._api = api
        self._repository = repository
        self._filters = filters
        self._concurrency = concurrency
        self._new_client = new_client
        self._preparer = Preparer(context.disk, filters, partials)
        self._tally = tally
        self._visits: asyncio.Queue[Visit] = asyncio.Queue(_PREPARERS)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(2 * concurrency)
        self._results: asyncio.Queue[Result] = asyncio.Queue(_RESULTS)
        self._preparers: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._fresh: dict[str, Generation] = {}
        self._fresh_lock = asyncio.Lock()
        self._no_fresh: ApiError | None = None
        self.problems: list[ApiError] = []
        self.replaced: list[Receipt] = []
        self.kept_aside: list[PurePosixPath] = []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """The pool at work. The error that ended it comes out bare, not wrapped in a group."""
        try:
            async with self._context.writer_pool, self._new_client() as client, asyncio.TaskGroup() as group:
                self._start(group, client)
                yield
                self._close()
        except BaseExceptionGroup as exc:
            raise _first(exc) from exc

    async def admit(self, visit: Visit) -> None:
        """Take a run in; waits while the pool is full."""
        await self._visits.put(visit)

    async def drain(self) -> None:
        """Wait until everything admitted is done and recorded."""
        await self._visits.join()
        await self._jobs.join()
        await self._results.join()

    async def wind_down(self, grace_s: float) -> None:
        """Take nothing new, give running transfers a last while, record what is done.

        Args:
            grace_s: what is not done by then is cancelled and stays as a partial.
        """
        self._is_stopping = True
        await _cancel(self._preparers)
        try:
            async with asyncio.timeout(grace_s):
                await self._jobs.join()
        except TimeoutError:
            await _cancel(self._workers)
        await self._results.join()

    def _start(self, group: asyncio.TaskGroup, client: MediaClient) -> None:
        """All tasks go into one group, which a failing disk ends as a whole."""
        self._preparers = [group.create_task(self._prepare_all()) for _ in range(_PREPARERS)]
        self._workers = [group.create_task(self._work_all(client)) for _ in range(self._concurrency)]
        self._recorder = group.create_task(self._record_all())

    def _close(self) -> None:
        for task in (*self._preparers, *self._workers, self._recorder):
            task.cancel()

    async def _prepare_all(self) -> None:
        while True:
            visit = await self._visits.get()
            try:
                await self._prepare(visit)
            except ApiError as exc:
                self.problems.append(
                    exc.concerning(f"{visit.run.kind} {printable(visit.run.run_id, limit=80)}")
                )
            finally:
                self._visits.task_done()

    async def _prepare(self, visit: Visit) -> None:
        entry = self._repository.manifest.run(visit.run.run_id)
        run, rule = await self._with_outputs(visit, entry)
        prepared = await self._context.disk.call(self._preparer.prepare, visit, run, rule, entry)
        for aside in prepared.kept_aside:
            self._keep(aside)
        if not prepared.is_due:
            return
        if visit.only != frozenset():  # counted when another list had it
            self._tally.note(run.kind, is_new=entry is None)
        self._tally.charged_cost += 0.0 if entry else prepared.run.charged_cost or 0.0
        self._tally.outputs += prepared.outputs
        self._tally.already += prepared.already
        for result in prepared.results_of(await self._written(prepared)):
            await self._results.put(result)
        for job in prepared.jobs:
            await self._jobs.put(job)

    async def _written(self, prepared: Prepared) -> list[Written]:
        """Write what needs no network."""
        files = prepared.files
        if not files:
            return []
        return await self._context.writer_pool.write(prepared.folder, files, prepared.mtime_ms)

    async def _with_outputs(self, visit: Visit, entry: RunEntry | None) -> tuple[Generation, RecordRule]:
        """A run's record with its outputs, asked for where the list lacks them and they are not all here."""
        run = visit.run
        if run.outputs is not None or self._api is None:
            return run, visit.record
        (files,) = await self._context.disk.call(
            self._context.disk.sizes, [run_folder(at_recorded_place(run, entry))]
        )
        if is_complete_on_disk(entry, self._filters, files):
            return run, RecordRule.KEEP  # what the list has is less than what was asked for the last time
        return await with_outputs(self._api, run), visit.record

    async def _work_all(self, client: MediaClient) -> None:
        while True:
            job = await self._jobs.get()
            try:
                if not self._is_stopping:
                    await self._results.put(await self._work(job, client))
            finally:
                self._jobs.task_done()

    async def _work(self, job: Job, client: MediaClient) -> Receipt | Failure:
        action = job.decision.action
        if self._context.disk.min_free_bytes:
            await self._context.disk.call(self._context.disk.require_room)
        run, output = job.run, job.decision.output
        shares = shares_content(run)
        if shares:
            entries = (entry for _, entry in self._repository.manifest.iter_entries(dedupe.SHARED_KIND))
            self._context.content_index.fill(lambda: iter_shareable(entries))
        if action == Action.RECORD and (receipt := await self._adopt(job)) is not None:
            if shares:
                self._context.content_index.put(receipt.sha256, job.folder / receipt.file)
            return receipt
        wanted = WantedOutput(
            run_id=run.run_id,
            key=output.key,
            type=output.type,
            url=output.value or "",
            folder=job.folder,
            mtime_ms=run.done_at_ms,
            has_partial=action == Action.RESUME,
            replaces=job.replaces,
            size_bytes=output.size_bytes,
            shares=shares,
        )
        result = await fetch_output(wanted, client, self._context, partial(self._fresh_url, run.kind))
        return with_kept_entry(result, job) if isinstance(result, Failure) else result

    async def _adopt(self, job: Job) -> Receipt | None:
        """Record a file that was renamed into place and not recorded; None when it cannot be the output."""
        run, output, file = job.run, job.decision.output, job.decision.file or ""
        digest = await self._context.disk.call(self._context.disk.adopt, job.folder / file)
        if output.type in MEDIA_TYPES and filetype.page_instead_of_media(digest.head, ""):
            return None
        return receipt_of(run.run_id, output, file, digest, is_fetched=False)

    async def _fresh_url(self, kind: Kind, run_id: str, key: str) -> str | None:
        """The API's current URL of an output; one request a run, however many of its outputs ask."""
        if self._api is None:
            return None
        async with self._fresh_lock:
            if self._no_fresh is not None:
                raise self._no_fresh
            if run_id not in self._fresh:
                if len(self._fresh) >= _MAX_FRESH_RUNS:
                    self._fresh.pop(next(iter(self._fresh)))
                try:
                    self._fresh[run_id] = await self._api.item(kind, run_id)
                except (ApiUnavailableError, KeyRefusedError) as exc:
                    # Every dead URL would wait for the same answer; the next run asks again.
                    self._no_fresh = exc
                    self.problems.append(exc)
                    raise
            run = self._fresh[run_id]
        return next((output.value for output in run.outputs or () if output.key == key), None)

    async def _record_all(self) -> None:
        while True:
            batch = [await self._results.get()]
            while not self._results.empty():
                batch.append(self._results.get_nowait())
            at = format_ms(self._context.clock.now_ms())
            await self._repository.append(op for result in batch if (op := op_of(result, at)) is not None)
            for result in batch:
                self._count(result)
                self._results.task_done()

    def _keep(self, aside: PurePosixPath) -> None:
        log.warning("what stood in the way of a file is kept: %s", aside)
        self.kept_aside.append(aside)

    def _count(self, result: Result) -> None:
        if isinstance(result, Receipt):
            self._tally.fetched += result.is_fetched
            self._tally.adopted += not result.is_fetched
            self._tally.new_bytes += result.size_bytes
            if result.aside is not None:
                self.replaced.append(result)
            if result.in_the_way is not None:
                self._keep(result.in_the_way)
            log.info(
                "archived %s %s: %s, %d bytes",
                result.run_id,
                result.key,
                result.file,
                result.size_bytes,
                extra={
                    "event": "archived",
                    "run": result.run_id,
                    "output": result.key,
                    "bytes": result.size_bytes,
                },
            )
        elif isinstance(result, Failure):
            self._tally.fail(result)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error in a group that says most: ours before any other."""
    errors = [_first(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    return next((error for error in errors if isinstance(error, FloradlError)), errors[0])

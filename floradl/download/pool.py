"""The workers of a session: many prepare and fetch, and one recorder journals what they have done.

A run goes in by `Pool.admit` and passes three stages. Each has a bounded queue before it, so the memory that
is used depends on the settings, and not on how many runs the account has.

1. Preparers list the run's folder, decide about its outputs (`prepare`), and write its record and its texts.
2. Workers fetch one output at a time and give it its final name (`transfer`, `commit`).
3. The recorder journals the results, as many as there are with one flush, and counts them only then.

Order: a run's facts enter the third queue before its outputs enter the second. So the journal never has an
output of a run that it does not know, wherever a crash cuts it.

There is one recorder because the journal is one file that is appended to. Two of them could write the facts
of a run after its outputs, and would flush twice as often.

A failing output is a result like any other. Only an error of the disk (`DestinationError`) ends a pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from floradl.api.client import FloraApi
from floradl.api.models import Filters, Generation
from floradl.api.walk import with_outputs
from floradl.clock import format_ms
from floradl.constants import Kind
from floradl.download import dedupe
from floradl.download.commit import WantedOutput
from floradl.download.context import Context
from floradl.download.dedupe import iter_shareable, shares_content
from floradl.download.imagekit import original_url
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
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.found_files import find_output
from floradl.repository.repository import Repository
from floradl.repository.results import Failure, Receipt, Result, op_of, receipt_of
from floradl.storage.base import Written

_PREPARERS = 8
"""So many runs are prepared at the same time; more would only wait for the threads of the disk."""

_RESULTS = 512
"""The length of the queue before the recorder, and so the most results that one flush makes durable."""

_MAX_FRESH_RUNS = 256
"""So many records are kept for fresh URLs. Each may be large, and is needed only while its run is fetched."""

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""For how many seconds transfers may go on after the first signal."""


class Pool:
    """The workers of one session.

    Args:
        context: shared by all transfers.
        api: gives the outputs of runs and fresh URLs; None if there is no key.
        repository: where results are journaled; all of them by the one recorder.
        filters: which outputs are wanted.
        concurrency: how many outputs are worked on at the same time.
        new_client: makes the media client, when the pool starts.
        partials: the names of the partials that earlier processes left.
        tally: is kept up to date.

    Attributes:
        problems: the API errors because of which something about the runs is not known.
        replaced: the receipts of outputs whose damaged files were set aside.
        kept_aside: where other things were moved that stood in the way of a file.
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
        self._fresh_runs: dict[str, Generation] = {}
        self._fresh_lock = asyncio.Lock()
        self._fresh_error: ApiError | None = None
        self.problems: list[ApiError] = []
        self.replaced: list[Receipt] = []
        self.kept_aside: list[PurePosixPath] = []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Run the pool; leaving the block ends it.

        Call `drain` or `wind_down` before the block ends normally: what is still in the queues is dropped.

        Raises:
            DestinationError: the disk failed. The error is raised by itself, not in an exception group.
        """
        try:
            async with self._context.writer_pool, self._new_client() as client, asyncio.TaskGroup() as group:
                self._start(group, client)
                yield
                self._close()
        except BaseExceptionGroup as exc:
            raise _error_to_raise(exc) from exc

    async def admit(self, visit: Visit) -> None:
        """Take a run in; waits while the first queue is full, and so slows down whoever reads the lists."""
        await self._visits.put(visit)

    async def drain(self) -> None:
        """Wait until everything that was admitted is done and journaled.

        Order: the queues are waited for in the order in which a run passes them. Each stage puts its results
        into the next queue before it marks its own item as done, so nothing is between two queues unseen.
        """
        await self._visits.join()
        await self._jobs.join()
        await self._results.join()

    async def wind_down(self, grace_s: float) -> None:
        """End early: prepare nothing more, let running transfers end, journal all that was done.

        Args:
            grace_s: transfers that have not ended after so many seconds are cancelled; what came of them
                stays as partials.
        """
        # Order: first this flag, so that workers drop the jobs which wait in their queue; then the preparers,
        # so that no new jobs come; the recorder last, since cancelled workers have still put in results.
        self._is_stopping = True
        await _cancel(self._preparers)
        try:
            async with asyncio.timeout(grace_s):
                await self._jobs.join()
        except TimeoutError:
            await _cancel(self._workers)
        await self._results.join()

    def _start(self, group: asyncio.TaskGroup, client: MediaClient) -> None:
        """Begin all tasks, in one group: a failing disk ends all of them together."""
        self._preparers = [group.create_task(self._prepare_all()) for _ in range(_PREPARERS)]
        self._workers = [group.create_task(self._work_all(client)) for _ in range(self._concurrency)]
        self._recorder = group.create_task(self._record_all())

    def _close(self) -> None:
        """End the tasks, which wait at their queues for ever otherwise."""
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
            self._note_kept_aside(aside)
        if not prepared.is_due:
            return
        # A visit about the record alone is of a run that another list had before, and counted then.
        if visit.only != frozenset():
            self._tally.note(run.kind, is_new=entry is None)
        self._tally.charged_cost += 0.0 if entry else prepared.run.charged_cost or 0.0
        self._tally.outputs += prepared.outputs
        self._tally.already += prepared.already
        await self._repository.append(prepared.announced)
        # Order: the files are durable before their results go to the recorder, and the facts of the run are
        # in its queue before any of its outputs can be fetched.
        for result in prepared.results_of(await self._write_files(prepared)):
            await self._results.put(result)
        for job in prepared.jobs:
            await self._jobs.put(job)

    async def _write_files(self, prepared: Prepared) -> list[Written]:
        """Write the record and the texts of a run; they are durable afterwards."""
        files = prepared.files
        if not files:
            return []
        return await self._context.writer_pool.write(prepared.folder, files, prepared.mtime_ms)

    async def _with_outputs(self, visit: Visit, entry: RunEntry | None) -> tuple[Generation, RecordRule]:
        """The record of a run with its outputs, and what becomes of the `run.json` on the disk.

        FLORA is asked for the outputs if the list did not give them, unless all of them are archived anyway.

        Raises:
            ApiError: it could not be asked.
        """
        run = visit.run
        if run.outputs is not None or self._api is None:
            return run, visit.record
        (files,) = await self._context.disk.call(
            self._context.disk.sizes, [run_folder(at_recorded_place(run, entry))]
        )
        if is_complete_on_disk(entry, self._filters, files):
            return run, RecordRule.KEEP  # the archived record has outputs, the one of the list has none
        return await with_outputs(self._api, run), visit.record

    async def _work_all(self, client: MediaClient) -> None:
        while True:
            job = await self._jobs.get()
            try:
                if not self._is_stopping:
                    result = await self._work(job, client)
                    if result is not None:
                        await self._results.put(result)
            finally:
                self._jobs.task_done()

    async def _work(self, job: Job, client: MediaClient) -> Receipt | Failure | None:
        """Fetch or record one output.

        Returns:
            What came of it; None where all stays as it was.

        Raises:
            DestinationError: the disk, also if it has less room than `--min-free` asks for.
        """
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
            content_type=output.content_type,
        )
        if action == Action.RENEW:
            return await self._renew(wanted, client)
        result = await fetch_output(wanted, client, self._context, partial(self._fresh_url, run.kind))
        return with_kept_entry(result, job) if isinstance(result, Failure) else result

    async def _renew(self, wanted: WantedOutput, client: MediaClient) -> Receipt | None:
        """Ask for the original of an output of which a compressed file is archived.

        A refusal changes nothing, and costs no call of the API: the file that is there is whole.
        """
        original = replace(wanted, url=original_url(wanted.url) or wanted.url)
        result = await fetch_output(original, client, self._context, fresh_url=None)
        if isinstance(result, Receipt):
            return result
        self._tally.already += 1
        log.info("%s: no original yet: %s", wanted.name, result.message, extra=wanted.about)
        return None

    async def _adopt(self, job: Job) -> Receipt | None:
        """Hash a file that was renamed into place and not journaled before a process was killed.

        Returns:
            Its receipt. It is flushed before, since the killed process may not have done that. None if no
            file that bears the output's name proves to be the output.
        """
        run, output, disk = job.run, job.decision.output, self._context.disk
        record = job.folder / (layout.record_name(run.kind) or "")
        file = await disk.call(find_output, disk, record, output, run.done_at_ms, job.decision.candidates)
        if file is None:
            return None
        digest = await disk.call(disk.adopt, job.folder / file)
        return receipt_of(run.run_id, output, file, digest, is_fetched=False)

    async def _fresh_url(self, kind: Kind, run_id: str, key: str) -> str | None:
        """The API's current URL of an output; None if there is none.

        The lock makes the outputs of one run, whose URLs expire together, share one request.

        Raises:
            ApiError: it could not be asked. An error that every request would meet is raised again for later
                outputs, without asking.
        """
        if self._api is None:
            return None
        async with self._fresh_lock:
            if self._fresh_error is not None:
                raise self._fresh_error
            if run_id not in self._fresh_runs:
                if len(self._fresh_runs) >= _MAX_FRESH_RUNS:
                    self._fresh_runs.pop(next(iter(self._fresh_runs)))
                try:
                    self._fresh_runs[run_id] = await self._api.item(kind, run_id)
                except (ApiUnavailableError, KeyRefusedError) as exc:
                    # Otherwise every expired URL would wait through all retries for the same answer. The next
                    # session asks again.
                    self._fresh_error = exc
                    self.problems.append(exc)
                    raise
            run = self._fresh_runs[run_id]
        return next((output.value for output in run.outputs or () if output.key == key), None)

    async def _record_all(self) -> None:
        """Journal all results, in the order in which they came.

        Order: the results are counted, and their queue items marked as done, only after the journal is
        flushed. So neither a display nor `drain` ever speaks of an output that a power cut could make unknown
        again.
        """
        while True:
            batch = [await self._results.get()]
            while not self._results.empty():
                batch.append(self._results.get_nowait())
            at = format_ms(self._context.clock.now_ms())
            await self._repository.append(op for result in batch if (op := op_of(result, at)) is not None)
            for result in batch:
                self._count(result)
                self._results.task_done()

    def _note_kept_aside(self, aside: PurePosixPath) -> None:
        log.warning("what stood in the way of a file is kept: %s", aside)
        self.kept_aside.append(aside)

    def _count(self, result: Result) -> None:
        if isinstance(result, Receipt):
            self._tally.fetched += result.is_fetched
            self._tally.adopted += not result.is_fetched
            self._tally.new_bytes += result.size_bytes
            if result.announced_bytes is not None:
                self._tally.other_sizes.append(result)
            if result.aside is not None:
                self.replaced.append(result)
            if result.in_the_way is not None:
                self._note_kept_aside(result.in_the_way)
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


def _error_to_raise(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group to raise: an error of floradl, or else the first."""
    errors = [_error_to_raise(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    return next((error for error in errors if isinstance(error, FloradlError)), errors[0])

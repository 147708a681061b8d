"""Bounded workers with one recorder.

A run goes in by `Pool.admit` and passes three stages, each behind a bounded queue, so that what is in
memory depends on the settings and not on the history:

1. Preparers look at the disk, decide (`plan`), and write `run.json`.
2. Workers, each with a media client of its own, bring one output at a time under its final name.
3. One recorder journals what came of it, many results to a flush.

A run's facts enter the last queue before its outputs enter the second, so the journal never has an
output of a run that it does not know. Only the disk stops a pool; everything else is a result.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from floradl import layout, media
from floradl.api import FloraApi
from floradl.clock import format_ms
from floradl.durable import Digest
from floradl.entries import (
    ErrorEntry,
    Op,
    OutputEntry,
    OutputOp,
    RunEntry,
    RunFacts,
    RunOp,
    State,
    VanishedOp,
)
from floradl.errors import ApiError, ApiUnavailableError, KeyRefusedError, printable, safe_url
from floradl.listing import with_outputs
from floradl.manifest import Store
from floradl.model import MEDIA_TYPES, Failure, Filters, Generation, Receipt
from floradl.plan import (
    Action,
    Decision,
    OnDisk,
    at_recorded_place,
    decide_run,
    is_known_whole,
    run_folder,
)
from floradl.transfer import Tools, Traffic, Wanted, fetch_output

_PREPARERS = 8
_RESULTS = 512
_MAX_FRESH_RUNS = 256

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What has been done so far; read by progress displays while a pool is at work."""

    runs: int = 0
    new_runs: int = 0
    outputs: int = 0
    already: int = 0
    fetched: int = 0
    adopted: int = 0
    failed: int = 0
    new_bytes: int = 0
    charged_cost: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def done(self) -> int:
        """Outputs about which nothing is left to do."""
        return self.already + self.fetched + self.adopted + self.failed


@dataclass(frozen=True, slots=True)
class Visit:
    """A completed run to archive.

    Args:
        run: its record.
        keeps_record: leave a `run.json` that is there as it is: the record is put together from parts.
    """

    run: Generation
    keeps_record: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    run: Generation
    decision: Decision


class Pool:
    """The workers of one session.

    Args:
        tools: shared by all transfers.
        api: for outputs and fresh URLs.
        store: where results are recorded.
        filters: which outputs are wanted.
        concurrency: how many outputs are worked on at the same time.
        new_client: makes a media client.
        partials: names of the partials that earlier processes left.
        tally: kept up to date.

    Attributes:
        problems: API errors that leave something unknown.
    """

    def __init__(
        self,
        *,
        tools: Tools,
        api: FloraApi,
        store: Store,
        filters: Filters,
        concurrency: int,
        new_client: Callable[[], httpx.AsyncClient],
        partials: frozenset[str],
        tally: Tally,
    ) -> None:
        self._tools = tools
        self._api = api
        self._store = store
        self._filters = filters
        self._concurrency = concurrency
        self._new_client = new_client
        self._partials = partials
        self._tally = tally
        self._visits: asyncio.Queue[Visit] = asyncio.Queue(_PREPARERS)
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(2 * concurrency)
        self._results: asyncio.Queue[RunOp | VanishedOp | Receipt | Failure] = asyncio.Queue(_RESULTS)
        self._preparers: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._fresh: dict[str, Generation] = {}
        self._fresh_lock = asyncio.Lock()
        self._no_fresh: ApiError | None = None
        self.problems: list[ApiError] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start all tasks in `group`, which a failing disk ends as a whole."""
        self._preparers = [group.create_task(self._prepare_all()) for _ in range(_PREPARERS)]
        self._workers = [group.create_task(self._work_all()) for _ in range(self._concurrency)]
        self._recorder = group.create_task(self._record_all())

    async def admit(self, visit: Visit) -> None:
        """Take a run in; waits while the pool is full."""
        await self._visits.put(visit)

    async def drain(self) -> None:
        """Wait until everything admitted is done and recorded."""
        await self._visits.join()
        await self._jobs.join()
        await self._results.join()

    def close(self) -> None:
        """Send the workers home. Only after `drain` or `wind_down`."""
        for task in (*self._preparers, *self._workers, self._recorder):
            task.cancel()

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

    async def _prepare_all(self) -> None:
        while True:
            visit = await self._visits.get()
            try:
                await self._prepare(visit)
            except ApiError as exc:
                self.problems.append(exc.concerning(f"run {printable(visit.run.run_id, limit=80)}"))
            finally:
                self._visits.task_done()

    async def _prepare(self, visit: Visit) -> None:
        run = visit.run
        entry = self._store.manifest.run(run.run_id)
        folder = run_folder(at_recorded_place(run, entry))
        (files,) = await self._tools.disk.call(self._tools.disk.sizes, [folder])
        keeps_record = visit.keeps_record
        if run.outputs is None:
            if is_known_whole(entry, self._filters, files):
                keeps_record = True  # what the list has is less than what was asked for the last time
            else:
                run = await with_outputs(self._api, run)
        run = at_recorded_place(run, entry)
        decisions = decide_run(run, entry, self._filters, OnDisk(files, self._partials))
        if self._filters.types and not decisions:
            return
        has_record = entry is not None and layout.RUN_RECORD in files
        if not (has_record and keeps_record):
            await self._write_record(run, entry if has_record else None)
        if entry is not None and entry.vanished_at is not None:
            await self._results.put(VanishedOp(run.run_id, None))
        self._tally.runs += 1
        self._tally.new_runs += entry is None
        self._tally.charged_cost += 0.0 if entry else run.charged_cost or 0.0
        self._tally.outputs += len(decisions)
        for decision in decisions:
            if decision.action == Action.SKIP:
                self._tally.already += 1
            elif decision.failure is not None:
                await self._results.put(decision.failure)
            else:
                await self._jobs.put(_Job(run, decision))

    async def _write_record(self, run: Generation, entry: RunEntry | None) -> None:
        """Write `run.json` if it is new or says something new, and tell the recorder.

        It is written before any entry speaks of the run, and for a run without outputs too.
        """
        write = _write_if_new(self._tools, run, entry.record_sha256 if entry else None)
        sha256 = await self._tools.disk.call(write)
        if sha256 is None:
            return
        facts = RunFacts(
            workspace_id=run.workspace_id,
            project_id=run.project_id,
            path=str(run_folder(run)),
            model_id=run.model_id,
            created_at=run.created_at_ms,
            completed_at=run.completed_at_ms,
            charged_cost=run.charged_cost,
            record_sha256=sha256,
            output_count=None if run.outputs is None else len(run.outputs),
        )
        await self._results.put(RunOp(run.run_id, facts))

    async def _work_all(self) -> None:
        async with self._new_client() as client:
            while True:
                job = await self._jobs.get()
                try:
                    if not self._is_stopping:
                        await self._results.put(await self._work(job, client))
                finally:
                    self._jobs.task_done()

    async def _work(self, job: _Job, client: httpx.AsyncClient) -> Receipt | Failure:
        action = job.decision.action
        if action == Action.WRITE:
            return await self._write_text(job)
        if action == Action.RECORD and (receipt := await self._adopt(job)) is not None:
            return receipt
        run, output = job.run, job.decision.output
        wanted = Wanted(
            run_id=run.run_id,
            key=output.key,
            type=output.type,
            url=output.value or "",
            folder=run_folder(run),
            mtime_ms=run.done_at_ms,
            has_partial=action == Action.RESUME,
        )
        return await fetch_output(wanted, client, self._tools, self._fresh_url)

    async def _write_text(self, job: _Job) -> Receipt:
        run, text, file = job.run, job.decision.output.value or "", job.decision.file or ""
        digest = await self._tools.disk.call(
            self._tools.disk.write_atomic, run_folder(run) / file, [text.encode()], mtime_ms=run.done_at_ms
        )
        return _receipt(job, file, digest, "text/plain; charset=utf-8", is_fetched=True)

    async def _adopt(self, job: _Job) -> Receipt | None:
        """Record a file that was renamed into place and not recorded; None when it cannot be the output."""
        run, output, file = job.run, job.decision.output, job.decision.file or ""
        digest = await self._tools.disk.call(self._tools.disk.digest, run_folder(run) / file)
        if output.type in MEDIA_TYPES and media.page_instead_of_media(digest.head, ""):
            return None
        return _receipt(job, file, digest, "", is_fetched=False)

    async def _fresh_url(self, run_id: str, key: str) -> str | None:
        """The API's current URL of an output; one request a run, however many of its outputs ask."""
        async with self._fresh_lock:
            if self._no_fresh is not None:
                raise self._no_fresh
            if run_id not in self._fresh:
                if len(self._fresh) >= _MAX_FRESH_RUNS:
                    self._fresh.pop(next(iter(self._fresh)))
                try:
                    self._fresh[run_id] = await self._api.run(run_id)
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
            at = format_ms(self._tools.clock.now_ms())
            await self._store.append(op for result in batch if (op := _op(result, at)) is not None)
            for result in batch:
                self._count(result)
                self._results.task_done()

    def _count(self, result: RunOp | VanishedOp | Receipt | Failure) -> None:
        if isinstance(result, Receipt):
            self._tally.fetched += result.is_fetched
            self._tally.adopted += not result.is_fetched
            self._tally.new_bytes += result.size_bytes
            log.info(
                "archived %s %s: %s, %d bytes", result.run_id, result.key, result.file, result.size_bytes
            )
        elif isinstance(result, Failure):
            self._tally.failed += 1
            self._tally.failures.append(result)


def _receipt(job: _Job, file: str, digest: Digest, content_type: str, *, is_fetched: bool) -> Receipt:
    """For an output that was not transferred: a text, or a file that was there."""
    output = job.decision.output
    return Receipt(
        run_id=job.run.run_id,
        key=output.key,
        type=output.type,
        file=file,
        size_bytes=digest.size_bytes,
        sha256=digest.sha256,
        content_type=content_type,
        url=None if output.is_text or output.value is None else safe_url(output.value, limit=2000),
        is_fetched=is_fetched,
    )


def _op(result: RunOp | VanishedOp | Receipt | Failure, at: str) -> Op | None:
    """What the journal keeps of a result."""
    if isinstance(result, Receipt):
        entry = OutputEntry(
            type=result.type,
            state=State.ARCHIVED,
            file=result.file,
            size_bytes=result.size_bytes,
            sha256=result.sha256,
            content_type=result.content_type or None,
            url=result.url,
            archived_at=at,
        )
        return OutputOp(result.run_id, result.key, entry)
    if isinstance(result, Failure):
        if result.keeps_entry:
            return None
        error = ErrorEntry(result.code, result.message, at)
        entry = OutputEntry(
            type=result.type, state=State.FAILED, url=result.url, attempts=result.attempts, error=error
        )
        return OutputOp(result.run_id, result.key, entry)
    return result


def _write_if_new(tools: Tools, run: Generation, known_sha256: str | None) -> Callable[[], str | None]:
    """File work that writes a run's record unless the one on disk is the same; gives its new SHA-256."""

    def write() -> str | None:
        sha256 = hashlib.sha256(run.raw).hexdigest()
        if sha256 == known_sha256:
            return None
        tools.disk.write_atomic(run_folder(run) / layout.RUN_RECORD, [run.raw], mtime_ms=run.done_at_ms)
        return sha256

    return write


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

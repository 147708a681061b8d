"""`restore`: files out of an archive into another folder, every byte verified on its way.

The other folder becomes an archive of its own (same tree, manifest and checksums), or, with `is_flat`, one
folder of files. What is there already is not copied again, so the same command goes on where it was cut off.
What the source lacks, or does not give as it was archived, comes from FLORA where there is a key. Seals are
not copied: the first archive job there walks the whole history, and fetches nothing that is there.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from floradl.api.client import FloraApi
from floradl.api.models import EVERYTHING, Filters, Scope
from floradl.clock import Clock
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, DEFAULT_SOURCES, Kind, Source
from floradl.download.context import Context, new_context
from floradl.download.plan import wants_entry
from floradl.download.tally import Tally
from floradl.errors import Exit, FloradlError, KeyRefusedError, ManifestError, UsageError, printable
from floradl.network.client import MediaClient
from floradl.network.retry import Backoff
from floradl.network.transport import media_transports
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.lock import ReadLock
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, copy_names
from floradl.repository.repository import load_manifest, require_archive
from floradl.repository.results import Failure
from floradl.restorer.copying import Copied, Copier, Way
from floradl.restorer.targets import ArchiveTarget, FlatTarget, Target
from floradl.storage.destination import Destination
from floradl.tasks import all_of, ends_by_itself

Job = tuple[str, RunEntry, Mapping[str, OutputEntry]]
"""The id of a run, an asset or a canvas, its entry, and those of its outputs that are wanted."""

_RUNS_PER_JOB = 32
_BYTES_PER_JOB = 32 * 1024 * 1024


@dataclass(frozen=True)
class RestoreOptions:
    """What to restore, and how.

    Args:
        source: an archive; nothing in it is changed.
        dest: where files go; made when missing.
        base_url: the API's, as `addresses.check_base_url` returned it.
        scopes, filters, sources: what is wanted of the archive.
        way: how bytes get there.
        is_flat: all files into one folder.
        threads: how many files are copied at the same time.
        concurrency, retries, timeout_s, limit_rate_bytes: of what comes from FLORA, as for the archive job.
        fsync: whether to flush files before they are recorded.
        lock_timeout_s: how long to wait for another floradl to end.
        min_free_bytes: how much room on the disk of `dest` is left to others.
    """

    source: Path
    dest: Path
    base_url: str = DEFAULT_BASE_URL
    scopes: tuple[Scope, ...] = (EVERYTHING,)
    filters: Filters = field(default_factory=Filters)
    sources: tuple[Source, ...] = tuple(Source)
    way: Way = Way.COPY
    is_flat: bool = False
    threads: int = field(default_factory=lambda: min(32, 2 * (os.cpu_count() or 1)))
    concurrency: int = DEFAULT_CONCURRENCY
    retries: int = 5
    timeout_s: float = 60.0
    fsync: bool = True
    lock_timeout_s: float = 0.0
    min_free_bytes: int = 0
    limit_rate_bytes: int = 0

    @property
    def counted_kind(self) -> Kind:
        """What a largest number of runs counts, and leaves nothing else: assets where no runs are wanted."""
        has_runs = any(source in self.sources for source in DEFAULT_SOURCES)
        return Kind.RUN if has_runs else Kind.ASSET

    def wants_entry(self, run_id: str, entry: RunEntry) -> bool:
        """Whether a recorded run, asset or canvas is one to restore."""
        is_of_sources = any(source in self.sources for source in entry.sources)
        return is_of_sources and wants_entry(self.scopes, self.filters, run_id, entry)


@dataclass(frozen=True)
class RestoreReport:
    """What came of it. Times in seconds, sizes in bytes; `fetched` came from FLORA.

    `runs`, `assets` and `canvases` were wanted, with their outputs.
    """

    runs: int
    assets: int
    canvases: int
    restored: int
    already: int
    fetched: int
    new_bytes: int
    failures: tuple[Failure, ...]
    missing_runs: tuple[str, ...]
    problems: tuple[FloradlError, ...]
    elapsed_s: float
    is_interrupted: bool

    @property
    def is_complete(self) -> bool:
        """Whether every wanted output is there."""
        return not (self.failures or self.problems or self.missing_runs or self.is_interrupted)

    @property
    def exit_code(self) -> Exit:
        """The exit code of the command, signals apart."""
        if any(isinstance(problem, KeyRefusedError) for problem in self.problems):
            return Exit.KEY_REFUSED
        return Exit.OK if self.is_complete else Exit.INCOMPLETE


async def restore(
    options: RestoreOptions,
    api: FloraApi | None,
    *,
    clock: Clock | None = None,
    new_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    backoff: Backoff | None = None,
    stop: asyncio.Event | None = None,
    tally: Tally | None = None,
) -> RestoreReport:
    """Restore what `options` name.

    Args:
        options: what and how.
        api: an open session with the API; None: what the source lacks is a failure.
        clock, new_transport, backoff: as for `archive.archive`.
        stop: set it to end early; running transfers get `GRACE_S`.
        tally: kept up to date, for a display.

    Raises:
        UsageError: one folder lies in the other.
        DestinationError: there is no archive, a folder cannot be used, or another floradl uses it.
    """
    clock, stop, tally = clock or Clock(), stop or asyncio.Event(), tally or Tally()
    _refuse_nested(options.source, options.dest)
    source = Destination(options.source, threads=options.threads)
    disk = Destination(
        options.dest, fsync=options.fsync, threads=options.threads, min_free_bytes=options.min_free_bytes
    )
    context = new_context(options, disk, clock, backoff, tally.traffic)
    new_transport = new_transport or media_transports(
        allow_loopback=context.allow_loopback, timeout_s=options.timeout_s
    )
    target = (FlatTarget if options.is_flat else ArchiveTarget)(
        context,
        source,
        api,
        tally,
        options.filters,
        lambda: MediaClient(new_transport(), timeout_s=options.timeout_s),
        concurrency=options.concurrency,
    )
    try:
        await source.call(require_archive, source, may_be_remains=True)
        async with ReadLock(source, clock, timeout_s=options.lock_timeout_s, stop=stop):
            manifest = await source.call(_source_manifest, source, clock)
            session = _Session(options, source, context, tally, target)
            async with target.opened(timeout_s=options.lock_timeout_s, stop=stop):
                return await session.run(manifest, stop)
    finally:
        source.close()
        disk.close()


class _Session:
    """The state of one `restore`."""

    def __init__(
        self, options: RestoreOptions, source: Destination, context: Context, tally: Tally, target: Target
    ) -> None:
        self._options = options
        self._source = source
        self._context = context
        self._tally = tally
        self._target = target
        self._copier = Copier(source, context.disk, options.way, is_flat=options.is_flat)
        self._began_s = context.clock.monotonic()
        self._recording = asyncio.Lock()
        self._lacking: list[Copied] = []
        self._places: set[Place] = set()
        self._restored = 0
        self._counts: Counter[Kind] = Counter()
        self._missing: set[str] = set(options.filters.run_ids)

    async def run(self, manifest: Manifest, stop: asyncio.Event) -> RestoreReport:
        """Copy what a manifest has, fetch what is lacking, fold."""
        is_finished = await ends_by_itself(self._copy_all(manifest), stop)
        if is_finished and self._lacking:
            is_finished = await self._target.fill(self._lacking, stop)
        if not self._options.is_flat:
            await self._context.disk.call(copy_names, self._source, self._context.disk, self._places)
        await self._target.finish(manifest.base_url or self._options.base_url)
        tally = self._tally
        return RestoreReport(
            runs=self._counts[Kind.RUN],
            assets=self._counts[Kind.ASSET],
            canvases=self._counts[Kind.CANVAS],
            restored=self._restored,
            already=tally.already,
            fetched=tally.fetched - self._restored,
            new_bytes=tally.new_bytes,
            failures=tuple(tally.failures),
            missing_runs=tuple(sorted(printable(run_id) for run_id in self._missing)),
            problems=tuple(self._target.problems),
            elapsed_s=self._context.clock.monotonic() - self._began_s,
            is_interrupted=not is_finished,
        )

    async def _copy_all(self, manifest: Manifest) -> None:
        """Copy in all threads; what is copied is recorded job by job."""
        jobs = _jobs(self._wanted_runs(manifest))

        async def worker() -> None:
            for job in jobs:
                # Looked up here, not in the thread: what is recorded meanwhile changes the manifest.
                known = [self._target.known(run_id) for run_id, _, _ in job]
                copies = await self._context.disk.call(self._copy_some, job, known)
                async with self._recording:
                    await self._target.record(copies)
                self._note(copies)

        await all_of(worker() for _ in range(self._options.threads))

    def _copy_some(self, job: Sequence[Job], known: Sequence[RunEntry | None]) -> list[Copied]:
        return [
            self._copier.copy(run_id, entry, outputs, there)
            for (run_id, entry, outputs), there in zip(job, known, strict=True)
        ]

    def _wanted_runs(self, manifest: Manifest) -> Iterator[Job]:
        """What the options name, newest first where only some of it is wanted."""
        options, filters = self._options, self._options.filters
        chosen: Iterable[tuple[str, RunEntry]] = (
            (run_id, entry) for run_id, entry in manifest.iter_entries() if options.wants_entry(run_id, entry)
        )
        if filters.max_runs is not None:
            counted = (item for item in chosen if item[1].kind is options.counted_kind)
            chosen = heapq.nlargest(filters.max_runs, counted, key=lambda item: item[1].created_at or 0)
        for run_id, entry in chosen:
            self._missing.discard(run_id)
            outputs = {key: out for key, out in entry.outputs.items() if filters.wants_type(out.type)}
            self._counts[entry.kind] += 1
            self._tally.listed_runs += 1
            self._places.add(Place(entry.workspace_id, entry.project_id))
            self._tally.outputs += sum(output.state != State.LOST for output in outputs.values())
            yield run_id, entry, outputs
        self._tally.is_listed = True

    def _note(self, copies: Iterable[Copied]) -> None:
        for copied in copies:
            self._restored += copied.restored
            self._tally.fetched += copied.restored
            self._tally.already += copied.already
            self._tally.new_bytes += copied.size_bytes
            self._tally.traffic.received_bytes += copied.size_bytes
            for key, why in copied.occupied.items():
                self._tally.fail(copied.failure(key, "occupied", why))
            if copied.lacking or not copied.has_record:
                self._lacking.append(copied)


def _source_manifest(source: Destination, clock: Clock) -> Manifest:
    """The source's state. Without one nothing would be restored, and that without a word. Blocks."""
    if not (source.exists(layout.MANIFEST) or source.exists(layout.JOURNAL)):
        raise ManifestError(
            f"{source.root} has no manifest.json",
            hint="`floradl verify --repair` makes it anew from what is there.",
        )
    return load_manifest(source, clock)


def _jobs(runs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs that are neither too many nor too long."""
    job: list[Job] = []
    size_bytes = 0
    for run_id, entry, outputs in runs:
        job.append((run_id, entry, outputs))
        size_bytes += sum(output.size_bytes or 0 for output in outputs.values())
        if len(job) == _RUNS_PER_JOB or size_bytes >= _BYTES_PER_JOB:
            yield job
            job, size_bytes = [], 0
    if job:
        yield job


def _refuse_nested(source: Path, dest: Path) -> None:
    inner, outer = source.resolve(), dest.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UsageError(
            "an archive cannot be restored into itself, nor into a folder within or around it",
            hint="Choose a DEST elsewhere.",
        )

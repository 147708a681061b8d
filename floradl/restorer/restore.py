"""`restore`: copies files out of an archive into another folder, and verifies every byte on its way.

The other folder becomes an archive of its own, with the same folders, a manifest and checksums; with
`is_flat` it becomes one folder of files. A file that is there already is not copied again, so the same
command goes on where it was cut off. A file that the source lacks, or does not give as it was archived, is
fetched from FLORA where there is a key.

The source is only read, under the readers' lock; nothing in it is changed. Seals are not copied: they would
say of the new archive what is true of the source. The first archive job there walks the whole history, and
fetches nothing that is there.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from floradl.api.client import FloraApi
from floradl.api.models import EVERYTHING, Filters, Scope
from floradl.clock import Clock
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, DEFAULT_SOURCES, Kind, Source
from floradl.download.plan import wants_entry
from floradl.download.session import open_session
from floradl.download.tally import Tally
from floradl.errors import Exit, FloradlError, KeyRefusedError, ManifestError, UsageError, printable
from floradl.network.retry import Backoff
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.lock import ReadLock
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, copy_names, require_places
from floradl.repository.repository import load_manifest, require_archive
from floradl.repository.results import Failure
from floradl.restorer.copying import Copied, Copier, Way
from floradl.restorer.targets import ArchiveTarget, FlatTarget, Target
from floradl.storage.destination import Destination
from floradl.tasks import all_of, batches, ends_by_itself

WantedRun = tuple[str, RunEntry, Mapping[str, OutputEntry]]
"""The id of a run, an asset or a canvas; its entry; and those of its outputs that are wanted."""

_RUNS_PER_BATCH = 32
_BYTES_PER_BATCH = 32 * 1024 * 1024
"""How many runs, or how many bytes of outputs, one call into a thread copies, before they are recorded."""


@dataclass(frozen=True)
class RestoreOptions:
    """What to restore, and how.

    Args:
        source: an archive; nothing in it is changed.
        dest: the folder that files are copied to; made when missing.
        base_url: the API's address, as `addresses.check_base_url` returned it.
        scopes: the workspaces and projects whose runs, assets and canvases are wanted.
        filters: which of these, and which of their outputs.
        sources: the lists they came from.
        way: how bytes get there.
        is_flat: put all files into one folder, without records.
        threads: how many files are copied at the same time.
        concurrency, retries, timeout_s, limit_rate_bytes: as for the archive job, for outputs from FLORA.
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
        """The kind that `filters.max_runs` counts: runs, or assets where no list of runs is wanted.

        With such a limit nothing else is restored.
        """
        has_runs = any(source in self.sources for source in DEFAULT_SOURCES)
        return Kind.RUN if has_runs else Kind.ASSET

    def wants_entry(self, run_id: str, entry: RunEntry) -> bool:
        """Whether a recorded run, asset or canvas is to be restored."""
        is_of_sources = any(source in self.sources for source in entry.sources)
        return is_of_sources and wants_entry(self.scopes, self.filters, run_id, entry)


@dataclass(frozen=True)
class RestoreReport:
    """What came of a restore. Times in seconds, sizes in bytes.

    Attributes:
        runs, assets, canvases: how many were wanted.
        restored: outputs that were copied from the source.
        already: outputs that were there.
        fetched: outputs that came from FLORA.
        new_bytes: of `restored` and `fetched` together.
        failures: outputs, and records, that are not there in the end.
        missing_runs: ids that the user named and that the source does not have.
        problems: errors of the API.
        elapsed_s: how long it took.
        is_interrupted: whether it was stopped.
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
        options: what to restore, and how.
        api: an open session with the API; None: an output that the source lacks is a failure.
        clock: time, for tests.
        new_transport: makes the httpx transport of one media client, for tests.
        backoff: the waits between tries, for tests.
        stop: set it to end early; running transfers then get `GRACE_S` seconds.
        tally: kept up to date, for a display.

    Raises:
        UsageError: one folder lies in the other, or the source has nothing of a place that is named.
        DestinationError: there is no archive, or a folder cannot be used.
        LockedError: another floradl uses one of them.
        ManifestError: the source's manifest cannot be read.
    """
    clock, stop, tally = clock or Clock(), stop or asyncio.Event(), tally or Tally()
    _refuse_nested(options.source, options.dest)
    async with open_session(
        options,
        options.dest,
        clock=clock,
        backoff=backoff,
        new_transport=new_transport,
        traffic=tally.traffic,
        threads=options.threads,
        min_free_bytes=options.min_free_bytes,
    ) as session:
        with closing(Destination(options.source, threads=options.threads)) as source:
            target_class = FlatTarget if options.is_flat else ArchiveTarget
            target = target_class(session, source, api, tally, options.filters)
            await source.call(require_archive, source, may_be_remains=True)
            # The source first, and only then the target: a source that is locked, or whose manifest is lost,
            # must not leave an empty archive behind.
            async with ReadLock(source, clock, timeout_s=options.lock_timeout_s, stop=stop):
                manifest = await source.call(_source_manifest, source, clock)
                await source.call(require_places, source, manifest, options.scopes)
                job = _Job(options, source, session.context.disk, clock, tally, target)
                async with target.opened(timeout_s=options.lock_timeout_s, stop=stop):
                    report = await job.run(manifest, stop)
    return report


class _Job:
    """The state of one `restore`.

    Args:
        options: what was asked for.
        source: the archive to restore from, locked.
        disk: the folder to restore to.
        clock: time.
        tally: kept up to date.
        target: the folder to restore to, opened before `run`.
    """

    def __init__(
        self,
        options: RestoreOptions,
        source: Destination,
        disk: Destination,
        clock: Clock,
        tally: Tally,
        target: Target,
    ) -> None:
        self._options = options
        self._source = source
        self._disk = disk
        self._clock = clock
        self._tally = tally
        self._target = target
        self._copier = Copier(source, disk, options.way, is_flat=options.is_flat)
        self._began_s = clock.monotonic()
        self._recording = asyncio.Lock()
        self._lacking: list[Copied] = []
        self._places: set[Place] = set()
        self._restored = 0
        self._counts: Counter[Kind] = Counter()
        self._missing: set[str] = set(options.filters.run_ids)

    async def run(self, manifest: Manifest, stop: asyncio.Event) -> RestoreReport:
        """Copy what is wanted of a manifest, fetch what the source lacks, and bring the folder into order."""
        is_finished = await ends_by_itself(self._copy_all(manifest), stop)
        if is_finished and self._lacking:
            is_finished = await self._target.fill(self._lacking, stop)
        if not self._options.is_flat:
            await self._disk.call(copy_names, self._source, self._disk, self._places)
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
            elapsed_s=self._clock.monotonic() - self._began_s,
            is_interrupted=not is_finished,
        )

    async def _copy_all(self, manifest: Manifest) -> None:
        """Copy in all threads, batch by batch; each batch is recorded when it is copied."""
        jobs = batches(
            self._wanted_runs(manifest),
            max_items=_RUNS_PER_BATCH,
            max_bytes=_BYTES_PER_BATCH,
            size_of=lambda wanted: sum(output.size_bytes or 0 for output in wanted[2].values()),
        )

        async def worker() -> None:
            for batch in jobs:
                # Looked up on the event loop, not in the thread: another worker's records change the target's
                # manifest meanwhile.
                known = [self._target.known(run_id) for run_id, _, _ in batch]
                copies = await self._disk.call(self._copy_some, batch, known)
                # One worker at a time: two threads must not append to the journal at once.
                async with self._recording:
                    await self._target.record(copies)
                self._note(copies)

        await all_of(worker() for _ in range(self._options.threads))

    def _copy_some(self, batch: Sequence[WantedRun], known: Sequence[RunEntry | None]) -> list[Copied]:
        return [
            self._copier.copy(run_id, entry, outputs, there)
            for (run_id, entry, outputs), there in zip(batch, known, strict=True)
        ]

    def _wanted_runs(self, manifest: Manifest) -> Iterator[WantedRun]:
        """The runs, assets and canvases that the options name; the newest of them where there is a limit."""
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
        """Count what was copied, and remember what has to come from FLORA."""
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
    """The source's manifest. Blocks.

    A source without one would look like an empty archive: nothing would be restored, without an error.

    Raises:
        ManifestError: there is none, or it cannot be read.
    """
    if not (source.exists(layout.MANIFEST) or source.exists(layout.JOURNAL)):
        raise ManifestError(
            f"{source.root} has no manifest.json",
            hint="`floradl verify --repair` makes it anew from what is there.",
        )
    return load_manifest(source, clock)


def _refuse_nested(source: Path, dest: Path) -> None:
    """Refuse a target within the source, or around it: the files of the one would be strays in the other."""
    inner, outer = source.resolve(), dest.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UsageError(
            "an archive cannot be restored into itself, nor into a folder within or around it",
            hint="Choose a DEST elsewhere.",
        )

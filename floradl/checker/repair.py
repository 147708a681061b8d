"""`verify --repair`: a check of an archive, and then everything done that brings back what it found damaged.

In this order, each step as safe to be cut off as the archive job's own (docs/architecture.md):

1. A lost or broken `manifest.json` is made anew from its own lines, the journal, records and bytes.
2. Runs, assets and canvases that no entry knew are recorded; files that stand elsewhere are moved to their
   places. A canvas snapshot whose bytes are nowhere is given up: no list has what a canvas was on some day.
   This repair says so as of any damage; from then on it is told, and no fault any more.
3. Each damaged or missing output is fetched again, with the URL that FLORA gives today. A damaged file stays
   where it is until the new one is whole and hashed; then it is set aside in `.floradl/aside/`, and removed
   from there only if the new bytes are the ones that were archived once.
4. `SHA256SUMS` and `manifest.json` are written, and what was touched is checked once more.

A stray is never removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import httpx

from floradl.api.client import FloraApi
from floradl.api.models import Filters
from floradl.checker.audit import Audit, Sample
from floradl.checker.findings import AuditReport, AuditTally, Finding, Trouble
from floradl.checker.recovery import Recovered
from floradl.checker.repair_plan import (
    TO_FETCH,
    flush_adopted,
    found_op,
    lost_op,
    plan_repairs,
    right_places,
    write_manifest,
)
from floradl.checker.verify import VerifyOptions, keep_verdict
from floradl.clock import Clock, format_ms
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, Kind
from floradl.download.context import Context, new_context
from floradl.download.missing import Missing
from floradl.download.pool import GRACE_S, Pool
from floradl.download.refetch import is_best_listed, visit_by_id, visit_listed
from floradl.download.tally import Tally
from floradl.errors import FloradlError
from floradl.network.client import MediaClient
from floradl.network.retry import Backoff
from floradl.network.transport import media_transports
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.lock import ArchiveLock
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository, require_archive
from floradl.repository.results import Receipt
from floradl.storage import base
from floradl.storage.aside import AsideStorage, copy_aside, obstacle, set_aside
from floradl.storage.destination import Destination
from floradl.tasks import ends_by_itself

_TO_GIVE_UP = TO_FETCH - {Trouble.UNREADABLE, Trouble.UNRECORDED}
"""Findings of canvas snapshots that nothing mends. A disk that gives no bytes today may do so tomorrow."""

_NOTHING_READ = Sample(0, 1)


@dataclass(frozen=True)
class RepairOptions:
    """How to repair.

    Args:
        check: the check that goes before.
        base_url: the API's, as `addresses.check_base_url` returned it; it decides where media may come from.
        concurrency: outputs on their way at the same time, at most; hosts may want fewer.
        retries: tries after the first, for an output while nothing arrives.
        timeout_s: how long a media connection may stay silent.
        fsync: whether to flush files before they are recorded.
        limit_rate_bytes: how much media may come a second, all together; 0: whatever comes.
    """

    check: VerifyOptions
    base_url: str = DEFAULT_BASE_URL
    concurrency: int = DEFAULT_CONCURRENCY
    retries: int = 5
    timeout_s: float = 60.0
    fsync: bool = True
    limit_rate_bytes: int = 0


async def repair(
    options: RepairOptions,
    api: FloraApi | None,
    *,
    clock: Clock | None = None,
    new_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    backoff: Backoff | None = None,
    stop: asyncio.Event | None = None,
    tally: AuditTally | None = None,
) -> AuditReport:
    """Check an archive and repair what can be repaired.

    Args:
        options: what and how.
        api: an open session with the API; None: only what the archive itself has, and the URLs in it, help.
        clock, new_transport, backoff: as for `archive.archive`.
        stop: set it to end early; running transfers get `GRACE_S`.
        tally: kept up to date, for a display.

    Raises:
        DestinationError: there is no archive, its folder cannot be used, or another floradl uses it.
    """
    clock, stop = clock or Clock(), stop or asyncio.Event()
    disk = Destination(options.check.dest, fsync=options.fsync, threads=max(8, options.check.threads))
    context = new_context(options, disk, clock, backoff)
    new_transport = new_transport or media_transports(
        allow_loopback=context.allow_loopback, timeout_s=options.timeout_s
    )
    session = _Session(options, api, context, tally or AuditTally(), new_transport)
    try:
        await disk.call(require_archive, disk, may_be_remains=True)
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, clock, timeout_s=options.check.lock_timeout_s, stop=stop):
            await disk.call(disk.clean)
            began_ms = clock.now_ms()
            report = await session.run(stop)
            await keep_verdict(disk, report, began_ms)
            return report
    finally:
        disk.close()


class _Session:
    """The state of one `repair`."""

    def __init__(
        self,
        options: RepairOptions,
        api: FloraApi | None,
        context: Context,
        tally: AuditTally,
        new_transport: Callable[[], httpx.AsyncBaseTransport],
    ) -> None:
        self._options = options
        self._api = api
        self._context = context
        self._disk = context.disk
        self._tally = tally
        self._new_transport = new_transport
        self._began_s = context.clock.monotonic()
        self._repository = Repository(context.disk, context.clock)
        self._transfers = Tally(traffic=context.traffic)
        self._problems: list[FloradlError] = []
        self._kept_aside: list[str] = []
        self._given_up: list[Finding] = []
        self._is_interrupted = False

    async def run(self, stop: asyncio.Event) -> AuditReport:
        """Check, repair, check again what was touched."""
        audit = self._audit(self._options.check.sample, self._tally)
        self._is_interrupted = not await ends_by_itself(audit.run(), stop)
        found = tuple(audit.findings)
        left = found
        if audit.recovered is not None and not self._is_interrupted:
            await self._disk.call(flush_adopted, self._disk, audit.adopted)
            await self._renew_manifest(audit.recovered, found)
            try:
                await self._bring_back(found, audit, stop)
            finally:
                await self._repository.close()
            left = await self._left(found, stop)
        return AuditReport(
            runs=audit.counts[Kind.RUN],
            assets=audit.counts[Kind.ASSET],
            canvases=audit.counts[Kind.CANVAS],
            outputs=audit.outputs,
            read=audit.read,
            read_bytes=self._tally.moved_bytes,
            sample=str(self._options.check.sample),
            findings=found,
            left=left,
            elapsed_s=self._context.clock.monotonic() - self._began_s,
            is_repair=True,
            is_interrupted=self._is_interrupted,
            kept_aside=tuple(self._kept_aside),
            failures=tuple(self._transfers.failures),
            problems=tuple(self._problems),
        )

    def _audit(self, sample: Sample, tally: AuditTally) -> Audit:
        return Audit(self._disk, self._context.clock, sample, tally, threads=self._options.check.threads)

    async def _renew_manifest(self, recovered: Recovered, found: Iterable[Finding]) -> None:
        """Write a manifest that had to be pieced together, so that it can be opened like any other."""
        for path in (layout.MANIFEST, layout.CHECKSUMS):
            if await self._disk.call(self._has_other, path):  # no rename could replace a folder
                await self._keep(set_aside, path)
        broken = {finding.kind for finding in recovered.findings}
        if Trouble.BAD_MANIFEST in broken:
            await self._keep(copy_aside, layout.MANIFEST)
        if any(finding.is_unaccounted for finding in found):
            await self._keep(copy_aside, layout.CHECKSUMS)  # nothing else tells of these
        if broken:
            now = format_ms(self._context.clock.now_ms())
            base_url = recovered.manifest.base_url or self._options.base_url
            # Before the journal goes: what of it counts is in here.
            await self._disk.call(write_manifest, self._disk, recovered.manifest, now, base_url)
        if Trouble.BAD_JOURNAL in broken or recovered.waiting:
            await self._keep(set_aside, layout.JOURNAL)

    def _has_other(self, path: PurePosixPath) -> bool:
        return self._disk.exists(path) and not self._disk.is_file(path)

    async def _keep(
        self,
        put_aside: Callable[[AsideStorage, PurePosixPath], PurePosixPath | None],
        path: PurePosixPath,
    ) -> None:
        aside = await self._disk.call(put_aside, self._disk, path)
        if aside is not None:
            self._kept_aside.append(str(aside))

    async def _bring_back(self, found: Sequence[Finding], audit: Audit, stop: asyncio.Event) -> None:
        manifest = await self._repository.open()
        await self._repository.append(audit.adopted)
        await self._repository.append(right_places(found, manifest))
        for finding in found:
            if finding.kind == Trouble.MISPLACED:
                await self._move_back(finding)
            elif finding.kind == Trouble.NOT_A_FILE and not finding.key:
                await self._clear_way(PurePosixPath(finding.path))
        await self._settle_snapshots(found, manifest)
        missing_runs = list(plan_repairs(found, manifest))
        pool = await self._new_pool()
        async with pool.at_work():
            if not await ends_by_itself(self._fetch(pool, missing_runs), stop):
                self._is_interrupted = True
                await pool.wind_down(GRACE_S)
        self._problems.extend(pool.problems)
        self._kept_aside.extend(map(str, pool.kept_aside))
        formerly = {missing.run_id: missing.entry for missing in missing_runs}
        for receipt in pool.replaced:
            await self._let_go(receipt, formerly[receipt.run_id])
        is_wrong = any(finding.kind in (Trouble.BAD_CHECKSUMS, Trouble.BAD_ENTRY) for finding in found)
        await self._repository.fold(manifest.base_url or self._options.base_url, anew=is_wrong)

    async def _settle_snapshots(self, found: Iterable[Finding], manifest: Manifest) -> None:
        """Record canvas snapshots that stand there, and give up those whose bytes nobody has."""
        at = format_ms(self._context.clock.now_ms())
        for finding in found:
            entry = manifest.run(finding.run_id) if finding.key else None
            if entry is None or entry.kind is not Kind.CANVAS:
                continue
            if finding.kind in _TO_GIVE_UP:
                self._given_up.append(finding)
                await self._repository.append([lost_op(finding, entry, at)])
            elif finding.kind in (Trouble.UNRECORDED, Trouble.MISPLACED):
                op = await self._disk.call(found_op, self._disk, finding, entry, at)
                await self._repository.append([op] if op else [])

    async def _move_back(self, finding: Finding) -> None:
        """Move a file that stands elsewhere to its place; what stands there is set aside."""
        target = PurePosixPath(finding.path)
        if (level := await self._disk.call(obstacle, self._disk, target.parent)) is not None:
            await self._keep(set_aside, level)
        await self._keep(set_aside, target)
        await self._disk.call(self._disk.move, PurePosixPath(finding.found_at), target)

    async def _clear_way(self, folder: PurePosixPath) -> None:
        """Set aside what stands where a folder of the archive should be."""
        level = await self._disk.call(obstacle, self._disk, folder)
        if level is not None:
            await self._keep(set_aside, level)

    async def _new_pool(self) -> Pool:
        options, context = self._options, self._context
        (partials,) = await context.disk.call(context.disk.sizes, [base.PARTIALS])
        return Pool(
            context=context,
            api=self._api,
            repository=self._repository,
            filters=Filters(),
            concurrency=options.concurrency,
            new_client=lambda: MediaClient(self._new_transport(), timeout_s=options.timeout_s),
            partials=frozenset(partials),
            tally=self._transfers,
        )

    async def _fetch(self, pool: Pool, missing_runs: Sequence[Missing]) -> None:
        found: set[str] = set()
        if self._api is not None:
            listed = (missing for missing in missing_runs if is_best_listed(missing))
            found, problems = await visit_listed(listed, pool, self._api)
            self._problems.extend(problems)
        rest = [missing for missing in missing_runs if missing.run_id not in found]
        self._problems.extend(await visit_by_id(rest, pool, self._api, self._disk, self._transfers))
        await pool.drain()

    async def _let_go(self, receipt: Receipt, formerly: RunEntry) -> None:
        """Remove a damaged file whose bytes came back.

        It is kept where FLORA has other bytes now, and where it is no file: what is in a folder, or behind a
        link, is somebody's.
        """
        if receipt.aside is None:
            return
        known = formerly.outputs.get(receipt.key)
        came_back = known is not None and known.sha256 == receipt.sha256
        if came_back and await self._disk.call(self._disk.is_file, receipt.aside):
            await self._disk.call(self._disk.remove, receipt.aside)
        else:
            self._kept_aside.append(str(receipt.aside))

    async def _left(self, found: Sequence[Finding], stop: asyncio.Event) -> tuple[Finding, ...]:
        """What is wrong in the end: everything looked at once more, and what was touched read again."""
        after = self._audit(_NOTHING_READ, AuditTally())
        touched = {finding.run_id for finding in found if finding.run_id}
        again = self._audit(Sample(), AuditTally())

        async def look() -> None:
            await after.run()
            manifest = after.manifest
            entries = ((run_id, manifest.run(run_id)) for run_id in sorted(touched))
            await again.check((run_id, entry) for run_id, entry in entries if entry is not None)

        if not await ends_by_itself(look(), stop):
            self._is_interrupted = True
            return tuple(found)
        unaccounted = [finding for finding in found if finding.is_unaccounted]
        # This once, what was given up is the damage that it was: nothing is lost without an exit code.
        given_up = {finding.place: finding for finding in self._given_up}
        seen = [given_up.get(finding.place, finding) for finding in (*after.findings, *again.findings)]
        return tuple(dict.fromkeys([*seen, *unaccounted]))

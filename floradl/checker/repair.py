"""`verify --repair`: a check of an archive, and then everything that brings back what is damaged or missing.

It holds the writer's lock. Each step may be cut off anywhere, and the next run goes on:

1. A manifest that had to be pieced together is written; the broken one is copied aside before, and so is
   `SHA256SUMS` where it alone still names a run. What follows needs a manifest that can be opened.
2. A journal that is broken or another archive's is set aside. This comes after 1: what of it counts is in
   the manifest by then.
3. Runs, assets and canvases that no entry knew are journaled. Files that stand elsewhere are moved to their
   places. A canvas snapshot whose bytes nobody has is given up: FLORA has only the canvas of today. This
   repair reports it as damage, with exit code 3; from then on it is told as `lost`, and is no fault any more.
   An alarm that nothing can end would hide the next one.
4. Each damaged or missing output is fetched, with the URL that FLORA gives today. A damaged file stays in its
   place until the new one is whole and flushed. Then the old file is renamed to `.floradl/aside/`, and the
   new one gets its name. A fetch that fails changes nothing. Killed between the two renames, the file is
   missing, and any next run fetches it.
5. The new entry is journaled. The old file is removed from `.floradl/aside/` only if the new bytes are those
   that were archived; where FLORA has other bytes now, both are kept.
6. `SHA256SUMS` and `manifest.json` are written. Everything is checked once more, and what was touched is read
   again: the report says what is there, not what should be.

A failed fetch never replaces the entry of an output that was archived. Without its entry the damaged file
would look like one whose process was killed before it was recorded, and would be adopted as right.

A stray is never removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import httpx
import msgspec

from floradl.api.client import FloraApi
from floradl.api.models import Filters
from floradl.checker.audit import Audit, Sample
from floradl.checker.findings import AuditReport, AuditTally, Finding, Trouble
from floradl.checker.recovery import Recovered
from floradl.checker.repair_plan import TO_GIVE_UP, lost_op, plan_repairs, right_places
from floradl.checker.verify import VerifyOptions, keep_verdict
from floradl.clock import Clock, format_ms
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, Kind
from floradl.download.missing import Missing
from floradl.download.pool import GRACE_S, Pool
from floradl.download.refetch import refetch
from floradl.download.session import Session, open_session
from floradl.download.tally import Tally
from floradl.errors import FloradlError
from floradl.network.retry import Backoff
from floradl.repository import layout
from floradl.repository.canvas import snapshot_op
from floradl.repository.entries import LabelsOp, Op, OutputOp, RunEntry, RunOp, State
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository, require_archive
from floradl.repository.results import Receipt
from floradl.storage.aside import AsideStorage, copy_aside, obstacle, set_aside
from floradl.storage.destination import Destination
from floradl.tasks import ends_by_itself

_NOTHING_READ = Sample(0, 1)

_MIN_THREADS = 8
"""How many threads a repair has at least, however few files the check reads at a time: the pool writes in
them too."""


@dataclass(frozen=True)
class RepairOptions:
    """How to repair.

    Args:
        check: the check that comes first.
        base_url: the API's address, as `addresses.check_base_url` returned it; it decides where media may
            come from.
        concurrency: how many outputs are on their way at the same time, at most; a host may get fewer.
        retries: how often an output is tried again while no byte of it arrives.
        timeout_s: how long a media connection may stay silent.
        fsync: whether to flush files before they are recorded.
        limit_rate_bytes: how many bytes of media may arrive a second, in all transfers together; 0: no limit.
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
        options: what to check, and how to repair.
        api: an open session with the API; None: only what the archive itself has, and the URLs in it, help.
        clock: time, for tests.
        new_transport: makes the httpx transport of one media client, for tests.
        backoff: the waits between tries, for tests.
        stop: set it to end early; running transfers then get `GRACE_S` seconds.
        tally: kept up to date, for a display.

    Raises:
        DestinationError: there is no archive, or its folder cannot be used.
        LockedError: another floradl uses it.
        NewerFormatError: a newer floradl wrote it.
    """
    clock, stop = clock or Clock(), stop or asyncio.Event()
    async with open_session(
        options,
        options.check.dest,
        clock=clock,
        backoff=backoff,
        new_transport=new_transport,
        threads=max(_MIN_THREADS, options.check.threads),
    ) as session:
        job = _Job(options, api, session, tally or AuditTally())
        # Folders of outputs are enough of an archive: the manifest may be what was lost.
        require = partial(require_archive, may_be_remains=True)
        async with session.locked(timeout_s=options.check.lock_timeout_s, stop=stop, require=require):
            began_ms = clock.now_ms()
            report = await job.run(stop)
            await keep_verdict(session.context.disk, report, began_ms)
    return report


class _Job:
    """The state of one `repair`.

    Args:
        options: what was asked for.
        api: an open session with the API; None when there is no key.
        session: of the archive, locked before `run`.
        tally: of the check, kept up to date.
    """

    def __init__(
        self, options: RepairOptions, api: FloraApi | None, session: Session, tally: AuditTally
    ) -> None:
        self._options = options
        self._api = api
        self._session = session
        self._clock = session.context.clock
        self._disk = session.context.disk
        self._tally = tally
        self._began_s = self._clock.monotonic()
        self._transfers = Tally(traffic=session.context.traffic)
        self._problems: list[FloradlError] = []
        self._kept_aside: list[str] = []
        self._given_up: list[Finding] = []
        self._is_interrupted = False

    async def run(self, stop: asyncio.Event) -> AuditReport:
        """Check, repair, and check again what was touched."""
        audit = self._audit(self._options.check.sample, self._tally)
        self._is_interrupted = not await ends_by_itself(audit.run(), stop)
        findings = tuple(audit.findings)
        left = findings
        if audit.recovered is not None and not self._is_interrupted:
            # Flushed before they are recorded: an entry must not speak of bytes that a power cut takes away.
            await self._disk.call(_flush_adopted, self._disk, audit.adopted)
            await self._renew_manifest(audit.recovered, findings)
            async with self._session.opened_repository() as repository:
                await self._bring_back(findings, audit, repository, stop)
            left = await self._left(findings, stop)
        return AuditReport(
            runs=audit.counts[Kind.RUN],
            assets=audit.counts[Kind.ASSET],
            canvases=audit.counts[Kind.CANVAS],
            outputs=audit.outputs,
            read=audit.read,
            read_bytes=self._tally.moved_bytes,
            sample=str(self._options.check.sample),
            findings=findings,
            left=left,
            elapsed_s=self._clock.monotonic() - self._began_s,
            is_repair=True,
            is_interrupted=self._is_interrupted,
            kept_aside=tuple(self._kept_aside),
            failures=tuple(self._transfers.failures),
            problems=tuple(self._problems),
        )

    def _audit(self, sample: Sample, tally: AuditTally) -> Audit:
        return Audit(self._disk, self._clock, sample, tally, threads=self._options.check.threads)

    async def _renew_manifest(self, recovered: Recovered, findings: Iterable[Finding]) -> None:
        """Write a manifest that had to be pieced together, so that it can be opened like any other."""
        for path in (layout.MANIFEST, layout.CHECKSUMS):
            # No rename could put a file in the place of a folder, and a link leads to somebody else's file.
            if await self._disk.call(self._is_no_file, path):
                await self._keep(set_aside, path)
        broken = {finding.kind for finding in recovered.findings}
        if Trouble.BAD_MANIFEST in broken:
            await self._keep(copy_aside, layout.MANIFEST)
        if any(finding.is_unaccounted for finding in findings):
            # Nothing else names these runs, and the new SHA256SUMS will not.
            await self._keep(copy_aside, layout.CHECKSUMS)
        if broken:
            now = format_ms(self._clock.now_ms())
            base_url = recovered.manifest.base_url or self._options.base_url
            # Before the journal goes. Killed in between, the journal is replayed once more; the other way
            # round, the changes in it would be lost.
            await self._disk.call(_write_manifest, self._disk, recovered.manifest, now, base_url)
        if Trouble.BAD_JOURNAL in broken or recovered.waiting:
            await self._keep(set_aside, layout.JOURNAL)

    def _is_no_file(self, path: PurePosixPath) -> bool:
        return self._disk.exists(path) and not self._disk.is_file(path)

    async def _keep(
        self,
        put_aside: Callable[[AsideStorage, PurePosixPath], PurePosixPath | None],
        path: PurePosixPath,
    ) -> None:
        """Move or copy something to `.floradl/aside/`, and note where it went for the report."""
        aside = await self._disk.call(put_aside, self._disk, path)
        if aside is not None:
            self._kept_aside.append(str(aside))

    async def _bring_back(
        self, findings: Sequence[Finding], audit: Audit, repository: Repository, stop: asyncio.Event
    ) -> None:
        """Steps 3 to 6: record, move, fetch, fold."""
        manifest = repository.manifest
        await repository.append(audit.adopted)
        await repository.append(right_places(findings, manifest))
        for finding in findings:
            if finding.kind == Trouble.MISPLACED:
                await self._move_back(finding)
            elif finding.kind == Trouble.NOT_A_FILE and not finding.key:
                await self._clear_way(PurePosixPath(finding.path))
        await self._settle_snapshots(findings, repository)
        missing_runs = list(plan_repairs(findings, manifest))
        pool = await self._session.new_pool(repository, self._api, Filters(), self._transfers)
        async with pool.at_work():
            if not await ends_by_itself(self._fetch(pool, missing_runs), stop):
                self._is_interrupted = True
                await pool.wind_down(GRACE_S)
        self._problems.extend(pool.problems)
        self._kept_aside.extend(map(str, pool.kept_aside))
        formerly = {missing.run_id: missing.entry for missing in missing_runs}
        for receipt in pool.replaced:
            await self._remove_replaced(receipt, formerly[receipt.run_id])
        is_wrong = any(finding.kind in (Trouble.BAD_CHECKSUMS, Trouble.BAD_ENTRY) for finding in findings)
        await repository.fold(manifest.base_url or self._options.base_url, anew=is_wrong)

    async def _settle_snapshots(self, findings: Iterable[Finding], repository: Repository) -> None:
        """Record canvas snapshots that are there, and give up those whose bytes nobody has."""
        at = format_ms(self._clock.now_ms())
        for finding in findings:
            entry = repository.manifest.run(finding.run_id) if finding.key else None
            if entry is None or entry.kind is not Kind.CANVAS:
                continue
            if finding.kind in TO_GIVE_UP:
                self._given_up.append(finding)
                await repository.append([lost_op(finding, entry, at)])
            elif finding.kind in (Trouble.UNRECORDED, Trouble.MISPLACED):
                op = await self._disk.call(_snapshot_op, self._disk, finding, entry, at)
                await repository.append([op] if op else [])

    async def _move_back(self, finding: Finding) -> None:
        """Move a misplaced file to its place. What stands there is set aside and kept."""
        target = PurePosixPath(finding.path)
        await self._clear_way(target.parent)
        await self._keep(set_aside, target)
        await self._disk.call(self._disk.move, PurePosixPath(finding.found_at), target)
        # Somebody else put it where it was, and its bytes may not be on the disk yet.
        await self._disk.call(self._disk.flush_existing, target)

    async def _clear_way(self, folder: PurePosixPath) -> None:
        """Set aside a link or file in the place of a folder of the archive, or on the way there."""
        level = await self._disk.call(obstacle, self._disk, folder)
        if level is not None:
            await self._keep(set_aside, level)

    async def _fetch(self, pool: Pool, missing_runs: Sequence[Missing]) -> None:
        await refetch(missing_runs, pool, self._api, self._disk, self._transfers, self._problems)

    async def _remove_replaced(self, receipt: Receipt, formerly: RunEntry) -> None:
        """Remove a damaged file that was replaced by the bytes that were archived once.

        It is kept where FLORA has other bytes now: nobody else may have the old ones. It is also kept where
        it is no regular file, since a folder, or what a link leads to, is somebody's own.

        Args:
            receipt: of the new file; `aside` says where the old one went.
            formerly: the entry from before the repair.
        """
        if receipt.aside is None:
            return
        known = formerly.outputs.get(receipt.key)
        came_back = known is not None and known.sha256 == receipt.sha256
        if came_back and await self._disk.call(self._disk.is_file, receipt.aside):
            await self._disk.call(self._disk.remove, receipt.aside)
        else:
            self._kept_aside.append(str(receipt.aside))

    async def _left(self, findings: Sequence[Finding], stop: asyncio.Event) -> tuple[Finding, ...]:
        """What is wrong in the end: everything is checked once more, and what was touched is read again."""
        after = self._audit(_NOTHING_READ, AuditTally())
        touched = {finding.run_id for finding in findings if finding.run_id}
        again = self._audit(Sample(), AuditTally())

        async def check() -> None:
            await after.run()
            manifest = after.manifest
            entries = ((run_id, manifest.run(run_id)) for run_id in sorted(touched))
            await again.check((run_id, entry) for run_id, entry in entries if entry is not None)

        if not await ends_by_itself(check(), stop):
            self._is_interrupted = True
            return tuple(findings)
        unaccounted = [finding for finding in findings if finding.is_unaccounted]
        # The second check calls what was just given up `lost`, which is no fault. In this report it is still
        # the damage that was found, so that no loss goes by without an exit code.
        given_up = {finding.place: finding for finding in self._given_up}
        seen = [given_up.get(finding.place, finding) for finding in (*after.findings, *again.findings)]
        return tuple(dict.fromkeys([*seen, *unaccounted]))


def _snapshot_op(disk: Destination, finding: Finding, entry: RunEntry, at: str) -> Op | None:
    """The change that records a canvas snapshot which is there. Blocks.

    Args:
        disk: the archive.
        finding: of the snapshot: unrecorded, or misplaced and moved to its place by now.
        entry: of its canvas.
        at: now.

    Returns:
        A new entry, or the one that was given up, archived again; None where it is recorded already.
    """
    known = entry.outputs.get(finding.key)
    if known is None or known.state == State.FAILED:
        path = PurePosixPath(finding.path)
        disk.flush_existing(path)  # another process wrote it, and may have been killed before it flushed it
        return snapshot_op(disk, finding.run_id, path, at)
    if known.state == State.ARCHIVED:
        return None
    again = msgspec.structs.replace(known, state=State.ARCHIVED, error=None)
    return OutputOp(finding.run_id, finding.key, again)


def _flush_adopted(disk: Destination, ops: Sequence[Op]) -> None:
    """Flush the files that are about to be recorded and that another process wrote. Blocks."""
    facts = {op.run_id: op.facts for op in ops if isinstance(op, RunOp)}
    folders = {run_id: PurePosixPath(its.path) for run_id, its in facts.items()}
    records = {run_id: layout.record_name(its.kind) for run_id, its in facts.items()}
    paths = [folders[run_id] / record for run_id, record in records.items() if record]
    paths += [folders[op.run_id] / layout.LABELS for op in ops if isinstance(op, LabelsOp)]
    paths += [folders[op.run_id] / op.entry.file for op in ops if isinstance(op, OutputOp) and op.entry.file]
    for path in paths:
        if disk.is_file(path):  # a missing one is recorded by its checksum, and will be fetched
            disk.flush_existing(path)


def _write_manifest(disk: Destination, manifest: Manifest, now: str, base_url: str) -> None:
    """Write `manifest.json` and `SHA256SUMS` anew from a recovered manifest. Blocks."""
    # The manifest first. Killed after it, the old SHA256SUMS is only out of date. The other way round, the
    # manifest would still be broken, and the lines of the old SHA256SUMS, which may know more, would be gone.
    disk.write_atomic(layout.MANIFEST, manifest.encode(updated_at=now, base_url=base_url))
    disk.write_atomic(layout.CHECKSUMS, manifest.encode_checksums())

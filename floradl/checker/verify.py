"""`verify`: one check of an archive. It changes nothing, and leaves a note of its date and verdict.

It holds the readers' lock, so it works beside other readers, and on a disk that is read-only; there it leaves
no note.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

from floradl.checker.audit import Audit, Sample
from floradl.checker.findings import NO_FAULT, AuditReport, AuditTally
from floradl.clock import Clock, format_ms
from floradl.constants import Kind
from floradl.repository.lock import ReadLock
from floradl.repository.repository import require_archive
from floradl.repository.verdict import Verdict, note_verified
from floradl.storage.destination import Destination
from floradl.tasks import ends_by_itself

MAX_THREADS = 32
"""How many threads read files, at most, unless the user says otherwise."""


@dataclass(frozen=True)
class VerifyOptions:
    """What to check, and how.

    Args:
        dest: the archive's folder.
        sample: which files are read again.
        threads: how many files are read at the same time.
        lock_timeout_s: how long to wait for another floradl to end.
    """

    dest: Path
    sample: Sample = field(default_factory=Sample)
    threads: int = field(default_factory=lambda: min(MAX_THREADS, 2 * (os.cpu_count() or 1)))
    lock_timeout_s: float = 0.0


async def verify(
    options: VerifyOptions,
    *,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    tally: AuditTally | None = None,
) -> AuditReport:
    """Check an archive.

    Args:
        options: what to check, and how.
        clock: time, for tests.
        stop: set it to end early.
        tally: kept up to date, for a display.

    Raises:
        DestinationError: there is no archive, or its folder cannot be read.
        NewerFormatError: a newer floradl wrote it.
        LockedError: another floradl is changing it.
    """
    clock, stop, tally = clock or Clock(), stop or asyncio.Event(), tally or AuditTally()
    began_s, began_ms = clock.monotonic(), clock.now_ms()
    disk = Destination(options.dest, threads=options.threads)
    try:
        await disk.call(require_archive, disk, may_be_remains=True)
        async with ReadLock(disk, clock, timeout_s=options.lock_timeout_s, stop=stop):
            audit = Audit(disk, clock, options.sample, tally, threads=options.threads)
            is_finished = await ends_by_itself(audit.run(), stop)
            report = AuditReport(
                runs=audit.counts[Kind.RUN],
                assets=audit.counts[Kind.ASSET],
                canvases=audit.counts[Kind.CANVAS],
                outputs=audit.outputs,
                read=audit.read,
                read_bytes=tally.moved_bytes,
                sample=str(options.sample),
                findings=tuple(audit.findings),
                left=tuple(audit.findings),
                elapsed_s=clock.monotonic() - began_s,
                is_interrupted=not is_finished,
            )
            await keep_verdict(disk, report, began_ms)
    finally:
        disk.close()
    return report


async def keep_verdict(disk: Destination, report: AuditReport, began_ms: int) -> None:
    """Note the verdict of a check in the archive, for `status`. A check that was stopped has none.

    Args:
        disk: the archive.
        report: of the check, or of the repair.
        began_ms: when it began, in ms since 1970: what was damaged later it could not see.
    """
    if not report.is_interrupted:
        findings = sum(finding.kind not in NO_FAULT for finding in report.left)
        verdict = Verdict(
            at=format_ms(began_ms),
            sample=report.sample,
            sound=report.is_sound,
            runs=report.runs,
            outputs=report.outputs,
            read=report.read,
            findings=findings,
        )
        await disk.call(note_verified, disk, verdict)

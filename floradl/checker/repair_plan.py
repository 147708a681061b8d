"""From findings to what a repair does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from floradl.checker.findings import Finding, Trouble
from floradl.constants import Kind
from floradl.download.missing import Missing
from floradl.repository import layout
from floradl.repository.canvas import snapshot_op
from floradl.repository.entries import ErrorEntry, LabelsOp, Op, OutputOp, RunEntry, RunFacts, RunOp, State
from floradl.repository.manifest import Manifest
from floradl.storage.destination import Destination

_STANDING = {Trouble.EMPTY, Trouble.TRUNCATED, Trouble.CHANGED, Trouble.UNREADABLE, Trouble.NOT_A_FILE}
"""Findings where something stands in the place of an output's file."""

TO_FETCH = {*_STANDING, Trouble.MISSING, Trouble.UNRECORDED, Trouble.FAILED, Trouble.BAD_ENTRY}
"""Findings of outputs that fetching them again mends."""

_TO_RENEW = {Trouble.NO_RECORD, Trouble.BAD_RECORD, Trouble.UNREADABLE}
"""Findings of runs and assets, not of their outputs, that a new record mends."""


def right_places(found: Iterable[Finding], manifest: Manifest) -> Iterator[Op]:
    """Changes for entries that speak of another folder than the run's own."""
    for finding in found:
        entry = (
            manifest.run(finding.run_id) if finding.kind == Trouble.BAD_ENTRY and not finding.key else None
        )
        if entry is not None:
            facts = {name: getattr(entry, name) for name in RunFacts.__struct_fields__}
            yield RunOp(finding.run_id, RunFacts(**facts | {"path": finding.path}))


def plan_repairs(found: Iterable[Finding], manifest: Manifest) -> Iterator[Missing]:
    """What has to be asked for, run by run, asset by asset."""
    findings: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        findings[finding.run_id].append(finding)
    for run_id, of_run in findings.items():
        entry = manifest.run(run_id)
        if entry is None or entry.kind is Kind.CANVAS:
            continue
        keys = tuple(item.key for item in of_run if item.key and item.kind in TO_FETCH)
        has_record = not any(item.kind in _TO_RENEW and not item.key for item in of_run)
        if keys or not has_record:
            damaged = frozenset(item.key for item in of_run if item.key and _is_standing(item, entry))
            yield Missing(run_id, entry, keys, damaged, has_record)


def _is_standing(finding: Finding, entry: RunEntry) -> bool:
    """Whether what stands in the place of an output's file is to be replaced."""
    if finding.kind != Trouble.BAD_ENTRY:
        return finding.kind in _STANDING
    file = entry.outputs[finding.key].file  # a name from elsewhere must not be touched
    return file is not None and layout.is_output_of(file, finding.key)


def lost_op(finding: Finding, entry: RunEntry, at: str) -> Op:
    """The change that gives a canvas snapshot up. Its entry still says what the right bytes are."""
    output = entry.outputs[finding.key]
    if output.file is None or not layout.is_output_of(output.file, finding.key):
        output = msgspec.structs.replace(output, file=None, size_bytes=None, sha256=None)
    error = ErrorEntry("lost", f"{finding.kind}: {finding.message}", at)
    return OutputOp(
        finding.run_id, finding.key, msgspec.structs.replace(output, state=State.LOST, error=error)
    )


def found_op(disk: Destination, finding: Finding, entry: RunEntry, at: str) -> Op | None:
    """The change for a canvas snapshot that stands there: a new entry, or the old one again. Blocks."""
    known = entry.outputs.get(finding.key)
    if known is None or known.state == State.FAILED:
        path = PurePosixPath(finding.path)
        disk.flush_existing(path)
        return snapshot_op(disk, finding.run_id, path, at)
    if known.state == State.ARCHIVED:
        return None
    again = msgspec.structs.replace(known, state=State.ARCHIVED, error=None)
    return OutputOp(finding.run_id, finding.key, again)


def flush_adopted(disk: Destination, ops: Sequence[Op]) -> None:
    """Flush the files that are about to be recorded and that this process did not write. Blocks."""
    facts = {op.run_id: op.facts for op in ops if isinstance(op, RunOp)}
    folders = {run_id: PurePosixPath(its.path) for run_id, its in facts.items()}
    records = {run_id: layout.record_name(its.kind) for run_id, its in facts.items()}
    paths = [folders[run_id] / record for run_id, record in records.items() if record]
    paths += [folders[op.run_id] / layout.LABELS for op in ops if isinstance(op, LabelsOp)]
    paths += [folders[op.run_id] / op.entry.file for op in ops if isinstance(op, OutputOp) and op.entry.file]
    for path in paths:
        if disk.is_file(path):  # one that is missing is known by its checksum, and will be fetched
            disk.flush_existing(path)


def write_manifest(disk: Destination, manifest: Manifest, now: str, base_url: str) -> None:
    """Write `manifest.json` and `SHA256SUMS` anew from what a recovery found. Blocks."""
    # The manifest first: as long as it is broken, the old SHA256SUMS may know more than the new one says.
    disk.write_atomic(layout.MANIFEST, manifest.encode(updated_at=now, base_url=base_url))
    disk.write_atomic(layout.CHECKSUMS, manifest.encode_checksums())

"""What a repair has to do about findings: which entries to correct, which outputs to fetch. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from floradl.checker.findings import Finding, Trouble
from floradl.constants import Kind
from floradl.download.missing import Missing
from floradl.repository import layout
from floradl.repository.entries import ErrorEntry, Op, OutputOp, RunEntry, RunFacts, RunOp, State
from floradl.repository.manifest import Manifest

_IN_PLACE = {Trouble.EMPTY, Trouble.TRUNCATED, Trouble.CHANGED, Trouble.UNREADABLE, Trouble.NOT_A_FILE}
"""Findings of outputs where something stands in the place of the file, and has to be replaced."""

_TO_FETCH = {*_IN_PLACE, Trouble.MISSING, Trouble.UNRECORDED, Trouble.FAILED, Trouble.BAD_ENTRY}
"""Findings of outputs that are mended by fetching the output again."""

_TO_RENEW = {Trouble.NO_RECORD, Trouble.BAD_RECORD, Trouble.UNREADABLE}
"""Findings of runs and assets themselves, without a key, that are mended by a new record."""

TO_GIVE_UP = _TO_FETCH - {Trouble.UNREADABLE, Trouble.UNRECORDED}
"""Findings of canvas snapshots that nothing mends: FLORA has only the canvas of today.

A disk that does not give the bytes today may give them tomorrow, and an unrecorded snapshot is there.
"""


def right_places(findings: Iterable[Finding], manifest: Manifest) -> Iterator[Op]:
    """Changes that give entries with another folder than the run's own the right one.

    Args:
        findings: of a check.
        manifest: as the check read it.
    """
    for finding in findings:
        entry = (
            manifest.run(finding.run_id) if finding.kind == Trouble.BAD_ENTRY and not finding.key else None
        )
        if entry is not None:
            facts = {name: getattr(entry, name) for name in RunFacts.__struct_fields__}
            yield RunOp(finding.run_id, RunFacts(**facts | {"path": finding.path}))


def plan_repairs(findings: Iterable[Finding], manifest: Manifest) -> Iterator[Missing]:
    """The runs and assets that have to be asked for, each once, with the outputs to fetch.

    Args:
        findings: of a check.
        manifest: with the right places already. Canvases are left out: FLORA has none of the past.
    """
    by_run: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_run[finding.run_id].append(finding)
    for run_id, of_run in by_run.items():
        entry = manifest.run(run_id)
        if entry is None or entry.kind is Kind.CANVAS:
            continue
        keys = tuple(item.key for item in of_run if item.key and item.kind in _TO_FETCH)
        has_record = not any(item.kind in _TO_RENEW and not item.key for item in of_run)
        if keys or not has_record:
            damaged = frozenset(item.key for item in of_run if item.key and _is_to_replace(item, entry))
            yield Missing(run_id, entry, keys, damaged, has_record)


def _is_to_replace(finding: Finding, entry: RunEntry) -> bool:
    """Whether the file that stands in the output's place has to be replaced by the fetched one."""
    if finding.kind != Trouble.BAD_ENTRY:
        return finding.kind in _IN_PLACE
    # An entry may name a file that is not this output's, such as another run's. That one must not be touched.
    file = entry.outputs[finding.key].file
    return file is not None and layout.is_output_of(file, finding.key)


def lost_op(finding: Finding, entry: RunEntry, at: str) -> Op:
    """The change that gives a canvas snapshot up.

    Its entry goes on saying which bytes are the right ones, in case somebody has a copy of the file.

    Args:
        finding: of the snapshot.
        entry: of its canvas.
        at: now.
    """
    output = entry.outputs[finding.key]
    if output.file is None or not layout.is_output_of(output.file, finding.key):
        output = msgspec.structs.replace(output, file=None, size_bytes=None, sha256=None)
    error = ErrorEntry("lost", f"{finding.kind}: {finding.message}", at)
    return OutputOp(
        finding.run_id, finding.key, msgspec.structs.replace(output, state=State.LOST, error=error)
    )

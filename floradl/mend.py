"""What of an archive has to be asked for again: outputs that failed, and files that are not there.

A scan stops at the seal, so a file that somebody removed below it would never be missed. Comparing sizes
on every run costs a look at each folder, and no request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import msgspec

from floradl import layout
from floradl.entries import RunEntry, State
from floradl.errors import ApiError
from floradl.files import Disk
from floradl.job import RecordRule, Visit
from floradl.manifest import Manifest
from floradl.model import Failure, Filters, Generation, parse_generation
from floradl.plan import keys_to_mend
from floradl.words import Status

_BATCH = 500

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mend:
    """A recorded run, and the keys of those of its outputs that are not on disk as they should be.

    `damaged` are those of them whose files are there and to be replaced; `has_record` says that the run's
    `run.json` is as it should be; `is_exact` that no other output of the run is to be looked at.
    """

    run_id: str
    entry: RunEntry
    keys: tuple[str, ...]
    damaged: frozenset[str] = frozenset()
    has_record: bool = True
    is_exact: bool = False

    def visit(self, run: Generation, rule: RecordRule, *, is_current: bool = True) -> Visit:
        """The visit that mends it, now that there is a record."""
        only = frozenset(self.keys) if self.is_exact else None
        return Visit(run, rule, self.damaged, is_current, only)


@dataclass(slots=True)
class Comparison:
    """How much of what is recorded is there, and what needs mending."""

    outputs: int = 0
    size_bytes: int = 0
    mends: list[Mend] = field(default_factory=list)


def compare_with_disk(
    manifest: Manifest, disk: Disk, filters: Filters, is_wanted: Callable[[str, RunEntry], bool]
) -> Comparison:
    """Compare the manifest with the folders' listings. Blocks.

    Args:
        manifest: the archive's memory; not changed meanwhile.
        disk: the archive.
        filters: which outputs count; runs named by `run_ids` are mended even when nothing is missing.
        is_wanted: which runs count.
    """
    found = Comparison()
    for batch in _batches(manifest.iter_runs(), _BATCH):
        folders = [layout.run_path(run.workspace_id, run.project_id, run_id) for run_id, run in batch]
        for (run_id, run), files in zip(batch, disk.sizes(folders), strict=True):
            archived = [
                output
                for output in run.outputs.values()
                if output.state == State.ARCHIVED and files.get(output.file or "") == output.size_bytes
            ]
            found.outputs += len(archived)
            found.size_bytes += sum(output.size_bytes or 0 for output in archived)
            if is_wanted(run_id, run):
                keys = keys_to_mend(run, filters, files)
                if keys or run_id in filters.run_ids:
                    found.mends.append(Mend(run_id, run, tuple(keys)))
    return found


def known_record(disk: Disk, mend: Mend) -> Generation:
    """What is known of a run, for the fields that `GET /runs/{run_id}` lacks. Blocks.

    It is the run's `run.json`, or what the manifest says where that is lost.
    """
    entry = mend.entry
    folder = layout.run_path(entry.workspace_id, entry.project_id, mend.run_id)
    raw = disk.read(folder / layout.RUN_RECORD) if mend.has_record else None
    if raw is not None:
        try:
            known = parse_generation(raw)
            if known.run_id == mend.run_id:
                return known
        except ApiError as exc:
            log.info("the run.json of %s is not readable: %s", mend.run_id, exc.message)
    facts = {
        "run_id": mend.run_id,
        "status": Status.COMPLETED,
        "workspace_id": entry.workspace_id,
        "project_id": entry.project_id,
        "model": {"model_id": entry.model_id},
    }
    return parse_generation(msgspec.json.encode(facts))


def lost_outputs(mend: Mend, why: str) -> list[Failure]:
    """Failures of outputs whose run can give them no more, and why."""
    return [
        Failure(
            run_id=mend.run_id,
            key=key,
            type=mend.entry.outputs[key].type,
            url=mend.entry.outputs[key].url,
            code="run_not_found",
            message=why,
            attempts=0,
            keeps_entry=True,
        )
        for key in mend.keys
    ]


def _batches(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

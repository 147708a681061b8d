"""The manifest against the folders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from floradl.api.models import Filters
from floradl.archiver.folder_cache import (
    FolderStamp,
    FolderStamps,
    encode_stamps,
    is_settled,
    is_worth_it,
    parse_stamps,
    part_of,
)
from floradl.constants import Kind
from floradl.download.missing import Missing
from floradl.download.plan import is_there, keys_to_mend
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository
from floradl.repository.snapshot import entry_place
from floradl.storage.destination import Destination
from floradl.storage.local.folder_dates import FolderDates

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Comparison:
    """How much of what is recorded is there, what needs mending, and the stamps of folders that do not."""

    outputs: int = 0
    size_bytes: int = 0
    missing_runs: list[Missing] = field(default_factory=list)
    stamps: FolderStamps = field(default_factory=dict)


def compare_with_disk(
    manifest: Manifest,
    disk: Destination,
    filters: Filters,
    is_wanted: Callable[[str, RunEntry], bool],
    stamps: FolderStamps | None = None,
) -> Comparison:
    """Compare the manifest with the folders' listings. Blocks.

    Args:
        manifest: the archive's memory; not changed meanwhile.
        disk: the archive.
        filters: which outputs count; runs named by `run_ids` are mended even when nothing is missing.
        is_wanted: which runs count.
        stamps: those that hold; None: none are wanted either.
    """
    found, folder_dates = Comparison(), FolderDates(disk.root)
    moment_ns = None if stamps is None else disk.moment_ns()
    believed = _believed(stamps or {}, manifest, folder_dates, filters) if moment_ns is not None else {}
    fresh: FolderStamps = {}
    for run_id in manifest.ids():
        stamp = believed.get(run_id)
        if stamp is not None:
            found.outputs += stamp.outputs
            found.size_bytes += stamp.size_bytes
            continue
        run = manifest.entry(run_id)
        place = entry_place(run_id, run)
        look = folder_dates.look(place)
        there = [output.size_bytes or 0 for output in run.outputs.values() if is_there(output, look.sizes)]
        found.outputs += len(there)
        found.size_bytes += sum(there)
        if is_wanted(run_id, run):
            keys = keys_to_mend(run, filters, look.sizes)
            if keys or run_id in filters.run_ids:
                found.missing_runs.append(Missing(run_id, run, tuple(keys)))
        record = layout.record_name(run.kind)
        is_whole = len(there) == len(run.outputs) and (record is None or record in look.sizes)
        if is_whole and moment_ns is not None and look.date and is_settled(look.date, moment_ns):
            fresh[run_id] = FolderStamp(place, *look.date, len(there), sum(there))
    found.stamps = believed | fresh
    return found


def _believed(
    stamps: FolderStamps, manifest: Manifest, folder_dates: FolderDates, filters: Filters
) -> FolderStamps:
    """The stamps of folders that are as they were, the longest unlooked-at last: that one was looked into."""
    resting: FolderStamps = {}
    looked_into: FolderStamps = {}
    due = part_of(len(manifest))
    for number, (run_id, stamp) in enumerate(stamps.items()):
        if run_id in filters.run_ids or not folder_dates.is_dated(
            stamp.place, stamp.mtime_ns, stamp.ctime_ns, stamp.inode
        ):
            continue
        if number >= due:
            resting[run_id] = stamp
        elif folder_dates.has(stamp.place, manifest.sizes(run_id) | _records(manifest.kind(run_id))):
            looked_into[run_id] = stamp
    return resting | looked_into


def _records(kind: Kind) -> dict[str, int | None]:
    record = layout.record_name(kind)
    return {} if record is None else {record: None}


def compare_store(
    repository: Repository,
    disk: Destination,
    filters: Filters,
    is_wanted: Callable[[str, RunEntry], bool],
    *,
    everything: bool,
) -> Comparison:
    """`compare_with_disk` for the archive's writer, with the stamps that hold. Blocks.

    Args:
        repository, disk, filters, is_wanted: as there.
        everything: take no stamp's word.
    """
    manifest = repository.manifest
    stamps: FolderStamps | None = None
    if is_worth_it(len(manifest)):
        stamps = {} if everything else _read_stamps(repository, disk)
    return compare_with_disk(manifest, disk, filters, is_wanted, stamps)


def _read_stamps(repository: Repository, disk: Destination) -> FolderStamps:
    manifest, snapshot = repository.manifest, repository.snapshot
    try:
        data = disk.read(layout.STAMPS)
    except OSError as exc:
        log.info("the folders' stamps cannot be read: %s", exc.strerror)
        return {}
    if data is None or snapshot is None:
        return {}
    return parse_stamps(data, manifest.archive_id, snapshot, manifest.changed_runs)


def keep_stamps(repository: Repository, disk: Destination, stamps: FolderStamps) -> None:
    """Write a comparison's stamps for the next session. Only when all that was recorded is folded. Blocks."""
    is_ours = disk.is_file(layout.STAMPS) or not disk.exists(layout.STAMPS)
    if not stamps or not is_ours or repository.snapshot is None:
        return
    manifest = repository.manifest
    kept = {run_id: stamp for run_id, stamp in stamps.items() if run_id not in manifest.changed_runs}
    disk.write_atomic(layout.STAMPS, encode_stamps(kept, manifest.archive_id, repository.snapshot))

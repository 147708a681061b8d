"""The manifest compared with the folders: which recorded files are gone, or have another size.

A scan stops at its seal. A file below the seal that somebody removed would never be missed, if the folders
were not looked at each session. In a small archive each folder is listed. In a large one, a folder whose date
says that it is as it was when it was listed last is passed over: `folder_cache` says when that holds.

Nothing is read from files here, so a file with other bytes of the same length is not noticed; `verify` reads.
"""

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
from floradl.download.plan import is_intact, keys_to_refetch
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
    """What a comparison found.

    Attributes:
        outputs: how many recorded outputs are there with their recorded size.
        size_bytes: of these outputs together.
        missing_runs: runs with outputs to fetch again.
        stamps: folders that are just as recorded, for the next session's comparison.
    """

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
        manifest: what is recorded; nobody may change it meanwhile.
        disk: the archive.
        filters: which outputs are fetched again; runs named by `run_ids` are asked for in any case.
        is_wanted: which runs are fetched again. All runs count for the archive's size.
        stamps: the stamps that are valid; None: make no use of stamps, and no new ones.

    Raises:
        OSError: a folder could not be listed, or is a link.
    """
    comparison, folder_dates = Comparison(), FolderDates(disk.root)
    # Asked before any folder is dated: a folder that changes after this moment has a later date.
    moment_ns = None if stamps is None else disk.moment_ns()
    valid = _still_valid(stamps or {}, manifest, folder_dates, filters) if moment_ns is not None else {}
    fresh: FolderStamps = {}
    for run_id in manifest.ids():
        stamp = valid.get(run_id)
        if stamp is not None:
            comparison.outputs += stamp.outputs
            comparison.size_bytes += stamp.size_bytes
            continue
        run = manifest.entry(run_id)
        place = entry_place(run_id, run)
        folder = folder_dates.look(place)
        there = [output.size_bytes or 0 for output in run.outputs.values() if is_intact(output, folder.sizes)]
        comparison.outputs += len(there)
        comparison.size_bytes += sum(there)
        if is_wanted(run_id, run):
            keys = keys_to_refetch(run, filters, folder.sizes)
            if keys or run_id in filters.run_ids:
                comparison.missing_runs.append(Missing(run_id, run, tuple(keys)))
        record = layout.record_name(run.kind)
        is_whole = len(there) == len(run.outputs) and (record is None or record in folder.sizes)
        if is_whole and moment_ns is not None and folder.date and is_settled(folder.date, moment_ns):
            fresh[run_id] = FolderStamp(place, *folder.date, len(there), sum(there))
    # The freshly listed ones last: stamps are in the order in which folders are due to be looked into.
    comparison.stamps = valid | fresh
    return comparison


def _still_valid(
    stamps: FolderStamps, manifest: Manifest, folder_dates: FolderDates, filters: Filters
) -> FolderStamps:
    """The stamps whose folders still have the date they had, in the order in which they are due to be listed.

    The first `part_of` of them have waited longest. Their files' sizes are compared all the same, and they go
    to the end of the order.
    """
    waiting: FolderStamps = {}
    looked_into: FolderStamps = {}
    due = part_of(len(manifest))
    for number, (run_id, stamp) in enumerate(stamps.items()):
        if run_id in filters.run_ids or not folder_dates.is_dated(
            stamp.place, stamp.mtime_ns, stamp.ctime_ns, stamp.inode
        ):
            continue
        if number >= due:
            waiting[run_id] = stamp
        elif folder_dates.has(stamp.place, manifest.sizes(run_id) | _record_sizes(manifest.kind(run_id))):
            looked_into[run_id] = stamp
    return waiting | looked_into


def _record_sizes(kind: Kind) -> dict[str, int | None]:
    """The record that a folder of this kind must have, of whatever size (None)."""
    record = layout.record_name(kind)
    return {} if record is None else {record: None}


def compare_repository(
    repository: Repository,
    disk: Destination,
    filters: Filters,
    is_wanted: Callable[[str, RunEntry], bool],
    *,
    everything: bool,
) -> Comparison:
    """`compare_with_disk` with the stamps that the last session left. Only for the lock's holder. Blocks.

    Args:
        repository: the manifest, open.
        disk, filters, is_wanted: as for `compare_with_disk`.
        everything: list every folder, whatever its stamp says. New stamps are made all the same.

    Raises:
        OSError: a folder could not be listed, or is a link.
    """
    manifest = repository.manifest
    stamps: FolderStamps | None = None
    if is_worth_it(len(manifest)):
        stamps = {} if everything else _read_stamps(repository, disk)
    return compare_with_disk(manifest, disk, filters, is_wanted, stamps)


def _read_stamps(repository: Repository, disk: Destination) -> FolderStamps:
    """The stamps of the last session that hold for this manifest. They are a cache: no error is a failure."""
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
    """Write a comparison's stamps for the next session. Blocks.

    Call it after `Repository.fold`: stamps name the `manifest.json` for which they hold. A session that is
    killed before has stamps of the older one, which are void, so the next session lists every folder.

    Args:
        repository: folded.
        disk: the archive.
        stamps: `Comparison.stamps`. Those of runs that were changed since are left out.
    """
    # A link or a folder in the file's place is not floradl's, and is left alone.
    is_ours = disk.is_file(layout.STAMPS) or not disk.exists(layout.STAMPS)
    if not stamps or not is_ours or repository.snapshot is None:
        return
    manifest = repository.manifest
    kept = {run_id: stamp for run_id, stamp in stamps.items() if run_id not in manifest.changed_runs}
    disk.write_atomic(layout.STAMPS, encode_stamps(kept, manifest.archive_id, repository.snapshot))

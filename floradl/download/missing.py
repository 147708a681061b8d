"""What of an archive has to be asked for again: outputs that failed, and files that are not there.

A scan stops at the seal, so a file that somebody removed below it would never be missed. Comparing sizes
on every run costs a look at each folder, and no request. In a large archive it costs a look at each folder's
date and at some of the folders: see `stamps`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from floradl.api.models import Filters, Generation
from floradl.api.records import parse_record
from floradl.archiver.folder_cache import (
    Stamp,
    Stamps,
    encode_stamps,
    is_settled,
    is_worth_it,
    parse_stamps,
    part_of,
)
from floradl.constants import Kind, Status
from floradl.download.plan import RecordRule, Visit, is_there, keys_to_mend
from floradl.errors import ApiError
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Store
from floradl.repository.results import Failure
from floradl.repository.snapshot import entry_path, entry_place
from floradl.storage.destination import Disk
from floradl.storage.local.folder_dates import Glance

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
    """How much of what is recorded is there, what needs mending, and the stamps of folders that do not."""

    outputs: int = 0
    size_bytes: int = 0
    mends: list[Mend] = field(default_factory=list)
    stamps: Stamps = field(default_factory=dict)


def compare_with_disk(
    manifest: Manifest,
    disk: Disk,
    filters: Filters,
    is_wanted: Callable[[str, RunEntry], bool],
    stamps: Stamps | None = None,
) -> Comparison:
    """Compare the manifest with the folders' listings. Blocks.

    Args:
        manifest: the archive's memory; not changed meanwhile.
        disk: the archive.
        filters: which outputs count; runs named by `run_ids` are mended even when nothing is missing.
        is_wanted: which runs count.
        stamps: those that hold; None: none are wanted either.
    """
    found, glance = Comparison(), Glance(disk.root)
    moment_ns = None if stamps is None else disk.moment_ns()
    believed = _believed(stamps or {}, manifest, glance, filters) if moment_ns is not None else {}
    fresh: Stamps = {}
    for run_id in manifest.ids():
        stamp = believed.get(run_id)
        if stamp is not None:
            found.outputs += stamp.outputs
            found.size_bytes += stamp.size_bytes
            continue
        run = manifest.entry(run_id)
        place = entry_place(run_id, run)
        look = glance.look(place)
        there = [output.size_bytes or 0 for output in run.outputs.values() if is_there(output, look.sizes)]
        found.outputs += len(there)
        found.size_bytes += sum(there)
        if is_wanted(run_id, run):
            keys = keys_to_mend(run, filters, look.sizes)
            if keys or run_id in filters.run_ids:
                found.mends.append(Mend(run_id, run, tuple(keys)))
        record = layout.record_name(run.kind)
        is_whole = len(there) == len(run.outputs) and (record is None or record in look.sizes)
        if is_whole and moment_ns is not None and look.date and is_settled(look.date, moment_ns):
            fresh[run_id] = Stamp(place, *look.date, len(there), sum(there))
    found.stamps = believed | fresh
    return found


def _believed(stamps: Stamps, manifest: Manifest, glance: Glance, filters: Filters) -> Stamps:
    """The stamps of folders that are as they were, the longest unlooked-at last: that one was looked into."""
    resting: Stamps = {}
    looked_into: Stamps = {}
    due = part_of(len(manifest))
    for number, (run_id, stamp) in enumerate(stamps.items()):
        if run_id in filters.run_ids or not glance.is_dated(
            stamp.place, stamp.mtime_ns, stamp.ctime_ns, stamp.inode
        ):
            continue
        if number >= due:
            resting[run_id] = stamp
        elif glance.has(stamp.place, manifest.sizes(run_id) | _records(manifest.kind(run_id))):
            looked_into[run_id] = stamp
    return resting | looked_into


def _records(kind: Kind) -> dict[str, int | None]:
    record = layout.record_name(kind)
    return {} if record is None else {record: None}


def compare_store(
    store: Store,
    disk: Disk,
    filters: Filters,
    is_wanted: Callable[[str, RunEntry], bool],
    *,
    everything: bool,
) -> Comparison:
    """`compare_with_disk` for the archive's writer, with the stamps that hold. Blocks.

    Args:
        store, disk, filters, is_wanted: as there.
        everything: take no stamp's word.
    """
    manifest = store.manifest
    stamps: Stamps | None = None
    if is_worth_it(len(manifest)):
        stamps = {} if everything else _read_stamps(store, disk)
    return compare_with_disk(manifest, disk, filters, is_wanted, stamps)


def _read_stamps(store: Store, disk: Disk) -> Stamps:
    manifest, snapshot = store.manifest, store.snapshot
    try:
        data = disk.read(layout.STAMPS)
    except OSError as exc:
        log.info("the folders' stamps cannot be read: %s", exc.strerror)
        return {}
    if data is None or snapshot is None:
        return {}
    return parse_stamps(data, manifest.archive_id, snapshot, manifest.changed_runs)


def keep_stamps(store: Store, disk: Disk, stamps: Stamps) -> None:
    """Write a comparison's stamps for the next session. Only when all that was recorded is folded. Blocks."""
    is_ours = disk.is_file(layout.STAMPS) or not disk.exists(layout.STAMPS)
    if not stamps or not is_ours or store.snapshot is None:
        return
    manifest = store.manifest
    kept = {run_id: stamp for run_id, stamp in stamps.items() if run_id not in manifest.changed_runs}
    disk.write_atomic(layout.STAMPS, encode_stamps(kept, manifest.archive_id, store.snapshot))


def known_record(disk: Disk, mend: Mend) -> Generation:
    """What is known of a run, for the fields that `GET /runs/{run_id}` lacks. Blocks.

    It is the record in its folder, or what the manifest says where that is lost.
    """
    entry = mend.entry
    record = layout.record_name(entry.kind)
    raw = disk.read(entry_path(mend.run_id, entry) / record) if mend.has_record and record else None
    if raw is not None:
        try:
            known = parse_record(entry.kind, raw)
            if known.run_id == mend.run_id:
                return known
        except ApiError as exc:
            log.info("the record of %s is not readable: %s", mend.run_id, exc.message)
    facts: dict[str, object] = {"workspace_id": entry.workspace_id, "project_id": entry.project_id}
    if entry.kind is Kind.ASSET:
        facts |= {"asset_id": mend.run_id, "status": "ready", "name": entry.name}
    else:
        facts |= {
            "run_id": mend.run_id,
            "status": Status.COMPLETED,
            "model": {"model_id": entry.model_id},
        }
    return replace(parse_record(entry.kind, msgspec.json.encode(facts)), kind=entry.kind, outputs=None)


def lost_outputs(mend: Mend, why: str) -> list[Failure]:
    """Failures of outputs whose run can give them no more, and why."""
    return [
        Failure(
            run_id=mend.run_id,
            key=key,
            type=mend.entry.outputs[key].type,
            url=mend.entry.outputs[key].url,
            code="lost" if mend.entry.kind is Kind.CANVAS else "run_not_found",
            message=why,
            attempts=0,
            keeps_entry=True,
        )
        for key in mend.keys
    ]

"""What of an archive has to be asked for again: outputs that failed, and files that are not there.

A scan stops at the seal, so a file that somebody removed below it would never be missed. Comparing sizes
on every run costs a look at each folder, and no request. In a large archive it costs a look at each folder's
date and at some of the folders: see `stamps`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import msgspec

from floradl.api.models import Generation
from floradl.api.records import parse_record
from floradl.constants import Kind, Status
from floradl.download.plan import RecordRule, Visit
from floradl.errors import ApiError
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.results import Failure
from floradl.repository.snapshot import entry_path
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Missing:
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


def known_record(disk: Destination, missing: Missing) -> Generation:
    """What is known of a run, for the fields that `GET /runs/{run_id}` lacks. Blocks.

    It is the record in its folder, or what the manifest says where that is lost.
    """
    entry = missing.entry
    record = layout.record_name(entry.kind)
    raw = disk.read(entry_path(missing.run_id, entry) / record) if missing.has_record and record else None
    if raw is not None:
        try:
            known = parse_record(entry.kind, raw)
            if known.run_id == missing.run_id:
                return known
        except ApiError as exc:
            log.info("the record of %s is not readable: %s", missing.run_id, exc.message)
    facts: dict[str, object] = {"workspace_id": entry.workspace_id, "project_id": entry.project_id}
    if entry.kind is Kind.ASSET:
        facts |= {"asset_id": missing.run_id, "status": "ready", "name": entry.name}
    else:
        facts |= {
            "run_id": missing.run_id,
            "status": Status.COMPLETED,
            "model": {"model_id": entry.model_id},
        }
    return replace(parse_record(entry.kind, msgspec.json.encode(facts)), kind=entry.kind, outputs=None)


def lost_outputs(missing: Missing, why: str) -> list[Failure]:
    """Failures of outputs whose run can give them no more, and why."""
    return [
        Failure(
            run_id=missing.run_id,
            key=key,
            type=missing.entry.outputs[key].type,
            url=missing.entry.outputs[key].url,
            code="lost" if missing.entry.kind is Kind.CANVAS else "run_not_found",
            message=why,
            attempts=0,
            keeps_entry=True,
        )
        for key in missing.keys
    ]

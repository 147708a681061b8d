"""Recorded runs of which something is missing: what has to be fetched again, and what is known about them.

The archive job (`archiver.compare`), `repair` and `restore` find out what is missing, each in its own way.
All of them say it as `Missing`, from which `refetch` makes the visits that fetch it.
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
    """A recorded run, and those of its outputs that are not on the disk as they were recorded.

    Args:
        run_id: the id of the run, asset or canvas.
        entry: what the manifest has of it.
        keys: the keys of the outputs to fetch again.
        damaged: those of `keys` whose files are there, damaged, and to be replaced.
        has_record: whether its `run.json` is on the disk as it was recorded.
        is_exact: True if no other output of the run is to be looked at.
    """

    run_id: str
    entry: RunEntry
    keys: tuple[str, ...]
    damaged: frozenset[str] = frozenset()
    has_record: bool = True
    is_exact: bool = False

    def visit(self, run: Generation, rule: RecordRule, *, is_current: bool = True) -> Visit:
        """The visit that fetches again what is missing.

        Args:
            run: a record of the run, with URLs.
            rule: what becomes of the `run.json` on the disk.
            is_current: whether FLORA gave the record just now.
        """
        only = frozenset(self.keys) if self.is_exact else None
        return Visit(run, rule, self.damaged, is_current, only)


def known_record(disk: Destination, missing: Missing) -> Generation:
    """What the archive knows of a run, for the fields that `GET /runs/{run_id}` lacks. Blocks.

    Args:
        disk: the archive.
        missing: the run.

    Returns:
        The record in the run's folder. If that is lost or is that of another run, what the manifest has, with
        `outputs` None.
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
    """The failures of the missing outputs of a run that nobody can give any more.

    Args:
        missing: the run.
        why: the reason, for the user.
    """
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

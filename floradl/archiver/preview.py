"""`archive --dry-run`: the same scan and the same decisions as `archive`, without writing anything.

It takes no lock, so it may run while another floradl archives, and then shows a moment of that.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.unknown_ids import unknown_places
from floradl.api.walk import with_outputs
from floradl.archiver.compare import compare_with_disk
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.refusals import failure_of, was_seen
from floradl.archiver.scan import Scan
from floradl.clock import Clock
from floradl.constants import Source
from floradl.download.missing import known_record
from floradl.download.plan import (
    Decision,
    OnDisk,
    at_recorded_place,
    decide_run,
    is_complete_on_disk,
    run_folder,
)
from floradl.errors import ApiError, ApiNotFoundError
from floradl.repository.entries import RunEntry
from floradl.repository.manifest import Manifest
from floradl.repository.repository import NOT_BEGUN, load_manifest, require_archive
from floradl.storage import base
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """One run, and what would be done about each of its wanted outputs."""

    run: Generation
    decisions: list[Decision]


async def iter_previews(
    options: ArchiveOptions, api: FloraApi, *, clock: Clock
) -> AsyncGenerator[Preview, None]:
    """Every run that `archive` would visit now, with its decisions.

    Args:
        options: what would be archived.
        api: an open session with the API.
        clock: time.

    Raises:
        ApiError: a page or a run could not be had.
        DestinationError: the manifest cannot be read, or `require_existing` is set and there is no archive.
    """
    disk = Destination(options.dest)
    try:
        if options.require_existing:
            await disk.call(require_archive, disk, hint=NOT_BEGUN)
        manifest = await disk.call(load_manifest, disk, clock)
        (partials,) = await disk.call(disk.sizes, [base.PARTIALS])
        seen = 0
        async for run in _iter_runs(options, api, manifest, disk, clock):
            entry = manifest.run(run.run_id)
            (files,) = await disk.call(disk.sizes, [run_folder(at_recorded_place(run, entry))])
            if not is_complete_on_disk(entry, options.filters, files):
                run = await with_outputs(api, run)
            run = at_recorded_place(run, entry)
            yield Preview(run, decide_run(run, entry, options.filters, OnDisk(files, frozenset(partials))))
            seen += 1
            if seen == options.filters.max_runs:
                return
    finally:
        disk.close()


async def _iter_runs(
    options: ArchiveOptions, api: FloraApi, manifest: Manifest, disk: Destination, clock: Clock
) -> AsyncGenerator[Generation, None]:
    """The runs that the lists bring, then the recorded ones with outputs to fetch again, each once."""
    seen: set[str] = set()
    async with aclosing(_iter_listed(options, api, manifest, clock, seen)) as listed:
        async for run in listed:
            yield run

    def is_wanted(run_id: str, entry: RunEntry) -> bool:
        return run_id not in seen and options.wants_entry(run_id, entry)

    comparison = await disk.call(compare_with_disk, manifest, disk, options.filters, is_wanted)
    for missing in comparison.missing_runs:
        try:
            known = await disk.call(known_record, disk, missing)
            yield await api.item(missing.entry.kind, missing.run_id, known=known)
        except ApiNotFoundError:
            continue  # `archive` would try the URLs of its record, and report what fails


async def _iter_listed(
    options: ArchiveOptions, api: FloraApi, manifest: Manifest, clock: Clock, seen: set[str]
) -> AsyncGenerator[Generation, None]:
    """The runs that the lists bring, each once; their ids are added to `seen`.

    Raises:
        UsageError: a place that the user named gave nothing, and FLORA does not know it.
        ApiError: a list could not be read, and the job must not leave it out.
    """
    filters, account = options.filters, api.account(manifest.archive_id)
    silent = [scope for scope in options.scopes if not scope.is_everything]
    refusal: ApiError | None = None
    for scope in (scope for scopes in options.phases() for scope in scopes):
        earlier = manifest.scan(scope, account)
        scan = Scan(
            api,
            scope,
            account,
            earlier,
            manifest.__contains__,
            clock,
            full=options.full,
            since_ms=filters.since_ms,
        )
        try:
            async for run in scan.iter_completed():
                if run.run_id not in seen and filters.wants(run):
                    seen.add(run.run_id)
                    yield run
        except ApiError as exc:
            _require_may_be_left_out(exc, scope, options, manifest)
            refusal = exc
        if scan.seen or (earlier is not None and earlier.sealed_before is not None):
            silent = [each for each in silent if each.of(Source(scope.source)) != scope]
    if refusal is not None and not api.successes:
        raise refusal
    for problem in await unknown_places(api, silent):
        raise problem


def _require_may_be_left_out(
    error: ApiError, scope: Scope, options: ArchiveOptions, manifest: Manifest
) -> None:
    """Raise the error of a list, unless it is a refusal that costs the job nothing but that list."""
    if not error.is_refusal:
        raise error
    source = Source(scope.source)
    failure = failure_of(source, error, options, has_seen=was_seen(source, options.scopes, manifest))
    if failure is not None:
        raise failure from error
    log.info("%s cannot be listed: %s", scope, error.message)

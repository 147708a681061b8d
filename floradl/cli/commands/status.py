"""`floradl status`: what an archive holds, and how old that is. Needs no network and no key."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass

from floradl.api.models import Scope
from floradl.cli.config import Settings
from floradl.cli.context import expanded, scopes_of, sources_of, write_line
from floradl.cli.json_output import write_json
from floradl.cli.reports.metrics import metric_lines
from floradl.cli.reports.status import age_line, status_lines, status_object
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.constants import Source
from floradl.errors import Exit, UsageError, printable
from floradl.repository.lock import ReadLock
from floradl.repository.names import Place, read_names, require_places
from floradl.repository.repository import load_manifest, require_archive
from floradl.repository.statistics import Status, summarize
from floradl.repository.verdict import read_verified
from floradl.storage.destination import Destination


@dataclass(frozen=True, slots=True)
class _Archive:
    """What is read of an archive: its numbers, and what its manifest says about itself."""

    status: Status
    archive_id: str
    created_at: str
    base_url: str


def run(settings: Settings, dest: str) -> int:
    """Print what the archive in `dest` holds."""
    if settings.json and settings.prometheus:
        raise UsageError("--json and --prometheus exclude each other", hint="Run floradl status for each.")
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        clock, disk = Clock(), Destination(expanded(dest), threads=1)
        named = settings.workspace_id or settings.project_id
        scopes = scopes_of(settings.workspace_id, settings.project_id) if named else ()
        try:
            archive = asyncio.run(
                _read(disk, clock, scopes, sources_of(settings.status_source), settings.lock_timeout)
            )
        finally:
            disk.close()
        now_ms, status = clock.now_ms(), archive.status
        is_old = settings.max_age is not None and status.is_older_than(settings.max_age, now_ms)
        exit_code = int(Exit.INCOMPLETE if is_old else Exit.OK)
        path = os.fsencode(disk.root.absolute()).decode(errors="replace")
        if settings.json:
            facts = {
                "path": path,
                "archive_id": archive.archive_id,
                "created_at": archive.created_at,
                "base_url": archive.base_url,
            }
            write_json(
                status_object(
                    status, archive=facts, now_ms=now_ms, max_age_s=settings.max_age, exit_code=exit_code
                )
            )
        elif settings.prometheus:
            write_line("\n".join(metric_lines(status, path, now_ms)).encode())
        elif not settings.quiet:
            width = shutil.get_terminal_size().columns
            lines = status_lines(status, dest, width, now_ms, everything=settings.verbose)
            write_line("\n".join(lines).encode(errors="replace"))
        if is_old:
            console.warn(age_line(status, now_ms))
            console.warn(f"  `floradl {printable(dest)}` brings it up to date; its log says why it did not.")
        return exit_code


async def _read(
    disk: Destination,
    clock: Clock,
    scopes: tuple[Scope, ...],
    sources: tuple[Source, ...],
    lock_timeout_s: float,
) -> _Archive:
    await disk.call(require_archive, disk)
    async with ReadLock(disk, clock, timeout_s=lock_timeout_s):
        return await disk.call(_summary, disk, clock, scopes, sources)


def _summary(
    disk: Destination, clock: Clock, scopes: tuple[Scope, ...], sources: tuple[Source, ...]
) -> _Archive:
    manifest = load_manifest(disk, clock)
    require_places(disk, manifest, scopes)
    status = summarize(manifest, scopes, sources, now_ms=clock.now_ms())
    places = {*status.by_project, *(Place(run.workspace_id, run.project_id) for run in status.open_runs)}
    status.names = read_names(disk, places)
    status.verified = read_verified(disk)
    return _Archive(status, manifest.archive_id, manifest.created_at, manifest.base_url)

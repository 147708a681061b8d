"""The options of an archive job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from floradl.api.models import EVERYTHING, Filters, Scope
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, DEFAULT_SOURCES, Source
from floradl.download.plan import wants_entry
from floradl.repository.entries import RunEntry


@dataclass(frozen=True)
class ArchiveOptions:
    """What to archive, and how.

    Args:
        dest: the archive's folder; made when missing.
        base_url: the API's address, as `addresses.check_base_url` returned it.
        scopes: which workspaces and projects to list.
        sources: which of their lists: generations, technique runs, assets, canvases.
        required_sources: the sources that the user named. It is a failure when the key may not see one of
            these; `refusals` says which others may be left out.
        filters: which of the listed runs and outputs are wanted.
        concurrency: how many outputs are on their way at the same time, at most; a host may get fewer.
        retries: how often an output is tried again while no byte of it arrives.
        timeout_s: how long a media connection may stay silent.
        full: walk the whole history although there is a seal.
        wait_s: how long to wait for runs that are pending or running; None: not at all.
        fsync: whether to flush files before they are recorded.
        lock_timeout_s: how long to wait for another floradl to end.
        min_free_bytes: how much room on the archive's disk is left to others.
        require_existing: refuse a folder without an archive.
        limit_rate_bytes: how many bytes of media may arrive a second, in all transfers together; 0: no limit.
    """

    dest: Path
    base_url: str = DEFAULT_BASE_URL
    scopes: tuple[Scope, ...] = (EVERYTHING,)
    sources: tuple[Source, ...] = DEFAULT_SOURCES
    required_sources: frozenset[Source] = frozenset()
    filters: Filters = field(default_factory=Filters)
    concurrency: int = DEFAULT_CONCURRENCY
    retries: int = 5
    timeout_s: float = 60.0
    full: bool = False
    wait_s: float | None = None
    fsync: bool = True
    lock_timeout_s: float = 0.0
    min_free_bytes: int = 0
    require_existing: bool = False
    limit_rate_bytes: int = 0

    def wants_entry(self, run_id: str, entry: RunEntry) -> bool:
        """Whether a recorded run, asset or canvas is within this job's sources, scopes and filters."""
        is_of_sources = any(source in self.sources for source in entry.sources)
        return is_of_sources and wants_entry(self.scopes, self.filters, run_id, entry)

    def phases(self) -> list[list[Scope]]:
        """The scopes to scan: a list for each source, in the order in which the sources are scanned.

        Canvases are not among them: they are no runs, and are looked at when all runs are recorded.
        """
        order = [Source.GENERATIONS, Source.TECHNIQUE_RUNS, Source.ASSETS]
        return [[scope.of(source) for scope in self.scopes] for source in order if source in self.sources]

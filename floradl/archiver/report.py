"""What an archive job is told, and what it reports.

Every number of a report is counted where the work was done and recorded, so a report never says more than
the manifest does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from floradl.api.models import EVERYTHING, Filters, Scope
from floradl.constants import DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, DEFAULT_SOURCES, Source
from floradl.download.plan import wants_entry
from floradl.errors import Exit, FloradlError, KeyRefusedError
from floradl.repository.entries import RunEntry
from floradl.repository.results import Failure, failure_objects


@dataclass(frozen=True)
class ArchiveOptions:
    """What to archive, and how.

    Args:
        dest: the archive's folder; made when missing.
        base_url: the API's, as `addresses.check_base_url` returned it.
        scopes: which workspaces and projects to list.
        sources: what of them.
        required_sources: those of them that it is a failure to be refused.
        filters: what is wanted of it.
        concurrency: outputs on their way at the same time, at most; hosts may want fewer.
        retries: tries after the first, for an output while nothing arrives.
        timeout_s: how long a media connection may stay silent.
        full: walk the whole history although there is a seal.
        wait_s: how long to stay for runs that are pending or running; None: not at all.
        fsync: whether to flush files before they are recorded.
        lock_timeout_s: how long to wait for another floradl to end.
        min_free_bytes: how much room on the archive's disk is left to others.
        require_existing: refuse a folder without an archive.
        limit_rate_bytes: how much media may come a second, all together; 0: whatever comes.
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
        """Whether a recorded run, asset or canvas is one that this job speaks of."""
        is_of_sources = any(source in self.sources for source in entry.sources)
        return is_of_sources and wants_entry(self.scopes, self.filters, run_id, entry)

    def phases(self) -> list[list[Scope]]:
        """The scopes to scan, one source after another: of generations, of technique runs, of assets."""
        order = [Source.GENERATIONS, Source.TECHNIQUE_RUNS, Source.ASSETS]
        return [[scope.of(source) for scope in self.scopes] for source in order if source in self.sources]


@dataclass(frozen=True, slots=True)
class SourceNews:
    """What one source gave: how much is listed there, and how much of it is new.

    `refused` is what the API said where this key may not see it, `refusal` the same in two words.
    """

    source: Source
    listed: int
    new: int
    refused: str | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """How many runs and assets of a project are new; `name` is "" where it is unknown, not printable yet."""

    workspace_id: str
    project_id: str
    name: str
    runs: int
    assets: int = 0


@dataclass(frozen=True, slots=True)
class UnseenProject:
    """A project that is archived and that the key does not see any more; `name` is not printable yet."""

    workspace_id: str
    project_id: str
    name: str


@dataclass(frozen=True)
class Report:
    """What a session did. Times in seconds, sizes in bytes, cost in USD.

    Outputs, failures and bytes are those of runs, assets and canvases alike.
    """

    listed_runs: int
    new_runs: int
    fetched: int
    adopted: int
    already: int
    failures: tuple[Failure, ...]
    problems: tuple[FloradlError, ...]
    missing_runs: tuple[str, ...]
    vanished_runs: tuple[str, ...]
    open_runs: int
    news: tuple[News, ...]
    new_bytes: int
    new_cost: float
    sources: tuple[SourceNews, ...]
    archive_runs: int
    archive_outputs: int
    archive_bytes: int
    api_calls: int
    elapsed_s: float
    is_interrupted: bool
    listed_assets: int = 0
    new_assets: int = 0
    vanished_assets: tuple[str, ...] = ()
    archive_assets: int = 0
    archive_canvases: int = 0
    unseen: tuple[UnseenProject, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every completed run in scope was seen and all its outputs are on disk and recorded."""
        return not (self.failures or self.problems or self.missing_runs or self.is_interrupted)

    @property
    def exit_code(self) -> Exit:
        """The exit code of the command, signals apart."""
        if any(isinstance(problem, KeyRefusedError) for problem in self.problems):
            return Exit.KEY_REFUSED
        return Exit.OK if self.is_complete else Exit.INCOMPLETE


def report_object(report: Report, exit_code: int) -> dict[str, object]:
    """The object that `--json` prints; docs/format.md describes it."""
    return {
        "format": "floradl-report",
        "version": 1,
        "command": "archive",
        "exit_code": exit_code,
        "complete": report.is_complete,
        "interrupted": report.is_interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
        "api_calls": report.api_calls,
        "runs": {
            "listed": report.listed_runs,
            "new": report.new_runs,
            "open": report.open_runs,
            "new_by_project": [
                {
                    "workspace_id": news.workspace_id,
                    "project_id": news.project_id,
                    "name": news.name,
                    "runs": news.runs,
                    "assets": news.assets,
                }
                for news in report.news
            ],
            "vanished": list(report.vanished_runs),
            "not_found": list(report.missing_runs),
        },
        "assets": {
            "listed": report.listed_assets,
            "new": report.new_assets,
            "vanished": list(report.vanished_assets),
        },
        "unseen_projects": [
            {"workspace_id": its.workspace_id, "project_id": its.project_id, "name": its.name}
            for its in report.unseen
        ],
        "sources": [
            {"source": its.source, "listed": its.listed, "new": its.new, "refused": its.refused}
            for its in report.sources
        ],
        "outputs": {
            "fetched": report.fetched,
            "adopted": report.adopted,
            "already": report.already,
            "failed": len(report.failures),
            "new_bytes": report.new_bytes,
            "new_cost": round(report.new_cost, 6),
        },
        "archive": {
            "runs": report.archive_runs,
            "assets": report.archive_assets,
            "canvases": report.archive_canvases,
            "outputs": report.archive_outputs,
            "bytes": report.archive_bytes,
        },
        "failures": failure_objects(report.failures),
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in report.problems],
    }


def preview_report(
    to_do: list[dict[str, str]], already: int, missing: list[str], exit_code: int, *, is_interrupted: bool
) -> dict[str, object]:
    """The object that `--dry-run --json` prints; docs/format.md describes it."""
    return {
        "format": "floradl-preview",
        "version": 1,
        "command": "archive",
        "exit_code": exit_code,
        "interrupted": is_interrupted,
        "to_do": to_do,
        "already": already,
        "not_found": missing,
    }

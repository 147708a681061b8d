"""What an archive job is told, and what it reports.

Every number of a report is counted where the work was done and recorded, so a report never says more than
the manifest does.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from floradl.constants import Source
from floradl.errors import ApiError, Exit, FloradlError, KeyRefusedError
from floradl.repository.names import Place
from floradl.repository.results import Failure, failure_objects

log = logging.getLogger(__name__)


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


@dataclass(slots=True)
class Found:
    """What scans found so far.

    Attributes:
        problems: what could not be listed.
        refused: sources that this key may not see, and what the API said, where that is no failure.
        vanished: runs and assets that FLORA lists no more.
        met: places of all runs and assets that were met.
        news: how many runs and assets of each place are new.
        new_assets: how many of them are assets.
        listed, new: how many of each source's things there were, and how many of them were new.
        missing: ids that were asked for and are nowhere.
        has_walked_all: whether some scan walked a whole history, with nothing filtered.
    """

    problems: list[ApiError] = field(default_factory=list)
    refused: dict[Source, ApiError] = field(default_factory=dict)
    vanished: list[str] = field(default_factory=list)
    met: set[Place] = field(default_factory=set)
    news: Counter[Place] = field(default_factory=Counter)
    new_assets: Counter[Place] = field(default_factory=Counter)
    listed: Counter[Source] = field(default_factory=Counter)
    new: Counter[Source] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    has_walked_all: bool = False

    def of_sources(self, sources: Iterable[Source]) -> tuple[SourceNews, ...]:
        """What each source gave."""
        return tuple(self._of_source(source) for source in sources)

    def note_refusal(self, source: Source, error: ApiError, *, is_required: bool) -> None:
        """Note a source that this key may not see: it is left out, or a problem where it was named.

        Args:
            source: which.
            error: what the API said.
            is_required: whether it was named.
        """
        if is_required:
            hint = f"This key may not see that: leave out --source {source}, or use another key."
            message = f"{source}: {error.message}"
            refusal = KeyRefusedError(message, status=error.status, code=error.code, hint=hint)
            self.problems.append(refusal)
        else:
            self.refused[source] = error
            log.info("left out: %s: %s", source, error.message)

    def _of_source(self, source: Source) -> SourceNews:
        error = self.refused.get(source)
        if error is None:
            return SourceNews(source, self.listed[source], self.new[source])
        refusal = f"{error.status} {error.code}".rstrip()
        return SourceNews(source, self.listed[source], self.new[source], error.message, refusal)

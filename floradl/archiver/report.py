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
from floradl.repository.results import Failure

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


@dataclass(slots=True)
class ScanResults:
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

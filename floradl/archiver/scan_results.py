"""What the scans of a session brought so far: counted while they run, read when the report is made."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from floradl.archiver.report import SourceNews
from floradl.constants import Source
from floradl.errors import ApiError, KeyRefusedError
from floradl.repository.names import Place

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ScanResults:
    """What the scans of a session brought so far. Canvases add theirs when they are kept.

    Attributes:
        problems: errors that left something unlisted.
        refused: sources that this key may not see, with the API's answer, where that is no failure.
        vanished: ids of recorded runs and assets that FLORA does not list any more.
        met: the places of all runs and assets that were listed.
        news: how many runs and assets of each place are new, counted together.
        new_assets: how many of `news` are assets.
        listed: how many things each source listed.
        new: how many of `listed` are new.
        missing: ids that the user named and that are nowhere.
        has_walked_all: whether some scan walked a whole history without any filter.
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
        """What each of these sources brought, for the report."""
        return tuple(self._of_source(source) for source in sources)

    def note_refusal(self, source: Source, error: ApiError, failure: KeyRefusedError | None) -> None:
        """Note that this key may not see a source.

        Args:
            source: the source.
            error: what the API said.
            failure: the failure that this is (`refusals.failure_of`); None where the source is left out, and
                the report says so.
        """
        if failure is not None:
            self.problems.append(failure)
        else:
            self.refused[source] = error
            log.info("left out: %s: %s", source, error.message)

    def _of_source(self, source: Source) -> SourceNews:
        error = self.refused.get(source)
        if error is None:
            return SourceNews(source, self.listed[source], self.new[source])
        refusal = f"{error.status} {error.code}".rstrip()
        return SourceNews(source, self.listed[source], self.new[source], error.message, refusal)

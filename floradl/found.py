"""What a session found so far: added to by its scans, and by what comes after them."""

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

"""Whether FLORA is asked for a fresh URL after a host has refused a file.

Signed URLs expire, so a refused file may be had by the URL that the API gives now. To ask costs one request
to the API for each run, out of a budget that is shared with people at work. A host that refuses everything,
such as one whose bucket was closed, would cost that for every run, every night. So after a few files of a
host, of which none was given by a fresh URL either, next to none are asked for during this job: one in
fifty, so that a few dead files that always come first do not keep all others from a URL that would help.

A host that has given any file in this job is not such a host: what it refuses may have expired.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MAX_USELESS = 3
"""So many fresh URLs of a host that gives nothing are asked for, and so many at the same time."""

PROBE_EVERY = 50
"""After that, for one in so many files."""

REFUSALS = frozenset({"http_400", "http_401", "http_403"})
"""The codes of errors by which a host refuses what it may have."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Host:
    useless: int = 0
    passed_over: int = 0
    has_given: bool = False
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_USELESS))


class FreshUrlBudget:
    """Counts, for the hosts of one session, the fresh URLs that did not help."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def note_given(self, host: str) -> None:
        """Take note that a host has given a file."""
        self._host(host).has_given = True

    @asynccontextmanager
    async def trial(self, host: str) -> AsyncIterator[bool]:
        """A block in which a fresh URL is asked for and tried, after the host has refused a file.

        Give True if it may be asked for. The fresh URL counts as useless if the block ends with an error and
        the host has given nothing meanwhile.
        """
        known = self._host(host)
        if known.has_given:
            yield True
            return
        async with known.places:
            if known.useless >= MAX_USELESS and not known.has_given:
                known.passed_over += 1
                if known.passed_over % PROBE_EVERY:
                    yield False
                    return
            is_useless = True
            try:
                yield True
                is_useless = False
            finally:
                known.useless += is_useless
                if is_useless and known.useless == MAX_USELESS and not known.has_given:
                    log.warning(
                        "%s refuses its files, by fresh URLs too; hardly any more are asked for in this job",
                        host,
                    )

    def _host(self, host: str) -> _Host:
        return self._hosts.setdefault(host, _Host())

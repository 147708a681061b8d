"""Time as a parameter, so that a test can replace it and need not wait.

Code that sleeps, measures a duration or needs the date takes a `Clock`. Moments are unix milliseconds
(`_ms`), as the API gives them; durations are seconds (`_s`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

MIN_MS, MAX_MS = -62_135_596_800_000, 253_402_300_799_999
"""The first millisecond of the year 1 and the last of the year 9999: datetime goes no further."""

# How far apart the clocks of two machines that write to one archive may be.
_SLACK_MS = 3_600_000


@dataclass(frozen=True)
class Clock:
    """The time of day, a steady clock for durations, and a way to wait."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def now_ms(self) -> int:
        """The time of day in unix milliseconds."""
        return int(self.now() * 1000)


def format_ms(moment_ms: int) -> str:
    """Write a moment, in unix milliseconds, as the manifest does, to the second: `2026-11-24T02:30:12Z`."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_ms(text: str) -> int | None:
    """Read a date in ISO 8601 as unix milliseconds, UTC where it names no zone.

    None for any other text, and for a date that in UTC lies before the year 1 or after the year 9999.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return moment_ms if MIN_MS <= moment_ms <= MAX_MS else None


def is_to_come(moment_ms: int, now_ms: int) -> bool:
    """Whether a recorded moment is still to come: it was written while a clock was ahead, and says nothing.

    Taken for a date it would be young for years, and whoever waits until something is old would wait as long.
    """
    return moment_ms > now_ms + _SLACK_MS

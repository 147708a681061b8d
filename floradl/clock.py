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

# The last millisecond of the year 9999: datetime goes no further.
MAX_MS = 253_402_300_799_999


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
    """Read a date in ISO 8601 as unix milliseconds, UTC where it names no zone; None for any other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

"""Time as a parameter, so that nothing in a test ever waits.

Everything that sleeps, measures or dates takes a `Clock`. Moments are unix milliseconds (`_ms`), as the
API gives them; durations are seconds (`_s`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

# Up to year 9999, which is as far as datetime and every file system's clock can go.
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
    """A moment as the manifest writes it: `2026-11-24T02:30:12Z`."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_ms(text: str) -> int | None:
    """The moment that `format_ms` wrote, or None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

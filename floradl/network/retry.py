"""When a request is sent again, and how long a host is left alone.

Waits grow exponentially and have full jitter, so that many clients that failed together do not come back
together. A host that pushes back (429, or any answer with `Retry-After`) pauses every request to it, not only
the request that it refused: see `HostPauses`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from floradl.clock import Clock

RETRY_STATUSES = frozenset({408, 425, 429})
"""Client errors that a later try may cure; every 5xx is one too. Source: FLORA's errors page, RFC 9110."""

MAX_RETRY_AFTER_S = 900.0
"""A host that wants a longer wait than this is given up for this session; the next session asks again."""

MAX_PAUSES = 1024
"""When so many pauses are remembered, those that are over are forgotten."""


@dataclass(frozen=True)
class Backoff:
    """How long to wait before try number 2, 3, …: between 0 and `base_s * 2**(failures-1)`, capped."""

    base_s: float = 1.0
    cap_s: float = 30.0
    rng: random.Random = field(default_factory=random.Random)

    def delay_s(self, failures: int) -> float:
        """The wait after this many failures in a row (1 or more)."""
        ceiling = min(self.cap_s, self.base_s * 2 ** min(failures - 1, 30))
        return self.rng.uniform(0, ceiling)


def is_retry_status(status: int) -> bool:
    """Whether an HTTP status says to come back later."""
    return status in RETRY_STATUSES or 500 <= status <= 599


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """Seconds to wait, from a `Retry-After` header in either of its forms (RFC 9110, 10.2.3).

    Args:
        value: the header, or None.
        now_s: the time of day, for the date form.

    Returns:
        Seconds, never negative; None when there is no header or it makes no sense.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        # The oldest of the three forms names no zone and is UTC all the same.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


class HostPauses:
    """One shared pause per host.

    `wait` before each request, `pause` when the host pushed back. A pause never gets shorter, and
    everyone that waits leaves together; full jitter spreads the retries that follow.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open_at: dict[str, float] = {}

    def pause(self, host: str, seconds: float) -> None:
        """Let no request to `host` start for this long."""
        now_s = self._clock.monotonic()
        if len(self._open_at) >= MAX_PAUSES:  # hosts come from outside
            self._open_at = {name: open_at for name, open_at in self._open_at.items() if open_at > now_s}
        until = now_s + seconds
        self._open_at[host] = max(until, self._open_at.get(host, 0.0))

    async def wait(self, host: str) -> None:
        """Return as soon as `host` may be asked."""
        while (left := self._open_at.get(host, 0.0) - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

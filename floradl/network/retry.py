"""When to try a request again, and for how long to send a host none at all.

Waits between tries grow exponentially and have full jitter (any length from zero up), so that requests that
failed together do not come back together. A host that asks for a pause pauses every request to it, and not
only the one that got the answer: see `HostPauses`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from floradl.clock import Clock

RETRY_STATUSES = frozenset({408, 425, 429})
"""Client errors that may be gone at a later try, as every 5xx may. Source: FLORA's errors page, RFC 9110."""

MAX_RETRY_AFTER_S = 900.0
"""A host that asks for a longer wait than this is not waited for; the next run of floradl asks it again."""

_NUMBER = re.compile(r"([0-9]{1,9})[0-9]*(\.[0-9]{1,9})?[0-9]*")

MAX_PAUSES = 1024
"""When so many pauses are remembered, those that are over are forgotten, since hosts come from outside."""


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next try.

    Args:
        base_s: the longest wait after the first failure; it doubles with each further one.
        cap_s: the longest wait after any number of failures.
        rng: draws the waits; a test passes a seeded one.
    """

    base_s: float = 1.0
    cap_s: float = 30.0
    rng: random.Random = field(default_factory=random.Random)

    def delay_s(self, failures: int) -> float:
        """A wait between 0 and `base_s * 2**(failures - 1)` seconds, at most `cap_s`.

        Args:
            failures: how often in a row the request failed, 1 or more.
        """
        ceiling = min(self.cap_s, self.base_s * 2 ** min(failures - 1, 30))
        return self.rng.uniform(0, ceiling)


def is_retry_status(status: int) -> bool:
    """Whether the same request may succeed later, by the status of its answer."""
    return status in RETRY_STATUSES or 500 <= status <= 599


def parse_number(text: str) -> float | None:
    """Read a plain decimal number that is not negative; None where the text is none.

    Of a number that is too large for any wait, the first nine digits are read.
    """
    match = _NUMBER.fullmatch(text)
    return float(match[1] + (match[2] or "")) if match else None


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """Read a `Retry-After` header: a number of seconds, or a date (RFC 9110, 10.2.3).

    A fraction of a second is no part of the standard, but servers send it and FLORA's SDK reads it.

    Args:
        value: the header's value, or None where there is no such header.
        now_s: the time of day in unix seconds, for the form that is a date.

    Returns:
        Seconds to wait, never negative; None when there is no header or it cannot be read.
    """
    if value is None:
        return None
    text = value.strip()
    seconds = parse_number(text)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
        # The oldest of the three date formats, asctime's, names no zone and means UTC.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


class HostPauses:
    """Pauses of hosts, which hold for all requests to them.

    `wait` is awaited before each request, `pause` called when a host asks for a pause. A later pause never
    makes an earlier one shorter. All requests that waited begin together; the jitter of `Backoff` spreads
    their later tries.

    Args:
        clock: tells the time and waits.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paused_until_s: dict[str, float] = {}

    def pause(self, host: str, seconds: float) -> None:
        """Let no request to `host` begin for this long."""
        now_s = self._clock.monotonic()
        if len(self._paused_until_s) >= MAX_PAUSES:
            self._paused_until_s = {
                name: until_s for name, until_s in self._paused_until_s.items() if until_s > now_s
            }
        until_s = now_s + seconds
        self._paused_until_s[host] = max(until_s, self._paused_until_s.get(host, 0.0))

    async def wait(self, host: str) -> None:
        """Wait until no pause of `host` is left, including pauses that begin during the wait."""
        while (left := self._paused_until_s.get(host, 0.0) - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

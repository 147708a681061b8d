"""How fast bytes may come over the network: a ceiling for all transfers together, a floor for each.

The ceiling is what the user allows. It is a token bucket in which bytes are accounted for after they came: a
piece that is larger than what is allowed now is waited for afterwards. While a transfer waits it does not
read, and TCP makes its host wait too. Everyone waits until all bytes that came before theirs, and their own,
are paid for: a transfer that receives twice as much waits twice as long.

The floor breaks off a transfer that is too slow. A read timeout ends the wait for a host that falls silent. A
host that sends a byte every few seconds never falls silent, and would hold its reader for ever.
"""

from __future__ import annotations

from floradl.clock import Clock

BURST_BYTES = 64 * 1024
BURST_S = 0.1
"""What may come at once after a silence: the larger of a few packets and a tenth of a second's worth."""

FLOOR_BYTES_PER_S = 1024
FLOOR_WINDOW_S = 60.0
"""What is slower than the floor for this long is broken off."""

TOO_SLOW = f"slower than {FLOOR_BYTES_PER_S} bytes/s"


class Bucket:
    """When bytes that came are paid for; pure.

    Args:
        bytes_per_s: what is allowed, more than 0.
    """

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._burst_s = max(BURST_BYTES / bytes_per_s, BURST_S)
        self._paid_at_s: float | None = None

    def take(self, size_bytes: int, now_s: float) -> float:
        """Account for bytes that came.

        Returns:
            Seconds until they are paid for; 0 when they are now.
        """
        earliest_s = now_s - self._burst_s
        paid_at_s = earliest_s if self._paid_at_s is None else max(self._paid_at_s, earliest_s)
        self._paid_at_s = paid_at_s + size_bytes / self._bytes_per_s
        return max(0.0, self._paid_at_s - now_s)


class Bandwidth:
    """What all transfers of a session may receive together.

    Args:
        clock: for the waits.
        bytes_per_s: what is allowed; 0: whatever comes.
    """

    def __init__(self, clock: Clock, bytes_per_s: int = 0) -> None:
        self._clock = clock
        self._bucket = Bucket(bytes_per_s) if bytes_per_s else None

    @property
    def is_limited(self) -> bool:
        """Whether anybody ever has to wait."""
        return self._bucket is not None

    async def take(self, size_bytes: int) -> float:
        """Account for bytes that came, and wait until the next may.

        Returns:
            Seconds waited, which are nobody's fault but ours.
        """
        if self._bucket is None:
            return 0.0
        began_s = self._clock.monotonic()
        wait_s = self._bucket.take(size_bytes, began_s)
        if not wait_s:
            return 0.0
        await self._clock.sleep(wait_s)
        return self._clock.monotonic() - began_s


class SpeedFloor:
    """Measures one body as it comes, a window at a time: a fast beginning buys no patience later.

    Args:
        clock: measures the windows; the first begins now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._window_began_s = clock.monotonic()
        self._window_bytes = 0

    def is_held(self, size_bytes: int) -> bool:
        """So many bytes came; False when the window that ends with them was too slow."""
        self._window_bytes += size_bytes
        elapsed_s = self._clock.monotonic() - self._window_began_s
        if elapsed_s < FLOOR_WINDOW_S:
            return True
        is_fast_enough = self._window_bytes >= FLOOR_BYTES_PER_S * elapsed_s
        self._window_began_s += elapsed_s
        self._window_bytes = 0
        return is_fast_enough

    def excuse(self, seconds: float) -> None:
        """So long nothing was read, for reasons of our own: the window lasts that much longer."""
        self._window_began_s += seconds

"""How fast bytes may come over the network: a ceiling for all transfers together, a floor for each.

The ceiling is set by the user (`--limit-rate`). It is a token bucket that counts bytes after they were
received: a transfer that received more than is allowed at that moment waits afterwards. While it waits it
does not read, and TCP makes its host wait too. The bytes of all transfers stand in one line, and a transfer
waits until the bytes before its own and its own are allowed: one that receives twice as much waits twice as
long.

The floor breaks off a transfer that is too slow. A read timeout cannot do that: a host that sends a byte
every few seconds is never silent, and would hold its place for ever.
"""

from __future__ import annotations

from floradl.clock import Clock

BURST_BYTES = 64 * 1024
BURST_S = 0.1
"""How much may come at once after a pause: 64 KiB or a tenth of a second's allowance, if that is more."""

FLOOR_BYTES_PER_S = 1024
FLOOR_WINDOW_S = 60.0
"""A body that is slower than the floor over a whole window of this length is broken off."""

TOO_SLOW = f"slower than {FLOOR_BYTES_PER_S} bytes/s"


class Bucket:
    """A token bucket. It reads no clock and waits for nothing.

    Args:
        bytes_per_s: how much is allowed, more than 0.
    """

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._burst_s = max(BURST_BYTES / bytes_per_s, BURST_S)
        self._allowed_at_s: float | None = None  # when all bytes that were counted are allowed

    def take(self, size_bytes: int, now_s: float) -> float:
        """Count bytes that were received.

        Args:
            size_bytes: how many.
            now_s: the moment, by a steady clock.

        Returns:
            Seconds until these bytes are allowed; 0 when they are allowed now.
        """
        earliest_s = now_s - self._burst_s
        allowed_at_s = earliest_s if self._allowed_at_s is None else max(self._allowed_at_s, earliest_s)
        self._allowed_at_s = allowed_at_s + size_bytes / self._bytes_per_s
        return max(0.0, self._allowed_at_s - now_s)


class Bandwidth:
    """The ceiling that all transfers of a session share.

    Args:
        clock: tells the time and waits.
        bytes_per_s: how much is allowed; 0 for no limit.
    """

    def __init__(self, clock: Clock, bytes_per_s: int = 0) -> None:
        self._clock = clock
        self._bucket = Bucket(bytes_per_s) if bytes_per_s else None

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._bucket is not None

    async def take(self, size_bytes: int) -> float:
        """Count bytes that were received, and wait until they are allowed.

        Returns:
            Seconds waited. The caller excuses them from the speed floor: the host was not slow.
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
    """Tells whether one body comes fast enough.

    It is measured window by window, each for itself, so that a fast beginning does not make up for a trickle
    later on.

    Args:
        clock: measures the windows; the first one begins now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._window_began_s = clock.monotonic()
        self._window_bytes = 0

    def is_held(self, size_bytes: int) -> bool:
        """Count bytes that were received; False when they end a window that was too slow."""
        self._window_bytes += size_bytes
        elapsed_s = self._clock.monotonic() - self._window_began_s
        if elapsed_s < FLOOR_WINDOW_S:
            return True
        is_fast_enough = self._window_bytes >= FLOOR_BYTES_PER_S * elapsed_s
        self._window_began_s += elapsed_s
        self._window_bytes = 0
        return is_fast_enough

    def excuse(self, seconds: float) -> None:
        """Make the window longer by a time in which this side did not read."""
        self._window_began_s += seconds

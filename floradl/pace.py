"""A floor under the speed of what comes over the network.

A read timeout ends the wait for a host that falls silent. One that sends a byte every few seconds never
falls silent, and would hold its reader for ever.
"""

from __future__ import annotations

from floradl.clock import Clock

FLOOR_BYTES_PER_S = 1024
FLOOR_WINDOW_S = 60.0
"""What is slower than the floor for this long is broken off."""

TOO_SLOW = f"slower than {FLOOR_BYTES_PER_S} bytes/s"


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

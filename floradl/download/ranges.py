"""Decide which ranges of one large file are fetched at the same time, and by how many connections; pure.

The response that began the file is the main stream: it brings the bytes from the start of the file. Further
connections fetch parts, which are ranges further on. `RangePlan` says who fetches what: the main stream
everything before `main_end`, and each free worker the first range after it that nobody fetches (a hole). So
the file grows from its start, and can be hashed in order soon. Parts get smaller towards the end of the file,
so that one slow connection does not delay the end for long.

`Ramp` says how many connections a file gets: one at first, and twice as many as long as that is faster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LARGE_BYTES = 64 * 1024 * 1024
"""A file is fetched in parts only if at least so many of its bytes are still to come."""

MAX_PART_BYTES, MIN_PART_BYTES = 16 * 1024 * 1024, 2 * 1024 * 1024
"""The largest and smallest part; each costs one request."""

MAX_CONNECTIONS = 8
"""The most connections for one file, the main stream included."""

WATCH_S, STEP_S = 1.0, 0.5
"""For how many seconds one connection is measured before others join it, and then each number of them."""

NEARLY_DONE_S = 2.0
"""A file that will be complete within so many seconds gets no further connections."""

MIN_GAIN = 1.15
"""Twice as many connections must be faster by this factor. Two measurements in a row without it end them."""


@dataclass(slots=True)
class Part:
    """A range of the file, from `start` up to, not including, `end`.

    `size_bytes` is how many of its first bytes are stored; `is_claimed` says that a worker is fetching it.
    """

    start: int
    end: int
    size_bytes: int = 0
    is_claimed: bool = True


class RangePlan:
    """Assigns each byte of a file to the main stream or to one part, never to two.

    Args:
        total_bytes: the size of the file.
        stored: start and size of the parts that an earlier try has left in the partial.

    Attributes:
        main_end: the main stream fetches the bytes before this one.
    """

    def __init__(self, total_bytes: int, stored: Iterable[tuple[int, int]] = ()) -> None:
        self._total_bytes = total_bytes
        self._parts = [Part(start, start + size, size, is_claimed=False) for start, size in sorted(stored)]
        self.main_end = total_bytes
        self.widen_main()

    def limit_main(self, front: int) -> None:
        """Leave no more than one part's length to the main stream, and the rest of the file to others.

        Args:
            front: how many bytes the main stream has brought.
        """
        self.main_end = min(self.main_end, front + MAX_PART_BYTES)

    def widen_main(self) -> None:
        """Let the main stream fetch everything before the first part, since no other worker is left."""
        self.main_end = self._parts[0].start if self._parts else self._total_bytes

    def claim(self, connections: int) -> Part | None:
        """Assign the first range that nobody fetches to the calling worker, as a part.

        Args:
            connections: how many connections share the rest of the file; its size depends on that.

        Returns:
            The part; None if every byte is stored or being fetched.
        """
        holes = self._holes()
        if not holes:
            return None
        left_bytes = sum(end - start for start, end in holes)
        wanted_bytes = max(MIN_PART_BYTES, min(MAX_PART_BYTES, left_bytes // (2 * connections)))
        start, end = holes[0]
        # If only a little of the hole were left over, take it too: it would cost a request of its own.
        part = Part(start, end if end - start < wanted_bytes + MIN_PART_BYTES else start + wanted_bytes)
        self._parts.append(part)
        self._parts.sort(key=lambda one: one.start)
        return part

    def release(self, part: Part) -> None:
        """End the claim on a part. What it lacks is a hole again, which another worker may claim."""
        part.is_claimed = False
        part.end = part.start + part.size_bytes
        if not part.size_bytes and part in self._parts:
            self._parts.remove(part)

    def absorb(self, front: int) -> None:
        """Forget the parts before `front`: they were joined to the bytes from the start of the file."""
        self._parts = [part for part in self._parts if part.start >= front]
        self.main_end = max(self.main_end, front)

    def is_next_part_stored(self, front: int) -> bool:
        """Whether the part that begins at `front` is complete as far as it goes, and nobody writes to it."""
        return any(part.start == front and not part.is_claimed for part in self._parts[:1])

    @property
    def has_holes(self) -> bool:
        """Whether there is a range that nobody fetches."""
        return bool(self._holes())

    def drop(self) -> None:
        """Forget all parts and leave the whole file to the main stream."""
        self._parts.clear()
        self.main_end = self._total_bytes

    def _holes(self) -> list[tuple[int, int]]:
        holes, at = [], self.main_end
        for part in self._parts:
            if part.start > at:
                holes.append((at, part.start))
            at = max(at, part.end)
        if at < self._total_bytes:
            holes.append((at, self._total_bytes))
        return holes


class Ramp:
    """How many connections one file gets: twice as many at each step, as long as that is faster.

    Args:
        now_s: when the main stream began, in seconds of the session's monotonic clock.

    Attributes:
        connections: how many there should be, the main stream included.
    """

    def __init__(self, now_s: float) -> None:
        self.connections = 1
        self._looked_at_s = now_s
        self._received_bytes = 0
        self._speed = 0.0
        self._looks_without_gain = 0
        self._is_settled = False

    def observe(self, now_s: float, received_bytes: int, left_bytes: int) -> int:
        """Measure the speed, if the time for it has come, and say how many connections there should be.

        Args:
            now_s: the time, less all waits for `--limit-rate`: those say nothing about the host.
            received_bytes: what all connections of this file have received together.
            left_bytes: how many bytes of the file are still to come.
        """
        elapsed_s = now_s - self._looked_at_s
        if self._is_settled or elapsed_s < (STEP_S if self._speed else WATCH_S):
            return self.connections
        speed = (received_bytes - self._received_bytes) / elapsed_s
        self._looked_at_s, self._received_bytes = now_s, received_bytes
        if left_bytes <= NEARLY_DONE_S * speed:
            return self.connections
        if speed >= MIN_GAIN * self._speed:
            self._speed, self._looks_without_gain = speed, 0
            self._is_settled = self.connections == MAX_CONNECTIONS  # eight were faster than four: keep them
            self.connections = min(2 * self.connections, MAX_CONNECTIONS)
        else:
            self._looks_without_gain += 1
            if self._looks_without_gain > 1:
                self.cap_at(max(1, self.connections // 2))
        return self.connections

    def cap_at(self, connections: int) -> None:
        """Keep this number of connections, or the present one if that is less, and never change it again."""
        self.connections = max(1, min(connections, self.connections))
        self._is_settled = True

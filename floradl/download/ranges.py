"""Which stretches of one large file are fetched at the same time, and by how many connections; pure.

`RangePlan` hands out the file from its front: the main stream has what lies before `fence`, the rest is
claimed in parts by whoever is free, the first hole first, so that what is there grows from the front. Parts
get smaller towards the end, so that a slow one does not hold the rest for long. `Ramp` says how many
connections a file gets: one, and more only while more brings more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LARGE_BYTES = 64 * 1024 * 1024
"""What is left of a file must be so much before it is fetched in parts."""

MAX_PART_BYTES, MIN_PART_BYTES = 16 * 1024 * 1024, 2 * 1024 * 1024
MAX_CONNECTIONS = 8

LOOK_S, STEP_S = 1.0, 0.5
"""How long one connection is watched before others join it, and how long between two steps."""

SOON_S = 2.0
"""What is done so soon needs no help."""

GAIN = 1.15
"""Twice the connections must bring at least so much more; a single look without that is no proof."""


@dataclass(slots=True)
class Part:
    """The bytes from `start` to before `end`, of which the first `size_bytes` are there."""

    start: int
    end: int
    size_bytes: int = 0
    is_claimed: bool = True


class RangePlan:
    """Who fetches what of a file, each byte once.

    Args:
        total_bytes: the file's size.
        there: start and size of what an earlier try left, ahead of the main stream.
    """

    def __init__(self, total_bytes: int, there: Iterable[tuple[int, int]] = ()) -> None:
        self._total_bytes = total_bytes
        self._parts = [Part(start, start + size, size, is_claimed=False) for start, size in sorted(there)]
        self.fence = total_bytes
        self.withdraw()

    def share(self, front: int) -> None:
        """Leave to the main stream, which is at `front`, no more than a part, and the rest to others."""
        self.fence = min(self.fence, front + MAX_PART_BYTES)

    def withdraw(self) -> None:
        """Leave to the main stream what lies before the first part that there is."""
        self.fence = self._parts[0].start if self._parts else self._total_bytes

    def claim(self, connections: int) -> Part | None:
        """The first part that nobody has; None when there is none.

        Args:
            connections: between how many the rest is to be divided.
        """
        holes = self._holes()
        if not holes:
            return None
        left_bytes = sum(end - start for start, end in holes)
        wanted_bytes = max(MIN_PART_BYTES, min(MAX_PART_BYTES, left_bytes // (2 * connections)))
        start, end = holes[0]
        # Not one more request for a crumb.
        part = Part(start, end if end - start < wanted_bytes + MIN_PART_BYTES else start + wanted_bytes)
        self._parts.append(part)
        self._parts.sort(key=lambda one: one.start)
        return part

    def release(self, part: Part) -> None:
        """Nobody fetches this part any more; what it lacks is a hole again."""
        part.is_claimed = False
        part.end = part.start + part.size_bytes
        if not part.size_bytes and part in self._parts:
            self._parts.remove(part)

    def absorb(self, front: int) -> None:
        """What lies before `front` is the main stream's now."""
        self._parts = [part for part in self._parts if part.start >= front]
        self.fence = max(self.fence, front)

    def is_next_done(self, front: int) -> bool:
        """Whether the part that goes on from `front` is there."""
        return any(part.start == front and not part.is_claimed for part in self._parts[:1])

    @property
    def has_holes(self) -> bool:
        """Whether there is anything to claim."""
        return bool(self._holes())

    def drop(self) -> None:
        """Leave everything to the main stream."""
        self._parts.clear()
        self.fence = self._total_bytes

    def _holes(self) -> list[tuple[int, int]]:
        holes, at = [], self.fence
        for part in self._parts:
            if part.start > at:
                holes.append((at, part.start))
            at = max(at, part.end)
        if at < self._total_bytes:
            holes.append((at, self._total_bytes))
        return holes


class Ramp:
    """How many connections one file gets: twice as many at each step while that brings more.

    Args:
        now_s: when its first bytes were asked for.
    """

    def __init__(self, now_s: float) -> None:
        self.connections = 1
        self._looked_at_s = now_s
        self._received_bytes = 0
        self._speed = 0.0
        self._failed_looks = 0
        self._is_settled = False

    def look(self, now_s: float, received_bytes: int, left_bytes: int) -> int:
        """How many connections there should be now.

        Args:
            now_s: the moment, less all waits of our own.
            received_bytes: by all connections together.
            left_bytes: of the file.
        """
        elapsed_s = now_s - self._looked_at_s
        if self._is_settled or elapsed_s < (STEP_S if self._speed else LOOK_S):
            return self.connections
        speed = (received_bytes - self._received_bytes) / elapsed_s
        self._looked_at_s, self._received_bytes = now_s, received_bytes
        if left_bytes <= SOON_S * speed:
            return self.connections
        if speed >= GAIN * self._speed:
            self._speed, self._failed_looks = speed, 0
            self._is_settled = self.connections == MAX_CONNECTIONS  # the last step has proved right, too
            self.connections = min(2 * self.connections, MAX_CONNECTIONS)
        else:
            self._failed_looks += 1
            if self._failed_looks > 1:
                self.settle(max(1, self.connections // 2))
        return self.connections

    def settle(self, connections: int) -> None:
        """So many and no more, from now on."""
        self.connections = max(1, min(connections, self.connections))
        self._is_settled = True

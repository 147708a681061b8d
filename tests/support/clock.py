"""A clock that tests move."""

from __future__ import annotations

from floradl.clock import Clock


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, now_s: float = 1_795_500_000.0) -> None:
        self.now_s = now_s
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.now_s, monotonic=lambda: self.now_s, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

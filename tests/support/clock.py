"""A clock for tests, in which waiting takes no time."""

from __future__ import annotations

from floradl.clock import Clock


class FakeTime:
    """A clock that moves only when code under test sleeps, or when a test sets `now_s`.

    Attributes:
        now_s: the time, in seconds since the epoch.
        slept: how long each sleep was, in seconds.
        clock: to be given to the code under test.
    """

    def __init__(self, now_s: float = 1_795_500_000.0) -> None:
        self.now_s = now_s
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.now_s, monotonic=lambda: self.now_s, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

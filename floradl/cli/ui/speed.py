"""How far a job has come and how fast it moves: what a display shows, measured and in words.

A display reads a job's tally (`Work`) every 0.2 s; the job itself knows nothing of displays. The speed is
measured here and not by tqdm, because it is also needed where no bar is drawn: the plain lines that go into a
file or a mail every 30 s. A job without a terminal therefore never loads tqdm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from floradl.cli.ui.units import format_bytes, format_duration, format_left

if TYPE_CHECKING:
    from floradl.clock import Clock

_SLOWEST_SHOWN = 3
_SLOW_AFTER_S = 3.0
_BYTES_OVER_S = 3.0
_OUTPUTS_OVER_S = 15.0
_KNOWN_AFTER_S = 3.0


class Transfer(Protocol):
    """One output that is being fetched, read or copied at the moment."""

    @property
    def name(self) -> str:
        """The id of its run and its key, printable."""

    @property
    def began_s(self) -> float:
        """When it began, in seconds of the monotonic clock."""

    @property
    def size_bytes(self) -> int:
        """How many of its bytes have arrived."""

    @property
    def total_bytes(self) -> int | None:
        """Its whole size; None as long as no host has announced it."""


class Work(Protocol):
    """What a display reads of a job. The job keeps these numbers up to date while it works."""

    @property
    def listed_runs(self) -> int:
        """Runs found so far."""

    @property
    def is_listed(self) -> bool:
        """Whether the lists have been read to their end, so that `total` is final."""

    @property
    def is_stopping(self) -> bool:
        """Whether the job begins nothing new and only waits for its running transfers."""

    @property
    def total(self) -> int:
        """Outputs found so far."""

    @property
    def done(self) -> int:
        """Outputs that need no further work, failed ones included."""

    @property
    def moved(self) -> int:
        """Finished outputs whose bytes are counted in `moved_bytes`."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that were fetched, read or copied, those of unfinished outputs included."""

    @property
    def failed(self) -> int:
        """Outputs that failed, or were found to be wrong."""

    @property
    def failed_word(self) -> str:
        """The word that is shown behind that number, such as `failed`."""

    @property
    def flows(self) -> Collection[Transfer]:
        """The transfers that are running."""


class Speed(NamedTuple):
    """How fast a job moves.

    Args:
        bytes_per_s: smoothed over about 3 s.
        expected_bytes: how many bytes the whole job is estimated to move; None while that is unknown.
        left_s: estimated seconds until the end; None while that is unknown.
    """

    bytes_per_s: float
    expected_bytes: int | None
    left_s: float | None


class Speedometer:
    """Measures a job's speed from its tally, and estimates how long the job will still take."""

    def __init__(self, work: Work, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._began_s = self._last_s = clock.monotonic()
        self._last_bytes, self._last_done = work.moved_bytes, work.done
        self._bytes_per_s = self._outputs_per_s = 0.0

    def read(self) -> Speed:
        """The speed now, measured since the call before.

        In the first 3 s no time left is given: a job first passes over the outputs that are already on disk,
        and the speed of that says little about the speed of the transfers that follow.
        """
        work, now_s = self._work, self._clock.monotonic()
        elapsed_s = now_s - self._last_s
        if elapsed_s > 0:
            self._bytes_per_s = _smoothed(
                self._bytes_per_s,
                (work.moved_bytes - self._last_bytes) / elapsed_s,
                elapsed_s / _BYTES_OVER_S,
            )
            # Until 15 s have passed, the window is as long as the job has run: the plain mean so far.
            over_s = min(_OUTPUTS_OVER_S, now_s - self._began_s)
            self._outputs_per_s = _smoothed(
                self._outputs_per_s, (work.done - self._last_done) / elapsed_s, elapsed_s / over_s
            )
            self._last_s, self._last_bytes, self._last_done = now_s, work.moved_bytes, work.done
        left_s = self._left_s() if now_s - self._began_s >= _KNOWN_AFTER_S else None
        return Speed(self._bytes_per_s, self._expected_bytes(), left_s)

    def _expected_bytes(self) -> int | None:
        """Bytes of the whole job, if the waiting outputs are as large as the finished ones on average.

        None before all runs are listed, and while outputs wait but none has been finished yet.
        """
        work = self._work
        waiting = work.total - work.done - len(work.flows)
        if not work.is_listed or (waiting > 0 and not work.moved):
            return None
        unfinished_bytes = sum(
            min(transfer.size_bytes, transfer.total_bytes or transfer.size_bytes) for transfer in work.flows
        )
        mean_bytes = max(0, work.moved_bytes - unfinished_bytes) / max(1, work.moved)
        return work.moved_bytes + self._bytes_to_come() + int(max(0, waiting) * mean_bytes)

    def _bytes_to_come(self) -> int:
        """What the running transfers still lack; one without an announced size counts as complete."""
        return sum(max(0, (transfer.total_bytes or 0) - transfer.size_bytes) for transfer in self._work.flows)

    def _left_s(self) -> float | None:
        """The longer of two estimates: for the outputs that wait, and for the bytes of running transfers."""
        work = self._work
        waiting = max(0, work.total - work.done - len(work.flows))
        bytes_to_come = self._bytes_to_come()
        if not work.is_listed or not self._bytes_per_s or not (waiting or bytes_to_come):
            return None
        if waiting and not self._outputs_per_s:
            return None
        by_outputs_s = waiting / self._outputs_per_s if waiting else 0.0
        return max(by_outputs_s, bytes_to_come / self._bytes_per_s)


def plain_lines(work: Work, speed: Speed, now_s: float, *, slowest: bool) -> Iterator[str]:
    """A job's progress in words, for a file or a mail.

    Args:
        work: the job's tally.
        speed: how fast it moves.
        now_s: the time of the monotonic clock.
        slowest: whether the longest-running transfers are named, a line each.
    """
    so_far = "" if work.is_listed else " found so far"
    left = "" if speed.left_s is None else f", {format_duration(speed.left_s)} left"
    failed = f", {work.failed} {work.failed_word}" if work.failed else ""
    rate = f"{format_bytes(work.moved_bytes)}, {format_bytes(speed.bytes_per_s)}/s"
    yield f"{work.done} of {work.total} outputs{so_far}{failed}, {rate}{left}"
    if slowest:
        yield from (f"  slow: {name}: {detail}" for name, detail in slow_transfers(work, now_s))


def slow_transfers(work: Work, now_s: float) -> Iterator[tuple[str, str]]:
    """The three longest-running transfers, those under 3 s left out: name, and bytes with the time taken."""
    for transfer in sorted(work.flows, key=lambda transfer: transfer.began_s)[:_SLOWEST_SHOWN]:
        taken_s = now_s - transfer.began_s
        if taken_s >= _SLOW_AFTER_S:
            total = "" if transfer.total_bytes is None else f" of {format_bytes(transfer.total_bytes)}"
            yield transfer.name, f"{format_bytes(transfer.size_bytes)}{total}, {format_left(taken_s)}"


def _smoothed(last: float, now: float, weight: float) -> float:
    """An exponential moving average: `weight` is the part of the window that the new value covers."""
    return last + min(1.0, weight) * (now - last)

"""Work in progress, drawn: as bars that stay within a terminal's width, or as one plain line.

A display looks at a job's tally from time to time; the job knows nothing of displays. What is shown is made
by pure functions from the tally, how fast it moves, and the width. tqdm draws the bars themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

from floradl.cli.ui.units import count, format_bytes, format_duration, format_left

if TYPE_CHECKING:
    from floradl.clock import Clock

_LABEL_COLUMNS = 9
_FEWEST_BAR_COLUMNS = 6
_MOST_COLUMNS = 110
_SLOWEST_SHOWN = 3
_SLOW_AFTER_S = 3.0
_BYTES_OVER_S = 3.0
_OUTPUTS_OVER_S = 15.0
_KNOWN_AFTER_S = 3.0


class Flow(Protocol):
    """One output on its way."""

    @property
    def name(self) -> str:
        """Its run and key; printable."""

    @property
    def began_s(self) -> float:
        """When, by the steady clock."""

    @property
    def size_bytes(self) -> int:
        """How much of it is there."""

    @property
    def total_bytes(self) -> int | None:
        """Its size, where that is known."""


class Work(Protocol):
    """What a display shows of a job; the job keeps it up to date."""

    @property
    def listed_runs(self) -> int:
        """Runs found so far."""

    @property
    def is_listed(self) -> bool:
        """Whether these are all, so that `total` is final."""

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new is begun any more."""

    @property
    def total(self) -> int:
        """Outputs found so far."""

    @property
    def done(self) -> int:
        """Outputs about which nothing is left to do."""

    @property
    def moved(self) -> int:
        """Outputs to which `moved_bytes` belong, those on their way apart."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that were fetched, read or copied."""

    @property
    def failed(self) -> int:
        """Outputs with something wrong."""

    @property
    def failed_word(self) -> str:
        """What these are called."""

    @property
    def flows(self) -> Collection[Flow]:
        """Outputs that are on their way."""


class Speed(NamedTuple):
    """How fast a job moves, smoothed; `left_s` is None where nobody can know."""

    bytes_per_s: float
    expected_bytes: int | None
    left_s: float | None


class Speedometer:
    """Reads from a job's tally how fast it moves, and so how long it will take."""

    def __init__(self, work: Work, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._began_s = self._last_s = clock.monotonic()
        self._last_bytes, self._last_done = work.moved_bytes, work.done
        self._bytes_per_s = self._outputs_per_s = 0.0

    def read(self) -> Speed:
        """The speed now. The first moments, when all is compared with the disk, tell little of the rest."""
        work, now_s = self._work, self._clock.monotonic()
        elapsed_s = now_s - self._last_s
        if elapsed_s > 0:
            self._bytes_per_s = _smoothed(
                self._bytes_per_s,
                (work.moved_bytes - self._last_bytes) / elapsed_s,
                elapsed_s / _BYTES_OVER_S,
            )
            # The mean of all the time, until there is enough of it.
            over_s = min(_OUTPUTS_OVER_S, now_s - self._began_s)
            self._outputs_per_s = _smoothed(
                self._outputs_per_s, (work.done - self._last_done) / elapsed_s, elapsed_s / over_s
            )
            self._last_s, self._last_bytes, self._last_done = now_s, work.moved_bytes, work.done
        left_s = self._left_s() if now_s - self._began_s >= _KNOWN_AFTER_S else None
        return Speed(self._bytes_per_s, self._expected_bytes(), left_s)

    def _expected_bytes(self) -> int | None:
        """How many bytes it will have been, going by those so far; None before all is listed."""
        work = self._work
        waiting = work.total - work.done - len(work.flows)
        if not work.is_listed or (waiting > 0 and not work.moved):
            return None
        flowing_bytes = sum(min(flow.size_bytes, flow.total_bytes or flow.size_bytes) for flow in work.flows)
        mean_bytes = max(0, work.moved_bytes - flowing_bytes) / max(1, work.moved)
        return work.moved_bytes + self._flowing_bytes() + int(max(0, waiting) * mean_bytes)

    def _flowing_bytes(self) -> int:
        """How much is left of what is on its way, as far as that is known."""
        return sum(max(0, (flow.total_bytes or 0) - flow.size_bytes) for flow in self._work.flows)

    def _left_s(self) -> float | None:
        work = self._work
        waiting = max(0, work.total - work.done - len(work.flows))
        flowing_bytes = self._flowing_bytes()
        if not work.is_listed or not self._bytes_per_s or not (waiting or flowing_bytes):
            return None
        if waiting and not self._outputs_per_s:
            return None
        by_outputs_s = waiting / self._outputs_per_s if waiting else 0.0
        return max(by_outputs_s, flowing_bytes / self._bytes_per_s)


def frame(work: Work, speed: Speed, now_s: float, width: int, *, slowest: bool, is_ascii: bool) -> list[str]:
    """The lines that show a job on a terminal, none wider than `width` columns.

    Args:
        work: the job.
        speed: how fast it moves.
        now_s: the steady clock's time.
        width: columns that there are.
        slowest: whether the transfers that take longest are named.
        is_ascii: whether bars must do without block characters.
    """
    width = min(width, _MOST_COLUMNS)
    outputs, moved = _details(work, speed, width)
    lines = [
        f"{'runs':<{_LABEL_COLUMNS}}{_state(work)}"[:width],
        _bar("outputs", work.done, work.total, outputs, width, is_ascii),
        _bar("bytes", work.moved_bytes, speed.expected_bytes or 0, moved, width, is_ascii),
    ]
    return [*lines, *(_slow_lines(work, now_s, width) if slowest else [])]


def plain_lines(work: Work, speed: Speed, now_s: float, *, slowest: bool) -> Iterator[str]:
    """The same in words, for a file or a mail."""
    so_far = "" if work.is_listed else " found so far"
    left = "" if speed.left_s is None else f", {format_duration(speed.left_s)} left"
    failed = f", {work.failed} {work.failed_word}" if work.failed else ""
    rate = f"{format_bytes(work.moved_bytes)}, {format_bytes(speed.bytes_per_s)}/s"
    yield f"{work.done} of {work.total} outputs{so_far}{failed}, {rate}{left}"
    if slowest:
        yield from (f"  slow: {name}: {detail}" for name, detail in _slowest(work, now_s))


def _state(work: Work) -> str:
    if work.is_stopping:
        return f"stopping: {count(len(work.flows), 'transfer')} left"
    return f"{work.listed_runs}" if work.is_listed else f"{work.listed_runs} so far, listing ..."


def _details(work: Work, speed: Speed, width: int) -> tuple[str, str]:
    """What stands behind the two bars, as much of it as fits, both of the same length."""
    plus = "" if work.is_listed else "+"
    failed = f", {work.failed} {work.failed_word}" if work.failed else ""
    expected = "" if speed.expected_bytes is None else f" of ~{format_bytes(speed.expected_bytes)}"
    left = "" if speed.left_s is None else f", {format_left(speed.left_s)} left"
    counted, rate = f"{work.done}/{work.total}{plus}", f"{format_bytes(speed.bytes_per_s)}/s"
    candidates = (
        (f"{counted}{failed}", f"{format_bytes(work.moved_bytes)}{expected}, {rate}{left}"),
        (f"{counted}{failed}", f"{format_bytes(work.moved_bytes)}, {rate}{left}"),
        (f"{counted}{failed}", f"{rate}{left}"),
        (counted, rate),
    )
    room = width - _LABEL_COLUMNS - _FEWEST_BAR_COLUMNS - len("|| ")
    for pair in candidates:
        columns = max(map(len, pair))
        if columns <= room:
            break
    return pair[0].ljust(columns), pair[1].ljust(columns)


def _bar(label: str, done: int, total: int, detail: str, width: int, is_ascii: bool) -> str:
    from tqdm import tqdm

    if not total:
        return f"{label:<{_LABEL_COLUMNS}}{detail}".rstrip()[:width]
    form = f"{label:<{_LABEL_COLUMNS}}|{{bar}}| {detail}"
    return tqdm.format_meter(
        min(done, total), total, 0, ncols=width, bar_format=form, ascii=is_ascii
    ).rstrip()[:width]


def _slow_lines(work: Work, now_s: float, width: int) -> Iterator[str]:
    for name, detail in _slowest(work, now_s):
        if len(detail) > width // 2:
            detail = detail.rpartition(" ")[2]  # how long it takes, so that its name can be seen
        name = name.encode("ascii", "replace").decode()  # of which each takes one column
        room = max(0, width - _LABEL_COLUMNS - len(detail) - 1)
        shown = name if len(name) <= room else f"{name[: max(0, room - 2)]}.."
        yield f"{'slow':<{_LABEL_COLUMNS}}{shown:<{room}} {detail}"[:width]


def _slowest(work: Work, now_s: float) -> Iterator[tuple[str, str]]:
    """The transfers that are at it longest: each one's name, and how far it is."""
    for flow in sorted(work.flows, key=lambda flow: flow.began_s)[:_SLOWEST_SHOWN]:
        taken_s = now_s - flow.began_s
        if taken_s >= _SLOW_AFTER_S:
            total = "" if flow.total_bytes is None else f" of {format_bytes(flow.total_bytes)}"
            yield flow.name, f"{format_bytes(flow.size_bytes)}{total}, {format_left(taken_s)}"


def _smoothed(last: float, now: float, weight: float) -> float:
    return last + min(1.0, weight) * (now - last)


class Screen:
    """The last lines of a terminal, drawn again and again.

    The cursor stays on an empty line below them: there it is out of the way when the terminal shows a `^C`,
    and a prompt finds its place when the process is killed.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        if sys.platform == "win32" and stream.isatty():
            import colorama  # tqdm brings it there

            colorama.just_fix_windows_console()  # which otherwise shows control codes as text
        self._stream = stream
        self._drawn: list[str] = []

    def draw(self, lines: list[str], width: int) -> None:
        """Draw these lines in place of those before, on a terminal that is `width` columns wide now."""
        shown = "".join(f"{line}\x1b[K\n" for line in lines)
        self._write(f"{self._to_first(width)}{shown}\x1b[J")
        self._drawn = lines

    def erase(self, width: int) -> None:
        """Leave no trace, and the cursor where the first line began."""
        if self._drawn:
            self._write(f"{self._to_first(width)}\x1b[J")
            self._drawn = []

    def _to_first(self, width: int) -> str:
        """From below the last line to where the first began; in a terminal that got narrower they wrap."""
        rows = sum(max(1, -(-len(line) // max(1, width))) for line in self._drawn)
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

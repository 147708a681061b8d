"""A job's progress at the bottom of a terminal: a tqdm bar a line.

tqdm draws the bars, keeps each line within the terminal's width and the screen's height, moves from line to
line, and chooses block characters or ASCII by the terminal's encoding. This module chooses what each line
says. Where it does something itself that tqdm could do, a comment says what would go wrong.

It imports tqdm, so it is itself imported only where there is a terminal to draw on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Never, TextIO

from tqdm import tqdm

from floradl.cli.ui.speed import Speed, Work, slow_transfers
from floradl.cli.ui.units import count, format_bytes, format_left

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    _Tqdm = tqdm[Never]
else:
    _Tqdm = tqdm  # which is generic in its type stubs alone

_LABEL_COLUMNS = 9
_FEWEST_BAR_COLUMNS = 6
_MOST_COLUMNS = 110
_ERASE = "\r\x1b[J"
"""From the cursor's line to the end of the screen."""


class _Line(NamedTuple):
    """What one line shows: a label and a text, and between them a bar where `total` is not 0."""

    label: str
    text: str
    done: int = 0
    total: int = 0


class _Bar(_Tqdm):
    """One line of a terminal, drawn by tqdm."""

    monitor_interval = 0
    """No thread that redraws bars which were not updated for long: `ProgressBars.draw` comes every 0.2 s."""

    @staticmethod
    def status_printer(file: SupportsWrite[str]) -> Callable[[str], None]:
        """How tqdm writes a line: here, with an escape code that clears what else stood on it.

        tqdm's own printer overwrites a longer text from before with spaces. In a terminal that got narrower
        meanwhile those spaces wrap into the next row, and all further lines are drawn a row too low.
        The cursor goes back to the first column, where a resized terminal does not move it.
        """

        def print_line(text: str) -> None:
            file.write(f"\r{text}\x1b[K\r")

        return print_line

    def show(self, line: _Line, size: os.terminal_size) -> None:
        """Draw this line in place of the one before; `size` is the terminal's."""
        self.ncols, self.nrows = min(size.columns - 1, _MOST_COLUMNS), size.lines
        self.n, self.total = min(line.done, line.total), line.total or None
        self.desc = f"{line.label:<{_LABEL_COLUMNS}}{'' if line.total else line.text}"
        self.bar_format = f"{{desc}}|{{bar}}| {line.text}" if line.total else "{desc}"
        # Without tqdm's lock, which it does not give back when the terminal fails in the middle of a line:
        # a thread that logs something later would wait for it for ever. `Console` holds its own lock here.
        self.refresh(nolock=True)


# tqdm's default lock is made for several processes; on some systems that starts a helper process.
_Bar.set_lock(threading.RLock())


class ProgressBars:
    """The last lines of a terminal. The caller lets one thread at a time in.

    Between two calls the cursor stands in the first column of the first line. Everything from there to the
    end of the screen is ours, however many rows the lines take after the terminal was resized.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        if sys.platform == "win32" and stream.isatty():
            import colorama  # tqdm brings it there

            colorama.just_fix_windows_console()  # which otherwise shows escape codes as text
        self._stream = stream
        self._bars: list[_Bar] = []
        self._columns = 0

    def draw(
        self, work: Work, speed: Speed, now_s: float, size: os.terminal_size, *, slowest: bool = False
    ) -> None:
        """Show a job, in place of the lines before.

        Args:
            work: the job's tally.
            speed: how fast it moves.
            now_s: the time of the monotonic clock.
            size: the terminal's, now; one column stays free, because some terminals wrap a full line.
            slowest: whether the longest-running transfers are named, a line each.
        """
        lines = list(_lines(work, speed, now_s, min(size.columns - 1, _MOST_COLUMNS), slowest=slowest))
        if size.columns != self._columns:
            self._stream.write(_ERASE * bool(self._bars))  # a line may take several rows by now
            self._columns = size.columns
        while len(self._bars) > len(lines):
            self._bars.pop().close()
        for number, line in enumerate(lines):
            if number == len(self._bars):
                self._bars.append(self._new_bar(number))
            self._bars[number].show(line, size)
        self._stream.flush()

    def write(self, text: str) -> None:
        """Write a message where the lines are; the next `draw` shows them below it.

        `tqdm.write` would draw them at once. After a second signal the process says its last word by this
        method and ends there and then: the bars would stay, and the shell's prompt would stand among them.
        """
        self._stream.write(f"{_ERASE if self._bars else ''}{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the lines; the cursor stays where the first one began."""
        bars, self._bars = self._bars, []
        for bar in bars:
            # Not by tqdm's `close`, which runs again when a bar is garbage: on a terminal that is gone by
            # then, Python would complain of an exception that nobody can handle.
            bar.disable = True
        if bars:
            self._stream.write(_ERASE)
            self._stream.flush()

    def _new_bar(self, number: int) -> _Bar:
        # tqdm draws a new bar at once: an empty line, by this format, until `show` says what stands there.
        return _Bar(file=self._stream, position=number, leave=False, bar_format="{desc}", ncols=1, nrows=99)


def _lines(work: Work, speed: Speed, now_s: float, width: int, *, slowest: bool) -> Iterator[_Line]:
    """What the lines say, if each may take `width` columns."""
    outputs, moved = _details(work, speed, width)
    yield _Line("runs", _state(work))
    yield _Line("outputs", outputs, work.done, work.total)
    yield _Line("bytes", moved, work.moved_bytes, speed.expected_bytes or 0)
    for name, detail in slow_transfers(work, now_s) if slowest else ():
        if len(detail) > width // 2:
            detail = detail.rpartition(" ")[2]  # the time taken alone, so that the name can be seen
        name = name.encode("ascii", "replace").decode()  # each character takes one column then
        room = max(0, width - _LABEL_COLUMNS - len(detail) - 1)
        shown = name if len(name) <= room else f"{name[: max(0, room - 2)]}.."
        yield _Line("slow", f"{shown:<{room}} {detail}")


def _state(work: Work) -> str:
    if work.is_stopping:
        return f"stopping: {count(len(work.flows), 'transfer')} left"
    return f"{work.listed_runs}" if work.is_listed else f"{work.listed_runs} so far, listing ..."


def _details(work: Work, speed: Speed, width: int) -> tuple[str, str]:
    """The texts behind the two bars: the longest that fit, both padded to the same length.

    tqdm would cut the end off a text that is too long, which is where the speed and the time left stand, and
    a number that is cut is another number.
    """
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

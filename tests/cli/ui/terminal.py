"""A job at work and a terminal, for the tests of what a terminal shows."""

from __future__ import annotations

import os
import re

from floradl.cli.ui.progress_bar import ProgressBars
from floradl.cli.ui.speed import Speed
from floradl.download.tally import Tally

FAST = Speed(34_500_000, 3_100_000_000, 65)


def tally(*, outputs: int = 1124, fetched: int = 512, listed: bool = True, failed: int = 3) -> Tally:
    """A job at work: 1.2 GB came."""
    work = Tally(outputs=outputs, fetched=fetched, failed=failed, listed_runs=310, is_listed=listed)
    work.traffic.received_bytes = 1_200_000_000
    return work


class Terminal:
    """As much of a terminal as tqdm and floradl use: text, line feeds, cursor up, and erasing."""

    def __init__(self, columns: int, encoding: str = "ascii") -> None:
        self.columns = columns
        self.encoding = encoding
        self.rows = [""]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        """Show what is written."""
        pieces = re.findall(r"\x1b\[[AKJ]|\r|\n|[^\x1b\r\n]+", text)
        assert "".join(pieces) == text
        for piece in pieces:
            self._show(piece)

    def _show(self, piece: str) -> None:
        row = self.rows[self.row]
        if piece == "\n":
            self.row, self.column = self.row + 1, 0
            self.rows += [""] * (self.row == len(self.rows))
        elif piece == "\r":
            self.column = 0
        elif piece == "\x1b[A":
            self.row -= 1
            assert self.row >= 0
        elif piece in ("\x1b[J", "\x1b[K"):
            self.rows[self.row] = row[: self.column]
            del self.rows[self.row + 1 if piece == "\x1b[J" else len(self.rows) :]
        else:
            before, end = row[: self.column].ljust(self.column), self.column + len(piece)
            assert end < self.columns, "one column stays free"
            self.rows[self.row] = before + piece + row[end:]
            self.column = end

    def flush(self) -> None:
        """Nothing is kept back."""

    def resize(self, columns: int) -> None:
        """Make it narrower or wider; rows that are too long take several then, as most terminals have it."""
        assert self.column == 0
        wrapped = [
            [row[at : at + columns] for at in range(0, len(row), columns)] or [""] for row in self.rows
        ]
        self.row = sum(map(len, wrapped[: self.row]))
        self.rows = [piece for pieces in wrapped for piece in pieces]
        self.columns = columns

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines."""
        return os.terminal_size((self.columns, 24))

    @property
    def shown(self) -> list[str]:
        """The rows with something in them."""
        return [row.rstrip() for row in self.rows if row.strip()]


def drawn(
    work: Tally,
    speed: Speed,
    columns: int,
    *,
    now_s: float = 0,
    slowest: bool = False,
    encoding: str = "ascii",
) -> list[str]:
    """The rows of a terminal on which a job is drawn once."""
    terminal = Terminal(columns, encoding)
    bars = ProgressBars(terminal)  # type: ignore[arg-type]  # it has what is used of a stream
    bars.draw(work, speed, now_s, terminal.size, slowest=slowest)
    rows = terminal.shown
    bars.close()
    assert terminal.shown == []
    return rows

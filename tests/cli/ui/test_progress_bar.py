"""Progress as it is drawn: nothing wider than the terminal, nothing left behind, nothing made up."""

from __future__ import annotations

import os
import re

import pytest

from floradl.cli.ui.progress_bar import ProgressBars
from floradl.cli.ui.speed import Speed
from floradl.download.tally import ActiveTransfer
from tests.cli.ui.terminal import FAST, Terminal, drawn, tally


def test_at_80_columns() -> None:
    """Runs, outputs and bytes, a line each; the bars end in the same column."""
    assert drawn(tally(), FAST, 80) == [
        "runs     310",
        "outputs  |############8               | 515/1124, 3 failed",
        "bytes    |##########8                 | 1.2 GB of ~3.1 GB, 34.5 MB/s, 1:05 left",
    ]


def test_at_40_columns() -> None:
    """What matters most is kept where there is little room: how far, how fast, how long."""
    assert drawn(tally(), FAST, 40) == [
        "runs     310",
        "outputs  |###2   | 515/1124, 3 failed",
        "bytes    |##7    | 34.5 MB/s, 1:05 left",
    ]


@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "█"), ("ascii", "#"), ("cp437", "#")])
def test_bars_are_made_of_what_the_terminal_can_show(encoding: str, block: str) -> None:
    """Block characters where the encoding has all of them, else ASCII."""
    assert block * 10 in drawn(tally(), FAST, 80, encoding=encoding)[1]


@pytest.mark.parametrize("columns", range(6, 201, 7))
@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("is_stopping", [True, False])
def test_no_line_is_wider_than_the_terminal(columns: int, is_listed: bool, is_stopping: bool) -> None:
    """Whatever the numbers and names are, nothing wraps; wide characters included."""
    work = tally(outputs=123_456_789, fetched=98_765_432, listed=is_listed, failed=1_234_567)
    work.is_stopping = is_stopping
    work.traffic.flows = {
        ActiveTransfer(f"run_{'世' * number} {{}} output_1", 0, 10**12, 10**11) for number in (1, 30, 90)
    }
    for encoding in ("ascii", "utf-8"):
        speed = Speed(1, 10**15, 359_999)
        rows = drawn(work, speed, columns, now_s=400_000, slowest=True, encoding=encoding)
        assert max(map(len, rows)) < columns
        assert "世" not in "".join(rows)
        assert len(rows) == 6


def test_while_it_is_listed_no_end_is_known() -> None:
    """Before all is listed there is no time left, no sum of bytes and a plus behind the outputs."""
    rows = drawn(tally(listed=False), Speed(1000, None, None), 80, slowest=True)
    assert rows[0] == "runs     310 so far, listing ..."
    assert rows[1].endswith("| 515/1124+, 3 failed")
    assert rows[2] == "bytes    1.2 GB, 1.0 kB/s"


def test_the_slowest_transfers_are_named_longest_first() -> None:
    """With -v three transfers are named, those that are at it longest; young ones are not slow."""
    work = tally()
    work.traffic.flows = {
        ActiveTransfer(f"run_{began} output_1", began, 48_000_000, 12_000_000) for began in (1, 2, 9, 11, 99)
    }
    lines = drawn(work, FAST, 80, now_s=100, slowest=True)[3:]
    assert [line.split()[1] for line in lines] == ["run_1", "run_2", "run_9"]
    assert lines[0].endswith("12.0 MB of 48.0 MB, 1:39")
    assert len(lines[0]) == 79
    narrow = drawn(work, FAST, 40, now_s=100, slowest=True)[3:]
    assert re.fullmatch(r"slow     run_1 output_1 +1:39", narrow[0])


def terminal_with_bars(columns: int) -> tuple[Terminal, ProgressBars]:
    """A terminal below a command line, and what draws on it."""
    terminal = Terminal(columns)
    terminal.write("$ floradl out\n")
    return terminal, ProgressBars(terminal)  # type: ignore[arg-type]  # it has what is used of a stream


def test_bars_are_drawn_in_place_and_leave_no_trace() -> None:
    """Each frame takes the place of the one before; removed, the cursor is where it began."""
    terminal, bars = terminal_with_bars(40)
    work = tally()
    for slow in (2, 0, 3):
        work.traffic.flows = {ActiveTransfer(f"run_{number}", 0, 10**8) for number in range(slow)}
        bars.draw(work, FAST, 100, terminal.size, slowest=True)
        labels = [row.split()[0] for row in terminal.shown]
        assert labels == ["$", "runs", "outputs", "bytes", *["slow"] * slow]
    bars.close()
    assert (terminal.shown, terminal.row, terminal.column) == (["$ floradl out"], 1, 0)


def test_messages_stand_above_the_bars() -> None:
    """A message takes the place of the bars, and the next frame is drawn below it."""
    terminal, bars = terminal_with_bars(40)
    bars.draw(tally(), FAST, 0, terminal.size)
    bars.write("one\ntwo")
    assert terminal.shown == ["$ floradl out", "one", "two"]
    bars.draw(tally(), FAST, 0, terminal.size)
    assert [row.split()[0] for row in terminal.shown] == ["$", "one", "two", "runs", "outputs", "bytes"]


@pytest.mark.parametrize("columns", [30, 40, 81, 120])
def test_a_terminal_that_was_resized(columns: int) -> None:
    """Lines that wrapped since they were drawn are gone over, and nothing above them is touched."""
    terminal, bars = terminal_with_bars(80)
    bars.draw(tally(), FAST, 0, terminal.size)
    terminal.resize(columns)
    bars.draw(tally(), FAST, 0, terminal.size)
    assert terminal.shown == ["$ floradl out", *drawn(tally(), FAST, columns)]
    terminal.resize(10)
    bars.close()
    assert terminal.shown == ["$ floradl", "out"]


def test_a_screen_of_few_lines_is_not_scrolled() -> None:
    """Lines for which the screen has no room are left out, and the last one says so."""
    terminal, bars = terminal_with_bars(80)
    work = tally()
    work.traffic.flows = {ActiveTransfer(f"run_{number}", 0, 10**8) for number in range(3)}
    bars.draw(work, FAST, 100, os.terminal_size((80, 3)), slowest=True)
    assert [row.split()[0] for row in terminal.shown] == ["$", "runs", "outputs", "..."]

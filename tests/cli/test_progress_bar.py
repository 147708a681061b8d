"""Progress as it is drawn: nothing wider than the terminal, nothing said that nobody can know."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from floradl.cli.main import main
from floradl.cli.ui.console import Console, Display
from floradl.cli.ui.progress_bar import Screen, Speed, Speedometer, frame, plain_lines
from floradl.download.tally import ActiveTransfer, Tally
from tests.support.support import FakeTime


def tally(*, outputs: int = 1124, fetched: int = 512, listed: bool = True, failed: int = 3) -> Tally:
    """A job at work: 1.2 GB came."""
    work = Tally(outputs=outputs, fetched=fetched, failed=failed, listed_runs=310, is_listed=listed)
    work.traffic.received_bytes = 1_200_000_000
    return work


FAST = Speed(34_500_000, 3_100_000_000, 65)


def test_at_80_columns() -> None:
    """Runs, outputs and bytes, a line each; the bars end in the same column."""
    lines = frame(tally(), FAST, 0, 79, slowest=False, is_ascii=True)
    assert lines == [
        "runs     310",
        "outputs  |############8               | 515/1124, 3 failed",
        "bytes    |##########8                 | 1.2 GB of ~3.1 GB, 34.5 MB/s, 1:05 left",
    ]


def test_at_40_columns() -> None:
    """What matters most is kept where there is little room: how far, how fast, how long."""
    lines = frame(tally(), FAST, 0, 39, slowest=False, is_ascii=True)
    assert lines == [
        "runs     310",
        "outputs  |###2   | 515/1124, 3 failed",
        "bytes    |##7    | 34.5 MB/s, 1:05 left",
    ]


@pytest.mark.parametrize("width", range(5, 200, 7))
@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("is_stopping", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, is_listed: bool, is_stopping: bool) -> None:
    """Whatever the numbers and names are, nothing wraps; wide characters included."""
    work = tally(outputs=123_456_789, fetched=98_765_432, listed=is_listed, failed=1_234_567)
    work.is_stopping = is_stopping
    work.traffic.flows = {
        ActiveTransfer(f"run_{'世' * number} output_1", 0, 10**12, 10**11) for number in (1, 30, 90)
    }
    for is_ascii in (True, False):
        lines = frame(work, Speed(1, 10**15, 359_999), 400_000, width, slowest=True, is_ascii=is_ascii)
        assert max(map(len, lines)) <= width
        assert "世" not in "".join(lines)
        assert len(lines) == 6


def test_while_it_is_listed_no_end_is_known() -> None:
    """Before all is listed there is no time left, no sum of bytes and a plus behind the outputs."""
    lines = frame(tally(listed=False), Speed(1000, None, None), 0, 79, slowest=True, is_ascii=True)
    assert lines[0] == "runs     310 so far, listing ..."
    assert lines[1].endswith("| 515/1124+, 3 failed")
    assert lines[2] == "bytes    1.2 GB, 1.0 kB/s"
    (line,) = plain_lines(tally(listed=False), Speed(1000, None, None), 0, slowest=True)
    assert line == "515 of 1124 outputs found so far, 3 failed, 1.2 GB, 1.0 kB/s"


def test_the_slowest_transfers_are_named_longest_first() -> None:
    """With -v three transfers are named, those that are at it longest; young ones are not slow."""
    work = tally()
    work.traffic.flows = {
        ActiveTransfer(f"run_{began} output_1", began, 48_000_000, 12_000_000) for began in (1, 2, 9, 11, 99)
    }
    lines = frame(work, FAST, 100, 79, slowest=True, is_ascii=True)[3:]
    assert [line.split()[1] for line in lines] == ["run_1", "run_2", "run_9"]
    assert lines[0].endswith("12.0 MB of 48.0 MB, 1:39")
    assert len(lines[0]) == 79
    narrow = frame(work, FAST, 100, 39, slowest=True, is_ascii=True)[3:]
    assert re.fullmatch(r"slow     run_1 output_1 +1:39", narrow[0])


def test_the_time_left_comes_from_the_outputs_that_wait() -> None:
    """Ten outputs of 1 MB a second: 100 more take 10 s, and a large file under way as long as its bytes."""
    time, work = FakeTime(), Tally(outputs=300, is_listed=True)
    meter = Speedometer(work, time.clock)
    for _ in range(20):
        time.now_s += 1
        work.fetched += 10
        work.traffic.received_bytes += 10_000_000
        speed = meter.read()
    assert speed.left_s == pytest.approx(10, rel=0.05)
    assert speed.expected_bytes == 300_000_000
    work.traffic.flows = {ActiveTransfer("run output", 0, 1_000_000_000, 0)}
    speed = meter.read()
    assert speed.left_s == pytest.approx(100, rel=0.05)
    assert speed.expected_bytes == 200_000_000 + 99 * 1_000_000 + 1_000_000_000


def test_no_time_left_is_made_up() -> None:
    """In the first seconds, while nothing moves, and while it is listed, nobody knows how long it takes."""
    time, work = FakeTime(), Tally(outputs=10, is_listed=True)
    meter = Speedometer(work, time.clock)
    assert meter.read().left_s is None
    time.now_s += 1
    work.fetched, work.traffic.received_bytes = 5, 1000
    assert meter.read().left_s is None
    time.now_s += 9
    assert meter.read().left_s is None
    time.now_s += 1
    work.fetched, work.traffic.received_bytes = 6, 2000
    assert meter.read().left_s is not None
    work.is_listed = False
    assert meter.read()[1:] == (None, None)


def console(*, is_terminal: bool, verbose: bool = False) -> tuple[Console, io.StringIO, FakeTime]:
    """A console on a stream that keeps what was written, with time that stands still."""
    stream, time = io.StringIO(), FakeTime(1_795_500_000.0)
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]  # a terminal or none
    return Console(stream=stream, clock=time.clock, verbose=verbose), stream, time


def test_off_a_terminal_there_is_a_line_every_30_s() -> None:
    """A minute and a half of work is three plain lines, however often it was looked."""
    shown, stream, time = console(is_terminal=False, verbose=True)
    work = tally(outputs=2000, fetched=500, failed=0)
    work.traffic.flows = {ActiveTransfer("run_1 output_1", time.now_s, 48_000_000, 12_000_000)}
    display = Display(shown, work, time.clock, slowest=True)
    for _ in range(95 * 5):
        time.now_s += 0.2
        work.fetched += 1
        work.traffic.received_bytes += 400_000
        display.refresh()
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if not line.startswith("  slow: ")] == [
        "650 of 2000 outputs, 1.3 GB, 2.0 MB/s, 4 min 30 s left",
        "800 of 2000 outputs, 1.3 GB, 2.0 MB/s, 4 min 00 s left",
        "950 of 2000 outputs, 1.4 GB, 2.0 MB/s, 3 min 30 s left",
    ]
    assert lines[1] == "  slow: run_1 output_1: 12.0 MB of 48.0 MB, 0:30"
    assert not re.search(r"[^\n\x20-\x7e]", stream.getvalue())


@pytest.mark.parametrize("verbose", [True, False])
def test_the_log_goes_back_to_whoever_had_it(monkeypatch: pytest.MonkeyPatch, *, verbose: bool) -> None:
    """A console shows floradl's log while it is open; then level and handlers are those of before."""
    logger, mine = logging.getLogger("floradl"), logging.NullHandler()
    monkeypatch.setattr(logger, "handlers", [mine])
    monkeypatch.setattr(logger, "level", logging.ERROR)
    shown, stream, _ = console(is_terminal=False, verbose=verbose)
    with shown:
        logging.getLogger("floradl.test").warning("meanwhile")
    logging.getLogger("floradl.test").warning("afterwards")
    assert stream.getvalue() == "meanwhile\n"
    assert (logger.level, logger.handlers) == (logging.ERROR, [mine])


@pytest.mark.parametrize("command", ["status", "logout", "whoami", "list", "verify"])
def test_a_command_gives_the_log_back(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that calls a command in its own process keeps its own logging, however the command ended."""
    logger = logging.getLogger("floradl")
    before = (logger.level, list(logger.handlers))
    main([command, *([str(tmp_path)] if command in ("status", "verify") else [])])
    capsys.readouterr()
    assert (logger.level, logger.handlers) == before


def test_a_dumb_terminal_gets_what_a_file_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb moves no cursor: no control codes go there."""
    monkeypatch.setenv("TERM", "dumb")
    shown, stream, time = console(is_terminal=True)
    Display(shown, tally(), time.clock, slowest=False).refresh()
    shown.warn("a message")
    assert stream.getvalue() == "a message\n"


def test_messages_on_a_terminal_break_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message longer than the line is wrapped at a word, and further lines are indented."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    shown, stream, _ = console(is_terminal=True)
    shown.warn("failed: run_0123456789abcdef output_1: not_media: the host sent HTML instead of media")
    assert stream.getvalue() == (
        "failed: run_0123456789abcdef output_1:\n  not_media: the host sent HTML instead\n  of media\n"
    )


class Terminal:
    """As much of a terminal as floradl uses: text, line feeds, cursor up, and erasing."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = 0

    def write(self, text: str) -> None:
        """Show what is written."""
        for piece in re.findall(r"\x1b\[\d*[AKJ]|\r|\n|[^\x1b\r\n]+", text):
            self._show(piece)

    def _show(self, piece: str) -> None:
        if piece == "\n":
            self.row += 1
            if self.row == len(self.rows):
                self.rows.append("")
        elif piece.endswith("A") and piece.startswith("\x1b"):
            self.row -= int(piece[2:-1])
            assert self.row >= 0
        elif piece == "\x1b[J":
            del self.rows[self.row + 1 :]
            self.rows[self.row] = ""
        elif piece not in ("\r", "\x1b[K"):
            assert len(piece) <= self.columns
            self.rows[self.row] = piece

    def flush(self) -> None:
        """Nothing is kept back."""


def test_bars_are_drawn_in_place_and_leave_no_trace() -> None:
    """Each frame takes the place of the one before; erased, the cursor is where it began."""
    terminal = Terminal(40)
    screen = Screen(terminal)  # type: ignore[arg-type]  # what is used of one
    terminal.write("$ floradl out\n")
    for lines in (["a", "b", "c"], ["d"], ["e", "f"]):
        screen.draw(lines, 40)
        assert terminal.rows == ["$ floradl out", *lines, ""]
    screen.erase(40)
    assert (terminal.rows, terminal.row) == (["$ floradl out", ""], 1)


def test_a_terminal_that_got_narrower() -> None:
    """Lines that wrapped since they were drawn are gone over as the rows that they take now."""
    written: list[str] = []
    screen = Screen(SimpleNamespace(write=written.append, flush=lambda: None))  # type: ignore[arg-type]  # so
    screen.draw(["x" * 79, "y"], 80)
    screen.erase(40)
    assert written[-1] == "\r\x1b[3A\x1b[J"

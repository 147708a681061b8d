"""Messages and progress of a console: on a terminal, off one, and on one that moves no cursor."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
from pathlib import Path

import pytest

from floradl.cli.main import main
from floradl.cli.ui.console import Console, Display
from floradl.download.tally import ActiveTransfer
from tests.cli.ui.terminal import Terminal, tally
from tests.support.clock import FakeTime


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


def test_bars_come_and_go_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a job runs a terminal shows its bars, with messages above them; afterwards only the messages."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(60)
    terminal.isatty = lambda: True  # type: ignore[attr-defined]
    terminal.fileno = _raise_no_file  # type: ignore[attr-defined]
    time = FakeTime(1_795_500_000.0)
    shown = Console(stream=terminal, clock=time.clock)  # type: ignore[arg-type]  # what is used of a stream
    work = tally()

    async def job() -> None:
        async with shown.watch(work, work.failures):
            await asyncio.sleep(0.5)
            assert [row.split()[0] for row in terminal.shown] == ["runs", "outputs", "bytes"]
            shown.warn("a message")
            await asyncio.sleep(0.3)
            assert [row.split()[0] for row in terminal.shown] == ["a", "runs", "outputs", "bytes"]

    asyncio.run(job())
    assert terminal.shown == ["a message"]


def _raise_no_file() -> int:
    raise OSError("a terminal of these tests has no descriptor")


def test_without_progress_a_terminal_gets_messages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-progress draws nothing, not even an escape code."""
    monkeypatch.setenv("TERM", "xterm")
    stream, time = io.StringIO(), FakeTime(1_795_500_000.0)
    stream.isatty = lambda: True  # type: ignore[method-assign]
    shown = Console(stream=stream, clock=time.clock, progress=False)
    Display(shown, tally(), time.clock, slowest=False).refresh()
    shown.warn("a message")
    assert stream.getvalue() == "a message\n"


def test_a_terminal_that_was_closed_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars and messages that cannot be written any more, from whatever thread, are left out."""
    monkeypatch.setenv("TERM", "xterm")

    class Gone(io.StringIO):
        is_gone = False

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            if self.is_gone:
                raise BrokenPipeError(32, os.strerror(32))
            return super().write(text)

    stream = Gone()
    shown, work = Console(stream=stream), tally()

    async def job() -> None:
        async with shown.watch(work):
            await asyncio.sleep(0.3)
            assert "515/1124" in stream.getvalue()
            stream.is_gone = True
            for _ in range(2):
                await asyncio.wait_for(asyncio.to_thread(shown.warn, "a message"), 10)
                await asyncio.sleep(0.3)

    asyncio.run(job())
    assert "a message" not in stream.getvalue()

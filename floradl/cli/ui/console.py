"""What a person sees of floradl: messages, progress meanwhile, and in the end what came of it.

On a terminal progress is bars; anywhere else a plain line with the time every 30 s. Everything goes to
stderr. Text from outside is made printable before it gets here or on the way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Self, TextIO

from floradl.cli.ui.progress_bar import Screen, Speed, Speedometer, Work, frame, plain_lines
from floradl.cli.ui.wording import failure_line
from floradl.clock import Clock
from floradl.errors import FloradlError, printable

if TYPE_CHECKING:  # each command loads its own job
    from floradl.cli.logfile import LogFile
    from floradl.repository.results import Failure

_REFRESH_S = 0.2
_LINE_EVERY_S = 30.0


class Console:
    """Where messages go; a context, within which it also shows what floradl's modules log.

    Args:
        quiet: whether all but warnings and errors is left out.
        verbose: whether floradl's log, and the slowest transfers, are shown too.
        progress: whether progress is shown.
        stream: stderr, or a test's.
        clock: time, for tests.
        log: gets everything, whatever is shown.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        stream: TextIO | None = None,
        clock: Clock | None = None,
        log: LogFile | None = None,
    ) -> None:
        self._log = log
        self._quiet = quiet
        self._verbose = verbose
        self._progress = progress and not quiet
        self._stream = stream or sys.stderr
        self._clock = clock or Clock()
        self._lock = threading.RLock()
        self._is_at_work = False
        # A dumb terminal moves no cursor: it gets what a file gets.
        self.is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._screen = Screen(self._stream)
        if log is not None:
            log.on_error(self.show)
        self._kept: tuple[int, list[logging.Handler]] = (logging.NOTSET, [])

    def __enter__(self) -> Self:
        """Receive what floradl's modules log, until the context ends."""
        logger = logging.getLogger("floradl")
        self._kept = (logger.level, logger.handlers)
        logger.setLevel(logging.INFO if self._verbose or self._log is not None else logging.WARNING)
        logger.handlers = [_LogHandler(self, self._log, logging.INFO if self._verbose else logging.WARNING)]
        return self

    def __exit__(self, *_: object) -> None:
        """Give the logger back as it was: the whole process shares it, and may have handlers of its own."""
        logger = logging.getLogger("floradl")
        logger.setLevel(self._kept[0])
        logger.handlers = self._kept[1]

    def say(self, text: str) -> None:
        """A message that is left out when quiet."""
        self.note(logging.INFO, "message", text)
        if not self._quiet:
            self.show(text)

    def warn(self, text: str) -> None:
        """A message that is always shown."""
        self.note(logging.WARNING, "message", text)
        self.show(text)

    def note(self, level: int, event: str, text: str, **fields: str | int) -> None:
        """Something for the log file alone."""
        if self._log is not None:
            self._log.write(level, event, text, **fields)

    def show(self, text: str) -> None:
        """Something for the eyes alone, above the bars if there are any."""
        if self._is_at_work and not self.is_terminal:
            text = f"{datetime.fromtimestamp(self._clock.now()):%Y-%m-%d %H:%M:%S} {text}"
        if self.is_terminal:
            text = _wrapped(text, self._columns() - 1)
        with self._lock, suppress(OSError):  # whoever reads the messages went away; the work goes on
            self._screen.erase(self._columns())
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def error(self, error: FloradlError) -> None:
        """An error, and what to do about it."""
        self.note(logging.ERROR, "error", f"{error.message}  {error.hint}".rstrip())
        self.show(f"floradl: {error.message}")
        if error.hint:
            self.show(f"  {error.hint}")

    @asynccontextmanager
    async def watch(self, work: Work, failures: Sequence[Failure] = ()) -> AsyncIterator[None]:
        """Show progress, and name failures as they are added to the list, while the body runs."""
        self._is_at_work = True
        watcher = asyncio.create_task(self._watch(work, failures))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            self._is_at_work = False

    async def _watch(self, work: Work, failures: Sequence[Failure]) -> None:
        is_shown = self._progress or self._log is not None
        display = Display(self, work, self._clock, slowest=self._verbose) if is_shown else None
        told = 0
        try:
            while True:
                await asyncio.sleep(_REFRESH_S)
                told = self._tell(failures, told)
                if display is not None:
                    display.refresh()
        finally:
            self._tell(failures, told)
            self.draw([])

    def draw(self, lines: list[str]) -> None:
        """Show these as the terminal's last lines, in place of those before; no progress, no lines."""
        if not self._progress:
            return
        with self._lock, suppress(OSError):
            if lines:
                self._screen.draw(lines, self._columns())
            else:
                self._screen.erase(self._columns())

    def progress(self, line: str) -> None:
        """Progress in words, for where there are no bars."""
        self.note(logging.INFO, "progress", line)
        if self._progress and not self.is_terminal:
            self.show(line)

    def frame(self, work: Work, speed: Speed, *, slowest: bool) -> list[str]:
        """The lines that show a job on this terminal; one column stays free, where some terminals wrap."""
        width = self._columns() - 1
        now_s, is_ascii = self._clock.monotonic(), not _has_blocks(self._stream)
        return frame(work, speed, now_s, width, slowest=slowest, is_ascii=is_ascii)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns

    def _tell(self, failures: Sequence[Failure], told: int) -> int:
        for failure in failures[told:]:
            line, run, output = failure_line(failure), failure.run_id, failure.key
            self.note(logging.WARNING, "failed", line, run=run, output=output, code=failure.code)
            self.show(line)
        return len(failures)


class Display:
    """Progress as it suits the console: bars, or a plain line every 30 s."""

    def __init__(self, console: Console, work: Work, clock: Clock, *, slowest: bool) -> None:
        self._console = console
        self._work = work
        self._clock = clock
        self._slowest = slowest
        self._speedometer = Speedometer(work, clock)
        self._last_s = clock.monotonic()

    def refresh(self) -> None:
        """Show how far the work has come, if it is time to."""
        console, speed, now_s = self._console, self._speedometer.read(), self._clock.monotonic()
        if console.is_terminal:
            console.draw(console.frame(self._work, speed, slowest=self._slowest))
        if now_s - self._last_s >= _LINE_EVERY_S:
            self._last_s = now_s
            for line in plain_lines(self._work, speed, now_s, slowest=self._slowest):
                console.progress(line)


class _LogHandler(logging.Handler):
    """What floradl's modules log: to the log file all of it, to the eyes what is of that level."""

    def __init__(self, console: Console, log: LogFile | None, shown_level: int) -> None:
        super().__init__()
        self._console = console
        self._log = log
        self._shown_level = shown_level

    def emit(self, record: logging.LogRecord) -> None:
        if self._log is not None:
            self._log.record(record)
        if record.levelno >= self._shown_level:
            self._console.show(printable(record.getMessage(), limit=500))


def _wrapped(text: str, columns: int) -> str:
    """A message for a terminal: broken between words, which terminals do not."""
    if len(text) <= columns:
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.fill(
        text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _has_blocks(stream: TextIO) -> bool:
    """Whether a stream's encoding has the characters that tqdm draws bars with."""
    try:
        "▏█".encode(stream.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True

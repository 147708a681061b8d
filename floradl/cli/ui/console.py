"""What a person sees of floradl while it works: messages, progress, and failures as they happen.

On a terminal progress is drawn as bars; anywhere else it is a plain line every 30 s. All of it goes to
standard error, since standard output is for data. Text from outside (names, messages of a host) is made
printable before it comes here, or on the way, so that it cannot control the terminal.
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

from floradl.cli.ui.speed import Speed, Speedometer, Work, plain_lines
from floradl.cli.ui.wording import failure_line
from floradl.clock import Clock
from floradl.errors import FloradlError, printable

if TYPE_CHECKING:  # each command loads its own job
    from floradl.cli.logfile import LogFile
    from floradl.cli.ui.progress_bar import ProgressBars
    from floradl.repository.results import Failure

_REFRESH_S = 0.2
_LINE_EVERY_S = 30.0


class Console:
    """Where messages go; a context manager, within which it also shows what floradl's modules log.

    Args:
        quiet: whether only warnings and errors are shown.
        verbose: whether floradl's log, and the slowest transfers, are shown too.
        progress: whether progress is shown.
        stream: where to write; standard error unless a test gives its own.
        clock: time, for tests.
        log: a log file, which gets every message, shown or not.
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
        # Threads log while the event loop draws. Without the lock, a message would end up between two bars.
        self._lock = threading.RLock()
        self._is_job_running = False
        # A dumb terminal cannot move its cursor, so it gets the plain lines that a file gets.
        self.is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bars: ProgressBars | None = None
        if log is not None:
            log.on_error(self.show)
        self._logger_before: tuple[int, list[logging.Handler]] = (logging.NOTSET, [])

    def __enter__(self) -> Self:
        """Receive what floradl's modules log, until the context ends."""
        logger = logging.getLogger("floradl")
        self._logger_before = (logger.level, logger.handlers)
        logger.setLevel(logging.INFO if self._verbose or self._log is not None else logging.WARNING)
        logger.handlers = [_LogHandler(self, self._log, logging.INFO if self._verbose else logging.WARNING)]
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the logger: a program that calls `main` may have handlers of its own on it."""
        logger = logging.getLogger("floradl")
        logger.setLevel(self._logger_before[0])
        logger.handlers = self._logger_before[1]

    def say(self, text: str) -> None:
        """Show and log a message; with `quiet` only log it."""
        self.note(logging.INFO, "message", text)
        if not self._quiet:
            self.show(text)

    def warn(self, text: str) -> None:
        """Show and log a message, also with `quiet`."""
        self.note(logging.WARNING, "message", text)
        self.show(text)

    def note(self, level: int, event: str, text: str, **fields: str | int) -> None:
        """Write to the log file, if there is one, and show nothing. For the fields see `LogFile.write`."""
        if self._log is not None:
            self._log.write(level, event, text, **fields)

    def show(self, text: str) -> None:
        """Show a message without logging it: above the bars, where there are some."""
        if self._is_job_running and not self.is_terminal:
            text = f"{datetime.fromtimestamp(self._clock.now()):%Y-%m-%d %H:%M:%S} {text}"
        if self.is_terminal:
            text = _wrapped(text, self._size().columns - 1)
        with self._lock, suppress(OSError):  # a terminal that was closed must not end the job
            if self._bars is not None:
                self._bars.write(text)
            else:
                self._stream.write(f"{text}\n")
                self._stream.flush()

    def error(self, error: FloradlError) -> None:
        """Show and log an error, and what to do about it."""
        self.note(logging.ERROR, "error", f"{error.message}  {error.hint}".rstrip())
        self.show(f"floradl: {error.message}")
        if error.hint:
            self.show(f"  {error.hint}")

    @asynccontextmanager
    async def watch(self, work: Work, failures: Sequence[Failure] = ()) -> AsyncIterator[None]:
        """Show a job's progress while the body runs.

        Args:
            work: the job's tally.
            failures: a list to which the job appends; each new entry is shown and logged as it comes.
        """
        self._is_job_running = True
        watcher = asyncio.create_task(self._watch(work, failures))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            self._is_job_running = False

    async def _watch(self, work: Work, failures: Sequence[Failure]) -> None:
        is_shown = self._progress or self._log is not None
        display = Display(self, work, self._clock, slowest=self._verbose) if is_shown else None
        shown = 0
        try:
            while True:
                await asyncio.sleep(_REFRESH_S)
                shown = self._show_failures(failures, shown)
                if display is not None:
                    display.refresh()
        finally:
            self._show_failures(failures, shown)
            self._remove_bars()

    def draw(self, work: Work, speed: Speed, *, slowest: bool) -> None:
        """Draw a job's progress as bars at the bottom of the terminal, unless progress is switched off.

        Args:
            work: the job's tally.
            speed: how fast it moves.
            slowest: whether the longest-running transfers are named.
        """
        if not self._progress:
            return
        with self._lock, suppress(OSError):
            if self._bars is None:
                # Loaded here, so that a night's job, which nobody watches, never loads tqdm.
                from floradl.cli.ui.progress_bar import ProgressBars

                self._bars = ProgressBars(self._stream)
            self._bars.draw(work, speed, self._clock.monotonic(), self._size(), slowest=slowest)

    def _remove_bars(self) -> None:
        with self._lock, suppress(OSError):
            if self._bars is not None:
                self._bars.close()
                self._bars = None

    def progress(self, line: str) -> None:
        """Log a line of progress, and show it where no bars are drawn."""
        self.note(logging.INFO, "progress", line)
        if self._progress and not self.is_terminal:
            self.show(line)

    def _size(self) -> os.terminal_size:
        """The terminal's size now; some report 0 columns, in which nothing could be drawn."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return shutil.get_terminal_size()
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def _show_failures(self, failures: Sequence[Failure], shown: int) -> int:
        """Show and log all failures behind the first `shown`; returns how many have been shown now."""
        for failure in failures[shown:]:
            line, run, output = failure_line(failure), failure.run_id, failure.key
            self.note(logging.WARNING, "failed", line, run=run, output=output, code=failure.code)
            self.show(line)
        return len(failures)


class Display:
    """Progress as it suits the console: bars at every call, or a plain line every 30 s.

    The plain lines go to the log file in any case.
    """

    def __init__(self, console: Console, work: Work, clock: Clock, *, slowest: bool) -> None:
        self._console = console
        self._work = work
        self._clock = clock
        self._slowest = slowest
        self._speedometer = Speedometer(work, clock)
        self._last_s = clock.monotonic()

    def refresh(self) -> None:
        """Show how far the work has come; called every 0.2 s."""
        console, speed, now_s = self._console, self._speedometer.read(), self._clock.monotonic()
        if console.is_terminal:
            console.draw(self._work, speed, slowest=self._slowest)
        if now_s - self._last_s >= _LINE_EVERY_S:
            self._last_s = now_s
            for line in plain_lines(self._work, speed, now_s, slowest=self._slowest):
                console.progress(line)


class _LogHandler(logging.Handler):
    """Passes on what floradl's modules log: all of it to the log file, from one level on to the console."""

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
    """A message broken between words, because a terminal breaks within them; further lines are indented."""
    if len(text) <= columns:
        return text
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.fill(
        text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )

"""What a person sees of floradl: messages, progress meanwhile, and in the end what came of it.

On a terminal progress is bars; anywhere else a plain line with the time every 30 s. Everything goes to
stderr. Text from outside is made printable before it gets here or on the way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Self, TextIO

from floradl.checker.findings import NO_FAULT, AuditReport, Trouble
from floradl.cli.ui.progress_bar import Screen, Speed, Speedometer, Work, frame, plain_lines
from floradl.cli.ui.units import count, counts, format_bytes, format_cost, format_duration
from floradl.clock import Clock
from floradl.constants import SOURCE_WORDS, Source
from floradl.errors import FloradlError, printable

if TYPE_CHECKING:  # each command loads its own job
    from floradl.archiver.report import Report, SourceNews
    from floradl.cli.logfile import LogFile
    from floradl.gallery.report import GalleryReport
    from floradl.repository.results import Failure
    from floradl.restorer.restore import RestoreReport

_REFRESH_S = 0.2
_LINE_EVERY_S = 30.0
_REASONS_SHOWN = 8
_PROJECTS_SHOWN = 5


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


def failure_line(failure: Failure) -> str:
    """One failed output: which, and why."""
    name = output_name(failure.run_id, failure.key)
    tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
    return f"failed: {name}: {failure.code}: {failure.message}{tries}"


def output_name(identifier: str, key: str) -> str:
    """An output by its run's id and its own; an asset's file, whose key is the asset's id, by that."""
    shown = printable(identifier, limit=80)
    return shown if key == identifier else f"{shown} {printable(key, limit=80)}"


def summary_lines(report: Report, dest: str) -> list[str]:
    """A session in a few lines, what to do next last."""
    lines = [f"{_what_is_new(report)}. Took {format_duration(report.elapsed_s)}."]
    lines.extend(_news_lines(report))
    lines.extend(_sources_lines(report.sources))
    if report.new_cost:
        lines.append(f"What is new cost {format_cost(report.new_cost)} to generate.")
    if report.adopted:
        lines.append(
            f"{count(report.adopted, 'file')} that an earlier run left unrecorded: hashed and recorded"
        )
    kinds = _entries(report.archive_runs, report.archive_assets, report.archive_canvases)
    holds = f"{count(report.archive_outputs, 'output')} of {kinds}"
    lines.append(f"{dest} holds {holds}, {format_bytes(report.archive_bytes)}.")
    if vanished := counts((len(report.vanished_runs), "run"), (len(report.vanished_assets), "asset")):
        lines.append(f"{vanished} not listed by FLORA any more; what is archived stays.")
    for its in report.unseen:
        project = place_name(its.name, its.project_id)
        lines.append(f"Project {project} is not visible to this key any more; what is archived stays.")
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    lines.extend(_refused_lines(report.sources))
    lines.extend(_trouble_lines(report))
    if report.open_runs:
        runs = count(report.open_runs, "run")
        lines.append(f"{runs} not done yet: the next run fetches them, or --wait stays for them.")
    if report.is_complete and report.fetched:
        lines.append(f"Check it any time: floradl verify {shlex.quote(dest)}")
    return lines


def _sources_lines(sources: Sequence[SourceNews]) -> list[str]:
    """What each source gave, where there is more than one to tell of."""
    told = [f"{its.listed} {SOURCE_WORDS[its.source]}" for its in sources if its.listed]
    return [f"Listed: {', '.join(told)}."] if len(told) > 1 else []


def _refused_lines(sources: Sequence[SourceNews]) -> list[str]:
    """What this key cannot see, which is no failure."""
    return [
        f"Left out: {SOURCE_WORDS[its.source]}, which this key cannot see ({its.refusal})."
        for its in sources
        if its.refused is not None
    ]


def _what_is_new(report: Report) -> str:
    new = report.fetched + report.adopted
    parts = []
    snapshots = sum(its.new for its in report.sources if its.source is Source.CANVAS)
    things = counts((report.new_runs, "new run"), (report.new_assets, "new asset"))
    if new:
        of = f" of {things}" if things else ""
        parts.append(f"{count(new, 'new output')} ({format_bytes(report.new_bytes)}){of}")
    elif things:
        parts.append(f"{things}, no new outputs")
    elif not report.is_complete:
        parts.append("No new outputs")
    else:
        return "Nothing new"
    if snapshots:
        parts.append(f"{snapshots} of canvases")
    if report.already:
        parts.append(f"{report.already} there already")
    if report.failures:
        parts.append(f"{len(report.failures)} failed")
    return ", ".join(parts)


def _news_lines(report: Report) -> list[str]:
    """Which projects the new runs and assets are of, by name where that is known; the largest first."""
    lines = []
    for news in report.news[:_PROJECTS_SHOWN]:
        name = place_name(news.name, news.project_id)
        assets = f", and {count(news.assets, 'asset')}" if news.runs and news.assets else ""
        what = ", assets" if not news.runs else assets
        lines.append(f"  {news.runs or news.assets:>4}  {name}{what}")
    rest = len(report.news) - _PROJECTS_SHOWN
    return [*lines, *([f"        and of {count(rest, 'further project')}"] if rest > 0 else [])]


def restore_lines(report: RestoreReport, dest: str, *, has_key: bool) -> list[str]:
    """A restore in a few lines, what to do next last."""
    kinds = _entries(report.runs, report.assets, report.canvases)
    brought = f"{count(report.restored, 'output')} of {kinds} restored"
    took = format_duration(report.elapsed_s)
    size = format_bytes(report.new_bytes)
    lines = [f"{dest}: {brought}, {report.already} there already, {size}. Took {took}."]
    if report.fetched:
        lines.append(f"{count(report.fetched, 'output')} that the archive lacked came from FLORA.")
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {count(report.failures, 'output')} could not be restored, named above:")
        lines.extend(reason_lines(report.failures))
        if not has_key:
            lines.append("With an API key (FLORA_API_KEY) what the archive lacks comes from FLORA.")
    for problem in report.problems:
        lines.append(f"INCOMPLETE: {problem.message}")
        lines.extend([f"  {problem.hint}"] if problem.hint else [])
    return lines


def audit_lines(report: AuditReport, dest: str) -> list[str]:
    """A check, and perhaps a repair, in a few lines, what to do next last."""
    lines = [finding.line() for finding in report.left]
    holds = f"{count(report.outputs, 'output')} of {_entries(report.runs, report.assets, report.canvases)}"
    read = f"{count(report.read, 'file')} read again ({format_bytes(report.read_bytes)})"
    lines.append(f"{dest}: {holds} checked, {read}. Took {format_duration(report.elapsed_s)}.")
    if report.is_repair and report.repaired:
        lines.append(f"{count(report.repaired, 'finding')} repaired.")
    lines.extend(f"Set aside, and kept: {path}" for path in report.kept_aside)
    strays = report.counts()[Trouble.STRAY]
    if strays:
        lines.append(f"{count(strays, 'stray')}, left alone.")
    if lost := report.counts()[Trouble.LOST]:
        lines.append(f"{count(lost, 'canvas snapshot')} lost for good, as a repair told before.")
    if report.is_interrupted:
        lines.append("Stopped before the end.")
    elif report.is_sound:
        lines.append("All the rest is as it was archived." if lost else "Everything is as it was archived.")
    else:
        lines.extend(_audit_trouble_lines(report, dest))
    if report.is_repair and any(finding.kind == Trouble.BAD_MANIFEST for finding in report.findings):
        lines.append(
            f"The manifest was made anew. What nothing here told of comes with: floradl {shlex.quote(dest)}"
        )
    return lines


def _entries(runs: int, assets: int, canvases: int) -> str:
    """How many runs, and what else: `3 runs, 2 assets and 1 canvas`."""
    return counts((runs, "run"), (assets, "asset"), (canvases, "canvas")) or "0 runs"


def gallery_lines(report: GalleryReport, dest: str) -> list[str]:
    """The making of a gallery in a few lines, what to do next last."""
    lines = []
    if report.set_aside:
        lines.append(f"Another index.html stood there; it is in {report.set_aside} now.")
    if report.is_interrupted:
        return [
            *lines,
            "Stopped before the end; the gallery is as it was. The same command goes on from here.",
        ]
    made = f", {count(report.thumbnails, 'small picture')} made" if report.thumbnails else ""
    what = f"{count(report.outputs, 'output')} of {_entries(report.runs, report.assets, report.canvases)}"
    took = format_duration(report.elapsed_s)
    written = f"{count(report.files_written, 'file')} written"
    lines.append(f"{dest}/index.html shows {what}. {written}{made}. Took {took}.")
    if report.outputs and not report.has_thumbnails:
        lines.append("It shows the files themselves. With the extra `gallery` it has small pictures of them.")
    if report.refused:
        lines.append(f"{count(report.refused, 'output')} got no small picture and are shown as they are.")
    return lines


def _audit_trouble_lines(report: AuditReport, dest: str) -> list[str]:
    lines = ["NOT SOUND:"]
    kinds = ((kind, number) for kind, number in report.counts().most_common() if kind not in NO_FAULT)
    lines.extend(f"  {number:>4}  {kind}" for kind, number in kinds)
    for problem in report.problems:
        lines.append(f"  {problem.message}")
        if problem.hint:
            lines.append(f"  {problem.hint}")
    if report.is_repair:
        lines.append("What is left could not be repaired now; each is named above.")
    else:
        lines.append(f"Bring back what can be: floradl verify --repair {shlex.quote(dest)}")
    return lines


def _trouble_lines(report: Report) -> list[str]:
    lines = []
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {count(report.failures, 'output')} could not be archived:")
        lines.extend(reason_lines(report.failures))
        lines.append("Each is named above. The same command tries them again.")
    if report.problems:
        lines.append("INCOMPLETE: not everything could be listed:")
        reasons = Counter(problem.message for problem in report.problems)
        lines.extend(f"  {message}" for message, _ in reasons.most_common(_REASONS_SHOWN))
        lines.extend(
            f"  {hint}" for hint in dict.fromkeys(problem.hint for problem in report.problems) if hint
        )
    return lines


def reason_lines(failures: Sequence[Failure]) -> list[str]:
    """Why outputs failed, a line a reason, the most frequent first."""
    codes = Counter(failure.code for failure in failures)
    said = {failure.code: failure.message for failure in reversed(failures)}
    lines = [f"  {number:>4}  {code}: {said[code]}" for code, number in codes.most_common(_REASONS_SHOWN)]
    if len(codes) > _REASONS_SHOWN:
        lines.append(f"  and {len(codes) - _REASONS_SHOWN} more reasons")
    return lines


def place_name(name: str, identifier: str) -> str:
    """A project or workspace by name and id, or by id alone."""
    shown = printable(identifier, limit=80) or "(no project)"
    return f"{printable(name, limit=60)} ({shown})" if name else shown

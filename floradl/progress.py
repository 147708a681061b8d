"""What a person sees while floradl works: a bar on a terminal, a plain line every 30 s anywhere else.

The display looks at the job's tally from time to time; the job knows nothing of displays.
Everything goes to stderr. Text from outside is made printable before it gets here or on the way.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Never, Protocol, TextIO

from floradl.errors import FloradlError, printable
from floradl.findings import AuditReport, Trouble

if TYPE_CHECKING:  # each command loads its own job, and only a terminal needs the bar
    from tqdm import tqdm

    from floradl.job import Report
    from floradl.model import Failure
    from floradl.restore import RestoreReport

_REFRESH_S = 0.2
_LINE_EVERY_S = 30.0
_REASONS_SHOWN = 8
_PROJECTS_SHOWN = 5


class Work(Protocol):
    """What a display shows of a job; the job keeps it up to date and knows nothing of displays."""

    @property
    def total(self) -> int:
        """Outputs found so far."""

    @property
    def done(self) -> int:
        """Outputs about which nothing is left to do."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that were fetched, read or copied."""

    @property
    def failed(self) -> int:
        """Outputs with something wrong."""

    @property
    def failed_word(self) -> str:
        """What these are called."""


class Console:
    """Where messages go.

    Args:
        quiet: whether all but warnings and errors is left out.
        verbose: whether floradl's log is shown too.
        progress: whether progress is shown.
        stream: stderr, or a test's.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        progress: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._quiet = quiet
        self._progress = progress and not quiet
        self._stream = stream or sys.stderr
        self.is_terminal = self._stream.isatty()
        logger = logging.getLogger("floradl")
        logger.setLevel(logging.INFO if verbose else logging.WARNING)
        logger.handlers = [_LogHandler(self)]

    def say(self, text: str) -> None:
        """A message that is left out when quiet."""
        if not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A message that is always shown, above the bar if there is one."""
        with suppress(OSError):  # whoever reads the messages went away; the work goes on
            if self.is_terminal:
                from tqdm import tqdm

                tqdm.write(text, file=self._stream)
            else:
                self._stream.write(f"{text}\n")
                self._stream.flush()

    def error(self, error: FloradlError) -> None:
        """An error, and what to do about it."""
        self.warn(f"floradl: {error.message}")
        if error.hint:
            self.warn(f"  {error.hint}")

    @asynccontextmanager
    async def watch(self, work: Work, failures: Sequence[Failure] = ()) -> AsyncIterator[None]:
        """Show progress, and name failures as they are added to the list, while the body runs."""
        watcher = asyncio.create_task(self._watch(work, failures))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, work: Work, failures: Sequence[Failure]) -> None:
        display = _Bar(work, self._stream) if self.is_terminal else _Lines(work, self)
        shown = display if self._progress else None
        told = 0
        try:
            while True:
                await asyncio.sleep(_REFRESH_S)
                told = self._tell(failures, told)
                if shown is not None:
                    shown.refresh()
        finally:
            if shown is not None:
                shown.refresh()
                shown.close()
            self._tell(failures, told)

    def _tell(self, failures: Sequence[Failure], told: int) -> int:
        for failure in failures[told:]:
            self.warn(failure_line(failure))
        return len(failures)


class _Bar:
    """A tqdm bar: outputs done of those found so far, bytes and rate, failures."""

    def __init__(self, work: Work, stream: TextIO) -> None:
        from tqdm import tqdm

        self._work = work
        self._bar: tqdm[Never] = tqdm(
            total=0,
            file=stream,
            leave=False,
            dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} outputs |{bar}| {desc}, {elapsed}",
        )
        self._rate = _Rate()

    def refresh(self) -> None:
        work = self._work
        self._bar.total = work.total
        self._bar.n = work.done
        parts = [format_bytes(work.moved_bytes), f"{format_bytes(self._rate.of(work))}/s"]
        if work.failed:
            parts.append(f"{work.failed} {work.failed_word}")
        self._bar.set_description_str(", ".join(parts), refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """A plain line every 30 s."""

    def __init__(self, work: Work, console: Console) -> None:
        self._work = work
        self._console = console
        self._last_s = time.monotonic()
        self._rate = _Rate()

    def refresh(self) -> None:
        if time.monotonic() - self._last_s < _LINE_EVERY_S:
            return
        self._last_s = time.monotonic()
        work = self._work
        moved, rate = format_bytes(work.moved_bytes), format_bytes(self._rate.of(work))
        self._console.say(
            f"{work.done} of {work.total} outputs so far, {moved}, {rate}/s, {work.failed} {work.failed_word}"
        )

    def close(self) -> None:
        """Nothing is left open."""


class _Rate:
    """Bytes per second, smoothed over some seconds."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()
        self._last_bytes = 0
        self._rate = 0.0

    def of(self, work: Work) -> float:
        now_s, received = time.monotonic(), work.moved_bytes
        elapsed_s = now_s - self._last_s
        if elapsed_s > 0:
            weight = min(1.0, elapsed_s / 3)
            self._rate += weight * ((received - self._last_bytes) / elapsed_s - self._rate)
            self._last_s, self._last_bytes = now_s, received
        return self._rate


class _LogHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(printable(record.getMessage(), limit=500))


def failure_line(failure: Failure) -> str:
    """One failed output: which, and why."""
    name = f"{printable(failure.run_id, limit=80)} {printable(failure.key, limit=80)}"
    tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
    return f"failed: {name}: {failure.code}: {failure.message}{tries}"


def summary_lines(report: Report, dest: str) -> list[str]:
    """A session in a few lines, what to do next last."""
    took = format_duration(report.elapsed_s)
    lines = []
    if report.fetched or report.adopted:
        size, cost = format_bytes(report.new_bytes), format_cost(report.new_cost)
        lines.append(
            f"{_count(report.fetched, 'new output')} ({size}) of {_count(report.new_runs, 'new run')}{cost}"
        )
    elif report.new_runs:
        lines.append(f"{_count(report.new_runs, 'new run')}, no new outputs")
    elif not report.failures and not report.problems and not report.is_interrupted:
        lines.append("Nothing new.")
    lines.extend(_news_lines(report))
    if report.adopted:
        lines.append(
            f"{_count(report.adopted, 'file')} that an earlier run left unrecorded: hashed and recorded"
        )
    holds = f"{_count(report.archive_outputs, 'output')} of {_count(report.archive_runs, 'run')}"
    lines.append(f"{dest} holds {holds}, {format_bytes(report.archive_bytes)}. Took {took}.")
    if report.open_runs:
        lines.append(
            f"{_count(report.open_runs, 'run')} not done yet; the next run fetches them (or --wait for them)."
        )
    if report.vanished_runs:
        lines.append(
            f"{_count(report.vanished_runs, 'run')} not listed by FLORA any more; what is archived stays."
        )
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    return [*lines, *_trouble_lines(report)]


def _news_lines(report: Report) -> list[str]:
    """Which projects the new runs are of, by name where that is known; the largest first."""
    lines = []
    for news in report.news[:_PROJECTS_SHOWN]:
        name = place_name(news.name, news.project_id)
        lines.append(f"  {news.runs:>6}  {name}")
    rest = len(report.news) - _PROJECTS_SHOWN
    return [*lines, *([f"          and of {_count(rest, 'further project')}"] if rest > 0 else [])]


def restore_lines(report: RestoreReport, dest: str, *, has_key: bool) -> list[str]:
    """A restore in a few lines, what to do next last."""
    brought = f"{_count(report.restored, 'output')} of {_count(report.runs, 'run')} restored"
    took = format_duration(report.elapsed_s)
    size = format_bytes(report.new_bytes)
    lines = [f"{dest}: {brought}, {report.already} there already, {size}. Took {took}."]
    if report.fetched:
        lines.append(f"{_count(report.fetched, 'output')} that the archive lacked came from FLORA.")
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {_count(report.failures, 'output')} could not be restored, named above.")
        if not has_key:
            lines.append("With an API key (FLORA_API_KEY) what the archive lacks comes from FLORA.")
    for problem in report.problems:
        lines.append(f"INCOMPLETE: {problem.message}")
        lines.extend([f"  {problem.hint}"] if problem.hint else [])
    return lines


def audit_lines(report: AuditReport, dest: str) -> list[str]:
    """A check, and perhaps a repair, in a few lines, what to do next last."""
    lines = [finding.line() for finding in report.left]
    holds = f"{_count(report.outputs, 'output')} of {_count(report.runs, 'run')}"
    read = f"{_count(report.read, 'file')} read again ({format_bytes(report.read_bytes)})"
    lines.append(f"{dest}: {holds} checked, {read}. Took {format_duration(report.elapsed_s)}.")
    if report.is_repair and report.repaired:
        lines.append(f"{_count(report.repaired, 'finding')} repaired.")
    lines.extend(f"Set aside, and kept: {path}" for path in report.kept_aside)
    strays = report.counts()[Trouble.STRAY]
    if strays:
        lines.append(f"{_count(strays, 'stray')}, left alone.")
    if report.is_interrupted:
        lines.append("Stopped before the end.")
    elif report.is_sound:
        lines.append("Everything is as it was archived.")
    else:
        lines.extend(_audit_trouble_lines(report, dest))
    if report.is_repair and any(finding.kind == Trouble.BAD_MANIFEST for finding in report.findings):
        lines.append(f"The manifest was made anew. `floradl {dest}` fetches what nothing here told of.")
    return lines


def _audit_trouble_lines(report: AuditReport, dest: str) -> list[str]:
    lines = ["NOT SOUND:"]
    kinds = ((kind, number) for kind, number in report.counts().most_common() if kind != Trouble.STRAY)
    lines.extend(f"  {number:>6}  {kind}" for kind, number in kinds)
    for problem in report.problems:
        lines.append(f"  {problem.message}")
        if problem.hint:
            lines.append(f"  {problem.hint}")
    if report.is_repair:
        lines.append("What is left could not be repaired now; each is named above.")
    else:
        lines.append(f"`floradl verify --repair {dest}` brings back what it can.")
    return lines


def _trouble_lines(report: Report) -> list[str]:
    lines = []
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {_count(report.failures, 'output')} could not be archived:")
        reasons = Counter(failure.code for failure in report.failures)
        lines.extend(f"  {number:>6}  {code}" for code, number in reasons.most_common(_REASONS_SHOWN))
        lines.append("Each is named above. The same command tries them again.")
    if report.problems:
        lines.append("INCOMPLETE: not everything could be listed:")
        reasons = Counter(problem.message for problem in report.problems)
        lines.extend(f"  {message}" for message, _ in reasons.most_common(_REASONS_SHOWN))
        lines.extend(
            f"  {hint}" for hint in dict.fromkeys(problem.hint for problem in report.problems) if hint
        )
    return lines


def place_name(name: str, identifier: str) -> str:
    """A project or workspace by name and id, or by id alone."""
    shown = printable(identifier, limit=80) or "(no project)"
    return f"{printable(name, limit=60)} ({shown})" if name else shown


def format_bytes(size: float) -> str:
    """Bytes for people, in powers of 1000: `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """A duration for people: `3.9 s`, `2 min 05 s`, `1 h 07 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def format_cost(cost: float) -> str:
    """What new runs cost to generate, or nothing where that is not known."""
    return f", generated for ${cost:.2f}" if cost >= 0.005 else ""


def _count(things: int | tuple[object, ...], noun: str) -> str:
    number = things if isinstance(things, int) else len(things)
    return f"{number} {noun}{'' if number == 1 else 's'}"

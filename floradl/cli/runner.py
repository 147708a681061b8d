"""Running a job with everything around it: log file, monitor, summary, report, command afterwards.

The order is fixed:

1. The monitor (`--ping-url`) is told that the job begins.
2. The job runs.
3. Its summary goes to standard error.
4. The command of `--exec-after` runs, with the JSON report on its standard input.
5. With `--json` the report goes to standard output.
6. The monitor is told the exit code. It comes last because 4 and 5 can still change the exit code.

A job that ends by an error, a refused key or the first signal goes through all of this too. A second signal
ends the process at once, and the monitor is not told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from floradl.cli.config import Settings
from floradl.cli.context import Interruption, catch_signals, expanded
from floradl.cli.json_output import write_json
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.errors import Exit, FloradlError, UsageError, printable
from floradl.version import __version__

if TYPE_CHECKING:  # loaded only where they are asked for
    from floradl.cli.healthcheck import Healthcheck
    from floradl.cli.logfile import LogFile


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        exit_code: the job's; the command of `--exec-after` may turn a 0 into another.
        report: the object that `--json` prints.
        lines: the summary for people.
        is_good: whether the user has to do nothing; with `--quiet` only other summaries are shown.
    """

    exit_code: int
    report: dict[str, object]
    lines: list[str]
    is_good: bool


Job = Callable[[Interruption], Awaitable[Outcome]]
"""The work of a command: a coroutine function that gets the signals which come."""


def run_job(
    settings: Settings,
    command: str,
    folders: Sequence[Path],
    prepare: Callable[[Console], Job],
    *,
    meanwhile: str = "running transfers get 10 s to finish",
    is_rehearsal: bool = False,
) -> int:
    """Run a command's job by the steps in this module's docstring.

    Args:
        settings: the command's.
        command: its name.
        folders: the archives that the job works on; the log file may not lie in them.
        prepare: makes the job from the settings. It is called before there is an event loop, so that a key
            can be asked for; a `UsageError` that it raises is reported like one of the job.
        meanwhile: what is said after the first signal: what the user is waiting for then.
        is_rehearsal: whether the job changes nothing (`--dry-run`): monitor and command are not told then.

    Returns:
        The exit code.
    """
    with ExitStack() as stack:
        log, wrong = None, None
        try:
            log = _open_log(settings.log_file, folders, Clock())
        except UsageError as exc:
            wrong = exc  # reported by the job below, so that the monitor is told too
        if log is not None:
            stack.enter_context(log)
        console = stack.enter_context(
            Console(
                quiet=settings.quiet, verbose=settings.verbose, progress=not settings.no_progress, log=log
            )
        )
        name = " ".join(("floradl", command, *map(str, folders)))
        console.note(logging.INFO, "begin", f"{name} (floradl {__version__})")
        job_runner = _Runner(settings, command, name, console)
        try:
            if not is_rehearsal:
                job_runner.set_up(settings)
            job = prepare(console) if wrong is None else _raising(wrong)
        except UsageError as exc:
            job = _raising(exc)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(job_runner.run(job, meanwhile))


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop, which is faster, where it is installed; else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def code_of(exit_code: Exit, interruption: Interruption, *, is_interrupted: bool) -> int:
    """The exit code of a job: its own, or 128 plus the signal's number where a signal ended it.

    Args:
        exit_code: what the job's result means.
        interruption: the signals that came.
        is_interrupted: whether the job ended early because of a signal.
    """
    if is_interrupted and interruption.number is not None:
        return 128 + interruption.number
    return int(exit_code)


def error_object(command: str, error: FloradlError, exit_code: int) -> dict[str, object]:
    """The object that `--json` prints for a job that an error ended; docs/report.schema.json describes it."""
    return {
        "format": "floradl-error",
        "version": 1,
        "command": command,
        "exit_code": exit_code,
        "interrupted": exit_code > 128,
        "message": error.message,
        "hint": error.hint,
    }


class _Runner:
    """One job on its way through all steps."""

    def __init__(self, settings: Settings, command: str, name: str, console: Console) -> None:
        self._command = command
        self._name = name
        self._console = console
        self._has_json = settings.json
        self._command_words: tuple[str, ...] = ()
        self._healthcheck: Healthcheck | None = None

    def set_up(self, settings: Settings) -> None:
        """Set up the monitor and the command that the settings name.

        Raises:
            UsageError: there is no such program.
        """
        if settings.ping_url:
            from floradl.cli.healthcheck import Healthcheck

            self._healthcheck = Healthcheck(settings.ping_url, Clock(), self._console.warn)
        if settings.exec_after:
            from floradl.cli.exec_after import parse_command

            self._command_words = parse_command(settings.exec_after)

    async def run(self, job: Job, meanwhile: str) -> int:
        """Run the job with everything around it; returns the exit code."""
        with catch_signals(self._console.warn, meanwhile=meanwhile) as interruption:
            starting = asyncio.ensure_future(
                self._begin()
            )  # beside the job: a slow monitor must not delay it
            exit_code, lines = int(Exit.FAILED), ["ended by an error of floradl's own, or of standard output"]
            try:
                outcome = await self._outcome(job, interruption)
                for line in outcome.lines:
                    (self._console.say if outcome.is_good else self._console.warn)(line)
                final = await self._run_command(outcome, interruption)
                if self._has_json:
                    write_json(outcome.report | {"exit_code": final})
                exit_code, lines = final, outcome.lines
            finally:
                await starting
                await self._end(exit_code, lines)
            return exit_code

    async def _begin(self) -> None:
        if self._healthcheck is not None:
            await self._healthcheck.start()

    async def _outcome(self, job: Job, interruption: Interruption) -> Outcome:
        try:
            return await job(interruption)
        except FloradlError as exc:
            code = code_of(exc.exit_code, interruption, is_interrupted=True)
            lines = [f"floradl: {exc.message}", *([f"  {exc.hint}"] if exc.hint else [])]
            return Outcome(code, error_object(self._command, exc, code), lines, is_good=False)

    async def _run_command(self, outcome: Outcome, interruption: Interruption) -> int:
        """Run the command of `--exec-after`, if there is one.

        Returns:
            The final exit code: a job that went well ends with 3 where the command failed.
        """
        if not self._command_words:
            return outcome.exit_code
        from floradl.cli.exec_after import run_after

        interruption.meanwhile = "the command of --exec-after is still at work"
        report = msgspec.json.encode(outcome.report)
        wrong = await asyncio.to_thread(
            run_after, self._command_words, report, outcome.exit_code, interruption.on_exit
        )
        if not wrong:
            return outcome.exit_code
        self._console.warn(f"--exec-after: {wrong}")
        return outcome.exit_code or int(Exit.INCOMPLETE)

    async def _end(self, exit_code: int, lines: Sequence[str]) -> None:
        summary = [f"{self._name}: exit code {exit_code}", *lines]
        level = logging.ERROR if exit_code else logging.INFO
        self._console.note(level, "end", summary[0], exit_code=exit_code)
        if self._healthcheck is not None:
            await self._healthcheck.end(exit_code, summary)


def _raising(error: UsageError) -> Job:
    """A job that raises this error: the monitor must hear too of a job that could not even be prepared."""

    async def job(_: Interruption) -> Outcome:
        raise error

    return job


def _open_log(name: str | None, folders: Sequence[Path], clock: Clock) -> LogFile | None:
    """Open the log file that the settings name; None where they name none.

    Raises:
        UsageError: it cannot be written, or would lie in an archive, where `verify` would call it a stray.
    """
    if not name:
        return None
    from floradl.cli.logfile import LogFile

    path = expanded(name, what="--log-file")
    for folder in folders:
        if path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"the log file {printable(str(path))} would lie inside the archive {printable(str(folder))}",
                hint="Let it lie beside the archive: what is in there is checked, copied and counted.",
            )
    return LogFile(path, clock)

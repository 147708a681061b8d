"""What surrounds a job: who hears of it, however it ends.

In this order: the monitor hears that it begins; the job; its summary on stderr; the command of
`--exec-after`; the report on stdout; the monitor hears how it ended, after all that can still change the exit
code. An error, a refused key and the first signal end a job like any other end. A second signal ends the
process there and then, and the monitor hears nothing more.
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
from floradl.cli.context import Interruption, catch_signals, expanded, write_line
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
        exit_code: the command's, as far as the job decides.
        report: for `--json`.
        lines: the summary for people.
        is_good: whether there is nothing that anybody has to do.
    """

    exit_code: int
    report: dict[str, object]
    lines: list[str]
    is_good: bool


Job = Callable[[Interruption], Awaitable[Outcome]]
"""A command's work, told of signals."""


def conduct(
    settings: Settings,
    command: str,
    folders: Sequence[Path],
    prepare: Callable[[Console], Job],
    *,
    meanwhile: str = "running transfers get 10 s to finish",
    is_rehearsal: bool = False,
) -> int:
    """Do a command's job, and tell everybody who wants to hear of it.

    Args:
        settings: of the command.
        command: its name.
        folders: the archives that it is about; no log file lies in them.
        prepare: makes the job from the settings, before there is an event loop; `UsageError` where it cannot.
        meanwhile: what goes on after the first signal.
        is_rehearsal: whether nothing is done, so that no monitor and no command needs to know.

    Returns:
        The exit code.
    """
    with ExitStack() as stack:
        log, wrong = None, None
        try:
            log = _open_log(settings.log_file, folders, Clock())
        except UsageError as exc:
            wrong = exc  # the monitor hears of it first
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
                job_runner.announce_to(settings)
            job = prepare(console) if wrong is None else _raising(wrong)
        except UsageError as exc:
            job = _raising(exc)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(job_runner.run(job, meanwhile))


def _new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def code_of(exit_code: Exit, interruption: Interruption, *, is_interrupted: bool) -> int:
    """The exit code of a job that was perhaps interrupted."""
    if is_interrupted and interruption.number is not None:
        return 128 + interruption.number
    return int(exit_code)


def error_object(command: str, error: FloradlError, exit_code: int) -> dict[str, object]:
    """The report of a job that an error ended; docs/report.schema.json describes it."""
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
    """The way of one job."""

    def __init__(self, settings: Settings, command: str, name: str, console: Console) -> None:
        self._command = command
        self._name = name
        self._console = console
        self._has_json = settings.json
        self._words: tuple[str, ...] = ()
        self._monitor: Healthcheck | None = None

    def announce_to(self, settings: Settings) -> None:
        """Let the monitor and the command hear of it that the settings name.

        Raises:
            UsageError: there is no such command.
        """
        if settings.ping_url:
            from floradl.cli.healthcheck import Healthcheck

            self._monitor = Healthcheck(settings.ping_url, Clock(), self._console.warn)
        if settings.exec_after:
            from floradl.cli.exec_after import parse_command

            self._words = parse_command(settings.exec_after)

    async def run(self, job: Job, meanwhile: str) -> int:
        """Do the job and all that surrounds it."""
        with catch_signals(self._console.warn, meanwhile=meanwhile) as interruption:
            starting = asyncio.ensure_future(self._begin())  # a slow monitor keeps no job waiting
            exit_code, lines = int(Exit.FAILED), ["ended by an error of floradl's own, or of standard output"]
            try:
                outcome = await self._outcome(job, interruption)
                for line in outcome.lines:
                    (self._console.say if outcome.is_good else self._console.warn)(line)
                final = await self._run_command(outcome, interruption)
                if self._has_json:
                    write_line(msgspec.json.encode(outcome.report | {"exit_code": final}))
                exit_code, lines = final, outcome.lines
            finally:
                await starting
                await self._end(exit_code, lines)
            return exit_code

    async def _begin(self) -> None:
        if self._monitor is not None:
            await self._monitor.start()

    async def _outcome(self, job: Job, interruption: Interruption) -> Outcome:
        try:
            return await job(interruption)
        except FloradlError as exc:
            code = code_of(exc.exit_code, interruption, is_interrupted=True)
            lines = [f"floradl: {exc.message}", *([f"  {exc.hint}"] if exc.hint else [])]
            return Outcome(code, error_object(self._command, exc, code), lines, is_good=False)

    async def _run_command(self, outcome: Outcome, interruption: Interruption) -> int:
        """Run the command of `--exec-after`, if there is one; the exit code with which the job ends."""
        if not self._words:
            return outcome.exit_code
        from floradl.cli.exec_after import run_after

        interruption.meanwhile = "the command of --exec-after is still at work"
        report = msgspec.json.encode(outcome.report)
        wrong = await asyncio.to_thread(
            run_after, self._words, report, outcome.exit_code, interruption.leave_by
        )
        if not wrong:
            return outcome.exit_code
        self._console.warn(f"--exec-after: {wrong}")
        return outcome.exit_code or int(Exit.INCOMPLETE)

    async def _end(self, exit_code: int, lines: Sequence[str]) -> None:
        summary = [f"{self._name}: exit code {exit_code}", *lines]
        level = logging.ERROR if exit_code else logging.INFO
        self._console.note(level, "end", summary[0], exit_code=exit_code)
        if self._monitor is not None:
            await self._monitor.end(exit_code, summary)


def _raising(error: UsageError) -> Job:
    """A job that could not be prepared: who waits for the night's job wants to hear of that too."""

    async def job(_: Interruption) -> Outcome:
        raise error

    return job


def _open_log(name: str | None, folders: Sequence[Path], clock: Clock) -> LogFile | None:
    """The log file that the settings name.

    Raises:
        UsageError: it cannot be written, or lies in an archive, which holds nothing but what is archived.
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

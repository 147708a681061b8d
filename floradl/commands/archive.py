"""`floradl archive`: the main job at the command line."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

import msgspec

from floradl import net
from floradl.archiver import archive
from floradl.clock import Clock
from floradl.commands.context import catch_signals, open_api
from floradl.config import Settings, parse_moment_ms
from floradl.errors import Exit, FloradlError, UsageError, printable
from floradl.job import ArchiveOptions, report_object
from floradl.model import EVERYTHING, TYPE_WORDS, Filters, Scope
from floradl.plan import Action, Decision, run_folder
from floradl.pool import Tally
from floradl.preview import Preview, iter_previews
from floradl.progress import Console, summary_lines


def run(settings: Settings, dest: str) -> int:
    """Archive what the settings name into `dest`."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose, progress=not settings.no_progress)
    options = archive_options(settings, dest, Clock())
    if settings.dry_run:
        return asyncio.run(_preview(settings, options, console))
    return asyncio.run(_archive(settings, options, console))


def archive_options(settings: Settings, dest: str, clock: Clock) -> ArchiveOptions:
    """The job that the settings describe.

    Raises:
        UsageError: a value does not fit.
    """
    filters = Filters(
        run_ids=frozenset(settings.run_id),
        types=frozenset(TYPE_WORDS[word] for word in settings.type),
        models=tuple(settings.model),
        since_ms=_moment(settings.since, "--since", clock),
        until_ms=_moment(settings.until, "--until", clock),
        max_runs=settings.max_runs,
    )
    return ArchiveOptions(
        dest=Path(dest).expanduser(),
        base_url=net.check_base_url(settings.base_url),
        scopes=scopes(settings.workspace_id, settings.project_id),
        filters=filters,
        concurrency=settings.concurrency,
        retries=settings.retries,
        timeout_s=settings.timeout,
        full=settings.full,
        wait_s=settings.wait,
        fsync=not settings.no_fsync,
        lock_timeout_s=settings.lock_timeout,
    )


def scopes(workspace_ids: tuple[str, ...], project_ids: tuple[str, ...]) -> tuple[Scope, ...]:
    """What to list: any of the workspaces and any of the projects; everything when there are none."""
    return tuple(
        dict.fromkeys(
            Scope(workspace_id, project_id)
            for workspace_id in workspace_ids or (None,)
            for project_id in project_ids or (None,)
        )
    ) or (EVERYTHING,)


async def _archive(settings: Settings, options: ArchiveOptions, console: Console) -> int:
    clock, tally = Clock(), Tally()
    with catch_signals(console.warn) as interruption:
        try:
            async with open_api(settings, clock) as api, console.watch(tally):
                report = await archive(options, api, clock=clock, stop=interruption.stop, tally=tally)
        except FloradlError as exc:
            if interruption.number is None:
                raise
            console.error(exc)
            return 128 + interruption.number
    exit_code = int(report.exit_code)
    if report.is_interrupted and interruption.number is not None:
        exit_code = 128 + interruption.number
    for line in summary_lines(report, str(options.dest)):
        (console.say if report.is_complete else console.warn)(line)
    if settings.json:
        sys.stdout.buffer.write(msgspec.json.encode(report_object(report, exit_code)) + b"\n")
        sys.stdout.flush()
    return exit_code


async def _preview(settings: Settings, options: ArchiveOptions, console: Console) -> int:
    """Say on stdout, a line an output, what would be done; with `--json` each line is an object."""
    clock, done, rest = Clock(), 0, 0
    async with (
        open_api(settings, clock) as api,
        aclosing(iter_previews(options, api, clock=clock)) as previews,
    ):
        async for preview in previews:
            for decision in preview.decisions:
                if decision.action == Action.SKIP:
                    done += 1
                else:
                    rest += 1
                    print(_preview_line(preview, decision, as_json=settings.json))
    console.say(f"{rest} outputs to fetch, {done} already there. Nothing was touched.")
    return int(Exit.OK)


def _preview_line(preview: Preview, decision: Decision, *, as_json: bool) -> str:
    path = str(run_folder(preview.run))
    if as_json:
        line = {"action": decision.action, "path": path, "output": decision.output.key}
        return msgspec.json.encode(line | {"type": decision.output.type}).decode()
    kind = printable(decision.output.type, limit=40)
    return f"{decision.action:<7} {path} {printable(decision.output.key, limit=80)} {kind}"


def _moment(text: str | None, flag: str, clock: Clock) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment_ms(text, clock.now_ms())
    except ValueError as exc:
        raise UsageError(f"{flag}: {text!r} does not fit: {exc}") from exc

"""`floradl archive`: the main job at the command line."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from floradl import net
from floradl.api import FloraApi
from floradl.archiver import archive
from floradl.clock import Clock
from floradl.commands.context import catch_signals, expanded, filters_of, open_api, scopes_of, write_line
from floradl.config import Settings
from floradl.errors import Exit, FloradlError, printable
from floradl.job import ArchiveOptions, Tally, preview_report, report_object
from floradl.plan import Action, Decision, run_folder
from floradl.progress import Console, summary_lines

if TYPE_CHECKING:
    from floradl.preview import Preview


def run(settings: Settings, dest: str) -> int:
    """Archive what the settings name into `dest`."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose, progress=not settings.no_progress)
    options = archive_options(settings, dest, Clock())
    # Before there is an event loop: the key may be typed in, and Ctrl-C should end that.
    api = open_api(settings, Clock(), console.warn)
    if settings.dry_run:
        return asyncio.run(_preview(settings, options, api, console))
    return asyncio.run(_archive(settings, options, api, console))


def archive_options(settings: Settings, dest: str, clock: Clock) -> ArchiveOptions:
    """The job that the settings describe.

    Raises:
        UsageError: a value does not fit.
    """
    return ArchiveOptions(
        dest=expanded(dest),
        base_url=net.check_base_url(settings.base_url),
        scopes=scopes_of(settings.workspace_id, settings.project_id),
        filters=filters_of(settings, clock),
        concurrency=settings.concurrency,
        retries=settings.retries,
        timeout_s=settings.timeout,
        full=settings.full,
        wait_s=settings.wait,
        fsync=not settings.no_fsync,
        lock_timeout_s=settings.lock_timeout,
        min_free_bytes=settings.min_free,
        require_existing=settings.require_existing,
        limit_rate_bytes=settings.limit_rate,
    )


async def _archive(settings: Settings, options: ArchiveOptions, api: FloraApi, console: Console) -> int:
    clock, tally = Clock(), Tally()
    with catch_signals(console.warn) as interruption:
        try:
            async with api, console.watch(tally, tally.failures):
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
    if settings.gallery and not report.is_interrupted:
        from floradl.commands.gallery import bring_up_to_date

        exit_code = await bring_up_to_date(settings, options.dest, console) or exit_code
    if settings.json:
        write_line(msgspec.json.encode(report_object(report, exit_code)))
    return exit_code


async def _preview(settings: Settings, options: ArchiveOptions, api: FloraApi, console: Console) -> int:
    """Say on stdout, a line an output, what would be done; with `--json` all in one object."""
    from floradl.preview import iter_previews

    already, rest, found = 0, [], set()
    async with api, aclosing(iter_previews(options, api, clock=Clock())) as previews:
        async for preview in previews:
            found.add(preview.run.run_id)
            for decision in preview.decisions:
                if decision.action == Action.SKIP:
                    already += 1
                    continue
                rest.append(_preview_object(preview, decision))
                if not settings.json:
                    shown = {name: printable(value, limit=120) for name, value in rest[-1].items()}
                    write_line("{action:<7} {path} {output} {type}".format(**shown).encode())
    missing = sorted(options.filters.run_ids - found)
    for run_id in missing:
        console.warn(f"not found: {printable(run_id)}")
    exit_code = Exit.INCOMPLETE if missing else Exit.OK
    if settings.json:
        write_line(msgspec.json.encode(preview_report(rest, already, missing, int(exit_code))))
    console.say(f"{len(rest)} outputs to fetch, {already} already there. Nothing was touched.")
    return int(exit_code)


def _preview_object(preview: Preview, decision: Decision) -> dict[str, str]:
    path, output = str(run_folder(preview.run)), decision.output
    return {"action": decision.action.value, "path": path, "output": output.key, "type": output.type}

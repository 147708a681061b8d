"""`floradl archive`: the main job at the command line."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import floradl
from floradl import ArchiveOptions, FloraApi, Tally
from floradl.cli.config import Settings
from floradl.cli.context import (
    Interruption,
    expanded,
    filters_of,
    open_api,
    scopes_of,
    sources_of,
    write_line,
)
from floradl.cli.reports.archive import preview_report, report_object, summary_lines
from floradl.cli.runner import Job, Outcome, code_of, run_job
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.constants import DEFAULT_SOURCES, EVERY_SOURCE, Source
from floradl.download.plan import Action, Decision, run_folder
from floradl.errors import Exit, printable
from floradl.network import addresses
from floradl.tasks import ends_by_itself

if TYPE_CHECKING:
    from floradl.archiver.preview import Preview


def run(settings: Settings, dest: str) -> int:
    """Archive what the settings name into `dest`."""

    def prepare(console: Console) -> Job:
        options = archive_options(settings, dest, Clock())
        # Here, where there is no event loop yet: the key may be read from standard input, and Ctrl-C has to
        # end that. In the event loop Ctrl-C would only ask the job to stop.
        api = open_api(settings, Clock(), console.warn)
        if settings.dry_run:
            return partial(_preview, options, api, settings.json)
        return partial(_archive, options, api, console, settings.gallery)

    return run_job(settings, "archive", [expanded(dest)], prepare, is_rehearsal=settings.dry_run)


def archive_options(settings: Settings, dest: str, clock: Clock) -> ArchiveOptions:
    """The options of the job that the settings describe.

    Raises:
        UsageError: a value cannot be used.
    """
    return ArchiveOptions(
        dest=expanded(dest),
        base_url=addresses.check_base_url(settings.base_url),
        scopes=scopes_of(settings.workspace_id, settings.project_id),
        sources=sources_of(settings.source) or DEFAULT_SOURCES,
        required_sources=frozenset(Source(word) for word in settings.source if word != EVERY_SOURCE),
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


async def _archive(
    options: ArchiveOptions, api: FloraApi, console: Console, has_gallery: bool, interruption: Interruption
) -> Outcome:
    tally = Tally()
    async with api, console.watch(tally, tally.failures):
        report = await floradl.archive(options, api, stop=interruption.stop, tally=tally)
    exit_code = code_of(report.exit_code, interruption, is_interrupted=report.is_interrupted)
    lines, is_good = summary_lines(report, str(options.dest)), report.is_complete
    if has_gallery and not report.is_interrupted:
        from floradl.cli.commands.gallery import make_afterwards

        made = await make_afterwards(options, console, interruption)
        exit_code, is_good = exit_code or made.exit_code, is_good and made.is_good
        lines += made.lines
    return Outcome(exit_code, report_object(report, exit_code), lines, is_good=is_good)


async def _preview(
    options: ArchiveOptions, api: FloraApi, has_json: bool, interruption: Interruption
) -> Outcome:
    """List what would be fetched or written: a line on stdout for each output, or all in the report."""
    from floradl.archiver.preview import iter_previews

    already, to_do, seen = 0, list[dict[str, str]](), set[str]()

    async def collect() -> None:
        nonlocal already
        async with api, aclosing(iter_previews(options, api, clock=Clock())) as previews:
            async for preview in previews:
                seen.add(preview.run.run_id)
                due = [decision for decision in preview.decisions if decision.action != Action.SKIP]
                already += len(preview.decisions) - len(due)
                for decision in due:
                    to_do.append(_preview_object(preview, decision))
                    if not has_json:
                        shown = {name: printable(value, limit=120) for name, value in to_do[-1].items()}
                        write_line("{action:<7} {path} {output} {type}".format(**shown).encode())

    is_interrupted = not await ends_by_itself(collect(), interruption.stop)
    missing = [] if is_interrupted else sorted(options.filters.run_ids - seen)
    lines = [f"not found: {printable(run_id)}" for run_id in missing]
    if is_interrupted:
        lines.append("Stopped before the end.")
    lines.append(f"{len(to_do)} outputs to fetch, {already} already there. Nothing was touched.")
    is_good = not missing and not is_interrupted
    exit_code = code_of(Exit.OK if is_good else Exit.INCOMPLETE, interruption, is_interrupted=is_interrupted)
    report = preview_report(to_do, already, missing, exit_code, is_interrupted=is_interrupted)
    return Outcome(exit_code, report, lines, is_good=is_good)


def _preview_object(preview: Preview, decision: Decision) -> dict[str, str]:
    path, output = str(run_folder(preview.run)), decision.output
    return {"action": decision.action.value, "path": path, "output": output.key, "type": output.type}

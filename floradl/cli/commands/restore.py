"""`floradl restore`: copies files out of an archive into another, or into a flat folder."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import floradl
from floradl import FloraApi, RestoreOptions, Tally, Way
from floradl.cli.config import Settings
from floradl.cli.context import Interruption, expanded, filters_of, open_api, scopes_of, sources_of
from floradl.cli.reports.restore import restore_lines, restore_object
from floradl.cli.runner import Job, Outcome, code_of, run_job
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.constants import Source
from floradl.errors import UsageError
from floradl.network import addresses


def run(settings: Settings, source: str, dest: str) -> int:
    """Restore what the settings name from `source` into `dest`."""

    def prepare(console: Console) -> Job:
        options = restore_options(settings, source, dest, Clock())
        api = open_api(settings, Clock(), console.warn) if settings.has_api_key else None
        return partial(_restore, options, api, console)

    return run_job(settings, "restore", [expanded(source), expanded(dest)], prepare)


def restore_options(settings: Settings, source: str, dest: str, clock: Clock) -> RestoreOptions:
    """The options of the job that the settings describe.

    Raises:
        UsageError: a value cannot be used.
    """
    if settings.reflink and settings.hard_link:
        raise UsageError("--reflink and --hard-link exclude each other")
    way = Way.REFLINK if settings.reflink else Way.HARD_LINK if settings.hard_link else Way.COPY
    return RestoreOptions(
        source=expanded(source),
        dest=expanded(dest),
        base_url=addresses.check_base_url(settings.base_url),
        scopes=scopes_of(settings.workspace_id, settings.project_id),
        filters=filters_of(settings, clock),
        sources=sources_of(settings.restore_source) or tuple(Source),
        way=way,
        is_flat=settings.flat,
        concurrency=settings.concurrency,
        retries=settings.retries,
        timeout_s=settings.timeout,
        fsync=not settings.no_fsync,
        lock_timeout_s=settings.lock_timeout,
        min_free_bytes=settings.min_free,
        limit_rate_bytes=settings.limit_rate,
    )


async def _restore(
    options: RestoreOptions, api: FloraApi | None, console: Console, interruption: Interruption
) -> Outcome:
    tally = Tally()
    async with AsyncExitStack() as stack:
        if api is not None:
            await stack.enter_async_context(api)
        await stack.enter_async_context(console.watch(tally, tally.failures))
        report = await floradl.restore(options, api, stop=interruption.stop, tally=tally)
    exit_code = code_of(report.exit_code, interruption, is_interrupted=report.is_interrupted)
    lines = restore_lines(report, str(options.dest), has_key=api is not None)
    return Outcome(exit_code, restore_object(report, exit_code), lines, is_good=report.is_complete)

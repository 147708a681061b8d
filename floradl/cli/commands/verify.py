"""`floradl verify`: checks an archive, and repairs it with `--repair`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import floradl
from floradl import AuditReport, AuditTally, Sample, VerifyOptions
from floradl.cli.config import Settings
from floradl.cli.context import Interruption, expanded, open_api
from floradl.cli.reports.verify import audit_lines, audit_object
from floradl.cli.runner import Job, Outcome, code_of, run_job
from floradl.cli.ui.console import Console
from floradl.clock import Clock

if TYPE_CHECKING:  # a check needs no network, and HTTP takes as long to load as all the rest
    from floradl.api.client import FloraApi


def run(settings: Settings, dest: str) -> int:
    """Check the archive in `dest`; with `--repair` repair it too."""

    def prepare(console: Console) -> Job:
        options = VerifyOptions(
            expanded(dest), Sample(*settings.sample), lock_timeout_s=settings.lock_timeout
        )
        api = None
        if settings.repair and settings.has_api_key:
            api = open_api(settings, Clock(), console.warn)
        return partial(_verify, settings, options, api, console)

    meanwhile = "the report tells what was checked so far"
    return run_job(settings, "verify", [expanded(dest)], prepare, meanwhile=meanwhile)


async def _verify(
    settings: Settings,
    options: VerifyOptions,
    api: FloraApi | None,
    console: Console,
    interruption: Interruption,
) -> Outcome:
    report = await _report(settings, options, api, console, interruption)
    exit_code = code_of(report.exit_code, interruption, is_interrupted=report.is_interrupted)
    lines = audit_lines(report, str(options.dest))
    if settings.repair and api is None and not report.is_sound:
        lines.append("Without an API key only what the archive itself and its URLs give can be repaired.")
    return Outcome(exit_code, audit_object(report, exit_code), lines, is_good=report.is_sound)


async def _report(
    settings: Settings,
    options: VerifyOptions,
    api: FloraApi | None,
    console: Console,
    interruption: Interruption,
) -> AuditReport:
    tally = AuditTally()
    async with AsyncExitStack() as stack:
        if api is not None:
            await stack.enter_async_context(api)
        await stack.enter_async_context(console.watch(tally))
        if not settings.repair:
            return await floradl.verify(options, stop=interruption.stop, tally=tally)
        from floradl.network import addresses

        repair_options = floradl.RepairOptions(
            check=options,
            base_url=addresses.check_base_url(settings.base_url),
            concurrency=settings.concurrency,
            retries=settings.retries,
            timeout_s=settings.timeout,
            limit_rate_bytes=settings.limit_rate,
        )
        return await floradl.repair(repair_options, api, stop=interruption.stop, tally=tally)

"""`floradl verify`: a check of an archive at the command line, and its repair."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from floradl.audit import Sample
from floradl.clock import Clock
from floradl.commands.context import Interruption, catch_signals, expanded, open_api, write_line
from floradl.config import Settings
from floradl.errors import FloradlError
from floradl.findings import AuditReport, AuditTally, audit_object
from floradl.progress import Console, audit_lines
from floradl.verify import VerifyOptions, verify

if TYPE_CHECKING:  # a check needs no network, and HTTP is half of what takes long to load
    from floradl.api import FloraApi


def run(settings: Settings, dest: str) -> int:
    """Check the archive in `dest`; with `--repair` mend it too."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose, progress=not settings.no_progress)
    options = VerifyOptions(expanded(dest), Sample(*settings.sample), lock_timeout_s=settings.lock_timeout)
    api = None
    if settings.repair and settings.has_api_key:
        api = open_api(settings, Clock(), console.warn)
    return asyncio.run(_verify(settings, options, api, console))


async def _verify(settings: Settings, options: VerifyOptions, api: FloraApi | None, console: Console) -> int:
    meanwhile = "the report tells what was checked so far"
    with catch_signals(console.warn, meanwhile=meanwhile) as interruption:
        try:
            report = await _work(settings, options, api, console, interruption)
        except FloradlError as exc:
            if interruption.number is None:
                raise
            console.error(exc)
            return 128 + interruption.number
    exit_code = int(report.exit_code)
    if report.is_interrupted and interruption.number is not None:
        exit_code = 128 + interruption.number
    for line in audit_lines(report, str(options.dest)):
        (console.say if report.is_sound else console.warn)(line)
    if settings.repair and api is None and not report.is_sound:
        console.warn("Without an API key only what the archive itself and its URLs give can be repaired.")
    if settings.json:
        write_line(msgspec.json.encode(audit_object(report, exit_code)))
    return exit_code


async def _work(
    settings: Settings,
    options: VerifyOptions,
    api: FloraApi | None,
    console: Console,
    interruption: Interruption,
) -> AuditReport:
    clock, tally = Clock(), AuditTally()
    async with AsyncExitStack() as stack:
        if api is not None:
            await stack.enter_async_context(api)
        await stack.enter_async_context(console.watch(tally))
        if not settings.repair:
            return await verify(options, clock=clock, stop=interruption.stop, tally=tally)
        from floradl import net
        from floradl.repair import RepairOptions, repair

        how = RepairOptions(
            check=options,
            base_url=net.check_base_url(settings.base_url),
            concurrency=settings.concurrency,
            retries=settings.retries,
            timeout_s=settings.timeout,
            limit_rate_bytes=settings.limit_rate,
        )
        return await repair(how, api, clock=clock, stop=interruption.stop, tally=tally)

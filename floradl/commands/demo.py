"""`floradl demo`: the whole job against a local FLORA with a made-up account, over real HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

from floradl.api import FloraApi
from floradl.archiver import archive
from floradl.clock import Clock
from floradl.commands.context import catch_signals
from floradl.config import Settings
from floradl.job import ArchiveOptions, Report
from floradl.pool import Tally
from floradl.progress import Console, summary_lines
from floradl.simulator import Account, Simulator


def run(settings: Settings, dest: str) -> int:
    """Archive the demo account into `dest`, twice, and say what happened."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose)
    return asyncio.run(_demo(Path(dest), console))


async def _demo(dest: Path, console: Console) -> int:
    account = Account.demo()
    with catch_signals(console.warn) as interruption:
        async with Simulator(account) as simulator:
            exit_code = 0
            for title in (f"$ floradl {dest}", "The same again:"):
                console.say(title)
                simulator.forget()
                report = await _archive(dest, simulator, console, interruption.stop)
                for line in summary_lines(report, str(dest)):
                    console.say(f"  {line}")
                calls, media = len(simulator.api_requests()), len(simulator.media_requests())
                console.say(f"  {calls} requests to the API, {media} to the media host\n")
                exit_code = max(exit_code, int(report.exit_code))
                if interruption.number is not None:
                    return 128 + interruption.number
    console.say(f"Look at {dest}: a folder per workspace, project and run.")
    console.say(f"Check it without floradl: (cd {dest} && sha256sum -c SHA256SUMS)")
    return exit_code


async def _archive(dest: Path, simulator: Simulator, console: Console, stop: asyncio.Event) -> Report:
    clock, tally = Clock(), Tally()
    key = simulator.account.api_key
    async with (
        FloraApi(simulator.base_url, key, clock=clock, retries=5, timeout_s=60.0) as api,
        console.watch(tally),
    ):
        options = ArchiveOptions(dest, simulator.base_url)
        return await archive(options, api, clock=clock, stop=stop, tally=tally)

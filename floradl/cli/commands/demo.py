"""`floradl demo`: archives a made-up account from a FLORA on this machine (`simulator`), over real HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import floradl
from floradl import ArchiveOptions, FloraApi, Report, Tally
from floradl.cli.config import Settings
from floradl.cli.context import catch_signals, expanded
from floradl.cli.reports.archive import summary_lines
from floradl.cli.reports.gallery import gallery_lines
from floradl.cli.ui.console import Console
from floradl.clock import Clock
from floradl.constants import Source
from floradl.errors import UsageError
from floradl.network import addresses
from floradl.repository.repository import load_manifest
from floradl.simulator import Simulator, demo_account
from floradl.storage.destination import Destination


def run(settings: Settings, dest: str) -> int:
    """Archive the demo account into `dest` twice, and say what each run did."""
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        return asyncio.run(_demo(expanded(dest), console))


async def _demo(dest: Path, console: Console) -> int:
    await _refuse_real_archive(dest)
    account = demo_account()
    with catch_signals(console.warn) as interruption:
        async with Simulator(account) as simulator:
            exit_code = 0
            for title in (f"$ floradl --source all {dest}", "The same again:"):
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
    console.say("And its gallery:")
    for line in gallery_lines(await floradl.build_gallery(floradl.GalleryOptions(dest)), str(dest)):
        console.say(f"  {line}")
    console.say(f"\nLook at {dest}: a folder per workspace, project and run.")
    console.say(f"What it holds, by project, model, type and month: floradl status {dest}")
    console.say(f"Check it without floradl: (cd {dest} && sha256sum -c SHA256SUMS)")
    console.say(f"Open {(dest / 'index.html').absolute().as_uri()} in a browser.")
    return exit_code


async def _refuse_real_archive(dest: Path) -> None:
    """Raise `UsageError` if `dest` is an archive of a real account: made-up runs would be mixed into it."""
    disk = Destination(dest)
    try:
        manifest = await disk.call(load_manifest, disk, Clock())
    finally:
        disk.close()
    if len(manifest) and not addresses.is_loopback_host(urlsplit(manifest.base_url).hostname or ""):
        raise UsageError(f"{dest} holds a real archive", hint="Let the demo use a folder of its own.")


async def _archive(dest: Path, simulator: Simulator, console: Console, stop: asyncio.Event) -> Report:
    tally = Tally()
    key = simulator.account.api_key
    async with (
        FloraApi(simulator.base_url, key) as api,
        console.watch(tally, tally.failures),
    ):
        options = ArchiveOptions(dest, simulator.base_url, sources=tuple(Source))
        return await floradl.archive(options, api, stop=stop, tally=tally)

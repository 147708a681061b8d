"""`floradl gallery`: a page that shows the archive in any browser, at the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from floradl.clock import Clock
from floradl.commands.context import catch_signals, expanded, write_line
from floradl.config import Settings
from floradl.errors import FloradlError
from floradl.gallery import GalleryOptions, GalleryReport, GalleryTally, build_gallery, gallery_object
from floradl.progress import Console, gallery_lines


def run(settings: Settings, dest: str) -> int:
    """Make the gallery of the archive in `dest`, or bring it up to date."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose, progress=not settings.no_progress)
    return asyncio.run(_gallery(settings, expanded(dest), console))


async def _gallery(settings: Settings, dest: Path, console: Console) -> int:
    report, exit_code = await _build(settings, dest, console)
    if report is not None and settings.json:
        write_line(msgspec.json.encode(gallery_object(report, exit_code)))
    return exit_code


async def bring_up_to_date(settings: Settings, dest: Path, console: Console) -> int:
    """Make the gallery after another job on the same archive; the exit code."""
    return (await _build(settings, dest, console))[1]


async def _build(settings: Settings, dest: Path, console: Console) -> tuple[GalleryReport | None, int]:
    tally = GalleryTally()
    options = GalleryOptions(dest, fsync=not settings.no_fsync, lock_timeout_s=settings.lock_timeout)
    with catch_signals(console.warn) as interruption:
        try:
            async with console.watch(tally):
                report = await build_gallery(options, clock=Clock(), stop=interruption.stop, tally=tally)
        except FloradlError as exc:
            if interruption.number is None:
                raise
            console.error(exc)
            return None, 128 + interruption.number
    for line in gallery_lines(report, str(dest)):
        console.say(line)
    if report.outputs and not report.has_thumbnails:
        console.say("It shows the files themselves. With the extra `gallery` it has small pictures of them.")
    if report.is_interrupted and interruption.number is not None:
        return report, 128 + interruption.number
    return report, int(report.exit_code)

"""`floradl gallery`: builds a page that shows the archive in any browser."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import floradl
from floradl import GalleryOptions, GalleryTally
from floradl.cli.config import Settings
from floradl.cli.context import Interruption, expanded
from floradl.cli.reports.gallery import gallery_lines, gallery_object
from floradl.cli.runner import Job, Outcome, code_of, error_object, run_job
from floradl.cli.ui.console import Console
from floradl.errors import FloradlError

if TYPE_CHECKING:
    from floradl.archiver.options import ArchiveOptions


def run(settings: Settings, dest: str) -> int:
    """Build the gallery of the archive in `dest`, or bring it up to date."""
    folder = expanded(dest)
    options = GalleryOptions(folder, fsync=not settings.no_fsync, lock_timeout_s=settings.lock_timeout)

    def prepare(console: Console) -> Job:
        return partial(_make, options, console)

    meanwhile = "the gallery stays as it was"
    return run_job(settings, "gallery", [folder], prepare, meanwhile=meanwhile)


async def make_afterwards(options: ArchiveOptions, console: Console, interruption: Interruption) -> Outcome:
    """Build the gallery after an archive job. An error of the build is returned, not raised: the job has
    succeeded by then, and its report must still be printed."""
    of_gallery = GalleryOptions(options.dest, fsync=options.fsync, lock_timeout_s=options.lock_timeout_s)
    try:
        return await _make(of_gallery, console, interruption)
    except FloradlError as exc:
        code = code_of(exc.exit_code, interruption, is_interrupted=True)
        lines = [f"The gallery could not be made: {exc.message}", *([f"  {exc.hint}"] if exc.hint else [])]
        return Outcome(code, error_object("gallery", exc, code), lines, is_good=False)


async def _make(options: GalleryOptions, console: Console, interruption: Interruption) -> Outcome:
    tally = GalleryTally()
    async with console.watch(tally):
        report = await floradl.build_gallery(options, stop=interruption.stop, tally=tally)
    exit_code = code_of(report.exit_code, interruption, is_interrupted=report.is_interrupted)
    lines = gallery_lines(report, str(options.dest))
    return Outcome(exit_code, gallery_object(report, exit_code), lines, is_good=not report.is_interrupted)

"""floradl: archive everything a FLORA account has generated.

The jobs of the command line as a typed, asynchronous API; docs/python.md shows each:

    async with floradl.FloraApi(floradl.DEFAULT_BASE_URL, key) as api:
        report = await floradl.archive(floradl.ArchiveOptions(Path("out")), api)

Names are imported when they are first used, so that `import floradl` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from floradl.api.client import FloraApi
    from floradl.api.models import Filters, Generation, Output, Scope
    from floradl.archiver.options import ArchiveOptions
    from floradl.archiver.report import Report
    from floradl.checker.audit import Sample
    from floradl.checker.findings import AuditReport, AuditTally, Finding, Trouble
    from floradl.checker.repair import RepairOptions
    from floradl.checker.verify import VerifyOptions
    from floradl.clock import Clock
    from floradl.constants import DEFAULT_BASE_URL, OutputType, Source, Status
    from floradl.download.tally import Tally
    from floradl.errors import (
        ApiError,
        DestinationError,
        FloradlError,
        KeyRefusedError,
        LockedError,
        UsageError,
    )
    from floradl.gallery.report import GalleryOptions, GalleryReport, GalleryTally
    from floradl.jobs import Progress, archive, build_gallery, iter_generations, repair, restore, verify
    from floradl.repository.results import Failure
    from floradl.restorer.copying import Way
    from floradl.restorer.restore import RestoreOptions, RestoreReport
    from floradl.version import __version__

__all__ = [
    "DEFAULT_BASE_URL",
    "ApiError",
    "ArchiveOptions",
    "AuditReport",
    "AuditTally",
    "Clock",
    "DestinationError",
    "Failure",
    "Filters",
    "Finding",
    "FloraApi",
    "FloradlError",
    "GalleryOptions",
    "GalleryReport",
    "GalleryTally",
    "Generation",
    "KeyRefusedError",
    "LockedError",
    "Output",
    "OutputType",
    "Progress",
    "RepairOptions",
    "Report",
    "RestoreOptions",
    "RestoreReport",
    "Sample",
    "Scope",
    "Source",
    "Status",
    "Tally",
    "Trouble",
    "UsageError",
    "VerifyOptions",
    "Way",
    "__version__",
    "archive",
    "build_gallery",
    "iter_generations",
    "repair",
    "restore",
    "verify",
]

_HOMES = {
    "__version__": "version",
    "ApiError": "errors",
    "ArchiveOptions": "archiver.options",
    "AuditReport": "checker.findings",
    "AuditTally": "checker.findings",
    "Clock": "clock",
    "DEFAULT_BASE_URL": "constants",
    "DestinationError": "errors",
    "Failure": "repository.results",
    "Filters": "api.models",
    "Finding": "checker.findings",
    "FloraApi": "api.client",
    "FloradlError": "errors",
    "GalleryOptions": "gallery.report",
    "GalleryReport": "gallery.report",
    "GalleryTally": "gallery.report",
    "Generation": "api.models",
    "KeyRefusedError": "errors",
    "LockedError": "errors",
    "Output": "api.models",
    "OutputType": "constants",
    "Progress": "jobs",
    "RepairOptions": "checker.repair",
    "Report": "archiver.report",
    "RestoreOptions": "restorer.restore",
    "RestoreReport": "restorer.restore",
    "Sample": "checker.audit",
    "Scope": "api.models",
    "Source": "constants",
    "Status": "constants",
    "Tally": "download.tally",
    "Trouble": "checker.findings",
    "UsageError": "errors",
    "VerifyOptions": "checker.verify",
    "Way": "restorer.copying",
    "archive": "jobs",
    "build_gallery": "jobs",
    "iter_generations": "jobs",
    "repair": "jobs",
    "restore": "jobs",
    "verify": "jobs",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib's function, which -X importtime does not see.
    return getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)

"""floradl: archive everything a FLORA account has generated.

The jobs of the command line as a typed, asynchronous API:

    async with floradl.FloraApi(url, key, clock=floradl.Clock(), retries=5, timeout_s=60) as api:
        report = await floradl.archive(floradl.ArchiveOptions(Path("out"), url), api)

Names are imported when they are first used, so that `import floradl` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from floradl.api import FloraApi
    from floradl.archiver import archive
    from floradl.clock import Clock
    from floradl.errors import FloradlError
    from floradl.job import ArchiveOptions, Report, Tally
    from floradl.model import Filters, Generation, Scope

__version__ = "0.1.0"

__all__ = [
    "ArchiveOptions",
    "Clock",
    "Filters",
    "FloraApi",
    "FloradlError",
    "Generation",
    "Report",
    "Scope",
    "Tally",
    "__version__",
    "archive",
]

_HOMES = {
    "ArchiveOptions": "job",
    "Clock": "clock",
    "Filters": "model",
    "FloraApi": "api",
    "FloradlError": "errors",
    "Generation": "model",
    "Report": "job",
    "Scope": "model",
    "Tally": "job",
    "archive": "archiver",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

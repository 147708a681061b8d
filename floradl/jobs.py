"""The jobs as functions, for other programs and for floradl's own commands. docs/python.md has examples.

Each takes options, does everything that its command does, and returns a report. An error of one output is a
line of the report; only an error that stops the job raises, a `FloradlError` that says what to do. A callback
that gets a `Progress` can watch each job, and an event ends it early.

The modules of a job are imported when it is called: `import floradl` and `--help` must stay fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from floradl.api.client import FloraApi
    from floradl.api.models import Generation, Scope
    from floradl.archiver.options import ArchiveOptions
    from floradl.archiver.report import Report
    from floradl.checker.findings import AuditReport, AuditTally
    from floradl.checker.repair import RepairOptions
    from floradl.checker.verify import VerifyOptions
    from floradl.constants import Status
    from floradl.download.tally import Tally
    from floradl.errors import ApiError
    from floradl.gallery.report import GalleryOptions, GalleryReport, GalleryTally
    from floradl.restorer.restore import RestoreOptions, RestoreReport

PROGRESS_EVERY_S = 0.5
"""How often a callback is called."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Args:
        runs: found so far.
        is_listed: whether these are all, so that `outputs` is final.
        outputs: of these runs.
        done: outputs about which nothing is left to do, those that were there before included.
        failed: outputs with something wrong; they are done too.
        moved_bytes: fetched, read or copied.
    """

    runs: int
    is_listed: bool
    outputs: int
    done: int
    failed: int
    moved_bytes: int


OnProgress = Callable[[Progress], None]
"""Called on the event loop every half a second, and once more when the job has ended. It must not block; what
it raises comes out of the job, which then ends as if it were cancelled."""


async def archive(
    options: ArchiveOptions,
    api: FloraApi,
    *,
    progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    tally: Tally | None = None,
) -> Report:
    """Archive what an account has generated, fetching only what is missing: `floradl archive`.

    Args:
        options: what to archive, and how.
        api: an open session with the API.
        progress: called with how far the job is.
        stop: set it to end early; running transfers get 10 s.
        tally: kept up to date meanwhile, for callers that need more numbers than `progress` gets.

    Raises:
        DestinationError: the folder cannot be used; `LockedError`: another floradl uses it.
        ApiError: not one page could be read; `KeyRefusedError`: the API does not take this key.
    """
    from floradl.archiver.archive import archive as work
    from floradl.download.tally import Tally

    tally = tally or Tally()
    async with _reporting_to(progress, tally):
        return await work(options, api, stop=stop, tally=tally)


async def verify(
    options: VerifyOptions,
    *,
    progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    tally: AuditTally | None = None,
) -> AuditReport:
    """Check an archive, and change nothing: `floradl verify`. Needs neither network nor key.

    Args:
        options: which archive, and how much of it.
        progress, stop, tally: as for `archive`.

    Raises:
        DestinationError: there is no archive, or it cannot be read; `LockedError`: it is being changed.
    """
    from floradl.checker.findings import AuditTally
    from floradl.checker.verify import verify as work

    tally = tally or AuditTally()
    async with _reporting_to(progress, tally):
        return await work(options, stop=stop, tally=tally)


async def repair(
    options: RepairOptions,
    api: FloraApi | None,
    *,
    progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    tally: AuditTally | None = None,
) -> AuditReport:
    """Check an archive and repair it: `floradl verify --repair`.

    Args:
        options: which archive, and how.
        api: an open session with the API; None: only what the archive and its URLs give can be mended.
        progress, stop, tally: as for `archive`.

    Raises:
        DestinationError: there is no archive, or it cannot be used; `LockedError`: another floradl uses it.
    """
    from floradl.checker.findings import AuditTally
    from floradl.checker.repair import repair as work

    tally = tally or AuditTally()
    async with _reporting_to(progress, tally):
        return await work(options, api, stop=stop, tally=tally)


async def restore(
    options: RestoreOptions,
    api: FloraApi | None = None,
    *,
    progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    tally: Tally | None = None,
) -> RestoreReport:
    """Copy verified files out of an archive: `floradl restore`.

    Args:
        options: from where, where to, and what.
        api: an open session with the API, for what the archive lacks; None: that is a failure.
        progress, stop, tally: as for `archive`.

    Raises:
        UsageError: one folder lies in the other.
        DestinationError: there is no archive, a folder cannot be used, or (`LockedError`) is in use.
    """
    from floradl.download.tally import Tally
    from floradl.restorer.restore import restore as work

    tally = tally or Tally()
    async with _reporting_to(progress, tally):
        return await work(options, api, stop=stop, tally=tally)


async def build_gallery(
    options: GalleryOptions,
    *,
    progress: OnProgress | None = None,
    stop: asyncio.Event | None = None,
    tally: GalleryTally | None = None,
) -> GalleryReport:
    """Bring an archive's gallery up to date: `floradl gallery`. Needs neither network nor key.

    Args:
        options: of which archive, and how.
        progress, stop, tally: as for `archive`; `progress` gets the numbers of the outputs that are due.

    Raises:
        DestinationError: there is no archive, or it cannot be written to; `LockedError`: it is in use.
        ManifestError: what it holds cannot be read.
    """
    from floradl.gallery.build import build_gallery as work
    from floradl.gallery.report import GalleryTally

    tally = tally or GalleryTally()
    async with _reporting_to(progress, tally):
        return await work(options, stop=stop, tally=tally)


async def iter_generations(
    api: FloraApi, scope: Scope | None = None, *, status: Status | None = None
) -> AsyncGenerator[Generation, None]:
    """The generation history, newest first, each run once: `floradl list --all`.

    It is read page by page while it is iterated; runs that are removed meanwhile may hide others. Where
    nothing may be missed, use `archive`, which proves it.

    Args:
        api: an open session with the API.
        scope: which workspace or project; None: all that the key sees.
        status: only runs with this status; None: any.

    Raises:
        ApiError: a page could not be had, or, after all that could be, a record could not be read.
    """
    from floradl.api.models import EVERYTHING
    from floradl.api.pages import PageQuery
    from floradl.api.walk import iter_run_pages

    seen: set[str] = set()
    bad: list[ApiError] = []
    async with aclosing(iter_run_pages(api, PageQuery(scope or EVERYTHING, status))) as pages:
        async for page in pages:
            bad.extend(page.bad_records)
            for run in page.generations:
                if run.run_id not in seen:
                    seen.add(run.run_id)
                    yield run
    if bad:
        raise bad[0]


class _Tally(Protocol):
    """The numbers that every kind of tally has."""

    @property
    def listed_runs(self) -> int: ...
    @property
    def is_listed(self) -> bool: ...
    @property
    def total(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def moved_bytes(self) -> int: ...


@asynccontextmanager
async def _reporting_to(progress: OnProgress | None, tally: _Tally) -> AsyncIterator[None]:
    """Call `progress` regularly while the body runs, and once more after it.

    What the callback raises cancels the body and comes out of it bare, not wrapped in a group.
    """
    if progress is None:
        yield
        return

    async def report_regularly() -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            progress(_progress_of(tally))

    try:
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(report_regularly())
            yield
            reporting.cancel()
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from exc.exceptions[0].__cause__
    progress(_progress_of(tally))


def _progress_of(tally: _Tally) -> Progress:
    return Progress(
        runs=tally.listed_runs,
        is_listed=tally.is_listed,
        outputs=tally.total,
        done=tally.done,
        failed=tally.failed,
        moved_bytes=tally.moved_bytes,
    )

"""Building the offline gallery: `index.html` and everything under `gallery/`.

The gallery is made from the archive alone, and all of it can be removed and made again. The steps, in an
order that lets the process be killed at any moment:

1. The writer's lock is taken, the manifest is loaded, and the runs are put on shelves (`shelves`).
2. For each shelf whose files are missing, its outputs are looked at (`probe`). Then its files are written:
   `text-…`, `more-…`, and `list-…` last. A shelf counts as done as soon as its `list-…` file exists.
3. The page's own files are written, then `index.js`, then `index.html`, each only if its bytes changed.
   From `index.js` on the page shows the new shelves.
4. The files of shelves that no longer exist are removed.

Killed before `index.js` is replaced, the page still shows the old shelves, whose files are all still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import PurePosixPath

from floradl.clock import Clock
from floradl.constants import Kind
from floradl.gallery.probe import Prober
from floradl.gallery.report import GalleryOptions, GalleryReport, GalleryTally
from floradl.gallery.scripts import (
    Appearance,
    Canvas,
    index_script,
    list_script,
    more_script,
    text_script,
)
from floradl.gallery.shelves import Shelf, ShelvedRun, digest, in_order, shelves_of
from floradl.gallery.thumbnails import Thumbnails
from floradl.repository import layout
from floradl.repository.entries import RunEntry, State
from floradl.repository.lock import ArchiveLock
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, read_names
from floradl.repository.repository import load_manifest, require_archive
from floradl.repository.snapshot import entry_place
from floradl.storage.aside import set_aside
from floradl.storage.destination import Destination
from floradl.storage.local.reader import Reader
from floradl.tasks import all_of, batches, ends_by_itself

_RUNS_PER_JOB = 8
_MARK = b'<meta name="generator" content="floradl">'
"""Stands in every `index.html` that floradl writes."""
_MARK_WITHIN = 4096
"""It stands within so many bytes of the file's beginning."""


async def build_gallery(
    options: GalleryOptions,
    *,
    clock: Clock | None = None,
    stop: asyncio.Event | None = None,
    tally: GalleryTally | None = None,
    thumbnails: Thumbnails | None = None,
) -> GalleryReport:
    """Bring an archive's gallery up to date.

    Args:
        options: which archive, and how.
        clock: time, for tests.
        stop: an event that ends the work early; the page still shows the gallery from before then.
        tally: counters that are kept up to date for a display.
        thumbnails: what makes small pictures, for tests.

    Raises:
        DestinationError: the folder holds no archive, or cannot be written to.
        LockedError: another floradl is working on this archive.
        ManifestError: the manifest or the journal cannot be read.
    """
    clock, stop, tally = clock or Clock(), stop or asyncio.Event(), tally or GalleryTally()
    began_s = clock.monotonic()
    disk = Destination(options.dest, fsync=options.fsync, threads=options.threads)
    try:
        await disk.call(require_archive, disk)
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, clock, timeout_s=options.lock_timeout_s, stop=stop):
            build = _Build(disk, clock, tally, thumbnails or Thumbnails(), options.threads)
            is_finished = await ends_by_itself(build.run(), stop)
    finally:
        disk.close()
    return GalleryReport(
        runs=build.runs,
        outputs=build.outputs,
        files_written=tally.files_written,
        files_removed=tally.files_removed,
        thumbnails=tally.thumbnails,
        refused=tally.failed,
        has_thumbnails=build.thumbnails.is_on,
        set_aside=str(build.set_aside or ""),
        elapsed_s=clock.monotonic() - began_s,
        is_interrupted=not is_finished,
        assets=build.assets,
        canvases=build.canvases,
    )


class _Build:
    """One build of a gallery, by the steps in this module's docstring. The archive's lock is held."""

    def __init__(
        self, disk: Destination, clock: Clock, tally: GalleryTally, thumbnails: Thumbnails, threads: int
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._tally = tally
        self._threads = threads
        self._prober = Prober(disk, thumbnails)
        self.thumbnails = thumbnails
        self.runs = self.assets = self.canvases = self.outputs = 0
        self._canvas_ids: list[str] = []
        self.set_aside: PurePosixPath | None = None

    async def run(self) -> None:
        call = self._disk.call
        manifest, shelves, places = await call(self._read)
        is_anew = await call(self._has_lost_thumbnails)
        existing = await call(self._disk.listing, layout.GALLERY_DATA)
        due = [shelf for shelf in shelves if is_anew or f"list-{shelf.name}.js" not in existing]
        self._tally.total = sum(shelf.outputs for shelf in due)
        self._tally.listed_runs, self._tally.is_listed = self.runs, True
        for shelf in due:
            await self._make_shelf(shelf, manifest)
        await call(self._write_page, manifest, shelves, places)
        await call(self._remove_old, shelves)

    def _read(self) -> tuple[Manifest, list[Shelf], set[Place]]:
        """The manifest, all runs on shelves, and the projects whose names the page shows."""
        manifest = load_manifest(self._disk, self._clock)
        places, shelved = set(), []
        for run_id, run in manifest.iter_counted():
            places.add(Place(run.workspace_id, run.project_id))
            if run.kind is Kind.CANVAS:
                self._canvas_ids.append(run_id)
            else:
                shelved.append(ShelvedRun(run_id, run.created_at, len(run.outputs)))
        self.assets, self.canvases = manifest.count(Kind.ASSET), len(self._canvas_ids)
        self.runs, self.outputs = len(shelved) - self.assets, sum(run.outputs for run in shelved)

        def digest_of(run_ids: Iterable[str]) -> str:
            return digest(self.thumbnails.maker, ((run_id, manifest.stored(run_id)) for run_id in run_ids))

        return manifest, shelves_of(shelved, digest_of), places

    def _has_lost_thumbnails(self) -> bool:
        """Whether the folder of small pictures was removed; it is made here, so that this is true once.

        The files of shelves name those small pictures, so all shelves have to be made again then.
        """
        is_lost = self.thumbnails.is_on and not self._disk.exists(layout.THUMBNAILS)
        if self.thumbnails.is_on:
            self._disk.ensure_dir(layout.THUMBNAILS)
        return is_lost

    async def _make_shelf(self, shelf: Shelf, manifest: Manifest) -> None:
        """Look at a shelf's outputs in several threads, a few runs at a time, and write its files."""
        runs = [(run_id, in_order(manifest.entry(run_id))) for run_id in shelf.run_ids]
        appearances: dict[tuple[str, str], Appearance] = {}
        jobs = batches(runs, max_items=_RUNS_PER_JOB)  # one iterator for all workers: each takes the next job

        async def worker() -> None:
            for job in jobs:
                probed = await self._disk.call(self._prober.probe, job)
                appearances.update(probed.appearances)
                self._tally.note(probed)

        await all_of(worker() for _ in range(self._threads))
        await self._disk.call(self._write_shelf, shelf, runs, appearances)

    def _write_shelf(
        self,
        shelf: Shelf,
        runs: Sequence[tuple[str, RunEntry]],
        appearances: Mapping[tuple[str, str], Appearance],
    ) -> None:
        # The list is written last: `run` takes a shelf for done when it sees that file. If it were there
        # before the others and the process were killed, they would never be written.
        texts = text_script(shelf, runs, appearances)
        if texts is not None:
            self._write(layout.GALLERY_DATA / f"text-{shelf.name}.js", texts)
        self._write(layout.GALLERY_DATA / f"more-{shelf.name}.js", more_script(shelf, runs, appearances))
        self._write(layout.GALLERY_DATA / f"list-{shelf.name}.js", list_script(shelf, runs, appearances))

    def _write_page(self, manifest: Manifest, shelves: Sequence[Shelf], places: Iterable[Place]) -> None:
        names = read_names(self._disk, sorted(places))
        workspaces = {place.workspace_id: name.workspace for place, name in names.items() if name.workspace}
        projects = {place.project_id: name.project for place, name in names.items() if name.project}
        page = resources.files("floradl.gallery").joinpath("page")
        for file in page.iterdir():
            if file.name != layout.INDEX_PAGE.name:
                self._write(layout.GALLERY_PAGE / file.name, file.read_bytes())
        scanned_at = max((scan.last_scan_at for scan in manifest.scans()), default="")
        canvases = [_canvas(run_id, manifest.entry(run_id)) for run_id in self._canvas_ids]
        index = index_script(manifest.archive_id, scanned_at, shelves, workspaces, projects, canvases)
        self._write(layout.GALLERY_DATA / "index.js", index)
        self._keep_foreign_page()
        self._write(layout.INDEX_PAGE, page.joinpath("index.html").read_bytes())

    def _keep_foreign_page(self) -> None:
        """Move an `index.html` that floradl did not write out of the way: it may be the user's own."""
        is_ours = self._disk.is_file(layout.INDEX_PAGE) and _MARK in self._head(layout.INDEX_PAGE)
        if not is_ours and self._disk.exists(layout.INDEX_PAGE):
            self.set_aside = set_aside(self._disk, layout.INDEX_PAGE)

    def _head(self, path: PurePosixPath) -> bytes:
        with Reader(self._disk.root).opened(str(path)) as file:
            return file.read(_MARK_WITHIN)

    def _write(self, path: PurePosixPath, data: bytes) -> None:
        """Write a file of the gallery, unless it already has exactly these bytes."""
        if self._disk.is_file(path) and self._disk.read(path) == data:
            return
        self._disk.write_atomic(path, [data])
        self._tally.files_written += 1
        self._tally.moved_bytes += len(data)

    def _remove_old(self, shelves: Sequence[Shelf]) -> None:
        """Remove the files of shelves that are no more. `index.js` has stopped naming them by now."""
        kept = {f"{kind}-{shelf.name}.js" for shelf in shelves for kind in ("list", "more", "text")}
        for name in self._disk.listing(layout.GALLERY_DATA):
            if name not in kept and name != "index.js":
                self._disk.remove(layout.GALLERY_DATA / name)
                self._tally.files_removed += 1


def _canvas(project_id: str, entry: RunEntry) -> Canvas:
    """A project's canvas with the names of its snapshots' files, the newest first."""
    outputs = sorted(entry.outputs.items(), reverse=True)
    files = [output.file for _, output in outputs if output.state == State.ARCHIVED and output.file]
    return Canvas(entry.project_id or project_id, entry_place(project_id, entry), tuple(files))

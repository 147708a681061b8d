"""The offline gallery: `index.html` and everything under `gallery/`, from what the archive holds.

All of it can be removed and made again. The order of one making, each step safe to be cut off:

1. lock; the manifest as any job reads it; the runs on their shelves (`catalogue`).
2. For each shelf whose files are not there: a look at each output for its size, its text and its small
   picture, then `text-…`, `more-…` and, last, `list-…`, whose name says that the shelf is done.
3. The page's own files and `index.js`, where they say something else than before: the new gallery.
4. Files of shelves that are no more are removed.

Cut before 3, the old gallery is still whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import PurePosixPath
from typing import TypeVar

from floradl.clock import Clock
from floradl.constants import Kind, OutputType
from floradl.gallery.image_size import Size
from floradl.gallery.probe import (
    BROWSERS_SHOW,
    PROBED,
    Probed,
    size_of_picture,
    text_appearance,
    thumbnail_place,
)
from floradl.gallery.report import GalleryOptions, GalleryReport, GalleryTally
from floradl.gallery.scripts import (
    NOTHING,
    TEXT_CHARACTERS,
    Appearance,
    Canvas,
    index_script,
    list_script,
    more_script,
    text_script,
)
from floradl.gallery.shelves import Counted, Shelf, digest, in_order, shelves_of
from floradl.gallery.thumbnails import BOX, SMALL_BYTES, Thumbnails
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.labels import MAX_LABELS_FILE_BYTES, shown_labels
from floradl.repository.lock import ArchiveLock
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, read_names
from floradl.repository.repository import load_manifest, require_archive
from floradl.repository.snapshot import entry_place
from floradl.storage.aside import set_aside
from floradl.storage.destination import Destination
from floradl.storage.local.reader import Reader
from floradl.tasks import all_of, ends_by_itself

_RUNS_PER_JOB = 8
_MARK = b'<meta name="generator" content="floradl">'
_MARK_WITHIN = 4096

T = TypeVar("T")


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
        options: where and how.
        clock: time, for tests.
        stop: set it to end early; what is there then is the old gallery.
        tally: kept up to date, for a display.
        thumbnails: what makes small pictures, for tests.

    Raises:
        DestinationError: there is no archive, or it cannot be written to.
        LockedError: another floradl is at work there.
        ManifestError: what it holds cannot be read.
    """
    clock, stop, tally = clock or Clock(), stop or asyncio.Event(), tally or GalleryTally()
    began_s = clock.monotonic()
    disk = Destination(options.dest, fsync=options.fsync, threads=options.threads)
    try:
        await disk.call(require_archive, disk)
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, clock, timeout_s=options.lock_timeout_s, stop=stop):
            building = _Building(disk, clock, tally, thumbnails or Thumbnails(), options.threads)
            is_finished = await ends_by_itself(building.run(), stop)
    finally:
        disk.close()
    return GalleryReport(
        runs=building.runs,
        outputs=building.outputs,
        files_written=tally.files_written,
        files_removed=tally.files_removed,
        thumbnails=tally.thumbnails,
        refused=tally.failed,
        has_thumbnails=building.thumbnails.is_on,
        set_aside=str(building.set_aside or ""),
        elapsed_s=clock.monotonic() - began_s,
        is_interrupted=not is_finished,
        assets=building.assets,
        canvases=building.canvases,
    )


class _Building:
    """One making of a gallery. Needs the archive's lock."""

    def __init__(
        self, disk: Destination, clock: Clock, tally: GalleryTally, thumbnails: Thumbnails, threads: int
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._tally = tally
        self._threads = threads
        self.thumbnails = thumbnails
        self.runs = self.assets = self.canvases = self.outputs = 0
        self._canvases: list[str] = []
        self.set_aside: PurePosixPath | None = None

    async def run(self) -> None:
        call = self._disk.call
        manifest, shelves, places = await call(self._read)
        is_anew = await call(self._has_lost_thumbnails)
        there = await call(self._disk.listing, layout.GALLERY_DATA)
        due = [shelf for shelf in shelves if is_anew or f"list-{shelf.name}.js" not in there]
        self._tally.total = sum(shelf.outputs for shelf in due)
        self._tally.listed_runs, self._tally.is_listed = self.runs, True
        for shelf in due:
            await self._make_shelf(shelf, manifest)
        await call(self._write_page, manifest, shelves, places)
        await call(self._remove_old, shelves)

    def _read(self) -> tuple[Manifest, list[Shelf], set[Place]]:
        manifest = load_manifest(self._disk, self._clock)
        places, counted = set(), []
        for run_id, run in manifest.iter_counted():
            places.add(Place(run.workspace_id, run.project_id))
            if run.kind is Kind.CANVAS:
                self._canvases.append(run_id)
            else:
                counted.append(Counted(run_id, run.created_at, len(run.outputs)))
        self.assets, self.canvases = manifest.count(Kind.ASSET), len(self._canvases)
        self.runs, self.outputs = len(counted) - self.assets, sum(run.outputs for run in counted)

        def digest_of(run_ids: Iterable[str]) -> str:
            return digest(self.thumbnails.maker, ((run_id, manifest.stored(run_id)) for run_id in run_ids))

        return manifest, shelves_of(counted, digest_of), places

    def _has_lost_thumbnails(self) -> bool:
        """Whether the folder of small pictures was removed, of which the files of shelves still tell."""
        is_lost = self.thumbnails.is_on and not self._disk.exists(layout.THUMBNAILS)
        if self.thumbnails.is_on:
            self._disk.ensure_dir(layout.THUMBNAILS)
        return is_lost

    async def _make_shelf(self, shelf: Shelf, manifest: Manifest) -> None:
        runs = [(run_id, in_order(manifest.entry(run_id))) for run_id in shelf.run_ids]
        looks: dict[tuple[str, str], Appearance] = {}
        batches = _batches(runs)

        async def worker() -> None:
            for batch in batches:
                seen = await self._disk.call(self._look_at, batch)
                looks.update(seen.looks)
                self._tally.note(seen)

        await all_of(worker() for _ in range(self._threads))
        await self._disk.call(self._write_shelf, shelf, runs, looks)

    def _look_at(self, runs: Sequence[tuple[str, RunEntry]]) -> Probed:
        reader, seen = Reader(self._disk.root), Probed()
        for run_id, run in runs:
            folder = entry_place(run_id, run)
            for key, output in run.outputs.items():
                seen.outputs += 1
                if output.state == State.ARCHIVED and output.file is not None:
                    found = self._look(reader, f"{folder}/{output.file}", output, seen)
                    if found is not NOTHING:
                        seen.looks[run_id, key] = found
            for key, label in self._labels(reader, folder, run_id, run).items():
                found = seen.looks.get((run_id, key), NOTHING)
                seen.looks[run_id, key] = replace(found, label=label[:TEXT_CHARACTERS])
        return seen

    def _labels(self, reader: Reader, folder: str, run_id: str, run: RunEntry) -> Mapping[str, str]:
        """What the project's canvas says of a run's outputs, by their keys."""
        if run.labels_sha256 is None:
            return {}
        try:
            with reader.opened(f"{folder}/{layout.LABELS}") as file:
                return shown_labels(file.read(MAX_LABELS_FILE_BYTES) or b"", run_id)
        except OSError:
            return {}  # as with an output that is missing

    def _look(self, reader: Reader, path: str, output: OutputEntry, seen: Probed) -> Appearance:
        extension = PurePosixPath(path).suffix
        is_text = output.type == OutputType.TEXT or extension == ".txt"
        if not (is_text or extension in PROBED or self.thumbnails.makes(extension)):
            return NOTHING
        place, small = None, None
        try:
            with reader.opened(path) as file:
                if is_text:
                    return text_appearance(file)
                size = size_of_picture(file)
                if self._wants_thumbnail(output, size, extension):
                    place = thumbnail_place(output.sha256 or "")
                if place is not None and not self._disk.exists(place):
                    file.seek(0)
                    small = self.thumbnails.make(file, self._disk.root / path, extension)
                    seen.refused += small is None
                    place = place if small else None
        except OSError:
            return NOTHING  # it is missing: the page says so, and `verify` brings it back
        if place is not None and small is not None:
            seen.note(self._disk.write_atomic(place, [small]))
        return Appearance(size, has_thumbnail=place is not None)

    def _wants_thumbnail(self, output: OutputEntry, size: Size | None, extension: str) -> bool:
        """Whether an output is to have a small picture: not where it is small enough to be shown itself."""
        fits = size is not None and size.width <= BOX[0] and size.height <= BOX[1]
        is_small = fits and extension in BROWSERS_SHOW and (output.size_bytes or 0) <= SMALL_BYTES
        return output.sha256 is not None and not is_small and self.thumbnails.makes(extension)

    def _write_shelf(
        self, shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Appearance]
    ) -> None:
        texts = text_script(shelf, runs, looks)
        if texts is not None:
            self._write(layout.GALLERY_DATA / f"text-{shelf.name}.js", texts)
        self._write(layout.GALLERY_DATA / f"more-{shelf.name}.js", more_script(shelf, runs, looks))
        self._write(layout.GALLERY_DATA / f"list-{shelf.name}.js", list_script(shelf, runs, looks))

    def _write_page(self, manifest: Manifest, shelves: Sequence[Shelf], places: Iterable[Place]) -> None:
        names = read_names(self._disk, sorted(places))
        workspaces = {place.workspace_id: name.workspace for place, name in names.items() if name.workspace}
        projects = {place.project_id: name.project for place, name in names.items() if name.project}
        for file in resources.files("floradl.gallery").joinpath("page").iterdir():
            if file.name != layout.INDEX_PAGE.name:
                self._write(layout.GALLERY_PAGE / file.name, file.read_bytes())
        scanned_at = max((scan.last_scan_at for scan in manifest.scans()), default="")
        canvases = [_canvas(run_id, manifest.entry(run_id)) for run_id in self._canvases]
        index = index_script(manifest.archive_id, scanned_at, shelves, workspaces, projects, canvases)
        self._write(layout.GALLERY_DATA / "index.js", index)
        self._keep_foreign_page()
        self._write(
            layout.INDEX_PAGE, resources.files("floradl.gallery").joinpath("page/index.html").read_bytes()
        )

    def _keep_foreign_page(self) -> None:
        """Set aside what stands in the place of `index.html` and is not one that floradl wrote."""
        is_ours = self._disk.is_file(layout.INDEX_PAGE) and _MARK in self._head(layout.INDEX_PAGE)
        if not is_ours and self._disk.exists(layout.INDEX_PAGE):
            self.set_aside = set_aside(self._disk, layout.INDEX_PAGE)

    def _head(self, path: PurePosixPath) -> bytes:
        with Reader(self._disk.root).opened(str(path)) as file:
            return file.read(_MARK_WITHIN)

    def _write(self, path: PurePosixPath, data: bytes) -> None:
        """Write a file of the gallery, unless it is there with just these bytes."""
        if self._disk.is_file(path) and self._disk.read(path) == data:
            return
        self._disk.write_atomic(path, [data])
        self._tally.files_written += 1
        self._tally.moved_bytes += len(data)

    def _remove_old(self, shelves: Sequence[Shelf]) -> None:
        kept = {f"{kind}-{shelf.name}.js" for shelf in shelves for kind in ("list", "more", "text")}
        for name in self._disk.listing(layout.GALLERY_DATA):
            if name not in kept and name != "index.js":
                self._disk.remove(layout.GALLERY_DATA / name)
                self._tally.files_removed += 1


def _canvas(project_id: str, entry: RunEntry) -> Canvas:
    """A canvas with the names of its snapshots, the newest first."""
    outputs = sorted(entry.outputs.items(), reverse=True)
    files = [output.file for _, output in outputs if output.state == State.ARCHIVED and output.file]
    return Canvas(entry.project_id or project_id, entry_place(project_id, entry), tuple(files))


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _RUNS_PER_JOB):
        yield items[start : start + _RUNS_PER_JOB]

"""How outputs look in the gallery: the size of a picture, the beginning of a text, a small picture, a label.

This is the one module of the gallery that reads outputs, which are files from strangers. It is called in
threads, each for some runs of one shelf, and writes nothing but small pictures.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import PurePosixPath

from floradl.constants import OutputType
from floradl.gallery.image_size import Size, picture_size
from floradl.gallery.scripts import NOTHING, TEXT_CHARACTERS, Appearance, thumbnail_name
from floradl.gallery.thumbnails import BOX, SMALL_BYTES, Thumbnails
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.labels import MAX_LABELS_FILE_BYTES, shown_labels
from floradl.repository.snapshot import entry_place
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local.reader import Reader

_BROWSERS_SHOW = {".png", ".jpg", ".gif", ".webp", ".avif", ".svg"}
"""Extensions of pictures that every browser shows itself."""

_HAVE_SIZE = {".mp4", ".mov", ".webm", *_BROWSERS_SHOW}
"""Extensions of files that are opened for their size in pixels, also where no small picture is made."""


@dataclass(slots=True)
class Probed:
    """What one thread found out about some outputs, and what it wrote.

    Args:
        appearances: by run id and output key; outputs of which nothing is known are left out.
        outputs: how many outputs were looked at.
        thumbnails: how many small pictures were written.
        refused: outputs of which no small picture could be made.
        written_bytes: of those small pictures.
    """

    appearances: dict[tuple[str, str], Appearance] = field(default_factory=dict)
    outputs: int = 0
    thumbnails: int = 0
    refused: int = 0
    written_bytes: int = 0

    def note(self, thumbnail: Digest) -> None:
        """Count a small picture that was written."""
        self.thumbnails += 1
        self.written_bytes += thumbnail.size_bytes


class Prober:
    """Looks at outputs and makes their small pictures. Its methods may run in several threads at once.

    Args:
        disk: the archive; its lock is held.
        thumbnails: makes small pictures.
    """

    def __init__(self, disk: Destination, thumbnails: Thumbnails) -> None:
        self._disk = disk
        self._thumbnails = thumbnails

    def probe(self, runs: Sequence[tuple[str, RunEntry]]) -> Probed:
        """Look at all outputs of some runs, given as ids with their entries. Blocks."""
        reader, probed = Reader(self._disk.root), Probed()
        for run_id, run in runs:
            folder = entry_place(run_id, run)
            for key, output in run.outputs.items():
                probed.outputs += 1
                if output.state == State.ARCHIVED and output.file is not None:
                    appearance = self._appearance(reader, f"{folder}/{output.file}", output, probed)
                    if appearance is not NOTHING:
                        probed.appearances[run_id, key] = appearance
            for key, label in _labels(reader, folder, run_id, run).items():
                appearance = probed.appearances.get((run_id, key), NOTHING)
                probed.appearances[run_id, key] = replace(appearance, label=label[:TEXT_CHARACTERS])
        return probed

    def _appearance(self, reader: Reader, path: str, output: OutputEntry, probed: Probed) -> Appearance:
        """How one output looks; `NOTHING` where its type says nothing, or its file cannot be read.

        A small picture is made where one is wanted and none stands there yet. It is named after the hash of
        the output's bytes, so that one which is there is the right one.
        """
        extension = PurePosixPath(path).suffix
        is_text = output.type == OutputType.TEXT or extension == ".txt"
        if not (is_text or extension in _HAVE_SIZE or self._thumbnails.makes(extension)):
            return NOTHING
        place, small = None, None
        try:
            with reader.opened(path) as file:
                if is_text:
                    return _text_appearance(file)
                size = _size_of_picture(file)
                if self._wants_thumbnail(output, size, extension):
                    place = _thumbnail_path(output.sha256 or "")
                if place is not None and not self._disk.exists(place):
                    file.seek(0)
                    small = self._thumbnails.make(file, self._disk.root / path, extension)
                    probed.refused += small is None
                    place = place if small else None
        except OSError:
            return NOTHING  # the file is missing: the page says so, and `verify --repair` brings it back
        if place is not None and small is not None:
            probed.note(self._disk.write_atomic(place, [small]))
        return Appearance(size, has_thumbnail=place is not None)

    def _wants_thumbnail(self, output: OutputEntry, size: Size | None, extension: str) -> bool:
        """Whether an output gets a small picture: not if browsers show it and it is small itself."""
        fits = size is not None and size.width <= BOX[0] and size.height <= BOX[1]
        is_small = fits and extension in _BROWSERS_SHOW and (output.size_bytes or 0) <= SMALL_BYTES
        return output.sha256 is not None and not is_small and self._thumbnails.makes(extension)


def _labels(reader: Reader, folder: str, run_id: str, run: RunEntry) -> Mapping[str, str]:
    """The labels that the project's canvas gives to a run's outputs, by output key."""
    if run.labels_sha256 is None:
        return {}
    try:
        with reader.opened(f"{folder}/{layout.LABELS}") as file:
            return shown_labels(file.read(MAX_LABELS_FILE_BYTES) or b"", run_id)
    except OSError:
        return {}  # the file is missing: the gallery does without labels until `verify --repair` was run


def _thumbnail_path(sha256: str) -> PurePosixPath:
    """The path, within the archive, of the small picture of an output with this hash."""
    name = thumbnail_name(sha256)
    return layout.THUMBNAILS / name[:2] / f"{name}.webp"


def _size_of_picture(file: FileIO) -> Size | None:
    return picture_size(os.fstat(file.fileno()).st_size, lambda at, length: _read_at(file, at, length))


def _read_at(file: FileIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length) or b""


def _text_appearance(file: FileIO) -> Appearance:
    """The first `TEXT_CHARACTERS` of a text, which are up to four times as many bytes in UTF-8."""
    data = file.read(4 * TEXT_CHARACTERS + 4) or b""
    # An incremental decoder leaves out a character whose last bytes were not read; others would report it.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    return Appearance(text=text[:TEXT_CHARACTERS], is_cut=len(text) > TEXT_CHARACTERS)

"""How one output looks: its size, its text, its small picture."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass, field
from io import FileIO
from pathlib import PurePosixPath

from floradl.gallery.image_size import Size, picture_size
from floradl.gallery.scripts import TEXT_CHARACTERS, Appearance, thumbnail_name
from floradl.repository import layout
from floradl.storage.digest import Digest

# What a browser shows as it is, and what else has a size or a small picture.
BROWSERS_SHOW = {".png", ".jpg", ".gif", ".webp", ".avif", ".svg"}
PROBED = {".mp4", ".mov", ".webm", *BROWSERS_SHOW}


@dataclass(slots=True)
class Probed:
    """What one thread saw of some outputs, and did for them."""

    looks: dict[tuple[str, str], Appearance] = field(default_factory=dict)
    outputs: int = 0
    thumbnails: int = 0
    refused: int = 0
    written_bytes: int = 0

    def note(self, thumbnail: Digest) -> None:
        """Count a small picture that was written."""
        self.thumbnails += 1
        self.written_bytes += thumbnail.size_bytes


def thumbnail_place(sha256: str) -> PurePosixPath:
    """Where the small picture of an output with this hash stands."""
    name = thumbnail_name(sha256)
    return layout.THUMBNAILS / name[:2] / f"{name}.webp"


def size_of_picture(file: FileIO) -> Size | None:
    """How large a picture is, from its head; None where its head does not say it."""
    return picture_size(os.fstat(file.fileno()).st_size, lambda at, length: _read_at(file, at, length))


def _read_at(file: FileIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length) or b""


def text_appearance(file: FileIO) -> Appearance:
    """The beginning of a text."""
    data = file.read(4 * TEXT_CHARACTERS + 4) or b""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(
        data
    )  # what is cut off in mid-letter waits
    return Appearance(text=text[:TEXT_CHARACTERS], is_cut=len(text) > TEXT_CHARACTERS)

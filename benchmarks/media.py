"""The media files to download, made once of random bytes and kept.

Each passes floradl's checks of a whole file: images begin and end as a PNG does, videos are two boxes of an
MP4 that end where the file does. Between them is noise that differs in every file, so that no two hashes are
equal.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PIECE_BYTES = 8 * 1024 * 1024
PNG_HEAD, PNG_TAIL = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
_FTYP = b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom"


@dataclass(frozen=True, slots=True)
class Files:
    """A number of files of one size and one type of output."""

    count: int
    size_bytes: int
    type: str = "imageUrl"

    @property
    def suffix(self) -> str:
        """The suffix of the files' names."""
        return {"imageUrl": ".png", "videoUrl": ".mp4"}[self.type]

    @property
    def folder(self) -> str:
        """The name of their folder, made from number and size, so that other files have another folder."""
        return f"{self.suffix[1:]}-{self.count}x{self.size_bytes}"

    @property
    def paths(self) -> list[str]:
        """The paths of the files, below the folder of all media; no file name occurs twice there."""
        stem = f"{self.folder}-{{:05d}}{self.suffix}"
        return [f"{self.folder}/{stem.format(number)}" for number in range(self.count)]


def make(files: Files, media: Path) -> None:
    """Make these files if they are not there yet, and read them, so that they are in the system's cache."""
    final = media / files.folder
    if not final.exists():
        media.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=media))
        try:
            for path in files.paths:
                _write(temporary / Path(path).name, files)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for path in files.paths:
        with (media / path).open("rb", buffering=0) as file:
            while file.read(_PIECE_BYTES):
                pass


def _write(path: Path, files: Files) -> None:
    if files.suffix == ".png":
        head, tail = PNG_HEAD, PNG_TAIL
    else:
        head, tail = _FTYP + (files.size_bytes - len(_FTYP)).to_bytes(4, "big") + b"mdat", b""
    left = files.size_bytes - len(head) - len(tail)
    with path.open("wb") as file:
        file.write(head)
        while left > 0:
            left -= file.write(os.urandom(min(left, _PIECE_BYTES)))
        file.write(tail)

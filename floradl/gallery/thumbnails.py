"""Small pictures of outputs, made by Pillow and ffmpeg where these are installed. Reads files; writes none.

The files come from strangers. So a picture that claims to be too large is refused before any of it is
decoded, decoders of formats that nobody needs stay off, and ffmpeg is told which format to read and may open
nothing but that file. A picture that cannot be made small is no error: the page shows the original.
"""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import threading
import warnings
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 120_000_000
"""A picture that claims more pixels (a square of eleven thousand) is refused as a decompression bomb."""

BOX = (720, 480)
"""Width and height that a small picture fits in: twice what the grid shows, for high-density screens."""

SMALL_BYTES = 60_000
"""A picture that fits in `BOX` and has at most so many bytes gets no small picture: it is one."""

_LARGE_PIXELS = 24_000_000
"""Larger pictures are decoded one at a time: several at once could take gigabytes of memory."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "PSD", "ICO")
_PICTURES = {".png", ".jpg", ".gif", ".webp", ".avif", ".tif", ".bmp", ".psd", ".ico"}
_FILMS = {".mp4": "mov", ".mov": "mov", ".webm": "matroska", ".mkv": "matroska"}
_QUALITY = 80
_FFMPEG_TIMEOUT_S = 30

log = logging.getLogger(__name__)


class Thumbnails:
    """Makes small pictures. Its methods may run in several threads at once."""

    def __init__(self) -> None:
        self._large = threading.Lock()

    @cached_property
    def is_on(self) -> bool:
        """Whether Pillow is installed, without which no small pictures are made."""
        try:
            import PIL.Image  # noqa: F401 - an optional extra
        except ImportError:
            return False
        return True

    @cached_property
    def _ffmpeg(self) -> str | None:
        return shutil.which("ffmpeg") if self.is_on else None

    @property
    def maker(self) -> str:
        """Which kinds of small pictures can be made here; part of the digest of every shelf."""
        return f"{'pictures' if self.is_on else ''} {'films' if self._ffmpeg else ''}"

    def makes(self, extension: str) -> bool:
        """Whether files with this extension get a small picture here."""
        return (self.is_on and extension in _PICTURES) or (self._ffmpeg is not None and extension in _FILMS)

    def make(self, source: IO[bytes], path: Path, extension: str) -> bytes | None:
        """A WebP picture that fits in `BOX`; None where none can be made. Blocks.

        Args:
            source: the open file.
            path: its path, for ffmpeg and for messages.
            extension: its extension in the archive, which names its format.
        """
        if extension not in _FILMS:
            return self._small(source, path)
        frame = self._first_frame(path, _FILMS[extension])
        return self._small(io.BytesIO(frame), path) if frame else None

    def _small(self, source: IO[bytes], path: Path) -> bytes | None:
        from PIL import Image

        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # Pillow warns of sloppy metadata, which matters to nobody here
                with Image.open(source, formats=_FORMATS) as picture:
                    width, height = picture.size
                    if width * height > MAX_PIXELS:
                        log.info("%s claims %d by %d pixels, and gets no small picture", path, width, height)
                        return None
                    if width * height > _LARGE_PIXELS:
                        with self._large:
                            return _encoded(picture)
                    return _encoded(picture)
        except Exception as exc:  # noqa: BLE001 - decoders raise whatever they like about a broken file
            log.info("no small picture of %s: %s", path, exc)
            return None

    def _first_frame(self, path: Path, kind: str) -> bytes | None:
        command = [
            *(str(self._ffmpeg), "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file"),
            *("-f", kind, "-i", f"file:{path}", "-map", "0:v:0", "-frames:v", "1"),
            *("-vf", f"scale={BOX[0]}:{BOX[1]}:force_original_aspect_ratio=decrease"),
            *("-c:v", "png", "-f", "image2pipe", "pipe:1"),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - a program of this machine, and a path that is no option
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_FFMPEG_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            log.info("no first frame of %s: %s", path, exc)
            return None
        return done.stdout or None


def _encoded(picture: Picture) -> bytes:
    from PIL import ImageOps

    picture.draft("RGB", (2 * BOX[0], 2 * BOX[1]))  # decodes a JPEG at a fraction of its size and time
    upright = ImageOps.exif_transpose(picture)
    has_alpha = "A" in upright.getbands() or "transparency" in upright.info
    small = upright.convert("RGBA" if has_alpha else "RGB")
    small.thumbnail(BOX)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()

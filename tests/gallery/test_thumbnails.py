"""Small pictures: upright, small, and never of a bomb."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image

from floradl.gallery.thumbnails import BOX, Thumbnails
from floradl.simulator.media import Drawing, Kind, draw

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None and "CI" not in os.environ, reason="needs ffmpeg"
)


def thumbnail(path: Path) -> Image.Image | None:
    """The small picture of a file."""
    with path.open("rb") as file:
        data = Thumbnails().make(file, path, path.suffix)
    if data is None:
        return None
    small = Image.open(io.BytesIO(data))
    assert small.format == "WEBP"
    small.load()
    return small


def test_a_picture_fits_in_its_box(tmp_path: Path) -> None:
    """Its shape stays, and one that is small already is not made larger."""
    Image.new("RGB", (3000, 1500), "teal").save(tmp_path / "a.jpg")
    Image.new("RGB", (100, 80), "teal").save(tmp_path / "b.png")
    large, small = thumbnail(tmp_path / "a.jpg"), thumbnail(tmp_path / "b.png")
    assert large is not None
    assert large.size == (BOX[0], BOX[0] // 2)
    assert small is not None
    assert small.size == (100, 80)


def test_it_stands_upright(tmp_path: Path) -> None:
    """A picture that lies on its side, as cameras make them, is turned."""
    picture = Image.new("RGB", (400, 200), "teal")
    picture.paste("red", (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    upright = thumbnail(tmp_path / "a.jpg")
    assert upright is not None
    assert upright.size == (200, 400)
    colour = upright.getpixel((100, 50))
    assert isinstance(colour, tuple)
    assert colour[0] > 200  # the left half is the upper one now


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16", "CMYK"])
def test_every_mode_comes_out(tmp_path: Path, mode: str) -> None:
    """What is transparent stays so."""
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (900, 600)).save(path)
    small = thumbnail(path)
    assert small is not None
    assert small.size == BOX
    assert ("A" in small.getbands()) == (mode in ("RGBA", "LA"))


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A picture of a few bytes that claims gigabytes costs nothing."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = tmp_path / "bomb.png"
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))
    assert thumbnail(bomb) is None


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken", b"%!PS-Adobe\n"])
def test_what_is_broken_or_of_another_kind_has_none(tmp_path: Path, data: bytes) -> None:
    """It is no error: the page shows the original. PostScript is read by nothing."""
    (tmp_path / "a.png").write_bytes(data)
    assert thumbnail(tmp_path / "a.png") is None


@needs_ffmpeg
def test_a_film_has_its_first_frame(tmp_path: Path) -> None:
    """In the film's own shape."""
    (tmp_path / "a.mp4").write_bytes(draw(Drawing(Kind.MP4, 1, 320, 240)))
    poster = thumbnail(tmp_path / "a.mp4")
    assert poster is not None
    assert poster.size[0] / poster.size[1] == pytest.approx(16 / 9, rel=0.02)


@needs_ffmpeg
def test_a_playlist_that_poses_as_a_film_is_not_followed(tmp_path: Path) -> None:
    """ffmpeg reads what the file should be, and nothing that stands in it."""
    (tmp_path / "real.mp4").write_bytes(draw(Drawing(Kind.MP4, 1, 320, 240)))
    (tmp_path / "a.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'real.mp4'}\n")
    assert thumbnail(tmp_path / "a.mp4") is None


@needs_ffmpeg
def test_a_film_that_takes_too_long_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is ended."""

    def hang(*_arguments: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("ffmpeg", 30)

    monkeypatch.setattr(subprocess, "run", hang)
    (tmp_path / "a.mp4").write_bytes(draw(Drawing(Kind.MP4, 1)))
    assert thumbnail(tmp_path / "a.mp4") is None

"""Media drawn by code are valid files: each is taken apart by code that shares nothing with the encoders."""

from __future__ import annotations

import io
import json
import re
import struct
import wave
import zlib

import pytest

from floradl.simulator import Drawing, Kind, encoders
from floradl.simulator.media import draw

SIZES = [(48, 36), (47, 33), (1, 1), (256, 384)]
SIGNATURES = {
    Kind.PNG: rb"\x89PNG\r\n\x1a\n",
    Kind.JPEG: rb"\xff\xd8\xff\xfe",
    Kind.WEBP: rb"RIFF....WEBPVP8L",
    Kind.MP4: rb"....ftyp",
    Kind.WAV: rb"RIFF....WAVEfmt ",
    Kind.MP3: rb"ID3\x03",
    Kind.PDF: rb"%PDF-1\.4\n",
    Kind.JSON: rb"\{",
    Kind.HTML: rb"<!doctype html>",
    Kind.GLB: rb"glTF\x02\0\0\0",
}


@pytest.mark.parametrize("kind", Kind)
def test_signature(kind: Kind) -> None:
    """Every kind begins with its magic number."""
    assert re.match(SIGNATURES[kind], draw(Drawing(kind, 5)), re.DOTALL)


@pytest.mark.parametrize("kind", Kind)
def test_seed_decides(kind: Kind) -> None:
    """The same seed gives the same bytes and another seed gives others."""
    assert draw(Drawing(kind, 5)) == draw(Drawing(kind, 5)) != draw(Drawing(kind, 6))


@pytest.mark.parametrize("size", SIZES)
def test_png_unpacks(size: tuple[int, int]) -> None:
    """A PNG's checksums are right, and its pixels fill its size, with only the filter it says it uses."""
    data = draw(Drawing(Kind.PNG, 5, *size))[8:]
    chunks: dict[bytes, bytes] = {}
    while data:
        length, name = struct.unpack(">I4s", data[:8])
        chunks[name] = data[8 : 8 + length]
        assert struct.unpack(">I", data[8 + length : 12 + length])[0] == zlib.crc32(data[4 : 8 + length])
        data = data[12 + length :]
    assert list(chunks) == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == size
    pixels = zlib.decompress(chunks[b"IDAT"])
    stride = 3 * size[0] + 1
    assert len(pixels) == stride * size[1]
    assert {pixels[at] for at in range(0, len(pixels), stride)} == {2}


@pytest.mark.parametrize("size", SIZES)
def test_jpeg_segments(size: tuple[int, int]) -> None:
    """A JPEG is a chain of segments with the right size in its frame, then a scan, then the end marker."""
    data = draw(Drawing(Kind.JPEG, 5, *size))
    at, frame = 2, (0, 0)
    while data[at + 1] != 0xDA:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        assert marker >= 0xFFC0
        if marker == 0xFFC0:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            frame = (width, height)
        at += 2 + length
    assert frame == size
    scan = data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] : -2]
    assert data.endswith(b"\xff\xd9")
    assert not re.search(rb"\xff[^\0]", scan)


def test_jpeg_scan_is_stuffed() -> None:
    """A 255 that happens to be in the picture's own bits is followed by a zero, or it would be a marker."""
    stuffed = 0
    for brightness in range(-128, 128):
        data = encoders.jpeg(16, 16, lambda _x, y, level=brightness: (level * y, -level, level))  # type: ignore[misc]  # a default binds the loop's value
        scan = data[data.index(b"\xff\xda") + 2 : -2]
        assert not re.search(rb"\xff[^\0]", scan)
        stuffed += b"\xff" in scan
    assert stuffed


@pytest.mark.parametrize("size", SIZES)
def test_webp_size(size: tuple[int, int]) -> None:
    """A WebP says its size, and its chunks fill its file exactly."""
    data = draw(Drawing(Kind.WEBP, 5, *size))
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    bits = int.from_bytes(data[21:25], "little")
    assert data[20] == 0x2F
    assert ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) == size
    at = 12
    while at < len(data):
        at += 8 + (size_bytes := struct.unpack("<I", data[at + 4 : at + 8])[0]) + size_bytes % 2
    assert at == len(data)


@pytest.mark.parametrize("width", [48, 400])
def test_mp4_boxes(width: int) -> None:
    """A film's boxes fill its file, index before data."""
    data = draw(Drawing(Kind.MP4, 5, width))
    names = []
    while data:
        size, name = struct.unpack(">I4s", data[:8])
        names.append(name)
        assert 8 <= size <= len(data)
        data = data[size:]
    assert names[0] == b"ftyp"
    assert names.index(b"moov") < names.index(b"mdat")


def test_wav_opens() -> None:
    """A sound opens in Python's own reader and has as many frames as it says."""
    with wave.open(io.BytesIO(draw(Drawing(Kind.WAV, 5)))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (16_000, 1, 1600)
        assert len(sound.readframes(9999)) == 3200


def test_pdf_cross_references() -> None:
    """Each entry of a PDF's table points at the object it names."""
    data = draw(Drawing(Kind.PDF, 5))
    found = re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)
    assert found
    table = data[int(found[1]) :].split(b"\n")
    assert table[:2] == [b"xref", b"0 6"]
    for number, line in enumerate(table[3:8], start=1):
        assert data[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def test_glb_chunks() -> None:
    """A model's chunks fill its file, and its JSON tells how long the other one is."""
    data = draw(Drawing(Kind.GLB, 5))
    assert struct.unpack("<I", data[8:12])[0] == len(data)
    length, name = struct.unpack("<I4s", data[12:20])
    scene = json.loads(data[20 : 20 + length])
    assert (name, length % 4) == (b"JSON", 0)
    rest = data[20 + length :]
    assert struct.unpack("<I4s", rest[:8]) == (scene["buffers"][0]["byteLength"], b"BIN\0")
    assert len(rest) == 8 + scene["buffers"][0]["byteLength"]


def test_json_document_parses() -> None:
    """A JSON document is JSON."""
    assert json.loads(draw(Drawing(Kind.JSON, 5)))["title"]

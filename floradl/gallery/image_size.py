"""The width and height of pictures and films, read from their heads. Pure.

The page needs them to lay out its grid before anything is loaded. Only formats that browsers show are read:
PNG, JPEG, GIF, WebP, AVIF and SVG; MP4 and QuickTime. Nothing is decoded, and whatever a file claims, the
result is two numbers within bounds or None. Sources: the formats' specifications (PNG 11.2.2, ITU T.81 B.2.2,
GIF89a 18, the WebP container, ISO/IEC 14496-12 8.3.2 and 23008-12 6.5.3), EXIF 4.6.5.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from floradl.repository.filetype import ReadAt

MAX_SIDE = 1_000_000
"""A file that claims a longer side has no size here."""

_HEAD_BYTES = 4096
_MAX_STEPS = 1000
"""So many JPEG segments or MP4 boxes are read at most: a made-up file could keep a thread busy for hours."""
_QUARTER_TURNS = (5, 6, 7, 8)
_CONTAINERS = (b"moov", b"trak", b"meta", b"iprp", b"ipco")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_VIEW_BOX = re.compile(rb"<svg\b[^>]*?\bviewBox\s*=\s*[\"']\s*([^\"'<>]{1,100})[\"']", re.IGNORECASE)
_NUMBER = re.compile(rb"[+-]?\d{1,7}(?:\.\d{1,7})?")


class Size(NamedTuple):
    """Width and height in pixels, of the picture as it is shown: turned upright as its EXIF data say."""

    width: int
    height: int


def picture_size(size_bytes: int, read_at: ReadAt) -> Size | None:
    """The size of a picture or film; None where its head does not say it, or says nonsense.

    Args:
        size_bytes: the file's length.
        read_at: reads from the file: takes an offset and a number of bytes.
    """
    head = read_at(0, min(size_bytes, _HEAD_BYTES))
    try:
        size = _size(head, size_bytes, read_at)
    except (struct.error, IndexError, ValueError):  # the file is cut off, or only begins like this format
        return None
    is_sound = size is not None and 0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE
    return size if is_sound else None


def _size(head: bytes, size_bytes: int, read_at: ReadAt) -> Size | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Size(*struct.unpack_from(">II", head, 16))
    if head.startswith(b"GIF8"):
        return Size(*struct.unpack_from("<HH", head, 6))
    if head.startswith(b"\xff\xd8"):
        return _jpeg(size_bytes, read_at)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    if head[4:8] == b"ftyp":
        return _film(size_bytes, read_at)
    return _svg(head)


def _jpeg(size_bytes: int, read_at: ReadAt) -> Size | None:
    offset, is_turned = 2, False
    for _ in range(_MAX_STEPS):
        marker = read_at(offset, 10)
        if offset >= size_bytes or marker[0] != 0xFF:
            return None
        if marker[1] in _FRAMES:
            height, width = struct.unpack_from(">HH", marker, 5)
            return Size(height, width) if is_turned else Size(width, height)
        length = struct.unpack_from(">H", marker, 2)[0]
        if marker[1] == 0xE1 and marker[4:10] == b"Exif\0\0":
            is_turned = _orientation(read_at(offset + 10, min(length, _HEAD_BYTES))) in _QUARTER_TURNS
        offset += 2 + length
    return None


def _orientation(tiff: bytes) -> int:
    """The Orientation tag of an EXIF block (TIFF); 1, which is upright, where it has none."""
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        start = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for number in range(struct.unpack_from(f"{order}H", tiff, start)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number)
            if tag == 0x0112:
                return int(value)
    except struct.error:
        pass
    return 1


def _webp(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return Size(width, height)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    return None


def _film(size_bytes: int, read_at: ReadAt) -> Size | None:
    """The largest track of a film, or the largest item of an AVIF picture."""
    sizes = []
    for kind, at, length in _boxes(0, size_bytes, read_at):
        if kind == b"ispe":
            sizes.append(Size(*struct.unpack(">II", read_at(at + 4, 8))))
        elif kind == b"tkhd":
            body = read_at(at, min(length, 96))
            skipped = 32 if body[0] == 1 else 20  # version 1 of the box has dates of 8 bytes
            a, b = struct.unpack_from(">ii", body, skipped + 20)
            width, height = (value >> 16 for value in struct.unpack_from(">II", body, skipped + 56))
            sizes.append(Size(height, width) if a == 0 and b != 0 else Size(width, height))
    return max(sizes, key=lambda size: size.width * size.height, default=None)


def _boxes(offset: int, end: int, read_at: ReadAt) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and length of all boxes of an ISO media file, those inside known containers included."""
    ranges = [(offset, end)]
    for _ in range(_MAX_STEPS):
        if not ranges:
            return
        offset, end = ranges.pop()
        header = read_at(offset, 16)
        if offset + 8 > end or len(header) < 8:
            continue
        length, kind, start = int.from_bytes(header[:4], "big"), header[4:8], offset + 8
        if length == 1:
            length, start = int.from_bytes(header[8:16], "big"), offset + 16
        stop = end if length == 0 else min(end, offset + length)
        if stop < start:
            continue
        ranges.append((stop, end))
        if kind in _CONTAINERS:
            ranges.append((start + 4 if kind == b"meta" else start, stop))
        else:
            yield kind, start, stop - start


def _svg(head: bytes) -> Size | None:
    """The shape from the `viewBox`, enlarged to 1,000 pixels: a drawing has a shape but no pixels."""
    match = _VIEW_BOX.search(head)
    numbers = _NUMBER.findall(match[1]) if match else []
    if len(numbers) != 4:
        return None
    width, height = float(numbers[2]), float(numbers[3])
    if width <= 0 or height <= 0:
        return None
    scale = max(1.0, 1000 / max(width, height))
    return Size(max(1, round(width * scale)), max(1, round(height * scale)))

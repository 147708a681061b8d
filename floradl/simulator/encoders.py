"""Picture files written by hand: PNG, JPEG and WebP from rows of pixels, with the standard library only.

Guarantees that every returned byte string is a whole and valid file that real decoders read, and that the
same arguments give the same bytes. The encoders use as little of the formats as they can (PNG with one
filter, JPEG with three coefficients a block, WebP with flat Huffman codes): they are for test media, not for
photographs.

Formats: PNG is ISO/IEC 15948, JPEG is ITU-T T.81 with JFIF, WebP is Google's "WebP Lossless Bitstream".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence

# A function of a place in a JPEG: it returns the brightness and two colour offsets there, each -128…127.
Field = Callable[[float, float], tuple[float, float, float]]


def png(rows: Sequence[bytes], *, comment: str = "") -> bytes:
    """Encode `rows` of 8-bit RGB pixels, top to bottom, as a PNG.

    Args:
        rows: one bytes object a row, three times the width long, all of one length.
        comment: put into a `tEXt` chunk when not empty; Latin-1.
    """
    width, height = len(rows[0]) // 3, len(rows)
    packed = bytearray()
    above = bytes(3 * width)
    for row in rows:
        packed.append(2)  # filter "up": a row is its difference from the one above, so gradients shrink
        packed += _minus(row, above)
        above = row
    chunks = [_png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    if comment:
        chunks.append(_png_chunk(b"tEXt", b"Comment\0" + comment.encode("latin-1")))
    chunks += [_png_chunk(b"IDAT", zlib.compress(bytes(packed), 6)), _png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _minus(row: bytes, above: bytes) -> bytes:
    """`row - above`, byte by byte modulo 256, done on whole rows as big integers.

    Each byte's borrow is kept inside the byte: set the high bit, subtract the low seven, put the sign back.
    """
    size = len(row)
    high = int.from_bytes(b"\x80" * size, "little")
    a, b = int.from_bytes(row, "little"), int.from_bytes(above, "little")
    difference = ((a | high) - (b & ~high)) ^ ((a ^ ~b) & high)
    return difference.to_bytes(size, "little")


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# --- JPEG -------------------------------------------------------------------------------------------------

_QUANTUM = 4
# Sum of (x - 3.5) · cos((2x + 1)π/16) over a block's eight columns: what a slope of one level a pixel gives.
_RAMP = sum((x - 3.5) * math.cos((2 * x + 1) * math.pi / 16) for x in range(8))
_SLOPE_GAIN = 8 * _RAMP / (4 * math.sqrt(2))
_DC_SYMBOLS = bytes(range(12))
_AC_SYMBOLS = bytes([0x00, *range(0x01, 0x0B), *range(0x11, 0x1B)])


def jpeg(width: int, height: int, field: Field) -> bytes:
    """Encode a smooth picture as a baseline JPEG of `width` by `height` pixels.

    Each block of 8 by 8 gets its mean colour and the slope of its brightness: all a gradient needs.

    Args:
        width: in pixels, any positive number.
        height: in pixels, any positive number.
        field: `field(x, y)` for x, y in 0…1 gives (brightness, blueness, redness), each -128…127.
    """
    frame = struct.pack(">BHHB", 8, height, width, 3)
    frame += bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"".join(
        (
            b"\xff\xd8",
            _jpeg_segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            _jpeg_segment(0xDB, b"\0" + bytes([_QUANTUM] * 64)),
            _jpeg_segment(0xC0, frame),
            _jpeg_segment(0xC4, _huffman_table(0x00, 4, _DC_SYMBOLS)),
            _jpeg_segment(0xC4, _huffman_table(0x10, 5, _AC_SYMBOLS)),
            _jpeg_segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])),
            _jpeg_scan(width, height, field),
            b"\xff\xd9",
        )
    )


def _jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _huffman_table(target: int, length: int, symbols: bytes) -> bytes:
    """A table in which every symbol's code is `length` bits and equals its place in `symbols`."""
    counts = [0] * 16
    counts[length - 1] = len(symbols)
    return bytes([target, *counts]) + symbols


def _jpeg_scan(width: int, height: int, field: Field) -> bytes:
    across, down = -(-width // 8), -(-height // 8)
    # One row and one column more than there are blocks: a block's slope looks at its neighbours.
    grid = [[field((x + 0.5) / across, (y + 0.5) / down) for x in range(across + 1)] for y in range(down + 1)]
    bits: list[str] = []
    before = [0, 0, 0]
    for y in range(down):
        for x in range(across):
            here, right, below = grid[y][x], grid[y][x + 1][0], grid[y + 1][x][0]
            slopes = ((right - here[0]) / 8 * _SLOPE_GAIN, (below - here[0]) / 8 * _SLOPE_GAIN)
            for channel in range(3):
                level = round(max(-128.0, min(127.0, here[channel])) * 8 / _QUANTUM)
                bits.append(_dc_bits(level - before[channel]))
                before[channel] = level
                bits.append(_ac_bits(slopes) if channel == 0 else "00000")
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    packed = int(stream, 2).to_bytes(len(stream) // 8, "big")
    return packed.replace(b"\xff", b"\xff\x00")


def _magnitude(value: int) -> tuple[int, str]:
    """JPEG's own way to write a number: how many bits, and those bits (T.81, F.1.2.1)."""
    size = abs(value).bit_length()
    if not size:
        return 0, ""
    return size, format(value if value > 0 else value + (1 << size) - 1, f"0{size}b")


def _dc_bits(difference: int) -> str:
    size, bits = _magnitude(difference)
    return format(size, "04b") + bits


def _ac_bits(slopes: tuple[float, float]) -> str:
    """The first two coefficients after the mean (across, down) and the end of the block."""
    out, run = "", 0
    for slope in slopes:
        size, bits = _magnitude(max(-511, min(511, round(slope / _QUANTUM))))
        if not size:
            run += 1
            continue
        out += format(_AC_SYMBOLS.index(run << 4 | size), "05b") + bits
        run = 0
    return out + "00000"


# --- WebP -------------------------------------------------------------------------------------------------

_REVERSED = bytes(int(format(byte, "08b")[::-1], 2) for byte in range(256))


class _BitWriter:
    """Collects bits, least significant first, as WebP wants them."""

    def __init__(self) -> None:
        self._bits = 0
        self._length = 0

    def put(self, value: int, length: int) -> None:
        self._bits |= value << self._length
        self._length += length

    def put_bytes(self, data: bytes) -> None:
        self.put(int.from_bytes(data, "little"), 8 * len(data))

    def packed(self) -> bytes:
        return self._bits.to_bytes(-(-self._length // 8), "little")


def webp(rows: Sequence[bytes], palette: Sequence[bytes]) -> bytes:
    """Encode `rows` of palette indexes as a lossless WebP.

    Args:
        rows: one bytes object a row, one index below 16 a pixel, all of one length.
        palette: exactly 16 colours of three bytes (red, green, blue).
    """
    width, height = len(rows[0]), len(rows)
    out = _BitWriter()
    out.put(width - 1, 14)
    out.put(height - 1, 14)
    out.put(0, 1 + 3)  # no transparency, version 0
    out.put(1 | 3 << 1, 3)  # one transform follows: colour indexing
    out.put(len(palette) - 1, 8)
    _put_palette(out, palette)
    out.put(0, 3)  # no other transform, no colour cache, one set of codes for the whole picture
    _put_flat_code(out, 256 + 24)
    for _ in ("red", "blue", "alpha", "distance"):
        _put_single_code(out)
    # With at most 16 colours two pixels share a byte, the left one in the low half.
    for row in rows:
        even, odd = row[::2], row[1::2].ljust((width + 1) // 2, b"\0")
        size = len(even)
        pairs = int.from_bytes(even, "little") | int.from_bytes(odd, "little") << 4
        out.put_bytes(pairs.to_bytes(size, "little").translate(_REVERSED))
    data = b"\x2f" + out.packed()
    data += b"\0" * (len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _put_palette(out: _BitWriter, palette: Sequence[bytes]) -> None:
    """The palette is a picture one pixel high, each colour the difference from the one before it."""
    out.put(0, 1)  # no colour cache
    for size in (256 + 24, 256, 256):
        _put_flat_code(out, size)
    # Alpha has two values: 255 for the first difference, 0 for every other.
    out.put(0b011, 3)  # a simple code, two symbols, the first one in a single bit
    out.put(0, 1)
    out.put(255, 8)
    _put_single_code(out)
    before = bytes(3)
    for place, colour in enumerate(palette):
        red, green, blue = ((new - old) % 256 for new, old in zip(colour, before, strict=True))
        out.put_bytes(bytes([_REVERSED[green], _REVERSED[red], _REVERSED[blue]]))
        out.put(place == 0, 1)
        before = colour


def _put_flat_code(out: _BitWriter, alphabet: int) -> None:
    """A Huffman code in which the 256 byte values have eight bits each and nothing else occurs."""
    out.put(0, 1)  # a normal code
    out.put(12 - 4, 4)  # twelve lengths follow, in the format's own order: 17 18 0 1 2 3 4 5 16 6 7 8
    for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
        out.put(symbol in (0, 8), 3)  # the lengths "0" and "8" get one bit each
    out.put(0, 1)  # lengths for the whole alphabet follow
    out.put((1 << 256) - 1, alphabet)


def _put_single_code(out: _BitWriter) -> None:
    """A Huffman code with the one symbol 0, which then takes no bits at all."""
    out.put(0b0001, 4)

"""Pictures made from a seed: skies with hills, leaning bands, discs and woven stripes.

Guarantees the same picture for the same seed and size. Drawing takes a few milliseconds, because rows are put
together from whole byte strings and never pixel by pixel.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Callable, Sequence

from .encoders import Field

Colour = tuple[int, int, int]


def colours(rng: random.Random, count: int) -> list[Colour]:
    """`count` colours that match: steps along the colour wheel, from dark to light."""
    hue, turn = rng.random(), rng.uniform(0.06, 0.22) * rng.choice((-1, 1))
    palette: list[Colour] = []
    for step in range(count):
        at = step / max(1, count - 1)
        red, green, blue = colorsys.hls_to_rgb((hue + turn * at) % 1, 0.28 + 0.54 * at, 0.62)
        palette.append((round(255 * red), round(255 * green), round(255 * blue)))
    return palette


def picture(rng: random.Random, width: int, height: int) -> list[bytes]:
    """Draw one of the scenes as rows of RGB pixels, `width` by `height`; `rng` decides everything."""
    rows = rng.choice(_SCENES)(rng, width, height)
    # Without grain a flat picture would compress to a few bytes. Small pictures need it in every row.
    step = 1 if height < 100 else 4
    return [_grainy(rng, row) if y % step == 0 else row for y, row in enumerate(rows)]


def poster(rng: random.Random, width: int, height: int) -> tuple[list[bytes], list[bytes]]:
    """Draw soft waves as rows of palette indexes, and return them with their palette of 16 colours."""
    palette = [bytes(colour) for colour in colours(rng, 16)]
    period = width + 4 * height
    wave = bytes(
        round(7.5 + 7.4 * math.sin(8 * math.pi * x / period + rng.random() * 0.5)) for x in range(period)
    )
    sway, turns = rng.uniform(0.1, 0.4) * height, rng.uniform(1, 3)
    rows = []
    for y in range(height):
        start = round(2 * height + y / 2 + sway * math.sin(turns * math.pi * y / height))
        rows.append(wave[start : start + width].ljust(width, b"\x07"))
    return rows, palette


def glow(rng: random.Random) -> Field:
    """A field for `encoders.jpeg`: two slow waves that cross, in two colours."""
    across, down, phase = rng.uniform(2, 7), rng.uniform(2, 7), rng.uniform(0, 6)
    blue, red = rng.uniform(-70, 70), rng.uniform(-70, 70)

    def field(x: float, y: float) -> tuple[float, float, float]:
        light = 50 * math.sin(across * x + phase) + 50 * math.cos(down * y + across * x / 2)
        return light, blue * (1 - x) + 30 * y, red * x - 30 * y + 10

    return field


def _grainy(rng: random.Random, row: bytes) -> bytes:
    """Add noise in the lowest bit of every byte."""
    mask = int.from_bytes(b"\x01" * len(row), "little")
    noise = rng.getrandbits(8 * len(row)) & mask
    return (int.from_bytes(row, "little") ^ noise).to_bytes(len(row), "little")


def _mix(first: Colour, second: Colour, at: float) -> bytes:
    return bytes(round(a + (b - a) * at) for a, b in zip(first, second, strict=True))


def _ramp(stops: Sequence[Colour], length: int) -> list[bytes]:
    """`length` pixels that pass through all the stops."""
    spans = len(stops) - 1
    out = []
    for place in range(length):
        at = place / max(1, length - 1) * spans
        span = min(int(at), spans - 1)
        out.append(_mix(stops[span], stops[span + 1], at - span))
    return out


def _paint_disc(rows: list[bytes], x: float, y: float, rx: float, ry: float, pixel: bytes) -> None:
    """Paint an ellipse in one colour, as far as it is inside the picture."""
    width = len(rows[0]) // 3
    for row in range(max(0, int(y - ry)), min(len(rows), int(y + ry) + 1)):
        inside = 1 - ((row - y) / ry) ** 2
        if inside <= 0:
            continue
        half = rx * math.sqrt(inside)
        left, right = max(0, round(x - half)), min(width, round(x + half))
        if left < right:
            rows[row] = rows[row][: 3 * left] + pixel * (right - left) + rows[row][3 * right :]


def _hills(rng: random.Random, width: int, height: int) -> list[bytes]:
    """A sky, a sun, and three rows of hills, the near ones darker."""
    tones = colours(rng, 6)
    rows = [pixel * width for pixel in _ramp([tones[2], tones[4], tones[5]], height)]
    sun = rng.uniform(0.08, 0.16) * min(width, height)
    _paint_disc(
        rows, rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.5) * height, sun, sun, b"\xff\xf1\xd6"
    )
    for depth, tone in enumerate((tones[2], tones[1], tones[0])):
        for _ in range(3):
            rx = rng.uniform(0.3, 0.6) * width
            ry = rng.uniform(0.18, 0.4) * height
            _paint_disc(rows, rng.random() * width, (0.86 + 0.13 * depth) * height, rx, ry, bytes(tone))
    return rows


def _bands(rng: random.Random, width: int, height: int) -> list[bytes]:
    """Bands of colour that lean and sway."""
    tones = colours(rng, rng.randint(3, 6))
    length = width + 2 * height
    line = b"".join(_ramp([*tones, *reversed(tones)], length))
    lean, sway, turns = rng.uniform(0, 0.9), rng.uniform(0.05, 0.3) * height, rng.uniform(1, 4)
    rows = []
    for y in range(height):
        start = round(height * 0.5 + lean * y + sway * math.sin(turns * math.pi * y / height))
        start = max(0, min(length - width, start))
        rows.append(line[3 * start : 3 * (start + width)])
    return rows


def _discs(rng: random.Random, width: int, height: int) -> list[bytes]:
    """Concentric discs on a plain ground."""
    tones = colours(rng, 7)
    rows = [pixel * width for pixel in _ramp([tones[0], tones[1]], height)]
    x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
    radius = rng.uniform(0.5, 0.8) * min(width, height)
    for step, tone in enumerate(tones[1:]):
        size = radius * (1 - step / 6.5)
        _paint_disc(rows, x + step * width * 0.015, y, size, size, bytes(tone))
    return rows


def _weave(rng: random.Random, width: int, height: int) -> list[bytes]:
    """Stripes over and under, like cloth."""
    tones = [bytes(tone) for tone in colours(rng, 4)]
    step = max(2, width // rng.randint(9, 22))
    over = b"".join(tones[(x // step) % 3] for x in range(width))
    under = b"".join(tones[1 + (x // step) % 3] for x in range(width))
    lines = [over, under, tones[rng.randrange(4)] * width]
    order = [rng.randrange(3) for _ in range(5)]
    return [lines[order[(y // step) % 5]] for y in range(height)]


_SCENES: tuple[Callable[[random.Random, int, int], list[bytes]], ...] = (_hills, _bands, _discs, _weave)

"""The bytes of made-up outputs: real pictures, films, sounds and documents, drawn by code.

Guarantees that `draw` returns the same bytes for the same `Drawing` on every machine, that they are a whole
and valid file of its kind, and that drawings with different seeds have different bytes, so that a mix-up of
two files shows in their hashes. The films and one sound are small samples in `samples/`, made with FFmpeg's
`gradients` and `sine` sources; each copy gets a mark of its own in a place that players skip.
"""

from __future__ import annotations

import functools
import json
import math
import random
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from . import encoders, scenes


class Kind(StrEnum):
    """The format of a drawing; the value is the suffix without its dot."""

    PNG = "png"
    JPEG = "jpg"
    WEBP = "webp"
    MP4 = "mp4"
    WAV = "wav"
    MP3 = "mp3"
    PDF = "pdf"
    JSON = "json"
    HTML = "html"
    GLB = "glb"


CONTENT_TYPES = {
    Kind.PNG: "image/png",
    Kind.JPEG: "image/jpeg",
    Kind.WEBP: "image/webp",
    Kind.MP4: "video/mp4",
    Kind.WAV: "audio/wav",
    Kind.MP3: "audio/mpeg",
    Kind.PDF: "application/pdf",
    Kind.JSON: "application/json",
    Kind.HTML: "text/html; charset=utf-8",
    Kind.GLB: "model/gltf-binary",
}

OUTPUT_TYPES = {
    Kind.PNG: "imageUrl",
    Kind.JPEG: "imageUrl",
    Kind.WEBP: "imageUrl",
    Kind.MP4: "videoUrl",
    Kind.WAV: "audioUrl",
    Kind.MP3: "audioUrl",
    Kind.PDF: "documentUrl",
    Kind.JSON: "documentUrl",
    Kind.HTML: "documentUrl",
    Kind.GLB: "modelUrl",  # not a type that the API documents: clients must bear unknown types
}

# From this width on a drawing is made for people: sounds are longer, and the film is the larger one.
_LARGE = 200


@dataclass(frozen=True)
class Drawing:
    """The description of a file that is drawn later.

    Attributes:
        kind: the format.
        seed: decides everything that is seen or heard.
        width: of a picture, in pixels; for other kinds 200 or more means the demo's larger size.
        height: of a picture, in pixels.
    """

    kind: Kind
    seed: int
    width: int = 48
    height: int = 36


def draw(drawing: Drawing) -> bytes:
    """Draw the file that `drawing` describes."""
    rng = random.Random(f"{drawing.kind}-{drawing.seed}")  # noqa: S311 - pictures need no cryptography
    mark = f"floradl simulator, {drawing.kind} {drawing.seed}"
    return _PAINTERS[drawing.kind](rng, drawing, mark)


@functools.cache
def _sample(name: str) -> bytes:
    return (resources.files(__package__) / "samples" / name).read_bytes()


def _png(rng: random.Random, drawing: Drawing, mark: str) -> bytes:
    return encoders.png(scenes.picture(rng, drawing.width, drawing.height), comment=mark)


def _jpeg(rng: random.Random, drawing: Drawing, mark: str) -> bytes:
    """A JPEG with the mark in a comment segment after its start marker."""
    picture = encoders.jpeg(drawing.width, drawing.height, scenes.glow(rng))
    return picture[:2] + struct.pack(">HH", 0xFFFE, len(mark) + 2) + mark.encode() + picture[2:]


def _webp(rng: random.Random, drawing: Drawing, mark: str) -> bytes:
    return _with_note(encoders.webp(*scenes.poster(rng, drawing.width, drawing.height)), mark)


def _with_note(file: bytes, mark: str) -> bytes:
    """Add the mark to a RIFF file as a chunk with an unknown name, which readers must skip."""
    note = mark.encode()
    note += b" " * (len(note) % 2)
    body = file[8:] + b"note" + struct.pack("<I", len(note)) + note
    return file[:4] + struct.pack("<I", len(body)) + body


def _mp4(_rng: random.Random, drawing: Drawing, mark: str) -> bytes:
    """The sample film with the mark in a `free` box at its end."""
    note = mark.encode()
    film = _sample("demo.mp4" if drawing.width >= _LARGE else "small.mp4")
    return film + struct.pack(">I", len(note) + 8) + b"free" + note


def _mp3(_rng: random.Random, _drawing: Drawing, mark: str) -> bytes:
    """The sample tone after an ID3v2.3 tag with the mark as its title."""
    title = b"\0" + mark.encode("latin-1")
    frame = b"TIT2" + struct.pack(">I", len(title)) + b"\0\0" + title
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame + _sample("tone.mp3")


def _wav(rng: random.Random, drawing: Drawing, mark: str) -> bytes:
    """A chord of three sines that fades out: 16 bits, mono, 16 kHz."""
    rate, seconds = 16_000, 1.5 if drawing.width >= _LARGE else 0.1
    count = int(rate * seconds)
    root = 220 * 2 ** (rng.randrange(12) / 12)
    steps = [2 * math.pi * root * ratio / rate for ratio in (1, 1.26, 1.5)]
    samples = array("h")
    for place in range(count):
        level = sum(math.sin(step * place) for step in steps)
        samples.append(round(8000 * level * (1 - place / count)))
    if struct.pack("=H", 1) == struct.pack(">H", 1):
        samples.byteswap()  # WAV is little-endian on every machine
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    data = samples.tobytes()
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return _with_note(b"RIFF" + struct.pack("<I", len(body)) + body, mark)


def _pdf(rng: random.Random, _drawing: Drawing, mark: str) -> bytes:
    """One page with coloured bars and a line of text."""
    drawing = []
    for place, colour in enumerate(scenes.colours(rng, 8)):
        red, green, blue = (f"{value / 255:.3f}" for value in colour)
        drawing.append(f"{red} {green} {blue} rg {60 + 55 * place} 200 45 {rng.randint(80, 400)} re f")
    drawing.append(f"0 g BT /F1 16 Tf 60 150 Td ({mark}) Tj ET")
    content = "\n".join(drawing).encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 560 720] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> >>"
        ),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, entry in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, entry)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _json(rng: random.Random, _drawing: Drawing, mark: str) -> bytes:
    return json.dumps({"title": mark, "values": [rng.random() for _ in range(20)]}, indent=1).encode()


def _html(rng: random.Random, _drawing: Drawing, mark: str) -> bytes:
    """A page that is a document, and looks different from an error page."""
    red, green, blue = scenes.colours(rng, 3)[2]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{mark}</title></head>\n'
        f'<body style="background: rgb({red} {green} {blue})">\n<h1>Mood board</h1>\n'
        f"<p>{mark}</p></body></html>\n"
    ).encode()


def _glb(rng: random.Random, _drawing: Drawing, mark: str) -> bytes:
    """A binary glTF 2.0 file holding one triangle."""
    corners = struct.pack("<9f", *(rng.uniform(-1, 1) for _ in range(9)))
    values = struct.unpack("<9f", corners)
    scene = {
        "asset": {"version": "2.0", "generator": mark},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "buffers": [{"byteLength": len(corners)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(corners)}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [min(values[axis::3]) for axis in range(3)],
                "max": [max(values[axis::3]) for axis in range(3)],
            }
        ],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(corners), b"BIN\0") + corners
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


_PAINTERS: dict[Kind, Callable[[random.Random, Drawing, str], bytes]] = {
    Kind.PNG: _png,
    Kind.JPEG: _jpeg,
    Kind.WEBP: _webp,
    Kind.MP4: _mp4,
    Kind.WAV: _wav,
    Kind.MP3: _mp3,
    Kind.PDF: _pdf,
    Kind.JSON: _json,
    Kind.HTML: _html,
    Kind.GLB: _glb,
}

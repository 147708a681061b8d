"""How large pictures and films are shown, from their heads."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from floradl.gallery.image_size import MAX_SIDE, Size, picture_size
from floradl.simulator.media import Drawing, Kind, draw


def size_of(data: bytes) -> Size | None:
    """The size of a file of these bytes."""
    return picture_size(len(data), lambda at, length: data[at : at + length])


def encoded(kind: str, size: tuple[int, int], **more: object) -> bytes:
    """A picture as Pillow writes it."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", [Kind.PNG, Kind.JPEG, Kind.WEBP])
def test_pictures_of_the_simulator(kind: Kind) -> None:
    """What the simulator draws has the size that was asked for."""
    assert size_of(draw(Drawing(kind, 1, 321, 123))) == (321, 123)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF"])
def test_pictures_of_another_writer(kind: str) -> None:
    """Every format that browsers show, as Pillow writes it."""
    assert size_of(encoded(kind, (640, 360))) == (640, 360)


def test_a_lossless_webp() -> None:
    """WebP has three forms; this one has its size in odd bits."""
    assert size_of(encoded("WEBP", (300, 200), lossless=True)) == (300, 200)
    file = io.BytesIO()
    Image.new("RGBA", (300, 200), (1, 2, 3, 4)).save(file, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    assert size_of(file.getvalue()) == (300, 200)


@pytest.mark.parametrize(("orientation", "size"), [(1, (640, 360)), (3, (640, 360)), (6, (360, 640))])
def test_a_jpeg_that_lies_on_its_side(orientation: int, size: tuple[int, int]) -> None:
    """A camera's turn is undone, as browsers do."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert size_of(encoded("JPEG", (640, 360), exif=exif)) == size


def test_a_film() -> None:
    """The sample film's own size, though what holds it stands near its end."""
    assert size_of(draw(Drawing(Kind.MP4, 1, 320, 240))) == (640, 360)


def test_a_drawing_has_the_shape_of_its_view_box() -> None:
    """An SVG says how wide it is beside its height; without that it has no shape."""
    assert size_of(b'<?xml version="1.0"?><svg viewBox="0 0 300 150" width="9">') == (1000, 500)
    assert size_of(b"<svg viewBox='0 0 0 9'></svg>") is None
    assert size_of(b"<svg></svg>") is None


@pytest.mark.parametrize("cut", [0, 10, 18, 25, 60])
def test_a_file_that_is_cut_off_has_none(cut: int) -> None:
    """Nor does it raise anything."""
    for data in (encoded("JPEG", (9, 9)), encoded("PNG", (9, 9)), draw(Drawing(Kind.MP4, 1))):
        assert size_of(data[:cut]) in (None, (9, 9))


def test_a_picture_that_claims_to_be_endless_is_not_believed() -> None:
    """Whoever lays out a page divides by these numbers."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    assert size_of(head + (MAX_SIDE + 1).to_bytes(4, "big") + b"\0\0\0\1") is None
    assert size_of(head + bytes(4) + b"\0\0\0\1") is None


_HEADS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe1",
    b"RIFF1234WEBPVP8X",
    b"GIF89a",
    b"\0\0\0\x18ftypmp42",
    b"<svg ",
]


@given(st.sampled_from([*_HEADS, b""]), st.binary(max_size=300))
def test_any_bytes_are_survived(head: bytes, rest: bytes) -> None:
    """Two numbers come out, or nothing."""
    size = size_of(head + rest)
    assert size is None or (0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE)


@given(st.data())
def test_a_damaged_film_is_survived(data: st.DataObject) -> None:
    """Boxes that lie about their lengths end nowhere, and no look at them is without end."""
    film = bytearray(draw(Drawing(Kind.MP4, 1)))
    for _ in range(data.draw(st.integers(1, 8))):
        film[data.draw(st.integers(0, len(film) - 1))] = data.draw(st.integers(0, 255))
    size_of(bytes(film))

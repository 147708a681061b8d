"""Files under an output's name: which of them is the output, and which is a neighbour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from floradl.api.models import Output
from floradl.repository.found_files import find_output
from floradl.storage.destination import Destination
from tests.support.media import png

DONE_MS = 1_790_000_000_000
FOLDER = PurePosixPath("ws_a/prj_a/run_1")
RECORD = FOLDER / "run.json"
URL = "https://media.flora.ai/a/1f2e3d"
IMAGE = Output("output_1", "imageUrl", URL)
VIDEO = Output("output_1", "videoUrl", URL)
AUDIO = Output("output_1", "audioUrl", URL)
DOCUMENT = Output("output_1", "documentUrl", URL)
PDF = Output("output_1", "documentUrl", f"{URL}.pdf?token=1")
PNG = png(b"a picture")
JPEG = b"\xff\xd8\xff\xe0 an export \xff\xd9"
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"
XMP = b'<?xpacket begin="" ?><x:xmpmeta xmlns:x="adobe:ns:meta/">'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """An archive with the record of one run, with its date."""
    (tmp_path / FOLDER).mkdir(parents=True)
    opened = Destination(tmp_path, threads=1)
    put(opened, "run.json", b"{}")
    yield opened
    opened.close()


def put(disk: Destination, name: str, data: bytes, *, late_ms: int = 0) -> None:
    """Put a file beside the record; floradl's own has the date of the run."""
    path = disk.root / FOLDER / name
    path.write_bytes(data)
    moment_s = (DONE_MS + late_ms) / 1000
    os.utime(path, (moment_s, moment_s))


def found(disk: Destination, output: Output, done_at_ms: int | None = DONE_MS) -> str | None:
    """What is taken for the output."""
    names = [path.name for path in (disk.root / FOLDER).iterdir() if path.name != "run.json"]
    return find_output(disk, RECORD, output, done_at_ms, names)


@pytest.mark.parametrize(
    ("output", "name", "data"),
    [
        (IMAGE, "output_1.png", PNG),
        (IMAGE, "output_1.bin", b"\1\2\3 of no known format"),
        (IMAGE, "output_1.bmp", b"\1\2\3 declared by the host"),
        (VIDEO, "output_1.mp4", MP4),
        (VIDEO, "output_1.gif", b"GIF89a;"),
        (AUDIO, "output_1.mp4", MP4),
        (DOCUMENT, "output_1.docx", b"PK\3\4"),
        (DOCUMENT, "output_1.html", b"<!doctype html>"),
        (PDF, "output_1.pdf", b"%PDF-1.7"),
        (Output("output_1", "noteCard", URL), "output_1.txt", b"a note"),
    ],
)
def test_what_floradl_left_is_found(disk: Destination, output: Output, name: str, data: bytes) -> None:
    """By its name, its bytes and its date; and by name and bytes where dates say nothing."""
    put(disk, name, data)
    assert found(disk, output) == name
    put(disk, name, data, late_ms=1900)  # as a file system keeps dates that has two seconds for it
    assert found(disk, output) == name
    put(disk, name, data, late_ms=2100)
    assert found(disk, output) is None
    put(disk, "run.json", b"{}", late_ms=86_400_000)  # copied without dates
    assert found(disk, output) == name
    assert found(disk, output, None) == name
    (disk.root / RECORD).unlink()
    assert found(disk, output) == name


@pytest.mark.parametrize(
    ("output", "name", "data"),
    [
        (IMAGE, "output_1.xmp", XMP),
        (IMAGE, "output_1.txt", b"five stars"),
        (IMAGE, "output_1.nfo", b"\0\1 of a media centre"),
        (IMAGE, "output_1.png", JPEG),  # renamed by hand
        (IMAGE, "output_1.mp4", MP4),
        (IMAGE, "output_1.pdf", b"%PDF-1.7"),
        (IMAGE, "output_1.html", b"<!doctype html><title>404"),
        (VIDEO, "output_1.srt", b"1\n00:00:01"),
        (VIDEO, "output_1.m4a", b"\0\0\0\x18ftypM4A "),
        (AUDIO, "output_1.lrc", b"[00:01] la"),
        (PDF, "output_1.html", b"<!doctype html><title>Sign in"),
        (PDF, "output_1.txt", b"my notes on it"),
        (IMAGE, "output_2.png", PNG),
        (IMAGE, "output_1", PNG),
    ],
)
@pytest.mark.parametrize("has_dates", [True, False])
def test_a_neighbour_is_no_output(
    disk: Destination, output: Output, name: str, data: bytes, *, has_dates: bool
) -> None:
    """Whatever date it has."""
    put(disk, name, data)
    put(disk, "run.json", b"{}", late_ms=0 if has_dates else 86_400_000)
    assert found(disk, output) is None


def test_what_a_user_exported_beside_it(disk: Destination) -> None:
    """The date tells the one from the other, and without dates what the URL says; else it is not known."""
    put(disk, "output_1.png", PNG)
    put(disk, "output_1.jpg", JPEG, late_ms=3_600_000)
    assert found(disk, IMAGE) == "output_1.png"
    put(disk, "run.json", b"{}", late_ms=86_400_000)
    assert found(disk, IMAGE) is None
    assert found(disk, Output("output_1", "imageUrl", f"{URL}.png")) == "output_1.png"
    assert found(disk, Output("output_1", "imageUrl", f"{URL}.webp")) is None


def test_what_a_user_put_in_the_place_of_a_failed_output(disk: Destination) -> None:
    """A picture of the right kind with a date of its own stays the user's."""
    put(disk, "output_1.png", PNG, late_ms=-3_600_000)
    assert found(disk, IMAGE) is None


def test_a_file_that_has_another_name_too(disk: Destination) -> None:
    """It has the date of the file that it was made from."""
    put(disk, "output_1.png", PNG, late_ms=-3_600_000)
    (disk.root / "elsewhere.png").hardlink_to(disk.root / FOLDER / "output_1.png")
    assert found(disk, IMAGE) == "output_1.png"


def test_an_empty_file(disk: Destination) -> None:
    """It has no head to look at, and is no picture of any kind but one without a format."""
    put(disk, "output_1.png", b"")
    assert found(disk, IMAGE) == "output_1.png"  # callers leave out what has no byte

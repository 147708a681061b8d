"""What bytes are: each format's extension, and the pages of errors that stand where media should be."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.repository.filetype import extension_for, has_end, missing_end, page_instead_of_media
from tests.support.media import mp4, png

FORMATS: list[tuple[bytes, str]] = [
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", ".jpg"),
    (b"\xff\xd8\xff\xdb", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"RIFF\x10\0\0\0WEBPVP8 ", ".webp"),
    (b"RIFF\x10\0\0\0WAVEfmt ", ".wav"),
    (b"RIFF\x10\0\0\0AVI LIST", ".avi"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", ".webm"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska", ".mkv"),
    (b"OggS\0\x02", ".ogg"),
    (b"fLaC\0\0\0\x22", ".flac"),
    (b"ID3\x04\0", ".mp3"),
    (b"\xff\xfb\x90\x64", ".mp3"),
    (b"\xff\xf3\x40\xc4", ".mp3"),
    (b"\xff\xf1\x50\x80", ".aac"),
    (b"\xff\xf9\x50\x80", ".aac"),
    (b"%PDF-1.7", ".pdf"),
    (b"glTF\x02\0\0\0", ".glb"),
    (b"II*\0\x08\0", ".tif"),
    (b"MM\0*\0\0", ".tif"),
    (b"8BPS\0\x01", ".psd"),
    (b"\0\0\x01\0\x01\0", ".ico"),
    (b"\xff\x0a\xfa", ".jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
    (b"\0\0\0\x20ftypavif", ".avif"),
    (b"\0\0\0\x20ftypavis", ".avif"),
    (b"\0\0\0\x20ftypheic", ".heic"),
    (b"\0\0\0\x20ftypheix", ".heic"),
    (b"\0\0\0\x20ftypmif1", ".heic"),
    (b"\0\0\0\x20ftypM4A ", ".m4a"),
    (b"\0\0\0\x20ftypM4B ", ".m4a"),
    (b"\0\0\0\x14ftypqt  ", ".mov"),
    (b"\0\0\0\x20ftypisom", ".mp4"),
    (b"\0\0\0\x20ftypmp42", ".mp4"),
    (b"\0\0\0\x20ftypXYZ1", ".mp4"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'>", ".svg"),
    (b"<SVG>", ".svg"),
    (b"\xef\xbb\xbf <svg\n>", ".svg"),
    (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg >', ".svg"),
    (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg>', ".svg"),
    (b"<!DOCTYPE svg [\n<!ENTITY a 'b>c'>\n]>\n<svg>", ".svg"),
    (b"<svg><foreignObject><html xmlns='http://www.w3.org/1999/xhtml'>", ".svg"),
]
PAGES: list[tuple[bytes, str, str]] = [
    (b"<!DOCTYPE html><title>Not found</title>", "text/html", "HTML"),
    (b"<html><head>", "image/png", "HTML"),
    (b"  \r\n\t<HTML>", "image/png", "HTML"),
    (b"\xef\xbb\xbf<!doctype html>", "image/png", "HTML"),
    (b"\xff\xfe" + "<html>".encode("utf-16-le"), "image/png", "HTML"),
    (b"\xfe\xff" + "<html>".encode("utf-16-be"), "image/png", "HTML"),
    (b"\xff\xfe" + '{"error": 1}'.encode("utf-16-le"), "", "JSON"),
    (b"\xfe\xff" + '<?xml version="1.0"?><Error/>'.encode("utf-16-be"), "", "XML"),
    (b"<center><h1>502 Bad Gateway</h1></center>", "video/mp4", "HTML"),
    (b"<!-- a comment --><html>", "image/png", "HTML"),
    (b"<!DOCTYPE html><html><svg width='1'></svg>", "image/svg+xml", "HTML"),
    (b"<div class='error'><svg width='1'></svg>", "image/svg+xml", "HTML"),
    (b"<svgfoo>", "", "HTML"),
    (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">', "", "HTML"),
    (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">', "", "HTML"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "image/png", "XML"),
    (b'\n<?XML version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>', "application/xml", "XML"),
    (b'{"error": {"code": "not_found"}}', "image/png", "JSON"),
    (b'[{"error": 1}]', "image/png", "JSON"),
    (b'\xef\xbb\xbf\n {"error": 1}', "", "JSON"),
    (b"Not found", "text/plain", "text"),
    (b"Gateway timeout", "Text/HTML; charset=utf-8", "text"),
    (b"", "text/html", "text"),
]
WRONG_TYPES = ["", "text/html", "application/json", "application/octet-stream", "image/png", "junk"]


@pytest.mark.parametrize(("head", "extension"), FORMATS, ids=[f"{e}-{h[:12]!r}" for h, e in FORMATS])
def test_bytes_come_first(head: bytes, extension: str) -> None:
    """A format that its bytes tell is known by them, whatever the host and the URL say, and is no page."""
    for content_type, rest in product(WRONG_TYPES, (b"", b"\0" * 900, b"<html>{" * 50)):
        assert extension_for(head + rest, content_type, "https://h/x.html") == extension
        assert page_instead_of_media(head + rest, content_type) is None


@pytest.mark.parametrize(("head", "content_type", "kind"), PAGES, ids=[repr(page[0][:32]) for page in PAGES])
def test_pages(head: bytes, content_type: str, kind: str) -> None:
    """A page of an error is told for what it is, also where the host calls it an image."""
    assert page_instead_of_media(head, content_type) == kind
    for claimed in ("image/png", "video/mp4", "application/octet-stream", ""):
        assert page_instead_of_media(head, claimed) == (kind if head else None)


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"", ""),
        (b"", "image/png"),
        (b"BM\x36\0", "image/bmp"),
        (b"\0\0\0", "video/mp4"),
        (b"solid x", "model/stl"),
    ],
)
def test_what_may_be_media(head: bytes, content_type: str) -> None:
    """Bytes of no known format are taken for media unless they look like a page."""
    assert page_instead_of_media(head, content_type) is None


@pytest.mark.parametrize(
    ("head", "content_type", "url", "extension"),
    [
        (b"BM6", "image/bmp", "https://h/x.png", ".bmp"),
        (b"x", "image/jpeg", "", ".jpg"),
        (b"x", "IMAGE/JPEG ; q=1", "", ".jpg"),
        (b"x", "audio/mpeg", "https://h/x.wav", ".mp3"),
        (b"x", "audio/x-m4a", "", ".m4a"),
        (b"PK\x03\x04", "application/zip", "https://h/x.docx", ".zip"),
        (b"# Title", "text/markdown; charset=utf-8", "", ".md"),
        (b"hello", "text/plain", "", ".txt"),
        (b"{}", "application/json", "", ".json"),
        (b"<!doctype html>", "text/html", "", ".html"),
        (b"<?xml version='1.0'?><a/>", "application/xml", "", ".xml"),
        (b"v 1 2 3", "model/obj", "", ".obj"),
        (b"RIFF\0\0\0\0ABCD", "", "https://h/x.ani", ".ani"),
        (b"x", "", "https://h/a/b.GLB", ".glb"),
        (b"x", "application/octet-stream", "https://h/x.tar.gz", ".gz"),
        (b"x", "binary/octet-stream", "https://h/x.mp4?X-Sig=a.b/c.d#e.f", ".mp4"),
        (b"x", "junk", "https://h/x.7z", ".7z"),
        (b"x", "", "https://h/.png", ".png"),
        (b"x", "", "https://h/x", ".bin"),
        (b"x", "", "https://h.png", ".bin"),
        (b"x", "", "https://h/dir.png/x", ".bin"),
        (b"x", "", "https://h/x.", ".bin"),
        (b"x", "", "https://h/x.p%20g", ".bin"),
        (b"x", "", "https://h/x.toolongsuffix", ".bin"),
        (b"x", "", "https://h/x.\xe9", ".bin"),
        (b"x", "", "https://h/x.p\\..", ".bin"),
        (b"x", "", "https://[h/x.png", ".bin"),
        (b"x", "", "", ".bin"),
        (b"", "", "", ".bin"),
        (b"\xff", "", "", ".bin"),
    ],
)
def test_extension_without_magic(head: bytes, content_type: str, url: str, extension: str) -> None:
    """Where bytes do not tell, the declared type does; then the URL's suffix; and at last it is `.bin`."""
    assert extension_for(head, content_type, url) == extension


@given(st.binary(max_size=80), st.text(max_size=30), st.text(max_size=60))
def test_any_answer_has_a_plain_extension(head: bytes, content_type: str, url: str) -> None:
    """Whatever comes, the extension is a dot and one to eight letters or digits."""
    extension = extension_for(head, content_type, f"https://h/{url}")
    assert extension[0] == "."
    assert extension[1:].isascii()
    assert extension[1:].isalnum()
    assert extension == extension.lower()
    assert 2 <= len(extension) <= 9
    assert page_instead_of_media(head, content_type) in (None, "HTML", "XML", "JSON", "text")


@given(
    st.sampled_from(["<html><body>{}", "<!doctype html>{}", '{{"error": "{}"}}', "<Error>{}</Error>"]),
    st.text(),
)
def test_no_page_passes_for_media(page: str, text: str) -> None:
    """A page is found in UTF-8 with and without a mark, and in UTF-16 with one, whatever it says."""
    written = page.format(text.encode("utf-8", "replace").decode())
    for body in (written.encode(), written.encode("utf-8-sig"), written.encode("utf-16")):
        assert page_instead_of_media(body[:1024], "image/png") in ("HTML", "JSON")


@pytest.mark.parametrize(
    "filler", [b"<!---->", b"<!-- -->-->", b"<?a?>", b"<!doctype svg[]>", b" ", b"<!doctype svg["]
)
def test_a_head_made_to_be_slow_is_not(filler: bytes) -> None:
    """A kilobyte of what may precede an `<svg>` is looked through once, not in every combination."""
    head = (filler * 1024)[:1024]
    assert extension_for(head, "", "") == ".bin"


WHOLE = {
    "PNG": png(bytes(5000)),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(5000) + b"\xff\xd9",
    "GIF": b"GIF89a" + bytes(5000) + b"\x3b",
    "RIFF": b"RIFF" + (5004).to_bytes(4, "little") + b"WEBP" + bytes(5000),
    "MP4": mp4(bytes(5000)),
    "MP4 with a long box": b"\0\0\0\x08ftyp\0\0\0\x01mdat" + (5016).to_bytes(8, "big") + bytes(5000),
}


def lacking(data: bytes) -> str:
    """What the end of a file lacks."""
    return missing_end(data[:1024], len(data), lambda offset, length: data[offset : offset + length])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_is_whole_or_cut_off(kind: str) -> None:
    """The whole file has its end; without its last bytes, or its last half, it has not."""
    data = WHOLE[kind]
    assert lacking(data) == ""
    for cut in (12, len(data) // 2):
        assert kind.partition(" ")[0] in lacking(data[:-cut])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(WHOLE["PNG"] + b"what an editor added", id="a PNG with something behind it"),
        pytest.param(WHOLE["JPEG"] + bytes(900), id="a JPEG with something behind it"),
        pytest.param(WHOLE["GIF"] + bytes(9), id="a GIF with something behind it"),
        pytest.param(WHOLE["RIFF"] + b"more", id="a RIFF file with something behind it"),
        pytest.param(WHOLE["RIFF"][:-1], id="a RIFF file without its padding"),
        pytest.param(WHOLE["RIFF"].replace((5004).to_bytes(4, "little"), b"\xff" * 4), id="a streamed RIFF"),
        pytest.param(WHOLE["RIFF"].replace((5004).to_bytes(4, "little"), bytes(4)), id="a RIFF of no length"),
        pytest.param(mp4(b"") + b"\0\0\0\0mdat" + bytes(77), id="an MP4 whose last box goes to the end"),
        pytest.param(mp4(b"") + b"\0\0\0\x01", id="an MP4 with something behind it"),
        pytest.param(b"ID3" + bytes(50), id="a format without a definite end"),
        pytest.param(b"\x01unknown", id="no format at all"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_nothing_is_said_to_be_lacking_where_it_may_be_whole(data: bytes) -> None:
    """What cannot be told for certain passes: a picture that is refused is a picture lost."""
    assert lacking(data) == ""


def ended(data: bytes) -> bool:
    """Whether a file is known to be whole."""
    return has_end(data[:1024], len(data), lambda offset, length: data[offset : offset + length])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_is_known_to_be_whole_by_its_format(kind: str) -> None:
    """A mark of the end, or lengths that add up, prove it; a cut never passes."""
    data = WHOLE[kind]
    assert ended(data)
    for cut in (12, len(data) // 2):
        assert not ended(data[:-cut])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(WHOLE["RIFF"].replace((5004).to_bytes(4, "little"), bytes(4)), id="a RIFF of no length"),
        pytest.param(mp4(b"") + b"\0\0\0\0mdat" + bytes(77), id="an MP4 whose last box goes to the end"),
        pytest.param(mp4(b"") + b"\0\0\0\x01", id="an MP4 with something behind it"),
        pytest.param(b"ID3" + bytes(50), id="a format without a definite end"),
        pytest.param(b"%PDF-1.7", id="a document"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_does_not_tell_is_not_known_to_be_whole(data: bytes) -> None:
    """Where the format says nothing of an end, nothing proves that it has come."""
    assert not ended(data)

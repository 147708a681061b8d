"""Of what type bytes are: the extension, whether they are a page in place of an output, whether their end is
missing, and whether a file that was found can be an output.

The first bytes decide ("magic numbers"), since hosts often declare a wrong type. Where they tell nothing, the
`Content-Type` decides, and after that the suffix of the URL.
Sources: the formats' specifications as listed in the WHATWG MIME Sniffing Standard, section 6, and
IANA's media type registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from floradl.api.models import MEDIA_TYPES, Output
from floradl.constants import OutputType

ReadAt = Callable[[int, int], bytes]
"""Reads a file: takes an offset and a length in bytes, gives so many bytes, or fewer where the file ends."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"\x1a\x45\xdf\xa3", ".webm"),
    (b"OggS", ".ogg"),
    (b"fLaC", ".flac"),
    (b"ID3", ".mp3"),
    (b"%PDF-", ".pdf"),
    (b"glTF", ".glb"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"8BPS", ".psd"),
    (b"\x00\x00\x01\x00", ".ico"),
    (b"\xff\x0a", ".jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", ".jxl"),
)
_RIFF = {b"WEBP": ".webp", b"WAVE": ".wav", b"AVI ": ".avi"}
# By the major brand of an ISO base media file. Any other brand is taken for an MP4 video.
_BRANDS = {
    b"avif": ".avif", b"avis": ".avif", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heic",
    b"M4A ": ".m4a", b"M4B ": ".m4a", b"qt  ": ".mov",
}  # fmt: skip
_CONTENT_TYPES = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/jpg": ".jpg", "image/gif": ".gif",
    "image/webp": ".webp", "image/avif": ".avif", "image/heic": ".heic", "image/svg+xml": ".svg",
    "image/tiff": ".tif", "image/bmp": ".bmp", "image/vnd.adobe.photoshop": ".psd", "image/jxl": ".jxl",
    "video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "video/x-matroska": ".mkv",
    "audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav",
    "audio/wave": ".wav", "audio/ogg": ".ogg", "audio/flac": ".flac", "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a", "audio/aac": ".aac", "audio/webm": ".webm",
    "application/pdf": ".pdf", "application/json": ".json", "application/zip": ".zip",
    "application/msword": ".doc", "application/rtf": ".rtf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "text/plain": ".txt", "text/markdown": ".md", "text/html": ".html", "text/csv": ".csv",
    "text/xml": ".xml", "application/xml": ".xml",
    "model/gltf-binary": ".glb", "model/gltf+json": ".gltf", "model/obj": ".obj", "model/stl": ".stl",
}  # fmt: skip
_MEDIA_OF = {extension: mime.partition("/")[0] for mime, extension in reversed(_CONTENT_TYPES.items())}
"""The kind of media that an extension stands for, such as `image`."""

# What an API type without one of the documented words says of its files: `glbUrl`, `modelUrl`, `mesh_url`.
_TYPE_WORD = re.compile(r"([a-z0-9]+?)(?:url|file)?", re.ASCII)
_TYPE_WORDS = {"model": ".gltf", "model3d": ".gltf", "mesh": ".gltf", "archive": ".zip"}
_KNOWN_SUFFIXES = frozenset(
    {*_CONTENT_TYPES.values(), ".usdz", ".fbx", ".blend", ".ply", ".dae", ".htm", ".srt", ".vtt"}
)
_PAGES = frozenset({".html", ".htm", ".xml", ".svg"})
_TEXTS = frozenset(
    {".txt", ".md", ".csv", ".json", ".gltf", ".obj", ".stl", ".ply", ".dae", ".srt", ".vtt", ".rtf"}
    | {".doc", ".fbx"}  # both have a form that is text
)
_MAY_BE: dict[str, frozenset[str]] = {
    OutputType.IMAGE: frozenset({"image"}),
    OutputType.VIDEO: frozenset({"video", "image"}),  # an animation may be a GIF or WebP
    OutputType.AUDIO: frozenset({"audio", "video"}),  # sound in the container of a video
}
"""Of which kinds of media the files of a type are."""
_STREAMED = (0, 0xFFFFFFFF)  # of a RIFF file whose program did not know its length yet
_TAIL_BYTES = 64 * 1024
_SLACK = 1024
_MAX_BOXES = 100_000
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)
# The root element `svg`, and before it white space, processing instructions, comments and a doctype. The
# groups are atomic, so that no file, however it was made, takes long to match.
_SVG = re.compile(
    rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype\s+svg\b(?:[^>\[]|\[.*?\]\s*(?=>))*>)*+<svg[\s/>]",
    re.IGNORECASE | re.DOTALL,
)


def extension_for(head: bytes, content_type: str, url: str) -> str:
    """The extension of a file, with its dot.

    Args:
        head: its first bytes; `digest.HEAD_BYTES` are enough.
        content_type: the host's `Content-Type`, or "".
        url: where it came from.

    Returns:
        The extension; `.bin` when neither bytes nor type nor URL tells of any.
    """
    declared = _CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower(), "")
    return _magic_extension(head) or declared or _url_suffix(url) or ".bin"


def announced_extension(output: Output) -> str:
    """The extension that an output should have, by what is known before a byte of it came.

    Args:
        output: as FLORA gave it: the content type of its record counts first, then the suffix of its URL,
            then a word in its type.

    Returns:
        An extension that is known here; "" where nothing says anything.
    """
    declared = _CONTENT_TYPES.get(output.content_type.partition(";")[0].strip().lower(), "")
    suffix = "" if output.value is None else _url_suffix(output.value)
    match = _TYPE_WORD.fullmatch(output.type.lower().replace("_", ""))
    word = match[1] if match else ""
    typed = _TYPE_WORDS.get(word, f".{word}")
    return next((each for each in (declared, suffix, typed) if each in _KNOWN_SUFFIXES), "")


def page_instead_of(output: Output, head: bytes, content_type: str) -> str | None:
    """What a host sent in place of an output: the page of an error, or one to sign in at.

    Images, videos and sounds are never pages. A document, an upload or an output of an unknown type may well
    be one: it is refused only where its record, its URL or its type says that it is something else.

    Args:
        output: what was asked for.
        head: the first bytes.
        content_type: the host's `Content-Type`, or "".

    Returns:
        `HTML`, `XML`, `JSON` or `text`; None when the bytes may be the output.
    """
    announced = announced_extension(output)
    if output.type in MEDIA_TYPES:
        return page_instead_of_media(head, content_type)
    if announced not in {"", *_PAGES, *_TEXTS}:
        return page_instead_of_media(head, "")  # what hosts say of the types of documents is often wrong
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_page = announced in _TEXTS and start[:1] == b"<" and _has_html(start[:_SLACK])
    return "HTML" if is_page else None


def may_be_file_of(output: Output, head: bytes, extension: str) -> bool:
    """Whether a file that bears an output's name, with this extension, may be the output.

    floradl names a file after its bytes. So a file whose name says something else than its bytes, or whose
    bytes are of another kind than the output, was made by somebody else: a sidecar of a photo program, a
    preview, a note.

    Args:
        output: as FLORA gave it, or as its entry has it.
        head: the file's first bytes.
        extension: the extension of its name, with the dot.
    """
    magic = _magic_extension(head)
    if magic and magic != extension:
        return False
    if page_instead_of(output, head, "") is not None:
        return False
    if output.type in _MAY_BE:
        kinds = _MAY_BE[output.type]
        return (
            extension == ".bin"
            or _MEDIA_OF.get(extension) in kinds
            or extension == announced_extension(output)
        )
    announced = announced_extension(output)
    return bool(magic) or extension in {announced or extension, ".bin"}


def page_instead_of_media(head: bytes, content_type: str) -> str | None:
    """What a host sent in place of an image, a video or a sound: an error page, for example.

    Documents must not be asked about: see `page_instead_of`. The bytes decide. The `content_type` counts
    only for plain text: it may declare text, or a format that is written as text.

    Args:
        head: the first bytes.
        content_type: the host's `Content-Type`, or "".

    Returns:
        `HTML`, `XML`, `JSON` or `text`; None when the bytes may be the media.
    """
    if _magic_extension(head):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        start = start[2:].replace(b"\x00", b"").lstrip()
    if start[:1] in (b"{", b"["):
        return "JSON"
    if start[:1] != b"<":
        return "text" if _is_text(head, content_type.lower()) else None
    return "XML" if start[:5].lower() == b"<?xml" and not _has_html(start) else "HTML"


def missing_end(head: bytes, size_bytes: int, read_at: ReadAt) -> str:
    """Whether a file was cut, by the rules of its format.

    When a host announces a wrong length or none, a body that was cut looks complete. Only its format can
    tell.

    Args:
        head: the file's first bytes.
        size_bytes: its size.
        read_at: reads the file.

    Returns:
        What is missing, for a message; "" when nothing is, or the format does not tell.
    """
    kind = _magic_extension(head)
    # Searched from the end, where the mark nearly always stands: a search from the front would pass over 64
    # KiB of every picture.
    if kind == ".png":
        return "" if _tail(size_bytes, read_at).rfind(b"IEND\xaeB`\x82") >= 0 else "a PNG without IEND"
    if kind == ".jpg":
        return "" if _tail(size_bytes, read_at).rfind(b"\xff\xd9") >= 0 else "a JPEG without its end marker"
    if kind == ".gif":
        return "" if b"\x3b" in _tail(size_bytes, read_at)[-_SLACK:] else "a GIF without its trailer"
    if head[:4] == b"RIFF":
        announced = int.from_bytes(head[4:8], "little")
        is_streamed = announced in _STREAMED
        # One byte less is no cut: some programs leave out the byte of padding at the end.
        is_short = not is_streamed and announced + 8 > size_bytes + 1
        return "a RIFF file shorter than it says" if is_short else ""
    return _missing_box(size_bytes, read_at) if head[4:8] == b"ftyp" else ""


def has_end(head: bytes, size_bytes: int, read_at: ReadAt) -> bool:
    """Whether a file is whole by the rules of its format, and not only of a format that tells of no cut.

    Args:
        head, size_bytes, read_at: as for `missing_end`.
    """
    if head[4:8] == b"ftyp":
        return _end_of_boxes(size_bytes, read_at) == size_bytes
    is_riff = head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") not in _STREAMED
    is_told = is_riff or _magic_extension(head) in (".png", ".jpg", ".gif")
    return is_told and not missing_end(head, size_bytes, read_at)


def _missing_box(size_bytes: int, read_at: ReadAt) -> str:
    """Whether an ISO base media file ends in the middle of a box."""
    end = _end_of_boxes(size_bytes, read_at)
    return "an MP4 file shorter than its boxes say" if end is not None and end > size_bytes else ""


def _end_of_boxes(size_bytes: int, read_at: ReadAt) -> int | None:
    """Where the last box of an ISO base media file ends; None where its boxes do not tell.

    The file is a sequence of boxes with lengths.
    """
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset >= size_bytes:
            break
        header = read_at(offset, 16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        # 0 stands for a box that goes to the end of the file, wherever that is. 1 to 7 is no box: something
        # else was appended to the file. Either way nothing tells of a cut.
        if length < 8:
            return None
        offset += length
    return offset


def _tail(size_bytes: int, read_at: ReadAt) -> bytes:
    """The last 64 KiB of a file: some programs append data of their own behind the mark of its end."""
    start = max(0, size_bytes - _TAIL_BYTES)
    return read_at(start, size_bytes - start)


def _is_text(head: bytes, content_type: str) -> bool:
    if content_type.startswith("text/"):
        return True
    may_be_text = content_type.startswith(("model/", "application/")) and "octet-stream" not in content_type
    return bool(head) and not may_be_text and not head.translate(None, _PRINTABLE)


def _has_html(start: bytes) -> bool:
    return b"<html" in start.lower() or b"<!doctype html" in start.lower()


def _magic_extension(head: bytes) -> str:
    for magic, extension in _MAGIC:
        if head.startswith(magic):
            return ".mkv" if extension == ".webm" and b"matroska" in head[:64] else extension
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ".mp4")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] != 0xFE:
        # A frame of MPEG audio; layer bits 00 are AAC in ADTS. FF FE is left out: so begins text in UTF-16.
        return ".aac" if head[1] & 0x06 == 0 else ".mp3"
    return ".svg" if _SVG.match(head.removeprefix(b"\xef\xbb\xbf")) else ""


def _url_suffix(url: str) -> str:
    try:
        name = urlsplit(url).path.rpartition("/")[2].lower()
    except ValueError:
        return ""
    suffix = name[name.rfind(".") :] if "." in name else ""
    return suffix if _SUFFIX.fullmatch(suffix) else ""

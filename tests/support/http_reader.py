"""How an answer in HTTP/1.1 is read, as simply as can be: all bytes are there, and nothing is fast.

It shares no code and no parser with floradl, so it cannot share its mistakes. Where it reads a head, it is at
least as lenient as floradl; a body it reads in the only way there is.

Source: RFC 9112, sections 4, 5 and 6.3; RFC 9110, section 8.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])( [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)")
_CHUNK = re.compile(rb"([0-9a-fA-F]+)[ \t]*(;[^\r\n]*)?")


@dataclass(frozen=True)
class Answer:
    """An answer: its status, the body as far as it came, and whether that is all of it."""

    status: int
    body: bytes
    is_whole: bool


def read_answer(data: bytes, *, has_closed: bool) -> Answer | None:
    """Read the first answer that is no interim one; None where there is no head that can be understood.

    Args:
        data: all that came.
        has_closed: whether the host closed the connection behind it.
    """
    status, fields = 100, list[tuple[bytes, bytes]]()
    while status < 200:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        matched, found = _STATUS_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
        if not end or matched is None or None in found:
            return None
        status = int(matched[1])
        fields = [(field[1].lower(), field[2].strip(b" \t").lower()) for field in found if field]
    codings = [value for name, value in fields if name == b"transfer-encoding" and value != b"identity"]
    lengths = {
        part.strip(b" \t")
        for name, value in fields
        if name == b"content-length"
        for part in value.split(b",")
    }
    if status in (204, 304):
        return Answer(status, b"", True)
    if codings:
        return Answer(status, *_read_chunks(data)) if codings == [b"chunked"] and not lengths else None
    if not lengths:
        return Answer(status, data, has_closed)
    if len(lengths) > 1 or not (length := lengths.pop()).isdigit():
        return None
    return Answer(status, data[: int(length)], len(data) >= int(length))


def _read_chunks(data: bytes) -> tuple[bytes, bool]:
    """The body that is in chunks, as far as it came, and whether its end came too."""
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        matched = _CHUNK.fullmatch(line)
        if not end or matched is None:
            return body, False
        size = int(matched[1], 16)
        if not size:
            return body, data.startswith(b"\r\n") or b"\r\n\r\n" in data
        body, behind, data = body + data[:size], data[size : size + 2], data[size + 2 :]
        if behind != b"\r\n":
            return body, False

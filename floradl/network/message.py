"""One HTTP/1.1 answer as llhttp reads it: its head, where its body ends, and its chunks.

Everything here comes from a host that may be hostile, so what two readers could understand differently is
refused, and so is what has no end. Nothing here waits, or knows of sockets.

- A body has one length, or is chunked, or ends with the connection. Lengths that are equal count as one,
  others are refused. A transfer coding besides `chunked` was not asked for and is refused, since its bytes
  are not those of the file.
- What frames a chunked body (sizes, extensions, trailers) is bounded, and trailers are dropped: they come
  after the head was judged, and must not add to it.
- Bytes behind the end of an answer are never a part of its body.

Source: RFC 9112, sections 4 (status line), 6.3 (where a body ends), 7.1 (chunks); RFC 9110, section 8.6
(equal lengths).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple, cast

import httptools

from floradl.network.client import NotHttpError

_BEGINNING = b"HTTP/1."
_WITHOUT_BODY = frozenset({204, 304})
_LENGTHS = re.compile(rb"\r\nContent-Length:([^\r\n]*)", re.IGNORECASE)

_FRAMING_BYTES = 64 * 1024
"""How many bytes may frame a chunked body in one go, without a byte of the body among them."""

_FRAMING_PER_BYTE = 128
"""How many more may do so after each byte of the body: a chunk may be small, and signed."""


class Framing(Enum):
    """What tells where a body ends."""

    NONE = auto()  # there is no body
    SIZED = auto()
    CHUNKED = auto()
    OPEN = auto()  # the end of the connection


class Head(NamedTuple):
    """The head of an answer: its status, and its headers as they came, in their order."""

    status: int
    headers: list[tuple[bytes, bytes]]


def may_begin(data: bytes) -> bool:
    """Whether an answer may begin like this, as far as there is of it."""
    return _BEGINNING.startswith(data[: len(_BEGINNING)])


class Message:
    """One answer. httptools calls the methods whose names begin with `on_`.

    Args:
        data: the head, up to and with the empty line at its end.

    Attributes:
        head: its status and headers.
        framing: what tells where its body ends.
        length_bytes: how long a body is that is `SIZED`.
        keeps_alive: whether the host says that the connection goes on.
        is_complete: whether a chunked body has ended.
        has_excess: whether bytes followed its end, which belong to no answer.
        error: what is wrong with its chunks; None so far.

    Raises:
        NotHttpError: it is no HTTP/1.1, or could be understood in two ways.
    """

    def __init__(self, data: bytes) -> None:
        self.keeps_alive = self.is_complete = self.has_excess = False
        self.error: NotHttpError | None = None
        self._is_head_read = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._framing_left_bytes = _FRAMING_BYTES
        self._parser: httptools.HttpResponseParser | None = self._read(data)
        self.head = Head(self._parser.get_status_code(), self._headers)
        if self.head.status < 100:
            raise NotHttpError("a status below 100")
        self.framing, self.length_bytes = _framing(self.head)

    def feed(self, data: bytes) -> list[bytes]:
        """Read more of a chunked body, and return the pieces of the body that are in it.

        Whatever is wrong with the rest is in `error` then.
        """
        try:
            cast("httptools.HttpResponseParser", self._parser).feed_data(data)
        except httptools.HttpParserError as exc:
            if self.is_complete:
                self.has_excess = True
            else:
                self.error = NotHttpError(f"its chunks: {exc}")
        pieces, self._body = self._body, []
        body_bytes = sum(map(len, pieces))
        left_bytes = self._framing_left_bytes - (len(data) - body_bytes) + body_bytes * _FRAMING_PER_BYTE
        self._framing_left_bytes = min(left_bytes, _FRAMING_BYTES)
        if left_bytes < 0 and not self.is_complete and self.error is None:
            self.error = NotHttpError("chunks without a body")
        return pieces

    def forget_parser(self) -> None:
        """Break the cycle of parser and message, which would otherwise wait for Python's collector."""
        self._parser = None

    def _read(self, data: bytes) -> httptools.HttpResponseParser:
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            raise NotHttpError("a change of protocol that was not asked for") from exc
        except httptools.HttpParserError as exc:
            joined = _with_one_length(data)
            if joined == data:
                raise NotHttpError(str(exc)) from exc
            self._headers.clear()
            return self._read(joined)
        return self._parser

    # ---------------------------------------------------------------------------------------- for httptools

    def on_message_begin(self) -> None:
        """An answer begins: this one, or one that nobody asked for, right behind it."""
        self.has_excess = self.is_complete

    def on_headers_complete(self) -> None:
        """The head has ended."""
        # The parser is asked now, because after the message it has forgotten that a body of no bytes has a
        # length.
        if not self._is_head_read:
            self.keeps_alive = cast("httptools.HttpResponseParser", self._parser).should_keep_alive()
        self._is_head_read = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped."""
        if not self._is_head_read:
            self._headers.append((name, value.rstrip(b" \t")))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self.is_complete:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer has ended."""
        self.is_complete = True


def _with_one_length(head: bytes) -> bytes:
    """Give a head with several equal lengths one length, which llhttp asks for; any other stays as it is."""
    lengths = {one.strip(b" \t") for value in _LENGTHS.findall(head) for one in value.split(b",")}
    if len(lengths) != 1 or not (length := lengths.pop()).isdigit():
        return head
    return _LENGTHS.sub(b"", head)[:-2] + b"Content-Length: %b\r\n\r\n" % length


def _framing(head: Head) -> tuple[Framing, int]:
    """What tells where the body ends, and its length where that does.

    Raises:
        NotHttpError: the body has a coding besides `chunked`.
    """
    length, codings = None, []
    for name, value in head.headers:
        lower = name.lower()
        if lower == b"content-length":
            length = int(value)  # the parser refuses a length that is not one number
        elif lower == b"transfer-encoding":
            codings.append(value.lower())
    if head.status in _WITHOUT_BODY or length == 0:
        return Framing.NONE, 0
    if codings == [b"chunked"]:
        return Framing.CHUNKED, 0
    if codings not in ([], [b"identity"]):
        raise NotHttpError("a transfer coding that was not asked for")
    return (Framing.OPEN, 0) if length is None else (Framing.SIZED, length)

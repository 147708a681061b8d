"""HTTP/1.1 on a stream: reads a request, and sends an answer correctly or as a fault says.

Guarantees that a small answer is sent in a single write, that a large answer is sent in pieces which wait for
the client, and that cuts, stalls, drips and wrong lengths of a `Fault` happen to the body and never to the
head.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .faults import Fault

MAX_HEAD_BYTES = 64 * 1024
_MAX_REQUEST_BODY = 1024 * 1024
_PIECE = 256 * 1024


class BadRequestError(Exception):
    """The client sent something that cannot be answered; has the status to refuse it with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request. Header names are in lower case; a repeated header or parameter has its last value."""

    method: str
    path: str
    raw_query: str
    headers: dict[str, str]
    keep_alive: bool

    @property
    def query(self) -> dict[str, str]:
        """The decoded parameters of the query."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))


@dataclass(frozen=True)
class Response:
    """One answer; `Content-Length` and `Connection` are added when it is sent."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, headers: tuple[tuple[str, str], ...]) -> Response:
        """The same answer with these headers set; an empty value removes a header."""
        names = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=kept + tuple(pair for pair in headers if pair[1]))


@dataclass(eq=False)
class SimRequest:
    """A request in the log; `status` and `sent_bytes` change while it is answered.

    Attributes:
        server: "api" or "media".
        method: as the client sent it.
        path: as the client sent it, percent-encoded, without the query.
        query: the decoded parameters.
        headers: the headers, with their names in lower case.
        status: of the answer; 0 before there is one.
        sent_bytes: how many bytes of the answer's body were given to the network.
        connection: the number of its TCP connection, from 1.
        at: `time.monotonic()` when its head was read, in seconds.
    """

    server: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int
    at: float
    status: int = 0
    sent_bytes: int = 0


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read one request and discard its body; returns None when the client has closed the connection.

    Raises BadRequestError when the client sent something else than an HTTP request.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise BadRequestError(431) from None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequestError(400)
    headers = {}
    for line in lines[:-2]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError(400)
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _MAX_REQUEST_BODY or "transfer-encoding" in headers:
        raise BadRequestError(413)
    if int(length):
        await reader.readexactly(int(length))
    path, _, query = words[1].partition("?")
    keep_alive = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(words[0], path, query, headers, keep_alive)


async def send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    response: Response,
    *,
    fault: Fault,
    keep_alive: bool,
    log: SimRequest | None = None,
) -> bool:
    """Send an answer as `fault` says; returns True when the connection can take another request.

    `reader` reads from the same connection: a stall ends as soon as the client closes it.
    """
    body = memoryview(response.body)
    cut = len(body) if fault.cut_after is None else min(fault.cut_after, len(body))
    faulty_end = fault.cut_after is not None or fault.no_length or bool(fault.length_delta)
    keep_alive = keep_alive and not faulty_end
    head = _head(response, fault, keep_alive=keep_alive)
    plain = not (fault.chunked or fault.drip or fault.stall_after is not None)
    if plain and cut <= _PIECE:
        _note(log, response.status, cut)
        writer.write(head + body[:cut])
        await writer.drain()
        return keep_alive
    _note(log, response.status, 0)
    writer.write(head)
    for piece in _pieces(body[:cut], fault):
        if fault.stall_after is not None and piece.start == min(fault.stall_after, cut):
            await writer.drain()
            if await _client_left(reader, fault.stall_s):
                return False
        _note(log, response.status, len(piece.data))
        writer.write(b"%x\r\n%b\r\n" % (len(piece.data), bytes(piece.data)) if fault.chunked else piece.data)
        await writer.drain()
        if fault.drip:
            await asyncio.sleep(fault.drip[1])
    if fault.chunked and cut == len(body):
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return keep_alive


@dataclass(frozen=True)
class _Piece:
    start: int
    data: memoryview


def _pieces(body: memoryview, fault: Fault) -> Iterator[_Piece]:
    """The body in the sizes it is sent in, with a border where it stalls."""
    size = fault.drip[0] if fault.drip else _PIECE
    stall = len(body) if fault.stall_after is None else min(fault.stall_after, len(body))
    for begin, end in ((0, stall), (stall, len(body))):
        for start in range(begin, end, size):
            yield _Piece(start, body[start : min(start + size, end)])
    if fault.stall_after is not None and stall == len(body):
        yield _Piece(stall, body[stall:])  # nothing is left to send, but the silence still is


def _note(log: SimRequest | None, status: int, sent: int) -> None:
    # Before the bytes leave: a client that has its answer must find it in the log.
    if log is not None:
        log.status = status
        log.sent_bytes += sent


def _head(response: Response, fault: Fault, *, keep_alive: bool) -> bytes:
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    own_length = any(name.lower() == "content-length" for name, _ in response.headers)
    if fault.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif not fault.no_length and not own_length and response.status not in (204, 304):
        lines.append(f"Content-Length: {max(0, len(response.body) + fault.length_delta)}")
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


async def _client_left(reader: asyncio.StreamReader, wait_s: float) -> bool:
    """Wait at most `wait_s` seconds for the client to close the connection; returns whether it did."""
    try:
        async with asyncio.timeout(wait_s):
            while await reader.read(_PIECE):
                pass  # what the client sends meanwhile is discarded
    except TimeoutError:
        return False
    return True

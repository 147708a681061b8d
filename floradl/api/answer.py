"""Reading the body of one answer of the API: in time, of bounded size, and with one compression at most.

httpx's own decoders are not used. They undo as many compressions as an answer names, each in one go: a few
kilobytes would become gigabytes before anything could look at them.

Source: RFC 9110, section 8.4.1 (codings); RFC 1952, section 2.2 (a gzip file has one member or several).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx

from floradl.clock import Clock
from floradl.errors import ApiAnswerError
from floradl.network.bandwidth import TOO_SLOW, SpeedFloor

ACCEPT_ENCODING = "gzip"
"""What is asked for."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""The largest answer that is read, compressed or not; 100 texts of 2 MB fit. An endless one must not fill the
memory.
"""

_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER_FORMAT = zlib.MAX_WBITS | 32  # zlib finds out whether it is gzip or its own format, named `deflate`
_PIECE_BYTES = 256 * 1024
"""How much is decompressed in one go."""


async def read_body(response: httpx.Response, clock: Clock) -> bytes:
    """Read an answer to its end.

    Args:
        response: the answer; its body was not touched.
        clock: measures how fast it comes.

    Returns:
        The body without its compression. Of an error that is compressed in another way, which is only lost
        for the message, b"".

    Raises:
        ApiAnswerError: it is too large, or compressed in a way that was not asked for.
        httpx.DecodingError: the compressed data are broken, or have no end.
        httpx.TransportError: it broke off, or came too slowly.
    """
    named = [coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(",")]
    codings = [coding for coding in named if coding not in ("", "identity")]
    if len(codings) > 1 or not _CODINGS.issuperset(codings):
        if response.is_success:
            raise ApiAnswerError("the API's answer is compressed in a way that was not asked for")
        return b""
    inflater, parts, size = (_Inflater() if codings else None), list[bytes](), 0
    async for piece in _iter_bounded(response, clock):
        for part in inflater.feed(piece) if inflater else (piece,):
            size += len(part)
            _require_bounded(size)
            parts.append(part)
    if inflater is not None and not inflater.is_complete:
        raise httpx.DecodingError("the compressed answer has no end")
    return b"".join(parts)


async def _iter_bounded(response: httpx.Response, clock: Clock) -> AsyncIterator[bytes]:
    """The bytes of an answer as they came over the network.

    Their speed and size are measured before decompression: compressed data may go on for ever and give
    nothing.
    """
    floor, size = SpeedFloor(clock), 0
    # Not aiter_raw(): it refuses what a fake transport has read already.
    async for piece in cast("httpx.AsyncByteStream", response.stream):
        if not floor.is_held(len(piece)):
            raise httpx.ReadError(TOO_SLOW)
        size += len(piece)
        _require_bounded(size)
        yield piece


def _require_bounded(size_bytes: int) -> None:
    if size_bytes > MAX_ANSWER_BYTES:
        raise ApiAnswerError(f"the API's answer is larger than {MAX_ANSWER_BYTES} bytes")


class _Inflater:
    """Decompresses gzip or zlib data as they come, a bounded piece at a time."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_EITHER_FORMAT)
        self._is_begun = False

    @property
    def is_complete(self) -> bool:
        """Whether the data have come to their end, or there were none at all."""
        return self._stream.eof or not self._is_begun

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress more.

        Raises:
            httpx.DecodingError: the data are broken.
        """
        self._is_begun = self._is_begun or bool(data)
        while True:
            if self._stream.eof and data:  # another member of the gzip file begins
                self._stream = zlib.decompressobj(_EITHER_FORMAT)
            try:
                part = self._stream.decompress(data, _PIECE_BYTES)
            except zlib.error as exc:
                raise httpx.DecodingError(str(exc)) from exc
            data = self._stream.unused_data or self._stream.unconsumed_tail
            if part:
                yield part
            if not data and (not part or self._stream.eof):
                return

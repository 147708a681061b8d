"""Deadlines for answers that one of httpx's transports reads: those of the API, and media over a proxy.

httpx's timeouts hold for one read from the socket each. A host that sends a byte of a head, of an interim
answer, of a chunk's extension or of a trailer every few seconds would never reach them. So a head has a
deadline as a whole here, and each piece of a body too: what frames the pieces is no sign of life. (httpx's
parser itself bounds heads and framing to 100 KiB each.)

A media host that is asked directly is read by `http11`, which has deadlines of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import cast

import httpx

from floradl.network.client import NotHttpError

_CUT = ("disconnected", "closed connection")
"""Words of httpx's parser for an answer that broke off, as opposed to one that is no HTTP."""


async def head_within(timeout_s: float, asked: Awaitable[httpx.Response]) -> httpx.Response:
    """Wait for the head of an answer, and watch over the body from then on.

    Args:
        timeout_s: how long the host may be silent. The connection and the head together may take twice this.
        asked: what gives the head.

    Raises:
        httpx.ReadTimeout: it takes too long.
        httpx.TransportError: any other reason.
    """
    try:
        async with asyncio.timeout(2 * timeout_s):
            response = await asked
    except TimeoutError as exc:
        raise httpx.ReadTimeout("the head of the answer takes too long") from exc
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport must be asynchronous")
    response.stream = _TimelyStream(response.stream, timeout_s)
    return response


class TimelyTransport(httpx.AsyncBaseTransport):
    """A transport of httpx for media, with these deadlines.

    Args:
        transport: sends the requests.
        timeout_s: as for `head_within`.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            NotHttpError: what came is no HTTP; so may the body, when it is read.
            httpx.TransportError: as for `head_within`.
        """
        with _no_http_named():
            response = await head_within(self._timeout_s, self._transport.handle_async_request(request))
        response.stream = _NamingStream(cast("httpx.AsyncByteStream", response.stream))
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class _TimelyStream(httpx.AsyncByteStream):
    """A body of which every piece comes in time."""

    def __init__(self, stream: httpx.AsyncByteStream, timeout_s: float) -> None:
        self._stream = stream
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                raise httpx.ReadTimeout("the host is silent") from exc
            yield piece

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()


class _NamingStream(httpx.AsyncByteStream):
    """A body of media whose errors tell what is no HTTP."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _no_http_named():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        """Close the connection, or give it back."""
        await self._stream.aclose()


@contextmanager
def _no_http_named() -> Iterator[None]:
    """Tell an answer that is no HTTP from one that broke off: httpx has the same error for both."""
    try:
        yield
    except httpx.RemoteProtocolError as exc:
        if any(words in str(exc) for words in _CUT):
            raise
        raise NotHttpError(str(exc)) from exc

"""One request, with its redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from floradl.download.context import Context
from floradl.errors import TransferError, printable
from floradl.network import addresses
from floradl.network.client import MediaClient

if TYPE_CHECKING:
    from floradl.buffers import Room


MAX_REDIRECTS = 5


class Requester:
    """Asks media hosts, one request after another.

    Attributes:
        asked_host: which was asked last, after redirects.
    """

    def __init__(self, client: MediaClient, context: Context) -> None:
        self._client = client
        self._context = context
        self.asked_host = ""

    @asynccontextmanager
    async def response(
        self, url: str, headers: dict[str, str], *, room: Room | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The answer after redirects, each of them checked; httpx's errors end here.

        Args:
            url: what to ask for.
            headers: which part of it.
            room: where a small body is to be.
        """
        # What is rationed is counted as it comes.
        blocks = None if self._context.bandwidth.is_limited else self._context.blocks
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self.asked_host = host_of(url)
                allowed = addresses.check_media_url(url, allow_loopback=self._context.allow_loopback)
                async with self._context.limits.slot(self.asked_host) as turn:
                    await self._context.pauses.wait(self.asked_host)
                    turn.begin()
                    response = await self._client.get(allowed, headers, room=room, blocks=blocks)
                    try:
                        if not response.has_redirect_location:
                            yield response
                            return
                        url = _redirect_target(url, response.headers["location"])
                    finally:
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
            # OSError: an SSLError in the middle of a body passes httpcore by. UnicodeError: idna's.
            raise _translated(exc) from exc
        raise TransferError(
            "too_many_redirects", f"more than {MAX_REDIRECTS} redirects", wants_fresh_url=True
        )


def _redirect_target(url: str, location: str) -> str:
    try:
        httpx.URL(location)
    except httpx.InvalidURL as exc:
        message = "a redirect to what is not a URL"
        raise TransferError("bad_redirect", message, is_retryable=True, wants_fresh_url=True) from exc
    try:
        return urljoin(url, location)
    except ValueError as exc:
        raise TransferError("unsafe_url", "a redirect to what is not a URL", wants_fresh_url=True) from exc


def head_of(response: httpx.Response) -> dict[str, str]:
    """The headers of an answer, by their names in lower case."""
    encoding, head = response.headers.encoding, dict[str, str]()
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        head[name] = f"{head[name]}, {value}" if name in head else value
    return head


def host_of(url: str) -> str:
    """The host of a URL, as pressure and pauses know it."""
    return urlsplit(url).netloc.lower()


def _translated(exc: Exception) -> TransferError:
    """What an error of httpx means for an output."""
    if isinstance(exc, httpx.TimeoutException):
        return TransferError("timeout", "the host fell silent", is_retryable=True)
    if isinstance(exc, httpx.RemoteProtocolError):
        message = f"the connection was cut: {printable(str(exc))}"
        return TransferError("truncated", message, is_retryable=True, wants_fresh_url=True)
    if isinstance(exc, (httpx.TransportError, OSError)) and not isinstance(exc, httpx.UnsupportedProtocol):
        reason = printable(str(exc)) or type(exc).__name__
        return TransferError("connection", f"no connection: {reason}", is_retryable=True)
    return TransferError("unsafe_url", "the output's URL cannot be asked for", wants_fresh_url=True)

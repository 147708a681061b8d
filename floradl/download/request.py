"""One request to a media host, with its redirects, as one context manager.

Every URL is checked before it is asked for, redirects too, since a host could otherwise send floradl to an
address inside the user's network. Each request takes one of its host's places, and waits for the end of its
host's pause. Errors of httpx and of sockets end here: callers see `TransferError` alone.

Source: RFC 9110, section 15.4 (redirects).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from floradl.download.context import Context
from floradl.errors import TransferError, printable
from floradl.network import addresses
from floradl.network.client import MediaClient, NotHttpError

if TYPE_CHECKING:
    from floradl.buffers import Room


MAX_REDIRECTS = 5
"""A chain of more redirects than this is taken for one without an end."""


class Requester:
    """Sends the requests of one output or of one connection, one after another.

    Args:
        client: the media client, which has no credentials.
        context: shared by the session.

    Attributes:
        last_host: the host that was asked last, after redirects. Pauses and limits after an error concern
            this host, not the one that redirected to it.
    """

    def __init__(self, client: MediaClient, context: Context) -> None:
        self._client = client
        self._context = context
        self.last_host = ""

    @asynccontextmanager
    async def response(
        self, url: str, headers: dict[str, str], *, room: Room | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a GET and give the response; redirects are followed, and the body is not read yet.

        The response is closed, and its host's place given back, when the block ends.

        Args:
            url: the URL to ask for.
            headers: `Range` and `If-Range`, or nothing.
            room: gives the memory that a small body is received into.

        Raises:
            TransferError: the request failed, here or while the block read the body.
        """
        # With --limit-rate no large blocks: bytes have to be counted piece by piece as they come, and a block
        # would be counted only once up to 1 MiB had come.
        blocks = None if self._context.bandwidth.is_limited else self._context.blocks
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self.last_host = host_of(url)
                allowed = addresses.check_media_url(url, allow_loopback=self._context.allow_loopback)
                async with self._context.limits.slot(self.last_host) as place:
                    await self._context.pauses.wait(self.last_host)
                    place.begin()
                    response = await self._client.get(allowed, headers, room=room, blocks=blocks)
                    try:
                        if not response.has_redirect_location:
                            yield response
                            return
                        url = _redirect_target(url, response.headers["location"])
                    finally:
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
            # httpcore does not translate an SSLError (an OSError) in the middle of a body. The idna codec,
            # which encodes host names, raises UnicodeError.
            raise _transfer_error(exc) from exc
        raise TransferError(
            "too_many_redirects", f"more than {MAX_REDIRECTS} redirects", wants_fresh_url=True
        )


def _redirect_target(url: str, location: str) -> str:
    """The absolute URL that a `Location` header leads to.

    Raises:
        TransferError: httpx or urllib cannot read it. Both have to: one checks the URL, the other asks for
        it.
    """
    try:
        httpx.URL(location)
    except httpx.InvalidURL as exc:
        message = "a redirect to what is not a URL"
        raise TransferError("bad_redirect", message, is_retryable=True, wants_fresh_url=True) from exc
    try:
        return urljoin(url, location)
    except ValueError as exc:
        raise TransferError("unsafe_url", "a redirect to what is not a URL", wants_fresh_url=True) from exc


def headers_of(response: httpx.Response) -> dict[str, str]:
    """The headers of a response, by their names in lower case.

    Several headers of one name are joined with ", " (RFC 9110, section 5.3).
    """
    encoding, head = response.headers.encoding, dict[str, str]()
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        head[name] = f"{head[name]}, {value}" if name in head else value
    return head


def host_of(url: str) -> str:
    """The host of a URL with its port, in lower case: the name by which limits and pauses know it."""
    return urlsplit(url).netloc.lower()


def _transfer_error(exc: Exception) -> TransferError:
    """Say what an error of httpx or of a socket means for an output: whether to try again, and where."""
    if isinstance(exc, httpx.TimeoutException):
        return TransferError("timeout", "the host fell silent", is_retryable=True)
    if isinstance(exc, NotHttpError):
        message = f"the host's answer is no HTTP: {printable(str(exc))}"
        return TransferError("not_http", message, is_retryable=True, wants_fresh_url=True)
    if isinstance(exc, httpx.RemoteProtocolError):
        message = f"the connection was cut: {printable(str(exc))}"
        return TransferError("truncated", message, is_retryable=True, wants_fresh_url=True)
    if isinstance(exc, (httpx.TransportError, OSError)) and not isinstance(exc, httpx.UnsupportedProtocol):
        reason = printable(str(exc)) or type(exc).__name__
        return TransferError("connection", f"no connection: {reason}", is_retryable=True)
    return TransferError("unsafe_url", "the output's URL cannot be asked for", wants_fresh_url=True)

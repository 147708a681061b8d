"""One GET to a media host, over any httpx transport."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from floradl.network import addresses

if TYPE_CHECKING:
    from floradl.buffers import Blocks, Room


ROOM, BLOCKS = "room", "blocks"
"""The extensions of a request that say where a small body is to be, and a large one; see `body`."""

_HEADERS = {"User-Agent": addresses.USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
_NO_BODY = httpx.ByteStream(b"")


class NotHttpError(httpx.RemoteProtocolError):
    """What a host sent is no HTTP/1.1, or could be understood in two ways; the message says what is wrong.

    A plain `RemoteProtocolError` means that an answer broke off.
    """


class MediaClient:
    """Asks media hosts, over any httpx transport.

    What `httpx.AsyncClient` adds would all have to be switched off here (credentials, cookies, redirects, the
    environment), and takes longer than the request itself does.

    Args:
        transport: httpx's seam; another one in tests.
        timeout_s: how long a connection may stay silent.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, timeout_s: float) -> None:
        self._transport = transport
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._headers = httpx.Headers(_HEADERS)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def get(
        self,
        url: httpx.URL,
        headers: Mapping[str, str],
        *,
        room: Room | None = None,
        blocks: Blocks | None = None,
    ) -> httpx.Response:
        """The head of an answer, whatever its status; its body is still to be read, and it must be closed.

        Args:
            url: what to ask for.
            headers: besides those that every request has.
            room: where a small body is to be; it is waited for then, if the transport can.
            blocks: where a large one is to be, if the transport can; whoever reads it gives them back.

        Raises:
            TransferError: `unsafe_url`, where the URL leads to what must not be asked.
            httpx.TransportError: there is no answer.
        """
        sent = self._headers.copy()
        sent.update({"Host": url.netloc.decode("ascii"), **headers})
        # A stream, if an empty one, spares httpx the search for what a body would need.
        extensions = self._extensions | {ROOM: room, BLOCKS: blocks}
        request = httpx.Request("GET", url, headers=sent, stream=_NO_BODY, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

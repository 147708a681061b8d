"""How media come over the network: an httpx transport whose work needs no Python.

Requests and responses are httpx's, so any other httpx transport can stand in. Underneath is pyreqwest, which
is hyper and rustls: sockets, TLS and HTTP run in a thread of their own without Python's lock, and bytes
arrive in large pieces that are not copied again. docs/performance.md says what it was measured against.

What holds for every request, whoever let its URL pass:

- It goes to an address that was looked up and checked here, and to no other: a name is pinned to its address
  before the engine sees it, so there is no second look-up. The host is taken from the URL as the engine reads
  it, so what is checked is what is connected to.
- It carries no credentials and no cookies, follows no redirect, and asks for the bytes as they are.
- Silence ends after the timeout, in connecting, in waiting and in between two pieces of a body. A body that
  ends before its announced length is an error.
- A proxy of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) is used as everywhere. It looks names
  up itself, so only addresses that stand in a URL are checked then.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

import httpx

from floradl import net
from floradl.errors import TransferError

if TYPE_CHECKING:
    from pyreqwest.client import Client, ClientBuilder
    from pyreqwest.exceptions import PyreqwestError
    from pyreqwest.http import Url
    from pyreqwest.request import StreamRequest
    from pyreqwest.response import Response

T = TypeVar("T")

_GATHER = "gather_bytes"
"""The extension of a request that says how much of a body the engine collects before it tells of the answer.
Where it does, an answer whose body breaks off is lost with its status and what came of it."""

_CONNECT_ATTEMPT_S = 10.0
"""The patience with one address where the name has others."""

_LOOKED_UP_FOR_S = 60.0
_MAX_CLIENTS = 32
_IDLE_S = 30.0
_FAREWELL_S = 0.01
_HEADERS = {"User-Agent": net.USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
_NO_BODY = httpx.ByteStream(b"")
_NOT_FORWARDED = frozenset({b"host", b"connection"})  # the engine's business


def media_transports(*, allow_loopback: bool, timeout_s: float) -> Callable[[], httpx.AsyncBaseTransport]:
    """A maker of transports for media.

    Args:
        allow_loopback: whether this machine may be asked too.
        timeout_s: how long a connection may stay silent.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    proxies = net.environment_proxies()
    return lambda: MediaTransport(allow_loopback=allow_loopback, timeout_s=timeout_s, proxies=proxies)


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
        self, url: httpx.URL, headers: Mapping[str, str], *, gather_bytes: int = 0
    ) -> httpx.Response:
        """The head of an answer, whatever its status; its body is still to be read, and it must be closed.

        Args:
            url: what to ask for.
            headers: besides those that every request has.
            gather_bytes: how much of the body to wait for, too, where the transport can.

        Raises:
            TransferError: `unsafe_url`, where the URL leads to what must not be asked.
            httpx.TransportError: there is no answer.
        """
        sent = self._headers.copy()
        sent.update({"Host": url.netloc.decode("ascii"), **headers})
        # A stream, if an empty one, spares httpx the search for what a body would need.
        extensions = self._extensions | {_GATHER: gather_bytes}
        request = httpx.Request("GET", url, headers=sent, stream=_NO_BODY, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response


@dataclass(slots=True)
class _Name:
    """What is known of a host name: addresses that may be connected to, the best first."""

    addresses: list[str] = field(default_factory=list)
    good_until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class MediaTransport(httpx.AsyncBaseTransport):
    """Sends GET requests to media hosts; see the module.

    Args:
        allow_loopback: whether this machine may be asked too.
        timeout_s: how long a connection may stay silent.
        proxies: scheme of the URL → the proxy's URL.
    """

    def __init__(
        self, *, allow_loopback: bool, timeout_s: float, proxies: Mapping[str, str] | None = None
    ) -> None:
        self._allow_loopback = allow_loopback
        self._timeout_s = timeout_s
        self._proxies = dict(proxies or {})
        self._names: OrderedDict[tuple[str, int], _Name] = OrderedDict()
        self._clients: OrderedDict[tuple[str, int, str], Client] = OrderedDict()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to the first permitted address of its host that answers.

        Raises:
            TransferError: `unsafe_url` when no address of the host is permitted.
            httpx.TransportError: whatever else went wrong.
        """
        from pyreqwest.http import Url  # here, since a night without downloads does not need it

        url = Url(str(request.url))
        host, port = url.host_str or "", url.port_or_known_default or 0
        proxy = self._proxies.get(url.scheme)
        if proxy is not None and not net.is_loopback_host(host) and not urllib.request.proxy_bypass(host):
            return await self._send(self._proxied(url.scheme, proxy), url, request)
        if url.domain is None:
            self._require_permitted([host.strip("[]")])
            return await self._send(self._pinned("", 0, ""), url, request)
        name = await self._look_up(host, port)
        addresses = list(name.addresses)
        for address in addresses[:-1]:
            try:
                return await self._send(self._pinned(host, port, address, len(addresses)), url, request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                _prefer_others(name, address)  # a host is down only when its last address is
        return await self._send(self._pinned(host, port, addresses[-1], len(addresses)), url, request)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()
            # The engine's thread tells of the end under Python's lock. A process that ended in that moment
            # would be aborted by Python; see `cli.entry`.
            await asyncio.sleep(_FAREWELL_S)

    def _require_permitted(self, addresses: list[str]) -> list[str]:
        permitted = [one for one in addresses if net.may_connect(one, allow_loopback=self._allow_loopback)]
        if not permitted:
            message = "the output's host has no public address"
            raise TransferError("unsafe_url", message, wants_fresh_url=True)
        return permitted

    async def _look_up(self, host: str, port: int) -> _Name:
        """A name's permitted addresses; looked up once for all who ask meanwhile."""
        name = self._names.setdefault((host, port), _Name())
        self._names.move_to_end((host, port))
        if len(self._names) > _MAX_CLIENTS:
            self._names.popitem(last=False)
        async with name.lock:
            if time.monotonic() >= name.good_until_s:
                name.addresses = self._require_permitted(await self._resolved(host, port))
                name.good_until_s = time.monotonic() + _LOOKED_UP_FOR_S
        return name

    async def _resolved(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await net.resolve(host, port)
        except TimeoutError as exc:
            # Left to itself a look-up may take minutes, and no timeout of a connection counts yet.
            raise httpx.ConnectTimeout(f"the look-up of {host} takes too long") from exc
        except (OSError, UnicodeError) as exc:
            raise httpx.ConnectError(f"the name {host} is not known") from exc

    def _pinned(self, host: str, port: int, address: str, choices: int = 1) -> Client:
        """The engine's client for one address of a name; the one for URLs with an address without a name."""
        key = (host, port, address)
        if key not in self._clients:
            patience_s = self._timeout_s if choices == 1 else min(self._timeout_s / 2, _CONNECT_ATTEMPT_S)

            def prepare(builder: ClientBuilder) -> ClientBuilder:
                builder = builder.connect_timeout(timedelta(seconds=patience_s)).no_proxy()
                return builder.resolve(host, address, port) if host else builder

            self._clients[key] = self._built(prepare)
        return self._used(key)

    def _proxied(self, scheme: str, proxy: str) -> Client:
        key = (scheme, 0, proxy)
        if key not in self._clients:
            from pyreqwest.proxy import ProxyBuilder

            timeout = timedelta(seconds=self._timeout_s)
            self._clients[key] = self._built(
                lambda builder: builder.connect_timeout(timeout).proxy(ProxyBuilder.all(proxy))
            )
        return self._used(key)

    def _used(self, key: tuple[str, int, str]) -> Client:
        """A client, which is now the last to be forgotten. What a forgotten one has under way goes on."""
        self._clients.move_to_end(key)
        client = self._clients[key]
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)
        return client

    def _built(self, prepare: Callable[[ClientBuilder], ClientBuilder]) -> Client:
        from pyreqwest.exceptions import BuilderError

        try:
            return prepare(self._builder()).build()
        except BuilderError:
            # A system without certificates: those that httpx brings are what the API is checked by, too.
            return _with_certificates(prepare(self._builder())).build()

    def _builder(self) -> ClientBuilder:
        from pyreqwest.client import ClientBuilder

        return (
            ClientBuilder()
            .user_agent(net.USER_AGENT)
            .read_timeout(timedelta(seconds=self._timeout_s))
            .pool_idle_timeout(timedelta(seconds=_IDLE_S))
            .http1_only()  # several connections are faster than one that is shared
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
        )

    async def _send(self, client: Client, url: Url, request: httpx.Request) -> httpx.Response:
        from pyreqwest.exceptions import PyreqwestError

        headers = [
            (name.decode("ascii"), value.decode("ascii"))
            for name, value in request.headers.raw
            if name.lower() not in _NOT_FORWARDED
        ]
        builder = client.request(request.method, url).headers(headers)
        gather_bytes = request.extensions.get(_GATHER, 0)
        streamed = builder.streamed_read_buffer_limit(gather_bytes).build_streamed()
        try:
            response = await _unless_cancelled(streamed.__aenter__())
        except PyreqwestError as exc:
            raise _translated(exc, request) from exc
        return httpx.Response(
            response.status, headers=_headers_of(response), stream=_Body(streamed, response, request)
        )


class _Body(httpx.AsyncByteStream):
    """A response's body, in pieces as they come. They are buffers of the engine's: no copy is made."""

    def __init__(self, streamed: StreamRequest, response: Response, request: httpx.Request) -> None:
        self._streamed = streamed
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        from pyreqwest.exceptions import PyreqwestError

        reader = self._response.body_reader
        try:
            while (piece := await _unless_cancelled(reader.read_chunk())) is not None:
                yield cast("bytes", memoryview(piece))
        except PyreqwestError as exc:
            raise _translated(exc, self._request) from exc

    async def aclose(self) -> None:
        """Give the connection back; close it where the body was not read to its end."""
        await self._streamed.__aexit__(None, None, None)


async def _unless_cancelled(answer: Awaitable[T]) -> T:
    """What the engine says, unless the task was cancelled while it waited.

    The engine tosses a coin where an answer and a cancellation come together; the cancellation may be lost,
    and its task would then wait for whatever comes next. An answer that is dropped closes its connection.
    """
    task = cast("asyncio.Task[object]", asyncio.current_task())
    earlier = task.cancelling()
    try:
        return await answer
    finally:
        if task.cancelling() > earlier:
            raise asyncio.CancelledError


def _headers_of(response: Response) -> list[tuple[str, str]]:
    """A response's headers, without those whose values are no text to the engine."""
    try:
        return list(response.headers.items())
    except ValueError:  # one of them: a file's name in Latin-1, for instance
        return [item for name in response.headers for item in _header(response, name)]


def _header(response: Response, name: str) -> list[tuple[str, str]]:
    try:
        return [(name, value) for value in response.get_header_all(name)]
    except ValueError:
        return []


def _with_certificates(builder: ClientBuilder) -> ClientBuilder:
    import certifi

    end = "-----END CERTIFICATE-----\n"
    for certificate in certifi.contents().split(end)[:-1]:
        builder = builder.add_root_certificate_pem(f"{certificate}{end}".encode())
    return builder


def _causes(exc: PyreqwestError) -> list[str]:
    details = getattr(exc, "details", None) or {}
    return [str(cause["message"]) for cause in details.get("causes") or ()]


def _prefer_others(name: _Name, address: str) -> None:
    """An address that did not answer is the last to be tried the next time."""
    if address in name.addresses:
        name.addresses.remove(address)
        name.addresses.append(address)


def _is_cut(causes: list[str]) -> bool:
    words = ("EOF", "end of file", "closed before message completed", "Invalid chunk")
    return any(word in cause for cause in causes for word in words)


def _translated(exc: PyreqwestError, request: httpx.Request) -> httpx.TransportError:
    """The engine's error as httpx's own transport would have raised it."""
    from pyreqwest import exceptions

    causes = _causes(exc)
    message = causes[-1] if causes else exc.message
    is_unconnected = "client error (Connect)" in causes
    kind: type[httpx.TransportError]
    if isinstance(exc, exceptions.RequestTimeoutError):
        kind = httpx.ConnectTimeout if is_unconnected else httpx.ReadTimeout
    elif is_unconnected:
        kind = httpx.ConnectError
    elif isinstance(exc, exceptions.DecodeError) or _is_cut(causes):
        kind = httpx.RemoteProtocolError
    else:
        kind = httpx.ReadError
    return kind(message, request=request)

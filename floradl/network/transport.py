"""An httpx transport for media: look-ups, kept connections, TLS, proxies.

Requests and responses are httpx's, so any other httpx transport can take its place in a test. Underneath are
the event loop's connections, whose bytes `http11` reads; docs/decisions says why httpx's own transport is not
used.

The following holds for every request, even if nothing before has checked its URL:

- It goes to an address that was looked up and checked here, and to no other. There is no second look-up,
  whose answer could be another one (DNS rebinding).
- It carries only the headers that it was given, and no redirect is followed.
- Silence ends with the timeout: while connecting, before the head, and between two pieces of a body. A body
  that ends before its announced length is an error.
- The proxies of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used, by httpx's own transport.
  A proxy looks names up itself, so then only the host in the URL is checked: addresses in every form, and
  names that are private by definition.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import time
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import httpx

from floradl.errors import TransferError
from floradl.network import addresses
from floradl.network.client import BLOCKS, ROOM
from floradl.network.deadlines import TimelyTransport

if TYPE_CHECKING:
    from floradl.network.http11 import Connection

_CONNECT_ATTEMPT_S = 10.0
"""How long a connection may take to one address of a name that has several; then the next one is tried."""

_LOOK_UP_HOLDS_S = 60.0
_MAX_NAMES = 32
_MAX_IDLE = 128
"""The most connections that are kept for a next request, to all hosts together."""

_MAX_IDLE_S = 30.0
"""A connection that was idle for longer is not used again: its host may have closed it."""


def media_transports(*, allow_loopback: bool, timeout_s: float) -> Callable[[], httpx.AsyncBaseTransport]:
    """A function that makes transports for media.

    Args:
        allow_loopback: whether this machine may be asked too.
        timeout_s: how long a connection may stay silent.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    proxies = addresses.environment_proxies()
    return lambda: MediaTransport(allow_loopback=allow_loopback, timeout_s=timeout_s, proxies=proxies)


@dataclass(slots=True)
class _Name:
    """The permitted addresses of a host name, in the order in which they are tried.

    Whoever looks the name up holds `lock`, so that requests that begin together cause one look-up.
    """

    addresses: list[str] = field(default_factory=list)
    good_until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Place(NamedTuple):
    """Where a connection leads: one address of a host. The host's certificate is checked against its name."""

    is_secure: bool
    host: str
    port: int
    address: str


@dataclass(frozen=True, slots=True)
class _Idle:
    """A kept connection, and the moment since which it waits for another request."""

    connection: Connection
    since_s: float


class MediaTransport(httpx.AsyncBaseTransport):
    """Sends GET requests to media hosts; the module says what holds for each of them.

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
        self._proxied: dict[str, TimelyTransport] = {}
        self._names: OrderedDict[tuple[str, int], _Name] = OrderedDict()
        self._idle: OrderedDict[_Place, list[_Idle]] = OrderedDict()
        self._idle_count = 0
        self._context: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to the first permitted address of its host that answers.

        Raises:
            TransferError: `unsafe_url`, where no address of the host is permitted.
            httpx.TransportError: no connection, or no head of an answer.
        """
        url = request.url
        host, is_secure = url.raw_host.decode("ascii"), url.scheme == "https"
        proxy = self._proxies.get(url.scheme)
        if (
            proxy is not None
            and not addresses.is_loopback_host(host)
            and not urllib.request.proxy_bypass(host)
        ):
            # This machine is not asked for over a proxy: it would take itself for it.
            addresses.require_permitted_host(host, allow_loopback=False, is_proxied=True)
            return await self._transport_over(proxy).handle_async_request(request)
        port = url.port or (443 if is_secure else 80)
        if _is_address(host):
            (address,) = self._require_permitted([host])
            return await self._send(_Place(is_secure, host, port, address), self._timeout_s, request)
        name = await self._look_up(host, port)
        *others, last = name.addresses
        attempt_s = min(self._timeout_s / 2, _CONNECT_ATTEMPT_S)
        for address in others:
            try:
                return await self._send(_Place(is_secure, host, port, address), attempt_s, request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                _put_last(name, address)  # the host is down only when its last address fails, too
        return await self._send(
            _Place(is_secure, host, port, last), attempt_s if others else self._timeout_s, request
        )

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            _, idle = self._idle.popitem()
            for one in idle:
                one.connection.close()
        self._idle_count = 0
        while self._proxied:
            _, proxied = self._proxied.popitem()
            await proxied.aclose()

    def _require_permitted(self, found: list[str]) -> list[str]:
        permitted = [one for one in found if addresses.may_connect(one, allow_loopback=self._allow_loopback)]
        if not permitted:
            message = "the output's host has no public address"
            raise TransferError("unsafe_url", message, wants_fresh_url=True)
        return permitted

    async def _look_up(self, host: str, port: int) -> _Name:
        """The permitted addresses of a host name, from a look-up that is at most a minute old.

        Raises:
            TransferError, httpx.ConnectError, httpx.ConnectTimeout: there are none.
        """
        name = self._names.setdefault((host, port), _Name())
        self._names.move_to_end((host, port))
        if len(self._names) > _MAX_NAMES:
            self._names.popitem(last=False)
        async with name.lock:
            if time.monotonic() >= name.good_until_s:
                name.addresses = self._require_permitted(await self._resolved(host, port))
                name.good_until_s = time.monotonic() + _LOOK_UP_HOLDS_S
        return name

    async def _resolved(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await addresses.resolve(host, port)
        except TimeoutError as exc:
            # The system's look-up may take minutes, and there is no connection yet whose timeout would end
            # it.
            raise httpx.ConnectTimeout(f"the look-up of {host} takes too long") from exc
        except (OSError, UnicodeError) as exc:
            raise httpx.ConnectError(f"the name {host} is not known") from exc

    def _transport_over(self, proxy: str) -> TimelyTransport:
        """httpx's transport over a proxy, made when it is first needed."""
        if proxy not in self._proxied:
            made = httpx.AsyncHTTPTransport(
                proxy=proxy, verify=self._certificates(), limits=httpx.Limits(keepalive_expiry=_MAX_IDLE_S)
            )
            self._proxied[proxy] = TimelyTransport(made, self._timeout_s)
        return self._proxied[proxy]

    async def _send(self, place: _Place, attempt_s: float, request: httpx.Request) -> httpx.Response:
        sent = _encoded(request)
        connection = self._kept(place) or await self._connected(place, attempt_s)
        memory = request.extensions
        try:
            head = await connection.ask(sent, memory.get(ROOM), memory.get(BLOCKS))
        except BaseException:
            # A cancellation ends here, too: the answer to the cancelled request would be taken for the answer
            # to the next one, so the connection must not be kept.
            connection.close()
            raise
        body = _ResponseStream(connection, lambda: self._keep(place, connection))
        return httpx.Response(head.status, headers=head.headers, stream=body)

    async def _connected(self, place: _Place, attempt_s: float) -> Connection:
        """A new connection.

        Raises:
            httpx.ConnectTimeout, httpx.ConnectError: none could be made.
        """
        # Imported here, since a night without downloads makes no connection and need not load the parser.
        from floradl.network.http11 import Connection

        try:
            async with asyncio.timeout(attempt_s):
                _, made = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._timeout_s),
                    place.address,
                    place.port,
                    ssl=self._certificates() if place.is_secure else None,
                    server_hostname=place.host if place.is_secure else None,
                )
        except TimeoutError as exc:
            raise httpx.ConnectTimeout(f"{place.host} does not answer") from exc
        except OSError as exc:
            raise httpx.ConnectError(_reason(exc)) from exc
        return made

    def _kept(self, place: _Place) -> Connection | None:
        """The kept connection to this place that was used last; None where none can be used any more."""
        idle = self._idle.get(place)
        while idle:
            one = idle.pop()
            self._idle_count -= 1
            if one.connection.is_open and time.monotonic() - one.since_s < _MAX_IDLE_S:
                return one.connection
            one.connection.close()
        self._idle.pop(place, None)
        return None

    def _keep(self, place: _Place, connection: Connection) -> None:
        """Keep a connection for another request. Too many: one of the place unused longest is closed."""
        self._idle.setdefault(place, []).append(_Idle(connection, time.monotonic()))
        self._idle.move_to_end(place)
        self._idle_count += 1
        while self._idle_count > _MAX_IDLE:
            oldest, idle = next(iter(self._idle.items()))
            idle.pop(0).connection.close()
            self._idle_count -= 1
            if not idle:
                del self._idle[oldest]

    def _certificates(self) -> ssl.SSLContext:
        """Settings for TLS: hosts are checked by the system's certificates, or else by certifi's."""
        if self._context is None:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            if not _has_certificates():
                import certifi

                context.load_verify_locations(certifi.where())
            self._context = context
        return self._context


class _ResponseStream(httpx.AsyncByteStream):
    """The body of a response, in pieces as they come.

    The pieces are memory that the connection received into (`memoryview`, not copied to `bytes`), though
    httpx's types say `bytes`.

    Args:
        connection: the connection that the body comes over.
        keep: keeps the connection for another request.
    """

    def __init__(self, connection: Connection, keep: Callable[[], None]) -> None:
        self._connection: Connection | None = connection
        self._keep = keep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            while (piece := await self._connection.read()) is not None:
                yield cast("bytes", piece)

    async def aclose(self) -> None:
        """Keep the connection if its answer has ended and another request may follow; close it otherwise."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.has_ended and connection.is_reusable and connection.is_open:
            self._keep()
        else:
            connection.close()


def _encoded(request: httpx.Request) -> bytes:
    """The bytes of a request, which has no body.

    Raises:
        httpx.LocalProtocolError: a line break in the path or in a header, which would begin another header.
    """
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line of the request has an end in its midst")
    return b"\r\n".join([*lines, b"", b""])


def _reason(error: OSError) -> str:
    """Why there is no connection, in the system's words: asyncio and uvloop word such errors differently."""
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_certificates() -> bool:
    paths = ssl.get_default_verify_paths()  # its fields are None where the file or folder does not exist
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))


def _put_last(name: _Name, address: str) -> None:
    """Try an address that did not answer after all others the next time."""
    if address in name.addresses:
        name.addresses.remove(address)
        name.addresses.append(address)

"""How media come over the network: an httpx transport of few parts.

Requests and responses are httpx's, so any other httpx transport can stand in. Underneath are the event loop's
connections and what `connection` makes of their bytes; docs/performance.md says what was tried besides.

What holds for every request, whoever let its URL pass:

- It goes to an address that was looked up and checked here, and to no other: there is no second look-up.
- It carries no credentials and no cookies, follows no redirect, and asks for the bytes as they are.
- Silence ends after the timeout, in connecting, in waiting and in between two pieces of a body. A body that
  ends before its announced length is an error.
- A proxy of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) is used as everywhere, by httpx's own
  transport. It looks names up itself, so only addresses that stand in a URL are checked then.
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
from floradl.network import addresses as net
from floradl.network.client import BLOCKS, ROOM

if TYPE_CHECKING:
    from floradl.network.http11 import Connection

_CONNECT_ATTEMPT_S = 10.0
"""The patience with one address where the name has others."""

_LOOKED_UP_FOR_S = 60.0
_MAX_NAMES = 32
_MAX_IDLE = 128
_IDLE_S = 30.0


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


@dataclass(slots=True)
class _Name:
    """What is known of a host name: addresses that may be connected to, the best first."""

    addresses: list[str] = field(default_factory=list)
    good_until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Place(NamedTuple):
    """Where a connection leads: a host's name, which its certificate is for, at one of its addresses."""

    is_secure: bool
    host: str
    port: int
    address: str


@dataclass(frozen=True, slots=True)
class _Idle:
    """A connection that waits for the next request, and since when."""

    connection: Connection
    since_s: float


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
        self._proxied: dict[str, httpx.AsyncHTTPTransport] = {}
        self._names: OrderedDict[tuple[str, int], _Name] = OrderedDict()
        self._idle: OrderedDict[_Place, list[_Idle]] = OrderedDict()
        self._idle_count = 0
        self._context: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to the first permitted address of its host that answers.

        Raises:
            TransferError: `unsafe_url` when no address of the host is permitted.
            httpx.TransportError: whatever else went wrong.
        """
        url = request.url
        host, is_secure = url.raw_host.decode("ascii"), url.scheme == "https"
        proxy = self._proxies.get(url.scheme)
        if proxy is not None and not net.is_loopback_host(host) and not urllib.request.proxy_bypass(host):
            return await self._over(proxy).handle_async_request(request)
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
                _prefer_others(name, address)  # a host is down only when its last address is
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
        if len(self._names) > _MAX_NAMES:
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

    def _over(self, proxy: str) -> httpx.AsyncHTTPTransport:
        """The transport for what goes by way of a proxy."""
        if proxy not in self._proxied:
            self._proxied[proxy] = httpx.AsyncHTTPTransport(
                proxy=proxy, verify=self._certificates(), limits=httpx.Limits(keepalive_expiry=_IDLE_S)
            )
        return self._proxied[proxy]

    async def _send(self, place: _Place, attempt_s: float, request: httpx.Request) -> httpx.Response:
        sent = _encoded(request)
        connection = self._kept(place) or await self._connected(place, attempt_s)
        try:
            wanted = request.extensions
            head = await connection.ask(sent, wanted.get(ROOM), wanted.get(BLOCKS))
        except BaseException:  # a cancellation, too
            connection.close()
            raise
        body = _Body(connection, lambda: self._keep(place, connection))
        return httpx.Response(head.status, headers=head.headers, stream=body)

    async def _connected(self, place: _Place, attempt_s: float) -> Connection:
        """A new connection.

        Raises:
            httpx.ConnectTimeout, httpx.ConnectError: there is none to be had.
        """
        from floradl.network.http11 import (
            Connection,  # here, since a night without downloads does not need it
        )

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
        """A connection that waits for a request; the one that was used last."""
        idle = self._idle.get(place)
        while idle:
            one = idle.pop()
            self._idle_count -= 1
            if one.connection.is_open and time.monotonic() - one.since_s < _IDLE_S:
                return one.connection
            one.connection.close()
        self._idle.pop(place, None)
        return None

    def _keep(self, place: _Place, connection: Connection) -> None:
        """Keep a connection for the next request; at most so many, of the places that were asked last."""
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
        """What hosts are checked by: the system's certificates; where it has none, those of httpx."""
        if self._context is None:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["http/1.1"])
            if not _has_certificates():
                import certifi

                context.load_verify_locations(certifi.where())
            self._context = context
        return self._context


class _Body(httpx.AsyncByteStream):
    """A response's body, in pieces as they come; memory of the connection's, which is not copied.

    Args:
        connection: whose answer it is.
        keep: takes the connection back for another request.
    """

    def __init__(self, connection: Connection, keep: Callable[[], None]) -> None:
        self._connection: Connection | None = connection
        self._keep = keep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            while (piece := await self._connection.read()) is not None:
                yield cast("bytes", piece)

    async def aclose(self) -> None:
        """Give the connection back; close it where the body was not read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.has_ended and connection.is_reusable and connection.is_open:
            self._keep()
        else:
            connection.close()


def _encoded(request: httpx.Request) -> bytes:
    """A request without a body, as it goes over the wire."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line of the request has an end in its midst")
    return b"\r\n".join([*lines, b"", b""])


def _reason(error: OSError) -> str:
    """Why there is no connection; each event loop has other words for what the system says."""
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
    paths = ssl.get_default_verify_paths()  # None where there is no such file or folder
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))


def _prefer_others(name: _Name, address: str) -> None:
    """An address that did not answer is the last to be tried the next time."""
    if address in name.addresses:
        name.addresses.remove(address)
        name.addresses.append(address)

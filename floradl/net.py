"""HTTP clients and the guard on where they may connect.

Two kinds of client, never mixed: the API's carries the key and follows no redirect; the media client has
no credentials at all and connects only where a media URL may lead. Media URLs come from outside, so only
`https` to public addresses is fetched. The address is checked when the connection is made, on the very
address that is connected to: a second DNS answer cannot differ from the one that was checked.
Loopback and `http` are allowed only when the API itself is on loopback.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpcore
import httpx

from floradl import __version__
from floradl.errors import TransferError, UsageError, safe_url

USER_AGENT = f"floradl/{__version__}"

_CONNECT_ATTEMPT_S = 10.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291; `is_global` lets site-local addresses pass


def is_loopback_host(host: str) -> bool:
    """Whether a URL's host is this machine: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str) -> str:
    """The API's base URL without a trailing slash.

    Raises:
        UsageError: it is no URL, or would send the key in clear over a network.
    """
    hint = "Give the API's base URL, such as https://app.flora.ai/api/v1 (--base-url or FLORA_BASE_URL)."
    try:
        parts = urlsplit(url)
        host = httpx.URL(url).host and parts.hostname
        _ = parts.port
    except (ValueError, httpx.InvalidURL) as exc:
        raise UsageError(f"the base URL is not a URL: {exc}", hint=hint) from exc
    if parts.scheme not in ("http", "https") or not host or any(mark in url for mark in "@?#"):
        raise UsageError("the base URL must be http(s)://host/path and nothing more", hint=hint)
    if parts.scheme == "http" and not is_loopback_host(host):
        raise UsageError(
            "the base URL is http: the key would cross the network in clear", hint="Use https:// instead."
        )
    return url.rstrip("/")


def check_media_url(url: str, *, allow_loopback: bool) -> None:
    """Refuse a URL that must not be fetched, as far as the URL alone tells.

    Raises:
        TransferError: `unsafe_url`, with the reason.
    """
    try:
        parts = urlsplit(url)
        host = httpx.URL(url).host and parts.hostname  # both must see one; httpx's is connected to
        _ = parts.port
    except (ValueError, httpx.InvalidURL) as exc:
        raise TransferError("unsafe_url", "the output's URL is not a URL", wants_fresh_url=True) from exc
    if not host:
        raise TransferError("unsafe_url", "the output's URL names no host", wants_fresh_url=True)
    if parts.scheme != "https" and not (allow_loopback and parts.scheme == "http"):
        raise TransferError("unsafe_url", "the output's URL is not https", wants_fresh_url=True)
    if "@" in parts.netloc:
        # httpx would send them, and to whom is the URL's choice.
        raise TransferError("unsafe_url", "the output's URL holds credentials", wants_fresh_url=True)
    if is_loopback_host(host):
        if not allow_loopback:
            raise TransferError("unsafe_url", "the output's URL leads to this machine", wants_fresh_url=True)
    elif _is_private_literal(host):
        raise TransferError("unsafe_url", "the output's URL leads to a private address", wants_fresh_url=True)


def is_public_address(address: str) -> bool:
    """Whether an IP address is one on the open internet, also when wrapped in an IPv6 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped:
            return is_public_address(str(wrapped))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public_address(host)
    except ValueError:  # a name; its addresses are checked when they are known
        return False


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name, checks every address it gets, and connects to one that passed.

    Args:
        allow_loopback: whether addresses of this machine pass too.
    """

    def __init__(self, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address that answers.

        Raises:
            TransferError: `unsafe_url` when no address of the name is permitted.
            httpcore.ConnectError, httpcore.ConnectTimeout: none of them answers, or the look-up does not.
        """
        try:
            async with asyncio.timeout(timeout):
                found = await self._resolve(host, port)
        except TimeoutError as exc:
            # Left to itself a look-up may take minutes, and no timeout of a connection counts yet.
            raise httpcore.ConnectTimeout(f"the look-up of {host} takes too long") from exc
        addresses = [address for address in found if self._permits(address)]
        if not addresses:
            raise TransferError("unsafe_url", "the output's host has no public address", wants_fresh_url=True)
        attempt_s = timeout if len(addresses) == 1 or timeout is None else min(timeout, _CONNECT_ATTEMPT_S)
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, attempt_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # the next address; a host is down only when the last one is
        return await self._inner.connect_tcp(addresses[-1], port, attempt_s, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore asks its backend to, between tries to connect."""
        await self._inner.sleep(seconds)

    async def _resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError(f"the name {host} is not known") from exc
        return list(dict.fromkeys(str(address[4][0]) for address in found))

    def _permits(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        return (self._allow_loopback and ip.is_loopback) or is_public_address(address)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool that connects through `GuardedBackend`.

    Args:
        ssl_context: which certificates count.
        allow_loopback: see `GuardedBackend`.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, allow_loopback: bool) -> None:
        super().__init__(verify=ssl_context)
        # httpx has no argument for a network backend; httpcore's pool, which it wraps, has.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=2,  # one worker's: the second serves a redirect to another host
            max_keepalive_connections=2,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(allow_loopback=allow_loopback),
        )


class ProxiedTransport(httpx.AsyncBaseTransport):
    """Sends what the environment wants proxied to its proxy, and everything else by `direct`.

    A proxy looks names up itself, so of what it fetches only addresses that stand in the URL were checked.

    Args:
        direct: for hosts that are not proxied.
        proxies: scheme of the URL → transport over its proxy.
    """

    def __init__(
        self, direct: httpx.AsyncBaseTransport, proxies: Mapping[str, httpx.AsyncBaseTransport]
    ) -> None:
        self._direct = direct
        self._proxies = proxies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request the way its URL goes."""
        host = request.url.host
        proxy = self._proxies.get(request.url.scheme)
        if proxy is None or is_loopback_host(host) or urllib.request.proxy_bypass(host):
            return await self._direct.handle_async_request(request)
        return await proxy.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxies.values()):
            await transport.aclose()


@functools.cache
def _tls() -> ssl.SSLContext:
    """How hosts prove who they are; one for all clients, since loading the certificates takes 50 ms."""
    return httpx.create_ssl_context()


def media_transports(*, allow_loopback: bool) -> Callable[[], httpx.AsyncBaseTransport]:
    """A maker of transports, one a client: httpx's pool slows down with every connection it holds.

    Proxies come from the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), as everywhere.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    ssl_context = _tls()
    urls = _proxies()

    def make() -> httpx.AsyncBaseTransport:
        direct = GuardedTransport(ssl_context, allow_loopback=allow_loopback)
        if not urls:
            return direct
        proxies = {
            scheme: httpx.AsyncHTTPTransport(verify=ssl_context, proxy=url) for scheme, url in urls.items()
        }
        return ProxiedTransport(direct, proxies)

    return make


def _proxies() -> dict[str, str]:
    """The environment's proxies: scheme → URL."""
    found, urls = urllib.request.getproxies(), {}
    for scheme in ("http", "https"):
        url = found.get(scheme) or found.get("all")
        if not url:
            continue
        urls[scheme] = url if "://" in url else f"http://{url}"
        try:
            httpx.AsyncHTTPTransport(proxy=urls[scheme])
        except (ValueError, ImportError, httpx.InvalidURL) as exc:
            message = f"the proxy of the environment for {scheme} cannot be used: {safe_url(url)}"
            raise UsageError(message, hint="Set HTTPS_PROXY to http://host:port, or unset it.") from exc
    return urls


def media_client(transport: httpx.AsyncBaseTransport, *, timeout_s: float) -> httpx.AsyncClient:
    """A client for media hosts: no credentials, no cookies kept, no redirect followed unseen."""
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        headers={"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
    )


def api_client(
    base_url: str, key: str, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client for the API. The only one that holds the key; it never follows a redirect with it.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    is_local = is_loopback_host(httpx.URL(base_url).host)
    if transport is None and not is_local:
        _proxies()
    return httpx.AsyncClient(
        base_url=base_url,
        transport=transport,
        verify=_tls(),
        timeout=timeout_s,
        headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Authorization": f"Bearer {key}"},
        follow_redirects=False,
        trust_env=not is_local,  # a proxy would get the key in clear, and could not reach this machine
    )

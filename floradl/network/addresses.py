"""Which URLs and addresses may be asked, and over which proxies.

Media URLs come from outside, so only `https` to public addresses is fetched. Otherwise an answer of the API
could make this machine ask others on its own network (server-side request forgery). Loopback and `http` are
allowed only when the API itself is on loopback. The rules are here; `transport` applies them to every address
that it connects to. The API's base URL is checked here too, since its requests carry the key.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import urllib.request
from urllib.parse import urlsplit

import httpx

from floradl.errors import TransferError, UsageError, safe_url
from floradl.version import __version__

USER_AGENT = f"floradl/{__version__}"

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291; `is_global` lets site-local addresses pass


def is_loopback_host(host: str) -> bool:
    """Whether the host of a URL is this machine: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str) -> str:
    """The API's base URL without a trailing slash.

    Raises:
        UsageError: `url` is not a URL, has credentials, a query or a fragment, or would send the key
            unencrypted over a network.
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


@functools.lru_cache(maxsize=256)  # each output's URL is checked when it is chosen and again when it is asked
def check_media_url(url: str, *, allow_loopback: bool) -> httpx.URL:
    """Refuse a URL that must not be fetched, as far as the URL alone tells.

    Args:
        url: an output's URL, or one that a redirect names.
        allow_loopback: whether this machine may be asked, and `http` used.

    Returns:
        The URL as httpx parses it.

    Raises:
        TransferError: `unsafe_url`, with the reason.
    """
    try:
        parts = urlsplit(url)
        parsed = httpx.URL(url)
        host = (
            parsed.host and parts.hostname
        )  # httpx sends the request, urllib is checked: both must see a host
        _ = parts.port
    except (ValueError, httpx.InvalidURL) as exc:
        raise TransferError("unsafe_url", "the output's URL is not a URL", wants_fresh_url=True) from exc
    if not host:
        raise TransferError("unsafe_url", "the output's URL names no host", wants_fresh_url=True)
    if parts.scheme != "https" and not (allow_loopback and parts.scheme == "http"):
        raise TransferError("unsafe_url", "the output's URL is not https", wants_fresh_url=True)
    if "@" in parts.netloc:
        # httpx would send them in a header, to whatever host the URL names.
        raise TransferError("unsafe_url", "the output's URL holds credentials", wants_fresh_url=True)
    if refusal := _host_refusal(host, allow_loopback=allow_loopback):
        raise TransferError("unsafe_url", f"the output's URL leads to {refusal}", wants_fresh_url=True)
    return parsed


@functools.lru_cache(maxsize=256)  # nearly all outputs lie on the same few hosts
def _host_refusal(host: str, *, allow_loopback: bool) -> str:
    """Why a host must not be asked, as far as its name alone tells; "" where nothing is wrong with it."""
    if is_loopback_host(host):
        return "" if allow_loopback else "this machine"
    return "a private address" if _is_private_literal(host) else ""


def is_public_address(address: str) -> bool:
    """Whether an IP address is public; of an IPv6 address that wraps an IPv4 one, that one is checked.

    Args:
        address: an IPv4 or IPv6 address, which may have a zone (`%eth0`).

    Raises:
        ValueError: it is not an IP address.
    """
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
    except ValueError:  # a name: `transport` checks its addresses when they are looked up
        return False


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host name, in the order of the system's preference.

    Raises:
        OSError: the name is not known.
        UnicodeError: it cannot be a host name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


@functools.lru_cache(maxsize=256)  # the same few addresses are connected to again and again
def may_connect(address: str, *, allow_loopback: bool) -> bool:
    """Whether a connection for media may be made to an IP address.

    Raises:
        ValueError: it is not an IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (allow_loopback and ip.is_loopback) or is_public_address(address)


def environment_proxies() -> dict[str, str]:
    """The proxies that the environment names: scheme of a URL → URL of the proxy.

    Raises:
        UsageError: one of them cannot be used, which is better known before anything is fetched.
    """
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

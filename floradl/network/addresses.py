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
import re
import socket
import urllib.request
from urllib.parse import urlsplit

import httpx

from floradl.errors import TransferError, UsageError, safe_url
from floradl.version import __version__

USER_AGENT = f"floradl/{__version__}"

_PRIVATE_DOMAINS = frozenset({"local", "internal", "lan", "intranet", "private", "corp", "home"})
"""No public name ends in one of these. They are reserved for local networks (`local`: RFC 6762; `internal`:
ICANN, 2024), or are in use there and will not be given out (RFC 6762, appendix G). Clouds have their metadata
below `internal`.
"""

_HOME = ".home.arpa"
"""Names in a home network (RFC 8375)."""

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291; `is_global` lets site-local addresses pass


def is_loopback_host(host: str) -> bool:
    """Whether the host of a URL is surely this machine: `localhost` or a loopback address.

    What this grants (`http`, no proxy) must hold whoever looks the name up. So it is narrower than what is
    refused as this machine: `localhost.` and names below `localhost` may be asked of a name server.
    """
    if host.lower() == "localhost":
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
    # httpx and urllib may see different hosts: only httpx takes dots of other scripts for dots.
    for name in (parsed.raw_host.decode("ascii"), host):
        require_permitted_host(name, allow_loopback=allow_loopback)
    return parsed


def require_permitted_host(host: str, *, allow_loopback: bool, is_proxied: bool = False) -> None:
    """Refuse a host that must not be asked, as far as its name alone tells.

    Without a proxy this is the first of two checks, since the addresses of a name are checked, too. A proxy
    looks names up itself, so there it is the only one.

    Raises:
        TransferError: `unsafe_url`, with the reason.
    """
    if refusal := _host_refusal(host, allow_loopback=allow_loopback, is_proxied=is_proxied):
        raise TransferError("unsafe_url", f"the output's URL leads to {refusal}", wants_fresh_url=True)


@functools.lru_cache(maxsize=256)  # nearly all outputs lie on the same few hosts
def _host_refusal(host: str, *, allow_loopback: bool, is_proxied: bool) -> str:
    """Why a host must not be asked; "" where nothing is wrong with its name."""
    name = host.lower().rstrip(".")
    *_, last = labels = name.split(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0] if ":" in name else name)
    except ValueError:
        pass
    else:
        if address.is_loopback:
            return "" if allow_loopback else "this machine"
        return "" if is_public_address(str(address)) else "a private address"
    if last == "localhost":
        return "" if allow_loopback else "this machine"
    if _NUMBER.fullmatch(last) or "%" in name:
        # A number at its end makes it an address (WHATWG URL, "ends in a number checker"), but which one is
        # up to the resolver: 127.1, 0x7f.1, 2130706433; 010.1.1.1 is 8.1.1.1 to some and 10.1.1.1 to others.
        return "an address in an odd form"
    # A resolver completes a name of one label by the domains of its own network.
    is_bare = is_proxied and len(labels) == 1
    return "a private name" if is_bare or last in _PRIVATE_DOMAINS or name.endswith(_HOME) else ""


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

"""Where requests may go: URLs, addresses, and the guard that checks an address when it connects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore
import httpx
import pytest

from floradl import net
from floradl.errors import Exit, TransferError, UsageError
from floradl.net import GuardedBackend, GuardedTransport, check_base_url, check_media_url, is_public_address

pytestmark = pytest.mark.anyio


# --- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://app.flora.ai/api/v1", "https://app.flora.ai/api/v1"),
        ("https://app.flora.ai/api/v1//", "https://app.flora.ai/api/v1"),
        ("https://app.flora.ai", "https://app.flora.ai"),
        ("https://app.flora.ai:8443/", "https://app.flora.ai:8443"),
        ("https://10.0.0.5/api", "https://10.0.0.5/api"),
        ("http://localhost:8000/api/v1", "http://localhost:8000/api/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_base_url(url: str, kept: str) -> None:
    """A base URL is https, or http on this machine, and loses its trailing slash."""
    assert check_base_url(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "", "app.flora.ai/api/v1", "//app.flora.ai", "https://", "https:///api", "ftp://app.flora.ai",
        "file:///etc/passwd", "https://user@app.flora.ai", "https://user:pw@app.flora.ai", "https://:pw@app.flora.ai",
        "https://app.flora.ai/?a=1", "https://app.flora.ai/?", "https://app.flora.ai/#x", "https://app.flora.ai/#",
        "https://app.flora.ai:x/", "https://app.flora.ai:99999/", "https://[::1/", "https://[v1.a]/",
        "https://app.flora.ai/\n", "https://app.\tflora.ai/", " https://app.flora.ai/", "https://xn--/", "https://a\u2100b/",
    ],
)  # fmt: skip
def test_base_url_that_is_none(url: str) -> None:
    """What is no plain http(s) URL is a usage error that shows how one looks."""
    with pytest.raises(UsageError) as caught:
        check_base_url(url)
    assert caught.value.exit_code == Exit.USAGE
    assert "https://app.flora.ai/api/v1" in caught.value.hint
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://app.flora.ai/api/v1", "http://10.0.0.5/", "http://0.0.0.0/", "http://localhost.evil.test/"],
)
def test_key_does_not_cross_a_network_in_clear(url: str) -> None:
    """Over http the key goes to this machine only."""
    with pytest.raises(UsageError, match="in clear") as caught:
        check_base_url(url)
    assert "https://" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://media.flora.ai/a.png",
        "HTTPS://Media.Flora.AI/a.png?x=1#y",
        "https://media.flora.ai:8443/a.png",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::1]/a.png",
        "https://media.flora.ai/a@b.png?c@d",
        "https://münchen.test/ä b.png",
    ],
)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_media_url(url: str, allow_loopback: bool) -> None:
    """A public https URL may be fetched."""
    check_media_url(url, allow_loopback=allow_loopback)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9/a",
        "https://localhost/a",
        "http://127.0.0.1/a",
        "http://127.9.9.9/a",
        "http://[::1]/a",
    ],
)
def test_media_url_on_this_machine(url: str) -> None:
    """Loopback and http are allowed only when that is asked for."""
    check_media_url(url, allow_loopback=True)
    with pytest.raises(TransferError):
        check_media_url(url, allow_loopback=False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no host"),
        ("junk", "no host"),
        ("https:///a", "no host"),
        ("//media.test/a", "not https"),
        (" https://media.test/a", "no host"),
        ("ftp://media.test/a", "not https"),
        ("file:///etc/passwd", "no host"),
        ("file://media.test/etc/passwd", "not https"),
        ("data:image/png;base64,AAAA", "no host"),
        ("https://user@media.test/a", "credentials"),
        ("https://user:pw@media.test/a", "credentials"),
        ("https://@media.test/a", "credentials"),
        ("https://media.test\\@127.0.0.1/a", "credentials"),
        ("https://[::1/a", "not a URL"),
        ("https://media.test:x/a", "not a URL"),
        ("https://media.test:99999/a", "not a URL"),
        ("https://media.test/a\n", "not a URL"),
        ("https://media.test/\ud800", "not a URL"),
        ("https://xn--/a", "not a URL"),
        ("https://media.test/" + "a" * 70_000, "not a URL"),
        ("https://10.0.0.1/a", "private address"),
        ("https://192.168.1.1/a", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://100.64.0.1/a", "private address"),
        ("https://0.0.0.0/a", "private address"),
        ("https://[fe80::1]/a", "private address"),
        ("https://[::ffff:10.0.0.1]/a", "private address"),
    ],
)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_media_url_that_is_never_fetched(url: str, said: str, allow_loopback: bool) -> None:
    """Everything else is refused with its reason, which may be cured by a fresh URL and not by a retry."""
    with pytest.raises(TransferError, match=said) as caught:
        check_media_url(url, allow_loopback=allow_loopback)
    error = caught.value
    assert (error.code, error.is_retryable, error.wants_fresh_url) == ("unsafe_url", False, True)
    assert "pw" not in error.message


def test_wrapped_loopback() -> None:
    """This machine in an IPv6 wrapping is not mistaken for a public address."""
    with pytest.raises(TransferError, match=r"private address|this machine"):
        check_media_url("https://[::ffff:127.0.0.1]/a", allow_loopback=False)


def test_http_needs_a_local_api() -> None:
    """Media over http come only with an API that is on this machine."""
    check_media_url("http://media.test/a", allow_loopback=True)
    with pytest.raises(TransferError, match="not https"):
        check_media_url("http://media.test/a", allow_loopback=False)


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "11.0.0.0",
        "2606:4700::1", "2a00:1450:4001::1",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    ],
)  # fmt: skip
def test_public_address(address: str) -> None:
    """An address on the open internet is one, also when it is wrapped."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.255.254", id="loopback, its end"),
        pytest.param("0.0.0.0", id="this host"),  # noqa: S104  # nothing is bound to it
        pytest.param("10.0.0.1", id="private 10"),
        pytest.param("172.16.0.1", id="private 172"),
        pytest.param("172.31.255.255", id="private 172, its end"),
        pytest.param("192.168.0.1", id="private 192"),
        pytest.param("169.254.169.254", id="link-local: a cloud's metadata"),
        pytest.param("100.64.0.1", id="carrier-grade NAT"),
        pytest.param("100.100.100.200", id="carrier-grade NAT: another cloud's metadata"),
        pytest.param("198.18.0.1", id="benchmarks"),
        pytest.param("192.0.2.1", id="documentation"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("239.255.255.250", id="multicast, local"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("::", id="this host, 6"),
        pytest.param("::1", id="loopback 6"),
        pytest.param("fe80::1", id="link-local 6"),
        pytest.param("fe80::1%eth0", id="link-local 6, with its scope"),
        pytest.param("fec0::1", id="site-local"),
        pytest.param("fc00::1", id="unique local"),
        pytest.param("fd00:ec2::254", id="unique local: a cloud's metadata"),
        pytest.param("ff02::1", id="multicast 6"),
        pytest.param("ff0e::1", id="multicast 6, global"),
        pytest.param("2001:db8::1", id="documentation 6"),
        pytest.param("100::1", id="discarded"),
        pytest.param("::ffff:127.0.0.1", id="mapped loopback"),
        pytest.param("::ffff:10.0.0.1", id="mapped private"),
        pytest.param("::ffff:a9fe:a9fe", id="mapped link-local"),
        pytest.param("::127.0.0.1", id="IPv4-compatible loopback"),
        pytest.param("2002:7f00:1::1", id="6to4 of loopback"),
        pytest.param("2002:c0a8:101::1", id="6to4 of private"),
        pytest.param("2001:0:4136:e378:8000:63bf:80ff:fffe", id="Teredo of loopback"),
        pytest.param("2001:0:4136:e378:8000:63bf:f5ff:fffe", id="Teredo of private"),
        pytest.param("64:ff9b::7f00:1", id="NAT64 of loopback"),
        pytest.param("64:ff9b::a00:1", id="NAT64 of private"),
        pytest.param("64:ff9b::a9fe:a9fe", id="NAT64 of link-local"),
        pytest.param("64:ff9b:1::808:808", id="NAT64 of a local network"),
    ],
)
def test_address_that_is_not_public(address: str) -> None:
    """No private, local, shared or special address passes, in whatever wrapping."""
    assert not is_public_address(address)


# --- the guard, over real sockets --------------------------------------------------------------------


class Server:
    """A web server on loopback that answers everything with `hello` and notes what was sent."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of one connection."""
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nSet-Cookie: a=b\r\n\r\nhello"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """The server, listening."""
    served = Server()
    listener = await asyncio.start_server(served.answer, "127.0.0.1", 0)
    served.port = listener.sockets[0].getsockname()[1]
    yield served
    listener.close()
    await listener.wait_closed()


class Resolver(GuardedBackend):
    """A guard whose names resolve as the test says: one answer a look-up, the last for ever."""

    def __init__(self, *answers: list[str], allow_loopback: bool = False) -> None:
        super().__init__(allow_loopback=allow_loopback)
        self._answers = list(answers)
        self.lookups = 0

    async def _resolve(self, _host: str, _port: int) -> list[str]:
        self.lookups += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Wire(httpcore.AsyncNetworkBackend):
    """In place of the network: notes where a connection goes; some addresses do not answer."""

    def __init__(self, dead: dict[str, Exception]) -> None:
        self._dead = dead
        self.tried: list[tuple[str, float | None]] = []

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one address."""
        assert port == 443
        self.tried.append((host, timeout))
        if host in self._dead:
            raise self._dead[host]
        return httpcore.AsyncMockStream([])


@asynccontextmanager
async def guarded_client(
    *, allow_loopback: bool, backend: GuardedBackend | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A media client as floradl makes them, perhaps with another resolver."""
    transport = net.media_transports(allow_loopback=allow_loopback)()
    assert isinstance(transport, GuardedTransport)
    if backend is not None:
        transport._pool = httpcore.AsyncConnectionPool(network_backend=backend)
    async with net.media_client(transport, timeout_s=5) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_loopback_is_refused_when_connecting(server: Server, host: str) -> None:
    """However this machine is spelled, no connection to it is made, whoever let the URL pass."""
    async with guarded_client(allow_loopback=False) as client:
        with pytest.raises(TransferError, match="no public address") as caught:
            await client.get(f"http://{host}:{server.port}/")
    assert (caught.value.code, caught.value.is_retryable) == ("unsafe_url", False)
    assert server.heads == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_is_reached_when_allowed(server: Server, host: str) -> None:
    """With the API on loopback, media come from there, and the request carries no credentials."""
    async with guarded_client(allow_loopback=True) as client:
        response = await client.get(f"http://{host}:{server.port}/one.png?x=1")
        assert response.content == b"hello"
        await client.get(f"http://{host}:{server.port}/two.png")
    first, second = (head.lower() for head in server.heads)
    assert first.startswith(b"get /one.png?x=1 http/1.1\r\n")
    for head in (first, second):
        assert b"accept-encoding: identity\r\n" in head
        assert b"user-agent: floradl/" in head
        assert b"authorization" not in head
        assert b"cookie" not in head


async def test_name_of_a_private_address_is_refused(server: Server) -> None:
    """A public name that leads to this machine is refused before a connection."""
    backend = Resolver(["127.0.0.1"])
    async with guarded_client(allow_loopback=False, backend=backend) as client:
        with pytest.raises(TransferError, match="no public address"):
            await client.get(f"http://evil.test:{server.port}/")
    assert server.heads == []


async def test_second_dns_answer_cannot_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to: there is no second look-up."""
    backend, wire = Resolver(["8.8.8.8"], ["127.0.0.1"]), Wire({})
    monkeypatch.setattr(backend, "_inner", wire)
    await backend.connect_tcp("rebind.test", 443, timeout=3)
    assert (backend.lookups, wire.tried) == (1, [("8.8.8.8", 3)])
    with pytest.raises(TransferError):
        await backend.connect_tcp("rebind.test", 443, timeout=3)
    assert len(wire.tried) == 1


@pytest.mark.parametrize("error", [httpcore.ConnectError("x"), httpcore.ConnectTimeout("x")])
async def test_next_address_is_tried(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Addresses that do not answer are passed over, those that are not public are never tried."""
    backend = Resolver(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "1.1.1.1", "9.9.9.9"])
    wire = Wire({"8.8.8.8": error, "2606:4700::1": error})
    monkeypatch.setattr(backend, "_inner", wire)
    await backend.connect_tcp("media.test", 443, timeout=60)
    assert wire.tried == [("8.8.8.8", 10), ("2606:4700::1", 10), ("1.1.1.1", 10)]


@pytest.mark.parametrize(("timeout", "each"), [(None, None), (3, 3)])
async def test_no_address_answers(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None, each: float | None
) -> None:
    """When none answers, the last one's error comes out, and no single one gets more time than there is."""
    backend = Resolver(["8.8.8.8", "1.1.1.1"])
    wire = Wire({"8.8.8.8": httpcore.ConnectTimeout("first"), "1.1.1.1": httpcore.ConnectError("last")})
    monkeypatch.setattr(backend, "_inner", wire)
    with pytest.raises(httpcore.ConnectError, match="last"):
        await backend.connect_tcp("media.test", 443, timeout=timeout)
    assert wire.tried == [("8.8.8.8", each), ("1.1.1.1", each)]


async def test_falling_over_to_a_real_address(server: Server) -> None:
    """A name with one dead and one living address is reached."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))  # bound and not listening: it refuses
        backend = Resolver(["127.0.0.2", "127.0.0.1"], allow_loopback=True)
        async with guarded_client(allow_loopback=True, backend=backend) as client:
            assert (await client.get(f"http://media.test:{server.port}/")).text == "hello"


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 70 + ".test"])
async def test_unknown_name(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A name that nobody knows is a failed connection, to be tried again."""

    async def unknown(host: str, port: int, **_: object) -> object:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with guarded_client(allow_loopback=False) as client:
        with pytest.raises(httpx.ConnectError, match="is not known"):
            await client.get(f"https://{host}/")


async def test_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that says nothing ends as a connection that timed out, to be tried again."""

    async def silent(_host: str, _port: int, **_: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    backend = GuardedBackend(allow_loopback=False)
    async with asyncio.timeout(10):
        with pytest.raises(httpcore.ConnectTimeout, match=r"look-up of silent\.test"):
            await backend.connect_tcp("silent.test", 443, timeout=0.01)


async def test_backend_can_wait() -> None:
    """httpcore may ask its backend to wait; no time at all is enough here."""
    await GuardedBackend(allow_loopback=False).sleep(0)


# --- the two clients ---------------------------------------------------------------------------------


@pytest.fixture
def asked() -> list[httpx.Request]:
    """What the clients below asked."""
    return []


@pytest.fixture
def transport(asked: list[httpx.Request]) -> httpx.MockTransport:
    """A host that redirects everything elsewhere."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.test/"})

    return httpx.MockTransport(answer)


async def test_media_client(
    transport: httpx.MockTransport, asked: list[httpx.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The media client has no credentials, follows nothing, and does not look into the environment."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pw@proxy.test")
    async with net.media_client(transport, timeout_s=7) as client:
        assert (await client.get("https://media.test/a")).status_code == 302
        assert client.timeout == httpx.Timeout(7)
        assert not client.trust_env
    assert len(asked) == 1
    assert "authorization" not in asked[0].headers
    assert asked[0].headers["accept-encoding"] == "identity"


async def test_api_client(transport: httpx.MockTransport, asked: list[httpx.Request]) -> None:
    """The API's client sends the key, and follows no redirect with it."""
    async with net.api_client("https://api.test/v1", "sk_1", timeout_s=7, transport=transport) as client:
        assert (await client.get("runs")).status_code == 302
    assert [str(request.url) for request in asked] == ["https://api.test/v1/runs"]
    assert asked[0].headers["authorization"] == "Bearer sk_1"


@pytest.mark.anyio
async def test_media_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is asked to connect to the media host; NO_PROXY and loopback are not its business."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "direct.invalid")
        make = net.media_transports(allow_loopback=False)
        async with net.media_client(make(), timeout_s=5) as client:
            with pytest.raises(httpx.ProxyError):
                await client.get("https://media.invalid/a.png?secret=1")
            with pytest.raises(httpx.ConnectError):
                await client.get("https://direct.invalid/a.png")
            with pytest.raises(TransferError):
                await client.get("https://localhost:1/a.png")
    assert [request.split(b"\r\n")[0] for request in asked] == [b"CONNECT media.invalid:443 HTTP/1.1"]
    assert b"secret" not in asked[0]


@pytest.mark.parametrize("url", ["ftp://x:1", "socks5://x:1"])
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A proxy of another kind, or no URL at all, is told before anything is fetched."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(UsageError, match="proxy of the environment"):
        net.media_transports(allow_loopback=False)
    with pytest.raises(UsageError, match="proxy of the environment"):
        net.api_client("https://api.invalid", "sk", timeout_s=5)

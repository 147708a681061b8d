"""The media transport: where it connects, what it sends, what its errors are; over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import httpx
import pytest

from floradl.errors import TransferError, UsageError
from floradl.network import addresses, http11, transport
from floradl.network import client as network_client
from floradl.network.body import ROOM_BYTES
from floradl.network.client import MediaClient
from floradl.network.transport import MediaTransport, media_transports

pytestmark = pytest.mark.anyio

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello"


class Host:
    """A media host on loopback that answers each request with `reply`, noting heads and connections."""

    def __init__(self, reply: bytes = HELLO, *, then: str = "keep") -> None:
        self.reply = reply
        self.then = then
        self.heads: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        self.connections += 1
        self.tasks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.reply)
                await writer.drain()
                if self.then == "close":
                    return
                while self.then == "trickle":
                    writer.write(b"a")
                    await asyncio.sleep(0.05)
                if self.then == "reset":
                    writer.transport.abort()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait for that."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def serving(host: Host, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Host]:
    """The host, listening."""
    listener = await asyncio.start_server(host.answer, address, port)
    host.port = listener.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        listener.close()
        for task in host.tasks:
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A host that says hello."""
    async with serving(Host()) as served:
        yield served


@asynccontextmanager
async def client(*, allow_loopback: bool = True, timeout_s: float = 5) -> AsyncIterator[httpx.AsyncClient]:
    """A client over a media transport as floradl makes them."""
    made = media_transports(allow_loopback=allow_loopback, timeout_s=timeout_s)()
    async with over(made) as opened:
        yield opened


def over(made: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """httpx's own client over a transport: any of httpx's may use ours."""
    return httpx.AsyncClient(transport=made, headers=network_client._HEADERS, trust_env=False)


def resolving(*answers: list[str]) -> tuple[Callable[[str, int], Awaitable[list[str]]], list[str]]:
    """A look-up that gives one answer after another, the last for ever; and the names asked for."""
    left, asked = list(answers), []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve, asked


# --- where it connects -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "[::1]"]
)
async def test_loopback_is_refused(host: Host, name: str) -> None:
    """However this machine is spelled, no connection to it is made, whoever let the URL pass."""
    async with client(allow_loopback=False) as media:
        with pytest.raises(TransferError, match="no public address") as caught:
            await media.get(f"http://{name}:{host.port}/")
    assert (caught.value.code, caught.value.is_retryable) == ("unsafe_url", False)
    assert host.connections == 0


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_loopback_is_reached_when_allowed(host: Host, name: str) -> None:
    """With the API on loopback media come from there; a request carries nothing but what it must."""
    made = media_transports(allow_loopback=True, timeout_s=5)()
    async with MediaClient(made, timeout_s=5) as media:
        for path in ("/one.png?x=1", "/two.png"):
            response = await media.get(httpx.URL(f"http://{name}:{host.port}{path}"), {})
            assert (response.status_code, await response.aread()) == (200, b"hello")
            await response.aclose()
    assert host.heads[0].startswith(b"GET /one.png?x=1 HTTP/1.1\r\n")
    for head in (head.lower() for head in host.heads):
        assert b"accept-encoding: identity\r\n" in head
        assert b"user-agent: floradl/" in head
        assert f"host: {name}:{host.port}\r\n".encode() in head
        assert not any(word in head for word in (b"authorization", b"cookie", b"referer"))
    assert host.connections == 1


@pytest.mark.parametrize("found", [["127.0.0.1"], ["10.0.0.1", "::1"], ["169.254.169.254"]])
async def test_name_of_a_private_address_is_refused(
    host: Host, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public name that leads to this machine or this network is refused before a connection."""
    monkeypatch.setattr(addresses, "resolve", resolving(found)[0])
    async with client(allow_loopback=False) as media:
        with pytest.raises(TransferError, match="no public address"):
            await media.get(f"http://evil.test:{host.port}/")
    assert host.connections == 0


async def test_the_checked_address_is_the_one_that_is_connected_to(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no second look-up: a name that nobody else knows is reached at the address looked up here."""
    resolve, asked = resolving(["127.0.0.1"], ["10.0.0.1"])
    monkeypatch.setattr(addresses, "resolve", resolve)
    async with client() as media:
        for _ in range(3):
            assert (await media.get(f"http://media.invalid:{host.port}/")).text == "hello"
    assert asked == ["media.invalid"]
    assert f"Host: media.invalid:{host.port}\r\n".encode() in host.heads[0]


async def test_what_was_looked_up_is_looked_up_again_after_a_while(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of a name server is good for a minute, and the next one is checked as the first was."""
    resolve, asked = resolving(["127.0.0.1"], ["10.0.0.1"])
    monkeypatch.setattr(addresses, "resolve", resolve)
    monkeypatch.setattr(transport, "_LOOK_UP_HOLDS_S", 0.0)
    async with client() as media:
        assert (await media.get(f"http://media.invalid:{host.port}/")).text == "hello"
        with pytest.raises(TransferError):
            await media.get(f"http://media.invalid:{host.port}/")
    assert asked == ["media.invalid", "media.invalid"]


async def test_the_next_address_is_tried_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses is passed over, and is not asked first again; private ones are never asked."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))  # bound and not listening: it refuses
        port = unused.getsockname()[1]
        async with serving(Host(), "127.0.0.1", port) as host:
            monkeypatch.setattr(addresses, "resolve", resolving(["10.0.0.1", "127.0.0.2", "127.0.0.1"])[0])
            made = MediaTransport(allow_loopback=True, timeout_s=5)
            async with over(made) as media:
                assert (await media.get(f"http://media.invalid:{port}/")).text == "hello"
                assert made._names["media.invalid", port].addresses == ["127.0.0.1", "127.0.0.2"]
                assert (await media.get(f"http://media.invalid:{port}/")).text == "hello"
            assert len(host.heads) == 2


async def test_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """When none answers, that is a failed connection, to be tried again."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.2", 0))
        port = one.getsockname()[1]
        other.bind(("127.0.0.3", port))
        monkeypatch.setattr(addresses, "resolve", resolving(["127.0.0.2", "127.0.0.3"])[0])
        async with client() as media:
            with pytest.raises(httpx.ConnectError, match="refused"):
                await media.get(f"http://media.invalid:{port}/")


@contextmanager
def deaf(address: str, port: int = 0) -> Iterator[int]:
    """A port where connections are neither accepted nor refused."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((address, port))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def test_an_address_that_never_answers() -> None:
    """A connection that is not accepted ends after the timeout."""
    with deaf("127.0.0.1") as port:
        async with client(timeout_s=0.3) as media:
            with pytest.raises(httpx.TimeoutException):
                await media.get(f"http://127.0.0.1:{port}/")


async def test_an_address_that_never_answers_beside_one_that_does(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the timeout goes to the first address, and the next one is reached within the rest."""
    monkeypatch.setattr(addresses, "resolve", resolving(["127.0.0.2", "127.0.0.1"])[0])
    with deaf("127.0.0.2", host.port):
        async with client(timeout_s=0.8) as media:
            assert (await media.get(f"http://media.invalid:{host.port}/")).text == "hello"


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a" * 70 + ".test"])
async def test_unknown_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name that nobody knows is a failed connection, to be tried again."""

    async def unknown(host: str, port: int, **_: object) -> object:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with client(allow_loopback=False) as media:
        with pytest.raises(httpx.ConnectError, match="is not known"):
            await media.get(f"https://{name}/")


async def test_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that says nothing ends as a connection that timed out, to be tried again."""

    async def silent(_host: str, _port: int, **_: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    async with client(allow_loopback=False, timeout_s=0.01) as media, asyncio.timeout(10):
        with pytest.raises(httpx.ConnectTimeout, match=r"look-up of silent\.test"):
            await media.get("https://silent.test/")


async def test_many_hosts_do_not_pile_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account whose every output lies on another host costs a bounded number of pools and look-ups."""
    monkeypatch.setattr(addresses, "resolve", resolving(["127.0.0.1"])[0])
    monkeypatch.setattr(transport, "_MAX_NAMES", 3)
    monkeypatch.setattr(transport, "_MAX_IDLE", 4)
    made = MediaTransport(allow_loopback=True, timeout_s=5)
    async with over(made) as media:
        for number in range(8):
            assert (await media.get(f"http://h{number}.invalid:{host.port}/")).text == "hello"
        assert (len(made._idle), made._idle_count, len(made._names)) == (4, 4, 3)


# --- what its errors are -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "then", "error"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "close",
                     httpx.RemoteProtocolError, id="shorter than announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "close",
                     httpx.RemoteProtocolError, id="without the last chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", "close",
                     httpx.RemoteProtocolError, id="a chunk without a size"),
        pytest.param(b"hello\r\n\r\n", "close", httpx.RemoteProtocolError, id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "keep",
                     httpx.RemoteProtocolError, id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", "keep",
                     httpx.RemoteProtocolError, id="an endless head"),
        pytest.param(b"", "close", httpx.RemoteProtocolError, id="no answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "reset",
                     httpx.TransportError, id="reset"),
        pytest.param(b"", "keep", httpx.ReadTimeout, id="silence"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "keep", httpx.ReadTimeout,
                     id="silence in a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"a" * 400_000, "keep",
                     httpx.ReadTimeout, id="silence far in a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"a" * 400_000, "close",
                     httpx.RemoteProtocolError, id="cut far in a body"),
    ],
)  # fmt: skip
async def test_broken_answers(reply: bytes, then: str, error: type[Exception]) -> None:
    """Whatever breaks comes out as httpx's own error for it, and no foreign one."""
    async with serving(Host(reply, then=then)) as host, client(timeout_s=0.5) as media:
        with pytest.raises(error) as caught:
            await media.get(f"http://127.0.0.1:{host.port}/")
    assert isinstance(caught.value, httpx.TransportError)
    assert str(caught.value)


async def test_the_status_of_an_answer_without_its_body() -> None:
    """What an answer says counts though not a byte of its body comes: 416 means to start over."""
    reply = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 1000\r\n\r\n"
    async with serving(Host(reply, then="close")) as host, client() as media:
        request = media.build_request("GET", f"http://127.0.0.1:{host.port}/")
        response = await media.send(request, stream=True)
        await response.aclose()
    assert response.status_code == 416


async def test_a_head_that_trickles_ends() -> None:
    """A host that never falls silent and never gets to the end of its head is broken off."""
    async with (
        serving(Host(b"HTTP/1.1 200 OK\r\nX: ", then="trickle")) as host,
        client(timeout_s=0.3) as media,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await media.get(f"http://127.0.0.1:{host.port}/")


async def test_a_body_that_trickles_is_seen() -> None:
    """Each byte is given as it comes, so that whoever reads can tell that it is too slow."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with serving(Host(reply, then="trickle")) as host, client() as media:
        request = media.build_request("GET", f"http://127.0.0.1:{host.port}/")
        response = await media.send(request, stream=True)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        pieces = 0
        async for piece in response.stream:
            assert len(piece) < 100
            pieces += 1
            if pieces == 3:
                break
        await response.aclose()


async def test_nothing_that_came_before_a_cut_is_lost() -> None:
    """What arrived before a connection broke can be gone on from."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"a" * 400_000
    async with serving(Host(reply, then="close")) as host, client() as media:
        request = media.build_request("GET", f"http://127.0.0.1:{host.port}/")
        response = await media.send(request, stream=True)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        size = 0
        try:
            async for piece in response.stream:
                size += len(piece)
        except httpx.RemoteProtocolError:
            await response.aclose()
    assert size == 400_000


async def test_a_small_body_that_is_waited_for() -> None:
    """It comes with its head, whole, and where it was wanted; but not one that is larger."""
    loan: list[bytearray] = []

    def room(size_bytes: int) -> memoryview:
        loan.append(bytearray(size_bytes + 1000))
        return memoryview(loan[-1])

    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    made = media_transports(allow_loopback=True, timeout_s=5)()
    async with serving(Host()) as host, MediaClient(made, timeout_s=5) as media:
        url = httpx.URL(f"http://127.0.0.1:{host.port}/")
        for size, pieces, is_lent in ((ROOM_BYTES, 1, True), (1, 1, True), (ROOM_BYTES + 1, 2, False)):
            loan.clear()
            host.reply = head % size + b"a" * size
            response = await media.get(url, {}, room=room)
            came = await pieces_of(response)
            assert (b"".join(came), len(loan)) == (b"a" * size, is_lent)
            assert len(came) >= pieces
            assert not is_lent or (len(came), bytes(loan[0][: size + 1])) == (1, b"a" * size + b"\0")
    assert host.connections == 1


async def test_a_small_body_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads sees it come."""
    monkeypatch.setattr(http11, "GATHER_S", 0.05)
    made = media_transports(allow_loopback=True, timeout_s=5)()
    host = Host(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", then="trickle")
    async with serving(host), MediaClient(made, timeout_s=5) as media:
        url = httpx.URL(f"http://127.0.0.1:{host.port}/")
        response = await media.get(url, {}, room=lambda size: memoryview(bytearray(size)))
        stream = cast("httpx.AsyncByteStream", response.stream)
        assert 0 < len(await anext(aiter(stream))) < 100
        await response.aclose()


async def test_a_small_body_that_breaks_off() -> None:
    """Its head comes, and so does what there is of it, before the error."""
    made = media_transports(allow_loopback=True, timeout_s=5)()
    host = Host(b'HTTP/1.1 206 OK\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n' + b"a" * 700, then="close")
    async with serving(host), MediaClient(made, timeout_s=5) as media:
        url = httpx.URL(f"http://127.0.0.1:{host.port}/")
        response = await media.get(url, {}, room=lambda size: memoryview(bytearray(size)))
        assert (response.status_code, response.headers["etag"]) == (206, '"a"')
        stream = aiter(cast("httpx.AsyncByteStream", response.stream))
        assert bytes(await anext(stream)) == b"a" * 700
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(stream)
        await response.aclose()


async def pieces_of(response: httpx.Response) -> list[bytes]:
    """The body, as it came."""
    pieces = [bytes(piece) async for piece in cast("httpx.AsyncByteStream", response.stream)]
    await response.aclose()
    return pieces


async def test_bytes_come_as_they_are() -> None:
    """A body that says that it is compressed is given as it came, and its headers too."""
    reply = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nplain'
    async with serving(Host(reply)) as host, client() as media:
        request = media.build_request("GET", f"http://127.0.0.1:{host.port}/")
        response = await media.send(request, stream=True)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert b"".join([bytes(piece) async for piece in response.stream]) == b"plain"
        await response.aclose()
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["etag"] == '"a"'


async def test_a_header_that_is_no_text() -> None:
    """A file's name in Latin-1 harms no other."""
    reply = (
        b'HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename="b\xe4r.png"\r\n'
        b"Content-Type: image/png\r\nContent-Length: 5\r\n\r\nhello"
    )
    async with serving(Host(reply)) as host, client() as media:
        response = await media.get(f"http://127.0.0.1:{host.port}/")
    assert (response.text, response.headers["content-type"]) == ("hello", "image/png")
    assert response.headers["content-disposition"] == 'attachment; filename="b\xe4r.png"'


async def test_nothing_is_followed() -> None:
    """A redirect comes back as it is: each step is somebody else's to check."""
    reply = b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with serving(Host(reply)) as host, client() as media:
        response = await media.get(f"http://127.0.0.1:{host.port}/")
    assert (response.status_code, response.headers["location"]) == (302, "http://10.0.0.1/")


async def test_a_connection_that_was_closed_meanwhile(host: Host) -> None:
    """A kept connection that the host has closed is replaced unseen."""
    host.then = "close"
    async with client() as media:
        for _ in range(5):
            assert (await media.get(f"http://127.0.0.1:{host.port}/")).text == "hello"
            await asyncio.sleep(0.02)
    assert host.connections == 5


@pytest.mark.parametrize(("idle_s", "connections"), [(30.0, 1), (0.0, 2)])
async def test_a_connection_that_was_idle_for_long(
    host: Host, monkeypatch: pytest.MonkeyPatch, idle_s: float, connections: int
) -> None:
    """It is not used again: who knows what stands between us and the host."""
    monkeypatch.setattr(transport, "_MAX_IDLE_S", idle_s)
    async with client() as media:
        for _ in range(2):
            assert (await media.get(f"http://127.0.0.1:{host.port}/")).text == "hello"
    assert host.connections == connections


async def test_a_line_that_would_be_two(host: Host) -> None:
    """Nothing that came from outside makes a request of its own."""
    made = media_transports(allow_loopback=True, timeout_s=5)()
    async with MediaClient(made, timeout_s=5) as media:
        with pytest.raises(httpx.LocalProtocolError):
            await media.get(httpx.URL(f"http://127.0.0.1:{host.port}/"), {"If-Range": "a\r\nGET /b"})
    assert host.heads == []


async def test_a_response_that_is_closed_twice(host: Host) -> None:
    """Its connection is given back once, and there is nothing to read any more."""
    made = MediaTransport(allow_loopback=True, timeout_s=5)
    async with MediaClient(made, timeout_s=5) as media:
        response = await media.get(
            httpx.URL(f"http://127.0.0.1:{host.port}/"), {}, room=lambda size: memoryview(bytearray(size))
        )
        stream = cast("httpx.AsyncByteStream", response.stream)
        await stream.aclose()
        await stream.aclose()
        assert made._idle_count == 1
        assert [piece async for piece in stream] == []


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_what_is_left_in_the_middle_is_closed(how: str) -> None:
    """A body that is not wanted any more leaves no connection behind."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 300_000
    async with serving(Host(body)) as host, client(timeout_s=30) as media:
        began = asyncio.Event()

        async def fetch() -> None:
            request = media.build_request("GET", f"http://127.0.0.1:{host.port}/")
            response = await media.send(request, stream=True)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                async for _ in response.stream:
                    began.set()
                    if how == "closed":
                        break
            finally:
                await response.aclose()

        task = asyncio.create_task(fetch())
        await began.wait()
        if how == "cancelled":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() == (how == "cancelled")
        async with asyncio.timeout(10):
            await host.left.wait()


@pytest.mark.parametrize("awaited", ["head", "body"])
async def test_cancelled_in_the_moment_bytes_arrive(awaited: str) -> None:
    """A cancellation counts also where the answer comes at the same time."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
    async with client(timeout_s=30) as media:
        for _ in range(12):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                task, began = _fetching(media, f"http://127.0.0.1:{listener.getsockname()[1]}/")
                connection, _ = await asyncio.to_thread(listener.accept)
                with connection:
                    await asyncio.to_thread(connection.recv, 65536)
                    if awaited == "body":
                        connection.sendall(head + b"a")
                        await began.wait()
                    connection.sendall(b"a" if awaited == "body" else head)
                    time.sleep(0.05)  # noqa: ASYNC251 - the loop is to see the bytes and the end at once
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.wait_for(task, 5)


def _fetching(media: httpx.AsyncClient, url: str) -> tuple[asyncio.Task[None], asyncio.Event]:
    began = asyncio.Event()

    async def fetch() -> None:
        async with media.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                began.set()

    return asyncio.create_task(fetch()), began


# --- certificates ------------------------------------------------------------------------------------


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for `localhost`, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key),
               "-out", str(certificate), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
               "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose certificate nobody vouches for is refused; one that SSL_CERT_FILE vouches for is not."""
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host = Host()
    listener = await asyncio.start_server(host.answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{listener.sockets[0].getsockname()[1]}/"
    async with client() as media:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await media.get(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with client() as media:
        assert (await media.get(url)).text == "hello"
    listener.close()
    await asyncio.gather(*host.tasks)


def test_a_system_without_certificates() -> None:
    """Where the system has none, httpx's own are used, and all of them."""
    code = (
        "from floradl.network.transport import MediaTransport\n"
        "transport = MediaTransport(allow_loopback=False, timeout_s=5)\n"
        "assert transport._certificates().cert_store_stats()['x509_ca'] > 50\n"
    )
    environment = os.environ | {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# --- proxies and the client ----------------------------------------------------------------------------


async def test_media_go_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is asked to connect to the media host; NO_PROXY and loopback are not its business."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
        await closed(writer)

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "direct.invalid")
        async with client(allow_loopback=False) as media:
            with pytest.raises(httpx.ProxyError):
                await media.get("https://media.invalid/a.png?secret=1")
            with pytest.raises(httpx.ConnectError, match="not known"):
                await media.get("https://direct.invalid/a.png")
            with pytest.raises(TransferError):
                await media.get("https://localhost:1/a.png")
    assert [request.split(b"\r\n")[0] for request in asked] == [b"CONNECT media.invalid:443 HTTP/1.1"]
    assert b"secret" not in asked[0]


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.", "0.0.0.0",  # noqa: S104
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]",
        "169.254.169.254", "169.254.169.254.", "metadata.google.internal", "printer.local", "router",
    ],
)  # fmt: skip
async def test_what_no_proxy_is_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A proxy would look it up itself, in its own network; it is refused in whatever form."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{host.port}")
    monkeypatch.setenv("NO_PROXY", "")
    async with client(allow_loopback=False) as media:
        with pytest.raises(TransferError) as caught:
            await media.get(f"http://{name}/latest/meta-data")
    assert (caught.value.code, caught.value.is_retryable) == ("unsafe_url", False)
    assert host.connections == 0


@pytest.mark.parametrize("name", ["localhost.", "a.localhost", "127.0.0.1."])
async def test_no_proxy_is_asked_for_itself(host: Host, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Though this machine may be asked: a proxy would take its own for it."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{host.port}")
    async with client(allow_loopback=True) as media:
        with pytest.raises(TransferError, match="this machine"):
            await media.get(f"http://{name}/")
    assert host.connections == 0


async def test_a_proxy_that_works(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a proxy that is given by name and with credentials, bytes arrive."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pw@localhost:{host.port}")
    async with client() as media:
        assert (await media.get("http://media.invalid/a.png")).text == "hello"
    assert host.heads[0].startswith(b"GET http://media.invalid/a.png HTTP/1.1\r\n")
    assert b"proxy-authorization: basic " in host.heads[0].lower()


def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of another kind is told before anything is fetched."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://x:1")
    with pytest.raises(UsageError, match="proxy of the environment"):
        media_transports(allow_loopback=False, timeout_s=5)


async def test_media_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The media client has no credentials, follows nothing, keeps no cookie, and ignores the environment."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pw@proxy.test")
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.test/", "Set-Cookie": "a=b"})

    async with MediaClient(httpx.MockTransport(answer), timeout_s=7) as media:
        for _ in range(2):
            response = await media.get(httpx.URL("https://media.test/a"), {"Range": "bytes=5-"})
            assert response.status_code == 302
            await response.aclose()
    for request in asked:
        assert request.extensions["timeout"] == httpx.Timeout(7).as_dict()
        assert not {"authorization", "cookie"} & set(request.headers)
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["range"] == "bytes=5-"

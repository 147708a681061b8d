"""One connection to a media host: where an answer ends, what breaks it off, and how far a host gets ahead.

Over real sockets and on both event loops, where those matter; else the bytes are handed over one by one.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from floradl.buffers import BLOCK_BYTES, Blocks, is_block
from floradl.network import http11
from floradl.network.body import ROOM_BYTES
from floradl.network.client import NotHttpError
from floradl.network.http11 import Connection
from tests.network.test_transport import self_signed
from tests.support.scripted_host import CHUNKED, OK, SIZED, Host, Step, listening

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: media.test\r\n\r\n"
MIB = 1024 * 1024


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Each of the event loops that floradl runs on."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of a host on this machine, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def connected(
    *answers: Sequence[Step], timeout_s: float = 5, certificate: tuple[Path, Path] | None = None
) -> AsyncIterator[tuple[Connection, Host]]:
    """A connection to a host that answers like this; over TLS, where it has a certificate."""
    host, theirs, ours = Host(*answers), None, None
    if certificate is not None:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(*certificate)
        ours = ssl.create_default_context(cafile=certificate[0])
    async with listening(host, theirs) as port:
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Connection(timeout_s),
            "127.0.0.1",
            port,
            ssl=ours,
            server_hostname="localhost" if ours else None,
        )
        try:
            yield made, host
        finally:
            made.close()


async def body_of(one: Connection) -> bytes:
    """All that is left of an answer's body."""
    pieces = []
    while (piece := await one.read()) is not None:
        pieces.append(bytes(piece))
    return b"".join(pieces)


def room(size_bytes: int) -> memoryview:
    """Memory, more than was asked for."""
    return memoryview(bytearray(size_bytes + 10))


# ---------------------------------------------------------------------------------- where an answer ends


ANSWERS = [
    pytest.param([SIZED], 200, b"hello", True, id="a length"),
    pytest.param(
        [OK, 0.02, b"Content-Length: 5\r\n", 0.02, b"\r\nhe", 0.02, b"llo"],
        200,
        b"hello",
        True,
        id="bit by bit",
    ),
    pytest.param([OK + b"Content-Length: 5\r\n\r\n", 0.02, b"hello"], 200, b"hello", True, id="a head alone"),
    pytest.param([OK + b"Content-Length: 0\r\n\r\n"], 200, b"", True, id="no bytes"),
    pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b"", True, id="204"),
    pytest.param([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"], 304, b"", True, id="304"),
    pytest.param([CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"], 200, b"hello", True, id="chunks"),
    pytest.param(
        [CHUNKED, 0.02, b"2;a=b\r\nhe\r\n3", 0.02, b"\r\nllo\r\n0\r\nX: y\r\n\r\n"],
        200,
        b"hello",
        True,
        id="chunks bit by bit",
    ),
    pytest.param(
        [OK + b"\r\nhel", 0.02, b"lo", "close"], 200, b"hello", False, id="the end of the connection"
    ),
    pytest.param(
        [OK + b"Transfer-Encoding: identity\r\n\r\nhello", "close"],
        200,
        b"hello",
        False,
        id="a coding that is none",
    ),
    pytest.param(
        [OK + b"Content-Length: 5\r\nX: y\r\ncontent-length: 5 \r\n\r\nhello"],
        200,
        b"hello",
        True,
        id="the same length twice",
    ),
    pytest.param(
        [OK + b"Content-Length: 5,\t5 , 5\r\n\r\nhello"], 200, b"hello", True, id="a list of the same length"
    ),
    pytest.param(
        [CHUNKED + b"1;chunk-signature=0123456789\r\na\r\n" * 20_000 + b"0\r\n\r\n"],
        200,
        b"a" * 20_000,
        True,
        id="chunks of one byte",
    ),
    pytest.param(
        [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\nevil"],
        200,
        b"hello",
        False,
        id="another answer right behind the last chunk",
    ),
    pytest.param(
        [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0.05, "close"], 200, b"hello", False, id="1.0"
    ),
    pytest.param(
        [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"],
        200,
        b"hello",
        True,
        id="1.0 that goes on",
    ),
    pytest.param(
        [OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"],
        200,
        b"hello",
        False,
        id="announced to be the last",
    ),
    pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", 0.02, SIZED], 200, b"hello", True, id="100 before"),
    pytest.param(
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED], 200, b"hello", True, id="103 at once"
    ),
    pytest.param([b"HTTP/1.1 100 A\r\n\r\n" * 1500 + SIZED], 200, b"hello", True, id="100 over and over"),
    pytest.param([SIZED + b"more"], 200, b"hello", False, id="more than announced"),
    pytest.param(
        [CHUNKED + b"5\r\nhello\r\n0\r\n\r\nmore"], 200, b"hello", False, id="more than the last chunk"
    ),
    pytest.param([b"HTTP/1.1 204 No Content\r\n\r\nmore"], 204, b"", False, id="more than nothing"),
    pytest.param(
        [OK + b"Content-Length: 3000000\r\n\r\n" + b"a" * 3_000_000], 200, b"a" * 3_000_000, True, id="large"
    ),
    pytest.param(
        [CHUNKED] + [b"100000\r\n" + b"a" * MIB + b"\r\n"] * 4 + [b"0\r\n\r\n"],
        200,
        b"a" * 4 * MIB,
        True,
        id="large in chunks",
    ),
]


@pytest.mark.parametrize(("steps", "status", "body", "is_reusable"), ANSWERS)
async def test_where_an_answer_ends(steps: list[Step], status: int, body: bytes, is_reusable: bool) -> None:
    """By its own words; and whether another request may follow it."""
    async with connected(steps, [SIZED]) as (one, _):
        head = await one.ask(REQUEST, None)
        assert (head.status, await body_of(one), one.has_ended) == (status, body, True)
        assert (one.is_reusable and one.is_open) == is_reusable
        if is_reusable:
            assert (await one.ask(REQUEST, None)).headers == [(b"Content-Length", b"5")]
            assert await body_of(one) == b"hello"


@pytest.mark.parametrize("wanted", [None, room])
@pytest.mark.parametrize(
    "answer", [OK + b"Content-Length: 5\r\n\r\nwrong", CHUNKED + b"5\r\nwrong\r\n0\r\n\r\n"]
)
async def test_a_body_that_nobody_read(answer: bytes, wanted: Callable[[int], memoryview] | None) -> None:
    """None of it gets into the next one."""
    async with connected([answer], [SIZED]) as (one, _):
        await one.ask(REQUEST, wanted)
        assert one.has_ended
        await one.ask(REQUEST, wanted)
        assert await body_of(one) == b"hello"


@pytest.mark.parametrize("size", [1, 5000, 40_000, ROOM_BYTES, ROOM_BYTES + 1])
async def test_a_body_has_the_bytes_that_were_sent(size: int) -> None:
    """With and without room for it, one after another on the same connection."""
    bodies = [random.Random(number).randbytes(size) for number in range(4)]
    answers = [[OK + b"Content-Length: %d\r\n\r\n" % size, body] for body in bodies]
    async with connected(*answers) as (one, _):
        for number, body in enumerate(bodies):
            await one.ask(REQUEST, room if number % 2 else None)
            assert await body_of(one) == body


class FakeTransport(asyncio.Transport):
    """Takes everything, and says whether it was ended.

    Args:
        tls: what there is of TLS.
    """

    def __init__(self, tls: object = None) -> None:
        super().__init__({"ssl_object": tls})
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sent."""

    def abort(self) -> None:
        """The end."""
        self.is_aborted = True

    def is_closing(self) -> bool:
        """Whether it was ended."""
        return self.is_aborted

    def pause_reading(self) -> None:
        """Here nothing comes by itself."""

    def resume_reading(self) -> None:
        """Here nothing comes by itself."""


def hand_over(one: Connection, data: bytes) -> None:
    """Bytes come, as the event loop hands them over."""
    while data:
        buffer = one.get_buffer(-1)
        assert len(buffer)
        part = data[: len(buffer)]
        buffer[: len(part)] = part
        one.buffer_updated(len(part))
        data = data[len(part) :]


@pytest.mark.parametrize("seed", range(60))
async def test_wherever_the_bytes_are_cut(seed: int) -> None:
    """The same answer, whatever the network makes of it."""
    dice = random.Random(seed)
    body = dice.randbytes(dice.choice([1, 7, 300, 40_000, 300_000, 2 * MIB + 5000, 3 * MIB]))
    if dice.random() < 0.5:
        data = OK + b"ETag: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    else:
        at = dice.randrange(len(body) + 1)
        chunks = [chunk for chunk in (body[:at], body[at:]) if chunk]
        data = b"%sETag: x\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (
            OK,
            b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks),
        )
    one = Connection(60)
    one.connection_made(FakeTransport())
    wanted, blocks = (room if dice.random() < 0.5 else None), (Blocks() if dice.random() < 0.7 else None)
    asked = asyncio.ensure_future(one.ask(REQUEST, wanted, blocks))
    await asyncio.sleep(0)
    received, at = bytearray(), 0
    while at < len(data):
        size = dice.choice(
            [1, 2, 30, 5000, 100_000] if len(body) < MIB else [5000, 100_000, 700_000, 2 * MIB]
        )
        hand_over(one, data[at : at + size])
        at += size
        if dice.random() < 0.2 and asked.done() and at < len(data):
            await asyncio.sleep(0)
            if one._body.is_readable:
                received += await one.read() or b""
    assert (await asked).headers[0] == (b"ETag", b"x")
    assert received + await body_of(one) == body
    assert one.is_reusable
    one.close()


# ---------------------------------------------------------------------------------- what breaks it off


BROKEN = [
    pytest.param(
        [OK + b"Content-Length: 9\r\n\r\nabc", "close"], httpx.RemoteProtocolError, b"abc", id="short"
    ),
    pytest.param([CHUNKED + b"9\r\nabc", "close"], httpx.RemoteProtocolError, b"abc", id="a cut chunk"),
    pytest.param([CHUNKED + b"3\r\nabc\r\nzz\r\n"], httpx.RemoteProtocolError, b"abc", id="no chunk"),
    pytest.param([OK + b"Content-Length: 9\r\n\r\nabc", 0.05, "reset"], httpx.ReadError, b"abc", id="reset"),
    pytest.param([OK + b"\r\nabc", 0.05, "reset"], httpx.ReadError, b"abc", id="reset without a length"),
    pytest.param([OK + b"Content-Length: 9\r\n\r\nabc", 1.0], httpx.ReadTimeout, b"abc", id="silence"),
    pytest.param([CHUNKED + b"3\r\nabc\r\n", 1.0], httpx.ReadTimeout, b"abc", id="silence between chunks"),
    pytest.param([OK + b"\r\nabc", 1.0], httpx.ReadTimeout, b"abc", id="silence without a length"),
]


@pytest.mark.parametrize("wanted", [None, room])
@pytest.mark.parametrize(("steps", "error", "body"), BROKEN)
async def test_what_came_of_a_broken_body(
    steps: list[Step],
    error: type[Exception],
    body: bytes,
    wanted: Callable[[int], memoryview] | None,
) -> None:
    """It is to be had before the error, and the head was."""
    async with connected(steps, timeout_s=0.2) as (one, _):
        assert (await one.ask(REQUEST, wanted)).status == 200
        assert bytes(await one.read() or b"") == body
        for _ in range(2):
            with pytest.raises(error):
                await one.read()
        assert (one.is_reusable, one.is_open, one.has_ended) == (False, False, False)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n", 9.0], NotHttpError, id="SSH"),
        pytest.param([b"\x15\x03\x01\x00\x02\x02\x46", 9.0], NotHttpError, id="TLS"),
        pytest.param([b"\x89PNG\r\n\x1a\n", "close"], NotHttpError, id="a body without a head"),
        pytest.param([b"HTTP/2.0 200 OK\r\n\r\n"], NotHttpError, id="a later HTTP"),
        pytest.param([b"HTTP/0.9 200 OK\r\n\r\n"], NotHttpError, id="an earlier HTTP"),
        pytest.param([b"\r\n" + SIZED], NotHttpError, id="a line before the head"),
        pytest.param([b"HTTP/1.1 099 Odd\r\n\r\n"], NotHttpError, id="a status below 100"),
        pytest.param([b"HTTP/1.1 oops\r\n\r\n"], NotHttpError, id="no status"),
        pytest.param([b"HTTP/1.1 100 A\r\n\r\n?", 9.0], NotHttpError, id="no HTTP after 100"),
        pytest.param([OK + b"Content-Length: 5, 6\r\n\r\nhello"], NotHttpError, id="a list of lengths"),
        pytest.param(
            [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"], NotHttpError, id="two lengths"
        ),
        pytest.param([OK + b"Content-Length: a, a\r\n\r\nhello"], NotHttpError, id="lengths of no number"),
        pytest.param(
            [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
            NotHttpError,
            id="a length beside chunks",
        ),
        pytest.param(
            [OK + b"Transfer-Encoding: gzip\r\n\r\nhello", "close"],
            NotHttpError,
            id="a coding that was not asked",
        ),
        pytest.param(
            [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
            NotHttpError,
            id="a coding inside chunks",
        ),
        pytest.param(
            [OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
            NotHttpError,
            id="what only looks like chunks",
        ),
        pytest.param([OK + b"X: " + b"a" * 100_000], NotHttpError, id="an endless head"),
        pytest.param([OK, "close"], httpx.RemoteProtocolError, id="half a head"),
        pytest.param([OK, 0.05, "reset"], httpx.ReadError, id="half a head, and a reset"),
        pytest.param([1.0], httpx.ReadTimeout, id="silence"),
        pytest.param([OK, *[b"X: y\r\n", 0.05] * 20], httpx.ReadTimeout, id="a head that trickles"),
        pytest.param(["close"], httpx.RemoteProtocolError, id="nothing"),
        pytest.param(["reset"], httpx.TransportError, id="a reset"),
    ],
)
async def test_no_head(steps: list[Step], error: type[Exception]) -> None:
    """There is no answer to speak of."""
    async with connected(steps, timeout_s=0.3) as (one, _):
        with pytest.raises(error):
            await one.ask(REQUEST, None)
        assert (one.is_reusable, one.is_open) == (False, False)


async def test_another_protocol_was_not_asked_for() -> None:
    """A host that changes to one is told so in words."""
    steps: list[Step] = [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 9.0]
    async with connected(steps) as (one, _):
        with pytest.raises(NotHttpError, match="change of protocol"):
            await one.ask(REQUEST, None)


@pytest.mark.parametrize("came", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"?"])
async def test_an_answer_that_nobody_asked_for(came: bytes) -> None:
    """It belongs to no request: the connection is not used again."""
    async with connected([SIZED, 0.05, came]) as (one, _):
        await one.ask(REQUEST, None)
        await body_of(one)
        await asyncio.sleep(0.2)
        assert (one.is_reusable, one.is_open) == (False, False)


async def test_whoever_waits_is_told_once() -> None:
    """What comes after an error counts for nothing."""
    one = Connection(60)
    transport = FakeTransport()
    one.connection_made(transport)
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, b"no HTTP\r\n\r\n")
    assert transport.is_aborted
    one.buffer_updated(3)
    one.connection_lost(OSError())
    with pytest.raises(NotHttpError):
        await asked


ENDLESS = [
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: " + b"a" * 8000 + b"\r\n", id="trailers"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\nX: ", b"a" * 8000, id="a trailer"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n5;x=", b"a" * 8000, id="a chunk's extension"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n", b"0" * 8000, id="a chunk's size"),
]


@pytest.mark.parametrize(("began", "more"), ENDLESS)
async def test_what_frames_a_body_has_an_end(began: bytes, more: bytes) -> None:
    """A host that sends it for ever is left before it fills the memory; what came of the body is given."""
    one, transport, sent = Connection(60), FakeTransport(), 0
    one.connection_made(transport)
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, began)
    while not transport.is_aborted:
        hand_over(one, more)
        sent += len(more)
        assert sent < 200_000
    assert (await asked).status == 200
    assert await one.read() == b"hello"
    with pytest.raises(NotHttpError):
        await one.read()


async def test_interim_answers_have_an_end() -> None:
    """A host that sends nothing but 100 Continue is left."""
    one, transport, sent = Connection(60), FakeTransport(), 0
    one.connection_made(transport)
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    while not transport.is_aborted:
        hand_over(one, b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100)
        sent += 3200
        assert sent < 500_000
    with pytest.raises(NotHttpError):
        await asked


@pytest.mark.parametrize("pieces", [1, 2])
async def test_trailers_add_nothing_to_the_head(pieces: int) -> None:
    """What comes behind the body was not known when the head was judged."""
    trailer = b'0\r\nETag: "evil"\r\nContent-Range: bytes 5-9/10\r\n\r\n'
    steps: list[Step] = [CHUNKED + b"5\r\nhello\r\n", 0.02, trailer]
    async with connected([b"".join(cast("list[bytes]", steps[::2]))] if pieces == 1 else steps) as (one, _):
        head = await one.ask(REQUEST, None)
        assert await body_of(one) == b"hello"
        assert head.headers == [(b"Transfer-Encoding", b"chunked")]
        assert one.is_reusable


async def test_white_space_behind_a_value_is_none_of_it() -> None:
    """A length or validator with a space behind it is the one without."""
    async with connected([OK + b'ETag: "a" \t\r\nContent-Length: 5 \r\n\r\nhello']) as (one, _):
        head = await one.ask(REQUEST, None)
        assert head.headers == [(b"ETag", b'"a"'), (b"Content-Length", b"5")]


# ---------------------------------------------------------------------------------- time


class Timers:
    """A connection's event loop as far as its time goes, which passes when a test says so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now_s = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """Now, in seconds."""
        return self._now_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> object:
        """Ring at a moment."""
        self._due.append((when_s, callback))
        return object()

    def create_future(self) -> asyncio.Future[Any]:
        """Something to wait for."""
        return self._loop.create_future()

    def pass_time(self, duration_s: float) -> None:
        """Ring all that is due by then."""
        self._now_s += duration_s
        due = [(when_s, callback) for when_s, callback in self._due if when_s <= self._now_s]
        self._due = [one for one in self._due if one not in due]
        for _, callback in due:
            callback()


async def test_one_alarm_for_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rings while a later request is under way, which has all its time."""
    one, timers, transport = Connection(0.4), Timers(), FakeTransport()
    monkeypatch.setattr(one, "_loop", timers)
    one.connection_made(transport)

    async def answered(after_s: float) -> bytes:
        asked = asyncio.ensure_future(one.ask(REQUEST, None))
        await asyncio.sleep(0)
        timers.pass_time(after_s)
        if not transport.is_aborted:
            hand_over(one, SIZED)
        await asked
        return await body_of(one)

    assert await answered(0) == b"hello"
    timers.pass_time(0.2)
    assert await answered(0.3) == b"hello"
    timers.pass_time(0.5)  # and nobody is silent who was not asked
    assert one.is_open
    with pytest.raises(httpx.ReadTimeout):
        await answered(0.5)


@pytest.mark.parametrize(("began", "more"), ENDLESS)
async def test_what_frames_a_body_is_no_sign_of_life(
    monkeypatch: pytest.MonkeyPatch, began: bytes, more: bytes
) -> None:
    """A host that sends a byte of it every half second is as silent as one that sends none."""
    one, timers, transport = Connection(3), Timers(), FakeTransport()
    monkeypatch.setattr(one, "_loop", timers)
    one.connection_made(transport)
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, began)
    passed_s = 0.0
    while not transport.is_aborted:
        timers.pass_time(0.5)
        passed_s += 0.5
        assert passed_s <= 3.5
        hand_over(one, more[:1] if not transport.is_aborted else b"")
    await asked
    assert await one.read() == b"hello"
    with pytest.raises(httpx.ReadTimeout):
        await one.read()


@pytest.mark.parametrize("piece", [b"X", b"HTTP/1.1 100 A\r\n\r\n"], ids=["a head", "interim answers"])
async def test_a_head_has_its_time_as_a_whole(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    """However much of it comes, and however many interim ones before it."""
    one, timers, transport = Connection(3), Timers(), FakeTransport()
    monkeypatch.setattr(one, "_loop", timers)
    one.connection_made(transport)
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, OK if piece == b"X" else piece)
    for _ in range(6):
        assert not transport.is_aborted
        timers.pass_time(0.5)
        hand_over(one, piece if not transport.is_aborted else b"")
    assert transport.is_aborted
    with pytest.raises(httpx.ReadTimeout):
        await asked


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_host_does_not_get_far_ahead(certificate: tuple[Path, Path], is_secure: bool) -> None:
    """What nobody takes is not received; nor is the host called silent then. Then all of it comes."""
    size = 32 * MIB
    steps: list[Step] = [OK + b"Content-Length: %d\r\n\r\n" % size, *[random.Random(1).randbytes(MIB)] * 32]
    tls = certificate if is_secure else None
    async with connected(steps, [SIZED], timeout_s=0.5, certificate=tls) as (one, host):
        await one.ask(REQUEST, None)
        await asyncio.sleep(1.2)
        assert host.sent < size / 2
        assert await body_of(one) == b"".join(cast("list[bytes]", steps[1:]))
        await one.ask(REQUEST, room)
        assert await body_of(one) == b"hello"
        assert one.is_reusable


@pytest.mark.parametrize(("steps", "error", "body"), [row for row in BROKEN if "reset" not in str(row.id)])
async def test_what_came_of_a_broken_body_over_tls(
    certificate: tuple[Path, Path], steps: list[Step], error: type[Exception], body: bytes
) -> None:
    """The same; and the connection is not used again."""
    async with connected(steps, timeout_s=0.3, certificate=certificate) as (one, _):
        assert (await one.ask(REQUEST, room)).status == 200
        assert bytes(await one.read() or b"") == body
        with pytest.raises(error):
            await one.read()
        assert not one.is_reusable


async def test_a_connection_that_is_lost_while_its_host_waits() -> None:
    """What had come is to be had."""
    async with connected([CHUNKED, *[b"100000\r\n" + b"a" * MIB + b"\r\n"] * 3, 1.0]) as (one, _):
        await one.ask(REQUEST, None)
        await asyncio.sleep(0.1)
        came, size = one._body.ahead_bytes, 0
        one._transport.abort()
        while size < came:
            size += len(await one.read() or b"")
        with pytest.raises(httpx.RemoteProtocolError):
            await one.read()
        assert size == came > 0


async def test_a_small_body_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given as it comes after a while, where it was wanted."""
    monkeypatch.setattr(http11, "GATHER_S", 0.05)
    memory = bytearray(5)
    head = OK + b"Content-Length: 5\r\n\r\n"
    async with connected([head, b"he", 0.2, b"llo"], [head, b"he", 0.01, b"llo", 0.2]) as (one, _):
        await one.ask(REQUEST, lambda _: memoryview(memory))
        assert bytes(await one.read() or b"") == b"he"
        assert (await body_of(one), bytes(memory)) == (b"llo", b"hello")
        await one.ask(REQUEST, lambda _: memoryview(memory))
        assert one.has_ended
        await asyncio.sleep(0.1)
        assert await body_of(one) == b"hello"


# ---------------------------------------------------------------------------------- large bodies, in blocks


def sized(*pieces: bytes) -> bytes:
    """The head of an answer of so many bytes."""
    return OK + b"Content-Length: %d\r\n\r\n" % sum(map(len, pieces))


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_large_body_comes_in_blocks(certificate: tuple[Path, Path], is_secure: bool) -> None:
    """Whole ones, which are used again when they are given back; its end fills none."""
    body = random.Random(1).randbytes(20 * BLOCK_BYTES + 70_000)
    blocks, pieces, memories = Blocks(), [], set()
    tls = certificate if is_secure else None
    async with connected([sized(body) + body], [SIZED], certificate=tls) as (one, _):
        await one.ask(REQUEST, room, blocks)
        while (piece := await one.read()) is not None:
            pieces.append(bytes(piece))
            if is_block(piece):
                memories.add(piece.obj)
                blocks.give_back(piece)
        assert b"".join(pieces) == body
        assert [len(piece) for piece in pieces[:20]] == [BLOCK_BYTES] * 20
        assert len(memories) <= 3
        await one.ask(REQUEST, None, blocks)
        assert (await body_of(one), one.is_reusable) == (b"hello", True)


@pytest.mark.parametrize("size", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES])
async def test_sizes_around_a_block(size: int) -> None:
    """All of it comes, one after another on the same connection, into blocks and without."""
    bodies = [random.Random(number).randbytes(size) for number in range(4)]
    async with connected(*[[sized(body), body] for body in bodies]) as (one, _):
        for number, body in enumerate(bodies):
            await one.ask(REQUEST, None, Blocks() if number % 2 else None)
            assert await body_of(one) == body
            assert one.is_reusable


async def test_a_block_that_is_slow_to_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is of it is given after a while, again and again; then come whole ones as before."""
    monkeypatch.setattr(http11, "FILL_S", 0.05)
    body = random.Random(1).randbytes(3 * BLOCK_BYTES)
    at = BLOCK_BYTES // 2
    steps: list[Step] = [sized(body) + body[:at], 0.4, body[at : at + 9], 0.4, body[at + 9 :]]
    async with connected(steps) as (one, _):
        loop, pieces = asyncio.get_running_loop(), []
        await one.ask(REQUEST, None, Blocks())
        began_s = loop.time()
        while (piece := await one.read()) is not None:
            pieces.append((piece, loop.time() - began_s))
        assert b"".join(bytes(piece) for piece, _ in pieces) == body
        sizes = [len(piece) for piece, _ in pieces]
        assert sum(sizes[:-4]) == at
        assert sizes[-4:] == [9, BLOCK_BYTES - at - 9, BLOCK_BYTES, BLOCK_BYTES]
        assert pieces[0][1] < 0.3 <= pieces[-4][1] < 0.7 <= pieces[-3][1]
        assert not any(is_block(piece) for piece, _ in pieces[:-2])


@pytest.mark.parametrize(
    ("last", "error"),
    [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError), (1.0, httpx.ReadTimeout)],
)
async def test_a_block_that_breaks_off(last: Step, error: type[Exception]) -> None:
    """What came of it is to be had, and then it is told why there is no more."""
    body = random.Random(1).randbytes(2 * BLOCK_BYTES)
    came = body[: BLOCK_BYTES + 5000]
    async with connected([sized(body) + came, 0.05, last], timeout_s=0.3) as (one, _):
        await one.ask(REQUEST, None, Blocks())
        received = bytearray()
        while len(received) < len(came):
            received += await one.read() or b""
        with pytest.raises(error):
            await one.read()
        assert received == came
        assert not one.is_reusable


async def test_whoever_reads_late_gets_all_of_it() -> None:
    """A host that had to wait in the middle of a block goes on when the blocks before it are taken."""
    body = random.Random(1).randbytes(8 * BLOCK_BYTES)
    one = Connection(60)
    one.connection_made(FakeTransport())
    asked = asyncio.ensure_future(one.ask(REQUEST, None, Blocks()))
    await asyncio.sleep(0)
    hand_over(one, sized(body) + body[: 2 * BLOCK_BYTES + 5000])
    await asked
    assert one._is_paused
    received = bytes(await one.read() or b"")
    assert one._is_paused
    received += bytes(await one.read() or b"")
    assert [one._is_paused] == [False]
    hand_over(one, body[2 * BLOCK_BYTES + 5000 :])
    assert received + await body_of(one) == body
    one.close()


async def test_a_timer_that_rings_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer serves many blocks: it looks at the one that is there, and finds none at the end."""
    monkeypatch.setattr(http11, "FILL_S", 0.05)
    body = random.Random(1).randbytes(2 * BLOCK_BYTES)
    at = BLOCK_BYTES + 5000
    steps: list[Step] = [sized(body) + body[:5000], 0.03, body[5000:at], 0.03, body[at:], 0.2]
    async with connected(steps) as (one, _):
        await one.ask(REQUEST, None, Blocks())
        assert [len(await one.read() or b"") for _ in range(2)] == [BLOCK_BYTES, BLOCK_BYTES]
        await asyncio.sleep(0.1)
        assert await one.read() is None


async def test_a_block_that_begins_with_the_head() -> None:
    """It is not waited for any longer than others are."""
    body = bytes(BLOCK_BYTES)
    async with connected([sized(body) + body[:5000], 3600.0]) as (one, _):
        await one.ask(REQUEST, None, Blocks())
        assert len(await one.read() or b"") == 5000


async def test_a_connection_that_is_closed_while_a_block_fills() -> None:
    """Nothing is left that would ring."""
    body = bytes(BLOCK_BYTES)
    async with connected([sized(body), 0.02, b"a", 0.5]) as (one, _):
        await one.ask(REQUEST, None, Blocks())
        await asyncio.sleep(0.05)
        assert one._filling is not None
        one.close()
        await asyncio.sleep(http11.FILL_S + 0.05)
        assert one._filling is None


class FakeTls:
    """A layer that has something left, and then, as it may, an end or an error.

    Args:
        left: what it has.
        last: what comes then.
    """

    def __init__(self, left: bytes, last: int | Exception) -> None:
        self._left = left
        self._last = last

    def read(self, size: int, buffer: memoryview) -> int:
        """As an `ssl.SSLObject` does."""
        if not self._left:
            if isinstance(self._last, Exception):
                raise self._last
            return self._last
        part, self._left = self._left[:size], self._left[size:]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("last", [0, ssl.SSLWantReadError(), ssl.SSLZeroReturnError()])
@pytest.mark.parametrize("left", [b"", b"ing that was left"])
async def test_what_tls_has_left_at_its_end(left: bytes, last: int | Exception) -> None:
    """It is part of the body, which ends there if it has no other end."""
    one = Connection(60)
    one.connection_made(FakeTransport(FakeTls(left, last)))
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, OK + b"\r\nsometh")
    await asked
    one.connection_lost(None)
    assert await body_of(one) == b"someth" + left


async def test_what_tls_has_left_when_nobody_wants_it() -> None:
    """It is not read from a connection that was closed here."""
    tls = FakeTls(b"left", 0)
    one = Connection(60)
    one.connection_made(FakeTransport(tls))
    asked = asyncio.ensure_future(one.ask(REQUEST, None))
    await asyncio.sleep(0)
    hand_over(one, OK + b"\r\nsometh")
    await asked
    one.close()
    one.connection_lost(None)
    assert tls._left == b"left"


@contextmanager
def closing_behind(answer: bytes, certificate: tuple[Path, Path], *, says_so: bool) -> Iterator[int]:
    """A host in a thread that sends this over TLS, once, and its end right behind; its port.

    Args:
        says_so: whether it ends TLS, too, or the connection alone.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    done = threading.Event()

    def serve() -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(answer)
            if says_so:
                secure.setblocking(False)
                with suppress(ssl.SSLWantReadError):
                    secure.unwrap()
            with suppress(OSError):
                secure.shutdown(socket.SHUT_WR)
            done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        yield listener.getsockname()[1]
        done.set()
        serving.join()


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("form", ["sized", "chunked", "open"])
@pytest.mark.parametrize("size", [1_100_000, 1_363_148, 2_150_000, 3_565_158])
async def test_whoever_reads_late_gets_what_came_before_the_end_of_tls(
    certificate: tuple[Path, Path], size: int, form: str, says_so: bool
) -> None:
    """A host that closes right behind a body, while reading pauses: all of it had come, and is given."""
    body = random.Random(1).randbytes(size)
    answer = {
        "sized": sized(body) + body,
        "chunked": CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body),
        "open": OK + b"\r\n" + body,
    }[form]
    context = ssl.create_default_context(cafile=certificate[0])
    with closing_behind(answer, certificate, says_so=says_so) as port:
        _, one = await asyncio.get_running_loop().create_connection(
            lambda: Connection(5), "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        await one.ask(REQUEST, None, Blocks())
        received = bytearray()
        while (piece := await one.read()) is not None:
            received += piece
            await asyncio.sleep(0.02 * len(piece) / MIB)
        one.close()
    assert received == body


async def test_a_wait_that_is_cancelled() -> None:
    """Nobody waits any more, and what comes harms nobody."""
    async with connected([0.05, SIZED, 0.2]) as (one, _):
        asked = asyncio.ensure_future(one.ask(REQUEST, None))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.sleep(0.1)
        assert await body_of(one) == b"hello"

"""Nonsense from a media host: whatever bytes a connection gets, cut wherever, at whatever pace.

No body is ever given as whole that is not the one sent: an independent reader (`tests.support.http_reader`)
says which one that is. No host holds a connection for longer than the timeout without giving more of a body,
and none is listened to that sends more and more beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from hypothesis import given
from hypothesis import strategies as st

from floradl.buffers import Blocks
from floradl.network.http11 import Connection
from tests.network.test_http11 import REQUEST, FakeTransport, room
from tests.support.http_reader import Answer, read_answer
from tests.support.hypothesis_settings import by_day

TIMEOUT_S = 3.0
MAX_HELD_BYTES = 512 * 1024
"""More than a host may send without a byte of a body: interim answers, a head, and what frames chunks."""

MAX_HELD_PER_BYTE = 128


class Alarm:
    """What a `FakeLoop` rings at a moment."""

    def __init__(self, when_s: float, callback: Callable[[], None]) -> None:
        self.when_s = when_s
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """Do not ring."""
        self.is_cancelled = True


class FakeLoop:
    """An event loop as far as its time goes, which passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._alarms: list[Alarm] = []

    def time(self) -> float:
        """Now, in seconds."""
        return self.now_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Alarm:
        """Ring at a moment."""
        self._alarms.append(alarm := Alarm(when_s, callback))
        return alarm

    def call_later(self, delay_s: float, callback: Callable[..., None], *arguments: Any) -> Alarm:
        """Ring after a while."""
        return self.call_at(self.now_s + delay_s, lambda: callback(*arguments))

    def create_future(self) -> asyncio.Future[Any]:
        """Something to wait for."""
        return asyncio.get_running_loop().create_future()

    def pass_time(self, duration_s: float) -> None:
        """Ring all that is due by then, in order."""
        end_s = self.now_s + duration_s
        while due := [one for one in self._alarms if one.when_s <= end_s and not one.is_cancelled]:
            first = min(due, key=lambda one: one.when_s)
            self._alarms.remove(first)
            self.now_s = max(self.now_s, first.when_s)
            first.callback()
        self.now_s = end_s


@dataclass
class Talk:
    """One answer over a connection: what was heard of it so far.

    Attributes:
        status: of the head, once there is one.
        body: what was given of the body.
        is_whole: whether it was given as whole.
        error: what ended it otherwise.
    """

    wants_room: bool = False
    wants_blocks: bool = False
    loop: FakeLoop = field(default_factory=FakeLoop)
    transport: FakeTransport = field(default_factory=FakeTransport)
    status: int | None = None
    body: bytes = b""
    is_whole: bool = False
    error: httpx.TransportError | None = None

    async def __aenter__(self) -> Talk:
        self.connection = Connection(TIMEOUT_S)
        fake = cast("Any", self.connection)
        fake._loop, fake._body._now = self.loop, self.loop.time
        self.connection.connection_made(self.transport)
        self._listening = asyncio.ensure_future(self._listen())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self.connection.close()

    async def _listen(self) -> None:
        blocks = Blocks() if self.wants_blocks else None
        try:
            head = await self.connection.ask(REQUEST, room if self.wants_room else None, blocks)
            self.status = head.status
            while (piece := await self.connection.read()) is not None:
                self.body += piece
            self.is_whole = True
        except httpx.TransportError as exc:
            self.error = exc

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to hear."""
        return self._listening.done()

    async def hear(self, data: bytes) -> None:
        """Bytes come from the host, in as many pieces as there is memory for at a time."""
        while data and not self.transport.is_aborted:
            buffer = self.connection.get_buffer(-1)
            assert len(buffer)
            part, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(part)] = part
            self.connection.buffer_updated(len(part))
            await self._settle()

    async def wait(self, duration_s: float) -> None:
        """Time passes."""
        self.loop.pass_time(duration_s)
        await self._settle()

    async def close(self) -> None:
        """The host closes the connection, unless it was left before."""
        self.connection.connection_lost(None)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


# ---------------------------------------------------------------------------------- what hosts send

BODIES = st.binary(max_size=40) | st.sampled_from([b"hello", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
INTERIM = st.sampled_from(
    [b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 A\r\nLink: x\r\n\r\n"]
)
FIELDS = st.sampled_from([b"", b'ETag: "a"\r\n', b"X:\t\xe9 y \r\n", b"Connection: close\r\n"])
EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b;c"'])
TRAILERS = st.sampled_from([b"", b"", b"X: y\r\n", b'ETag: "b"\r\nX: z\r\n'])
PIECES = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b";", b",", b"\0", b"\xff", b"5",
        b"0\r\n\r\n", b"5\r\nevil!\r\n", b"X: y\r\n z\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length:3,3\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: identity\r\n",
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 100 A\r\n\r\n", b"Connection: keep-alive\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n",
    ]
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """An answer as an honest host sends it, its body, and whether the host closes the connection then."""
    body = draw(BODIES)
    form = draw(st.sampled_from(["sized", "chunked", "open"]))
    start = (
        draw(INTERIM) + draw(st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 206 \r\n"])) + draw(FIELDS)
    )
    if form == "open":
        return start + b"\r\n" + body, body, True
    if form == "sized":
        times, name = draw(st.integers(1, 2)), draw(st.sampled_from([b"Content-Length", b"content-length"]))
        return start + b"%b: %d\r\n" % (name, len(body)) * times + b"\r\n" + body, body, draw(st.booleans())
    chunks, left = b"", body
    while left:
        size = draw(st.integers(1, len(left)))
        written = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % size
        chunks += written + draw(EXTENSIONS) + b"\r\n" + left[:size] + b"\r\n"
        left = left[size:]
    end = b"0" + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"
    start += draw(st.sampled_from([b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:Chunked \r\n"]))
    return start + b"\r\n" + chunks + end, body, draw(st.booleans())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An answer in which some bytes were put, removed, replaced or doubled."""
    data, _, _ = draw(messages())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        put = draw(PIECES | st.binary(max_size=3) | st.just(data[start:end] * 2))
        data = data[:start] + put + data[end:]
    return data


@st.composite
def deliveries(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The pieces in which the network brings it."""
    sizes, pieces = draw(st.sampled_from([[1], [1, 2, 3], [7, 30, 1], [1000]])), []
    while data:
        size = draw(st.sampled_from(sizes))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


# ---------------------------------------------------------------------------------- properties


async def heard(pieces: list[bytes], *, closes: bool, pause_s: float, wants: tuple[bool, bool]) -> Talk:
    """What is heard of an answer at its end, be it that the host closes it or falls silent."""
    async with Talk(*wants) as talk:
        for piece in pieces:
            await talk.hear(piece)
            await talk.wait(pause_s)
        if closes:
            await talk.close()
        await talk.wait(TIMEOUT_S + 1)
        assert talk.has_ended
        return talk


def assert_true(talk: Talk, sent: Answer | None) -> None:
    """What was heard is what was sent."""
    if talk.status is None:
        assert talk.body == b""
        return
    assert sent is not None, f"a head was read where there is none: {talk}"
    assert talk.status == sent.status
    assert sent.body.startswith(talk.body)
    if talk.is_whole:
        assert (talk.body, True) == (sent.body, sent.is_whole)


WANTS = st.tuples(st.booleans(), st.booleans())


@given(messages(), st.data(), WANTS)
def test_an_honest_answer_is_read(
    message: tuple[bytes, bytes, bool], data: st.DataObject, wants: tuple[bool, bool]
) -> None:
    """Whatever its form is, and wherever it is cut."""
    sent, body, closes = message
    assert read_answer(sent, has_closed=closes) == Answer(talk_status(sent), body, True)
    talk = asyncio.run(heard(data.draw(deliveries(sent)), closes=closes, pause_s=0.001, wants=wants))
    assert (talk.is_whole, talk.body, talk.error) == (True, body, None)


def talk_status(sent: bytes) -> int:
    """The status of an honest answer."""
    return 206 if b" 206 " in sent else 200


@given(damaged() | st.binary(max_size=200), st.booleans(), st.sampled_from([0.0, 0.2]), st.data(), WANTS)
@by_day(300)
def test_no_body_is_another(
    sent: bytes, closes: bool, pause_s: float, data: st.DataObject, wants: tuple[bool, bool]
) -> None:
    """Of a damaged answer either the body comes that was sent, or an error after a part of it."""
    pieces = data.draw(deliveries(sent))
    talk = asyncio.run(heard(pieces, closes=closes, pause_s=pause_s, wants=wants))
    assert talk.is_whole != (talk.error is not None)
    if pause_s * len(pieces) < TIMEOUT_S:
        assert_true(talk, read_answer(sent, has_closed=closes))


FRAMING = st.sampled_from(
    [(b"5;x=", b"a"), (b"", b"0"), (b"0\r\n", b"X: y\r\n"), (b"0\r\nX: ", b"a"), (b"", b"1\r\na\r\n")]
)
"""Where the framing of chunks goes on for ever, and how. The last brings a body, too."""


@st.composite
def endless(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The beginning of an answer, and what the host sends from then on for ever."""
    if draw(st.booleans()):
        began, more = draw(FRAMING)
        chunk = draw(st.sampled_from([b"", b"5\r\nhello\r\n"]))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + began, more
    data = draw(messages().map(lambda message: message[0]) | damaged())
    more = draw(PIECES | st.binary(min_size=1, max_size=20))
    return data[: draw(st.integers(0, len(data)))], more


@given(endless(), WANTS)
@by_day(40)
def test_a_flood_is_left(host: tuple[bytes, bytes], wants: tuple[bool, bool]) -> None:
    """A host that sends more and more is listened to only as long as that is a body."""

    async def flood() -> None:
        began, more = host
        async with Talk(*wants) as talk:
            await talk.hear(began)
            sent, piece = len(began), more * (16_384 // len(more) + 1)
            while not talk.has_ended and sent < 2 * MAX_HELD_BYTES:
                await talk.hear(piece)
                await talk.wait(0.001)
                sent += len(piece)
                if not talk.has_ended:
                    assert sent - len(talk.body) <= MAX_HELD_BYTES + MAX_HELD_PER_BYTE * len(talk.body)

    asyncio.run(flood())


@given(endless(), WANTS)
@by_day(40)
def test_a_trickle_is_left(host: tuple[bytes, bytes], wants: tuple[bool, bool]) -> None:
    """A host that sends a byte every half second is waited for as long as it is one of a body."""

    async def trickle() -> None:
        began, more = host
        async with Talk(*wants) as talk:
            await talk.hear(began)
            last_s, had = talk.loop.now_s, len(talk.body)
            for place in range(60):
                if talk.has_ended:
                    return
                await talk.hear(more[place % len(more) :][:1])
                await talk.wait(0.5)
                if len(talk.body) > had:
                    last_s, had = talk.loop.now_s, len(talk.body)
                assert talk.has_ended or talk.loop.now_s - last_s <= TIMEOUT_S + 1

    asyncio.run(trickle())

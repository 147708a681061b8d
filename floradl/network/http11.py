"""One HTTP/1.1 connection to a media host: requests one after another, and each answer as it comes.

The event loop receives straight into the memory where a body stays: pieces of its own, or where whoever asks
wants a small body to be (`Room`), or a large one (`Blocks`). Nothing is copied again but what comes together
with a head. Heads and chunked bodies are read by llhttp (`httptools`), which refuses what two readers could
understand differently.

A small body for which there is room is waited for with its head, since head and body are then one thing to
wait for instead of several; with thousands of them, a good part of the work. One that takes its time is
given as it comes. Of a large one whole blocks are given; of one that is slow to fill, what there is.

Source: RFC 9112, sections 6.3 (where a body ends), 8 (what is incomplete), 9.3 (which connections go on).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple, cast

import httptools
import httpx

from floradl.buffers import BLOCK_BYTES, Blocks

Room = Callable[[int], memoryview]
"""Gives memory for a body of so many bytes."""

ROOM_BYTES = 256 * 1024
"""The largest body that room is asked for."""

GATHER_S = 0.5
"""How long a small body is waited for with its head."""

FILL_S = 0.1
"""How long a block is waited for; what there is of it then is given, and the wait for its rest begins."""

_HEAD_BYTES = 32 * 1024
_PIECE_BYTES = 256 * 1024
_AHEAD_BYTES = 1536 * 1024
"""A host has to wait when so much came that nobody has taken."""

_END = b"\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    headers: list[tuple[bytes, bytes]]


class _State(Enum):
    IDLE = auto()  # nothing is expected: before a request, and after the end of an answer
    HEAD = auto()
    SIZED = auto()  # a body that has so many bytes
    CHUNKED = auto()
    OPEN = auto()  # a body that ends with the connection


class _Parsed:
    """What the parser tells."""

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.keeps_alive = False
        self.body: list[bytes] = []
        self.is_complete = False

    def on_headers_complete(self) -> None:
        # Asked later, it would have forgotten that a body of no bytes has a length.
        self.keeps_alive = cast("httptools.HttpResponseParser", self.parser).should_keep_alive()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.is_complete = True


class Connection(asyncio.BufferedProtocol):
    """A connection, as the event loop's `create_connection` makes it.

    Args:
        timeout_s: how long it may stay silent, and how long a head may take.

    Attributes:
        is_reusable: whether another request may follow, once the answer has ended.
    """

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport
        self._buffer = memoryview(bytearray(_HEAD_BYTES))
        self._buffered_bytes = 0
        self._state = _State.IDLE
        self._parsed: _Parsed | None = None
        self._head: Head | None = None
        self._room: Room | None = None
        self._is_gathering = False
        self._blocks: Blocks | None = None
        self._piece: memoryview | None = None
        self._is_block = self._is_due = False
        self._filling_since_s = 0.0
        self._filling: asyncio.TimerHandle | None = None
        self._filled_bytes = self._taken_bytes = 0  # of the piece
        self._left_bytes = 0
        self._pieces: deque[memoryview | bytes] = deque()
        self._ahead_bytes = 0
        self._is_paused = False
        self._tls: ssl.SSLObject | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self._deadline_s: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.is_reusable = True

    # ------------------------------------------------------------------------------------ for whoever asks

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return not self._transport.is_closing()

    @property
    def has_ended(self) -> bool:
        """Whether the answer has come to its end."""
        return self._state is _State.IDLE

    async def ask(self, request: bytes, room: Room | None, blocks: Blocks | None = None) -> Head:
        """Send a request, and wait for the head of the answer; with its body, where there is room for that.

        Args:
            request: as it goes over the wire.
            room: where a small body is to be.
            blocks: where a large one is to be; whoever reads gives the blocks back.

        Raises:
            httpx.TransportError: there is no answer.
        """
        self._begin_request(request, room, blocks)
        while self._head is None or self._is_gathering:
            if self._error is not None:  # without a head; else what came of its body is to be had first
                raise self._error
            await self._wait()
        return self._head

    async def read(self) -> memoryview | bytes | None:
        """The next bytes of the body, None at its end.

        Raises:
            httpx.TransportError: it breaks off.
        """
        while True:
            if self._pieces:
                return self._taken(self._pieces.popleft())
            if self._piece is not None and self._filled_bytes > self._taken_bytes and self._is_due:
                self._is_due, self._filling_since_s = not self._is_block, self._loop.time()
                start, self._taken_bytes = self._taken_bytes, self._filled_bytes
                return self._taken(self._piece[start : self._filled_bytes])
            if self._state is _State.IDLE:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()

    def close(self) -> None:
        """End the connection, whatever is under way."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._filling is not None:
            self._filling.cancel()
            self._filling = None
        self._tls = None  # nobody wants to know what is left
        self._transport.abort()
        self._forget_parser()
        self._piece = self._room = self._blocks = None
        self._pieces.clear()

    def _taken(self, piece: memoryview | bytes) -> memoryview | bytes:
        """Take a piece away; the host may go on when little is left, or nothing that could be read."""
        self._ahead_bytes -= len(piece)
        if self._is_paused and (self._ahead_bytes < _AHEAD_BYTES // 2 or not self._pieces):
            self._is_paused = False
            if self.is_open:
                self._transport.resume_reading()
                self._expect()
        return piece

    def _begin_request(self, request: bytes, room: Room | None, blocks: Blocks | None) -> None:
        self._state, self._buffered_bytes, self._head = _State.HEAD, 0, None
        self._room, self._blocks = room, blocks
        self._pieces.clear()  # of an answer that nobody cared to read
        self._ahead_bytes = 0
        self._transport.write(request)
        self._expect()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # ------------------------------------------------------------------------------------ for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the event loop's signature
        """Where the next bytes go."""
        if self._state in (_State.SIZED, _State.OPEN):
            if self._piece is None:
                self._piece, self._filled_bytes, self._taken_bytes = self._new_piece(), 0, 0
            return self._piece[self._filled_bytes :]
        return self._buffer[self._buffered_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._error is not None:
            return
        if self._state in (_State.SIZED, _State.OPEN):
            self._deadline_s = self._loop.time() + self._timeout_s
            self._fill(nbytes)
            if self._is_filling:
                self._wait_for_rest()
                return
        elif self._state is _State.HEAD:
            self._buffered_bytes += nbytes
            self._read_head()
        elif self._state is _State.CHUNKED:
            self._deadline_s = self._loop.time() + self._timeout_s
            self._read_chunks(bytes(self._buffer[:nbytes]))
        else:
            self.is_reusable = False  # nobody asked
            self._transport.abort()
        if not self._is_gathering or self._error is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone: the end of a body that has no other, or too soon."""
        if exc is None:
            self._take_rest()
        if self._error is not None:
            pass  # it was ended here, which is not the end of a body
        elif self._state is _State.OPEN and exc is None:
            self._end()
        elif self._state is not _State.IDLE and exc is None:
            self._fail(httpx.RemoteProtocolError("the host closed it before the end of its answer"))
        elif self._state is not _State.IDLE:
            self._fail(httpx.ReadError(str(exc) or type(exc).__name__))
        self.is_reusable, self._deadline_s = False, None
        self._wake()

    def _take_rest(self) -> None:
        """Take what came over TLS while reading paused: that layer goes on, and forgets it at its end."""
        while self._tls is not None and self._state is not _State.IDLE and self._error is None:
            buffer = self.get_buffer(-1)
            try:
                nbytes = cast("int", self._tls.read(len(buffer), buffer))
            except ssl.SSLError:  # there is no more
                return
            if not nbytes:
                return
            self.buffer_updated(nbytes)

    # ------------------------------------------------------------------------------------ reading

    def _read_head(self) -> None:
        data = bytes(self._buffer[: self._buffered_bytes])
        while (end := data.find(_END) + len(_END)) >= len(_END):
            parsed = self._parsed = _Parsed()
            parser = cast("httptools.HttpResponseParser", parsed.parser)
            try:
                parser.feed_data(data[:end])
            except httptools.HttpParserError as exc:
                self._fail(httpx.RemoteProtocolError(f"the answer is no HTTP: {exc}"))
                return
            status, data = parser.get_status_code(), data[end:]
            if not 100 <= status < 200:  # else the answer is still to come
                self._head, self.is_reusable = Head(status, parsed.headers), parsed.keeps_alive
                self._begin_body(self._head, data)
                return
        if len(data) == _HEAD_BYTES:
            self._fail(httpx.RemoteProtocolError("the head of the answer has no end"))
            return
        self._buffer[: len(data)] = data
        self._buffered_bytes = len(data)

    def _begin_body(self, head: Head, rest: bytes) -> None:
        """Find out where the body ends, and take what has come of it."""
        length, coding = None, b""
        for name, value in head.headers:
            lower = name.lower()
            if lower == b"content-length":
                length = int(value)  # a number, as the parser has seen to
            elif lower == b"transfer-encoding":
                coding = value.lower()
        if head.status in _WITHOUT_BODY or length == 0:
            self._end(excess=bool(rest))
        elif coding.endswith(b"chunked"):
            self._begin(_State.CHUNKED)
            self._read_chunks(rest)
        elif length is None or coding:
            self._begin(_State.OPEN)
            self._repository(rest)
        else:
            self._begin(_State.SIZED)
            self._left_bytes = length
            if self._room is not None and length <= ROOM_BYTES:
                self._piece, self._filled_bytes, self._taken_bytes = self._room(length)[:length], 0, 0
                self._is_block, self._is_due, self._is_gathering = False, True, True
            if len(rest) > length:
                self.is_reusable = False
            self._repository(rest[:length])
            if self._is_gathering:
                self._loop.call_later(GATHER_S, self._gather_no_longer, head)

    def _begin(self, state: _State) -> None:
        self._state, self._buffered_bytes = state, 0
        self._deadline_s = self._loop.time() + self._timeout_s

    def _repository(self, data: bytes) -> None:
        """Take bytes that came together with the head; fewer than any piece has, but for the last."""
        if data:
            self.get_buffer(-1)[: len(data)] = data
            self._fill(len(data))
            if self._is_filling:
                self._wait_for_rest()

    def _new_piece(self) -> memoryview:
        """Memory for what comes next."""
        left_bytes = self._left_bytes if self._state is _State.SIZED else _PIECE_BYTES
        self._is_block = self._blocks is not None and left_bytes >= BLOCK_BYTES
        self._is_due = not self._is_block
        if self._blocks is not None and self._is_block:
            self._filling_since_s = self._loop.time()
            return self._blocks.take()
        return memoryview(bytearray(min(left_bytes, _PIECE_BYTES)))

    @property
    def _is_filling(self) -> bool:
        """Whether there is some of a block, for the rest of which there is still time."""
        return self._is_block and self._piece is not None and not self._is_due

    def _wait_for_rest(self) -> None:
        """Some of a block came. One timer for many blocks: most are long full when it rings."""
        if self._filling is None:
            self._filling = self._loop.call_at(self._filling_since_s + FILL_S, self._look_at_block)

    def _look_at_block(self) -> None:
        self._filling = None
        if not self._is_filling:
            return
        if self._loop.time() < self._filling_since_s + FILL_S:
            self._wait_for_rest()
        else:
            self._is_due = True
            self._wake()

    def _fill(self, nbytes: int) -> None:
        """So many bytes came into the piece."""
        piece = cast("memoryview", self._piece)
        self._filled_bytes += nbytes
        self._ahead_bytes += nbytes
        if self._state is _State.SIZED:
            self._left_bytes -= nbytes
        if self._filled_bytes == len(piece) or (self._state is _State.SIZED and not self._left_bytes):
            self._pieces.append(piece[self._taken_bytes : self._filled_bytes])
            self._piece = None
        if self._state is _State.SIZED and not self._left_bytes:
            self._end()
        else:
            self._hold_back()

    def _read_chunks(self, data: bytes) -> None:
        parsed = cast("_Parsed", self._parsed)
        try:
            if data:
                cast("httptools.HttpResponseParser", parsed.parser).feed_data(data)
        except httptools.HttpParserError as exc:
            if not parsed.is_complete:  # else it is what came behind the end
                self._fail(httpx.RemoteProtocolError(f"the chunks of the answer are no HTTP: {exc}"))
            self.is_reusable = False
        for piece in parsed.body:
            self._pieces.append(piece)
            self._ahead_bytes += len(piece)
        parsed.body.clear()
        if parsed.is_complete:
            self._end()
        else:
            self._hold_back()

    def _hold_back(self) -> None:
        """Let the host wait where it is far ahead."""
        if self._ahead_bytes >= _AHEAD_BYTES and not self._is_paused and self.is_open:
            self._is_paused = True
            self._deadline_s = None  # it is not the host that is silent
            self._transport.pause_reading()

    def _end(self, *, excess: bool = False) -> None:
        """The answer has come to its end."""
        self._state, self._room, self._blocks = _State.IDLE, None, None
        self._forget_parser()
        self._buffered_bytes, self._deadline_s, self._is_gathering = 0, None, False
        if excess:
            self.is_reusable = False

    def _forget_parser(self) -> None:
        """The two know each other, and would be garbage only for Python's collector."""
        if self._parsed is not None:
            self._parsed.parser = None
            self._parsed = None

    def _gather_no_longer(self, head: Head) -> None:
        if self._is_gathering and self._head is head:
            self._is_gathering = False
            self._wake()

    # ------------------------------------------------------------------------------------ time, and errors

    def _expect(self) -> None:
        """Something has to come from now on."""
        self._deadline_s = self._loop.time() + self._timeout_s
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._deadline_s, self._look)

    def _look(self) -> None:
        """Whether the host is silent. One alarm for many requests: most are long over when it rings."""
        self._alarm = None
        if self._deadline_s is None:
            return
        if self._loop.time() >= self._deadline_s:
            self._fail(httpx.ReadTimeout("the host is silent"))
            self._wake()
        else:
            self._alarm = self._loop.call_at(self._deadline_s, self._look)

    def _fail(self, error: httpx.TransportError) -> None:
        self._error, self._is_due = error, True
        self._is_gathering, self.is_reusable, self._deadline_s = False, False, None
        if self.is_open:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

"""One HTTP/1.1 connection to a media host: requests one after another, and each answer as it comes.

The event loop receives straight into the memory where a body stays, which `body.Body` gives. Only bytes that
come together with a head are copied once more. Heads and chunked bodies are read by `message.Message`, which
refuses any message that two readers could understand differently.

A small body for which there is room is waited for together with its head. Head and body are then one wake-up
of the reader instead of several, which is a good part of all work when there are thousands of small files. A
small body that takes its time is given as it comes. Of a large body whole blocks are given, and of a block
that is slow to fill the part that is there.

Source: RFC 9112, sections 6.3 (where a body ends), 8 (which messages are incomplete), 9.3 (which connections
go on).
"""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum, auto
from typing import cast

import httpx

from floradl.buffers import Blocks, Room
from floradl.network.body import Body
from floradl.network.client import NotHttpError
from floradl.network.message import Framing, Head, Message, may_begin

GATHER_S = 0.5
"""How long a small body is waited for together with its head."""

FILL_S = 0.1
"""How long a block may take to fill. Then the part that is there is given, and the wait for the rest begins
anew.
"""

_HEAD_BYTES = 32 * 1024
"""The longest head of an answer that is read."""

_INTERIM_BYTES = 256 * 1024
"""How many bytes of interim answers (1xx) may come before the answer."""

_END = b"\r\n\r\n"


class _State(Enum):
    IDLE = auto()  # nothing is expected: before a request, and after the end of an answer
    HEAD = auto()
    SIZED = auto()  # a body that has so many bytes
    CHUNKED = auto()
    OPEN = auto()  # a body that ends with the connection


class Connection(asyncio.BufferedProtocol):
    """A connection, as the event loop's `create_connection` makes it.

    Args:
        timeout_s: how many seconds the host may stay silent, and how many a head may take.

    Attributes:
        is_reusable: whether another request may follow once the answer has ended.
    """

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport
        self._buffer = memoryview(bytearray(_HEAD_BYTES))
        self._buffered_bytes = 0
        self._state = _State.IDLE
        self._interim_bytes = 0
        self._message: Message | None = None
        self._head: Head | None = None
        self._body = Body(self._loop.time)
        self._is_gathering = False
        self._filling: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._tls: ssl.SSLObject | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self._deadline_s: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.is_reusable = True

    # ------------------------------------------------------------------------------------ for the client

    @property
    def is_open(self) -> bool:
        """Whether the connection can take a request."""
        return not self._transport.is_closing()

    @property
    def has_ended(self) -> bool:
        """Whether the answer has come to its end."""
        return self._state is _State.IDLE

    async def ask(self, request: bytes, room: Room | None, blocks: Blocks | None = None) -> Head:
        """Send a request, and wait for the head of the answer, and for its body if there is room for it.

        Args:
            request: the bytes of the request as they go over the wire.
            room: gives the memory for a small body.
            blocks: gives the memory for a large body; the reader gives the blocks back.

        Raises:
            httpx.TransportError: there is no answer.
        """
        self._begin_request(request, room, blocks)
        while self._head is None or self._is_gathering:
            # Gathering ends with an error, so this error came before the head. After the head, `read` gives
            # the bytes that came before it raises.
            if self._error is not None:
                raise self._error
            await self._wait()
        return self._head

    async def read(self) -> memoryview | bytes | None:
        """The next bytes of the body; None at its end.

        Raises:
            httpx.TransportError: the body breaks off.
        """
        while True:
            if (taken := self._body.take()) is not None:
                if self._is_paused:
                    self._go_on()
                return taken
            if self._state is _State.IDLE:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()

    def close(self) -> None:
        """End the connection, even in the middle of an answer."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._filling is not None:
            self._filling.cancel()
            self._filling = None
        self._tls = None  # `connection_lost` must not read on: nobody takes these bytes any more
        self._transport.abort()
        self._forget_parser()
        self._body.drop()

    def _go_on(self) -> None:
        """Let the host send again, once enough was taken."""
        if self._body.has_room_again:
            self._is_paused = False
            if self.is_open:
                self._transport.resume_reading()
                self._expect()

    def _begin_request(self, request: bytes, room: Room | None, blocks: Blocks | None) -> None:
        self._state, self._buffered_bytes, self._head = _State.HEAD, 0, None
        self._interim_bytes = 0
        self._body.prepare(room, blocks)
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
        """Keep the transport of the new connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the event loop's signature
        """The memory that the event loop receives the next bytes into."""
        if self._state in (_State.SIZED, _State.OPEN):
            return self._body.buffer()
        return self._buffer[self._buffered_bytes :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note that the event loop received bytes into the buffer."""
        if self._error is not None:
            return
        if self._state in (_State.SIZED, _State.OPEN):
            self._deadline_s = self._loop.time() + self._timeout_s
            self._fill(nbytes)
            if self._body.is_filling:
                self._wait_for_rest()
                return
        elif self._state is _State.HEAD:
            self._buffered_bytes += nbytes
            self._read_head()
        elif self._state is _State.CHUNKED:
            self._read_chunks(bytes(self._buffer[:nbytes]))
        else:
            self.is_reusable = (
                False  # these bytes answer no request; the next answer could not be told from them
            )
            self._transport.abort()
        if not self._is_gathering or self._error is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the end of a body without a length, and an error for any other answer."""
        if exc is None:
            self._take_rest()
        if self._error is not None:
            pass  # `_fail` closed the connection, so its end does not mean that the body is whole
        elif self._state is _State.OPEN and exc is None:
            self._end()
        elif self._state is not _State.IDLE and exc is None:
            self._fail(httpx.RemoteProtocolError("the host closed it before the end of its answer"))
        elif self._state is not _State.IDLE:
            self._fail(httpx.ReadError(str(exc) or type(exc).__name__))
        self.is_reusable, self._deadline_s = False, None
        self._wake()

    def _take_rest(self) -> None:
        """Take what came over TLS while reading was paused.

        The TLS layers of asyncio and uvloop go on decrypting meanwhile, and throw away what they hold when
        the host closes the connection. Without this, a body without a length would end too early and pass for
        whole.
        """
        while self._tls is not None and self._state is not _State.IDLE and self._error is None:
            buffer = self.get_buffer(-1)
            try:
                nbytes = cast("int", self._tls.read(len(buffer), buffer))
            except ssl.SSLError:  # nothing is left to decrypt
                return
            if not nbytes:
                return
            self.buffer_updated(nbytes)

    # ------------------------------------------------------------------------------------ reading

    def _read_head(self) -> None:
        data = bytes(self._buffer[: self._buffered_bytes])
        while may_begin(data) and (end := data.find(_END) + len(_END)) >= len(_END):
            try:
                message = Message(data[:end])
            except NotHttpError as exc:
                self._fail(exc)
                return
            data = data[end:]
            if message.head.status >= 200:
                self._message, self._head, self.is_reusable = message, message.head, message.keeps_alive
                self._begin_body(message, data)
                return
            message.forget_parser()
            self._interim_bytes += end
            if self._interim_bytes > _INTERIM_BYTES:
                self._fail(NotHttpError("interim answers without an end"))
                return
        if not may_begin(data):
            self._fail(NotHttpError("it does not begin as an answer does"))
        elif len(data) == _HEAD_BYTES:
            self._fail(NotHttpError("its head has no end"))
        self._buffer[: len(data)] = data
        self._buffered_bytes = len(data)

    def _begin_body(self, message: Message, rest: bytes) -> None:
        """Begin a body with the bytes of it that came together with the head."""
        length = message.length_bytes
        if message.framing is Framing.NONE:
            self._end(excess=bool(rest))
        elif message.framing is Framing.CHUNKED:
            self._begin(_State.CHUNKED)
            self._read_chunks(rest)
        elif message.framing is Framing.OPEN:
            self._begin(_State.OPEN)
            self._body.begin(None)
            self._take_first(rest)
        else:
            self._begin(_State.SIZED)
            self._is_gathering = self._body.begin(length)
            if len(rest) > length:
                self.is_reusable = False
            self._take_first(rest[:length])
            if self._is_gathering:
                self._loop.call_later(GATHER_S, self._gather_no_longer, message.head)

    def _begin(self, state: _State) -> None:
        self._state, self._buffered_bytes = state, 0
        self._deadline_s = self._loop.time() + self._timeout_s

    def _take_first(self, data: bytes) -> None:
        """Take bytes that came together with the head. They are fewer than a piece has room for."""
        if data:
            self._body.buffer()[: len(data)] = data
            self._fill(len(data))
            if self._body.is_filling:
                self._wait_for_rest()

    def _wait_for_rest(self) -> None:
        """Give the block that is being filled its time.

        One timer serves many blocks, because most are full long before it rings and a timer a block is
        costly.
        """
        if self._filling is None:
            self._filling = self._loop.call_at(self._body.filling_since_s + FILL_S, self._look_at_block)

    def _look_at_block(self) -> None:
        self._filling = None
        if not self._body.is_filling:
            return
        if self._loop.time() < self._body.filling_since_s + FILL_S:
            self._wait_for_rest()
        else:
            self._body.give_what_is_there()
            self._wake()

    def _fill(self, nbytes: int) -> None:
        if self._body.fill(nbytes):
            self._end()
        else:
            self._hold_back()

    def _read_chunks(self, data: bytes) -> None:
        message = cast("Message", self._message)
        pieces = message.feed(data)
        for piece in pieces:
            self._body.add(piece)
        if pieces:
            # Only the body itself counts: a host could send sizes, extensions and trailers for ever.
            self._deadline_s = self._loop.time() + self._timeout_s
        if message.is_complete:
            self._end(excess=message.has_excess)
        elif message.error is not None:
            self._fail(message.error)
        else:
            self._hold_back()

    def _hold_back(self) -> None:
        """Stop reading where the host is far ahead of the reader; TCP then makes the host wait."""
        if self._body.is_far_ahead and not self._is_paused and self.is_open:
            self._is_paused = True
            self._deadline_s = None  # the host is not silent, it is kept waiting
            self._transport.pause_reading()

    def _end(self, *, excess: bool = False) -> None:
        """Note that the answer has ended; `excess` says that bytes followed which belong to no answer."""
        self._state = _State.IDLE
        self._body.end()
        self._forget_parser()
        self._buffered_bytes, self._deadline_s, self._is_gathering = 0, None, False
        if excess:
            self.is_reusable = False

    def _forget_parser(self) -> None:
        if self._message is not None:
            self._message.forget_parser()
            self._message = None

    def _gather_no_longer(self, head: Head) -> None:
        if self._is_gathering and self._head is head:
            self._is_gathering = False
            self._wake()

    # ------------------------------------------------------------------------------------ time, and errors

    def _expect(self) -> None:
        """Expect bytes from now on, and end the connection when none come for `timeout_s`."""
        self._deadline_s = self._loop.time() + self._timeout_s
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._deadline_s, self._look)

    def _look(self) -> None:
        """See whether the host is silent.

        One alarm serves many requests, because most are over long before it rings and an alarm a request is
        costly.
        """
        self._alarm = None
        if self._deadline_s is None:
            return
        if self._loop.time() >= self._deadline_s:
            self._fail(httpx.ReadTimeout("the host is silent"))
            self._wake()
        else:
            self._alarm = self._loop.call_at(self._deadline_s, self._look)

    def _fail(self, error: httpx.TransportError) -> None:
        self._error = error
        self._body.give_what_is_there()
        self._is_gathering, self.is_reusable, self._deadline_s = False, False, None
        if self.is_open:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

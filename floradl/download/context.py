"""What every fetch of media needs, whether of a whole output or of a part of one.

`Tools` is what all transfers of a session share, `Asker` a request with its redirects, `Pace` what is watched
while a body comes, `Writing` its way to the disk, which goes on while the next bytes come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from floradl.buffers import Blocks
from floradl.clock import Clock
from floradl.constants import DEFAULT_CONCURRENCY
from floradl.download.dedupe import Shelf
from floradl.errors import TransferError, printable
from floradl.network import addresses
from floradl.network.bandwidth import TOO_SLOW, Bandwidth, SpeedFloor
from floradl.network.client import MediaClient
from floradl.network.concurrency import Pressure
from floradl.network.retry import Backoff, HostGate
from floradl.storage.destination import Disk
from floradl.storage.local.writer_pool import Scribe

if TYPE_CHECKING:
    from floradl.network.http11 import Room

MAX_REDIRECTS = 5

WRITE_BYTES = 1024 * 1024
"""How much is collected before it is written."""

FLUSH_BYTES = 32 * 1024 * 1024
"""After so much a growing file is flushed, so that its end does not wait for all of it."""


@dataclass(slots=True, eq=False)
class Flow:
    """One output on its way, for those who show progress.

    Args:
        name: its run and key; printable.
        began_s: when, by the session's steady clock.
        total_bytes: its size, once a host has announced it.
        size_bytes: how much of it is there.
    """

    name: str
    began_s: float
    total_bytes: int | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class Traffic:
    """What came over the network so far, and what is on its way, for those who show progress."""

    received_bytes: int = 0
    flows: set[Flow] = field(default_factory=set)


@dataclass(frozen=True)
class Tools:
    """What every transfer of a session shares.

    Args:
        disk: the archive.
        scribe: writes small files to it.
        clock: for waits and for the speed floor.
        gate: the pauses that hosts asked for.
        retries: how often an output is tried again while nothing arrives.
        allow_loopback: whether media may come from this machine and over http.
        backoff: the waits between tries.
        traffic: where received bytes are counted.
        pressure: how many requests each host gets at the same time.
        bandwidth: how much may be received a second.
        shelf: the files that equal ones are made from.
        blocks: memory for large bodies.
    """

    disk: Disk
    scribe: Scribe
    clock: Clock
    gate: HostGate
    retries: int
    allow_loopback: bool
    backoff: Backoff = field(default_factory=Backoff)
    traffic: Traffic = field(default_factory=Traffic)
    pressure: Pressure = field(default_factory=lambda: Pressure(DEFAULT_CONCURRENCY))
    bandwidth: Bandwidth = field(default_factory=lambda: Bandwidth(Clock()))
    shelf: Shelf = field(default_factory=Shelf)
    blocks: Blocks = field(default_factory=Blocks)


class Wire(Protocol):
    """What options of a job say about the network."""

    @property
    def base_url(self) -> str:
        """The API's, which decides where media may come from."""

    @property
    def concurrency(self) -> int:
        """Outputs on their way at the same time, at most."""

    @property
    def retries(self) -> int:
        """Tries after the first, for an output while nothing arrives."""

    @property
    def limit_rate_bytes(self) -> int:
        """How much media may come a second, all together; 0: whatever comes."""


def new_tools(
    wire: Wire,
    disk: Disk,
    clock: Clock,
    backoff: Backoff | None,
    traffic: Traffic | None = None,
) -> Tools:
    """What the transfers of a session share, as the options of its job say."""
    return Tools(
        disk=disk,
        scribe=Scribe(disk),
        clock=clock,
        gate=HostGate(clock),
        retries=wire.retries,
        allow_loopback=addresses.is_loopback_host(httpx.URL(wire.base_url).host),
        backoff=backoff or Backoff(),
        traffic=traffic or Traffic(),
        pressure=Pressure(wire.concurrency),
        bandwidth=Bandwidth(clock, wire.limit_rate_bytes),
    )


class Asker:
    """Asks media hosts, one request after another.

    Attributes:
        asked_host: which was asked last, after redirects.
    """

    def __init__(self, client: MediaClient, tools: Tools) -> None:
        self._client = client
        self._tools = tools
        self.asked_host = ""

    @asynccontextmanager
    async def response(
        self, url: str, headers: dict[str, str], *, room: Room | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The answer after redirects, each of them checked; httpx's errors end here.

        Args:
            url: what to ask for.
            headers: which part of it.
            room: where a small body is to be.
        """
        # What is rationed is counted as it comes.
        blocks = None if self._tools.bandwidth.is_limited else self._tools.blocks
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self.asked_host = host_of(url)
                allowed = addresses.check_media_url(url, allow_loopback=self._tools.allow_loopback)
                async with self._tools.pressure.slot(self.asked_host) as turn:
                    await self._tools.gate.wait(self.asked_host)
                    turn.begin()
                    response = await self._client.get(allowed, headers, room=room, blocks=blocks)
                    try:
                        if not response.has_redirect_location:
                            yield response
                            return
                        url = _redirect_target(url, response.headers["location"])
                    finally:
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
            # OSError: an SSLError in the middle of a body passes httpcore by. UnicodeError: idna's.
            raise _translated(exc) from exc
        raise TransferError(
            "too_many_redirects", f"more than {MAX_REDIRECTS} redirects", wants_fresh_url=True
        )


class Pace:
    """Accounts for the bytes of one body as they come: counted, not too slow, not faster than allowed.

    Args:
        tools: shared by the session.
        flow: of the output that the body belongs to.
    """

    def __init__(self, tools: Tools, flow: Flow) -> None:
        self._tools = tools
        self._flow = flow
        self._floor = SpeedFloor(tools.clock)

    async def take(self, size_bytes: int) -> float:
        """So many bytes came.

        Returns:
            Seconds waited because of `--limit-rate`.

        Raises:
            TransferError: they come too slowly.
        """
        self._tools.traffic.received_bytes += size_bytes
        self._flow.size_bytes += size_bytes
        if not self._floor.is_held(size_bytes):
            raise TransferError("too_slow", TOO_SLOW, is_retryable=True)
        waited_s = await self._tools.bandwidth.take(size_bytes)
        self._floor.excuse(waited_s)
        return waited_s


class Flushing:
    """Flushes a file while it grows, one flush at a time, which nobody waits for until `ended`.

    Args:
        disk: the archive.
        flush: makes durable what is written; blocks.
    """

    def __init__(self, disk: Disk, flush: Callable[[], None]) -> None:
        self._disk = disk
        self._flush = flush
        self._running: asyncio.Future[None] | None = None
        self._unflushed_bytes = 0

    def note(self, size_bytes: int) -> None:
        """So many more bytes were written."""
        self._unflushed_bytes += size_bytes
        if self._unflushed_bytes < FLUSH_BYTES or (self._running is not None and not self._running.done()):
            return
        if self._running is not None:
            self._running.result()
        self._unflushed_bytes = 0
        self._running = self._disk.begin(self._flush)

    async def ended(self) -> None:
        """Wait for the flush under way, if there is one; before the file is closed."""
        if self._running is not None:
            running, self._running = self._running, None
            await self._disk.ended(running)


class Writing:
    """Bytes on their way to the disk, in order: one large piece is written while the next is collected.

    Args:
        tools: shared by the session.
        write: takes the next bytes; blocks.
        flushing: is told of what was written.

    Attributes:
        chunks: the last bytes, which nothing was done with yet.
        size_bytes: of them.
    """

    def __init__(self, tools: Tools, write: Callable[[Sequence[bytes]], None], flushing: Flushing) -> None:
        self._disk = tools.disk
        self._blocks = tools.blocks
        self._write = write
        self._flushing = flushing
        self._running: asyncio.Future[None] | None = None
        self._running_chunks: list[bytes] = []
        self._running_bytes = 0
        self.chunks: list[bytes] = []
        self.size_bytes = 0

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        self.chunks.append(chunk)
        self.size_bytes += len(chunk)

    def trim(self, size_bytes: int) -> None:
        """So many of the last bytes are not wanted; none, or some of the last chunk."""
        if size_bytes:
            last = self.chunks.pop()
            self.chunks.append(last[: len(last) - size_bytes])
            self.size_bytes -= size_bytes

    async def advance(self) -> None:
        """Begin to write what there is, if that is enough, as soon as the piece before it is written."""
        if self.size_bytes >= WRITE_BYTES:
            await self.settle()
            self._begin()

    async def settle(self) -> None:
        """Wait until what was begun is written."""
        if self._running is None:
            return
        try:
            await self._disk.ended(self._running)
        finally:
            # What could not be written stays in the way of all that comes after it: no bytes after a gap.
            if self._running.done() and self._running.exception() is None:
                self._running = None
                written, self._running_chunks = self._running_chunks, []
                for chunk in written:
                    self._blocks.give_back(chunk)
                self._flushing.note(self._running_bytes)

    async def finish(self) -> None:
        """Write the last bytes, too; also when the wait for those before them is cancelled."""
        try:
            await self.settle()
        finally:
            if self._running is None:
                self._begin()
                await self.settle()

    def _begin(self) -> None:
        self._running = self._disk.begin(self._write, self.chunks)
        self._running_chunks, self._running_bytes = self.chunks, self.size_bytes
        self.chunks, self.size_bytes = [], 0


def _redirect_target(url: str, location: str) -> str:
    try:
        httpx.URL(location)
    except httpx.InvalidURL as exc:
        message = "a redirect to what is not a URL"
        raise TransferError("bad_redirect", message, is_retryable=True, wants_fresh_url=True) from exc
    try:
        return urljoin(url, location)
    except ValueError as exc:
        raise TransferError("unsafe_url", "a redirect to what is not a URL", wants_fresh_url=True) from exc


def head_of(response: httpx.Response) -> dict[str, str]:
    """The headers of an answer, by their names in lower case."""
    encoding, head = response.headers.encoding, dict[str, str]()
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        head[name] = f"{head[name]}, {value}" if name in head else value
    return head


def host_of(url: str) -> str:
    """The host of a URL, as pressure and pauses know it."""
    return urlsplit(url).netloc.lower()


def _translated(exc: Exception) -> TransferError:
    """What an error of httpx means for an output."""
    if isinstance(exc, httpx.TimeoutException):
        return TransferError("timeout", "the host fell silent", is_retryable=True)
    if isinstance(exc, httpx.RemoteProtocolError):
        message = f"the connection was cut: {printable(str(exc))}"
        return TransferError("truncated", message, is_retryable=True, wants_fresh_url=True)
    if isinstance(exc, (httpx.TransportError, OSError)) and not isinstance(exc, httpx.UnsupportedProtocol):
        reason = printable(str(exc)) or type(exc).__name__
        return TransferError("connection", f"no connection: {reason}", is_retryable=True)
    return TransferError("unsafe_url", "the output's URL cannot be asked for", wants_fresh_url=True)

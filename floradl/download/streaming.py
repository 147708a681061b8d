"""How the body of a response gets from the connection to the disk: counted, limited in speed, written,
flushed.

Receiving, writing and flushing go on at the same time. While the next bytes come, `BackgroundWriter` has the
piece before them written in a thread, and `BackgroundFlush` has what was written made durable. Each of the
two has at most one piece of work under way, so a slow disk slows down the reading instead of filling the
memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from floradl.download.context import Context
from floradl.download.tally import ActiveTransfer
from floradl.errors import TransferError
from floradl.network.bandwidth import TOO_SLOW, SpeedFloor
from floradl.storage.destination import Destination

WRITE_BYTES = 1024 * 1024
"""How many bytes are collected before they are written in one call."""

FLUSH_BYTES = 32 * 1024 * 1024
"""A growing file is flushed after so many bytes, so that little is left to flush when it is complete."""


class BodyPacer:
    """Accounts for the bytes of one body as they come: counts them, refuses a trickle, keeps `--limit-rate`.

    Args:
        context: shared by the session.
        progress: the transfer that the body belongs to, as a display shows it.
    """

    def __init__(self, context: Context, progress: ActiveTransfer) -> None:
        self._context = context
        self._progress = progress
        self._floor = SpeedFloor(context.clock)

    async def account(self, size_bytes: int) -> float:
        """Count bytes that came, and wait as long as `--limit-rate` asks for.

        Args:
            size_bytes: how many came since the last call.

        Returns:
            The seconds that were waited. They say nothing about the speed of the host.

        Raises:
            TransferError: the host has been too slow for a whole window.
        """
        self._context.traffic.received_bytes += size_bytes
        self._progress.size_bytes += size_bytes
        if not self._floor.is_held(size_bytes):
            raise TransferError("too_slow", TOO_SLOW, is_retryable=True)
        waited_s = await self._context.bandwidth.take(size_bytes)
        self._floor.excuse(waited_s)
        return waited_s


class BackgroundFlush:
    """Flushes a file while it grows, one flush at a time. Nobody waits for a flush until `ended`.

    Args:
        disk: the archive, in whose threads the flushes run.
        flush: makes durable all that is written so far; blocks.
    """

    def __init__(self, disk: Destination, flush: Callable[[], None]) -> None:
        self._disk = disk
        self._flush = flush
        self._running: asyncio.Future[None] | None = None
        self._unflushed_bytes = 0

    def note_written(self, size_bytes: int) -> None:
        """Count bytes that were written, and begin a flush if there are enough and none is under way.

        Raises:
            DestinationError: the flush before has failed.
        """
        self._unflushed_bytes += size_bytes
        if self._unflushed_bytes < FLUSH_BYTES or (self._running is not None and not self._running.done()):
            return
        if self._running is not None:
            self._running.result()  # raises its error, which would be lost with the future otherwise
        self._unflushed_bytes = 0
        self._running = self._disk.begin(self._flush)

    async def ended(self) -> None:
        """Wait for the flush under way, if there is one.

        Call it before the file is closed: the flush holds the file's descriptor, and the system may give the
        same number to another file as soon as this one is closed.
        """
        if self._running is not None:
            running, self._running = self._running, None
            await self._disk.ended(running)


class BackgroundWriter:
    """Writes a body in order: one large piece is written in a thread while the next is collected.

    Args:
        context: shared by the session.
        write: writes the next bytes; blocks.
        flush: is told how much was written.

    Attributes:
        chunks: the last bytes, which no write was begun for yet.
        size_bytes: how many bytes `chunks` has.
    """

    def __init__(
        self, context: Context, write: Callable[[Sequence[bytes]], None], flush: BackgroundFlush
    ) -> None:
        self._disk = context.disk
        self._blocks = context.blocks
        self._write = write
        self._flush = flush
        self._running: asyncio.Future[None] | None = None
        self._running_chunks: list[bytes] = []
        self._running_bytes = 0
        self.chunks: list[bytes] = []
        self.size_bytes = 0

    def add(self, chunk: bytes) -> None:
        """Collect the next bytes; nothing is written before `write_if_due`."""
        self.chunks.append(chunk)
        self.size_bytes += len(chunk)

    def trim(self, size_bytes: int) -> None:
        """Drop the last bytes.

        Args:
            size_bytes: how many, 0 or at most as many as the last chunk has.
        """
        if size_bytes:
            last = self.chunks.pop()
            self.chunks.append(last[: len(last) - size_bytes])
            self.size_bytes -= size_bytes

    async def write_if_due(self) -> None:
        """If enough bytes are collected, wait for the write under way, and begin to write them."""
        if self.size_bytes >= WRITE_BYTES:
            await self.wait_written()
            self._begin()

    async def wait_written(self) -> None:
        """Wait until no write is under way.

        Raises:
            DestinationError: it could not be written.
        """
        if self._running is None:
            return
        try:
            await self._disk.ended(self._running)
        finally:
            # A piece that could not be written stays here as the write under way. Every later write waits for
            # it, fails as it did, and so never puts bytes behind a gap.
            if self._running.done() and self._running.exception() is None:
                self._running = None
                written, self._running_chunks = self._running_chunks, []
                for chunk in written:  # only now: until then a thread was reading from these blocks
                    self._blocks.give_back(chunk)
                self._flush.note_written(self._running_bytes)

    async def write_rest(self) -> None:
        """Write all that was collected, and wait for it.

        If this is cancelled while it waits for the piece before, the last bytes are written nevertheless.
        They came over the network, and are what a resumed transfer continues from.
        """
        try:
            await self.wait_written()
        finally:
            if self._running is None:
                self._begin()
                await self.wait_written()

    def _begin(self) -> None:
        self._running = self._disk.begin(self._write, self.chunks)
        self._running_chunks, self._running_bytes = self.chunks, self.size_bytes
        self.chunks, self.size_bytes = [], 0

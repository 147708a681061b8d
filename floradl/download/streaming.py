"""A body's way to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from floradl.download.context import Context
from floradl.download.tally import ActiveTransfer
from floradl.errors import TransferError
from floradl.network.bandwidth import TOO_SLOW, SpeedFloor
from floradl.storage.destination import Destination

WRITE_BYTES = 1024 * 1024
"""How much is collected before it is written."""

FLUSH_BYTES = 32 * 1024 * 1024
"""After so much a growing file is flushed, so that its end does not wait for all of it."""


class Pace:
    """Accounts for the bytes of one body as they come: counted, not too slow, not faster than allowed.

    Args:
        context: shared by the session.
        flow: of the output that the body belongs to.
    """

    def __init__(self, context: Context, flow: ActiveTransfer) -> None:
        self._context = context
        self._flow = flow
        self._floor = SpeedFloor(context.clock)

    async def take(self, size_bytes: int) -> float:
        """So many bytes came.

        Returns:
            Seconds waited because of `--limit-rate`.

        Raises:
            TransferError: they come too slowly.
        """
        self._context.traffic.received_bytes += size_bytes
        self._flow.size_bytes += size_bytes
        if not self._floor.is_held(size_bytes):
            raise TransferError("too_slow", TOO_SLOW, is_retryable=True)
        waited_s = await self._context.bandwidth.take(size_bytes)
        self._floor.excuse(waited_s)
        return waited_s


class Flushing:
    """Flushes a file while it grows, one flush at a time, which nobody waits for until `ended`.

    Args:
        disk: the archive.
        flush: makes durable what is written; blocks.
    """

    def __init__(self, disk: Destination, flush: Callable[[], None]) -> None:
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
        context: shared by the session.
        write: takes the next bytes; blocks.
        flushing: is told of what was written.

    Attributes:
        chunks: the last bytes, which nothing was done with yet.
        size_bytes: of them.
    """

    def __init__(
        self, context: Context, write: Callable[[Sequence[bytes]], None], flushing: Flushing
    ) -> None:
        self._disk = context.disk
        self._blocks = context.blocks
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

"""The rest of a large file by several connections at once, from a host that slows each of them down.

The main stream goes on as if nothing were; others join it once it was watched for a moment, fetch parts
further on (`parts` says which) and write them to their places in the same partial. Where the main stream
meets the first of them its response is closed, and what is there grows by whole parts, hashed in order.

It may cost nothing but itself. A part counts only if it is just what was asked for, of the same
representation; after any other answer the main stream goes on alone. Only where the main stream has ended
already does the error of a part become the output's: it is tried again like any other, from what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, cast

import httpx

from floradl.download.context import Context
from floradl.download.ranges import Part, Ramp, RangePlan
from floradl.download.request import Requester, head_of
from floradl.download.response import Stretch, require_stretch
from floradl.download.streaming import Flushing, Pace, Writing
from floradl.download.tally import ActiveTransfer
from floradl.errors import TransferError
from floradl.network.retry import MAX_RETRY_AFTER_S
from floradl.storage.local.partial import Partial


class Multipart:
    """What is fetched ahead of one main stream; an asynchronous context, after which nothing is under way.

    Args:
        partial: where all bytes go; its validator and total are those of the file.
        total_bytes: the file's size.
        url: what to ask for.
        host: which host answers; it must have idle places.
        new_asker: makes one for each connection.
        context: shared by the session.
        flushing: of the partial.
        flow: of the output.

    Attributes:
        refusal: why parts cannot be had from this host.
    """

    def __init__(
        self,
        partial: Partial,
        total_bytes: int,
        url: str,
        host: str,
        new_asker: Callable[[], Requester],
        context: Context,
        flushing: Flushing,
        flow: ActiveTransfer,
    ) -> None:
        self._partial = partial
        self._total_bytes = total_bytes
        self._url = url
        self._host = host
        self._new_requester = new_asker
        self._context = context
        self._flushing = flushing
        self._flow = flow
        self._plan = RangePlan(total_bytes, partial.ahead)
        self._ramp = Ramp(context.clock.monotonic())
        self._group = asyncio.TaskGroup()
        self._workers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._position = partial.size_bytes
        self._left_bytes = total_bytes - partial.size_bytes - sum(size for _, size in partial.ahead)
        self._received_bytes = 0
        self._waited_s = 0.0
        self._is_main_streaming = True
        self._error: TransferError | None = None
        self.refusal: TransferError | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as exc:
            # A worker's can only be the disk's, which counts for more than what it broke off.
            first = min(exc.exceptions, key=lambda one: one is error)
            raise first from first.__cause__

    def took(self, position: int, size_bytes: int, waited_s: float) -> int | None:
        """The main stream took in so many bytes and is at `position` now; let others join if that helps.

        Returns:
            How many of them were too many, when the main stream is to end here; else None.
        """
        self._position = position
        if position >= self._plan.fence and self._plan.fence < self._total_bytes:
            self._is_main_streaming = False
            return position - self._plan.fence
        self._look(size_bytes, waited_s)
        return None

    @property
    def is_met(self) -> bool:
        """Whether the main stream was told to end, and `finish` has the rest."""
        return not self._is_main_streaming

    async def finish(self) -> None:
        """Wait for the rest, after the main stream's response was closed and all of it was written.

        Raises:
            TransferError: the rest is not to be had this way; what is there may have grown nevertheless.
        """
        while (front := self._partial.size_bytes) < self._total_bytes:
            self._changed.clear()
            if self._plan.is_next_done(front):
                await self._context.disk.call(self._partial.absorb_next)
                self._plan.absorb(self._partial.size_bytes)
                continue
            error = self.refusal or self._error
            if not self._workers and error is not None:
                raise error
            self._spawn()
            await self._changed.wait()

    def _look(self, size_bytes: int, waited_s: float) -> None:
        """So many bytes came: is it worth while to let others join?"""
        self._received_bytes += size_bytes
        self._waited_s += waited_s
        now_s = self._context.clock.monotonic() - self._waited_s
        if self._ramp.look(now_s, self._received_bytes, self._left_bytes - self._received_bytes) > 1:
            self._spawn()

    def _spawn(self) -> None:
        """Let as many work as shall, where there are places; one at least where nothing else goes on."""
        if self.refusal is not None or not (self._plan.has_holes or self._is_main_streaming):
            return
        wanted = self._ramp.connections - self._is_main_streaming - len(self._workers)
        idle = self._context.limits.idle(self._host)
        if not self._is_main_streaming and not self._workers:
            idle = max(1, idle)
        for _ in range(min(wanted, idle)):
            if self._is_main_streaming and not self._workers:
                self._plan.share(self._position)
            worker = self._group.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if self._is_main_streaming and not self._workers:
            self._plan.withdraw()
        self._changed.set()

    async def _work(self) -> None:
        """Fetch parts, one after another, while there are any and nobody else waits for the place."""
        requester = self._new_requester()
        while (part := self._plan.claim(self._ramp.connections)) is not None:
            try:
                await self._fetch(part, requester)
                self._error = None
            except TransferError as exc:
                if not await self._goes_on_after(exc, part, requester):
                    return
            finally:
                self._plan.release(part)
                self._changed.set()
            is_needed = not self._is_main_streaming and len(self._workers) == 1
            if not is_needed and not self._context.limits.idle(self._host):
                return

    async def _fetch(self, part: Part, requester: Requester) -> None:
        """Fetch one part. Whatever of it came is written, and counts."""
        asked = Stretch(part.start, part.end, self._partial.validator, self._total_bytes)
        disk = self._context.disk
        async with requester.response(self._url, asked.request_headers()) as response:
            require_stretch(response.status_code, head_of(response), asked, now_s=self._context.clock.now())
            await disk.call(self._partial.begin_ahead, part.start)
            writing = Writing(self._context, partial(self._partial.append_ahead, part.start), self._flushing)
            pace, size_bytes, excess_bytes = Pace(self._context, self._flow), 0, 0
            try:
                async for chunk in cast("httpx.AsyncByteStream", response.stream):
                    writing.add(chunk)
                    size_bytes += len(chunk)
                    excess_bytes = max(0, part.start + size_bytes - part.end)
                    if excess_bytes:
                        break
                    self._look(len(chunk), await pace.take(len(chunk)))
                    await writing.advance()
            finally:
                writing.trim(excess_bytes)
                part.size_bytes = size_bytes - excess_bytes
                await writing.finish()
        if excess_bytes:
            raise TransferError("bad_range", "the host sent more bytes than were asked", is_retryable=True)
        if part.start + size_bytes < part.end:
            raise TransferError("truncated", "the host sent fewer bytes than were asked", is_retryable=True)

    async def _goes_on_after(self, exc: TransferError, part: Part, requester: Requester) -> bool:
        """Whether to ask for more after a part that failed."""
        self._error = exc
        if exc.retry_after_s is not None and exc.retry_after_s <= MAX_RETRY_AFTER_S:
            self._context.pauses.pause(requester.asked_host, exc.retry_after_s)
        is_refused = not exc.is_retryable or exc.code == "bad_range"
        if part.size_bytes and exc.code != "too_slow" and not is_refused:
            return True
        self._ramp.settle(len(self._workers) - 1 + self._is_main_streaming)
        if is_refused and (self._is_main_streaming or exc.code == "bad_range"):
            self.refusal = exc
            self._plan.drop()
            for worker in self._workers - {asyncio.current_task()}:
                worker.cancel()
            await self._context.disk.call(self._partial.drop_ahead)
        return False

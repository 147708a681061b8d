"""Fetch the rest of a large file over several connections, from a host that slows down each of them.

The main stream (the response that began the file) goes on as if nothing were. Once it has been measured for a
moment, workers join: each fetches parts further on (`ranges` says which) and writes them to their places in
the same partial. When the main stream reaches the first part, its response is closed. From then on the bytes
from the start of the file grow by whole parts, which are read back and hashed in order.

While parts are fetched, the partial has holes: its size says nothing about what is stored. So the checkpoint
beside the partial names each stored part with its own SHA-256, and nothing behind a hole counts as part of
the file until the hole is closed.

A failing part must not cost the file. A part is accepted only if the host sent exactly the range that was
asked for, of the same representation. After any other response the main stream goes on alone. Only when the
main stream has ended already does the error of a part become the output's: `transfer` then tries again, from
what is stored.

Source: RFC 9110, sections 13.1.5 (If-Range) and 14.2 (Range).
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
from floradl.download.request import Requester, headers_of
from floradl.download.response import ByteRange, require_range
from floradl.download.streaming import BackgroundFlush, BackgroundWriter, BodyPacer
from floradl.download.tally import ActiveTransfer
from floradl.errors import TransferError
from floradl.network.retry import MAX_RETRY_AFTER_S
from floradl.storage.local.partial import Partial


class Multipart:
    """The workers that fetch parts of one file beside its main stream.

    An asynchronous context: it may be left at any time, by an error or a cancellation too, and no worker runs
    and no part is being written afterwards.

    Args:
        partial: where all bytes of the file are written; its validator is that of the file.
        total_bytes: the size of the file.
        url: what to ask for.
        host: the host that sends the main stream. Workers are begun only while it has idle places.
        new_requester: makes a requester for each worker.
        context: shared by the session.
        flush: is told what was written to the partial.
        progress: the transfer, as a display shows it.

    Attributes:
        refusal: the error after which this host is asked for no more parts of the file; None so far.
    """

    def __init__(
        self,
        partial: Partial,
        total_bytes: int,
        url: str,
        host: str,
        new_requester: Callable[[], Requester],
        context: Context,
        flush: BackgroundFlush,
        progress: ActiveTransfer,
    ) -> None:
        self._partial = partial
        self._total_bytes = total_bytes
        self._url = url
        self._host = host
        self._new_requester = new_requester
        self._context = context
        self._flush = flush
        self._progress = progress
        self._plan = RangePlan(total_bytes, partial.ahead)
        self._ramp = Ramp(context.clock.monotonic())
        self._group = asyncio.TaskGroup()
        self._workers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()  # a part or a worker has ended
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
            # The errors of requests stay inside the workers (`_work`). So the error of a worker is the
            # disk's, which is fatal, and has to come out rather than the error or cancellation that ended the
            # block.
            first = min(exc.exceptions, key=lambda one: one is error)
            raise first from first.__cause__

    def note_main(self, position: int, size_bytes: int, waited_s: float) -> int | None:
        """Note what the main stream has brought, and let workers join if that makes the file faster.

        Args:
            position: how many bytes from the start of the file the main stream has brought now.
            size_bytes: how many of them came since the last call.
            waited_s: how long they waited for `--limit-rate`.

        Returns:
            None as long as the main stream is to go on. When it has reached the first part and is to end, how
            many of its last bytes belong to that part and must be dropped.
        """
        self._position = position
        if position >= self._plan.main_end and self._plan.main_end < self._total_bytes:
            self._is_main_streaming = False
            return position - self._plan.main_end
        self._observe(size_bytes, waited_s)
        return None

    @property
    def is_main_ended(self) -> bool:
        """Whether the main stream was told to end, so that `fetch_rest` has to bring the rest."""
        return not self._is_main_streaming

    async def fetch_rest(self) -> None:
        """Bring the rest of the file, after the main stream has ended.

        Order: the response of the main stream must be closed before, since it holds one of the host's places,
        and its last bytes must be written, since parts are joined to them.

        Raises:
            TransferError: the rest cannot be had in parts. The partial may have grown nevertheless.
            DestinationError: the disk.
        """
        while (front := self._partial.size_bytes) < self._total_bytes:
            # Cleared before anything is looked at: a part that ends from here on sets it again, so the wait
            # below cannot miss it.
            self._changed.clear()
            if self._plan.is_next_part_stored(front):
                await self._context.disk.call(self._partial.absorb_next)
                self._plan.absorb(self._partial.size_bytes)
                continue
            error = self.refusal or self._error
            if not self._workers and error is not None:
                raise error
            self._begin_workers()
            await self._changed.wait()

    def _observe(self, size_bytes: int, waited_s: float) -> None:
        """Count bytes of any connection, and begin workers if the measured speed says so."""
        self._received_bytes += size_bytes
        self._waited_s += waited_s
        now_s = self._context.clock.monotonic() - self._waited_s
        if self._ramp.observe(now_s, self._received_bytes, self._left_bytes - self._received_bytes) > 1:
            self._begin_workers()

    def _begin_workers(self) -> None:
        """Begin as many workers as the ramp wants and the host has idle places for.

        Once the main stream has ended, at least one works, whether there is an idle place or not: it waits
        for its turn like any request. Otherwise nothing would ever bring the rest.
        """
        if self.refusal is not None or not (self._plan.has_holes or self._is_main_streaming):
            return
        wanted = self._ramp.connections - self._is_main_streaming - len(self._workers)
        idle = self._context.limits.idle(self._host)
        if not self._is_main_streaming and not self._workers:
            idle = max(1, idle)
        for _ in range(min(wanted, idle)):
            if self._is_main_streaming and not self._workers:
                self._plan.limit_main(self._position)
            worker = self._group.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._on_worker_ended)

    def _on_worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if self._is_main_streaming and not self._workers:
            self._plan.widen_main()
        self._changed.set()

    async def _work(self) -> None:
        """Fetch one part after another, as long as there are any and no other output waits for the place."""
        requester = self._new_requester()
        while (part := self._plan.claim(self._ramp.connections)) is not None:
            try:
                await self._fetch(part, requester)
                self._error = None
            except TransferError as exc:
                if not await self._continues_after(exc, part, requester):
                    return
            finally:
                # After a cancellation too: the bytes that came are stored, and the rest is a hole again.
                self._plan.release(part)
                self._changed.set()
            is_needed = not self._is_main_streaming and len(self._workers) == 1
            if not is_needed and not self._context.limits.idle(self._host):
                return

    async def _fetch(self, part: Part, requester: Requester) -> None:
        """Fetch one part. Whatever of it came is written and counts, also if the connection breaks off.

        Raises:
            TransferError: not all of the part came, or more than it.
            DestinationError: the disk.
        """
        asked = ByteRange(part.start, part.end, self._partial.validator, self._total_bytes)
        disk = self._context.disk
        async with requester.response(self._url, asked.request_headers()) as response:
            require_range(response.status_code, headers_of(response), asked, now_s=self._context.clock.now())
            await disk.call(self._partial.begin_ahead, part.start)
            writer = BackgroundWriter(
                self._context, partial(self._partial.append_ahead, part.start), self._flush
            )
            pacer, size_bytes, excess_bytes = BodyPacer(self._context, self._progress), 0, 0
            try:
                async for chunk in cast("httpx.AsyncByteStream", response.stream):
                    writer.add(chunk)
                    size_bytes += len(chunk)
                    excess_bytes = max(0, part.start + size_bytes - part.end)
                    if excess_bytes:
                        break
                    self._observe(len(chunk), await pacer.account(len(chunk)))
                    await writer.write_if_due()
            finally:
                # Bytes behind the end of the part are dropped before the last write. They would otherwise lie
                # where another worker is writing its own part.
                writer.trim(excess_bytes)
                part.size_bytes = size_bytes - excess_bytes
                await writer.write_rest()
        if excess_bytes:
            raise TransferError("bad_range", "the host sent more bytes than were asked", is_retryable=True)
        if part.start + size_bytes < part.end:
            raise TransferError("truncated", "the host sent fewer bytes than were asked", is_retryable=True)

    async def _continues_after(self, exc: TransferError, part: Part, requester: Requester) -> bool:
        """Whether a worker goes on after its part has failed.

        It goes on if the part brought something and only the connection broke. Otherwise it ends, and the
        file gets no more connections than it has without this one.

        If the host refuses parts at all, every worker ends and all parts are given up. That is the case after
        an error that no retry cures, while the main stream still runs and can bring the whole file alone, and
        at any time after other bytes than were asked for. Then the next try asks for no parts.
        """
        self._error = exc
        if exc.retry_after_s is not None and exc.retry_after_s <= MAX_RETRY_AFTER_S:
            self._context.pauses.pause(requester.last_host, exc.retry_after_s)
        is_refused = not exc.is_retryable or exc.code == "bad_range"
        if part.size_bytes and exc.code != "too_slow" and not is_refused:
            return True
        self._ramp.cap_at(len(self._workers) - 1 + self._is_main_streaming)
        if is_refused and (self._is_main_streaming or exc.code == "bad_range"):
            self.refusal = exc
            # Order: the plan forgets the parts before anything is awaited, so that the main stream, which
            # goes on meanwhile, is not told to end at a part that is about to be cut off.
            self._plan.drop()
            for worker in self._workers - {asyncio.current_task()}:
                worker.cancel()
            await self._context.disk.call(self._partial.drop_ahead)
        return False

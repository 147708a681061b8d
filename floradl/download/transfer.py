"""One output from its URL to the last of its bytes: ask, resume, retry; `arrival` gives them their name.

What never happens here: a resume onto other bytes than those it was begun with; a request that carries the
key; a connection to an address that a media URL must not lead to.

A try ends in a `TransferError` that says whether the same URL may be asked again and whether a fresh one
may help. The number of tries starts afresh whenever new bytes arrived. What is left in the end is a
`Failure`, a value: one bad output never stops the run.

Sources: RFC 9110 (ranges, validators, redirects); FLORA's documentation for `tr=orig-true` on ImageKit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx

from floradl.api.records import announced_size
from floradl.download import ranges
from floradl.download.commit import Commit, Wanted, bad_body
from floradl.download.context import Context
from floradl.download.multipart import Multipart
from floradl.download.request import Requester, head_of
from floradl.download.response import WRONG_SIZE, Answer, Have, fits, read_answer, require_fit
from floradl.download.streaming import Flushing, Pace, Writing
from floradl.download.tally import ActiveTransfer
from floradl.errors import ApiError, TransferError, printable, safe_url
from floradl.network import addresses
from floradl.network.client import MediaClient
from floradl.network.retry import MAX_RETRY_AFTER_S
from floradl.repository import layout
from floradl.repository.results import Failure, Receipt
from floradl.storage.digest import HEAD_BYTES
from floradl.storage.local.partial import Partial
from floradl.storage.local.shared_memory import SlotLoan

MAX_TRIES = 100
"""The end of patience with a host that sends a few bytes and breaks off, again and again."""

_IMAGEKIT = "ik.imagekit.io"

log = logging.getLogger(__name__)


FreshUrl = Callable[[str, str], Awaitable[str | None]]
"""Asks the API for the current URL of (run id, output key); None when it has none."""


async def fetch_output(
    wanted: Wanted, client: MediaClient, context: Context, fresh_url: FreshUrl
) -> Receipt | Failure:
    """Fetch one output.

    Args:
        wanted: the output.
        client: a media client, without credentials.
        context: shared by the session.
        fresh_url: where to ask when the URL has died.

    Returns:
        A receipt once the file is durable under its final name, or why that could not be.

    Raises:
        DestinationError: the disk, which is nobody's retry.
    """
    transfer = _Transfer(wanted, client, context)
    is_archived = False
    context.traffic.flows.add(transfer.flow)
    try:
        receipt = await transfer.run(fresh_url)
        is_archived = True
    except TransferError as exc:
        url = safe_url(wanted.url, limit=2000)
        message = printable(exc.message, limit=300)
        return Failure(wanted.run_id, wanted.key, wanted.type, url, exc.code, message, transfer.tries)
    else:
        return receipt
    finally:
        context.traffic.flows.discard(transfer.flow)
        if not is_archived:
            await context.disk.call(transfer.partial.suspend)


def urls_to_try(url: str) -> list[str]:
    """The URLs under which an output may be had, best first: ImageKit compresses unless asked not to."""
    parts = urlsplit(url)
    if parts.hostname != _IMAGEKIT or "tr=orig-true" in parts.query:
        return [url]
    query = f"{parts.query}&tr=orig-true" if parts.query else "tr=orig-true"
    return [parts._replace(query=query).geturl(), url]


class _Transfer:
    """The state of one `fetch_output`."""

    def __init__(self, wanted: Wanted, client: MediaClient, context: Context) -> None:
        self._wanted = wanted
        self._client = client
        self._requester = Requester(client, context)
        self._has_no_parts = False
        self._context = context
        self._furthest_bytes = 0
        self._announced_bytes = announced_size(wanted.size_bytes)
        self.partial = Partial(self._partial_path, context.disk.flusher, context.disk.direct)
        self._arrival = Commit(wanted, context.disk, self.partial, context.content_index, context.writer_pool)
        self.flow = ActiveTransfer(wanted.name, context.clock.monotonic())
        self.tries = 0

    def _partial_path(self) -> Path:
        return self._context.disk.root / layout.partial_path(self._wanted.run_id, self._wanted.key)

    async def run(self, fresh_url: FreshUrl) -> Receipt:
        """Try every URL there is, the API's newest last."""
        if self._wanted.has_partial:
            await self._context.disk.call(self.partial.load)
        urls, was_refreshed = self._candidates(self._wanted.url), False
        while True:
            try:
                return await self._fetch(urls)
            except TransferError as exc:
                if len(urls) > 1 and exc.code.startswith("http_4") and not exc.is_retryable:
                    urls.popleft()
                    continue
                if not exc.wants_fresh_url or was_refreshed:
                    raise
                was_refreshed = True
                fresh = await self._ask_fresh(fresh_url)
                if fresh is None or fresh == self._wanted.url:
                    raise
                log.info(
                    "%s: the API has another URL; trying that", self._wanted.name, extra=self._wanted.about
                )
                urls = self._candidates(fresh)

    def _candidates(self, url: str) -> deque[str]:
        addresses.check_media_url(url, allow_loopback=self._context.allow_loopback)
        return deque(urls_to_try(url))

    async def _ask_fresh(self, fresh_url: FreshUrl) -> str | None:
        try:
            return await fresh_url(self._wanted.run_id, self._wanted.key)
        except ApiError as exc:
            log.info("%s: no fresh URL: %s", self._wanted.name, exc.message, extra=self._wanted.about)
            return None

    async def _fetch(self, urls: deque[str]) -> Receipt:
        """Try the first URL until it works, or its error lasts."""
        failures = 0
        for _ in range(MAX_TRIES):
            try:
                return await self._try_each(urls)
            except TransferError as exc:
                error = exc
            if error.voids_partial:
                await self._restart()
            if self.partial.size_bytes > self._furthest_bytes and error.code != "too_slow":
                failures = 0
            self._furthest_bytes = max(self._furthest_bytes, self.partial.size_bytes)
            failures += 1
            after_s = error.retry_after_s
            if after_s is not None and after_s > MAX_RETRY_AFTER_S:
                raise error
            refusals = self._refusals(error)
            failures = max(failures, refusals)
            delay_s = self._context.backoff.delay_s(failures)
            if after_s is not None or refusals:
                # Whether or not this one tries again: the others ask the same host.
                self._context.pauses.pause(
                    self._requester.asked_host, after_s if after_s is not None else delay_s
                )
            if refusals > self._context.retries:
                self._context.limits.turn_away(self._requester.asked_host, error)
            if not error.is_retryable or failures > self._context.retries:
                raise error
            wait_s = max(delay_s, after_s or 0.0)
            log.info(
                "%s: %s; trying again in %.1f s",
                self._wanted.name,
                error.message,
                wait_s,
                extra={"event": "retry", "code": error.code} | self._wanted.about,
            )
            await self._context.clock.sleep(delay_s)
        raise error

    def _refusals(self, error: TransferError) -> int:
        """How often in a row the host has refused everything, this request included.

        One that refuses a few among many is asked less (`limits`), and needs no pause.
        """
        return self._context.limits.refusals(self._requester.asked_host) if error.code == "http_429" else 0

    async def _try_each(self, urls: deque[str]) -> Receipt:
        """Try the first URL; where its file has not the announced size, the next, which is first from then.

        So it is found out which of ImageKit's files is the original.
        """
        for _ in range(len(urls) - 1):
            try:
                return await self._try(urls[0])
            except TransferError as exc:
                if exc.code != WRONG_SIZE:
                    raise
            await self._restart()
            urls.rotate(-1)
        return await self._try(urls[0])

    async def _try(self, url: str) -> Receipt:
        with self._context.writer_pool.lend() as loan:
            return await self._try_with(loan, url)

    async def _try_with(self, loan: SlotLoan, url: str) -> Receipt:
        self.tries += 1
        partial, announced_bytes = self.partial, self._announced_bytes
        is_of_announced = fits(partial.size_bytes, announced_bytes, is_whole=False) and fits(
            partial.total_bytes, announced_bytes
        )
        if partial.size_bytes and not (partial.validator and is_of_announced):
            await self._restart()  # nothing says that the rest would belong to it
        if partial.ahead:
            await self._context.disk.call(partial.absorb)
        have = Have(partial.size_bytes, partial.validator, partial.total_bytes)
        if have.size_bytes and have.size_bytes == have.total_bytes:
            self._arrival.refuse_page([], "")
            # Killed after the last byte, before the final name.
            return await self._arrival.commit([], url, "", is_bounded=True)
        # What is small is for the writers from the first byte on; what is rationed is counted as it comes.
        room = None if have.size_bytes or self._context.bandwidth.is_limited else loan.take
        flushing = Flushing(self._context.disk, partial.flush)
        try:
            async with AsyncExitStack() as stack:
                asked = self._requester.response(url, have.request_headers(), room=room)
                async with asked as response:
                    head = head_of(response)
                    now_s = self._context.clock.now()
                    answer = read_answer(
                        response.status_code, head, have, now_s=now_s, announced_bytes=announced_bytes
                    )
                    await self._begin(answer)
                    content_type = printable(head.get("content-type", ""), limit=100)
                    ahead = self._ahead(answer, url, flushing)
                    if ahead is not None:
                        stack.callback(self._heed, ahead)
                        await stack.enter_async_context(ahead)
                    chunks = await self._receive(response, content_type, ahead, flushing)
                if ahead is not None and ahead.is_met:
                    await ahead.finish()
        finally:
            await flushing.ended()
        received = partial.size_bytes + sum(map(len, chunks))
        _require_whole(received, answer, announced_bytes)
        says_size = answer.total_bytes is not None or announced_bytes is not None
        is_bounded = says_size or "transfer-encoding" in head
        return await self._arrival.commit(chunks, url, content_type, is_bounded=is_bounded, loan=loan)

    async def _begin(self, answer: Answer) -> None:
        """Prepare for a body, now that it is known what it is."""
        if not answer.is_rest:
            await self._restart()
        disk = self._context.disk
        total_bytes = self._announced_bytes if answer.total_bytes is None else answer.total_bytes
        if disk.min_free_bytes and total_bytes is not None:
            await disk.call(disk.require_room, total_bytes - self.partial.size_bytes)
        self.partial.expect(answer.validator, answer.total_bytes)
        self.flow.total_bytes = total_bytes
        self.flow.size_bytes = self.partial.size_bytes + sum(size for _, size in self.partial.ahead)

    def _ahead(self, answer: Answer, url: str, flushing: Flushing) -> Multipart | None:
        """Who may fetch parts of a large file from further on, if the host has ranges."""
        partial, total_bytes = self.partial, answer.total_bytes
        if not answer.validator or total_bytes is None or self._has_no_parts:
            return None
        if not partial.ahead and total_bytes - partial.size_bytes < ranges.LARGE_BYTES:
            return None
        host, new_asker = self._requester.asked_host, lambda: Requester(self._client, self._context)
        return Multipart(partial, total_bytes, url, host, new_asker, self._context, flushing, self.flow)

    def _heed(self, ahead: Multipart) -> None:
        """A host that has no parts of a file is not asked for them again."""
        self._has_no_parts |= ahead.refusal is not None

    async def _receive(
        self, response: httpx.Response, content_type: str, ahead: Multipart | None, flushing: Flushing
    ) -> list[bytes]:
        """Take the body in: written in large pieces, its beginning looked at, its speed watched.

        Returns:
            The last chunks, which are not written yet; nothing where `ahead` has the rest.
        """
        writing = Writing(self._context, self.partial.append, flushing)
        pace, position, is_checked = Pace(self._context, self.flow), self.partial.size_bytes, False
        try:
            # Not aiter_raw(), which cuts and joins every chunk again; a third of the speed of large files.
            async for chunk in cast("httpx.AsyncByteStream", response.stream):  # an AsyncClient's always is
                writing.add(chunk)
                position += len(chunk)
                waited_s = await pace.take(len(chunk))
                if not is_checked and position >= HEAD_BYTES:
                    await writing.settle()
                    self._arrival.refuse_page(writing.chunks, content_type)
                    is_checked = True
                if ahead is not None:
                    excess_bytes = ahead.took(position, len(chunk), waited_s)
                    if excess_bytes is not None:
                        writing.trim(excess_bytes)
                        break
                require_fit(position, self._announced_bytes, is_whole=False)  # else it might never end
                await writing.advance()
            if not is_checked:
                await writing.settle()
                self._arrival.refuse_page(writing.chunks, content_type)
            if ahead is not None and ahead.is_met:
                await writing.finish()
            await writing.settle()
        except BaseException:
            # Cut off, or cancelled: what came is good as far as it goes.
            await writing.finish()
            raise
        return writing.chunks

    async def _restart(self) -> None:
        if self.partial.size_bytes or self.partial.ahead:
            await self._context.disk.call(self.partial.restart)


def _require_whole(received_bytes: int, answer: Answer, announced_bytes: int | None) -> None:
    """Refuse a body that is not as long as host and API say, or empty."""
    if answer.total_bytes not in (None, received_bytes):
        raise bad_body("truncated", f"{received_bytes} bytes came, {answer.total_bytes} were announced")
    if not received_bytes:
        raise bad_body("empty", "the body is empty")
    require_fit(received_bytes, announced_bytes)

"""Fetch one output: ask its URL, resume what broke off, try again, and have it committed under its name.

What never happens here: bytes are appended to a partial that belong to another file; a request carries the
API key; a connection goes to an address that a media URL must not lead to.

A try that fails raises a `TransferError`, which says whether the same URL may be asked again and whether a
fresh URL may help. Tries are counted anew whenever a try has brought new bytes. The error that is left in the
end becomes a `Failure`, which is a value: one bad output never stops the run.

Before it is trusted, a partial of an earlier process is read and hashed (`Partial.load`), so neither `kill
-9` nor a power cut puts wrong bytes under a right name. It is continued only if the host confirms, by
`If-Range` with a strong validator, that it still has the same file.

Sources: RFC 9110 (ranges, validators, redirects); FLORA's documentation for `tr=orig-true` on ImageKit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial as partial_of
from pathlib import Path
from typing import cast

import httpx

from floradl.api.models import MEDIA_TYPES
from floradl.api.records import announced_size
from floradl.download import ranges
from floradl.download.bodies import BodyReader, second_hasher
from floradl.download.codings import refuse_upload_chunks
from floradl.download.commit import Commit, WantedOutput
from floradl.download.context import Context
from floradl.download.fresh_urls import REFUSALS
from floradl.download.imagekit import urls_to_try
from floradl.download.multipart import Multipart
from floradl.download.receiving import Receiver
from floradl.download.request import Requester, headers_of
from floradl.download.response import (
    BAD_REQUEST,
    EMPTY,
    WRONG_SIZE,
    ExpectedBody,
    ResumePoint,
    fits_announced,
    parse_response,
    says_expired,
)
from floradl.download.streaming import BackgroundFlush
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
"""The most tries of one URL, since a host that sends a byte and breaks off always makes some progress."""

_BEGINNING_CHUNKS = 16

log = logging.getLogger(__name__)


FreshUrl = Callable[[str, str], Awaitable[str | None]]
"""Asks the API for the current URL of an output, by (run id, output key); gives None if it has none."""


async def fetch_output(
    wanted: WantedOutput, client: MediaClient, context: Context, fresh_url: FreshUrl
) -> Receipt | Failure:
    """Fetch one output.

    Args:
        wanted: the output.
        client: a media client, which has no credentials.
        context: shared by the session.
        fresh_url: asks the API for another URL, when this one does not work any more.

    Returns:
        A receipt once the file is durable under its final name, or a failure that says why it is not.

    Raises:
        DestinationError: the disk failed. No retry helps against that, so it ends the session.
    """
    transfer = _Transfer(wanted, client, context)
    is_archived = False
    context.traffic.flows.add(transfer.progress)
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
        context.traffic.flows.discard(transfer.progress)
        # After a failure and after a cancellation: keep what a later session can resume from. A file with its
        # final name has no partial any more.
        if not is_archived:
            await context.disk.call(transfer.partial.suspend)


class _Transfer:
    """The state of one `fetch_output`: its partial, its tries, and what was found out about its host.

    Attributes:
        partial: the bytes that have come so far.
        progress: the transfer, as a display shows it.
        tries: how many tries there were.
    """

    def __init__(self, wanted: WantedOutput, client: MediaClient, context: Context) -> None:
        self._wanted = wanted
        self._client = client
        self._requester = Requester(client, context)
        self._has_no_parts = False
        self._was_empty = False
        self._context = context
        self._furthest_bytes = 0
        self._announced_bytes = announced_size(wanted.size_bytes)
        self.partial = Partial(self._partial_path, context.disk.flusher, context.disk.direct)
        self._commit = Commit(wanted, context.disk, self.partial, context.content_index, context.writer_pool)
        self.progress = ActiveTransfer(wanted.name, context.clock.monotonic())
        self.tries = 0

    def _partial_path(self) -> Path:
        return self._context.disk.root / layout.partial_path(self._wanted.run_id, self._wanted.key)

    async def run(self, fresh_url: FreshUrl) -> Receipt:
        """Try the URLs of the output, and then, once, the one that the API has for it now.

        Raises:
            TransferError: none of them brought it; the error of the last one.
        """
        if self._wanted.has_partial:
            await self._context.disk.call(self.partial.load)
        urls = self._candidates(self._wanted.url)
        try:
            return await self._fetch_any(urls)
        except TransferError as exc:
            if not exc.wants_fresh_url:
                raise
            error = exc
        if error.code not in REFUSALS:
            return await self._fetch_fresh(error, fresh_url)
        async with self._context.fresh_urls.trial(self._requester.last_host) as may_ask:
            if not may_ask:
                raise error
            return await self._fetch_fresh(error, fresh_url)

    async def _fetch_any(self, urls: deque[str]) -> Receipt:
        """Try the first URL, and the next one after the host has refused it.

        Raises:
            TransferError: none of them brought the output; the error of the last one.
        """
        while True:
            try:
                return await self._fetch(urls)
            except TransferError as exc:
                if len(urls) == 1 or not exc.code.startswith("http_4") or exc.is_retryable:
                    raise
                urls.popleft()

    async def _fetch_fresh(self, error: TransferError, fresh_url: FreshUrl) -> Receipt:
        """Try the URL that the API has for the output now.

        Args:
            error: why the one before did not bring it.
            fresh_url: asks the API.

        Raises:
            TransferError: there is no other URL, or it did not bring the output either.
        """
        fresh = await self._ask_fresh(fresh_url)
        if fresh is None or fresh == self._wanted.url:
            raise error
        log.info("%s: the API has another URL; trying that", self._wanted.name, extra=self._wanted.about)
        return await self._fetch_any(self._candidates(fresh))

    def _candidates(self, url: str) -> deque[str]:
        """The URLs to try in place of `url`, which is checked first: it comes from outside."""
        addresses.check_media_url(url, allow_loopback=self._context.allow_loopback)
        return deque(urls_to_try(url))

    async def _ask_fresh(self, fresh_url: FreshUrl) -> str | None:
        """The current URL of the output; None if the API has none or cannot be asked.

        An error of the API is not raised: it would hide the error for which a fresh URL was wanted.
        """
        try:
            return await fresh_url(self._wanted.run_id, self._wanted.key)
        except ApiError as exc:
            log.info("%s: no fresh URL: %s", self._wanted.name, exc.message, extra=self._wanted.about)
            return None

    async def _fetch(self, urls: deque[str]) -> Receipt:
        """Try the first URL until it works, or until `--retries` tries in a row have brought nothing.

        Raises:
            TransferError: of the last try.
        """
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
                # The pause is set even if this output is not tried again: others ask the same host.
                self._context.pauses.pause(
                    self._requester.last_host, after_s if after_s is not None else delay_s
                )
            if refusals > self._context.retries:
                self._context.limits.turn_away(self._requester.last_host, error)
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
        """How often in a row the host has refused its only request (429), this one included; 0 otherwise.

        A host that refuses one of several requests gets fewer at a time (`limits`), and needs no pause.
        """
        return self._context.limits.refusals(self._requester.last_host) if error.code == "http_429" else 0

    async def _try_each(self, urls: deque[str]) -> Receipt:
        """Try the first URL. If its file has another size than announced, try the next one at once.

        ImageKit has two files for a picture, and the announced size tells which of them is the original. The
        URL that was tried last stays the first for later tries.
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
        """Make one try: ask one URL, receive the body, and commit the file."""
        with self._context.writer_pool.lend() as loan:
            return await self._try_with(loan, url)

    async def _try_with(self, loan: SlotLoan, url: str) -> Receipt:
        self.tries += 1
        partial = self.partial
        await self._drop_useless_partial()
        resume_point = ResumePoint(partial.size_bytes, partial.validator, partial.total_bytes)
        if resume_point.size_bytes and resume_point.size_bytes == resume_point.total_bytes:
            # An earlier process was killed between the last byte and the final name. Nothing is asked for.
            self._commit.refuse_page([], "")
            return await self._commit.commit([], url, "", is_bounded=True)
        # The memory that is shared with the writer processes is for whole small files. With --limit-rate it
        # is not used: a body must then be counted piece by piece as it comes.
        room = None if resume_point.size_bytes or self._context.bandwidth.is_limited else loan.take
        flush = BackgroundFlush(self._context.disk, partial.flush)
        try:
            async with AsyncExitStack() as stack:
                request = self._requester.response(url, resume_point.request_headers(), room=room)
                async with request as response:
                    headers = headers_of(response)
                    expected = await self._accept(response, headers, resume_point)
                    await self._prepare_body(expected)
                    content_type = printable(headers.get("content-type", ""), limit=100)
                    multipart = self._new_multipart(expected, url, flush)
                    if multipart is not None:
                        stack.callback(self._remember_refusal, multipart)
                        await stack.enter_async_context(multipart)
                    refuse = partial_of(self._refuse, content_type=content_type)
                    body = BodyReader(expected, self._announced_bytes)
                    receiver = Receiver(
                        self._context, partial, self.progress, flush, refuse, body.announced_bytes, multipart
                    )
                    # Not aiter_raw(): it cuts and joins every chunk again, which takes a third of the speed
                    # of large files. The stream of a response of an AsyncClient is always asynchronous.
                    stream = cast("httpx.AsyncByteStream", response.stream)
                    chunks = await receiver.receive(body.read(stream))
                # Only now, outside the response: its place at the host is free for one of the parts.
                if multipart is not None and multipart.is_main_ended:
                    await multipart.fetch_rest()
        finally:
            await flush.ended()
        try:
            await body.require_whole(chunks, partial, self._context.disk)
        except TransferError as exc:
            if exc.code != EMPTY or not self._is_empty_file(expected):
                raise
        is_bounded = body.is_bounded or "transfer-encoding" in headers
        return await self._commit.commit(chunks, url, content_type, is_bounded=is_bounded, loan=loan)

    async def _accept(
        self, response: httpx.Response, headers: Mapping[str, str], resume_point: ResumePoint
    ) -> ExpectedBody:
        """Decide by status and headers what the body is.

        Raises:
            TransferError: it is of no use.
        """
        try:
            expected = parse_response(
                response.status_code,
                headers,
                resume_point,
                now_s=self._context.clock.now(),
                announced_bytes=self._announced_bytes,
            )
        except TransferError as exc:
            if response.status_code == BAD_REQUEST and says_expired(await _beginning_of(response)):
                exc.wants_fresh_url = True
            raise
        self._context.fresh_urls.note_given(self._requester.last_host)
        return expected

    def _refuse(self, chunks: list[bytes], content_type: str) -> None:
        """Refuse what is no file of FLORA's by its first bytes; see `Receiver`."""
        self._commit.refuse_page(chunks, content_type)
        refuse_upload_chunks(self._commit.head(chunks))

    def _is_empty_file(self, expected: ExpectedBody) -> bool:
        """Whether an empty body is a file without bytes: it was announced as such, twice, and is no media.

        A host that is disturbed may send an empty body once, with the length of that. Of a picture, a video
        or a sound without bytes the format says that it is not whole.
        """
        if expected.total_bytes != 0 or self._wanted.type in MEDIA_TYPES:
            return False
        was_empty, self._was_empty = self._was_empty, True
        return was_empty

    async def _drop_useless_partial(self) -> None:
        """Drop stored bytes that cannot be continued, and join stored parts to those from the start.

        Without a strong validator, nothing says that the bytes which the host sends next belong to those that
        are stored. Bytes of a file of another size than announced belong to another file.
        """
        partial, announced_bytes = self.partial, self._announced_bytes
        is_of_announced = fits_announced(
            partial.size_bytes, announced_bytes, is_whole=False
        ) and fits_announced(partial.total_bytes, announced_bytes)
        if partial.size_bytes and not (partial.validator and is_of_announced):
            await self._restart()
        if partial.ahead:
            await self._context.disk.call(partial.absorb)

    async def _prepare_body(self, expected: ExpectedBody) -> None:
        """Make ready for a body that was accepted.

        Raises:
            DestinationError: it would leave less room on the disk than `--min-free` asks for.
        """
        if not expected.is_rest:
            await self._restart()
        disk = self._context.disk
        total_bytes = self._announced_bytes if expected.total_bytes is None else expected.total_bytes
        if disk.min_free_bytes and total_bytes is not None:
            await disk.call(disk.require_room, total_bytes - self.partial.size_bytes)
        self.partial.expect(expected.validator, expected.total_bytes, second_hasher(expected))
        self.progress.total_bytes = total_bytes
        self.progress.size_bytes = self.partial.size_bytes + sum(size for _, size in self.partial.ahead)

    def _new_multipart(self, expected: ExpectedBody, url: str, flush: BackgroundFlush) -> Multipart | None:
        """What fetches parts of this file beside its main stream; None if it is to come alone.

        Parts need a strong validator and a known size. A file of which little is left comes alone, unless
        parts of it are stored already.
        """
        partial, total_bytes = self.partial, expected.total_bytes
        if not expected.validator or total_bytes is None or self._has_no_parts:
            return None
        if not partial.ahead and total_bytes - partial.size_bytes < ranges.LARGE_BYTES:
            return None
        host, context = self._requester.last_host, self._context

        def new_requester() -> Requester:
            return Requester(self._client, context)

        return Multipart(partial, total_bytes, url, host, new_requester, context, flush, self.progress)

    def _remember_refusal(self, multipart: Multipart) -> None:
        """If the host refused parts of this file, let no later try ask for them again."""
        self._has_no_parts |= multipart.refusal is not None

    async def _restart(self) -> None:
        """Drop all stored bytes, so that the file begins at its first byte."""
        if self.partial.size_bytes or self.partial.ahead:
            await self._context.disk.call(self.partial.restart)


async def _beginning_of(response: httpx.Response) -> bytes:
    """The first bytes of a body. A host that sends it byte by byte is not waited for."""
    beginning, chunks = b"", 0
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        beginning, chunks = beginning + bytes(chunk), chunks + 1
        if len(beginning) >= HEAD_BYTES or chunks == _BEGINNING_CHUNKS:
            break
    return beginning

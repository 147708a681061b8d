"""Single tries of one output: ask a URL, receive the body, and have the file committed under its name.

`transfer` decides which URL is tried, how often, and when. What a try has brought stays in the partial, from
which the next try goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from floradl.download.multipart import Multipart
from floradl.download.receiving import Receiver
from floradl.download.request import Requester, headers_of
from floradl.download.response import (
    BAD_REQUEST,
    EMPTY,
    ExpectedBody,
    ResumePoint,
    fits_announced,
    parse_response,
    says_expired,
)
from floradl.download.streaming import BackgroundFlush
from floradl.download.tally import ActiveTransfer
from floradl.errors import TransferError, WrongSizeError, printable
from floradl.network.client import MediaClient
from floradl.repository import layout
from floradl.repository.results import Receipt
from floradl.storage.digest import HEAD_BYTES
from floradl.storage.local.partial import Partial
from floradl.storage.local.shared_memory import SlotLoan

_BEGINNING_CHUNKS = 16


class Attempts:
    """The tries of one output, one after another.

    Args:
        wanted: the output.
        client: a media client, which has no credentials.
        context: shared by the session.

    Attributes:
        partial: the bytes that have come so far.
        progress: the transfer, as a display shows it.
        tries: how many tries there were.
        announced_bytes: the size that the file must have; None for any.
        requester: sends the requests.
    """

    def __init__(self, wanted: WantedOutput, client: MediaClient, context: Context) -> None:
        self._wanted = wanted
        self._client = client
        self._context = context
        self._has_no_parts = False
        self._was_empty = False
        self._is_of_other_size = False
        self.partial = Partial(self._partial_path, context.disk.flusher, context.disk.direct)
        self._commit = Commit(wanted, context.disk, self.partial, context.content_index, context.writer_pool)
        self.requester = Requester(client, context)
        self.progress = ActiveTransfer(wanted.name, context.clock.monotonic())
        self.tries = 0
        self.announced_bytes = announced_size(wanted.size_bytes)

    def _partial_path(self) -> Path:
        return self._context.disk.root / layout.partial_path(self._wanted.run_id, self._wanted.key)

    def expect_other_size(self, size_bytes: int) -> None:
        """Expect a file of a size that the API did not announce; its format must say that it is whole."""
        self.announced_bytes = size_bytes
        self._is_of_other_size = self._commit.needs_end = True

    async def try_url(self, url: str) -> Receipt:
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
                request = self.requester.response(url, resume_point.request_headers(), room=room)
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
                    body = BodyReader(expected, self.announced_bytes)
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
                announced_bytes=self.announced_bytes,
            )
        except TransferError as exc:
            if response.status_code == BAD_REQUEST and says_expired(await _beginning_of(response)):
                exc.wants_fresh_url = True
            raise
        if self._is_of_other_size and expected.total_bytes is None:
            raise WrongSizeError("the host does not say any more how long its file is", None)
        self._context.fresh_urls.note_given(self.requester.last_host)
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
        partial, announced_bytes = self.partial, self.announced_bytes
        is_of_announced = fits_announced(
            partial.size_bytes, announced_bytes, is_whole=False
        ) and fits_announced(partial.total_bytes, announced_bytes)
        if partial.size_bytes and not (partial.validator and is_of_announced):
            await self.restart()
        if partial.ahead:
            await self._context.disk.call(partial.absorb)

    async def _prepare_body(self, expected: ExpectedBody) -> None:
        """Make ready for a body that was accepted.

        Raises:
            DestinationError: it would leave less room on the disk than `--min-free` asks for.
        """
        if not expected.is_rest:
            await self.restart()
        disk = self._context.disk
        total_bytes = self.announced_bytes if expected.total_bytes is None else expected.total_bytes
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
        host, context = self.requester.last_host, self._context

        def new_requester() -> Requester:
            return Requester(self._client, context)

        return Multipart(partial, total_bytes, url, host, new_requester, context, flush, self.progress)

    def _remember_refusal(self, multipart: Multipart) -> None:
        """If the host refused parts of this file, let no later try ask for them again."""
        self._has_no_parts |= multipart.refusal is not None

    async def restart(self) -> None:
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

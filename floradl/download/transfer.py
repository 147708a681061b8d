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
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

from floradl.download.attempts import Attempts
from floradl.download.commit import WantedOutput
from floradl.download.context import Context
from floradl.download.fresh_urls import REFUSALS
from floradl.download.imagekit import urls_to_try
from floradl.download.tally import ActiveTransfer
from floradl.errors import WRONG_SIZE, ApiError, TransferError, WrongSizeError, printable, safe_url
from floradl.network import addresses
from floradl.network.client import MediaClient
from floradl.network.retry import MAX_RETRY_AFTER_S
from floradl.repository.results import Failure, Receipt
from floradl.storage.local.partial import Partial

MAX_TRIES = 100
"""The most tries of one URL, since a host that sends a byte and breaks off always makes some progress."""


log = logging.getLogger(__name__)


FreshUrl = Callable[[str, str], Awaitable[str | None]]
"""Asks the API for the current URL of an output, by (run id, output key); gives None if it has none."""


async def fetch_output(
    wanted: WantedOutput, client: MediaClient, context: Context, fresh_url: FreshUrl | None
) -> Receipt | Failure:
    """Fetch one output.

    Args:
        wanted: the output.
        client: a media client, which has no credentials.
        context: shared by the session.
        fresh_url: asks the API for another URL, when this one does not work any more; None: none is wanted.

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
        self._context = context
        self._attempts = Attempts(wanted, client, context)
        self._best_url = ""
        self._stated_bytes: int | None = None  # of the best URL's file, if it is not the announced size
        self._seen_bytes: int | None = None  # the same of the URL before the fresh one
        self._furthest_bytes = 0

    @property
    def partial(self) -> Partial:
        """The bytes that have come so far."""
        return self._attempts.partial

    @property
    def progress(self) -> ActiveTransfer:
        """The transfer, as a display shows it."""
        return self._attempts.progress

    @property
    def tries(self) -> int:
        """How many tries there were."""
        return self._attempts.tries

    async def run(self, fresh_url: FreshUrl | None) -> Receipt:
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
            if fresh_url is None or not exc.wants_fresh_url:
                raise
            error = exc
        if error.code not in REFUSALS:
            return await self._fetch_fresh(error, fresh_url)
        async with self._context.fresh_urls.trial(self._attempts.requester.last_host) as may_ask:
            if not may_ask:
                raise error
            return await self._fetch_fresh(error, fresh_url)

    async def _fetch_any(self, urls: deque[str]) -> Receipt:
        """Try the first URL, and the next one after the host has refused it.

        Raises:
            TransferError: none of them brought the output; the error of the last one.
        """
        is_refused = False
        while True:
            try:
                receipt = await self._fetch(urls)
            except TransferError as exc:
                if len(urls) == 1 or not exc.code.startswith("http_4") or exc.is_retryable:
                    raise
                urls.popleft()
                self._best_url, is_refused = urls[0], True
            else:
                # A file of the size that the API announced is the original, by whatever URL it came.
                return replace(receipt, is_compressed=is_refused and self._attempts.announced_bytes is None)

    async def _fetch_fresh(self, error: TransferError, fresh_url: FreshUrl) -> Receipt:
        """Try the URL that the API has for the output now.

        Args:
            error: why the one before did not bring it.
            fresh_url: asks the API.

        Raises:
            TransferError: there is no other URL, or it did not bring the output either.
        """
        seen_bytes = self._seen_bytes = self._stated_bytes if isinstance(error, WrongSizeError) else None
        fresh = await self._ask_fresh(fresh_url)
        if fresh is None or (fresh == self._wanted.url and seen_bytes is None):
            raise error
        log.info("%s: trying the API's URL of now", self._wanted.name, extra=self._wanted.about)
        urls = self._candidates(fresh)
        try:
            return await self._fetch_any(urls)
        except WrongSizeError as exc:
            if not self._is_seen_again:
                raise
            return await self._fetch_other_size(cast("int", seen_bytes), exc)

    @property
    def _is_seen_again(self) -> bool:
        """Whether the fresh URL has led to a file of the size that was seen before, and not announced."""
        return self._seen_bytes is not None and self._seen_bytes == self._stated_bytes

    async def _fetch_other_size(self, size_bytes: int, error: WrongSizeError) -> Receipt:
        """Fetch a file that has another size than the API announced, and the same by the URL before.

        What the API says is old or wrong then, and the file is kept if its format says that it is whole.

        Args:
            size_bytes: the size of the file by its host's word.
            error: says that it is not the announced one.

        Raises:
            TransferError: it is not kept.
        """
        announced_bytes = self._attempts.announced_bytes
        self._attempts.expect_other_size(size_bytes)
        try:
            receipt = await self._fetch(deque([self._best_url]))
        except TransferError as exc:
            if exc.code == WRONG_SIZE:  # nothing tells that it is whole
                raise error from exc
            raise
        log.warning(
            "%s: FLORA announced %s bytes, and its host has %d; archived as the host has it",
            self._wanted.name,
            announced_bytes,
            size_bytes,
            extra=self._wanted.about,
        )
        return replace(receipt, announced_bytes=announced_bytes)

    def _candidates(self, url: str) -> deque[str]:
        """The URLs to try in place of `url`, which is checked first: it comes from outside."""
        addresses.check_media_url(url, allow_loopback=self._context.allow_loopback)
        urls = deque(urls_to_try(url))
        self._best_url, self._stated_bytes = urls[0], None
        return urls

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
                await self._attempts.restart()
            if isinstance(error, WrongSizeError) and self._is_seen_again:
                raise error
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
                    self._attempts.requester.last_host, after_s if after_s is not None else delay_s
                )
            if refusals > self._context.retries:
                self._context.limits.turn_away(self._attempts.requester.last_host, error)
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
        return (
            self._context.limits.refusals(self._attempts.requester.last_host)
            if error.code == "http_429"
            else 0
        )

    async def _try_each(self, urls: deque[str]) -> Receipt:
        """Try the first URL. If its file has another size than announced, try the next one at once.

        ImageKit has two files for a picture, and the announced size tells which of them is the original. The
        URL that was tried last stays the first for later tries.
        """
        for _ in range(len(urls) - 1):
            try:
                return await self._try_noted(urls[0])
            except WrongSizeError:
                await self._attempts.restart()
                urls.rotate(-1)
        return await self._try_noted(urls[0])

    async def _try_noted(self, url: str) -> Receipt:
        """Make one try. Take note of the size of the best URL's file if it is not the announced one."""
        try:
            return await self._attempts.try_url(url)
        except WrongSizeError as exc:
            if url == self._best_url:
                self._stated_bytes = exc.stated_bytes or None  # an empty file is not whole
            raise

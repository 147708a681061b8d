"""Running coroutines so that an early end leaves no task behind and nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def ends_by_itself(work: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Run `work` until it ends or `stop` is set, which cancels it. Returns whether it ended by itself.

    Raises:
        Exception: whatever the work raised.
    """
    working = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def all_of(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run coroutines at once. The first error cancels the others, and is raised itself, not in a group."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(work: Awaitable[T]) -> T:
    """Run work that must not be left half done: a cancellation takes effect only when the work has ended.

    Raises:
        Exception: whatever the work raised.
        asyncio.CancelledError: the caller was cancelled; by then the work has ended.
    """
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # cancelled once more; one is raised below
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # retrieved, so that asyncio does not log it as never retrieved
        raise


def batches(
    items: Iterable[T],
    *,
    max_items: int,
    max_bytes: int | None = None,
    size_of: Callable[[T], int] = lambda _: 0,
) -> Iterator[list[T]]:
    """Cut items into batches, one for a thread at a time, in their order.

    A batch of many items spares calls into threads. A batch must not be too long either: the threads that
    have nothing left to do would wait for the one that is still at work on the last batch.

    Args:
        items: taken one at a time, as batches are asked for.
        max_items: how many a batch has at most.
        max_bytes: a batch ends with the item that brings it to this size; None: size does not matter. So one
            large item is a batch of its own, or the last of one.
        size_of: an item's size in bytes.
    """
    batch: list[T] = []
    size_bytes = 0
    for item in items:
        batch.append(item)
        size_bytes += size_of(item)
        if len(batch) == max_items or (max_bytes is not None and size_bytes >= max_bytes):
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch

"""Work that ends early when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def ends_by_itself(work: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Do the work until it ends or `stop` is set, which cancels it; whether it ended by itself.

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
    """Do several things at once; the first error cancels the others and comes out bare."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(work: Awaitable[T]) -> T:
    """Do what must not be left half done: a stop has its effect when the work has ended.

    Raises:
        Exception: whatever the work raised.
        asyncio.CancelledError: it was stopped; the work has ended.
    """
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # asked again; it is raised below
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # looked at, so that asyncio does not complain about it
        raise

"""For which hosts the API is asked for fresh URLs, and how often."""

from __future__ import annotations

import asyncio

import pytest

from floradl.download.fresh_urls import MAX_USELESS, PROBE_EVERY, FreshUrlBudget

pytestmark = pytest.mark.anyio


class _RefusedError(Exception):
    """A fresh URL that did not help."""


async def fails(budget: FreshUrlBudget, host: str = "one") -> bool:
    """One file that a fresh URL does not bring; whether that was asked for."""
    asked: list[bool] = []

    async def trial() -> None:
        async with budget.trial(host) as may_ask:
            asked.append(may_ask)
            raise _RefusedError

    with pytest.raises(_RefusedError):
        await trial()
    return asked == [True]


async def test_a_host_that_refuses_everything() -> None:
    """After a few it is not asked for any more; other hosts are, and so is this one once it gave a file."""
    budget = FreshUrlBudget()
    assert [await fails(budget) for _ in range(MAX_USELESS + 2)] == [True] * MAX_USELESS + [False, False]
    assert await fails(budget, "two")
    async with budget.trial("one") as may_ask:
        assert not may_ask
    budget.note_given("one")
    assert [await fails(budget) for _ in range(MAX_USELESS + 2)] == [True] * (MAX_USELESS + 2)
    async with budget.trial("one") as may_ask:
        assert may_ask


async def test_a_host_that_seems_to_refuse_everything() -> None:
    """Now and then one more is asked for; once that has helped, all are."""
    budget = FreshUrlBudget()
    asked = [await fails(budget) for _ in range(MAX_USELESS + 2 * PROBE_EVERY)]
    assert [number for number, was_asked in enumerate(asked, 1 - MAX_USELESS) if was_asked] == [
        *range(1 - MAX_USELESS, 1),
        PROBE_EVERY,
        2 * PROBE_EVERY,
    ]


async def test_fresh_urls_that_help() -> None:
    """They do not count."""
    budget = FreshUrlBudget()
    for _ in range(2 * MAX_USELESS):
        async with budget.trial("one") as may_ask:
            assert may_ask
    assert await fails(budget)


@pytest.mark.parametrize("gives", [False, True])
async def test_many_at_the_same_time(gives: bool) -> None:
    """No more are asked for at the same time than in all, until one has helped."""
    budget, asked, may_end = FreshUrlBudget(), list[bool](), asyncio.Event()

    async def one() -> None:
        async with budget.trial("one") as may_ask:
            asked.append(may_ask)
            await may_end.wait()
            if gives:
                budget.note_given("one")
            raise _RefusedError

    tasks = [asyncio.create_task(one()) for _ in range(8)]
    for _ in range(20):  # turns of the loop, enough for all tasks to come as far as they can
        await asyncio.sleep(0)
    assert len(asked) == MAX_USELESS
    may_end.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert asked == [True] * 8 if gives else [True] * MAX_USELESS + [False] * (8 - MAX_USELESS)

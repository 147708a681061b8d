"""Work that ends early when it is told to, and work that must not."""

from __future__ import annotations

import asyncio

import pytest

from floradl.tasks import batches, ends_by_itself, to_its_end

pytestmark = pytest.mark.anyio


async def test_what_must_come_to_its_end_does() -> None:
    """A stop, and a second one, wait for it; it has its effect afterwards."""
    begun, may_end, done = asyncio.Event(), asyncio.Event(), []

    async def two_steps() -> None:
        begun.set()
        await may_end.wait()
        done.append("both")

    async def work() -> None:
        await to_its_end(two_steps())
        done.append("never")

    task = asyncio.ensure_future(work())
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["both"]


async def test_its_error_comes_out() -> None:
    """What goes wrong in it is raised; after a stop, the stop is."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        begun.set()
        await may_end.wait()
        raise ValueError("broken")

    task = asyncio.ensure_future(to_its_end(fails()))
    await begun.wait()
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ValueError, match="broken"):
        await to_its_end(fails())


async def test_a_stop_waits_for_it() -> None:
    """A job that is stopped in the middle of it has ended when `ends_by_itself` says that it has not."""
    stop, done = asyncio.Event(), []

    async def work() -> None:
        async def two_steps() -> None:
            stop.set()
            await asyncio.sleep(0.01)
            done.append("both")

        await to_its_end(two_steps())
        await asyncio.sleep(3600)

    assert not await ends_by_itself(work(), stop)
    assert done == ["both"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1], [[1]]),
        ([1, 1, 1], [[1, 1, 1]]),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([9, 1], [[9, 1]]),
        ([10, 1], [[10], [1]]),
        ([1, 99, 1, 1, 1, 1], [[1, 99], [1, 1, 1], [1]]),
        ([5, 5, 5], [[5, 5], [5]]),
    ],
)
def test_batches_are_neither_too_many_items_nor_too_many_bytes(
    sizes: list[int], expected: list[list[int]]
) -> None:
    """A batch ends with its third item or its tenth byte; every item is in one batch, in its order."""
    assert list(batches(sizes, max_items=3, max_bytes=10, size_of=lambda size: size)) == expected


def test_batches_without_a_size() -> None:
    """Where only the number of items matters a batch may have any size."""
    assert list(batches([99, 99, 99], max_items=2)) == [[99, 99], [99]]


def test_batches_take_items_only_as_they_are_asked_for() -> None:
    """A history of a million runs is not held in memory for its first batch."""
    items = iter(range(5))
    assert next(batches(items, max_items=2)) == [0, 1]
    assert next(items) == 2

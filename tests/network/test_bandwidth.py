"""No more bytes a second than allowed, whatever the pieces, and fairly."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.network.bandwidth import BURST_BYTES, Bandwidth, Bucket
from tests.support.clock import FakeTime

pieces = st.lists(st.tuples(st.integers(1, 1_000_000), st.floats(0, 2)), max_size=50)


@given(st.integers(1, 10**9), pieces)
def test_never_more_than_allowed(bytes_per_s: int, arrivals: list[tuple[int, float]]) -> None:
    """Who waits as told has never received more than the time since allows, a burst and one piece apart."""
    bucket, now_s, received = Bucket(bytes_per_s), 1000.0, 0
    burst = max(BURST_BYTES, bytes_per_s / 10)
    for size_bytes, pause_s in arrivals:
        now_s += pause_s
        received += size_bytes
        now_s += bucket.take(size_bytes, now_s)
        assert received <= burst + bytes_per_s * (now_s - 1000.0) * (1 + 1e-9) + 1


@given(st.integers(100, 10**9), st.integers(1, 400_000), st.integers(1, 200))
def test_what_is_allowed_is_had(bytes_per_s: int, size_bytes: int, count: int) -> None:
    """Bytes that could always come sooner come exactly as fast as allowed."""
    bucket, now_s = Bucket(bytes_per_s), 0.0
    burst = max(BURST_BYTES, bytes_per_s / 10)
    for _ in range(count):
        now_s += bucket.take(size_bytes, now_s)
    assert now_s == pytest.approx(max(0.0, (size_bytes * count - burst) / bytes_per_s), abs=1e-6, rel=1e-6)


def test_a_burst_is_small() -> None:
    """After a long silence not all that was not used may come at once: a tenth of a second, or 64 KiB."""
    bucket = Bucket(10_000_000)
    assert bucket.take(1_000_000, 50.0) == 0
    assert bucket.take(500_000, 50.0) == pytest.approx(0.05)
    assert bucket.take(1_000_000, 9000.0) == 0
    assert bucket.take(1_000_000, 9000.0) == pytest.approx(0.1)
    slow = Bucket(1000)
    assert slow.take(BURST_BYTES, 0.0) == 0
    assert slow.take(400_000, 0.0) == pytest.approx(400)


def test_who_receives_more_waits_longer() -> None:
    """Everyone waits for what came before and for their own, so that none is kept waiting by those after."""
    bucket = Bucket(100_000)
    bucket.take(BURST_BYTES, 0.0)
    waits = [bucket.take(size_bytes, 0.0) for size_bytes in (100_000, 200_000, 100_000)]
    assert waits == pytest.approx([1, 3, 4])


@pytest.mark.anyio
async def test_waits_are_waited_for_and_told() -> None:
    """What is returned is the time that went by, by the clock."""
    world = FakeTime(100.0)
    bandwidth = Bandwidth(world.clock, 100_000)
    assert await bandwidth.take(BURST_BYTES) == 0
    assert world.slept == []
    assert await bandwidth.take(50_000) == pytest.approx(0.5)
    assert world.slept == pytest.approx([0.5])


@pytest.mark.anyio
async def test_no_limit() -> None:
    """Without a limit nobody waits."""
    world = FakeTime()
    assert await Bandwidth(world.clock).take(10**12) == 0
    assert world.slept == []


@pytest.mark.anyio
async def test_transfers_share_it() -> None:
    """Transfers at the same time have the same part of it each."""
    bandwidth = Bandwidth(FakeTime().clock, 1_000_000)  # a clock that lets everybody pass in turn
    received = [0, 0, 0]

    async def transfer(number: int) -> None:
        for _ in range(20):
            await bandwidth.take(100_000)
            received[number] += 100_000
            await asyncio.sleep(0)
            assert max(received) - min(received) <= 200_000

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(transfer(number))

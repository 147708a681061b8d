"""When to ask again: what hosts say, how long to wait without a word, and pauses that a host's all share."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.clock import Clock
from floradl.network.retry import MAX_PAUSES, Backoff, HostPauses, is_retry_status, parse_retry_after
from tests.support.clock import FakeTime

NOW_S = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the moment of RFC 9110's examples


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("007", 7.0),
        ("9" * 50, 999999999.0),
        ("-5", None),
        ("+5", None),
        ("1.5", 1.5),
        ("0.25", 0.25),
        ("10.0", 10.0),
        ("1." + "3" * 50, 1.333333333),
        ("9" * 50 + ".5", 999999999.5),
        ("1.5.5", None),
        ("1.", None),
        (".5", None),
        ("1,5", None),
        ("-1.5", None),
        ("1.5e3", None),
        ("1.5 s", None),
        ("Infinity", None),
        ("\u0661.\u0662", None),
        ("5s", None),
        ("soon", None),
        ("", None),
        (" ", None),
        ("inf", None),
        ("nan", None),
        ("0x10", None),
        ("\u0661\u0662", None),
        ("\xb2", None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Sun, 06 Nov 1994 08:49:47 -0000", 10.0),
        ("Sun, 06 Nov 1994 09:49:47 +0100", 10.0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("1994-11-06T08:49:37Z", None),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("_far_from_greenwich")
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds and every form of an HTTP date are understood anywhere on earth; junk is as no header."""
    assert parse_retry_after(value, NOW_S) == seconds


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d( [+-]?\w{1,9})?")
)
def test_no_header_breaks_the_reader(value: str) -> None:
    """Whatever a host writes, it is a time to wait that is not negative, or nothing."""
    seconds = parse_retry_after(value, NOW_S)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("status", "is_retry"),
    [(200, False), (206, False), (304, False), (400, False), (401, False), (402, False), (403, False),
     (404, False), (408, True), (409, False), (410, False), (416, False), (422, False), (425, True),
     (429, True), (500, True), (501, True), (502, True), (503, True), (504, True), (599, True), (600, False)],
)  # fmt: skip
def test_statuses_to_retry(status: int, is_retry: bool) -> None:
    """Timeouts, push-back and the server's own faults may pass; every other refusal stands."""
    assert is_retry_status(status) is is_retry


@given(
    st.integers(1, 10_000),
    st.floats(0.01, 60),
    st.floats(0.01, 60),
    st.integers(),
    st.sampled_from([0.0, 1.0]),
)
def test_backoff_bounds(failures: int, base_s: float, cap_s: float, seed: int, edge: float) -> None:
    """A wait is never negative, and never longer than the doubled base or the cap."""

    class Edge(random.Random):
        def random(self) -> float:
            return edge

    ceiling = min(cap_s, base_s * 2 ** min(failures - 1, 30))
    assert 0 <= Backoff(base_s, cap_s, random.Random(seed)).delay_s(failures) <= ceiling
    assert Backoff(base_s, cap_s, Edge()).delay_s(failures) == pytest.approx(edge * ceiling)


def test_backoff_of_the_contract() -> None:
    """By default waits grow from a second to thirty, with full jitter."""

    class Longest(random.Random):
        def random(self) -> float:
            return 1.0

    backoff = Backoff(rng=Longest())
    assert [backoff.delay_s(n) for n in range(1, 8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    jitter = [Backoff().delay_s(6) for _ in range(50)]
    assert len(set(jitter)) > 40
    assert min(jitter) < 15 < max(jitter)


@pytest.mark.anyio
async def test_an_open_gate() -> None:
    """A host that asked for nothing is asked at once."""
    world = FakeTime(100.0)
    await HostPauses(world.clock).wait("h")
    assert world.slept == []


@pytest.mark.anyio
async def test_a_pause_is_shared_by_the_host_and_by_no_other() -> None:
    """All requests to a host that pushed back wait for the end of its pause; other hosts are free."""
    world = FakeTime(100.0)
    pauses = HostPauses(world.clock)
    pauses.pause("h", 30)
    await pauses.wait("other")
    assert world.slept == []
    world.now_s += 10
    await pauses.wait("h")
    assert world.slept == [20.0]
    await pauses.wait("h")
    assert world.slept == [20.0]


@pytest.mark.anyio
@pytest.mark.parametrize("asked_s", [(30, 5), (5, 30), (30, 0), (30, -7), (30, 30)], ids=repr)
async def test_a_pause_never_gets_shorter(asked_s: tuple[float, float]) -> None:
    """Of two pauses the later end holds, in whatever order they come."""
    world = FakeTime(100.0)
    pauses = HostPauses(world.clock)
    for seconds in asked_s:
        pauses.pause("h", seconds)
    await pauses.wait("h")
    assert world.now_s == 130.0


@pytest.mark.anyio
async def test_a_pause_that_grows_holds_those_who_wait_already() -> None:
    """Who wakes up and finds the pause prolonged goes on waiting."""
    world = FakeTime(100.0)
    clock = world.clock

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if world.now_s == 110.0:
            pauses.pause("h", 15)

    pauses = HostPauses(Clock(clock.now, clock.monotonic, sleep))
    pauses.pause("h", 10)
    await pauses.wait("h")
    assert world.now_s == 125.0


@pytest.mark.anyio
async def test_pauses_that_are_over_are_forgotten() -> None:
    """Hosts without number take no memory without bounds, and no pause is forgotten before its end."""
    world = FakeTime(100.0)
    pauses = HostPauses(world.clock)
    pauses.pause("early", 1e6)
    for number in range(10 * MAX_PAUSES):
        pauses.pause(str(number), 1.0)
        world.now_s += 1.0
    assert len(pauses._paused_until_s) <= MAX_PAUSES
    await pauses.wait("early")
    assert world.now_s == 100.0 + 1e6


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0.1, 1e-9, 1 / 3, 1e6 + 0.1], ids=repr)
async def test_waiting_ends_whatever_the_fraction(seconds: float) -> None:
    """Rounding neither keeps a request waiting for ever nor lets it go early."""
    world = FakeTime(12345.678901)
    pauses = HostPauses(world.clock)
    pauses.pause("h", seconds)
    await pauses.wait("h")
    assert world.now_s >= 12345.678901 + seconds
    assert len(world.slept) <= 3

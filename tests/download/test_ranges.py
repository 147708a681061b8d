"""Which parts of a file are fetched by whom, and by how many; pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.download.ranges import (
    MAX_CONNECTIONS,
    MAX_PART_BYTES,
    MIN_PART_BYTES,
    STEP_S,
    WATCH_S,
    Part,
    Ramp,
    RangePlan,
)

TOTAL = 100 * MIN_PART_BYTES
SECOND = WATCH_S + 0.01
STEP = STEP_S + 0.01


def test_without_sharing_the_main_stream_has_all() -> None:
    """Nothing is to be claimed until the main stream shares."""
    plan = RangePlan(TOTAL)
    assert plan.main_end == TOTAL
    assert not plan.has_holes
    assert plan.claim(1) is None


def test_the_main_stream_keeps_what_is_next() -> None:
    """The first part begins one part's length ahead of it."""
    plan = RangePlan(TOTAL)
    plan.limit_main(5)
    assert plan.main_end == 5 + MAX_PART_BYTES
    part = plan.claim(2)
    assert part is not None
    assert (part.start, part.end) == (plan.main_end, plan.main_end + MAX_PART_BYTES)


def test_what_was_cut_is_claimed_next() -> None:
    """The rest of a part that broke off comes before what lies further on."""
    plan = RangePlan(TOTAL)
    plan.limit_main(0)
    first, second = plan.claim(8), plan.claim(8)
    assert first is not None
    assert second is not None
    end, first.size_bytes = first.end, 10
    plan.release(first)
    again = plan.claim(8)
    assert again == Part(first.start + 10, end)
    assert plan.is_next_part_stored(first.start)
    plan.absorb(first.end)
    assert not plan.is_next_part_stored(first.end), "somebody is at it"


def test_withdrawing_without_parts() -> None:
    """When nobody helps, the main stream has everything again; with parts, what lies before them."""
    plan = RangePlan(TOTAL)
    plan.limit_main(0)
    part = plan.claim(8)
    assert part is not None
    plan.widen_main()
    assert plan.main_end == part.start
    plan.release(part)
    plan.widen_main()
    assert plan.main_end == TOTAL


def test_dropped_parts_are_nobodys() -> None:
    """After dropping, whoever still has a part cannot bring it back."""
    plan = RangePlan(TOTAL)
    plan.limit_main(0)
    part = plan.claim(8)
    assert part is not None
    plan.drop()
    plan.release(part)
    assert (plan.main_end, plan.has_holes) == (TOTAL, False)


@given(
    there=st.lists(st.integers(1, TOTAL - 1), unique=True, max_size=8).map(sorted),
    steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, MAX_PART_BYTES)), max_size=300),
    front=st.integers(0, TOTAL),
)
def test_each_byte_once(there: list[int], steps: list[tuple[int, int]], front: int) -> None:
    """Whatever is cut and in whatever order: no two have the same byte, and in the end all are there."""
    stretches = [(a, b - a) for a, b in zip(there[::2], there[1::2], strict=False)]
    plan = RangePlan(TOTAL, stretches)
    if not stretches:
        plan.limit_main(front)
    covered = [(a, a + size) for a, size in stretches]
    held: list[Part] = []
    for which, size in [*steps, *[(0, MAX_PART_BYTES * 2)] * 200]:
        if len(held) <= which and (part := plan.claim(8)) is not None:
            held.append(part)
        if held:
            part = held.pop(which % len(held))
            part.size_bytes = min(size, part.end - part.start)
            plan.release(part)
            covered.append((part.start, part.end))
    at = plan.main_end
    for start, end in sorted(one for one in covered if one[0] < one[1]):
        assert start == at, "a gap, or a byte twice"
        at = end
    assert at == TOTAL
    while plan.is_next_part_stored(plan.main_end):
        first = min((a, b) for a, b in covered if a == plan.main_end and b > a)
        plan.absorb(first[1])
    assert plan.main_end == TOTAL


def test_a_second_is_watched_first() -> None:
    """However slow it is."""
    ramp = Ramp(0.0)
    assert ramp.observe(WATCH_S - 0.01, 1, TOTAL) == 1
    assert ramp.observe(SECOND, 1, TOTAL) == 2


def test_twice_as_many_while_that_helps() -> None:
    """Each step doubles, up to the most."""
    ramp, now_s, received = Ramp(0.0), SECOND, 1000
    counts = [ramp.observe(now_s, received, TOTAL)]
    for _ in range(5):
        now_s += STEP
        received += 1000 * ramp.connections
        counts.append(ramp.observe(now_s, received, TOTAL))
    assert counts == [2, 4, *[MAX_CONNECTIONS] * 4]


@pytest.mark.parametrize("looks", [1, 2])
def test_no_gain_twice_ends_it(looks: int) -> None:
    """Once may be chance; twice, and half of them end for good."""
    ramp = Ramp(0.0)
    assert ramp.observe(SECOND, 1000, TOTAL) == 2
    for number in range(looks):
        ramp.observe(SECOND + STEP * (number + 1), 1000 + 500 * (number + 1), TOTAL)
    assert ramp.connections == 3 - looks
    assert ramp.observe(100.0, 10**9, 10**12) == (4 if looks == 1 else 1)


def test_what_is_done_soon_needs_no_help() -> None:
    """Two seconds' worth is left alone."""
    ramp = Ramp(0.0)
    assert ramp.observe(1.0, 1000, 2000) == 1
    assert ramp.observe(2.0, 2000, 2001) == 2


def test_settled_is_settled() -> None:
    """No more than that from now on, and one at least."""
    ramp = Ramp(0.0)
    ramp.cap_at(0)
    assert ramp.observe(100.0, 1, TOTAL) == 1

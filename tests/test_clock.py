"""Moments as the manifest writes them."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.clock import MAX_MS, Clock, format_ms, parse_ms


@pytest.mark.parametrize(
    ("moment_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (999, "1970-01-01T00:00:00Z"),
        (1_795_487_412_000, "2026-11-24T02:30:12Z"),
        (1_795_487_412_999, "2026-11-24T02:30:12Z"),
        (MAX_MS, "9999-12-31T23:59:59Z"),
    ],
)
@pytest.mark.usefixtures("_far_from_greenwich")
def test_how_a_moment_is_written(moment_ms: int, text: str) -> None:
    """A moment is UTC to the second, and a fraction never makes it later."""
    assert format_ms(moment_ms) == text


@given(st.integers(0, MAX_MS))
def test_a_moment_comes_back(moment_ms: int) -> None:
    """What was written is read as the same second."""
    assert parse_ms(format_ms(moment_ms)) == moment_ms - moment_ms % 1000


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2026-11-24T02:30:12", 1_795_487_412_000),
        ("2026-11-24T03:30:12+01:00", 1_795_487_412_000),
        ("", None),
        ("yesterday", None),
        ("2026-13-01T00:00:00Z", None),
        ("10000-01-01T00:00:00Z", None),
        ("\ud800", None),
    ],
    ids=ascii,
)
@pytest.mark.usefixtures("_far_from_greenwich")
def test_moments_of_others(text: str, moment_ms: int | None) -> None:
    """A moment without a zone is UTC; what is no moment is nothing, not an error."""
    assert parse_ms(text) == moment_ms


def test_the_time_of_day() -> None:
    """`now_ms` is the clock's time in milliseconds."""
    assert Clock(now=lambda: 12.3456).now_ms() == 12345


def test_a_clock_is_the_machines_by_default() -> None:
    """Without a word, time is the system's and waiting is asyncio's."""
    assert (Clock().now, Clock().monotonic, Clock().sleep) == (time.time, time.monotonic, asyncio.sleep)

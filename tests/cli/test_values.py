"""Readers of options: which text they take, and what they say of other text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.cli.options import EVERY_OPTION, Option
from floradl.cli.values import parse_choice, parse_count, parse_duration_s, parse_id, parse_moment_ms
from floradl.clock import MAX_MS
from floradl.errors import UsageError

NOW_MS = 1_795_487_412_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("1.5", 1.5), ("45s", 45), ("30m", 1800), ("12h", 43200), ("7d", 604800),
     ("2w", 1209600), ("0.5h", 1800), ("26 h", 93600), ("1000000000", 1e9)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number of seconds, or of the unit that follows it."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "-5", "-5s", "+5", "1y", "1 d 2 h", "1e3", "1,5", ".5", "5.", "inf", "nan", "\u0665s",
     "5\xb5", "1000000001", "9" * 400, "9" * 400 + "w", "5s\n"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused with an example of what fits."""
    with pytest.raises(ValueError, match="45s, 30m, 12h or 7d"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("7d", NOW_MS - 604_800_000),
        ("36h", NOW_MS - 129_600_000),
        ("2026-11-24T02:30:12Z", NOW_MS),
        ("2026-11-24T03:30:12+01:00", NOW_MS),
        ("2026-11-24 02:30:12.5+00:00", NOW_MS + 500),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", MAX_MS - 999),
    ],
)
def test_moments(text: str, moment_ms: int) -> None:
    """A moment is a time, or how long it is ago."""
    assert parse_moment_ms(text, NOW_MS) == moment_ms


@pytest.mark.usefixtures("_far_from_greenwich")
@pytest.mark.parametrize(
    ("text", "in_utc"),
    [
        ("2026-11-23", "2026-11-22T18:15Z"),
        ("2026-11-23T02:30", "2026-11-22T20:45Z"),
        ("2026-11-23T02:30Z",) * 2,
    ],
)
def test_moments_are_local_unless_they_say_otherwise(text: str, in_utc: str) -> None:
    """A date without a zone is the user's own midnight."""
    assert parse_moment_ms(text, NOW_MS) == datetime.fromisoformat(in_utc).timestamp() * 1000


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026", "11/23/2026", "2026-13-01", "1969-12-30", "0001-01-01",
     "9999-12-31T23:59:59-23:00", "-7d", "7y", "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    """Anything else is refused with what is needed."""
    with pytest.raises(ValueError, match="is needed"):
        parse_moment_ms(text, NOW_MS)


@given(st.text())
def test_no_text_breaks_a_reader(text: str) -> None:
    """Whatever a user writes, each reader takes it or says what is needed."""
    readers: list[Callable[[str], Any]] = [
        parse_duration_s,
        lambda said: parse_moment_ms(said, NOW_MS),
        parse_count(1, 100),
        parse_id("ws_"),
        parse_choice("a", "b"),
    ]
    for read in readers:
        try:
            read(text)
        except ValueError as exc:
            told = str(exc)
            assert told.isprintable()


@pytest.mark.parametrize("option", [option for option in EVERY_OPTION if option.key == "max_runs"])
def test_bounds_are_what_the_message_says(option: Option) -> None:
    """The largest number that is named as allowed is allowed."""
    assert option.read("1000000000", "x") == 1_000_000_000
    with pytest.raises(UsageError, match="from 1 to 1000000000"):
        option.read("1000000001", "x")


@pytest.mark.parametrize(
    ("text", "fits"), [("ws_1", True), ("ws_a/b", True), ("ws_", False), ("ws_a b", False), ("WS_1", False)]
)
def test_ids(text: str, fits: bool) -> None:
    """An id has its kind's prefix and no spaces."""
    if fits:
        assert parse_id("ws_")(text) == text
    else:
        with pytest.raises(ValueError, match="ws_abc123"):
            parse_id("ws_")(text)

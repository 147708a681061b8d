"""Validators: which ETags and dates prove that a host still has the same file."""

from __future__ import annotations

import pytest

from floradl.download.validators import may_be_of, strong_validator

NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
A_SECOND_LATER = "Mon, 23 Nov 2026 12:00:01 GMT"
A_MINUTE_LATER = "Mon, 23 Nov 2026 12:01:00 GMT"


def head(etag: str | None = None, modified: str | None = None, date: str | None = None) -> dict[str, str]:
    """The headers of a response, without those that are None."""
    given = {"etag": etag, "last-modified": modified, "date": date}
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        (head(), ""),
        (head('"v1"'), '"v1"'),
        (head('W/"v1"'), ""),
        (head("v1"), ""),
        (head('"v1"', NOON, A_MINUTE_LATER), '"v1"'),
        (head(None, NOON, A_MINUTE_LATER), NOON),
        (head('W/"v1"', NOON, A_MINUTE_LATER), NOON),
        (head(None, NOON, A_SECOND_LATER), ""),
        (head(None, NOON, NOON), ""),
        (head(None, A_MINUTE_LATER, NOON), ""),
        (head(None, NOON), ""),
        (head(None, NOON, "now"), ""),
        (head(None, "0", A_MINUTE_LATER), ""),
        (head(None, f"{NOON}\r\nRange: bytes=0-", A_MINUTE_LATER), ""),
        (head(None, "Sunday, 06-Nov-94 08:49:37 GMT", A_MINUTE_LATER), ""),
        (head(None, "Mon, 31 Feb 2026 12:00:00 GMT", A_MINUTE_LATER), ""),
    ],
)
def test_what_is_strong(headers: dict[str, str], validator: str) -> None:
    """A strong ETag is; a date is if the answer was sent a minute later; nothing else is."""
    assert strong_validator(headers) == validator


@pytest.mark.parametrize(
    ("headers", "validator", "is_same"),
    [
        (head(), '"v1"', True),
        (head('"v1"'), '"v1"', True),
        (head('"v2"'), '"v1"', False),
        (head('W/"v2"'), '"v1"', True),
        (head(None, NOON), '"v1"', True),
        (head(), NOON, True),
        (head(None, NOON), NOON, True),
        (head('"v1"', NOON), NOON, True),
        (head(None, A_SECOND_LATER), NOON, False),
        (head('"v1"', A_SECOND_LATER), NOON, False),
    ],
)
def test_what_may_be_of_the_same_file(headers: dict[str, str], validator: str, is_same: bool) -> None:
    """What says that it is another file is not of this one, whatever its range is."""
    assert may_be_of(headers, validator) is is_same

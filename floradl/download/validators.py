"""Validators: by which a later request makes sure that a host still has the same file, byte for byte. Pure.

A strong ETag is one. So is the date of `Last-Modified`, if the answer was sent a minute or more after it: a
file that is changed twice within a second, before and after it was read, would have one date for both.
RFC 9110 asks for one second between the two dates where one clock gave both, and for more where that is not
known. The date of a file mostly comes from a store, and that of the answer from a cache in front of it. A
file that is younger is begun anew when its transfer breaks off, and has a validator a minute later.

Weak ETags (`W/"…"`) are no proof that two bodies are equal byte by byte.

Source: RFC 9110, sections 8.8.2.2 and 8.8.3 (strong validators), 13.1.5 (If-Range); RFC 7232, section 2.2.2
(one minute).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MIN_AGE_S = 60
"""How many seconds before the answer a file must have been changed last, for its date to be relied on."""

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


def strong_validator(headers: Mapping[str, str]) -> str:
    """The strong validator of a response, as `If-Range` takes it: an ETag with its quotes, or a date.

    Args:
        headers: the headers, by their names in lower case.

    Returns:
        "" if it has none.
    """
    etag = headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    modified = headers.get("last-modified", "")
    modified_s, sent_s = _seconds(modified), _seconds(headers.get("date", ""))
    is_strong = modified_s is not None and sent_s is not None and sent_s - modified_s >= MIN_AGE_S
    return modified if is_strong else ""


def may_be_of(headers: Mapping[str, str], validator: str) -> bool:
    """Whether a response, by what it says, may be of the file with this validator.

    A response that says nothing of the kind may be: the host was asked for this file alone (`If-Range`).

    Args:
        headers: the headers, by their names in lower case.
        validator: from `strong_validator`.
    """
    if validator.startswith('"'):
        etag = headers.get("etag", "")
        return etag == validator or not _STRONG_ETAG.fullmatch(etag)
    return headers.get("last-modified", validator) == validator


def _seconds(date: str) -> float | None:
    """A date of HTTP, in the form that all senders have to use, in seconds since 1970."""
    if not _DATE.fullmatch(date):
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:  # a day that is none
        return None

"""What a media host's answer means: status, headers and what is there; go on, start over or give up."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.download.checksums import Checksum
from floradl.download.response import (
    ExpectedBody,
    ResumePoint,
    fits_announced,
    parse_response,
    require_announced_size,
    says_expired,
)
from floradl.errors import TransferError

NOW_S = 784111777.0
NOTHING = ResumePoint()
FIVE = ResumePoint(5, '"v1"')
FIVE_OF_TEN = ResumePoint(5, '"v1"', 10)


def starts(validator: str = "", total_bytes: int | None = None) -> ExpectedBody:
    """The body is the whole."""
    return ExpectedBody(False, validator, total_bytes)


def goes_on(total_bytes: int) -> ExpectedBody:
    """The body is the rest."""
    return ExpectedBody(True, '"v1"', total_bytes)


def head(**headers: str) -> dict[str, str]:
    """Headers, with `_` for `-`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def verdict(status: int, headers: dict[str, str], have: ResumePoint) -> ExpectedBody | tuple[str, ...]:
    """The answer, or the error's code with the names of what it asks for."""
    try:
        return parse_response(status, headers, have, now_s=NOW_S)
    except TransferError as exc:
        flags = ("is_retryable", "wants_fresh_url", "voids_partial")
        return (exc.code, *(flag for flag in flags if getattr(exc, flag)))


RETRY, FRESH, VOID = "is_retryable", "wants_fresh_url", "voids_partial"
BAD_RANGE = ("bad_range", RETRY, VOID)
ETAG = head(etag='"v1"')
MD5_OF_NOTHING = Checksum("md5", hashlib.md5(usedforsecurity=False).digest())
TABLE: list[tuple[str, int, dict[str, str], ResumePoint, ExpectedBody | tuple[str, ...]]] = [
    ("bare 200", 200, {}, NOTHING, starts()),
    ("200 with all it takes", 200, ETAG | head(content_length="10"), NOTHING, starts('"v1"', 10)),
    ("200 to a resume: it changed", 200, head(etag='"v2"', content_length="9"), FIVE, starts('"v2"', 9)),
    ("200 to a resume: no ranges here", 200, ETAG, FIVE_OF_TEN, starts('"v1"')),
    ("empty body announced", 200, head(content_length="0"), NOTHING, starts("", 0)),
    ("weak ETag", 200, head(etag='W/"v1"'), NOTHING, starts()),
    ("unquoted ETag", 200, head(etag="v1"), NOTHING, starts()),
    ("ETag with a quote inside", 200, head(etag='"v"1"'), NOTHING, starts()),
    ("ETag with a line feed", 200, head(etag='"v\n1"'), NOTHING, starts()),
    ("ETag without end", 200, head(etag=f'"{"v" * 500}"'), NOTHING, starts()),
    ("empty ETag", 200, head(etag='""'), NOTHING, starts()),
    ("Last-Modified is no strong validator", 200, head(last_modified="Sun, 06 Nov 1994"), NOTHING, starts()),
    ("resume refused in advance", 200, ETAG | head(accept_ranges="none"), NOTHING, starts()),
    ("resume refused, in capitals", 200, ETAG | head(accept_ranges="None"), NOTHING, starts()),
    ("ranges offered", 200, ETAG | head(accept_ranges="bytes"), NOTHING, starts('"v1"')),
    ("length that is no number", 200, head(content_length="ten"), NOTHING, starts()),
    ("negative length", 200, head(content_length="-1"), NOTHING, starts()),
    ("two lengths", 200, head(content_length="10, 10"), NOTHING, starts()),
    ("length in other digits", 200, head(content_length="\u0661\u0662"), NOTHING, starts()),
    ("length beyond any disk", 200, head(content_length="9" * 40), NOTHING, starts()),
    ("identity is no compression", 200, head(content_encoding="Identity"), NOTHING, starts()),
    ("a charset is no compression", 200, head(content_encoding="UTF-8"), NOTHING, starts()),
    (
        "compressed: neither ranges nor lengths are of the file",
        200,
        ETAG | head(content_encoding="gzip", content_length="10"),
        NOTHING,
        ExpectedBody(False, "", None, ("gzip",), 10),
    ),
    ("compressed, nobody knows how", 200, head(content_encoding="lzma"), NOTHING, ("encoded",)),
    (
        "the rest compressed",
        206,
        head(content_encoding="gzip", content_range="bytes 5-9/10"),
        FIVE,
        BAD_RANGE,
    ),
    (
        "with a checksum",
        200,
        head(content_length="10", content_md5="1B2M2Y8AsgTpgAmY7PhCfg=="),
        NOTHING,
        ExpectedBody(False, "", 10, checksum=MD5_OF_NOTHING),
    ),
    (
        "the rest with a checksum of the whole",
        206,
        head(content_range="bytes 5-9/10", repr_digest="md5=:1B2M2Y8AsgTpgAmY7PhCfg==:"),
        FIVE,
        ExpectedBody(True, '"v1"', 10, checksum=MD5_OF_NOTHING),
    ),
    ("the rest", 206, head(content_range="bytes 5-9/10"), FIVE, goes_on(10)),
    ("the rest, same validator", 206, ETAG | head(content_range="bytes 5-9/10"), FIVE_OF_TEN, goes_on(10)),
    ("the rest, size known before", 206, head(content_range="bytes 5-9/*"), FIVE_OF_TEN, goes_on(10)),
    ("of unknown size: is it the end?", 206, head(content_range="bytes 5-9/*"), FIVE, BAD_RANGE),
    ("another validator", 206, head(etag='"v2"', content_range="bytes 5-9/10"), FIVE, BAD_RANGE),
    ("a weak one counts as none", 206, head(etag='W/"v2"', content_range="bytes 5-9/10"), FIVE, goes_on(10)),
    ("another size", 206, head(content_range="bytes 5-10/11"), FIVE_OF_TEN, BAD_RANGE),
    ("not to the end", 206, head(content_range="bytes 5-8/10"), FIVE, BAD_RANGE),
    ("not to the end, size known before", 206, head(content_range="bytes 5-8/*"), FIVE_OF_TEN, BAD_RANGE),
    ("beyond the end", 206, head(content_range="bytes 5-10/10"), FIVE, BAD_RANGE),
    ("starts too early", 206, head(content_range="bytes 4-9/10"), FIVE, BAD_RANGE),
    ("starts too late", 206, head(content_range="bytes 6-9/10"), FIVE, BAD_RANGE),
    ("the whole as a range", 206, head(content_range="bytes 0-9/10"), FIVE, BAD_RANGE),
    ("nothing was asked for", 206, head(content_range="bytes 0-9/10"), NOTHING, BAD_RANGE),
    ("no Content-Range", 206, {}, FIVE, BAD_RANGE),
    ("several ranges", 206, head(content_type="multipart/byteranges; boundary=x"), FIVE, BAD_RANGE),
    ("another unit", 206, head(content_range="items 5-9/10"), FIVE, BAD_RANGE),
    ("spaces inside", 206, head(content_range="bytes 5 - 9 / 10"), FIVE, BAD_RANGE),
    ("range that is no number", 206, head(content_range="bytes x-y/z"), FIVE, BAD_RANGE),
    ("range in other digits", 206, head(content_range="bytes \u0665-9/10"), FIVE, BAD_RANGE),
    ("416 to a resume", 416, head(content_range="bytes */3"), FIVE, ("range_refused", RETRY, VOID)),
    ("416 to nothing", 416, {}, NOTHING, ("http_416",)),
    ("no content", 204, {}, NOTHING, ("http_204",)),
    ("not modified", 304, {}, NOTHING, ("http_304",)),
    ("redirect to nowhere", 302, {}, NOTHING, ("http_302",)),
    ("bad request", 400, {}, NOTHING, ("http_400",)),
    ("signed URL expired", 401, {}, NOTHING, ("http_401", FRESH)),
    ("forbidden", 403, {}, FIVE, ("http_403", FRESH)),
    ("not found", 404, {}, NOTHING, ("http_404", FRESH)),
    ("gone", 410, {}, NOTHING, ("http_410", FRESH)),
    ("request timeout", 408, {}, NOTHING, ("http_408", RETRY)),
    ("too early", 425, {}, NOTHING, ("http_425", RETRY)),
    ("too many requests keep the partial", 429, {}, FIVE, ("http_429", RETRY)),
    ("server error", 500, {}, NOTHING, ("http_500", RETRY)),
    ("unavailable keeps the partial", 503, {}, FIVE, ("http_503", RETRY)),
    ("a compressed error is still that error", 404, head(content_encoding="gzip"), FIVE, ("http_404", FRESH)),
]


@pytest.mark.parametrize(
    ("status", "headers", "have", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_answers(
    status: int, headers: dict[str, str], have: ResumePoint, expected: ExpectedBody | tuple[str, ...]
) -> None:
    """Each answer brings the whole, the rest, or an error that says how to go on."""
    assert verdict(status, headers, have) == expected


@pytest.mark.parametrize("status", [429, 500, 503, 404])
@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0), ("junk", None), (None, None)]
)
def test_retry_after_comes_along(status: int, value: str | None, seconds: float | None) -> None:
    """An error knows how long the host asked to wait."""
    headers = {} if value is None else {"retry-after": value}
    with pytest.raises(TransferError, match=str(status)) as caught:
        parse_response(status, headers, NOTHING, now_s=NOW_S)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("have", "headers"),
    [
        (NOTHING, {}),
        (ResumePoint(0, '"v1"', 10), {}),
        (FIVE_OF_TEN, {"Range": "bytes=5-", "If-Range": '"v1"'}),
    ],
    ids=["nothing", "nothing but a validator", "a part"],
)
def test_what_is_asked_for(have: ResumePoint, headers: dict[str, str]) -> None:
    """With a part at hand the rest is asked for, on condition that it is of the same bytes."""
    assert have.request_headers() == headers


@given(
    st.sampled_from([200, 206, 416, 404, 503]),
    st.dictionaries(
        st.sampled_from(["etag", "content-range", "content-length", "content-encoding", "retry-after"]),
        st.text(max_size=30) | st.from_regex(r"\Abytes [4-6]-(9|10)/(10|11|\*)\Z") | st.just('"v1"'),
    ),
    st.sampled_from([NOTHING, FIVE, FIVE_OF_TEN]),
)
def test_only_the_right_rest_is_appended(status: int, headers: dict[str, str], have: ResumePoint) -> None:
    """Whatever a host says, bytes are appended only where it names just the range that was asked for."""
    answer = verdict(status, headers, have)
    if isinstance(answer, tuple) or not answer.is_rest:
        return
    match = re.fullmatch(r"bytes 5-(\d+)/(\d+|\*)", headers["content-range"])
    assert match is not None
    assert status == 206
    assert have.size_bytes == 5
    assert answer.total_bytes == int(match[1]) + 1
    assert match[2] in (str(answer.total_bytes), "*")
    assert have.total_bytes in (None, answer.total_bytes)
    assert match[2] != "*" or have.total_bytes is not None


@pytest.mark.parametrize(
    ("size_bytes", "announced_bytes", "is_whole", "expected"),
    [
        (7, 7, True, True),
        (6, 7, True, False),
        (8, 7, True, False),
        (6, 7, False, True),
        (7, 7, False, True),
        (8, 7, False, False),
        (None, 7, True, True),
        (7, None, True, True),
    ],
)
def test_announced_sizes(
    size_bytes: int | None, announced_bytes: int | None, is_whole: bool, expected: bool
) -> None:
    """A size counts where both are known; what is not whole yet may be shorter, and never longer."""
    assert fits_announced(size_bytes, announced_bytes, is_whole=is_whole) == expected
    if expected:
        require_announced_size(size_bytes, announced_bytes, is_whole=is_whole)
    else:
        with pytest.raises(TransferError, match=f"the host has {size_bytes} bytes.*announced 7"):
            require_announced_size(size_bytes, announced_bytes, is_whole=is_whole)


def test_an_answer_of_another_size_than_announced() -> None:
    """It is refused by its head, whether it is the whole or the rest, before any of its bytes is taken."""
    for status, headers, have in [
        (200, head(content_length="10"), NOTHING),
        (206, head(content_range="bytes 5-9/10"), FIVE),
    ]:
        assert parse_response(status, headers, have, now_s=NOW_S, announced_bytes=10).total_bytes == 10
        with pytest.raises(TransferError) as caught:
            parse_response(status, headers, have, now_s=NOW_S, announced_bytes=11)
        error = caught.value
        assert (error.code, error.is_retryable, error.wants_fresh_url, error.voids_partial) == (
            "wrong_size",
            True,
            True,
            True,
        )


@pytest.mark.parametrize(
    ("body", "is_expired"),
    [
        (b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The token has expired", True),
        (b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", True),
        (b"<Error>\n <Code> AccessDenied </Code>", True),
        (b"request has expired", True),
        (b"<Error><Code>InvalidArgument</Code></Error>", False),
        (b"", False),
    ],
)
def test_bodies_that_tell_of_an_expired_url(body: bytes, is_expired: bool) -> None:
    """Stores say with the status 400, too, that a URL has expired."""
    assert says_expired(body) is is_expired

"""What a media host's answer means for the bytes that are already there. Decides; touches nothing.

Source: RFC 9110, sections 8.8.3 (strong validators), 13.1.5 (If-Range), 14.4 (Content-Range), 15.3.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from floradl.errors import TransferError
from floradl.network.retry import is_retry_status, parse_retry_after

_DEAD_STATUSES = frozenset({401, 403, 404, 410})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
WRONG_SIZE = "wrong_size"
"""The code of the error that a file has another size than the API announced."""

_OK, _PARTIAL, _NOT_SATISFIABLE = 200, 206, 416


@dataclass(frozen=True, slots=True)
class Have:
    """What a partial holds: bytes from the start, of the representation with this strong validator."""

    size_bytes: int = 0
    validator: str = ""
    total_bytes: int | None = None

    def request_headers(self) -> dict[str, str]:
        """What to ask for: the rest, if the representation is still the same."""
        if not self.size_bytes:
            return {}
        return {"Range": f"bytes={self.size_bytes}-", "If-Range": self.validator}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes from `start` to before `end` of the representation with this strong validator."""

    start: int
    end: int
    validator: str
    total_bytes: int

    def request_headers(self) -> dict[str, str]:
        """What to ask for: these bytes, if the representation is still the same."""
        return {"Range": f"bytes={self.start}-{self.end - 1}", "If-Range": self.validator}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the body that follows is: the rest (`is_rest`) or the whole.

    `total_bytes` is the size of the whole, None when the host does not say; `validator` is "" where a
    later resume would not be safe.
    """

    is_rest: bool
    validator: str
    total_bytes: int | None


def fits(size_bytes: int | None, announced_bytes: int | None, *, is_whole: bool = True) -> bool:
    """Whether a file of this size can be the one that the API announced.

    Args:
        size_bytes, announced_bytes: None where nobody says.
        is_whole: False: more of it may come.
    """
    if size_bytes is None or announced_bytes is None:
        return True
    return size_bytes == announced_bytes or (size_bytes < announced_bytes and not is_whole)


def require_fit(size_bytes: int | None, announced_bytes: int | None, *, is_whole: bool = True) -> None:
    """Raise `TransferError` unless it `fits`: the bytes are worth nothing, whatever else is right of them."""
    if not fits(size_bytes, announced_bytes, is_whole=is_whole):
        found = f"{size_bytes} bytes" if is_whole else f"{size_bytes} bytes or more"
        raise TransferError(
            WRONG_SIZE,
            f"the host has {found}, the API announced {announced_bytes}",
            is_retryable=True,
            wants_fresh_url=True,
            voids_partial=True,
        )


def read_answer(
    status: int, headers: Mapping[str, str], have: Have, *, now_s: float, announced_bytes: int | None = None
) -> Answer:
    """Accept or refuse the head of an answer.

    Args:
        status: its HTTP status, after redirects.
        headers: its headers, looked up in lower case.
        have: what is there already; its `request_headers` were sent.
        now_s: the time of day, for `Retry-After`.
        announced_bytes: what the API says of the file's size, if it does.

    Raises:
        TransferError: the answer brings nothing; the error says how to go on.
    """
    answer = _read_answer(status, headers, have, now_s)
    require_fit(answer.total_bytes, announced_bytes)
    return answer


def _read_answer(status: int, headers: Mapping[str, str], have: Have, now_s: float) -> Answer:
    if status == _NOT_SATISFIABLE and have.size_bytes:
        raise TransferError(
            "range_refused", "the host refused to resume", is_retryable=True, voids_partial=True
        )
    validator = _read_head(status, headers, now_s)
    if status == _PARTIAL:
        return _read_range(headers.get("content-range", ""), validator, have)
    length = headers.get("content-length", "")
    is_resumable = headers.get("accept-ranges", "").lower() != "none"
    total_bytes = int(length) if _LENGTH.fullmatch(length) else None
    return Answer(False, validator if is_resumable else "", total_bytes)


def require_stretch(status: int, headers: Mapping[str, str], asked: Stretch, *, now_s: float) -> None:
    """Accept the head of an answer that brings just the bytes that were asked for, or refuse it.

    Raises:
        TransferError: as `read_answer`; none of them voids what is there, and `bad_range` is one that came
            with other bytes, or all of them.
    """
    validator = _read_head(status, headers, now_s)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    expected = (str(asked.start), str(asked.end - 1), str(asked.total_bytes))
    is_expected = status == _PARTIAL and match is not None and match.groups() == expected
    if not is_expected or validator not in ("", asked.validator):
        raise TransferError("bad_range", "the host sent another range than was asked", is_retryable=True)


def _read_head(status: int, headers: Mapping[str, str], now_s: float) -> str:
    """The strong validator, or "", of an answer that brings bytes as they are."""
    if status not in (_OK, _PARTIAL):
        raise TransferError(
            f"http_{status}",
            f"the host answered {status}",
            is_retryable=is_retry_status(status),
            wants_fresh_url=status in _DEAD_STATUSES,
            retry_after_s=parse_retry_after(headers.get("retry-after"), now_s),
        )
    if headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise TransferError("encoded", "the host compressed the body although it was asked not to")
    etag = headers.get("etag", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else ""


def _read_range(content_range: str, validator: str, have: Have) -> Answer:
    """A 206 must be the rest: of the same representation, from where it was asked, to its end."""
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match and have.size_bytes and validator in ("", have.validator):
        start, end = int(match[1]), int(match[2])
        # Where neither this answer nor the first names the size, nothing tells that the range is the rest.
        total_bytes = have.total_bytes if match[3] == "*" else int(match[3])
        same_total = have.total_bytes in (None, total_bytes)
        if start == have.size_bytes and end + 1 == total_bytes and same_total:
            return Answer(True, have.validator, total_bytes)
    raise TransferError(
        "bad_range", "the host sent another range than was asked", is_retryable=True, voids_partial=True
    )

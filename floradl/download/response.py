"""Decide from status and headers of a response whether its body can be used, and for what.

The body of a response is either the whole file or the rest that continues a partial. Bytes are appended to a
partial only if the host named exactly the range that was asked for, of the same representation (see
`validators`). Anything else starts over or raises. Nothing here touches a disk, a clock or the network.

Source: RFC 9110, sections 13.1.5 (If-Range), 14.4 (Content-Range), 15.3.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from floradl.download.checksums import Checksum, stated_checksum
from floradl.download.codings import is_coded, parse_codings
from floradl.download.validators import may_be_of, strong_validator
from floradl.errors import TransferError, WrongSizeError
from floradl.network.retry import is_retry_status, parse_retry_after

_DEAD_STATUSES = frozenset({401, 403, 404, 410})
"""Statuses after which only a fresh URL from the API can help: signed URLs of media expire."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}")

BAD_REQUEST = 400
"""The status by which some hosts say that a URL has expired; the body tells, see `says_expired`."""

EMPTY = "empty"
"""The error code for a body without bytes."""

_OK, _PARTIAL, _NOT_SATISFIABLE = 200, 206, 416
_EXPIRED = re.compile(rb"<Code>\s*(ExpiredToken|AccessDenied)\s*</Code>|Request has expired", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """What a partial holds, and so where a request has to continue.

    Args:
        size_bytes: how many bytes from the start of the file are there.
        validator: the strong validator of the representation that they belong to; "" if the host sent none.
        total_bytes: the size of the whole file; None if the host did not say.
    """

    size_bytes: int = 0
    validator: str = ""
    total_bytes: int | None = None

    def request_headers(self) -> dict[str, str]:
        """The headers that ask for the rest, or for the whole if the host has another representation now."""
        if not self.size_bytes:
            return {}
        return {"Range": f"bytes={self.size_bytes}-", "If-Range": self.validator}


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of a file that one connection asks for: from `start` up to, not including, `end`.

    `validator` is the strong validator, and `total_bytes` the size, of the file that it must belong to.
    """

    start: int
    end: int
    validator: str
    total_bytes: int

    def request_headers(self) -> dict[str, str]:
        """The headers that ask for the range, or for the whole if the host has another representation now."""
        return {"Range": f"bytes={self.start}-{self.end - 1}", "If-Range": self.validator}


@dataclass(frozen=True, slots=True)
class ExpectedBody:
    """What the body of an accepted response is.

    Args:
        is_rest: True if it continues the partial, False if it is the whole file from its first byte.
        validator: the strong validator to resume with; "" if a later resume would not be safe.
        total_bytes: the size of the whole file; None if the host does not say.
        codings: how the body is compressed, see `codings`; empty if it is not.
        coded_bytes: the size of a compressed body; None if the host does not say.
        checksum: what the host states of the whole file, or of the compressed body; None if nothing.
    """

    is_rest: bool
    validator: str
    total_bytes: int | None
    codings: tuple[str, ...] = ()
    coded_bytes: int | None = None
    checksum: Checksum | None = None


def fits_announced(size_bytes: int | None, announced_bytes: int | None, *, is_whole: bool = True) -> bool:
    """Whether a file of this size can be the one that the API announced.

    Args:
        size_bytes: the size of the file, or of its beginning; None if unknown.
        announced_bytes: the size that the API announced; None if it announced none.
        is_whole: False if `size_bytes` is that of the beginning, so that more may come.
    """
    if size_bytes is None or announced_bytes is None:
        return True
    return size_bytes == announced_bytes or (size_bytes < announced_bytes and not is_whole)


def require_announced_size(
    size_bytes: int | None,
    announced_bytes: int | None,
    *,
    is_whole: bool = True,
    is_stated: bool = False,
) -> None:
    """Refuse a file of another size than the API announced; the arguments are those of `fits_announced`.

    Args:
        is_stated: whether the host itself says that this is the size.

    Raises:
        WrongSizeError: it has another size.
    """
    if not fits_announced(size_bytes, announced_bytes, is_whole=is_whole):
        found = f"{size_bytes} bytes" if is_whole else f"{size_bytes} bytes or more"
        message = f"the host has {found}, the API announced {announced_bytes}"
        raise WrongSizeError(message, size_bytes if is_stated else None)


def require_whole(received_bytes: int, expected: ExpectedBody, announced_bytes: int | None) -> None:
    """Refuse a body that is not as long as the host and the API have announced, or is empty.

    Args:
        received_bytes: the size of the file.
        expected: what the response said.
        announced_bytes: the size that the API announced; None if it announced none.

    Raises:
        TransferError: `truncated`, `empty` or `WRONG_SIZE`.
    """
    if expected.total_bytes not in (None, received_bytes):
        raise bad_body("truncated", f"{received_bytes} bytes came, {expected.total_bytes} were announced")
    if not received_bytes:
        raise bad_body(EMPTY, "the body is empty")
    require_announced_size(received_bytes, announced_bytes)


def bad_body(code: str, message: str) -> TransferError:
    """The error for a body that is of no use. Another try, or a fresh URL, may bring a better one."""
    return TransferError(code, message, is_retryable=True, wants_fresh_url=True, voids_partial=True)


def parse_response(
    status: int,
    headers: Mapping[str, str],
    resume_point: ResumePoint,
    *,
    now_s: float,
    announced_bytes: int | None = None,
) -> ExpectedBody:
    """Accept or refuse a response by its status and headers, before its body is read.

    Args:
        status: the HTTP status, after redirects.
        headers: the headers, by their names in lower case.
        resume_point: what the partial holds; its `request_headers` were sent.
        now_s: the time of day in seconds, for `Retry-After` in its date form.
        announced_bytes: the size of the file as the API says; None if it does not.

    Raises:
        TransferError: the body is of no use; the error says whether to retry, and whether the partial is
        void.
    """
    expected = _parse_response(status, headers, resume_point, now_s)
    require_announced_size(expected.total_bytes, announced_bytes, is_stated=True)
    return expected


def _parse_response(
    status: int, headers: Mapping[str, str], resume_point: ResumePoint, now_s: float
) -> ExpectedBody:
    if status == _NOT_SATISFIABLE and resume_point.size_bytes:
        raise TransferError(
            "range_refused", "the host refused to resume", is_retryable=True, voids_partial=True
        )
    _require_success(status, headers, now_s)
    if status == _PARTIAL:
        return _read_range(headers, resume_point)
    length = headers.get("content-length", "")
    total_bytes = int(length) if _LENGTH.fullmatch(length) else None
    checksum = stated_checksum(headers, total_bytes, is_whole=True)
    codings = parse_codings(headers.get("content-encoding", ""))
    if codings:
        return ExpectedBody(False, "", None, codings, total_bytes, checksum)
    is_resumable = headers.get("accept-ranges", "").lower() != "none"
    validator = strong_validator(headers) if is_resumable else ""
    return ExpectedBody(False, validator, total_bytes, checksum=checksum)


def says_expired(body: bytes) -> bool:
    """Whether the body of an answer with the status 400 says that the URL has expired.

    Stores that speak Amazon's protocol say so in XML.

    Args:
        body: its first bytes.
    """
    return _EXPIRED.search(body) is not None


def require_range(status: int, headers: Mapping[str, str], asked: ByteRange, *, now_s: float) -> None:
    """Accept the response to a request for one range, or refuse it.

    Only a 206 with exactly this range, the same total and no other validator is accepted. A part of a file is
    written to its place in the partial, so any other bytes there would end up inside the finished file.

    Raises:
        TransferError: as `parse_response`, with one difference: no error voids what the partial holds.
            `bad_range` means that the host sent other bytes than were asked for, or all of them.
    """
    _require_success(status, headers, now_s)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    expected = (str(asked.start), str(asked.end - 1), str(asked.total_bytes))
    is_expected = status == _PARTIAL and match is not None and match.groups() == expected
    if not is_expected or not _may_be_part(headers, asked.validator):
        raise TransferError("bad_range", "the host sent another range than was asked", is_retryable=True)


def _require_success(status: int, headers: Mapping[str, str], now_s: float) -> None:
    """Require a successful response.

    Raises:
        TransferError: another status.
    """
    if status not in (_OK, _PARTIAL):
        raise TransferError(
            f"http_{status}",
            f"the host answered {status}",
            is_retryable=is_retry_status(status),
            wants_fresh_url=status in _DEAD_STATUSES,
            retry_after_s=parse_retry_after(headers.get("retry-after"), now_s),
        )


def _may_be_part(headers: Mapping[str, str], validator: str) -> bool:
    """Whether a body may be a range of the file with this validator. One of a compressed form is none."""
    return may_be_of(headers, validator) and not is_coded(headers.get("content-encoding", ""))


def _read_range(headers: Mapping[str, str], resume_point: ResumePoint) -> ExpectedBody:
    """Accept a 206 only if it is the rest: the same representation, from where it was asked, to its end."""
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if match and resume_point.size_bytes and _may_be_part(headers, resume_point.validator):
        start, end = int(match[1]), int(match[2])
        # "*" means that the host does not name the total. If the first response did not name it either, this
        # range could end before the file does, so it is refused: `total_bytes` is None and equals no end.
        total_bytes = resume_point.total_bytes if match[3] == "*" else int(match[3])
        same_total = resume_point.total_bytes in (None, total_bytes)
        if start == resume_point.size_bytes and end + 1 == total_bytes and same_total:
            checksum = stated_checksum(headers, total_bytes, is_whole=False)
            return ExpectedBody(True, resume_point.validator, total_bytes, checksum=checksum)
    raise TransferError(
        "bad_range", "the host sent another range than was asked", is_retryable=True, voids_partial=True
    )

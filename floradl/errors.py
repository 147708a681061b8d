"""All errors that floradl raises, as one hierarchy.

FloradlError
├── UsageError                 wrong option, value or config; nothing was touched        exit 2
├── ScheduleError              the system's scheduler is not there, or refused           exit 1
├── DestinationError           the archive's folder cannot be read or written            exit 1
│   ├── LockedError            another floradl is working on this archive                exit 5
│   └── ManifestError          manifest.json or the journal is not readable              exit 1
│       └── NewerFormatError   a newer floradl wrote them; nothing is wrong with them    exit 1
├── ApiError                   the API said no, or nothing that makes sense              exit 1
│   ├── KeyRefusedError        401, 403                                                  exit 4
│   ├── ApiNotFoundError       404                                                       exit 1
│   ├── ApiUnavailableError    no connection, timeout, 408, 425, 429, 5xx      retryable exit 1
│   └── ApiAnswerError         HTML, broken JSON, a repeated cursor            retryable exit 1
└── TransferError              one output could not be had; a value, not a stop          exit 3
    └── WrongSizeError         its file has another size than the API announced          exit 3

Each error knows its exit code, whether the same thing may be tried again (`is_retryable`), and a
`hint` that tells the user what to do next. Errors of libraries are translated by the module that calls the
library (`from exc`), so its callers see only these. A message never holds the key or a query string; see
`safe_url`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Self
from urllib.parse import urlsplit


class Exit(IntEnum):
    """Exit codes of the command; SIGINT and SIGTERM add 128 to the signal's number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    KEY_REFUSED = 4
    LOCKED = 5
    SIGINT = 130
    SIGTERM = 143


class FloradlError(Exception):
    """Base of all errors that floradl raises on purpose.

    Args:
        message: what failed, for which output or file, and why; one line, no secrets.
        hint: what the user can do about it; may be empty.
    """

    exit_code: ClassVar[Exit] = Exit.FAILED
    is_retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def concerning(self, what: str) -> Self:
        """Put the name of the thing it is about before the message, and return the error."""
        self.message = f"{what}: {self.message}"
        return self


class UsageError(FloradlError):
    """A wrong option, value or config file. Nothing was touched."""

    exit_code = Exit.USAGE


class ScheduleError(FloradlError):
    """The system's scheduler is not there, or did not do what was asked."""


class DestinationError(FloradlError):
    """The archive's folder cannot be read or written. It ends the run at once: every output would fail."""


class LockedError(DestinationError):
    """Another process holds the archive's lock."""

    exit_code = Exit.LOCKED


class ManifestError(DestinationError):
    """manifest.json or the journal exists and cannot be understood."""


class NewerFormatError(ManifestError):
    """manifest.json or the journal was written by a newer floradl; the files themselves are sound."""


class ApiError(FloradlError):
    """The API refused a request, or could not be asked.

    Args:
        message: what was asked and what was answered.
        status: HTTP status, None when there was no answer.
        code: the `error.code` of the API's envelope, if any.
        request_id: the answer's `request-id`; FLORA's support asks for it.
        retry_after_s: how long the API asked to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(f"{message} (request-id {request_id})" if request_id else message, hint=hint)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    @property
    def is_refusal(self) -> bool:
        """Whether the API keeps only what was asked for from the key (403, 404); others may still be seen.

        A 403 or 404 that the API did not write itself says nothing about the key, and may be tried again.
        """
        return self.status in (403, 404) and not self.is_retryable


class KeyRefusedError(ApiError):
    """401 or 403: the API does not accept this key, or does not allow it this request."""

    exit_code = Exit.KEY_REFUSED


class ApiNotFoundError(ApiError):
    """404: it does not exist, or this key may not see it."""


class ApiUnavailableError(ApiError):
    """No connection, a timeout, a status that says to come back later, a refusal that is not the API's."""

    is_retryable = True


class ApiAnswerError(ApiError):
    """An answer that cannot be used: HTML, broken JSON, or a cursor that was given before."""

    is_retryable = True


class TransferError(FloradlError):
    """One output could not be fetched. Recorded in the manifest as `{"code", "message", "at"}`.

    Args:
        code: a stable word for scripts, such as `http_404`, `timeout`, `truncated`, `not_media`.
        message: what happened, for people.
        is_retryable: whether the same URL may be asked again.
        wants_fresh_url: whether the API may know a better URL for this output.
        voids_partial: whether the bytes fetched so far must be thrown away.
        retry_after_s: how long the host asked to wait, if it did.
    """

    exit_code = Exit.INCOMPLETE

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        wants_fresh_url: bool = False,
        voids_partial: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.is_retryable = is_retryable
        self.wants_fresh_url = wants_fresh_url
        self.voids_partial = voids_partial
        self.retry_after_s = retry_after_s


WRONG_SIZE = "wrong_size"
"""The error code for a file that has another size than the API announced."""


class WrongSizeError(TransferError):
    """A file has another size than the API announced.

    The bytes are dropped; another try or a fresh URL may bring the right ones.

    Args:
        message: names both sizes.
        stated_bytes: the size of the whole file by the host's own word; None where it gave none.
    """

    def __init__(self, message: str, stated_bytes: int | None) -> None:
        super().__init__(WRONG_SIZE, message, is_retryable=True, wants_fresh_url=True, voids_partial=True)
        self.stated_bytes = stated_bytes


def safe_url(url: str, *, limit: int = 200) -> str:
    """A URL fit for messages and the manifest: no user, query or fragment, no control characters."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not a URL)"
    shown = f"{parts.scheme}://{host}{port}{parts.path}"
    return printable(shown, limit=limit)


def printable(text: str, *, limit: int = 200) -> str:
    """One line of text from outside, safe for a terminal: no control or bidi characters, bounded."""
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(character if character.isprintable() else "�" for character in shown)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"

"""Errors: their exit codes, what may be tried again, and text that is fit for a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl import errors
from floradl.errors import ApiError, Exit, FloradlError, TransferError, printable, safe_url


def every_error() -> list[type[FloradlError]]:
    """The whole tree, as classes."""
    found: list[type[FloradlError]] = [FloradlError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize(
    ("name", "exit_code", "is_retryable", "parent"),
    [
        ("FloradlError", 1, False, "Exception"),
        ("UsageError", 2, False, "FloradlError"),
        ("DestinationError", 1, False, "FloradlError"),
        ("LockedError", 5, False, "DestinationError"),
        ("ManifestError", 1, False, "DestinationError"),
        ("ApiError", 1, False, "FloradlError"),
        ("KeyRefusedError", 4, False, "ApiError"),
        ("ApiNotFoundError", 1, False, "ApiError"),
        ("ApiUnavailableError", 1, True, "ApiError"),
        ("ApiAnswerError", 1, True, "ApiError"),
        ("TransferError", 3, False, "FloradlError"),
        ("WrongSizeError", 3, False, "TransferError"),
    ],
)
def test_the_tree(name: str, exit_code: int, is_retryable: bool, parent: str) -> None:
    """Each error ends the command with its documented code, and is one of its parent's kind."""
    kind = getattr(errors, name)
    assert kind.exit_code == exit_code
    assert kind.is_retryable is is_retryable
    assert kind.__bases__[0].__name__ == parent


def test_the_docstring_is_the_tree() -> None:
    """Every error there is stands in the module's docstring with its exit code, and no other."""
    told = dict(re.findall(r"(\w+Error)\b.*exit (\d)$", errors.__doc__ or "", re.MULTILINE))
    assert told == {kind.__name__: str(int(kind.exit_code)) for kind in every_error()[1:]}


def test_exit_codes() -> None:
    """The codes are those that scripts rely on."""
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0, "FAILED": 1, "USAGE": 2, "INCOMPLETE": 3, "KEY_REFUSED": 4, "LOCKED": 5,
        "SIGINT": 130, "SIGTERM": 143,
    }  # fmt: skip


def test_an_error_says_what_and_what_to_do() -> None:
    """Message and hint are there to be shown."""
    error = FloradlError("it broke", hint="mend it")
    assert (str(error), error.message, error.hint) == ("it broke", "it broke", "mend it")
    assert FloradlError("it broke").hint == ""


def test_an_api_error_shows_the_request_id() -> None:
    """FLORA's support asks for the request id, so it is part of the message."""
    error = ApiError("no", status=500, code="unknown_error", request_id="req_1", retry_after_s=3.0)
    assert str(error) == error.message == "no (request-id req_1)"
    assert (error.status, error.code, error.request_id, error.retry_after_s) == (
        500,
        "unknown_error",
        "req_1",
        3.0,
    )
    assert str(ApiError("no")) == "no"


def test_a_transfer_error_says_how_to_go_on() -> None:
    """Unless told otherwise, a failed transfer is final and its partial is good."""
    error = TransferError("timeout", "silence")
    flags = (error.is_retryable, error.wants_fresh_url, error.voids_partial, error.retry_after_s)
    assert (error.code, *flags) == ("timeout", False, False, False, None)
    assert TransferError("x", "y", is_retryable=True).is_retryable


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://media.flora.ai/a/b.png", "https://media.flora.ai/a/b.png"),
        ("https://h/a?X-Amz-Signature=secret", "https://h/a"),
        ("https://h?secret", "https://h"),
        ("https://h/a#secret", "https://h/a"),
        ("https://user:secret@h/a", "https://h/a"),
        ("https://secret@h:8443/a", "https://h:8443/a"),
        ("https://H.Example/A", "https://h.example/A"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("https://h:secret/a", "(not a URL)"),
        ("https://[h/a", "(not a URL)"),
        ("https://h/a\x1b[2J\u202eb", "https://h/a\ufffd[2J\ufffdb"),
        ("https://h/\ud800", "https://h/\ufffd"),
        ("https://h/" + "a" * 500, "https://h/" + "a" * 190 + "…"),
    ],
    ids=lambda text: ascii(text)[:50],
)
def test_safe_url(url: str, shown: str) -> None:
    """A shown URL has neither user nor query nor fragment, and nothing that moves a cursor."""
    assert safe_url(url) == shown


@given(st.text(), st.text("abc/.", min_size=1), st.integers(1, 50))
def test_no_secret_is_shown(text: str, path: str, limit: int) -> None:
    """Whatever follows the question mark of a URL stays out of what is shown."""
    shown = safe_url(f"https://h/{path}?key=SECRET{text}", limit=limit)
    assert "SECRET" not in shown
    assert len(shown) <= limit + 1
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text", "plain text"),
        ("\xe9\U0001f600", "\xe9\U0001f600"),
        ("a\nb\tc\rd\0e\x7f", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("\u202e\u200b\ud83d", "\ufffd\ufffd\ufffd"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 10 + "…"),
    ],
    ids=ascii,
)
def test_printable(text: str, shown: str) -> None:
    """Text from outside is shown as one bounded line without control characters."""
    assert printable(text, limit=10) == shown


@given(st.text(st.characters(codec=None)), st.integers(1, 30))
def test_anything_is_printable(text: str, limit: int) -> None:
    """Whatever the text, it can be printed, and it is no longer than allowed and its ellipsis."""
    shown = printable(text, limit=limit)
    assert shown.isprintable()
    assert len(shown.encode().decode()) <= limit + 1

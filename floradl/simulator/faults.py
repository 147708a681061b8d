"""Faults as data: what shall go wrong, at which request, and how several of them add up.

A fault names requests by their path and by their number, and says what the answer is like. Faults that match
the same request are merged in the order of the list: a later one wins where both say something, headers add
up, and every edit is made.

Guarantees that a fault which does not match a request changes nothing about it, and that a fault file is
either understood completely or refused with one line that names the place (`FaultFileError`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .runs import Edit, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


class FaultFileError(Exception):
    """A fault file that cannot be read; the message fits one line."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        match: glob over the path (percent-encoded, no query) of a request to either server.
        on: numbers of the matching requests it happens to, from 1, counted per fault and path; None: all.
        query: text that must be in the raw query string, or the request does not match.
        status: answer with this status and an error page (`body`, or one that suits the server).
        headers: set these on the answer; an empty value takes the header away.
        body: with `status`, the page; without it, what the file (or the API's answer) consists of instead.
        content_type: what the answer claims to be, true or not; "" leaves the header out.
        cut_after: close the connection after so many bytes of the body, whatever length was announced.
        stall_after: after so many bytes of the body say nothing for `stall_s`, or until the client leaves.
        stall_s: seconds; the rest of the body follows then.
        drip: (bytes, seconds): send the body in pieces of that size, with a pause after each.
        no_length: no `Content-Length`; the end of the connection ends the body.
        chunked: no `Content-Length`, chunked transfer encoding.
        length_delta: `Content-Length` is wrong by so many bytes; the connection is closed after the body.
        range: what happens to a request with `Range`: "ignore" answers 200 with everything, "wrong" answers
            206 with another part than the one asked for, "416" refuses it.
        etag: the file's validator from now on, quotes included; "" leaves it out.
        redirect: send the client there, with 302 or with `status`.
        delay_s: seconds before anything is answered.
        drop: close the connection without an answer.
        repeat_cursor: a list's `next_cursor` is the cursor it was asked with.
        edit: what happens to the account just before this request is answered.
    """

    match: str
    on: tuple[int, ...] | None = None
    query: str | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    stall_s: float = 3600
    drip: tuple[int, float] | None = None
    no_length: bool = False
    chunked: bool = False
    length_delta: int = 0
    range: str | None = None
    etag: str | None = None
    redirect: str | None = None
    delay_s: float = 0
    drop: bool = False
    repeat_cursor: bool = False
    edit: Edit | None = None

    def __post_init__(self) -> None:
        if self.range not in (None, "ignore", "wrong", "416"):
            raise ValueError(f'range must be "ignore", "wrong" or "416", not {self.range!r}')


NO_FAULT = Fault("*")


class FaultCounter:
    """Finds the faults of each request, counting how often each one matched each path."""

    def __init__(self) -> None:
        # Equal faults are counted apart, so the key is the object; it is kept, or its id could come again.
        self._known: dict[int, Fault] = {}
        self._counts: dict[tuple[int, str], int] = {}

    def matching(self, faults: Iterable[Fault], path: str, query: str) -> list[Fault]:
        """The faults that happen to this request; every fault that matches it counts one further."""
        found = []
        for fault in faults:
            if not fnmatchcase(path, fault.match) or (fault.query is not None and fault.query not in query):
                continue
            self._known[id(fault)] = fault
            number = self._counts[id(fault), path] = self._counts.get((id(fault), path), 0) + 1
            if fault.on is None or number in fault.on:
                found.append(fault)
        return found


def merge(faults: Iterable[Fault]) -> Fault:
    """One fault with the effects of them all; its `match`, `on`, `query` and `edit` mean nothing."""
    merged = NO_FAULT
    for fault in faults:
        said = {
            item.name: getattr(fault, item.name)
            for item in dataclasses.fields(Fault)
            if item.name != "match" and getattr(fault, item.name) != item.default
        }
        said["headers"] = merged.headers + fault.headers
        merged = dataclasses.replace(merged, **said)
    return merged


# --- fault files ------------------------------------------------------------------------------------------


def load_faults(path: Path) -> list[Fault]:
    """Read a JSON file: a list of objects with the fields of `Fault` (and of `Edit` under "edit").

    `headers` is an object or a list of pairs, `body` is text (UTF-8). Raises FaultFileError.
    """
    try:
        return parse_faults(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise FaultFileError(f"{path}: {exc.strerror}") from exc
    except (FaultFileError, UnicodeDecodeError) as exc:
        raise FaultFileError(f"{path}: {exc}") from exc


def parse_faults(text: str) -> list[Fault]:
    """The faults in a JSON text; raises FaultFileError with one line that says where and why."""
    try:
        entries = json.loads(text)
    except ValueError as exc:
        raise FaultFileError(f"not JSON: {exc}") from exc
    if not isinstance(entries, list):
        raise FaultFileError("a list of faults is expected")
    faults = []
    for number, entry in enumerate(entries, start=1):
        try:
            faults.append(_fault(entry))
        except (FaultFileError, ValueError) as exc:
            raise FaultFileError(f"fault {number}: {exc}") from exc
    return faults


def _fault(entry: object) -> Fault:
    fields = _fields(entry, _FAULT_FIELDS)
    if "match" not in fields:
        raise FaultFileError("match is missing")
    return Fault(**fields)  # type: ignore[arg-type] # each parser gives its field's type


def _fields(entry: object, parsers: dict[str, Callable[[object], object]]) -> dict[str, object]:
    if not isinstance(entry, dict):
        raise FaultFileError("an object is expected")
    fields = {}
    for name, value in entry.items():
        if name not in parsers:
            raise FaultFileError(f"unknown field {name!r}")
        if value is None:
            continue
        try:
            fields[name] = parsers[name](value)
        except (FaultFileError, TypeError, ValueError) as exc:
            raise FaultFileError(f"{name}: {exc}") from exc
    return fields


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _body(value: object) -> bytes:
    return _text(value).encode()


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("an integer is expected")
    return value


def _number(value: object) -> float:
    return value if isinstance(value, float) else _integer(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value


def _integers(value: object) -> tuple[int, ...]:
    return tuple(_integer(item) for item in _list(value))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _pair(value: object) -> tuple[object, object]:
    items = _list(value)
    if len(items) != 2:
        raise ValueError("a pair is expected")
    return items[0], items[1]


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    pairs = list(value.items()) if isinstance(value, dict) else [_pair(item) for item in _list(value)]
    return tuple((_text(name), _text(text)) for name, text in pairs)


def _drip(value: object) -> tuple[int, float]:
    size, pause = _pair(value)
    if _integer(size) < 1:
        raise ValueError("pieces must be one byte or more")
    return _integer(size), _number(pause)


def _status_name(value: object) -> str:
    return RunStatus(_text(value))


def _edit(value: object) -> Edit:
    return Edit(**_fields(value, _EDIT_FIELDS))  # type: ignore[arg-type] # each parser gives its field's type


_EDIT_FIELDS: dict[str, Callable[[object], object]] = {
    "insert": _integer,
    "insert_status": _status_name,
    "delete": _texts,
    "delete_listed": _integers,
    "start": _texts,
    "finish": _texts,
    "fail": _texts,
    "insert_techniques": _integer,
    "insert_assets": _integer,
    "delete_assets": _texts,
    "delete_listed_assets": _integers,
    "finish_assets": _texts,
    "edit_canvas": _texts,
    "hide": _texts,
}

_FAULT_FIELDS: dict[str, Callable[[object], object]] = {
    "match": _text,
    "on": _integers,
    "query": _text,
    "status": _integer,
    "headers": _headers,
    "body": _body,
    "content_type": _text,
    "cut_after": _integer,
    "stall_after": _integer,
    "stall_s": _number,
    "drip": _drip,
    "no_length": _flag,
    "chunked": _flag,
    "length_delta": _integer,
    "range": _text,
    "etag": _text,
    "redirect": _text,
    "delay_s": _number,
    "drop": _flag,
    "repeat_cursor": _flag,
    "edit": _edit,
}

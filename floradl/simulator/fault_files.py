"""Faults read from a JSON file, for the simulator as a command.

Guarantees that a fault file is either understood completely or refused with one line that says at which place
it is wrong and why (`FaultFileError`): a misspelt field never means a fault that silently does not happen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .edits import Edit
from .faults import Fault
from .runs import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class FaultFileError(Exception):
    """A fault file that cannot be read; the message fits one line."""


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
    """Read the faults in a JSON text; raises FaultFileError, whose one line says what is wrong, and where."""
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

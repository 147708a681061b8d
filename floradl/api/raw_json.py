"""Reading JSON of the API while keeping each record and value exactly as the API wrote it.

The archive keeps records to the byte, so they are split without being decoded and encoded again. msgspec is
strict where JSON is not: it refuses half a surrogate pair, which a text that was cut in an emoji has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from floradl.errors import ApiAnswerError, printable

NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that msgspec raises for wrong JSON, wrong UTF-8, and JSON that is nested too deeply."""

# A JSON escape: a surrogate pair, half of one (the group), or any other.
_HEX = rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}|(u[dD][89a-fA-F]%b{2})|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)


def fields_of(record: bytes) -> dict[str, bytes]:
    """Split a record into its fields. Each value stays JSON, exactly as it was written.

    Raises:
        ApiAnswerError: the record is no JSON object in UTF-8.
    """
    readable = replace_half_pairs(record)
    try:
        record.decode()  # msgspec does not check the encoding of values that it passes over
        fields = msgspec.json.decode(readable, type=dict[str, msgspec.Raw])
    except NOT_READABLE as exc:
        raise ApiAnswerError("a record is no JSON object") from exc
    if readable is not record:
        try:
            return dict(zip(fields, items_verbatim(record, readable, fields.values()), strict=True))
        except ValueError:  # a repeated key: the values are not in the order of the keys
            pass
    return {name: bytes(value) for name, value in fields.items()}


def value_of(raw: bytes) -> object:
    """Decode one value; None where it cannot be read."""
    try:
        return msgspec.json.decode(replace_half_pairs(raw))
    except NOT_READABLE:
        return None


def text_of(fields: Mapping[str, bytes], key: str) -> str:
    """Decode a field that should be a text; "" where it is missing or is no text.

    Args:
        fields: a record's, as `fields_of` gives them.
        key: the field's name.
    """
    value = value_of(fields.get(key, b"null"))
    return value if isinstance(value, str) else ""


def merge_records(older: bytes, newer: bytes) -> bytes:
    """Merge two records: fields of `newer` that are not null replace those of `older`, as written.

    Raises:
        ApiAnswerError: one of the records is no JSON object.
    """
    try:
        fields = msgspec.json.decode(replace_half_pairs(older), type=dict[str, msgspec.Raw])
        later = msgspec.json.decode(replace_half_pairs(newer), type=dict[str, msgspec.Raw])
    except NOT_READABLE as exc:
        raise ApiAnswerError(f"a run's record is not a JSON object: {printable(str(exc))}") from exc
    updates = {name: value for name, value in later.items() if bytes(value) != b"null" or name not in fields}
    return msgspec.json.encode(fields | updates)


def replace_half_pairs(raw: bytes) -> bytes:
    """Replace each half of a surrogate pair by `\\ufffd`, which is as long, so that offsets stay right.

    Half a pair is legal JSON, but msgspec refuses it, even in values that it only passes over.
    """
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], raw)


def items_verbatim(body: bytes, readable: bytes, items: Iterable[msgspec.Raw]) -> Iterator[bytes]:
    """Give the records of a list exactly as the API wrote them.

    Args:
        body: the answer.
        readable: the answer after `replace_half_pairs`, in which each record has the same offset.
        items: the records, in order, as they were decoded from `readable`.
    """
    end = 0
    for item in items:
        raw = bytes(item)
        start = readable.index(raw, end)
        end = start + len(raw)
        yield body[start:end]

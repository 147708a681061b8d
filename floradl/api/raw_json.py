"""JSON kept to the byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from floradl.errors import ApiAnswerError, printable

NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that cannot be read: wrong JSON, wrong UTF-8, or nested too deeply."""

# A JSON escape: a surrogate pair, half of one (the group), or any other.
_HEX = rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}|(u[dD][89a-fA-F]%b{2})|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)


def fields_of(record: bytes) -> dict[str, bytes]:
    """The fields of a record, each value as it was written.

    Raises:
        ApiAnswerError: it is no JSON object in UTF-8.
    """
    readable = replace_half_pairs(record)
    try:
        record.decode()  # of what it passes over, msgspec does not look at the encoding
        fields = msgspec.json.decode(readable, type=dict[str, msgspec.Raw])
    except NOT_READABLE as exc:
        raise ApiAnswerError("a record is no JSON object") from exc
    if readable is not record:
        try:
            return dict(zip(fields, items_verbatim(record, readable, fields.values()), strict=True))
        except ValueError:  # a key that stands there twice: its values are not in the order of the keys
            pass
    return {name: bytes(value) for name, value in fields.items()}


def value_of(raw: bytes) -> object:
    """What a value is; None for what cannot be read."""
    try:
        return msgspec.json.decode(replace_half_pairs(raw))
    except NOT_READABLE:
        return None


def text_of(fields: Mapping[str, bytes], key: str) -> str:
    """A field that is a text; "" where it is missing or anything else.

    Args:
        fields: a record's, as `fields_of` gives them.
        key: the field's name.
    """
    value = value_of(fields.get(key, b"null"))
    return value if isinstance(value, str) else ""


def merge_records(older: bytes, newer: bytes) -> bytes:
    """`older` with every field of `newer` that is not null laid over it, each value as the API wrote it.

    Raises:
        ApiAnswerError: one of them is no JSON object.
    """
    try:
        fields = msgspec.json.decode(replace_half_pairs(older), type=dict[str, msgspec.Raw])
        later = msgspec.json.decode(replace_half_pairs(newer), type=dict[str, msgspec.Raw])
    except NOT_READABLE as exc:
        raise ApiAnswerError(f"a run's record is not a JSON object: {printable(str(exc))}") from exc
    told = {name: value for name, value in later.items() if bytes(value) != b"null" or name not in fields}
    return msgspec.json.encode(fields | told)


def replace_half_pairs(raw: bytes) -> bytes:
    """JSON with each half of a surrogate pair replaced by `\\ufffd`, which is as long; the rest as it is.

    Half a pair is legal JSON, and msgspec refuses it even in what it only passes over.
    """
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], raw)


def items_verbatim(body: bytes, readable: bytes, items: Iterable[msgspec.Raw]) -> Iterator[bytes]:
    """The records of a list as they came, to the byte.

    Args:
        body: the answer.
        readable: the same with `replace_half_pairs`, which keeps every place.
        items: the records, in order, as they were decoded from `readable`.
    """
    end = 0
    for item in items:
        raw = bytes(item)
        start = readable.index(raw, end)
        end = start + len(raw)
        yield body[start:end]

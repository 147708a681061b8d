"""The journal's lines: changes are written so that a cut at any byte leaves a beginning that can be read.

A line is eight hexadecimal digits of CRC-32, a space, a JSON object, and a line feed; the CRC is of the
JSON. The first line is a `JournalHeader`, every other an `Op`. Reading stops at the first line that is not
whole. That loses nothing which was reported as recorded: such a line was not flushed when its process ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.errors import ManifestError, NewerFormatError, printable
from floradl.repository.entries import VERSION, JournalHeader, Op

_Line = JournalHeader | Op


@dataclass(frozen=True, slots=True)
class Journal:
    """What could be read of a journal.

    Attributes:
        header: its first line; None when not even that is whole.
        ops: the changes, in order.
        size_bytes: how many bytes of the file the header and these changes take.
    """

    header: JournalHeader | None
    ops: tuple[Op, ...]
    size_bytes: int


def encode_lines(values: Iterable[_Line]) -> bytes:
    """The lines of a header and of changes.

    Raises:
        ManifestError: a line could not be read again.
    """
    lines = []
    for value in values:
        # A record that the API laid out over several lines is in the JSON as it was. A line feed in JSON is
        # only space between tokens (within a text it is escaped), and here it would end the line.
        body = msgspec.json.encode(value).replace(b"\n", b" ")
        # A line that cannot be read would make every later session refuse the journal. The error comes here
        # instead, before the line is written.
        _decode(body)
        lines.append(b"%08x %s\n" % (zlib.crc32(body), body))
    return b"".join(lines)


def parse_journal(data: bytes, *, salvage: bool = False) -> Journal:
    """Read a journal as far as it is whole.

    Args:
        data: the file.
        salvage: whether to stop at a line that is whole and cannot be understood, instead of refusing the
            journal, as `verify --repair` does.

    Raises:
        ManifestError: a line is whole and cannot be understood, so a newer floradl may have written it.
        NewerFormatError: the header has a newer version.
    """
    header: JournalHeader | None = None
    ops: list[Op] = []
    start = 0
    while (end := data.find(b"\n", start)) >= 0 and (body := _checked(data[start:end])) is not None:
        try:
            value = _decode(body)
        except ManifestError:
            if salvage:
                break
            raise
        if isinstance(value, JournalHeader):
            if value.version > VERSION:
                raise _newer()
            header = value
        elif header is None:
            break
        else:
            ops.append(value)
        start = end + 1
    return Journal(header, tuple(ops), start)


def has_lost_lines(data: bytes, journal: Journal) -> bool:
    """Whether whole lines stand after the part that could be read.

    A process that is killed leaves a torn line at the very end at most. Whole lines behind an unreadable one
    mean that the file was damaged later, and that recorded changes are missing.
    """
    rest = data[journal.size_bytes :]
    is_headless = journal.header is None and b"\n" in rest
    return is_headless or any(_checked(line) is not None for line in rest.split(b"\n"))


def _checked(line: bytes) -> bytes | None:
    """The JSON of a line; None when its CRC does not agree."""
    crc, space, body = line.partition(b" ")
    return body if space and crc == b"%08x" % zlib.crc32(body) else None


def _decode(body: bytes) -> _Line:
    try:
        value: _Line = msgspec.json.decode(body, type=_Line)
    except NOT_READABLE as exc:
        raise ManifestError(
            f"the archive's journal cannot be understood, perhaps a newer floradl's: {printable(str(exc))}",
            hint="Update floradl; if that does not help, `floradl verify --repair` goes on without it.",
        ) from exc
    return value


def _newer() -> NewerFormatError:
    return NewerFormatError(
        "the archive's journal was written by a newer floradl", hint="Update floradl and run it again."
    )

"""The gallery's data: which runs stand in which file, and what the files say. Pure.

A page that is opened from disk may not read files; it may load scripts. So the data are scripts, each a call
with one JSON literal. They are cut by time into *shelves* of some thousand outputs, so that a night's work
changes one or two of them:

- A shelf is a month (UTC) of `created_at`, `202603`; one that holds more than `MAX_OUTPUTS` is halved in
  time, again and again: `202603a`, `202603bb`. Runs without a date are on `undated`, halved by their ids.
- A shelf's files are named after it and a digest of all they are made from (`Shelf.name`). A file that is
  there under its name needs no writing, and is never changed.
- Of each shelf there are up to three: `list-…` has what the grid, filters and sorting need, `more-…` what the
  viewer shows beside that, `text-…` the texts that are longer than an excerpt.

Everything in them comes from outside. JSON is written so that it is also a script, in any page: without `<`,
`>`, `&`, U+2028 and U+2029; and in arrays, so that no text is ever the name of a property.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from floradl.clock import MAX_MS
from floradl.repository.entries import RunEntry

MAX_OUTPUTS = 2000

_FORM = b"4"
"""Part of every name: another form of the files gives other names."""

_UNDATED = "undated"
_COUNTED = 200
_DIGITS = re.compile(r"([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Some runs that stand in the same files, the newest first."""

    name: str
    run_ids: tuple[str, ...]
    outputs: int


@dataclass(frozen=True, slots=True)
class Counted:
    """A run or an asset as far as its shelf depends on it."""

    run_id: str
    created_at: int | None
    outputs: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Runs with a place each on a line between two ends, and what they are called together."""

    name: str
    start: int
    end: int
    runs: list[tuple[int, Counted]]


def shelves_of(
    runs: Iterable[Counted], digest_of: Callable[[Sequence[str]], str], max_outputs: int = MAX_OUTPUTS
) -> list[Shelf]:
    """All runs on their shelves, the newest first, those without a date last.

    Args:
        runs: in any order.
        digest_of: tells the state of some runs, by their ids.
        max_outputs: how many make a shelf too long.
    """
    found = [piece for span in _months(runs) for piece in _halved(span, max_outputs)]
    found.sort(key=lambda span: (span.name.startswith(_UNDATED), -span.start))
    return [_shelf(span, digest_of) for span in found]


def _months(runs: Iterable[Counted]) -> Iterable[_Span]:
    spans: dict[str, _Span] = {}
    for run in runs:
        if run.created_at is None or not 0 <= run.created_at <= MAX_MS:
            span = spans.setdefault(_UNDATED, _Span(_UNDATED, 0, 1 << 32, []))
            span.runs.append((zlib.crc32(run.run_id.encode("utf-8", "surrogatepass")), run))
            continue
        moment = datetime.fromtimestamp(run.created_at // 1000, UTC)
        name = f"{moment.year:04}{moment.month:02}"
        if name not in spans:
            spans[name] = _Span(name, _month_ms(moment.year, moment.month), _month_end_ms(moment), [])
        spans[name].runs.append((run.created_at, run))
    return spans.values()


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


def _month_end_ms(moment: datetime) -> int:
    if (moment.year, moment.month) == (9999, 12):
        return MAX_MS + 1
    return _month_ms(moment.year + moment.month // 12, moment.month % 12 + 1)


def _halved(span: _Span, max_outputs: int) -> Iterator[_Span]:
    outputs = sum(run.outputs for _, run in span.runs)
    if not span.runs:
        return
    if outputs <= max_outputs or len(span.runs) == 1 or span.end - span.start < 2:
        yield span
        return
    middle = (span.start + span.end) // 2
    early = [item for item in span.runs if item[0] < middle]
    late = [item for item in span.runs if item[0] >= middle]
    yield from _halved(_Span(f"{span.name}a", span.start, middle, early), max_outputs)
    yield from _halved(_Span(f"{span.name}b", middle, span.end, late), max_outputs)


def _shelf(span: _Span, digest_of: Callable[[Sequence[str]], str]) -> Shelf:
    ordered = sorted(span.runs, key=lambda item: (item[1].created_at or 0, item[1].run_id), reverse=True)
    run_ids = tuple(run.run_id for _, run in ordered)
    outputs = sum(run.outputs for _, run in ordered)
    return Shelf(f"{span.name}-{digest_of(run_ids)}", run_ids, outputs)


def digest(maker: str, entries: Iterable[tuple[str, bytes | msgspec.Raw]]) -> str:
    """What a shelf's files are made from, in 20 digits.

    Args:
        maker: what else decides what is in them.
        entries: ids of runs with their entries as they are stored.
    """
    state = hashlib.blake2b(_FORM + maker.encode(), digest_size=10)
    for run_id, entry in entries:
        state.update(run_id.encode("utf-8", "surrogatepass"))
        state.update(entry)
    return state.hexdigest()


def in_order(run: RunEntry) -> RunEntry:
    """A run with its outputs by key, as people count: `output_2` before `output_10`.

    The manifest has them in the order in which they came.
    """
    outputs = dict(sorted(run.outputs.items(), key=lambda item: _counting(item[0])))
    return msgspec.structs.replace(run, outputs=outputs)


def _counting(key: str) -> list[tuple[int, str]]:
    """What a key is sorted by: its texts, and its numbers by their values."""
    return [(int(part) if part.isdecimal() else -1, part) for part in _DIGITS.split(key[:_COUNTED])]

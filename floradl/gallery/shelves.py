"""Which runs stand on which shelf of the gallery. Pure.

The gallery's data are cut by time into *shelves* of some thousand outputs each, by a rule that depends on the
runs alone. So a night's work changes one or two shelves, and all other files stay as they are:

- A shelf is a month (UTC) of `created_at`, such as `202603`. A month with more than `MAX_OUTPUTS` outputs is
  halved in time, again and again: `202603a`, `202603bb`. Runs without a date stand on `undated`, which is
  halved by a checksum of their ids.
- A shelf's files are named after it and after a digest of everything they are made from (`Shelf.name`). A
  file that exists under its name is right, and is never written again.
- A shelf has up to three files (`scripts`): `list-…` for the grid, the filters and the sorting, `more-…` for
  what only the viewer shows, `text-…` for texts that are longer than an excerpt.
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
"""A shelf with more outputs is halved, unless it has only one run or its runs have one date."""

_FORM = b"4"
"""The version of the files' form. It is part of every digest, so a new form gives all files new names."""

_UNDATED = "undated"
_SORTED_CHARACTERS = 200
_DIGITS = re.compile(r"([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Runs whose data stand in the same files.

    Args:
        name: the month, its halves, and a digest of the content, such as `202603a-0f3c…`.
        run_ids: the newest run first.
        outputs: how many outputs these runs have.
    """

    name: str
    run_ids: tuple[str, ...]
    outputs: int


@dataclass(frozen=True, slots=True)
class ShelvedRun:
    """What decides on which shelf a run or an asset stands.

    Args:
        run_id: its id.
        created_at: Unix ms; None without a date.
        outputs: how many outputs it has.
    """

    run_id: str
    created_at: int | None
    outputs: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Runs between two points, to be halved.

    Args:
        name: of the shelf, without its digest.
        start: the first point: Unix ms, or a checksum for runs without a date.
        end: the point behind the last one.
        runs: each with the point at which it stands.
    """

    name: str
    start: int
    end: int
    runs: list[tuple[int, ShelvedRun]]


def shelves_of(
    runs: Iterable[ShelvedRun], digest_of: Callable[[Sequence[str]], str], max_outputs: int = MAX_OUTPUTS
) -> list[Shelf]:
    """All runs on their shelves, the newest first, those without a date last.

    Args:
        runs: in any order.
        digest_of: gives a digest of the entries of some runs, by their ids.
        max_outputs: a shelf with more outputs is halved.
    """
    found = [piece for span in _months(runs) for piece in _halved(span, max_outputs)]
    found.sort(key=lambda span: (span.name.startswith(_UNDATED), -span.start))
    return [_shelf(span, digest_of) for span in found]


def _months(runs: Iterable[ShelvedRun]) -> Iterable[_Span]:
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
    """A digest of everything that a shelf's files are made from: 20 hexadecimal digits.

    Args:
        maker: `Thumbnails.maker`; with Pillow or ffmpeg installed, the same entries give other files.
        entries: ids of runs with their entries as the manifest stores them.
    """
    state = hashlib.blake2b(_FORM + maker.encode(), digest_size=10)
    for run_id, entry in entries:
        state.update(run_id.encode("utf-8", "surrogatepass"))
        state.update(entry)
    return state.hexdigest()


def in_order(run: RunEntry) -> RunEntry:
    """A run with its outputs sorted by key as people count: `output_2` before `output_10`.

    The manifest has them in the order in which they were archived.
    """
    outputs = dict(sorted(run.outputs.items(), key=lambda item: _sort_key(item[0])))
    return msgspec.structs.replace(run, outputs=outputs)


def _sort_key(key: str) -> list[tuple[int, str]]:
    """A key split into texts and numbers, the numbers by their value; only its beginning counts."""
    return [(int(part) if part.isdecimal() else -1, part) for part in _DIGITS.split(key[:_SORTED_CHARACTERS])]

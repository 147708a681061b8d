"""Text in columns, for a terminal of any width. Pure.

Widths are counted in cells of a terminal: Chinese, Japanese and Korean characters and most emoji take two,
combining marks take none. Texts must be printable (`errors.printable`): a control character has no width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = 2
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Args:
        title: its heading.
        is_number: whether its texts are aligned to the right.
        least: to how many cells it may be cut where there is too little room; 0: it is never cut.
        rank: where cutting is not enough, the column with the highest rank is left out first; a column of
            rank 0 is never left out.
    """

    title: str
    is_number: bool = False
    least: int = 0
    rank: int = 0


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, with_head: bool = True
) -> list[str]:
    """A table that is at most `width` cells wide.

    Where it would be wider, columns are cut, and if that is not enough, left out. A column without any text
    is always left out.

    Args:
        columns: its columns.
        rows: a printable text for each column.
        width: how many cells there are.
        with_head: whether the first line has the titles.
    """
    cells = [[column.title for column in columns], *rows] if with_head else list(rows)
    natural = [max((cells_wide(row[number]) for row in cells), default=0) for number in range(len(columns))]
    shown = [number for number, size in enumerate(natural) if size]
    while True:
        widths = _fitted([columns[number] for number in shown], [natural[number] for number in shown], width)
        droppable = [number for number in shown if columns[number].rank]
        if widths is not None or not droppable:
            break
        shown.remove(max(droppable, key=lambda number: columns[number].rank))
    widths = widths or [natural[number] for number in shown]
    return [
        cut(
            (" " * _GAP).join(
                _cell(row[number], size, is_number=columns[number].is_number)
                for number, size in zip(shown, widths, strict=True)
            ),
            width,
        ).rstrip()
        for row in cells
    ]


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int] | None:
    """Widths with which the columns fit; the widest are cut first. None where they cannot fit."""
    widths = list(natural)
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        cuttable = [n for n, column in enumerate(columns) if column.least and widths[n] > column.least]
        if not cuttable:
            return None
        widths[max(cuttable, key=widths.__getitem__)] -= 1
        excess -= 1
    return widths


def cells_wide(text: str) -> int:
    """How many cells a printable text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """A text cut to at most `width` cells; an ellipsis stands for what was cut off."""
    if cells_wide(text) <= width:
        return text
    kept, room = [], width - 1
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept.append(character)
    return f"{''.join(kept)}…" if width > 0 else ""


def _cell(text: str, width: int, *, is_number: bool) -> str:
    shown = cut(text, width)
    padding = " " * (width - cells_wide(shown))
    return padding + shown if is_number else shown + padding


def format_age(seconds: float) -> str:
    """An age in seconds: `12 s ago`, `3 h ago`, `5 d ago`; a negative one is a time to come: `in 2 min`."""
    shown = _span(abs(seconds))
    if abs(seconds) < 1:
        return "now"
    return f"in {shown}" if seconds < 0 else f"{shown} ago"


def _span(seconds: float) -> str:
    for unit_s, unit, below_s in (
        (1, "s", _MINUTE_S),
        (_MINUTE_S, "min", _HOUR_S),
        (_HOUR_S, "h", 2 * _DAY_S),
    ):
        if seconds < below_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds // _DAY_S)} d"

"""Tables for terminals: nothing is ever wider than the terminal, and columns stand in line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.cli.ui.tables import Column, cells_wide, cut, format_age, table_lines
from floradl.errors import printable

COLUMNS = (
    Column("name", least=8),
    Column("size", is_number=True),
    Column("model", least=6, rank=2),
    Column("cost", is_number=True, rank=1),
)
TEXTS = st.text(max_size=40).map(printable)
ROWS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), max_size=6)


@given(rows=ROWS, width=st.integers(1, 200), with_head=st.booleans())
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int, with_head: bool) -> None:
    """Whatever stands in the cells, a line takes at most the terminal's width, and there is one a row."""
    lines = table_lines(COLUMNS, rows, width, with_head=with_head)
    assert len(lines) == len(rows) + with_head
    assert all(cells_wide(line) <= width for line in lines)


def test_numbers_end_in_the_same_cell() -> None:
    """Numbers are aligned to the right, also beside names of wide characters and combining marks."""
    rows = [("漢字", "1", "m", "$1"), ("e\u0301e\u0301", "1,234", "m", "$10"), ("plain", "56", "m", "$100")]
    lines = table_lines(COLUMNS, rows, 80)
    ends = [cells_wide(line[: line.index("  m")]) for line in lines[1:]]
    assert len(set(ends)) == 1
    assert lines[1].startswith("漢字       1  m")


def test_what_gives_way_where_there_is_little_room() -> None:
    """Columns that may be cut are cut, then columns are left out, the highest rank first."""
    rows = [("a long name indeed", "1.2 MB", "a-long-model-name", "$1.00")]
    assert table_lines(COLUMNS, rows, 60)[1] == "a long name indeed  1.2 MB  a-long-model-name  $1.00"
    assert table_lines(COLUMNS, rows, 40)[1] == "a long nam…  1.2 MB  a-long-mode…  $1.00"
    assert "model" not in table_lines(COLUMNS, rows, 26)[0]
    assert "cost" not in table_lines(COLUMNS, rows, 18)[0]
    assert table_lines(COLUMNS, rows, 18)[1] == "a long na…  1.2 MB"


def test_an_empty_column_takes_no_room() -> None:
    """A column without title and without content is not there."""
    columns = (Column("a"), Column(""), Column("b"))
    assert table_lines(columns, [("1", "", "2")], 80) == ["a  b", "1  2"]


def test_nothing_to_show() -> None:
    """Without rows there are the titles, or nothing."""
    assert table_lines(COLUMNS, [], 80) == ["name  size  model  cost"]
    assert table_lines(COLUMNS, [], 80, with_head=False) == []


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("漢字", 4, "漢字"),
        ("漢字", 3, "漢…"),
        ("漢字", 2, "…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
    ],
)
def test_cut(text: str, width: int, expected: str) -> None:
    """A text is cut by the cells it takes, not by its characters."""
    assert cut(text, width) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"),
        (0.9, "now"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 d ago"),
        (400 * 86_400, "400 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_ages(seconds: float, expected: str) -> None:
    """An age in its largest whole unit; what lies ahead, as by a clock that is wrong, says so."""
    assert format_age(seconds) == expected

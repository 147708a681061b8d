"""docs/performance.md: writes its tables from results.json between markers, and leaves the prose around them.

A block begins with `<!-- benchmarks: NAME -->` and ends with `<!-- end -->`; NAME is `checks`, `machine`,
`contenders` or the name of a benchmark. A table whose block is not in the page is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.plot import draw
from benchmarks.results import Group, Results, Row
from benchmarks.suite import SUITE
from benchmarks.targets import checks

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
PLOT = DOCS / "performance.svg"
_BLOCK = re.compile(r"(<!-- benchmarks: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_BULK_BYTES = 10_000  # the size of an item from which on megabytes a second are worth a column
_EXTRAS = {"api_calls": "API calls", "media_requests": "requests", "refused": "refused"}


def write(results: Results) -> None:
    """Write the blocks of the page, and the plot."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    PLOT.write_text(draw(results), encoding="utf-8")


def check(results: Results) -> None:
    """Make all tables and the plot without writing them, to see that they can be made."""
    filled(PAGE.read_text(encoding="utf-8"), results)
    draw(results)


def filled(page: str, results: Results) -> str:
    """The page with its blocks made anew.

    Raises:
        BenchmarkError: the page has a block of an unknown name.
    """

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{_block(match['name'], results)}{match[3]}"

    return _BLOCK.sub(block, page)


def summary(results: Results) -> str:
    """The targets and their figures, as text for a terminal."""
    lines = [
        f"{check.number}  {_verdict(check.holds):<12} {check.figure:>13}  {check.target:<13} {check.what}"
        for check in checks(results)
    ]
    return "".join(f"{line}\n" for line in lines)


def _block(name: str, results: Results) -> str:
    if name == "checks":
        rows = [
            [str(check.number), check.what, check.figure, check.target, _verdict(check.holds)]
            for check in checks(results)
        ]
        return _table(["", "what", "figure", "target", "holds"], rows)
    if name == "machine":
        return _table(["", ""], [[key, value] for key, value in results.machine.items()])
    if name == "contenders":
        return _contenders(results.groups.values())
    if name not in results.groups:
        if name not in SUITE:
            raise BenchmarkError(f"performance.md has a block {name!r} that no benchmark fills")
        return "Not measured.\n"
    return _group(results.groups[name])


def _verdict(holds: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[holds]


def _group(group: Group) -> str:
    columns = _columns(group)
    rows = [
        [row.name, *(cell(row) for cell in columns.values())]
        if row.samples
        else [row.name, f"missing: {row.missing}", *[""] * (len(columns) - 1)]
        for row in group.rows
    ]
    note = f"\n{group.note}\n" if group.note else ""
    return _table([group.title, *columns], rows) + note


def _columns(group: Group) -> dict[str, Callable[[Row], str]]:
    """The columns after the contender's name: each title, and the function that makes a cell."""
    columns: dict[str, Callable[[Row], str]] = {
        "runs": lambda row: str(len(row.samples)),
        "wall s": lambda row: f"{row.wall_s:.3f}" if row.wall_s < 10 else f"{row.wall_s:.1f}",
    }
    if group.items > 1:
        columns[f"{group.unit}/s"] = lambda row: f"{group.items / row.wall_s:,.0f}"
    if group.size_bytes > _BULK_BYTES * group.items:
        columns["MB/s"] = lambda row: f"{group.size_bytes / row.wall_s / 1e6:,.0f}"
    columns["CPU s"] = lambda row: f"{row.cpu_s:.2f}"
    columns["peak MB"] = lambda row: f"{row.peak_rss_bytes / 1e6:,.0f}"
    first = next((row for row in group.rows if row.samples), None)
    if first is not None and group.is_contest:
        columns[f"× {first.name}"] = lambda row: f"{first.wall_s / row.wall_s:.2f}"
    for name, title in _EXTRAS.items():
        if any(name in sample.extra for row in group.rows for sample in row.samples):
            columns[title] = partial(_extra, name)
    return columns


def _extra(name: str, row: Row) -> str:
    return f"{row.counted(name):,.0f}" if name in row.samples[0].extra else ""


def _contenders(groups: Iterable[Group]) -> str:
    rows: dict[str, list[str]] = {}
    for row in (row for group in groups for row in group.rows):
        rows.setdefault(row.name, [row.name, f"`{row.command}`", row.missing or row.lacks])
    return _table(["", "command", "what it does not do"], list(rows.values()))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)

"""The plot of docs/performance.md as SVG: a panel for each download benchmark, a bar a contender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from benchmarks.results import Group, Results, Row

_PANELS = ("small-40ms", "small-0ms", "large-40ms", "large-0ms", "mix-40ms", "mix-limited")
_COLUMNS, _WIDTH, _GAP, _MARGIN = 2, 470, 30, 16
_TITLE, _BAR, _STEP, _NAMES, _FIGURES = 30, 13, 19, 140, 90
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; } .name { text-anchor: end; } .sheet { fill: #ffffff; }
.bar { fill: #a8b3bf; } .ours { fill: #2f6fde; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .sheet { fill: #0d1117; } .bar { fill: #57606a; } .ours { fill: #58a6ff; }
}"""


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    figure: float
    label: str


def draw(results: Results) -> str:
    """The plot as SVG; a benchmark that was not run has no panel."""
    groups = [results.groups[name] for name in _PANELS if name in results.groups]
    parts: list[str] = []
    top = _MARGIN
    for start in range(0, len(groups), _COLUMNS):
        pair = groups[start : start + _COLUMNS]
        for column, group in enumerate(pair):
            parts += _panel(group, _MARGIN + column * (_WIDTH + _GAP), top)
        top += _GAP + max(_TITLE + _STEP * len(_bars(group)) for group in pair)
    width = 2 * _MARGIN + _COLUMNS * _WIDTH + (_COLUMNS - 1) * _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}">'
    )
    sheet = f'<rect class="sheet" width="{width}" height="{top}"/>'
    return "\n".join([head, f"<style>\n{_STYLE}\n</style>", sheet, *parts, "</svg>", ""])


def _panel(group: Group, left: int, top: int) -> Iterator[str]:
    bars = _bars(group)
    longest = max((bar.figure for bar in bars), default=1.0)
    room = _WIDTH - _NAMES - _FIGURES
    yield f'<text class="title" x="{left}" y="{top + 14}">{escape(group.title)}</text>'
    for place, bar in enumerate(bars):
        y = top + _TITLE + place * _STEP
        length = max(1.0, room * bar.figure / longest)
        kind = "bar ours" if bar.name.startswith("floradl") else "bar"
        x = left + _NAMES
        yield f'<text class="name" x="{x - 8}" y="{y + 11}">{escape(bar.name)}</text>'
        yield f'<rect class="{kind}" x="{x}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
        yield f'<text x="{x + length + 6:.1f}" y="{y + 11}">{bar.label}</text>'


def _bars(group: Group) -> list[_Bar]:
    """A bar for each measured contender: files a second, or megabytes a second where files are few."""
    return [_bar(group, row) for row in group.rows if row.samples]


def _bar(group: Group, row: Row) -> _Bar:
    if group.items >= 1000:
        figure, unit = group.items / row.wall_s, f"{group.unit}/s"
    else:
        figure, unit = group.size_bytes / row.wall_s / 1e6, "MB/s"
    return _Bar(row.name, figure, f"{figure:,.0f} {unit}")

"""The targets that floradl is held to, each beside the figure that was measured.

Every figure comes from the medians of one group of results. Ratios are ratios of speeds: 1.3 means 1.3 times
as fast as the other. A figure whose benchmark was not run is shown as "not measured".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import nights, startup, texts, verify
from benchmarks.results import Results, Row

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and its target; `holds` is None where the figure was not measured."""

    number: int
    what: str
    figure: str
    target: str
    holds: bool | None


def checks(results: Results) -> list[Check]:
    """All targets in order, with the figures of these results."""
    return [check for make in _CHECKS for check in make(results)]


def _at_least(number: int, what: str, figure: float | None, target: float, unit: str = " ×") -> Check:
    holds = None if figure is None else figure >= target
    return Check(number, what, _shown(figure, unit), f"≥ {target:g}{unit}", holds)


def _at_most(number: int, what: str, figure: float | None, target: float, unit: str = " ×") -> Check:
    holds = None if figure is None else figure <= target
    return Check(number, what, _shown(figure, unit), f"≤ {target:g}{unit}", holds)


def _below(number: int, what: str, figure: float | None, target: float, unit: str) -> Check:
    holds = None if figure is None else figure < target
    return Check(number, what, _shown(figure, unit), f"< {target:g}{unit}", holds)


def _shown(figure: float | None, unit: str) -> str:
    return (
        "not measured"
        if figure is None
        else f"{figure:.3g}{unit}"
        if figure < 1000
        else f"{figure:.0f}{unit}"
    )


def _faster(row: Row | None, other: Row | None) -> float | None:
    """How many times as fast one row is as the other; None where one of them was not measured."""
    return other.wall_s / row.wall_s if row and other else None


def _fastest(rows: list[Row | None]) -> Row | None:
    return min((row for row in rows if row is not None), key=lambda row: row.wall_s, default=None)


def _small(results: Results) -> Iterator[Check]:
    group, what = "small-40ms", "3,000 × 200 KB, 40 ms, default settings, beside"
    ours = results.row(group, "floradl")
    yield _at_least(1, f"{what} aria2c at 64", _faster(ours, results.row(group, "aria2c -j 64")), 1.3)
    yield _at_least(1, f"{what} curl at 64", _faster(ours, results.row(group, "curl --parallel 64")), 0.8)


def _large(results: Results) -> Iterator[Check]:
    for group, route in (("large-40ms", "40 ms"), ("large-0ms", "no delay")):
        what = f"4 × 256 MiB, {route}, default settings, beside"
        ours = results.row(group, "floradl")
        aria2c = _fastest([results.row(group, name) for name in ("aria2c -j 16", "aria2c -j 16 -x 16")])
        yield _at_least(2, f"{what} the faster aria2c", _faster(ours, aria2c), 1.2)
        yield _at_least(2, f"{what} curl", _faster(ours, results.row(group, "curl --parallel 16")), 0.85)


def _one(results: Results) -> Iterator[Check]:
    ours, single = (results.row("one-limited", name) for name in ("floradl", "curl, one connection"))
    what = "one file of 256 MiB at 8 MiB/s a connection, beside one connection"
    yield _at_least(3, what, _faster(ours, single), 3)


def _nights(results: Results) -> Iterator[Check]:
    limits: dict[int, tuple[float, float] | None] = {1000: None, 100_000: (1, 250), 1_000_000: (6, 1500)}
    for count, limit in limits.items():
        row = results.row(f"night-{count}", nights.LATER)
        what = f"quiet night over {count:,} outputs"
        yield _at_most(4, f"{what}: API calls", row.counted("api_calls") if row else None, 8, "")
        if limit:
            yield _below(4, f"{what}: time", row.wall_s if row else None, limit[0], " s")
            yield _below(4, f"{what}: memory", row.peak_rss_bytes / 1e6 if row else None, limit[1], " MB")


def _texts(results: Results) -> Iterator[Check]:
    row, group = results.row("texts", texts.FLORADL), results.groups.get("texts")
    speed = group.items / row.wall_s if group and row else None
    yield _at_least(5, "first archive of 10,000 texts", speed, 500, " runs/s")


def _memory(results: Results) -> Iterator[Check]:
    beyond = []
    for count in (texts.LONG, texts.SHORT):
        job = results.row("memory", texts.JOB.format(count))
        reading = results.row("memory", texts.READING.format(count))
        beyond.append(job.peak_rss_bytes - reading.peak_rss_bytes if job and reading else None)
    long, short = beyond
    growth = abs(long - short) / 1e6 if long is not None and short is not None else None
    what = "memory over 100,000 runs beyond that over 10,000, each without the reading of its manifest"
    yield _at_most(6, what, growth, 50, " MB")


def _busy(results: Results) -> Iterator[Check]:
    group, what = "busy-busy", "a host that refuses above 8 requests:"
    ours = results.row(group, "floradl")
    best = _fastest([results.row(group, f"floradl -j {number}") for number in (4, 6, 8)])
    longer = ours.wall_s / best.wall_s if ours and best else None
    yield _at_most(7, f"{what} time, beside the best fixed concurrency", longer, 1.25)
    share = 100 * ours.counted("refused") / ours.counted("media_requests") if ours else None
    yield _below(7, f"{what} requests refused", share, 3, " %")


def _verify(results: Results) -> Iterator[Check]:
    for group, what in (("verify-small", "3,000 × 200 KB"), ("verify-large", "4 × 256 MiB")):
        ours, theirs = (results.row(group, name) for name in (verify.VERIFY, verify.ALL_CORES))
        yield _at_least(8, f"verify of {what} beside sha256sum on all cores", _faster(ours, theirs), 0.9)


def _startup(results: Results) -> Iterator[Check]:
    python = results.row("startup", startup.PYTHON)
    for name in (startup.VERSION, startup.HELP):
        row = results.row("startup", name)
        longer = row.wall_s / python.wall_s if row and python else None
        yield _below(9, f"{name} beside python -c pass", longer, 6, " ×")


_CHECKS: tuple[Callable[[Results], Iterator[Check]], ...] = (
    _small, _large, _one, _nights, _texts, _memory, _busy, _verify, _startup,
)  # fmt: skip

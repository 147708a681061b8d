"""The figures, as they stand in results.json.

The file is kept in the repository: docs/performance.md is made of it and nothing else, so that whoever
doubts a number there can go back to every single run, and a test can tell whether the page was changed by
hand.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

from benchmarks.errors import BenchmarkError

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"


class Sample(msgspec.Struct, frozen=True):
    """What one process cost; `extra` has what else was counted, such as API calls."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    extra: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True):
    """One contender of a group: its runs, or why there are none."""

    name: str
    command: str
    lacks: str = ""
    samples: list[Sample] = []
    missing: str = ""

    @property
    def wall_s(self) -> float:
        """The median time."""
        return statistics.median(sample.wall_s for sample in self.samples)

    @property
    def cpu_s(self) -> float:
        """The median CPU time, user and system."""
        return statistics.median(sample.cpu_s for sample in self.samples)

    @property
    def peak_rss_bytes(self) -> float:
        """The median peak memory."""
        return statistics.median(sample.peak_rss_bytes for sample in self.samples)

    def counted(self, name: str) -> float:
        """The median of what else was counted under this name."""
        return statistics.median(sample.extra[name] for sample in self.samples)


class Group(msgspec.Struct, frozen=True):
    """Contenders that took turns at a job: `items` of `unit` with so many bytes.

    Where it is no contest, the rows are jobs that differ, and their speeds are not compared.
    """

    id: str
    title: str
    unit: str
    items: int
    size_bytes: int
    rows: list[Row]
    note: str = ""
    is_contest: bool = True

    def row(self, name: str) -> Row | None:
        """A contender that was measured; None for one that was not."""
        return next((row for row in self.rows if row.name == name and row.samples), None)


class Results(msgspec.Struct):
    """Everything that was measured, and where."""

    machine: dict[str, str]
    groups: dict[str, Group] = {}

    def row(self, group: str, name: str) -> Row | None:
        """A contender of a group, if both were measured."""
        found = self.groups.get(group)
        return found.row(name) if found else None


def load(path: Path) -> Results:
    """Read a results file.

    Raises:
        BenchmarkError: there is none, or it is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except (OSError, msgspec.DecodeError) as exc:
        raise BenchmarkError(f"{path}: {exc}") from exc


def save(results: Results, path: Path) -> None:
    """Write a results file, laid out so that changes can be read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")

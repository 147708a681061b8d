"""The figures that results.json holds.

The file is part of the repository, and docs/performance.md is made of nothing else. So a reader who doubts a
number finds every single run here, and a test finds out whether the page was changed by hand.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

from benchmarks.errors import BenchmarkError

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"


class Sample(msgspec.Struct, frozen=True):
    """What one process cost; `extra` has further counts, such as `api_calls`."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    extra: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True):
    """One contender of a group: its samples, or why it has none."""

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
        """The median of a further count."""
        return statistics.median(sample.extra[name] for sample in self.samples)


class Group(msgspec.Struct, frozen=True):
    """Contenders that took turns at one job, which had `items` things of the kind `unit`.

    Where it is no contest, the rows are different jobs, and their speeds are not compared.
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
        """The row of a contender; None when it was not measured."""
        return next((row for row in self.rows if row.name == name and row.samples), None)


class Results(msgspec.Struct):
    """All groups that were measured, and the machine."""

    machine: dict[str, str]
    groups: dict[str, Group] = {}

    def row(self, group: str, name: str) -> Row | None:
        """The row of a contender in a group; None when the group or the contender was not measured."""
        found = self.groups.get(group)
        return found.row(name) if found else None


def load(path: Path) -> Results:
    """Read a results file.

    Raises:
        BenchmarkError: the file is not there, or cannot be read as results.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except (OSError, msgspec.DecodeError) as exc:
        raise BenchmarkError(f"{path}: {exc}") from exc


def save(results: Results, path: Path) -> None:
    """Write a results file, laid out so that the changes in a commit can be read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")

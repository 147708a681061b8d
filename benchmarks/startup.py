"""The benchmark of how long floradl takes to start."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.measure import Entrant, run_process
from benchmarks.results import Group, Sample

PYTHON = "python -c pass"
VERSION = "floradl --version"
HELP = "floradl --help"


def startup(bench: Bench) -> Group:
    """Measure Python alone, `--version` and `--help`, many times because each takes so little time."""
    entrants = [
        _entrant(bench, PYTHON, [sys.executable, "-c", "pass"]),
        _entrant(bench, VERSION, [*bench.floradl, "--version"]),
        _entrant(bench, HELP, [*bench.floradl, "--help"]),
    ]
    rows = bench.take_turns(entrants, bench.runs * bench.size(6, 1))
    return Group("startup", "Start-up", "starts", 1, 0, rows)


def _entrant(bench: Bench, name: str, command: Sequence[str]) -> Entrant:
    def run() -> Sample:
        return run_process(command, bench.environment(), bench.work).sample

    return Entrant(name, name, run)

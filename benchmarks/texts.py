"""Benchmarks of archiving runs of one text each: without media, only listing, writing and recording are left.

The same jobs over ten times as many runs show whether memory grows with the history. The manifest grows,
because it is held in memory. So a process that only reads the manifest is measured as well, and subtracted:
what a job takes beyond its manifest may be only a little more for the long history than for the short one.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.account import Output, Run
from benchmarks.bench import ARCHIVE, Bench, check_tree
from benchmarks.downloads import text
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Entrant, run_process
from benchmarks.results import Group, Row, Sample

PROJECTS = 4
FLORADL = "floradl"
JOB = "archive, {:,} runs"
READING = "reading the manifest, {:,} runs"
SHORT, LONG = 10_000, 100_000
_READ = """\
import sys
from pathlib import Path
from floradl.repository.manifest import Manifest
manifest = Manifest.parse(Path(sys.argv[1]).read_bytes())
sys.exit(len(manifest) != int(sys.argv[2]))
"""


def first_archive(bench: Bench) -> Group:
    """Make the first archive of 10,000 texts, beside the time that the disk alone takes."""
    count = bench.size(SHORT, 300)
    size_bytes = _size_bytes(count) // count
    rows = bench.take_turns([_archiving(bench, FLORADL, count), bench.floor(count, 1, size_bytes)])
    return Group("texts", f"{count:,} runs of one text", "runs", count, _size_bytes(count), rows)


def memory(bench: Bench) -> Group:
    """Measure the peak memory over a short and over a long history."""
    rows: list[Row] = []
    for full in (SHORT, LONG):
        count = bench.size(full, full // 1000)
        kept = bench.work / f"manifest-{count}.json"
        entrants = [
            _archiving(bench, JOB.format(full), count, kept, max_runs=1 if full == LONG else None),
            _reading(bench, READING.format(full), count, kept),
        ]
        rows += bench.take_turns(entrants)
        kept.unlink()
    note = "A job's memory without its manifest is what it takes beyond the process that only reads that."
    return Group("memory", "Archives of texts", "jobs", 1, 0, rows, note, is_contest=False)


def iter_runs(count: int) -> Iterator[Run]:
    """Yield runs of one text each, in several projects."""
    for number in range(count):
        yield Run(number, (Output("text", text(number)),), f"prj_bench{number % PROJECTS}")


def _size_bytes(count: int) -> int:
    return sum(len(text(number).encode()) for number in range(count))


def _archiving(
    bench: Bench, name: str, count: int, keep_manifest: Path | None = None, max_runs: int | None = None
) -> Entrant:
    scene = f"texts-{count}"
    bench.publish(scene, iter_runs(count))

    def run() -> Sample:
        with bench.folder() as folder:
            dest = folder / "archive"
            sample, report = bench.archive(scene, dest)
            check_tree(dest, count, _size_bytes(count), name)
            if report.outputs.fetched != count:
                raise BenchmarkError(f"{name} reports {report.outputs.fetched} of {count} outputs")
            if keep_manifest is not None:
                shutil.move(dest / "manifest.json", keep_manifest)
        return sample

    return Entrant(name, " ".join(["floradl", *ARCHIVE, "DEST"]), run, max_runs=max_runs)


def _reading(bench: Bench, name: str, count: int, manifest: Path) -> Entrant:
    command = [sys.executable, "-c", _READ, str(manifest), str(count)]

    def run() -> Sample:
        return run_process(command, bench.environment(), bench.work).sample

    return Entrant(name, "python -c 'Manifest.parse(Path(FILE).read_bytes())'", run)

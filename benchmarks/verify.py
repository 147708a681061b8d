"""Benchmarks of `floradl verify` beside sha256sum, over the same archive."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from benchmarks import media
from benchmarks.account import Output, runs_of
from benchmarks.bench import Bench
from benchmarks.errors import BenchmarkError
from benchmarks.host import INSTANT
from benchmarks.measure import Entrant, run_process
from benchmarks.media import Files
from benchmarks.results import Group, Sample

VERIFY = "floradl verify"
ALL_CORES = "sha256sum on all cores"
ONE_CORE = "sha256sum -c SHA256SUMS"
_NO_MANIFEST = "only hashes: knows nothing of what should be there, of run.json, or of strays"


class _Report(msgspec.Struct, frozen=True):
    sound: bool
    outputs: int
    read_bytes: int


def small(bench: Bench) -> Group:
    """Verify an archive of thousands of small images."""
    return _measure(bench, "verify-small", Files(bench.size(3000, 24), 200_000), "images of 200 KB")


def large(bench: Bench) -> Group:
    """Verify an archive of a few large videos."""
    size_bytes = bench.size(256, 2) * 1024 * 1024
    return _measure(bench, "verify-large", Files(4, size_bytes, "videoUrl"), "videos of 256 MiB")


def _measure(bench: Bench, name: str, files: Files, what: str) -> Group:
    media.make(files, bench.media)
    outputs = [Output(files.type, bench.host.media_url(INSTANT, path)) for path in files.paths]
    bench.publish(name, runs_of(outputs, per_run=4))
    with bench.folder() as folder:
        dest = folder / "archive"
        bench.archive(name, dest)
        size_bytes = files.count * files.size_bytes
        entrants = [
            _verify(bench, dest, files.count, size_bytes),
            _all_cores(bench, dest, files, folder / "names"),
            _one_core(bench, dest),
        ]
        rows = bench.take_turns(entrants)
    title = f"Checking {files.count:,} {what}"
    return Group(name, title, "files", files.count, size_bytes, rows)


def _verify(bench: Bench, dest: Path, count: int, size_bytes: int) -> Entrant:
    command = [*bench.floradl, "verify", "--json", "--no-progress", str(dest)]

    def run() -> Sample:
        outcome = run_process(command, bench.environment(), bench.work)
        report = msgspec.json.decode(outcome.stdout, type=_Report)
        if not report.sound or report.outputs != count or report.read_bytes < size_bytes:
            raise BenchmarkError(f"verify did not read all of it: {report}")
        return outcome.sample

    return Entrant(VERIFY, "floradl verify --json --no-progress DEST", run)


def _all_cores(bench: Bench, dest: Path, files: Files, names: Path) -> Entrant:
    found = sorted(path for path in dest.rglob(f"*{files.suffix}") if path.is_file())
    names.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in found))
    cores = os.cpu_count() or 1
    # As many files for each process as possible without leaving a core idle at the end.
    batch = max(1, min(64, files.count // (4 * cores)))
    line = f"xargs -0 -n {batch} -P {cores} sha256sum"

    def run() -> Sample:
        command = ["sh", "-c", f'{line} < "$1"', "sh", str(names)]
        outcome = run_process(command, bench.environment(), bench.work)
        if outcome.stdout.count(b"\n") != files.count:
            raise BenchmarkError("sha256sum did not read all of it")
        return outcome.sample

    return Entrant(ALL_CORES, f"{line} < NAMES", run, _NO_MANIFEST, missing=_missing("xargs", "sha256sum"))


def _one_core(bench: Bench, dest: Path) -> Entrant:
    command = ["sh", "-c", 'cd "$1" && sha256sum --quiet -c SHA256SUMS', "sh", str(dest)]

    def run() -> Sample:
        return run_process(command, bench.environment(), bench.work).sample

    return Entrant(
        ONE_CORE, "sha256sum --quiet -c SHA256SUMS", run, _NO_MANIFEST, missing=_missing("sha256sum")
    )


def _missing(*programs: str) -> str:
    return ", ".join(f"{name} is not installed" for name in programs if shutil.which(name) is None)

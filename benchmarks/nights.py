"""Benchmarks of a night with nothing new, over archives of a thousand to a million outputs.

The archives are made up. Their folders and small files are real and kept; the manifest and the checksums are
written anew each time, as floradl itself writes them, with seals for the key and the API of the benchmark.
The API has only the first pages of the history: a scan that reads on below its seal gets a 404 and fails.

The first night over a new archive is measured apart, because floradl may write things in it that later nights
use, such as the dates of folders.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.account import API_KEY, NEWEST_MS, PAGE_RUNS, WORKSPACE_ID, Output, Run
from benchmarks.bench import ARCHIVE, Bench
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Entrant
from benchmarks.media import PNG_HEAD, PNG_TAIL
from benchmarks.results import Group, Sample
from floradl.api.client import FloraApi
from floradl.clock import Clock, format_ms
from floradl.constants import Kind, Source
from floradl.repository import layout
from floradl.repository.entries import (
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    State,
)
from floradl.repository.manifest import Manifest
from floradl.storage import base

FIRST, LATER = "the first night", "later nights"
PER_RUN = 4
ARCHIVE_ID = "0" * 31 + "1"
_LISTED_PAGES = 3
_THREADS = 8


def night(bench: Bench, count: int) -> Group:
    """Measure nights over an archive of `count` outputs."""
    size = bench.size(count, min(count, 1000) // 2)
    name = f"night-{size}"
    runs = size // PER_RUN
    began_s = time.monotonic()
    dest = bench.data / name
    _make_tree(dest, runs)
    _write_manifest(dest, runs, bench.host.base_url(name))
    bench.publish(name, map(_run, range(min(runs, _LISTED_PAGES * PAGE_RUNS))), goes_on=True)
    bench.say(f"  built in {time.monotonic() - began_s:.0f} s")
    entrants = [_entrant(bench, FIRST, name, size, 1), _entrant(bench, LATER, name, size, None)]
    rows = bench.take_turns(entrants)
    title = f"A quiet night over {count:,} outputs"
    return Group(f"night-{count}", title, "outputs", size, size * len(_content(0, 0)), rows)


def _entrant(bench: Bench, name: str, scene: str, size: int, max_runs: int | None) -> Entrant:
    def run() -> Sample:
        sample, report = bench.archive(scene, bench.data / scene)
        if report.outputs.fetched or report.archive.outputs != size:
            raise BenchmarkError(f"the night was not quiet, or not over {size} outputs: {report}")
        return sample

    return Entrant(name, " ".join(["floradl", *ARCHIVE, "DEST"]), run, max_runs=max_runs)


def _run(number: int) -> Run:
    outputs = (
        Output(
            "imageUrl", f"https://media.flora.ai/node-inputs/2026-11-01/anonymous/{number:024x}-{index}.png"
        )
        for index in range(1, PER_RUN + 1)
    )
    return Run(number, tuple(outputs), f"prj_bench{number % 8}")


def _content(number: int, index: int) -> bytes:
    return PNG_HEAD + f"{number:012d}-{index}".encode() + PNG_TAIL


def _folder(run: Run) -> Path:
    return Path(layout.item_path(Kind.RUN, WORKSPACE_ID, run.project_id, run.run_id))


def _make_tree(dest: Path, runs: int) -> None:
    """Write the folders and files of the runs, unless an earlier run of the benchmarks has written them."""
    if dest.exists():
        return
    temporary = Path(tempfile.mkdtemp(prefix="night-", dir=dest.parent))
    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(lambda start: _write_runs(temporary, start, runs), range(0, runs, 500)):
                pass
        temporary.rename(dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_runs(dest: Path, start: int, runs: int) -> None:
    for run in map(_run, range(start, min(start + 500, runs))):
        folder = dest / _folder(run)
        folder.mkdir(parents=True)
        (folder / layout.RUN_RECORD).write_bytes(run.record())
        for index in range(1, PER_RUN + 1):
            (folder / f"output_{index}.png").write_bytes(_content(run.number, index))


def _write_manifest(dest: Path, runs: int, base_url: str) -> None:
    """Write manifest.json and SHA256SUMS as a full scan that ended just now would leave them."""
    shutil.rmtree(dest / base.PRIVATE, ignore_errors=True)
    now = format_ms(Clock().now_ms())
    manifest = Manifest(ARCHIVE_ID, now)
    for number in range(runs):
        for op in _ops(_run(number), now):
            manifest.apply(op)
    for seal in _seals(base_url, now):
        manifest.apply(ScanOp(seal))
    for path, pieces in (
        (layout.CHECKSUMS, manifest.encode_checksums()),
        (layout.MANIFEST, manifest.encode(updated_at=now, base_url=base_url)),
    ):
        with (dest / path).open("wb") as file:
            file.writelines(pieces)


def _ops(run: Run, now: str) -> Iterator[RunOp | OutputOp]:
    facts = RunFacts(
        workspace_id=WORKSPACE_ID,
        project_id=run.project_id,
        path=_folder(run).as_posix(),
        model_id="t2i-flux-2-pro",
        created_at=run.created_at_ms,
        completed_at=run.completed_at_ms,
        charged_cost=0.004,
        record_sha256=hashlib.sha256(run.record()).hexdigest(),
        output_count=PER_RUN,
    )
    yield RunOp(run.run_id, facts)
    for index, output in enumerate(run.outputs, 1):
        content = _content(run.number, index)
        entry = OutputEntry(
            type=output.type,
            state=State.ARCHIVED,
            file=f"output_{index}.png",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            content_type="image/png",
            url=output.value,
            archived_at=now,
        )
        yield OutputOp(run.run_id, f"output_{index}", entry)


def _seals(base_url: str, now: str) -> Iterator[ScanEntry]:
    """The seals that complete scans leave: generations have all runs, technique runs are none."""
    api = FloraApi(base_url, API_KEY, clock=Clock(), retries=0, timeout_s=1.0)
    for source, sealed_before in ((Source.GENERATIONS, NEWEST_MS), (Source.TECHNIQUE_RUNS, None)):
        yield ScanEntry(
            scope=ScopeEntry(source, None, None),
            account=api.account(ARCHIVE_ID),
            sealed_before=sealed_before,
            open_runs={},
            last_scan_at=now,
            last_full_scan_at=now,
        )

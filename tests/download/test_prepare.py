"""A run's folder before its outputs are asked for: what is written, flushed and recorded, in which order."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from msgspec.structs import replace

from floradl.api.models import Filters, Generation
from floradl.api.records import parse_asset, parse_generation
from floradl.constants import Kind, Source
from floradl.download.plan import Action, RecordRule, Visit
from floradl.download.prepare import Prepared, Preparer, with_kept_entry
from floradl.errors import DestinationError
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, RunOp, SourcesOp, State, VanishedOp
from floradl.repository.results import Failure, Receipt, Result, facts_of
from floradl.storage.destination import Destination
from floradl.storage.local.fsync import Flusher

DONE_AT_MS = 1_700_000_000_000
FOLDER = PurePosixPath("ws_a/prj_b/run_c")
TEXT = {"output_id": "output_1", "type": "text", "url": "A boat of paper."}
PICTURE = {"output_id": "output_2", "type": "imageUrl", "url": "https://media.test/a.png?token=1"}
TEXT_FILE, PICTURE_FILE = FOLDER / "output_1.txt", FOLDER / "output_2.png"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive."""
    disk = Destination(tmp_path / "out")
    disk.prepare()
    yield disk
    disk.close()


def made(*outputs: Mapping[str, Any], **more: object) -> Generation:
    """A run with these outputs."""
    record = {
        "run_id": "run_c",
        "status": "completed",
        "workspace_id": "ws_a",
        "project_id": "prj_b",
        "completed_at": DONE_AT_MS,
        "outputs": outputs,
        **more,
    }
    return parse_generation(json.dumps(record).encode())


def entry_of(run: Generation, vanished_at: str | None = None, **outputs: OutputEntry) -> RunEntry:
    """What is recorded of a run."""
    facts = facts_of(run, FOLDER, sha256_of(run.raw))
    fields = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return RunEntry(**fields, outputs=outputs, vanished_at=vanished_at)


def archived(data: bytes, file: str) -> OutputEntry:
    """An output that is recorded with these bytes."""
    kind = "text" if file.endswith(".txt") else "imageUrl"
    return OutputEntry(kind, State.ARCHIVED, file, len(data), sha256_of(data))


def sha256_of(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Whole:
    """What came of a run, and what is to be recorded once its files are written."""

    prepared: Prepared
    results: list[Result]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prepared, name)


def prepare(
    disk: Destination,
    run: Generation,
    entry: RunEntry | None = None,
    *,
    visit: Visit | None = None,
    rule: RecordRule = RecordRule.UPDATE,
    filters: Filters | None = None,
    partials: frozenset[str] = frozenset(),
) -> Whole:
    """One run, prepared, and its files written."""
    preparer = Preparer(disk, filters or Filters(), partials)
    prepared = preparer.prepare(visit or Visit(run), run, rule, entry)
    written = disk.write_files(prepared.folder, prepared.files, prepared.mtime_ms) if prepared.files else []
    return Whole(prepared, prepared.results_of(written))


def files(disk: Destination) -> dict[str, bytes]:
    """What is in the run's folder."""
    folder = disk.root / FOLDER
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


@pytest.fixture
def steps(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each flush and each rename from now on."""
    noted: list[str] = []
    replace, folder, date_and_flush = os.replace, Flusher.folder, Flusher.date_and_flush

    def noted_replace(path: Path, target: Path | str, **kwargs: int) -> None:
        noted.append(f"name {Path(target).name}")
        replace(path, target, **kwargs)

    def noted_folder(flusher: Flusher, path: Path | str) -> None:
        noted.append(f"flush {Path(path).relative_to(disk.root)}")
        folder(flusher, path)

    def noted_file(flusher: Flusher, descriptor: int, path: Path | str, mtime_ms: int | None) -> None:
        noted.append(f"flush {os.fstat(descriptor).st_size} bytes")
        date_and_flush(flusher, descriptor, path, mtime_ms)

    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(Flusher, "folder", noted_folder)
    monkeypatch.setattr(Flusher, "date_and_flush", noted_file)
    return noted


# ------------------------------------------------------------------------------------------------ a new run


def test_a_new_run(disk: Destination, steps: list[str]) -> None:
    """The record and the texts are there, dated and flushed, and the facts stand before the outputs."""
    run = made(TEXT, PICTURE)
    prepared = prepare(disk, run)
    assert files(disk) == {"run.json": run.raw, "output_1.txt": b"A boat of paper."}
    assert steps == [
        "flush .",
        "flush ws_a",
        "flush ws_a/prj_b",
        f"flush {len(run.raw)} bytes",
        "name run.json",
        "flush 16 bytes",
        "name output_1.txt",
        "flush ws_a/prj_b/run_c",
    ]
    for name in files(disk):
        assert (disk.root / FOLDER / name).stat().st_mtime_ns == DONE_AT_MS * 1_000_000
    facts, receipt = prepared.results
    assert facts == RunOp("run_c", facts_of(run, FOLDER, sha256_of(run.raw)))
    assert isinstance(receipt, Receipt)
    assert (receipt.file, receipt.sha256) == ("output_1.txt", sha256_of(b"A boat of paper."))
    assert [(job.decision.output.key, job.decision.action) for job in prepared.jobs] == [
        ("output_2", Action.FETCH)
    ]
    assert (prepared.is_due, prepared.outputs, prepared.already) == (True, 2, 0)


def test_a_run_without_outputs(disk: Destination, steps: list[str]) -> None:
    """Its record is archived too, and durable before it is recorded."""
    prepared = prepare(disk, made())
    assert [type(result) for result in prepared.results] == [RunOp]
    assert list(files(disk)) == ["run.json"]
    assert steps[-2:] == ["name run.json", "flush ws_a/prj_b/run_c"]


@pytest.mark.parametrize("broken", ["run.json", "output_1.txt", "the folder"])
def test_nothing_counts_where_the_disk_fails(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever of it cannot be made durable, no result comes out that could be recorded."""
    replace, flush_folder = os.replace, Flusher.folder

    def failing_replace(path: Path, target: Path | str, **kwargs: int) -> None:
        if Path(target).name == broken:
            raise OSError(errno.EIO, "broken")
        replace(path, target, **kwargs)

    def failing_folder(flusher: Flusher, path: Path | str) -> None:
        if broken == "the folder" and Path(path).name == FOLDER.name:
            raise OSError(errno.EIO, "broken")
        flush_folder(flusher, path)

    monkeypatch.setattr(os, "replace", failing_replace)
    monkeypatch.setattr(Flusher, "folder", failing_folder)
    with pytest.raises(OSError, match="broken"):
        prepare(disk, made(TEXT))


def test_after_a_process_that_was_killed(disk: Destination, steps: list[str]) -> None:
    """What was written and not recorded is written again, so it is flushed before it is recorded."""
    run = made(TEXT)
    prepare(disk, run)
    steps.clear()
    prepared = prepare(disk, run)
    assert [type(result) for result in prepared.results] == [RunOp, Receipt]
    assert steps[-1] == "flush ws_a/prj_b/run_c"
    assert not prepared.kept_aside
    assert all(result.in_the_way is None for result in prepared.results if isinstance(result, Receipt))


# ------------------------------------------------------------------------------------- a run that is known


def test_a_run_that_is_whole(disk: Destination, steps: list[str]) -> None:
    """Where all is there, nothing is written, flushed or recorded."""
    run = made(TEXT)
    prepare(disk, run)
    steps.clear()
    prepared = prepare(disk, run, entry_of(run, output_1=archived(b"A boat of paper.", "output_1.txt")))
    assert (prepared.outputs, prepared.already) == (1, 1)
    assert (prepared.results, prepared.jobs, steps) == ([], [], [])


def test_a_record_that_says_something_new(disk: Destination, steps: list[str]) -> None:
    """It replaces the old one, and its facts are recorded once it is durable."""
    old = made()
    prepare(disk, old)
    new = made(charged_cost=0.5)
    steps.clear()
    prepared = prepare(disk, new, entry_of(old))
    assert files(disk) == {"run.json": new.raw}
    assert prepared.results == [RunOp("run_c", facts_of(new, FOLDER, sha256_of(new.raw)))]
    assert steps == [f"flush {len(new.raw)} bytes", "name run.json", "flush ws_a/prj_b/run_c"]


def test_a_record_that_is_to_be_kept(disk: Destination) -> None:
    """One that was put together from parts does not replace what the API gave once."""
    old = made()
    prepare(disk, old)
    prepared = prepare(disk, made(charged_cost=0.5), entry_of(old), rule=RecordRule.KEEP)
    assert files(disk) == {"run.json": old.raw}
    assert prepared.results == []


def test_a_record_that_is_lost(disk: Destination) -> None:
    """It is written again, whatever the rule: there is none to keep."""
    run = made()
    prepared = prepare(disk, run, entry_of(run), rule=RecordRule.KEEP)
    assert files(disk) == {"run.json": run.raw}
    assert [type(result) for result in prepared.results] == [RunOp]


@pytest.mark.parametrize("there", [b"damaged", None])
def test_a_record_that_is_damaged(disk: Destination, there: bytes | None) -> None:
    """It is set aside and written anew; one that is gone leaves nothing to set aside."""
    run = made()
    if there is not None:
        disk.write_atomic(FOLDER / layout.RUN_RECORD, [there])
    prepared = prepare(disk, run, entry_of(run), rule=RecordRule.REPLACE)
    assert files(disk) == {"run.json": run.raw}
    assert [disk.read(aside) for aside in prepared.kept_aside] == ([] if there is None else [there])


def test_a_run_that_was_moved_stays(disk: Destination) -> None:
    """One that is in another project now is archived where its entries say."""
    old = made()
    moved = made(project_id="prj_new")
    prepared = prepare(disk, moved, entry_of(old))
    assert (prepared.run.project_id, files(disk)) == ("prj_b", {"run.json": moved.raw})


@pytest.mark.parametrize("is_current", [True, False])
def test_a_run_that_had_vanished(disk: Destination, *, is_current: bool) -> None:
    """One that the API gives again has not vanished; one known from the disk alone still has."""
    run = made()
    prepare(disk, run)
    prepared = prepare(disk, run, entry_of(run, "then"), visit=Visit(run, is_current=is_current))
    assert prepared.results == ([VanishedOp("run_c", None)] if is_current else [])


# ------------------------------------------------------------------------------------- what is wanted of it


def test_nothing_of_it_is_wanted(disk: Destination) -> None:
    """A run that the filters leave nothing of is not written down."""
    prepared = prepare(disk, made(TEXT), filters=Filters(types=frozenset({"videoUrl"})))
    assert not prepared.is_due
    assert (prepared.results, prepared.jobs, files(disk)) == ([], [], {})


def test_only_some_of_it_is_wanted(disk: Destination) -> None:
    """A visit that is about one output leaves the others alone."""
    run = made(TEXT, PICTURE)
    prepared = prepare(disk, run, visit=Visit(run, only=frozenset({"output_2"})))
    assert [job.decision.output.key for job in prepared.jobs] == ["output_2"]
    assert list(files(disk)) == ["run.json"]


def test_a_partial_is_gone_on_from(disk: Destination) -> None:
    """What an earlier process left is resumed."""
    partials = frozenset({layout.partial_path("run_c", "output_2").name})
    (job,) = prepare(disk, made(PICTURE), partials=partials).jobs
    assert job.decision.action == Action.RESUME


def test_an_output_that_cannot_be_had(disk: Destination) -> None:
    """It is a result like any other, after the facts."""
    prepared = prepare(disk, made(PICTURE | {"url": None}))
    facts, failure = prepared.results
    assert isinstance(facts, RunOp)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.keeps_entry, prepared.jobs) == ("no_url", False, [])


def test_an_archived_output_that_cannot_be_had_keeps_its_entry(disk: Destination) -> None:
    """Without its entry, nobody could tell a damaged file from a right one."""
    run = made(PICTURE | {"url": None})
    known = archived(b"picture", "output_2.png")
    (failure,) = (
        result for result in prepare(disk, run, entry_of(run, output_2=known)).results
        if isinstance(result, Failure)
    )  # fmt: skip
    assert failure.keeps_entry
    (job,) = prepare(disk, made(PICTURE), entry_of(run, output_2=known)).jobs
    assert job.was_archived
    assert with_kept_entry(Failure("run_c", "output_2", "imageUrl", None, "http_404", "", 1), job).keeps_entry


# ----------------------------------------------------------------------------------------- what is in its way


def test_a_damaged_picture_stays_until_the_new_one_is_whole(disk: Destination) -> None:
    """It does not count as there, is asked for, and is named to whoever brings the new one."""
    run = made(PICTURE)
    disk.write_atomic(PICTURE_FILE, [b"picturE"])
    entry = entry_of(run, output_2=archived(b"picture", "output_2.png"))
    prepared = prepare(disk, run, entry, visit=Visit(run, replaces=frozenset({"output_2"})))
    (job,) = prepared.jobs
    assert (job.replaces, job.decision.action) == ("output_2.png", Action.FETCH)
    assert files(disk)["output_2.png"] == b"picturE"


def test_a_damaged_text_is_set_aside(disk: Destination) -> None:
    """A text is in the record, so its damaged file is replaced at once, and kept."""
    run = made(TEXT)
    disk.write_atomic(TEXT_FILE, [b"A goat of paper."])
    entry = entry_of(run, output_1=archived(b"A boat of paper.", "output_1.txt"))
    prepared = prepare(disk, run, entry, visit=Visit(run, replaces=frozenset({"output_1"})))
    (receipt,) = (result for result in prepared.results if isinstance(result, Receipt))
    assert receipt.aside is not None
    assert disk.read(receipt.aside) == b"A goat of paper."
    assert files(disk)["output_1.txt"] == b"A boat of paper."


def test_what_stands_in_the_way_of_a_text_is_kept(disk: Destination) -> None:
    """Somebody's own file under that name is moved, not overwritten."""
    disk.write_atomic(TEXT_FILE, [b"mine"])
    prepared = prepare(disk, made(TEXT))
    (receipt,) = (result for result in prepared.results if isinstance(result, Receipt))
    assert receipt.in_the_way is not None
    assert disk.read(receipt.in_the_way) == b"mine"


@pytest.mark.parametrize("kept_bytes", [1, 2**62])
def test_room_for_a_text(disk: Destination, kept_bytes: int) -> None:
    """A text too leaves the room that shall stay free."""
    disk.min_free_bytes = kept_bytes
    if kept_bytes == 1:
        assert len(prepare(disk, made(TEXT)).results) == 2
    else:
        with pytest.raises(DestinationError, match="bytes free"):
            prepare(disk, made(TEXT))


# ------------------------------------------------------------------------------------ what several lists have

TECHNIQUE = {"technique": {"technique_id": "tech_1", "name": "Relight"}}
BOTH = ("technique-runs", "generations")


def told(prepared: Whole) -> list[tuple[str, ...]]:
    """The lists that are recorded to have the run."""
    return [result.sources for result in prepared.results if isinstance(result, SourcesOp)]


@pytest.mark.parametrize(
    ("known", "source", "expected"),
    [
        (None, Source.GENERATIONS, []),
        (None, Source.TECHNIQUE_RUNS, [("technique-runs",)]),
        (("generations",), Source.TECHNIQUE_RUNS, [("generations", "technique-runs")]),
        (("generations",), None, []),
        (BOTH, Source.GENERATIONS, []),
    ],
)
def test_which_list_has_a_run(
    disk: Destination, known: tuple[str, ...] | None, source: Source | None, expected: list[tuple[str, ...]]
) -> None:
    """It is recorded where it says something new, and only then."""
    run = made(TEXT)
    entry = None if known is None else replace(entry_of(run), sources=known)
    assert told(prepare(disk, run, entry, visit=Visit(run, source=source))) == expected


def test_the_record_that_says_more_stays(disk: Destination) -> None:
    """Met among generations alone, a technique run keeps its technique; what is new is laid over it."""
    full = made(TEXT, **TECHNIQUE)
    prepare(disk, full, visit=Visit(full, source=Source.TECHNIQUE_RUNS))
    entry, before = replace(entry_of(full), sources=BOTH), files(disk)
    same = made(TEXT)
    assert not facts(prepare(disk, same, entry, visit=Visit(same, source=Source.GENERATIONS)))
    assert files(disk) == before
    dearer = made(TEXT, charged_cost=0.5)
    (op,) = facts(prepare(disk, dearer, entry, visit=Visit(dearer, source=Source.GENERATIONS)))
    assert (op.facts.technique_name, op.facts.charged_cost) == ("Relight", 0.5)
    assert json.loads(files(disk)["run.json"]) == json.loads(full.raw) | {"charged_cost": 0.5}


@pytest.mark.parametrize("record", [None, b"no JSON"])
def test_without_a_record_that_says_more(disk: Destination, record: bytes | None) -> None:
    """Where it is lost, what generations tell is better than nothing."""
    run = made(TEXT)
    entry = replace(entry_of(run), sources=BOTH)
    if record is not None:
        disk.write_atomic(FOLDER / "run.json", [record])
    prepared = prepare(disk, made(TEXT, charged_cost=1), entry, visit=Visit(run, source=Source.GENERATIONS))
    assert len(facts(prepared)) == 1
    assert json.loads(files(disk)["run.json"])["charged_cost"] == 1


def facts(prepared: Whole) -> list[RunOp]:
    """The facts to be recorded, if there are any."""
    return [result for result in prepared.results if isinstance(result, RunOp)]


def test_an_asset_has_a_record_and_a_folder_of_its_own(disk: Destination) -> None:
    """It lies below its project's, or its workspace's, assets, with its record beside it."""
    raw = json.dumps({"asset_id": "asset_1", "status": "ready", "workspace_id": "ws_a", "url": "https://h/a"})
    asset = parse_asset(raw.encode())
    prepared = prepare(disk, asset, visit=Visit(asset, source=Source.ASSETS))
    folder = PurePosixPath("ws_a/_workspace/assets/asset_1")
    assert (prepared.folder, disk.read(folder / "asset.json")) == (folder, raw.encode())
    assert [op.facts.kind for op in facts(prepared)] == [Kind.ASSET]
    assert told(prepared) == [("assets",)]
    (job,) = prepared.jobs
    assert (job.decision.output.key, job.decision.action) == ("asset_1", Action.FETCH)


def test_a_canvas_has_no_record(disk: Destination) -> None:
    """Nothing is written for one but its snapshots."""
    canvas = dataclasses.replace(made(), kind=Kind.CANVAS)
    assert prepare(disk, canvas).results == []

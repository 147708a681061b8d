"""The table of the other sources, row by row: what is lacking, what is said, and that a later run mends it.

All rows are acted out beforehand, several at a time, since most of their time is waiting.
"""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from floradl.simulator import (
    Account,
    Fault,
    Listing,
    SimAsset,
    SimNode,
    SimOutput,
    SimProject,
    SimRequest,
    SimRun,
    SimTechnique,
    Simulator,
    SimWorkspace,
    serve_in_thread,
)
from floradl.simulator.runs import NEWEST_AT_MS
from tests.faults.row import FILE, OLD, PICTURE
from tests.faults.source_table import (
    ASSET,
    CANVAS,
    NODES,
    ONE_ASSET,
    OTHER_ASSET,
    OTHER_PROJECT,
    PROJECT,
    RUN_OF_TECHNIQUE,
    SOURCE_TABLE,
    TECHNIQUES,
    WORKSPACES,
    SourceRow,
)
from tests.support.archives import (
    all_entries,
    assert_all_archived,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    output_files,
)
from tests.support.media import png
from tests.support.zygote import floradl

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.timeout(600),  # all rows are acted out before the first is looked at
]

ROWS_AT_A_TIME = 6
EVERYTHING = frozenset(
    {"run_plain", "run_both", RUN_OF_TECHNIQUE, ASSET, OTHER_ASSET, PROJECT, OTHER_PROJECT}
)


class Stage(Account):
    """Two projects with a canvas each, a run of each history and one of both, two uploads."""

    def __init__(self) -> None:
        super().__init__(
            "sk_live_of_the_fault_table",
            workspaces=[SimWorkspace("ws_a", "A")],
            projects=[SimProject(name, "ws_a", name) for name in (PROJECT, OTHER_PROJECT)],
        )
        plain = self._run("run_plain", PROJECT, None)
        both = self._run("run_both", OTHER_PROJECT, Listing.BOTH)
        self._run(RUN_OF_TECHNIQUE, OTHER_PROJECT, Listing.TECHNIQUE_RUNS)
        self.victim = self._upload(ASSET, PICTURE.body, FILE)
        other = self._upload(OTHER_ASSET, png(b"other" * 99), "/media/other.png")
        # More nodes than a page has.
        self.canvas_of(PROJECT).nodes = [
            *[SimNode(f"node_{number:03}", "text", label=f"Note {number}") for number in range(120)],
            SimNode("node_plain", label="A boat", shows=plain.outputs[0]),
        ]
        self.canvas_of(OTHER_PROJECT).nodes = [
            SimNode("node_both", label="A ship", shows=both.outputs[0]),
            SimNode("node_asset", label="Mood board", shows=other.file, asset_id=OTHER_ASSET),
        ]
        self.dead_paths.add(OLD)

    def _run(self, run_id: str, project_id: str, listed_by: str | None) -> SimRun:
        picture = SimOutput("output_1", content_type="image/png", body=png(run_id.encode() * 99))
        at_ms = NEWEST_AT_MS - 60_000 * len(self.runs)
        run = SimRun(run_id, "ws_a", project_id, created_at=at_ms, outputs=[picture], listed_by=listed_by)
        run.technique = SimTechnique("tech_a", "A technique") if listed_by else None
        return self.insert(run)

    def _upload(self, asset_id: str, body: bytes, path: str) -> SimAsset:
        file = SimOutput(asset_id, content_type="image/png", body=body, path=path)
        return self.insert_asset(SimAsset(asset_id, "ws_a", file, project_id=OTHER_PROJECT))

    def asset_record(self, asset: SimAsset, *, listed: bool) -> dict[str, object]:
        """An upload's record; the list may have an old URL of it."""
        record = super().asset_record(asset, listed=listed)
        listed_at = record.pop("listed_at", None)
        return record | ({"url": f"{self.media_url}{listed_at}"} if listed and listed_at else {})


@dataclass(frozen=True)
class Attempt:
    """What one call did: its exit code, what it said, its requests for the victim's file, who saw the key."""

    exit: int
    said: str
    asked: str
    strangers: tuple[SimRequest, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a row: the call with the fault and what it left in `before`, and, where that was not all,
    the call without."""

    first: Attempt
    before: Path
    later: Attempt | None
    after: Path
    stage: Stage


Outcomes = dict[str, Future[Outcome]]


def act(row: SourceRow, folder: Path) -> Outcome:
    """Carry a row out in an empty folder."""
    stage, dest, copy = Stage(), folder / "out", folder / "before"
    if row.change is not None:
        row.change(stage.victim)
    with serve_in_thread(stage, faults=list(row.faults)) as sim:
        first = _call(row, sim, dest)
        shutil.copytree(dest, copy)
        sim.faults.clear()
        stage.victim.extra.clear()
        later = None
        if is_mended(row):
            there = output_files(dest)
            later = _call(row, sim, dest)
            assert_not_fetched_again(sim, dest, there)
    return Outcome(first, copy, later, dest, stage)


def is_mended(row: SourceRow) -> bool:
    """Whether something is left to a later run."""
    return bool(row.exit or row.lacks)


def _call(row: SourceRow, sim: Simulator, dest: Path) -> Attempt:
    sim.forget()
    options = ["--retries", str(row.retries), "--timeout", str(row.timeout_s)]
    done = floradl(sim, *row.arguments, *options, dest, XDG_CONFIG_HOME=str(dest.parent / "config"))
    asked = [label for request in sim.requests if (label := _label(request))]
    strangers = tuple(request for request in sim.media_requests() if "authorization" in request.headers)
    return Attempt(done.returncode, done.stdout + done.stderr, ", ".join(asked), strangers)


def _label(request: SimRequest) -> str:
    """A request as `SourceRow.asked` tells of it; "" for one that it does not."""
    status = str(request.status) if request.status else "no answer"
    if request.path == ONE_ASSET:
        return f"API {status}"
    start = request.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
    since = f" from {start}" if start else ""
    return {FILE: f"{status}{since}", OLD: f"{status} {OLD}"}.get(request.path, "")


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each row that is looked at. All are done before the first look."""
    chosen = [
        row for row in SOURCE_TABLE if any(f"[{row.name}]" in item.name for item in request.session.items)
    ]
    with ThreadPoolExecutor(ROWS_AT_A_TIME) as pool:
        done = {row.name: pool.submit(act, row, tmp_path_factory.mktemp("row")) for row in chosen}
        try:
            wait(done.values())
        finally:
            pool.shutdown(cancel_futures=True)
    return done


@pytest.mark.parametrize("row", SOURCE_TABLE, ids=lambda row: row.name)
def test_fault(row: SourceRow, outcomes: Outcomes) -> None:
    """A fault costs what its row says, and nothing of any other source; it is said, and nothing is a lie."""
    outcome = outcomes[row.name].result()
    first, dest = outcome.first, outcome.before
    assert first.exit == row.exit, first.said
    assert row.said in first.said
    assert ("INCOMPLETE" in first.said) == (row.exit != 0), first.said
    named = re.findall(r"^(?:\S+ \S+ )?failed: (\S+): (\w+): \S", first.said, re.MULTILINE)
    assert named == ([(ASSET, row.error)] if row.error else []), first.said
    assert row.asked is None or fnmatchcase(first.asked, row.asked), first.asked
    assert not first.strangers, "the media host saw the key"
    assert archived(dest) == EVERYTHING - row.lacks, first.said
    # What was odd about the victim is in its record, and the stage has put it right since.
    assert_all_archived(dest, outcome.stage, but=row.lacks | ({ASSET} if row.change else set()))
    assert_sound(dest)
    assert_files_whole(dest, outcome.stage)


@pytest.mark.parametrize("row", [row for row in SOURCE_TABLE if is_mended(row)], ids=lambda row: row.name)
def test_a_later_run_mends_what_failed(row: SourceRow, outcomes: Outcomes) -> None:
    """The same command without the fault exits 0, has everything, and leaves nothing lying around."""
    outcome = outcomes[row.name].result()
    assert outcome.later is not None
    assert outcome.later.exit == 0, outcome.later.said
    assert_all_archived(outcome.after, outcome.stage)
    assert_sound(outcome.after)
    assert_tidy(outcome.after)


def test_every_row_has_a_name_of_its_own() -> None:
    """Rows are found by their names."""
    assert len({row.name for row in SOURCE_TABLE}) == len(SOURCE_TABLE)


def archived(dest: Path) -> set[str]:
    """The ids of all that is archived whole."""
    return {
        name
        for name, entry in all_entries(dest).items()
        if all(output["state"] == "archived" for output in entry["outputs"].values())
    }


def test_half_surrogates_everywhere(tmp_path: Path) -> None:
    """What is no Unicode, in records, labels and diagrams, is kept as it came and costs nothing."""
    half = rb'"\ud83d and more"'
    record = (
        b'{"run_id": "run_half", "status": "completed", "workspace_id": "ws_a", "project_id": "prj_a",'
        b' "outputs": [{"output_id": "o", "type": "text", "url": %b}], "technique": {"name": %b}}'
    ) % (half, half)
    node = b'{"node_id": "n", "type": "text", "label": %b, "url": %b}' % (half, half)
    bodies = {
        TECHNIQUES: b'{"technique_runs": [%b], "meta": {"next_cursor": null}}' % record,
        CANVAS: b'{"project_id": "prj_a", "diagram": %b}' % half,
        NODES: b'{"nodes": [%b], "meta": {"next_cursor": null}}' % node,
        WORKSPACES: b'{"workspaces": [{"workspace_id": "ws_a", "name": %b}]}' % half,
    }
    stage = Stage()
    with serve_in_thread(stage, faults=[Fault(path, body=body) for path, body in bodies.items()]) as sim:
        done = floradl(sim, "--source", "all", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        again = floradl(sim, "--source", "all", tmp_path / "out")
        assert (again.returncode, "Nothing new" in again.stderr) == (0, True), again.stderr
        assert_tidy(tmp_path / "out")
        checked = floradl(sim, "verify", tmp_path / "out")
        assert checked.returncode == 0, checked.stderr
    folder = tmp_path / "out" / "ws_a" / "prj_a"
    assert half in (folder / "run_half" / "run.json").read_bytes()
    (diagram,), (nodes,) = folder.glob("canvas/*.mmd"), folder.glob("canvas/*-nodes.json")
    assert diagram.read_text(encoding="utf-8") == "\ufffd and more\n"
    assert half in nodes.read_bytes()
    assert "and more" in (folder / "run_half" / "canvas.json").read_text(encoding="utf-8")

"""An account whose sources overlap, night after night: every run once, every upload, and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.errors import DestinationError
from floradl.network.retry import Backoff
from floradl.repository import layout
from floradl.repository.entries import Op, RunOp
from floradl.repository.repository import Repository
from floradl.simulator import (
    Account,
    AssetStatus,
    Fault,
    Listing,
    SimNode,
    Simulator,
    edit_canvas,
    insert_assets,
    insert_runs,
    insert_technique_runs,
    serve_in_thread,
)
from tests.support.accounts import completed, full_account, ready_assets
from tests.support.archives import (
    all_entries,
    assert_archived,
    assert_assets_archived,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    manifest,
    output_files,
)
from tests.support.clock import FakeTime
from tests.support.zygote import floradl

SOURCES = (Source.GENERATIONS, Source.TECHNIQUE_RUNS, Source.ASSETS)


@pytest.fixture
def account() -> Account:
    """Runs in one history or both, and uploads of all states."""
    return full_account()


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Nights:
    """A nightly job over several sources, with a clock that only the test moves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.time = FakeTime()

    async def run(self, sources: tuple[Source, ...] = SOURCES) -> Report:
        """One night's job, and a day passes; what was there is not asked for."""
        before = output_files(self.dest)
        self.sim.forget()
        options = ArchiveOptions(self.dest, self.sim.base_url, sources=sources, fsync=False)
        key, backoff = self.sim.account.api_key, Backoff(base_s=0.0)
        async with FloraApi(self.sim.base_url, key, clock=self.time.clock, backoff=backoff) as api:
            report = await archive(options, api, clock=self.time.clock)
        self.time.now_s += 86_400.0
        if set(SOURCES) <= set(sources):
            assert_not_fetched_again(self.sim, self.dest, before)
        assert_sound(self.dest)
        return report

    def assert_complete(self) -> None:
        """The archive has all that the account has, and nothing lies around."""
        account = self.sim.account
        assert_archived(self.dest, account, completed(account))
        assert set(manifest(self.dest)["runs"]) == {run.run_id for run in completed(account)}
        assert_assets_archived(self.dest, account)
        assert_files_whole(self.dest, account)
        assert_tidy(self.dest)


@pytest.fixture
def nights(sim: Simulator, tmp_path: Path) -> Nights:
    """The job, before its first night."""
    return Nights(sim, tmp_path / "out")


@pytest.mark.anyio
async def test_every_run_once_and_every_upload(nights: Nights) -> None:
    """All of it arrives, each file with one request; the manifest says who listed a run."""
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    asked = Counter(request.path for request in nights.sim.media_requests())
    assert set(asked.values()) == {1}
    entries = all_entries(nights.dest)
    for run in completed(nights.sim.account):
        sources = {source for source in SOURCES if run.is_listed_by(source)}
        assert set(entries[run.run_id].get("sources", ["generations"])) == sources, run.run_id
        if run.technique is not None:
            assert entries[run.run_id]["technique_id"] == run.technique.technique_id


@pytest.mark.anyio
async def test_a_source_that_is_added_later(nights: Nights) -> None:
    """Runs that were archived from one history are met in the other; nothing is fetched, both are told."""
    await nights.run((Source.GENERATIONS,))
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    entries = manifest(nights.dest)["runs"]
    for run in completed(nights.sim.account):
        sources = {source for source in SOURCES if run.is_listed_by(source)}
        assert set(entries[run.run_id].get("sources", ["generations"])) == sources, run.run_id


@pytest.mark.anyio
async def test_a_record_that_is_completed_when_the_process_ends(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the new record's name and its entry no record counts as damaged; the next run goes on."""
    await nights.run((Source.GENERATIONS,))
    append = Repository.append

    async def fail_at_facts(self: Repository, ops: Iterable[Op]) -> None:
        batch = list(ops)
        if any(isinstance(op, RunOp) and op.facts.next_record_sha256 is None for op in batch):
            raise DestinationError("gone")
        await append(self, batch)

    monkeypatch.setattr(Repository, "append", fail_at_facts)
    with pytest.raises(DestinationError):
        await nights.run((Source.GENERATIONS, Source.TECHNIQUE_RUNS))
    monkeypatch.undo()
    findings = json.loads(floradl(nights.sim, "verify", "--json", nights.dest).stdout)["findings"]
    assert {finding["kind"] for finding in findings} <= {"unrecorded", "bad_checksums"}
    assert floradl(nights.sim, "restore", nights.dest, tmp_path / "copy").returncode == 0
    assert floradl(nights.sim, "verify", tmp_path / "copy").returncode == 0
    (nights.dest / layout.VERIFIED).unlink()
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    assert not any("next_record_sha256" in entry for entry in all_entries(nights.dest).values())


@pytest.mark.anyio
async def test_three_nights_of_changes(nights: Nights) -> None:
    """Uploads get ready, runs appear in either history or both: each is archived the next night, once."""
    account = nights.sim.account
    await nights.run()
    waiting = next(asset for asset in account.assets if asset.status == AssetStatus.PENDING)
    for listed_by in (Listing.BOTH, Listing.TECHNIQUE_RUNS):
        insert_technique_runs(account, 2, listed_by=listed_by)
    insert_runs(account, 1)
    insert_assets(account, 2)
    assert waiting.asset_id
    account.finish_asset(waiting.asset_id)
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    report = await nights.run()
    assert (report.exit_code, report.fetched, nights.sim.media_requests()) == (0, 0, [])
    nights.assert_complete()


@pytest.mark.anyio
async def test_a_quiet_night(nights: Nights) -> None:
    """It costs twelve calls of the API at most, and no request for media."""
    await nights.run()
    report = await nights.run()
    assert (report.exit_code, report.fetched, nights.sim.media_requests()) == (0, 0, [])
    assert len(nights.sim.api_requests()) <= 12


# ------------------------------------------------------------------------------------------------- canvases

EVERYTHING = tuple(Source)


def snapshots(dest: Path, project_id: str) -> dict[str, list[bytes]]:
    """The recorded snapshots of a project's canvas by their type, oldest first, as they are on disk."""
    entry = manifest(dest)["canvases"][project_id]
    found: dict[str, list[bytes]] = {"canvas": [], "nodes": []}
    for _, output in sorted(entry["outputs"].items()):
        found[output["type"]].append((dest / entry["path"] / output["file"]).read_bytes())
    return found


def drawn(account: Account, project_id: str) -> bytes:
    """What a snapshot of the canvas as it is now holds."""
    diagram = account.canvas_of(project_id).diagram()
    return (diagram if diagram.endswith("\n") else diagram + "\n").encode()


def labels(dest: Path, run_id: str) -> dict[str, list[str]]:
    """What nodes that show a run's outputs were called: output → labels, the one of today last."""
    path = dest / manifest(dest)["runs"][run_id]["path"] / "canvas.json"
    outputs = json.loads(path.read_text(encoding="utf-8"))["outputs"]
    return {key: [label["label"] for label in told] for key, told in outputs.items()}


@pytest.mark.anyio
async def test_every_canvas_change_over_three_nights(nights: Nights) -> None:
    """A night with a change keeps the canvas as it is then, one without keeps nothing; nothing is lost."""
    account = nights.sim.account
    changing, resting = (project.project_id for project in account.projects[:2])
    states = []
    for night in range(3):
        states.append(drawn(account, changing))
        report = await nights.run(EVERYTHING)
        assert report.exit_code == 0
        nights.assert_complete()
        assert snapshots(nights.dest, changing)["canvas"] == states
        assert snapshots(nights.dest, resting)["canvas"] == [drawn(account, resting)]
        edit_canvas(account, changing, add=[SimNode(f"node_{night}", label=f"Take {night}")])
    assert len(states) == len(set(states)) == 3


@pytest.mark.anyio
async def test_nodes_that_change_while_the_diagram_does_not(nights: Nights) -> None:
    """The project's date tells of them: a diagram shortens what a node says."""
    account = nights.sim.account
    project_id = account.projects[0].project_id
    edit_canvas(account, project_id, add=[SimNode("node_long", label="A boat of paper " * 9)])
    await nights.run(EVERYTHING)
    before = snapshots(nights.dest, project_id)
    edit_canvas(account, project_id, relabel={"node_long": "A boat of paper " * 9 + "at dawn"})
    await nights.run(EVERYTHING)
    after = snapshots(nights.dest, project_id)
    assert after["canvas"] == before["canvas"]
    assert after["nodes"][:-1] == before["nodes"]
    assert b"at dawn" in after["nodes"][-1]


@pytest.mark.anyio
async def test_prompts_beside_the_runs_that_they_made(nights: Nights) -> None:
    """What a node that shows an output is called stands beside the run, what it was called before, too."""
    account = nights.sim.account
    run = next(run for run in completed(account) if any(output.path for output in run.outputs))
    output = next(output for output in run.outputs if output.path)
    edit_canvas(account, run.project_id, add=[SimNode("node_mine", label="A fox in snow", shows=output)])
    await nights.run(EVERYTHING)
    assert labels(nights.dest, run.run_id)[output.output_id][-1] == "A fox in snow"
    record = nights.dest / manifest(nights.dest)["runs"][run.run_id]["path"] / "run.json"
    before = record.read_bytes()
    edit_canvas(account, run.project_id, relabel={"node_mine": "A fox in rain"})
    await nights.run(EVERYTHING)
    assert labels(nights.dest, run.run_id)[output.output_id][-2:] == ["A fox in snow", "A fox in rain"]
    assert record.read_bytes() == before


@pytest.mark.anyio
async def test_a_quiet_night_over_all_sources(nights: Nights) -> None:
    """Twelve calls at most, one more for each project's canvas, and no request for media."""
    await nights.run(EVERYTHING)
    report = await nights.run(EVERYTHING)
    assert (report.exit_code, report.fetched, nights.sim.media_requests()) == (0, 0, [])
    asked = Counter(request.path.rpartition("/")[2] for request in nights.sim.api_requests())
    assert asked.pop("canvas") == len(nights.sim.account.projects)
    assert "nodes" not in asked
    assert asked.total() <= 12


@pytest.mark.anyio
async def test_all_nodes_are_looked_at_once_a_week(nights: Nights) -> None:
    """A change that nothing tells of is found by then; and it is recorded when canvases were looked at."""
    await nights.run(EVERYTHING)
    asked = []
    for _ in range(9):
        await nights.run(EVERYTHING)
        asked.append(any(request.path.endswith("/nodes") for request in nights.sim.api_requests()))
    assert asked == [False] * 7 + [True, False]
    (scan,) = [s for s in manifest(nights.dest)["scans"] if s["scope"]["source"] == "canvas"]
    assert scan["last_scan_at"] > scan["last_full_scan_at"]


@pytest.mark.anyio
async def test_a_snapshot_that_was_not_recorded(nights: Nights) -> None:
    """Killed between its name and its entry, it is recorded by the next run, and not written again."""
    await nights.run(EVERYTHING)
    path = nights.dest / "manifest.json"
    told = manifest(nights.dest)
    project_id, canvas = next(iter(told["canvases"].items()))
    lost = canvas["outputs"].popitem()
    path.write_text(json.dumps(told), encoding="utf-8")
    report = await nights.run(EVERYTHING)
    assert report.exit_code == 0
    assert (
        dict([lost])[lost[0]]["sha256"]
        == (manifest(nights.dest)["canvases"][project_id]["outputs"][lost[0]]["sha256"])
    )
    assert {key: len(found) for key, found in snapshots(nights.dest, project_id).items()} == {
        "canvas": 1,
        "nodes": 1,
    }


@pytest.mark.anyio
async def test_a_project_that_is_not_seen_any_more(nights: Nights) -> None:
    """It is named, what is archived of it stays, and the job is complete."""
    account = nights.sim.account
    await nights.run(EVERYTHING)
    before = output_files(nights.dest)
    project = account.projects[0]
    account.hide(project.project_id)
    report = await nights.run(EVERYTHING)
    assert report.exit_code == 0
    assert [(its.project_id, its.name) for its in report.unseen] == [(project.project_id, project.name)]
    assert before.items() <= output_files(nights.dest).items()
    account.hidden.discard(project.project_id)
    assert (await nights.run(EVERYTHING)).unseen == ()


# ------------------------------------------------------------------------------------------- what is refused

CLOSED = {
    "generations": "generations",
    "technique-runs": "technique runs",
    "assets": "assets",
    "canvas": "canvases",
}


def assert_all_but(dest: Path, account: Account, source: str) -> None:
    """Everything that the other sources tell of is there."""
    told = manifest(dest)
    lists = [Listing.GENERATIONS, Listing.TECHNIQUE_RUNS]
    runs = [
        run for run in completed(account) if any(run.is_listed_by(each) for each in lists if each != source)
    ]
    assert set(told["runs"]) == {run.run_id for run in runs}
    assert_archived(dest, account, runs)
    if source == "assets":
        assert "assets" not in told
    else:
        assert_assets_archived(dest, account)
    expected = set() if source == "canvas" else {project.project_id for project in account.projects}
    assert set(told.get("canvases", {})) == expected
    assert_sound(dest)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("source", CLOSED)
def test_a_source_that_is_closed(sim: Simulator, tmp_path: Path, source: str, status: int) -> None:
    """The others are complete. It is a note, unless it was asked for by its name, or is the main one."""
    sim.account.refuse(source, status)
    whole, named = tmp_path / "all", tmp_path / "named"
    done = floradl(sim, "--source", "all", whole)
    expected = (4, False) if source == "generations" else (0, True)
    assert (done.returncode, f"Left out: {CLOSED[source]}" in done.stderr) == expected, done.stderr
    assert_all_but(whole, sim.account, source)
    arguments = [word for each in Source for word in ("--source", each)]
    done = floradl(sim, *arguments, named)
    assert (done.returncode, str(status) in done.stderr) == (4, True), done.stderr
    assert_all_but(named, sim.account, source)


def test_a_closed_source_of_the_default_ones(sim: Simulator, tmp_path: Path) -> None:
    """Nobody asked for technique runs by name, so what the key can see is all there is to archive."""
    sim.account.refuse("technique-runs")
    done = floradl(sim, tmp_path)
    assert (done.returncode, "Left out: technique runs" in done.stderr) == (0, True), done.stderr
    done = floradl(sim, "--source", "technique-runs", tmp_path)
    assert done.returncode == 4, done.stderr


@pytest.mark.parametrize("source", CLOSED)
def test_a_key_that_ends_within_a_job(sim: Simulator, tmp_path: Path, source: str) -> None:
    """A 401 is about the key, not about what was asked for, whichever list says so."""
    path = "*/canvas" if source == "canvas" else f"*/{source}"
    sim.faults.append(Fault(path, status=401))
    done = floradl(sim, "--source", "all", tmp_path)
    assert (done.returncode, "401" in done.stderr) == (4, True), done.stderr


def test_all_that_is_asked_for_is_closed(sim: Simulator, tmp_path: Path) -> None:
    """Where nothing may be seen at all, that is not the same as nothing to do."""
    for source in ("generations", "technique-runs"):
        sim.account.refuse(source)
    done = floradl(sim, tmp_path)
    assert (done.returncode, "403" in done.stderr) == (4, True), done.stderr


# --------------------------------------------------------------------------------------------------- failures


@pytest.mark.anyio
async def test_an_upload_whose_file_fails(nights: Nights) -> None:
    """It is named and costs nothing else; the next night has it."""
    account = nights.sim.account
    name, asset = next(iter(ready_assets(account).items()))
    nights.sim.faults.append(Fault(asset.file.path, status=404))
    report = await nights.run()
    assert [failure.run_id for failure in report.failures] == [name]
    assert_archived(nights.dest, account, completed(account))
    nights.sim.faults.clear()
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()

"""Archives that the first release made are extended, checked and read: nothing in them is fetched again.

`tests/fixtures/README.md` says how they were made. The account that goes with them is put together from their
own records and bytes, so that it is the same whatever the simulator's made-up accounts become.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from floradl import Clock
from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.network.retry import Backoff
from floradl.simulator import (
    Account,
    Fault,
    SimOutput,
    SimProject,
    SimRun,
    Simulator,
    SimWorkspace,
    insert_runs,
    serve_in_thread,
)
from tests.support.archives import assert_archived, assert_sound, entries, manifest, output_files
from tests.support.clock import FakeTime
from tests.support.media import png
from tests.support.zygote import floradl

MADE = Path(__file__).parents[1] / "fixtures" / "version-1"
KEY = "sk_live_first_release"
THE_NIGHT_AFTER_S = 1_795_746_600.0  # 2026-11-27T02:30:00Z
LOST = "run_lost"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def rebuilt_output(record: dict[str, Any], file: Path | None) -> SimOutput:
    """One output of a record, with the archived bytes behind its URL; without a file there is nothing."""
    output_id, kind, url = record["output_id"], record["type"], record["url"]
    if kind == "text":
        return SimOutput(output_id, kind, text=url)
    if not url.startswith("http"):
        return SimOutput(output_id, kind, url=url)
    body = file.read_bytes() if file else None
    return SimOutput(output_id, kind, body=body, path=urlsplit(url).path)


def rebuilt_run(record: dict[str, Any], folder: Path, recorded: dict[str, Any]) -> SimRun:
    """The run of a record; `recorded` are its outputs' entries."""
    fields = {name: value for name, value in record.items() if name in SimRun.__dataclass_fields__}
    fields |= {"with_model": "model" in record, "model_id": record.get("model", {}).get("model_id")}
    known = {*SimRun.__dataclass_fields__, "generation_id", "model", "poll_url"}
    fields["extra"] = {name: value for name, value in record.items() if name not in known}
    fields["outputs"] = []
    times: Counter[str] = Counter()
    for output in record.get("outputs", ()):
        times[output["output_id"]] += 1
        number = times[output["output_id"]]
        entry = recorded.get(output["output_id"] + (f"#{number}" if number > 1 else ""), {})
        fields["outputs"].append(rebuilt_output(output, folder / entry["file"] if "file" in entry else None))
    return SimRun(**fields)


def account_of(made: Path) -> Account:
    """What FLORA has of an archive: all but what has vanished; what was never archived answers 404."""
    known = entries(made)
    account = Account(KEY)
    for path in sorted(made.glob("*/workspace.json")):
        account.workspaces.append(SimWorkspace(**read_json(path)))
    for path in sorted(made.glob("*/*/project.json")):
        account.projects.append(SimProject(**read_json(path)))
    for path in sorted(made.glob("*/*/*/run.json")):
        record = read_json(path)
        entry = known.run(record["run_id"])
        assert entry is not None, path
        if entry.vanished_at is None:
            recorded = {key: {"file": output.file} for key, output in entry.outputs.items() if output.file}
            account.insert(rebuilt_run(record, path.parent, recorded))
    for scan in manifest(made)["scans"]:
        for record in scan["open_runs"].values():
            account.insert(rebuilt_run(record, made, {}))
    for run in account.runs:
        account.dead_paths.update(output.path for output in run.outputs if not output.body and output.path)
    return account


class Old:
    """A copy of one of the archives, and its account, served."""

    def __init__(self, dest: Path, sim: Simulator) -> None:
        self.dest = dest
        self.sim = sim
        self.files = output_files(dest)

    def assert_kept(self) -> None:
        """No archived file has changed, and none was asked for again."""
        now = output_files(self.dest)
        assert {name: now.get(name) for name in self.files} == self.files
        bodies = set(self.files.values())
        served = {o.path for run in self.sim.account.runs for o in run.outputs if o.path and o.body in bodies}
        assert served
        assert not served & {request.path for request in self.sim.media_requests()}


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Old]:
    """The archive whose journal is folded."""
    yield from served("whole", tmp_path)


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Old]:
    """The archive whose last session was killed."""
    yield from served("cut", tmp_path)


def served(name: str, tmp_path: Path) -> Iterator[Old]:
    """One of the archives."""
    shutil.copytree(MADE / name, tmp_path / "out")
    with serve_in_thread(account_of(MADE / name)) as sim:
        yield Old(tmp_path / "out", sim)


async def night(old: Old, clock: Clock, *, full: bool = False) -> Report:
    """One session at a moment that the test says."""
    options = ArchiveOptions(old.dest, old.sim.base_url, full=full, fsync=False)
    limits = {"clock": clock, "retries": 1, "timeout_s": 20, "backoff": Backoff(base_s=0.0)}
    async with FloraApi(old.sim.base_url, KEY, **limits) as api:  # type: ignore[arg-type]  # one type each
        return await archive(options, api, clock=clock)


def test_the_fixtures_are_of_the_first_release() -> None:
    """They are what they are said to be: version 1, with everything that a reader could stumble over."""
    for name in ("whole", "cut"):
        known = manifest(MADE / name)
        assert (known["version"], known["generator"]) == (1, "floradl 0.1.0")
        assert set(known["runs"]["run_boat" if name == "whole" else "run_kept"]) >= {"path", "outputs"}
    runs = manifest(MADE / "whole")["runs"]
    assert "output_1#2" in runs["run_twice"]["outputs"]
    assert (runs["run_empty"]["outputs"], "vanished_at" in runs["run_gone"]) == ({}, True)
    assert runs[LOST]["outputs"]["output_2"]["state"] == "failed"
    assert list(manifest(MADE / "whole")["scans"][0]["open_runs"]) == ["run_open"]
    assert b'"op":"output"' in (MADE / "cut/.floradl/journal").read_bytes()


@pytest.mark.anyio
async def test_the_seal_is_honoured(whole: Old) -> None:
    """The next night is a quiet one: few calls, no full walk, and only what failed is asked for again."""
    before = manifest(whole.dest)
    report = await night(whole, FakeTime(THE_NIGHT_AFTER_S).clock)
    assert [(failure.run_id, failure.key) for failure in report.failures] == [(LOST, "output_2")]
    assert (report.new_runs, report.fetched, report.vanished_runs, report.open_runs) == (0, 0, (), 1)
    assert report.exit_code == 3
    whole.assert_kept()
    lost = whole.sim.account.get(LOST).outputs[1].path
    assert {request.path for request in whole.sim.media_requests()} == {lost}
    asked = Counter(request.path.removeprefix("/api/v1/") for request in whole.sim.api_requests())
    assert asked["generations"] <= 3
    assert asked[f"runs/{LOST}"] <= 2
    assert asked.total() <= 12
    (old_scan,) = before["scans"]
    scan = next(scan for scan in manifest(whole.dest)["scans"] if scan["scope"] == old_scan["scope"])
    assert scan["last_full_scan_at"] == old_scan["last_full_scan_at"]
    assert scan["last_scan_at"] > old_scan["last_scan_at"]
    assert manifest(whole.dest)["archive_id"] == before["archive_id"]


@pytest.mark.anyio
async def test_an_open_run_of_the_seal_is_asked_for(whole: Old) -> None:
    """A run that was pending at the seal, and that no list shows, is asked for by its id."""
    account = whole.sim.account
    run = account.finish("run_open")
    run.outputs = [SimOutput("output_1", body=png(b"open"))]
    for path, name in (("generations", "generations"), ("technique-runs", "technique_runs")):
        nothing = json.dumps({name: [], "meta": {"next_cursor": None}}).encode()
        whole.sim.faults.append(Fault(f"/api/v1/{path}", body=nothing))
    report = await night(whole, FakeTime(THE_NIGHT_AFTER_S).clock)
    assert report.new_runs == 1
    whole.assert_kept()
    assert_archived(whole.dest, account, [run])
    assert manifest(whole.dest)["runs"]["run_open"]["path"] == "ws_north/prj_harbour/run_open"


@pytest.mark.anyio
async def test_a_full_walk_fetches_only_what_is_new(whole: Old) -> None:
    """Eight nights later all is walked, under other URLs, and not one archived output is fetched."""
    account = whole.sim.account
    new = insert_runs(account, 3)
    report = await night(whole, FakeTime(THE_NIGHT_AFTER_S + 8 * 86_400).clock)
    assert (report.new_runs, report.vanished_runs) == (3, ())
    whole.assert_kept()
    assert_archived(whole.dest, account, new)
    assert_sound(whole.dest)
    runs = manifest(whole.dest)["runs"]
    assert "vanished_at" in runs["run_gone"]
    assert set(runs) == {run.run_id for run in account.runs} - {"run_open"} | {"run_gone"}
    record = read_json(whole.dest / runs["run_boat"]["path"] / "run.json")
    assert record == account.record(account.get("run_boat"), listed=True)


def test_the_command_extends_it(whole: Old) -> None:
    """The installed command goes on with it, and once the lost output is back nothing is missing."""
    account = whole.sim.account
    new = insert_runs(account, 2)
    done = floradl(whole.sim, whole.dest, "--retries", "1")
    assert done.returncode == 3
    assert f"failed: {LOST} output_2" in done.stderr
    whole.assert_kept()
    lost = account.get(LOST).outputs[1]
    account.dead_paths.clear()
    lost.body = png(b"found")
    whole.sim.forget()
    assert floradl(whole.sim, whole.dest).returncode == 0
    assert {request.path for request in whole.sim.media_requests()} == {lost.path}
    assert_archived(whole.dest, account, [*new, account.get(LOST)])
    assert_sound(whole.dest)
    assert floradl(whole.sim, "verify", whole.dest).returncode == 0


def test_verify_finds_it_sound(whole: Old) -> None:
    """As it was made, nothing is wrong with it but what could not be archived then."""
    done = floradl(whole.sim, "verify", "--json", whole.dest, FLORA_API_KEY="")
    report = json.loads(done.stdout)
    assert done.returncode == 3
    assert [(item["kind"], item["run_id"], item["output"]) for item in report["findings"]] == [
        ("failed", LOST, "output_2")
    ]
    assert (report["runs"], report["outputs"], report["read"]) == (11, 16, 15)
    assert whole.sim.requests == []


def test_status_reads_it(whole: Old) -> None:
    """`status` counts what is there, per workspace and project as ever, and writes nothing."""
    before = (whole.dest / "manifest.json").read_bytes()
    done = floradl(whole.sim, "status", "--json", whole.dest, FLORA_API_KEY="")
    report = json.loads(done.stdout)
    total = report["total"]
    assert (total["runs"], total["outputs"], total["failed"], total["bytes"]) == (11, 15, 1, 9501)
    assert [item["run_id"] for item in report["vanished_runs"]] == ["run_gone"]
    assert (whole.dest / "manifest.json").read_bytes() == before


def test_restore_reads_it(whole: Old, tmp_path: Path) -> None:
    """What it has is restored without FLORA, byte for byte; what it lacks is named."""
    done = floradl(whole.sim, "restore", whole.dest, tmp_path / "new", FLORA_API_KEY="")
    assert done.returncode == 3, done.stderr
    assert LOST in done.stderr
    assert output_files(tmp_path / "new") == whole.files
    assert_sound(tmp_path / "new")


def test_a_manifest_is_made_anew_from_it(whole: Old) -> None:
    """Without its manifest, the files of the first release are enough: nothing is fetched again."""
    (whole.dest / "manifest.json").unlink()
    assert floradl(whole.sim, "verify", "--repair", whole.dest).returncode == 0
    assert set(manifest(whole.dest)["runs"]) == set(manifest(MADE / "whole")["runs"])
    done = floradl(whole.sim, whole.dest, "--retries", "1")
    assert done.returncode == 3
    assert f"failed: {LOST} output_2" in done.stderr
    whole.assert_kept()


@pytest.mark.anyio
async def test_a_journal_of_the_first_release_is_replayed(cut: Old) -> None:
    """What the killed session recorded counts, what it did not record is fetched, and all is folded."""
    account = cut.sim.account
    account.dead_paths.clear()
    missing = account.get("run_cut").outputs[1]
    missing.body = png(b"at last")
    report = await night(cut, FakeTime(THE_NIGHT_AFTER_S).clock)
    assert (report.exit_code, report.fetched) == (0, 1)
    cut.assert_kept()
    assert {request.path for request in cut.sim.media_requests()} == {missing.path}
    assert_archived(cut.dest, account, account.runs)
    assert_sound(cut.dest)
    assert not (cut.dest / ".floradl/journal").exists()


def test_readers_replay_its_journal(cut: Old, tmp_path: Path) -> None:
    """`verify`, `status` and `restore` count what stands in the journal alone."""
    done = floradl(cut.sim, "verify", "--json", cut.dest, FLORA_API_KEY="")
    assert (done.returncode, json.loads(done.stdout)["read"]) == (0, 2)
    done = floradl(cut.sim, "status", "--json", cut.dest, FLORA_API_KEY="")
    assert json.loads(done.stdout)["total"]["outputs"] == 2
    floradl(cut.sim, "restore", cut.dest, tmp_path / "new", FLORA_API_KEY="")
    assert output_files(tmp_path / "new") == cut.files

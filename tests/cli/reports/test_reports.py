"""What `--json` prints: valid against the documented schema, and no key more."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from floradl.simulator import (
    Account,
    Fault,
    SimAsset,
    SimOutput,
    Simulator,
    generate_account,
    serve_in_thread,
)
from tests.support.accounts import completed
from tests.support.archives import manifest
from tests.support.media import png
from tests.support.processes import start, wait_for
from tests.support.zygote import floradl

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"


def closed(schema: Any) -> Any:
    """The schema, but that no object may have keys which it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items()}
    return shut | {"additionalProperties": False} if "required" in shut else shut


def report_of(stdout: str) -> dict[str, Any]:
    """The one object on stdout; it is what the schema says."""
    report: dict[str, Any] = json.loads(stdout)
    schema = closed(json.loads(SCHEMA.read_text(encoding="utf-8")))
    kind = report["command"] if report["format"] == "floradl-report" else report["format"][8:]
    # Not the whole schema, whose one error would be that none of five forms fits.
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}).validate(report)
    assert Draft202012Validator(schema).is_valid(report)
    return report


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Twelve runs, one of them not done."""
    with serve_in_thread(generate_account(12, seed=5, open_runs=1)) as simulator:
        yield simulator


def test_the_schema_is_one() -> None:
    """docs/report.schema.json is valid JSON Schema, and refuses what is no report."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({"format": "floradl-report", "version": 1})


def test_reports_of_success(sim: Simulator, tmp_path: Path) -> None:
    """archive, a dry run before and after, verify, repair and restore, all well."""
    dest = tmp_path / "out"
    before = report_of(floradl(sim, "-n", "--json", dest).stdout)
    assert {item["action"] for item in before["to_do"]} == {"fetch", "write"}
    report = report_of(floradl(sim, "--json", dest).stdout)
    assert report["outputs"]["fetched"] == len(before["to_do"])
    assert report["archive"]["bytes"] == report["outputs"]["new_bytes"] > 0
    assert report_of(floradl(sim, "-n", "--json", dest).stdout)["to_do"] == []
    assert report_of(floradl(sim, "verify", "--json", dest).stdout)["sound"] is True
    assert report_of(floradl(sim, "verify", "--repair", "--json", dest).stdout)["sound"] is True
    restored = report_of(floradl(sim, "restore", "--json", dest, tmp_path / "new").stdout)
    assert restored["outputs"]["restored"] == report["outputs"]["fetched"]


def test_reports_of_failure(sim: Simulator, tmp_path: Path) -> None:
    """Outputs and a list that failed, files that are gone, runs that nobody knows: each is named."""
    dest = tmp_path / "out"
    run, output = next((run, out) for run in completed(sim.account) for out in run.outputs if out.path)
    sim.faults.append(Fault(output.path, status=404))
    sim.faults.append(Fault("/api/v1/generations", query="running", status=500))
    done = floradl(sim, "--json", "--retries", "0", dest)
    report = report_of(done.stdout)
    assert (done.returncode, report["exit_code"], report["complete"]) == (3, 3, False)
    assert [(one["run_id"], one["code"]) for one in report["failures"]] == [(run.run_id, "http_404")]
    assert report["problems"]
    sim.faults.clear()
    unknown = report_of(floradl(sim, "-n", "--json", "--run-id", "run_x", dest).stdout)
    assert (unknown["exit_code"], unknown["not_found"]) == (3, ["run_x"])
    entry = next(entry for entry in manifest(dest)["runs"].values() if entry["path"].endswith(run.run_id))
    (dest / entry["path"] / "run.json").unlink()
    (dest / entry["path"] / "stray.txt").write_text("nobody's")
    checked = report_of(floradl(sim, "verify", "--json", dest).stdout)
    assert {"no_record", "stray", "failed"} <= {finding["kind"] for finding in checked["findings"]}
    lacking = floradl(sim, "restore", "--json", dest, tmp_path / "new", FLORA_API_KEY="")
    assert {one["code"] for one in report_of(lacking.stdout)["failures"]} == {"not_in_source"}
    repaired = report_of(floradl(sim, "verify", "--repair", "--json", dest).stdout)
    assert {one["repaired"] for one in repaired["findings"] if one["kind"] != "stray"} == {True}


@pytest.fixture
def everything() -> Iterator[Simulator]:
    """An account with technique runs, two of three in both lists, and uploads, one of which is not done."""
    with serve_in_thread(generate_account(12, seed=5, techniques=6, assets=7)) as simulator:
        yield simulator


EVERY_LIST = ("--source", "generations", "--source", "technique-runs", "--source", "assets")


def test_a_report_of_several_sources(everything: Simulator, tmp_path: Path) -> None:
    """What each list gave, runs and assets apart, and an upload that is not done is no open run."""
    account, dest = everything.account, tmp_path / "out"
    runs = {run.run_id for run in completed(account)}
    ready = [asset for asset in account.listed_assets() if asset.status == "ready"]
    assert len(ready) < len(account.listed_assets())
    done = floradl(everything, "--json", *EVERY_LIST, dest)
    report = report_of(done.stdout)
    assert (done.returncode, report["complete"], report["runs"]["open"]) == (0, True, 0)
    assert (report["runs"]["new"], report["assets"]["new"]) == (len(runs), len(ready))
    listed = {its["source"]: (its["listed"], its["refused"]) for its in report["sources"]}
    assert listed == {
        "generations": (len(account.listed(status="completed")), None),
        "technique-runs": (len(account.listed(status="completed", source="technique-runs")), None),
        "assets": (len(ready), None),
    }
    by_project = report["runs"]["new_by_project"]
    assert sum(one["runs"] for one in by_project) == len(runs)
    assert sum(one["assets"] for one in by_project) == len(ready)
    holds = report["archive"]
    assert (holds["runs"], holds["assets"], holds["canvases"]) == (len(runs), len(ready), 0)
    assert f" of {len(runs)} new runs and {len(ready)} new assets. Took" in done.stderr
    assert f" of {len(runs)} runs and {len(ready)} assets, " in done.stderr
    assert f"{len(ready)} assets.\n" in done.stderr
    account.delete_asset(ready[0])
    gone = floradl(everything, "--json", "--full", *EVERY_LIST, dest)
    asset_id = ready[0].asset_id or ready[0].node_id
    assert report_of(gone.stdout)["assets"]["vanished"] == [asset_id]
    assert report_of(gone.stdout)["runs"]["vanished"] == []
    assert "1 asset not listed by FLORA any more; what is archived stays." in gone.stderr


def test_what_is_new_of_canvases(tmp_path: Path) -> None:
    """Snapshots are outputs like others, and told apart; a night without a change has none."""
    dest = tmp_path / "out"
    with serve_in_thread(generate_account(4, seed=5, projects=2, canvases=True)) as sim:
        done = floradl(sim, "--json", "--source", "all", dest)
        report = report_of(done.stdout)
        (canvas,) = [its for its in report["sources"] if its["source"] == "canvas"]
        assert (canvas["listed"], canvas["new"]) == (2, 4)
        assert report["archive"]["canvases"] == 2
        assert re.match(r"\d+ new outputs \(.*\) of 4 new runs, 4 of canvases\. Took ", done.stderr)
        assert " outputs of 4 runs and 2 canvases, " in done.stderr
        again = floradl(sim, "--source", "all", dest)
        assert again.stderr.startswith("Nothing new. Took ")
        status = floradl(sim, "status", dest, COLUMNS="80").stdout
        assert re.search(r"^besides runs\n  canvas snapshots +4 ", status, re.MULTILINE)


@pytest.mark.parametrize("source", ["technique-runs", "assets", "canvas"])
def test_a_refused_source_is_told_in_two_words(everything: Simulator, tmp_path: Path, source: str) -> None:
    """The summary says which and what the API said, shortly; its request-id stands in report and -v alone."""
    everything.account.refuse(source, 403)
    done = floradl(everything, "--json", "--source", "all", tmp_path / "out")
    report = report_of(done.stdout)
    (refused,) = [its for its in report["sources"] if its["refused"]]
    assert (done.returncode, refused["source"], refused["listed"]) == (0, source, 0)
    assert "request-id req_" in refused["refused"]
    words = "canvases" if source == "canvas" else source.replace("-", " ")
    assert f"Left out: {words}, which this key cannot see (403 forbidden).\n" in done.stderr
    assert "request-id" not in done.stderr
    told = floradl(everything, "-v", "--source", "all", tmp_path / "out")
    assert re.search(rf"left out: {source}: .*the API answered 403 forbidden", told.stderr)
    named = floradl(everything, "--source", source, tmp_path / "out")
    assert (named.returncode, f"leave out --source {source}" in named.stderr) == (4, True), named.stderr
    both = floradl(everything, "--json", "--source", source, "--source", "generations", tmp_path / "out")
    assert (both.returncode, report_of(both.stdout)["complete"]) == (4, False)


def test_an_asset_that_fails_is_named_once(everything: Simulator, tmp_path: Path) -> None:
    """An asset's one output bears its id: it is not said twice."""
    asset = next(one for one in everything.account.listed_assets() if one.status == "ready" and one.asset_id)
    everything.faults.append(Fault(asset.file.path, status=404))
    done = floradl(everything, "--json", "--source", "assets", tmp_path / "out")
    assert done.returncode == 3
    assert f"failed: {asset.asset_id}: http_404: " in done.stderr
    (failure,) = report_of(done.stdout)["failures"]
    assert (failure["run_id"], failure["output"]) == (asset.asset_id, asset.asset_id)
    status = floradl(everything, "status", "-v", tmp_path / "out")
    assert f"failed: {asset.asset_id}: http_404: " in status.stdout


@pytest.mark.parametrize("arguments", [["-n"], []])
def test_reports_of_interruption(sim: Simulator, tmp_path: Path, arguments: list[str]) -> None:
    """SIGINT in mid-run, or while a dry run lists: the report says so, and what was done by then."""
    sim.faults.append(Fault("/node-inputs/*", delay_s=1.0))
    sim.faults.append(Fault("/api/v1/generations", query="completed", delay_s=1.0))
    process = start(sim, *arguments, "--json", tmp_path / "out")
    seen = sim.api_requests if arguments else sim.media_requests
    wait_for(lambda: len(seen()) > 2)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    report = report_of(stdout)
    assert (process.returncode, report["exit_code"], report["interrupted"]) == (130, 130, True), stderr


@pytest.mark.parametrize(
    ("command", "key", "code"),
    [
        (["archive"], "sk_live_wrong", 4),
        (["archive", "-n"], "sk_live_wrong", 4),
        (["archive"], "", 2),
        (["verify"], "", 1),
        (["restore", "nowhere"], "", 1),
    ],
)
def test_reports_of_errors(sim: Simulator, tmp_path: Path, command: list[str], key: str, code: int) -> None:
    """A job that an error ended: message and hint, as on stderr."""
    done = floradl(sim, *command, "--json", tmp_path / "none", FLORA_API_KEY=key)
    report = report_of(done.stdout)
    assert (done.returncode, report["exit_code"], report["format"]) == (code, code, "floradl-error")
    assert report["message"] in done.stderr
    assert report["hint"] in done.stderr


def test_files_of_other_sizes_than_announced(tmp_path: Path) -> None:
    """The report names them with both sizes, and the summary counts them; the exit code is 0."""
    account = Account("sk_live_sizes")
    file = SimOutput("asset_a", content_type="image/png", body=png(b"a" * 3000))
    account.assets.append(
        SimAsset("asset_a", "ws_a", file, project_id="prj_a", created_at=10**9, size_bytes=9)
    )
    with serve_in_thread(account) as sim:
        ran = floradl(sim, "--json", "--source", "assets", "--retries", "0", tmp_path / "out")
        (told,) = report_of(ran.stdout)["other_sizes"]
        assert (ran.returncode, told["run_id"], told["output"]) == (0, "asset_a", "asset_a")
        assert (told["bytes"], told["announced_bytes"]) == (len(file.body or b""), 9)
        ran = floradl(sim, "--source", "assets", "--retries", "0", tmp_path / "another")
        assert "1 file of another size than FLORA announced, and whole: kept" in ran.stderr

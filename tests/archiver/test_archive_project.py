"""`floradl --project-id … DEST` from the first page to the last byte, through the installed command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.simulator import (
    Account,
    Edit,
    Fault,
    SimOutput,
    SimRun,
    Simulator,
    generate_account,
    serve_in_thread,
)
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound, manifest
from tests.support.zygote import floradl


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """300 runs in two workspaces and three projects, of every kind that FLORA documents and some more."""
    with serve_in_thread(generate_account(300, workspaces=2, projects=3, open_runs=4)) as simulator:
        yield simulator


def test_a_project_is_archived_whole_and_then_nothing_is_fetched(sim: Simulator, tmp_path: Path) -> None:
    """Every output of one project arrives, nothing of another is asked for, and a rerun asks for no media."""
    account, dest = sim.account, tmp_path / "out"
    project = account.projects[1].project_id
    wanted = completed(account, project)
    kinds = {output.type for run in wanted for output in run.outputs}
    assert {"imageUrl", "videoUrl", "audioUrl", "documentUrl", "text"} < kinds, "the account is too plain"

    first = floradl(sim, "--project-id", project, dest)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert_archived(dest, account, wanted)
    assert set(manifest(dest)["runs"]) == {run.run_id for run in wanted}
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=dest, capture_output=True, check=True)
    assert checked.stdout.count(b": OK\n") == sum(len(run.outputs) for run in wanted)
    media_of_project = {output.path for run in wanted for output in run.outputs if output.path}
    assert {request.path for request in sim.media_requests()} <= media_of_project
    names = {"/api/v1/workspaces", f"/api/v1/projects/{project}"}
    for request in sim.api_requests():
        is_of_one = request.path.startswith("/api/v1/runs/") or request.path in names
        assert is_of_one or request.query["project_id"] == project

    sim.forget()
    second = floradl(sim, "--project-id", project, dest)
    assert second.returncode == 0, second.stderr
    assert "Nothing new" in second.stderr
    assert sim.media_requests() == []
    assert len(sim.api_requests()) <= 8


def test_records_are_kept_to_the_byte(sim: Simulator, tmp_path: Path) -> None:
    """run.json is the text that the API sent, unknown fields, spelling of numbers and all."""
    dest = tmp_path / "out"
    assert floradl(sim, dest).returncode == 0
    entries = manifest(dest)["runs"]
    for run in completed(sim.account):
        if run.list_outputs:
            data = (dest / entries[run.run_id]["path"] / "run.json").read_text(encoding="utf-8")
            assert data == sim.account.record_json(run, listed=True)


def test_a_record_with_half_an_emoji_is_kept_to_the_byte(sim: Simulator, tmp_path: Path) -> None:
    """A prompt that was cut inside an emoji is legal JSON; it costs neither its run nor its spelling."""
    record = sim.account.record(completed(sim.account)[0], listed=True)
    cut = json.dumps(record | {"prompt": "half \ud83d"})
    assert "\\ud83d" in cut
    page = f'{{"generations": [{cut}], "meta": {{}}}}'
    sim.faults.append(Fault("/api/v1/generations", query="completed", status=200, body=page.encode()))
    assert floradl(sim, tmp_path).returncode == 0
    entry = manifest(tmp_path)["runs"][str(record["run_id"])]
    assert (tmp_path / entry["path"] / "run.json").read_text(encoding="utf-8") == cut


def test_files_bear_the_date_of_their_run(sim: Simulator, tmp_path: Path) -> None:
    """A file's modification time is its run's completion time."""
    dest = tmp_path / "out"
    assert floradl(sim, dest, "--max-runs", "5").returncode == 0
    for entry in manifest(dest)["runs"].values():
        for file in (dest / entry["path"]).iterdir():
            assert int(file.stat().st_mtime * 1000) == entry["completed_at"]


def test_the_whole_account_in_the_documented_tree(sim: Simulator, tmp_path: Path) -> None:
    """Without a scope everything comes, each run under its workspace and project."""
    dest = tmp_path / "out"
    assert floradl(sim, "archive", dest).returncode == 0
    assert_archived(dest, sim.account, completed(sim.account))
    for run_id, entry in manifest(dest)["runs"].items():
        assert entry["path"] == f"{entry['workspace_id']}/{entry['project_id']}/{run_id}"
    assert not any((dest / ".floradl" / "partials").iterdir())
    assert not any(path.is_file() for path in (dest / ".floradl" / "tmp").rglob("*"))


def test_a_removed_file_is_fetched_again_although_it_lies_below_the_seal(
    sim: Simulator, tmp_path: Path
) -> None:
    """A rerun brings back what somebody deleted, however old its run is, and nothing else."""
    dest = tmp_path / "out"
    assert floradl(sim, dest).returncode == 0
    oldest = min(
        (run for run in completed(sim.account) if run.outputs and run.outputs[0].path),
        key=lambda run: run.created_at,
    )
    entry = manifest(dest)["runs"][oldest.run_id]
    file = dest / entry["path"] / entry["outputs"][oldest.outputs[0].output_id]["file"]
    before = file.read_bytes()
    file.unlink()
    sim.forget()
    assert floradl(sim, dest).returncode == 0
    assert file.read_bytes() == before
    assert [request.path for request in sim.media_requests()] == [oldest.outputs[0].path]


def test_a_changed_file_is_reported_and_not_overwritten(sim: Simulator, tmp_path: Path) -> None:
    """A file that somebody edited stays as it is; the run says so and exits 3."""
    dest = tmp_path / "out"
    assert floradl(sim, dest).returncode == 0
    run = next(run for run in completed(sim.account) if run.outputs)
    entry = manifest(dest)["runs"][run.run_id]
    file = dest / entry["path"] / entry["outputs"][run.outputs[0].output_id]["file"]
    file.write_bytes(b"edited")
    again = floradl(sim, dest)
    assert again.returncode == 3
    assert f"{run.run_id} {run.outputs[0].output_id}: changed" in again.stderr
    assert file.read_bytes() == b"edited"
    assert manifest(dest)["runs"][run.run_id]["outputs"] == entry["outputs"]


def test_late_facts_replace_the_record(sim: Simulator, tmp_path: Path) -> None:
    """A cost that FLORA charges a minute late reaches run.json and the manifest with the next run."""
    run = max(completed(sim.account), key=lambda run: run.created_at)
    run.charged_cost = None
    dest = tmp_path / "out"
    assert floradl(sim, dest).returncode == 0
    assert manifest(dest)["runs"][run.run_id]["charged_cost"] is None
    run.charged_cost = 0.125
    sim.forget()
    assert floradl(sim, dest).returncode == 0
    entry = manifest(dest)["runs"][run.run_id]
    assert entry["charged_cost"] == 0.125
    assert json.loads((dest / entry["path"] / "run.json").read_bytes())["charged_cost"] == 0.125
    assert sim.media_requests() == []


def test_filters_fetch_what_they_name_and_seal_nothing(sim: Simulator, tmp_path: Path) -> None:
    """A filtered archive holds only what was asked for, and the next plain run brings the rest."""
    dest = tmp_path / "out"
    assert floradl(sim, dest, "--type", "text", "--type", "audio").returncode == 0
    types = {o["type"] for entry in manifest(dest)["runs"].values() for o in entry["outputs"].values()}
    assert types == {"text", "audioUrl"}
    assert manifest(dest)["scans"] == []
    assert floradl(sim, dest).returncode == 0
    assert_archived(dest, sim.account, completed(sim.account))


def test_model_date_and_number_filters(sim: Simulator, tmp_path: Path) -> None:
    """--model, --since with --until, --max-runs and --run-id each take just what they say."""
    runs = sorted(completed(sim.account), key=lambda run: run.created_at, reverse=True)
    modelled = next(run for run in runs if run.with_model and run.model_id)
    assert floradl(sim, tmp_path / "m", "--model", f"{str(modelled.model_id)[:4]}*").returncode == 0
    prefix = str(modelled.model_id)[:4]
    expected = {run.run_id for run in runs if run.with_model and (run.model_id or "").startswith(prefix)}
    assert set(manifest(tmp_path / "m")["runs"]) == expected

    assert floradl(sim, tmp_path / "n", "--max-runs", "7").returncode == 0
    assert set(manifest(tmp_path / "n")["runs"]) == {run.run_id for run in runs[:7]}

    dates = ("--since", "2026-11-22T00:00Z", "--until", "2026-11-22T12:00Z")
    assert floradl(sim, tmp_path / "d", *dates).returncode == 0
    low, high = 1_795_305_600_000, 1_795_348_800_000
    expected = {run.run_id for run in runs if low <= run.created_at < high}
    assert expected
    assert set(manifest(tmp_path / "d")["runs"]) == expected

    sim.forget()
    assert floradl(sim, tmp_path / "r", "--run-id", runs[3].run_id).returncode == 0
    assert set(manifest(tmp_path / "r")["runs"]) == {runs[3].run_id}
    assert len(sim.api_requests()) == 3, "the walk goes on after the run was found"
    unknown = floradl(sim, tmp_path / "r", "--run-id", "run_unknown")
    assert unknown.returncode == 3
    assert "not found: run_unknown" in unknown.stderr


def test_outputs_that_one_run_names_alike_get_files_of_their_own(tmp_path: Path) -> None:
    """A run that uses one output id three times loses none of them."""
    outputs = [SimOutput("same", "text", text=f"text {number}") for number in range(3)]
    run = SimRun("run_same", "ws_a", "prj_a", outputs=outputs)
    with serve_in_thread(Account("sk_live_x", [run])) as sim:
        assert floradl(sim, tmp_path).returncode == 0
    recorded = manifest(tmp_path)["runs"]["run_same"]["outputs"]
    folder = tmp_path / "ws_a/prj_a/run_same"
    texts = {key: (folder / entry["file"]).read_text() for key, entry in recorded.items()}
    assert texts == {"same": "text 0", "same#2": "text 1", "same#3": "text 2"}


@pytest.mark.parametrize("hostile", ["../../../../etc/x", "a/b\\c", "..", "CON", "x" * 4000, "tab\there", ""])
def test_hostile_output_ids_stay_inside_their_run(hostile: str, tmp_path: Path) -> None:
    """Whatever an output is called, its file lies in its run's folder and nowhere else."""
    run = SimRun("run_h", "ws_a", "prj_a", outputs=[SimOutput(hostile, "text", text="caught")])
    dest = tmp_path / "deep" / "out"
    with serve_in_thread(Account("sk_live_x", [run])) as sim:
        assert floradl(sim, dest).returncode == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"caught"]
    assert [path.parent for path in files] == [dest / "ws_a" / "prj_a" / "run_h"]


def test_a_dead_output_is_named_and_costs_nobody_else(sim: Simulator, tmp_path: Path) -> None:
    """One dead URL: exit 3, run, output and reason on stderr, all others archived; it heals later."""
    run = next(run for run in completed(sim.account) if run.outputs and run.outputs[0].path)
    output = run.outputs[0]
    sim.faults.append(Fault(output.path, status=404))
    dest = tmp_path / "out"
    failed = floradl(sim, dest)
    assert failed.returncode == 3
    assert f"failed: {run.run_id} {output.output_id}: http_404" in failed.stderr
    recorded = manifest(dest)["runs"][run.run_id]["outputs"][output.output_id]
    assert (recorded["state"], recorded["error"]["code"]) == ("failed", "http_404")
    assert_archived(dest, sim.account, [other for other in completed(sim.account) if other is not run])
    assert floradl(sim, dest).returncode == 3, "what failed once is tried again, not forgotten"
    sim.faults.clear()
    assert floradl(sim, dest).returncode == 0
    assert_archived(dest, sim.account, completed(sim.account))


def test_a_url_that_moved_is_asked_for_again(sim: Simulator, tmp_path: Path) -> None:
    """A URL that died while the run was listed: the API's current one is used."""
    run = next(run for run in completed(sim.account) if run.outputs and run.outputs[0].path)
    old = run.outputs[0].path
    sim.faults.append(Fault(old, status=410))
    record = sim.account.record(run, listed=True)
    sim.account.move_url(run.outputs[0])
    page = {"generations": [record], "meta": {"next_cursor": None}}
    sim.faults.append(
        Fault("/api/v1/generations", query="completed", status=200, body=json.dumps(page).encode())
    )
    assert floradl(sim, tmp_path).returncode == 0
    assert_sound(tmp_path)
    assert old in [request.path for request in sim.media_requests()]
    entry = manifest(tmp_path)["runs"][run.run_id]["outputs"][run.outputs[0].output_id]
    assert (entry["state"], entry["url"]) == ("archived", sim.media_url + run.outputs[0].path)


def test_the_key_goes_to_the_api_and_nowhere_else(sim: Simulator, tmp_path: Path) -> None:
    """No media request and no file of the archive holds the key; no message does either."""
    key = sim.account.api_key
    done = floradl(sim, "-v", "--json", tmp_path)
    assert done.returncode == 0
    assert key not in done.stderr
    assert key not in done.stdout
    for request in sim.media_requests():
        assert "authorization" not in request.headers
        assert not any(key in value for value in request.headers.values())
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert key.encode() not in file.read_bytes(), file


def test_an_edit_between_two_pages_of_a_first_archive(tmp_path: Path) -> None:
    """Runs inserted and removed while the first page lies open: those that stay are all there."""
    with serve_in_thread(generate_account(260, seed=5)) as sim:
        listed = sim.account.listed(status="completed")
        gone = tuple(run.run_id for run in listed[3:9])
        edit = Edit(insert=2, delete=gone)
        second_page = Fault("/api/v1/generations", query="completed", on=(2,), edit=edit)
        sim.faults.append(second_page)
        assert floradl(sim, tmp_path).returncode == 0
        staying = [run for run in listed if run.run_id not in gone]
        assert_archived(tmp_path, sim.account, staying)

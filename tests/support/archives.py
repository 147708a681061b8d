"""Reading an archive from disk, and asserting that it has what an account has, and nothing else."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from floradl.clock import Clock
from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.entries import State
from floradl.repository.manifest import Manifest
from floradl.repository.repository import load_manifest
from floradl.simulator import Account, SimRun, Simulator
from floradl.storage.destination import Destination
from tests.support.accounts import completed, expected_bytes, files_of, ready_assets


def manifest(dest: Path) -> dict[str, Any]:
    """`manifest.json` as plain JSON, read as any program would read it."""
    value: dict[str, Any] = json.loads((dest / "manifest.json").read_text(encoding="utf-8"))
    return value


def assert_archived(dest: Path, account: Account, runs: list[SimRun]) -> None:
    """Assert that all outputs and records of these runs are on disk byte for byte, and in the manifest."""
    entries = manifest(dest)["runs"]
    for run in runs:
        entry = entries[run.run_id]
        folder = dest / entry["path"]
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        told: dict[str, object] = {}
        for source in entry.get(
            "sources", ["generations"]
        ):  # both sources agree in the fields that they share
            is_technique = source == "technique-runs"
            told |= account.technique_record(run) if is_technique else account.record(run, listed=True)
        assert record == told or not run.list_outputs
        assert len(entry["outputs"]) == len(run.outputs), run.run_id
        for output in run.outputs:
            recorded = entry["outputs"][output.output_id]
            assert recorded["state"] == "archived", (run.run_id, recorded)
            data = (folder / recorded["file"]).read_bytes()
            assert data == expected_bytes(account, output), (run.run_id, output.output_id)
            assert recorded["sha256"] == hashlib.sha256(data).hexdigest()


def assert_assets_archived(dest: Path, account: Account, *, but: Collection[str] = ()) -> None:
    """Assert that exactly the ready uploads, with their records, are on disk and in the manifest.

    The uploads in `but` are not checked.
    """
    known, expected = dict(manifest(dest).get("assets", {})), ready_assets(account)
    for name in but:
        known.pop(name, None)
        expected.pop(name, None)
    assert {name for name, entry in known.items() if "vanished_at" not in entry} == set(expected)
    for name, asset in expected.items():
        folder = dest / known[name]["path"]
        (output,) = known[name]["outputs"].values()
        assert output["state"] == "archived", (name, output)
        data = (folder / output["file"]).read_bytes()
        assert data == account.body_of(asset.file), name
        assert output["sha256"] == hashlib.sha256(data).hexdigest()
        record = json.loads((folder / "asset.json").read_text(encoding="utf-8"))
        assert record == account.asset_record(asset, listed=True), name


def assert_canvases_archived(dest: Path, account: Account, *, but: Collection[str] = ()) -> None:
    """Assert that the archive has today's canvas of every visible project, and the labels from it.

    The projects and runs in `but` are not checked.
    """
    known = all_entries(dest)
    for project in account.projects:
        if project.project_id in {*account.hidden, *but}:
            continue
        canvas, entry = account.canvas_of(project.project_id), known[project.project_id]
        newest = {
            key.rpartition("-")[2]: dest / entry["path"] / entry["outputs"][key]["file"]
            for key in sorted(entry["outputs"])
        }
        assert newest["canvas"].read_text(encoding="utf-8") == canvas.diagram() + "\n"
        nodes = json.loads(newest["nodes"].read_text(encoding="utf-8"))["nodes"]
        records = [node.record(account.url_of) for node in canvas.nodes]
        assert sorted(nodes, key=str) == sorted(records, key=str), project.project_id
        shown = {id(node.shows): node.label for node in canvas.nodes if node.label}
        for run in [run for run in completed(account, project.project_id) if run.run_id not in but]:
            told = {output.output_id: shown[id(output)] for output in run.outputs if id(output) in shown}
            # A text may have further labels: those of any node whose content is equal to it.
            labels = _last_labels(dest / known[run.run_id]["path"] / layout.LABELS)
            assert told.items() <= labels.items(), run.run_id


def _last_labels(path: Path) -> dict[str, str]:
    """The newest label of each output in a run's `canvas.json`."""
    if not path.exists():
        return {}
    outputs = json.loads(path.read_text(encoding="utf-8"))["outputs"]
    return {key: labels[-1]["label"] for key, labels in outputs.items()}


def assert_all_archived(dest: Path, account: Account, *, but: Collection[str] = ()) -> None:
    """Assert that runs, uploads and canvases are on disk and in the manifest; `but` is not checked."""
    assert_archived(dest, account, [run for run in completed(account) if run.run_id not in but])
    assert_assets_archived(dest, account, but=but)
    assert_canvases_archived(dest, account, but=but)


def all_entries(dest: Path) -> dict[str, Any]:
    """The entries of runs, uploads and canvases in `manifest.json`, by their ids."""
    value = manifest(dest)
    return {**value["runs"], **value.get("assets", {}), **value.get("canvases", {})}


def assert_sound(dest: Path, *, removed: Collection[str] = ()) -> None:
    """Assert that every recorded file has its recorded size and hash, except for the `removed` paths."""
    if not (dest / "manifest.json").exists():
        return
    for run_id, entry in all_entries(dest).items():
        for key, output in entry["outputs"].items():
            if output["state"] == "archived" and f"{entry['path']}/{output['file']}" not in removed:
                data = (dest / entry["path"] / output["file"]).read_bytes()
                assert len(data) == output["size_bytes"], (run_id, key)
                assert hashlib.sha256(data).hexdigest() == output["sha256"], (run_id, key)
    if (dest / "SHA256SUMS").exists() and (dest / "SHA256SUMS").stat().st_size:
        missing = ["--ignore-missing"] if removed else []
        subprocess.run(["sha256sum", "--quiet", *missing, "-c", "SHA256SUMS"], cwd=dest, check=True)


def entries(dest: Path) -> Manifest:
    """The manifest as the next job would load it: `manifest.json` with the changes in the journal."""
    disk = Destination(dest)
    try:
        return load_manifest(disk, Clock())
    finally:
        disk.close()


def assert_entries_true(dest: Path, *, removed: Collection[str] = ()) -> None:
    """Assert that every output that the next job takes for archived is on disk with its recorded hash."""
    for run_id, run in entries(dest).iter_entries():
        for key, output in run.outputs.items():
            if output.state == State.ARCHIVED and f"{run.path}/{output.file}" not in removed:
                assert output.file is not None, (run_id, key)
                data = (dest / run.path / output.file).read_bytes()
                assert hashlib.sha256(data).hexdigest() == output.sha256, (run_id, key)


def output_files(dest: Path) -> dict[str, bytes]:
    """The bytes of every file, recorded or not, in the folders of items but records and labels, by path."""
    records = (layout.RUN_RECORD, layout.ASSET_RECORD, layout.LABELS)
    return {
        file.relative_to(dest).as_posix(): file.read_bytes()
        for file in dest.glob("*/*/*/**/*")
        if file.is_file() and file.name not in records and ".floradl" not in file.parts
    }


def assert_files_whole(dest: Path, account: Account) -> None:
    """Assert that no partial download has a final name: every file, canvases apart, is a whole output."""
    whole = {expected_bytes(account, output) for _, output in files_of(account)}
    for name, data in output_files(dest).items():
        if layout.CANVAS not in Path(name).parts:
            assert data in whole, f"{name} is not the whole of any output"


def assert_not_fetched_again(sim: Simulator, dest: Path, before: Iterable[str]) -> None:
    """Assert that no output whose file was there `before` was requested since the log was emptied."""
    asked = {request.path for request in sim.media_requests()}
    known = all_entries(dest)
    for name, output in files_of(sim.account):
        entry = known[name]
        # The key of an upload's file is the id of its entry.
        recorded = entry["outputs"].get(output.output_id) or entry["outputs"][name]
        file = f"{entry['path']}/{recorded.get('file')}"
        assert not (file in before and output.path in asked), f"{file} was there and was fetched again"


def assert_tidy(dest: Path) -> None:
    """Assert that nothing is left over: no journal, no partial, no temporary and no unrecorded file."""
    found = {file.relative_to(dest).as_posix() for file in dest.rglob("*") if file.is_file()}
    expected = {"manifest.json", "SHA256SUMS", ".floradl/lock"}
    for entry in all_entries(dest).values():
        expected |= {f"{entry['path']}/{output['file']}" for output in entry["outputs"].values()}
        record = layout.record_name(Kind(entry.get("kind", Kind.RUN)))
        expected |= {f"{entry['path']}/{record}"} if record else set()
    found = {path for path in found if not path.endswith(f"/{layout.LABELS}")}
    found = {path for path in found if not layout.is_name_record(path)}
    assert found == expected, found ^ expected

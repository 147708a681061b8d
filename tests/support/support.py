"""Driving the installed command against a simulated FLORA, and looking at what it left on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import settings

from floradl.clock import Clock
from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.entries import State
from floradl.repository.manifest import Manifest
from floradl.repository.repository import load_manifest
from floradl.simulator import Account, AssetStatus, SimAsset, SimOutput, SimRun, Simulator, generate_account
from floradl.storage.destination import Destination

COMMAND = str(Path(sysconfig.get_path("scripts")) / ("floradl.exe" if os.name == "nt" else "floradl"))


def environment(sim: Simulator, **more: str) -> dict[str, str]:
    """The environment of a person who has set up FLORA's tools."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLORA")}
    return kept | {"FLORA_BASE_URL": sim.base_url, "FLORA_API_KEY": sim.account.api_key} | more


def floradl(
    sim: Simulator, *arguments: str | Path, timeout_s: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end. It must never show a traceback."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=environment(sim, **env),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


_started: list[subprocess.Popen[str]] = []


def start(sim: Simulator, *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
    """Start the installed command and leave it at work, at most until the end of the test."""
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        env=environment(sim, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    _started.append(process)
    return process


def end_started() -> None:
    """Kill what a test that failed left at work: it would ask whoever has its simulator's port next."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds; fail when it does not within a minute."""
    deadline_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline_s:
            raise subprocess.TimeoutExpired("condition", 60)
        time.sleep(0.02)


def manifest(dest: Path) -> dict[str, Any]:
    """`manifest.json`, as any program would read it."""
    value: dict[str, Any] = json.loads((dest / "manifest.json").read_text(encoding="utf-8"))
    return value


def completed(account: Account, project_id: str | None = None) -> list[SimRun]:
    """The completed runs of an account, or of one of its projects."""
    return [
        run
        for run in account.runs
        if run.status == "completed" and (project_id is None or run.project_id == project_id)
    ]


def expected_bytes(account: Account, output: SimOutput) -> bytes:
    """What an output's file must hold."""
    if output.url is not None and not output.url.startswith("http"):
        return output.url.encode()  # a type that nobody knows, with its content in place of a URL
    return output.text.encode() if output.text is not None else account.body_of(output)


def assert_archived(dest: Path, account: Account, runs: list[SimRun]) -> None:
    """Every output of these runs is on disk byte for byte and recorded as such, and so is every record."""
    entries = manifest(dest)["runs"]
    for run in runs:
        entry = entries[run.run_id]
        folder = dest / entry["path"]
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        told: dict[str, object] = {}
        for source in entry.get("sources", ["generations"]):  # what both say is the same
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


def full_account(*, runs: int = 12, seed: int = 6, techniques: int = 9, assets: int = 14) -> Account:
    """An account with something of every source.

    Of every three runs of techniques `GET /generations` has two; uploads are of all states and kinds, two of
    them equal, one without a project; the canvases show some of both.
    """
    return generate_account(runs, seed=seed, techniques=techniques, assets=assets, canvases=True)


def ready_assets(account: Account) -> dict[str, SimAsset]:
    """The uploads that can be had, by the id that an archive knows each by."""
    return {
        asset.asset_id or asset.node_id or "": asset
        for asset in account.listed_assets()
        if asset.status == AssetStatus.READY
    }


def assert_assets_archived(dest: Path, account: Account, *, but: Collection[str] = ()) -> None:
    """Every upload that can be had is on disk byte for byte, with its record, and recorded; no other is.

    Those in `but` are not looked at.
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
    """Of every project that the key sees the canvas of today is there, and the labels of what it shows.

    Projects and runs in `but` are not looked at.
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
            # A text may have more: a node that has the same words shows it, too.
            labels = _last_labels(dest / known[run.run_id]["path"] / layout.LABELS)
            assert told.items() <= labels.items(), run.run_id


def _last_labels(path: Path) -> dict[str, str]:
    """The newest label of each output in a run's `canvas.json`."""
    if not path.exists():
        return {}
    outputs = json.loads(path.read_text(encoding="utf-8"))["outputs"]
    return {key: labels[-1]["label"] for key, labels in outputs.items()}


def assert_all_archived(dest: Path, account: Account, *, but: Collection[str] = ()) -> None:
    """All that an account has of every source is on disk and recorded, what is in `but` apart."""
    assert_archived(dest, account, [run for run in completed(account) if run.run_id not in but])
    assert_assets_archived(dest, account, but=but)
    assert_canvases_archived(dest, account, but=but)


def all_entries(dest: Path) -> dict[str, Any]:
    """What `manifest.json` has of runs, uploads and canvases, by their ids."""
    value = manifest(dest)
    return {**value["runs"], **value.get("assets", {}), **value.get("canvases", {})}


def files_of(account: Account) -> Iterator[tuple[str, SimOutput]]:
    """Every file that can be had of completed runs and of uploads, with the id of its entry."""
    for run in completed(account):
        yield from ((run.run_id, output) for output in run.outputs)
    for name, asset in ready_assets(account).items():
        yield name, asset.file


def assert_sound(dest: Path, *, removed: Collection[str] = ()) -> None:
    """Nothing in the archive lies: entries re-hash and the checksums pass, but for what was `removed`."""
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
    """What is recorded, with what the journal has and `manifest.json` has not: the next start's view."""
    disk = Destination(dest)
    try:
        return load_manifest(disk, Clock())
    finally:
        disk.close()


def assert_entries_true(dest: Path, *, removed: Collection[str] = ()) -> None:
    """Every output that a next start would take for archived is on disk with the hash that was recorded."""
    for run_id, run in entries(dest).iter_entries():
        for key, output in run.outputs.items():
            if output.state == State.ARCHIVED and f"{run.path}/{output.file}" not in removed:
                assert output.file is not None, (run_id, key)
                data = (dest / run.path / output.file).read_bytes()
                assert hashlib.sha256(data).hexdigest() == output.sha256, (run_id, key)


def output_files(dest: Path) -> dict[str, bytes]:
    """Every file that stands where outputs stand, by its path below DEST, whether recorded or not."""
    records = (layout.RUN_RECORD, layout.ASSET_RECORD, layout.LABELS)
    return {
        file.relative_to(dest).as_posix(): file.read_bytes()
        for file in dest.glob("*/*/*/**/*")
        if file.is_file() and file.name not in records and ".floradl" not in file.parts
    }


def assert_files_whole(dest: Path, account: Account) -> None:
    """No partial bears a final name: every file where outputs stand is the whole of one (canvases apart)."""
    whole = {expected_bytes(account, output) for _, output in files_of(account)}
    for name, data in output_files(dest).items():
        if layout.CANVAS not in Path(name).parts:
            assert data in whole, f"{name} is not the whole of any output"


def assert_not_fetched_again(sim: Simulator, dest: Path, before: Iterable[str]) -> None:
    """No output whose file is in `before` was requested since the simulator's log was emptied."""
    asked = {request.path for request in sim.media_requests()}
    known = all_entries(dest)
    for name, output in files_of(sim.account):
        entry = known[name]
        # An upload's file has its entry's id for a key.
        recorded = entry["outputs"].get(output.output_id) or entry["outputs"][name]
        file = f"{entry['path']}/{recorded.get('file')}"
        assert not (file in before and output.path in asked), f"{file} was there and was fetched again"


def assert_tidy(dest: Path) -> None:
    """Nothing lies around: no journal, no partial, no temporary file, and nothing that is not recorded."""
    found = {file.relative_to(dest).as_posix() for file in dest.rglob("*") if file.is_file()}
    expected = {"manifest.json", "SHA256SUMS", ".floradl/lock"}
    for entry in all_entries(dest).values():
        expected |= {f"{entry['path']}/{output['file']}" for output in entry["outputs"].values()}
        record = layout.record_name(Kind(entry.get("kind", Kind.RUN)))
        expected |= {f"{entry['path']}/{record}"} if record else set()
    found = {path for path in found if not path.endswith(f"/{layout.LABELS}")}
    found = {path for path in found if not layout.is_name_record(path)}
    assert found == expected, found ^ expected


def by_day(max_examples: int) -> settings:
    """Few examples for a property that is slow to check; `make nightly` gives it as many as any other."""
    return settings() if is_night() else settings(max_examples=max_examples)


def is_night() -> bool:
    """Whether these are the tests of `make nightly`, which have all the time they want."""
    return settings.default == settings.get_profile("nightly")


def png(data: bytes) -> bytes:
    """A PNG as far as an archiver can tell: how it begins, and how it ends."""
    return b"\x89PNG\r\n\x1a\n" + data + b"\0\0\0\0IEND\xaeB`\x82"


def mp4(data: bytes) -> bytes:
    """An MP4 as far as an archiver can tell: two boxes that end where the file does."""
    return b"\0\0\0\x18ftypmp42" + bytes(12) + (len(data) + 8).to_bytes(4, "big") + b"mdat" + data


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, now_s: float = 1_795_500_000.0) -> None:
        self.now_s = now_s
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.now_s, monotonic=lambda: self.now_s, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def python_module(*arguments: str) -> list[str]:
    """A command line that runs a module with this Python."""
    return [sys.executable, "-m", *arguments]

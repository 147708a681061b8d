"""`kill -9`, signals and a second process while technique runs, uploads and canvases are archived.

tests/crash/test_kills.py has the same for runs, at length.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.repository.entries import State
from floradl.simulator import (
    Account,
    Fault,
    Listing,
    SimNode,
    SimOutput,
    Simulator,
    edit_canvas,
    insert_assets,
    insert_runs,
    insert_technique_runs,
    serve_in_thread,
)
from tests.support.accounts import files_of, full_account
from tests.support.archives import (
    assert_all_archived,
    assert_entries_true,
    assert_files_whole,
    assert_sound,
    assert_tidy,
    entries,
    output_files,
)
from tests.support.hypothesis_settings import is_night
from tests.support.media import png
from tests.support.processes import floradl, start, wait_for

pytestmark = pytest.mark.timeout(600)  # dozens of runs a test

ROUNDS = 5 if is_night() else 2
ALL = ("--source", "all")


@pytest.fixture
def account() -> Account:
    """Something of every source; two uploads have equal bytes."""
    return full_account()


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Killing:
    """Kills floradl where it waits for one answer, each time for another, and looks at what it leaves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.diagrams: set[str] = set()
        self._moments = random.Random(21)
        self._note_diagrams()

    def grow(self) -> str:
        """A run of each history and one of both, twins of an upload, and a canvas that shows one of them.

        Returns:
            The project of that canvas.
        """
        account = self.sim.account
        insert_runs(account, 1)
        insert_technique_runs(account, 1, listed_by=Listing.TECHNIQUE_RUNS)
        (run,) = insert_technique_runs(account, 1, listed_by=Listing.BOTH)
        equal = account.assets[0].file
        for asset in insert_assets(account, 2):
            asset.file.drawing, asset.file.content_type = equal.drawing, equal.content_type
        run.outputs = [SimOutput("output_1", content_type="image/png", body=png(run.run_id.encode()))]
        node = SimNode(f"node_of_{run.run_id}", label=f"Label of {run.run_id}", shows=run.outputs[0])
        edit_canvas(account, run.project_id, add=[node])
        self._note_diagrams()
        return run.project_id

    def kill_at(self, path: str) -> None:
        """Start floradl, and kill it some milliseconds after it asked for this, which is not answered."""
        self.sim.forget()
        self.sim.faults[:] = [Fault(path, delay_s=600)]
        process = start(self.sim, *ALL, "-j", "3", self.dest)
        wait_for(lambda: process.poll() is not None or any(r.path == path for r in self.sim.requests))
        time.sleep(self._moments.uniform(0, 0.03))
        process.kill()
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it never asked for {path}: {stderr}"
        self.assert_no_lie()

    def missing_file(self) -> str:
        """One of the files that are not there yet."""
        account, there = self.sim.account, urls_there(self.dest)
        files = [output for _, output in files_of(account) if output.path]
        return self._moments.choice([file.path for file in files if account.url_of(file) not in there])

    def assert_no_lie(self) -> None:
        """What is recorded hashes, and nothing partial has a final name."""
        assert_entries_true(self.dest)
        assert_sound(self.dest)
        assert_files_whole(self.dest, self.sim.account)
        for name, data in output_files(self.dest).items():
            if name.endswith(".mmd"):
                assert data.decode() in self.diagrams, name
            elif name.endswith("-nodes.json"):
                assert json.loads(data)["nodes"], name
        for labels in self.dest.glob("*/*/*/canvas.json"):
            assert json.loads(labels.read_bytes())["outputs"], labels

    def _note_diagrams(self) -> None:
        account = self.sim.account
        self.diagrams |= {account.canvas_of(p.project_id).diagram() + "\n" for p in account.projects}


def urls_there(dest: Path) -> set[str]:
    """The URLs of what is recorded as archived, in the journal or before."""
    outputs = [output for _, entry in entries(dest).iter_entries() for output in entry.outputs.values()]
    return {output.url for output in outputs if output.state == State.ARCHIVED and output.url}


def test_killed_at_random_moments(sim: Simulator, tmp_path: Path) -> None:
    """Killed again and again, wherever it is, it leaves no lie, and in the end everything is there."""
    killing = Killing(sim, tmp_path / "out")
    for _ in range(ROUNDS):
        project = f"projects/{killing.grow()}"
        killing.kill_at(killing.missing_file())
        for path in ("technique-runs", "assets"):
            killing.kill_at(f"/api/v1/{path}")
        killing.kill_at(killing.missing_file())
        for path in ("workspaces", "projects", f"{project}/canvas", f"{project}/nodes"):
            killing.kill_at(f"/api/v1/{path}")
    sim.faults.clear()
    done = floradl(sim, *ALL, killing.dest)
    assert done.returncode == 0, done.stderr
    assert_all_archived(killing.dest, sim.account)
    assert_sound(killing.dest)
    assert_tidy(killing.dest)
    shared = {(killing.dest / name).stat().st_ino for name in output_files(killing.dest)}
    assert len(shared) < len(output_files(killing.dest)), "no two equal uploads are one file"
    checked = floradl(sim, "verify", killing.dest)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["canvas", "nodes"])
def test_a_signal_while_canvases_are_looked_at(
    account: Account, sim: Simulator, tmp_path: Path, what: str, number: signal.Signals
) -> None:
    """It ends in order: what is there is recorded, no file lies around, and the next run completes it."""
    path = f"/api/v1/projects/{account.projects[0].project_id}/{what}"
    sim.faults.append(Fault(path, delay_s=600))
    process = start(sim, *ALL, tmp_path / "out")
    wait_for(lambda: any(request.path == path for request in sim.requests))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "The same command goes on from here" in stdout + stderr
    assert "Traceback" not in stderr
    assert_sound(tmp_path / "out")
    assert_tidy(tmp_path / "out")
    sim.faults.clear()
    sim.forget()
    done = floradl(sim, *ALL, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sim.media_requests() == []
    assert_all_archived(tmp_path / "out", account)
    assert_tidy(tmp_path / "out")


def test_two_at_once(account: Account, sim: Simulator, tmp_path: Path) -> None:
    """A second process while the first looks at canvases exits 5; the first goes on, unharmed."""
    path = f"/api/v1/projects/{account.projects[0].project_id}/nodes"
    sim.faults.append(Fault(path, stall_after=10, stall_s=4))
    first = start(sim, *ALL, tmp_path / "out")
    wait_for(lambda: any(request.path == path for request in sim.requests))
    second = floradl(sim, *ALL, tmp_path / "out")
    assert second.returncode == 5, second.stderr
    assert f"process {first.pid}" in second.stderr
    stdout, _ = first.communicate(timeout=60)
    assert first.returncode == 0, stdout
    assert_all_archived(tmp_path / "out", account)
    assert_tidy(tmp_path / "out")


@pytest.mark.parametrize("how", ["without canvases", "killed", "stopped", "refused"])
def test_labels_of_a_run_that_came_before_its_canvas_was_looked_at(tmp_path: Path, how: str) -> None:
    """A canvas that is as it was is asked what it says of a new run, by whichever job is next."""
    account = full_account(techniques=0, assets=0)
    (run,) = insert_runs(account, 1, status="running")
    run.outputs = [SimOutput("output_1", content_type="image/png", body=png(b"late"))]
    edit_canvas(account, run.project_id, add=[SimNode("node_late", label="Late", shows=run.outputs[0])])
    canvas = f"/api/v1/projects/{run.project_id}/canvas"
    with serve_in_thread(account) as sim:
        assert floradl(sim, *ALL, tmp_path / "out").returncode == 0
        account.finish(run.run_id)
        sim.forget()
        if how == "without canvases":
            assert floradl(sim, tmp_path / "out").returncode == 0
        elif how == "refused":
            sim.faults.append(Fault(canvas, status=403))
            assert floradl(sim, *ALL, tmp_path / "out").returncode == 4
        else:
            sim.faults.append(Fault(canvas, delay_s=600))
            process = start(sim, *ALL, tmp_path / "out")
            wait_for(lambda: any(request.path == canvas for request in sim.requests))
            process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
            process.communicate(timeout=60)
        sim.faults.clear()
        assert floradl(sim, *ALL, tmp_path / "out").returncode == 0
        assert_all_archived(tmp_path / "out", account)
        sim.forget()
        assert floradl(sim, *ALL, tmp_path / "out").returncode == 0
        assert not [one for one in sim.requests if one.path.endswith("/nodes")], "asked again and again"

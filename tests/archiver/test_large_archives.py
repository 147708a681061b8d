"""Quiet nights of large archives: what is spared, and that nothing is missed or lost for it.

A large archive has hundreds of thousands of runs. Here a handful passes for one (`steps.make_large`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.network.retry import Backoff
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, insert_runs, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound, entries, manifest
from tests.support.clock import FakeTime
from tests.support.media import png
from tests.support.processes import floradl
from tests.support.steps import Stop, make_large, stepped
from tests.support.zygote import Zygote

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0
RUNS = 9


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Nine runs, each with a picture and a text."""
    runs = [
        SimRun(
            f"run_{number}",
            "ws_a",
            "prj_a",
            created_at=1_795_000_000_000 + number * 600_000,
            outputs=[
                SimOutput("output_1", content_type="image/png", body=png(b"%d" % number)),
                SimOutput("output_2", "text", text=f"text {number}"),
            ],
        )
        for number in range(RUNS)
    ]
    with serve_in_thread(Account("sk_live_large", runs)) as simulator:
        yield simulator


class Nights:
    """A nightly job, with a clock that only the test moves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.time = FakeTime()

    async def run(self, *, full: bool = False) -> Report:
        """One night's job, and a day passes."""
        self.sim.forget()
        options = ArchiveOptions(self.dest, self.sim.base_url, full=full, fsync=False)
        key, clock = self.sim.account.api_key, self.time.clock
        backoff = Backoff(base_s=0.0)
        async with FloraApi(
            self.sim.base_url, key, clock=clock, retries=1, timeout_s=20, backoff=backoff
        ) as api:
            report = await archive(options, api, clock=clock, backoff=backoff)
        self.time.now_s += DAY_S
        return report

    def file(self, number: int) -> Path:
        """A run's picture."""
        return self.dest / f"ws_a/prj_a/run_{number}/output_1.png"

    def assert_complete(self) -> None:
        """Everything is there, and recorded."""
        assert_archived(self.dest, self.sim.account, completed(self.sim.account))
        assert_sound(self.dest)


@pytest.fixture
async def nights(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """The job, after two nights: the archive is whole, and was found to be so."""
    make_large(monkeypatch.setattr)
    nights = Nights(sim, tmp_path / "out")
    for _ in range(2):
        assert (await nights.run()).is_complete
    return nights


async def test_a_quiet_night_writes_a_line(nights: Nights) -> None:
    """The archive is not written anew, eight calls suffice, and the night is known to have been."""
    before = {path: path.stat() for path in nights.dest.rglob("*") if ".floradl" not in path.parts}
    for _ in range(3):
        report = await nights.run()
        assert report.is_complete
        assert (report.archive_runs, report.archive_outputs) == (RUNS, 2 * RUNS)
        assert len(nights.sim.api_requests()) <= 8
        assert not nights.sim.media_requests()
    after = {path: path.stat() for path in nights.dest.rglob("*") if ".floradl" not in path.parts}
    assert {path: (s.st_ino, s.st_mtime_ns) for path, s in after.items()} == {
        path: (s.st_ino, s.st_mtime_ns) for path, s in before.items()
    }
    scans = json.loads(b"".join(entries(nights.dest).encode(updated_at="", base_url="")))["scans"]
    assert scans[0]["last_scan_at"] > manifest(nights.dest)["scans"][0]["last_scan_at"]
    nights.assert_complete()


async def test_a_night_with_something_new_folds(nights: Nights) -> None:
    """What is new is in `manifest.json` after the night, and so is what waited; no journal is left."""
    await nights.run()
    insert_runs(nights.sim.account, 1)
    assert (await nights.run()).new_runs == 1
    assert not (nights.dest / ".floradl" / "journal").exists()
    nights.assert_complete()
    for _ in range(2):
        report = await nights.run()
        assert (report.is_complete, report.new_runs, nights.sim.media_requests()) == (True, 0, [])


def remove(file: Path) -> None:
    """A file is gone."""
    file.unlink()


def remove_folder(file: Path) -> None:
    """A run is gone."""
    shutil.rmtree(file.parent)


def rename(file: Path) -> None:
    """A file has another name."""
    file.rename(file.with_name("mine.png"))


@pytest.mark.parametrize("damage", [remove, remove_folder, rename])
async def test_what_is_gone_comes_back_the_next_night(nights: Nights, damage: Callable[[Path], None]) -> None:
    """Of whichever run it is, and whether or not that has its turn."""
    for number in range(RUNS):
        damage(nights.file(number))
    report = await nights.run()
    assert report.is_complete
    assert len(nights.sim.media_requests()) == RUNS
    nights.assert_complete()


async def test_a_file_that_was_edited_is_reported_within_the_rotation(nights: Nights) -> None:
    """An eighth of the runs are looked into each night, so eight nights tell of all; a full walk at once."""
    for number in range(RUNS):
        with nights.file(number).open("ab") as file:
            file.write(b"more")
    told: set[str] = set()
    reported = []
    for _ in range(5):  # two of nine each night
        report = await nights.run()
        reported.append(len(report.failures))
        told |= {failure.run_id for failure in report.failures}
        assert {failure.code for failure in report.failures} == {"changed"}
    assert len(told) == RUNS
    assert reported == sorted(reported), "what was found once is not told any more"


@pytest.mark.parametrize("is_weekly", [True, False])
async def test_a_full_walk_looks_into_everything(nights: Nights, is_weekly: bool) -> None:
    """When the history is walked whole, by order or by date, so is the disk, whatever the lists have."""
    for number in range(RUNS):
        nights.sim.account.delete(f"run_{number}")
    for number in range(RUNS):
        with nights.file(number).open("ab") as file:
            file.write(b"more")
    nights.time.now_s += 8 * DAY_S if is_weekly else 0
    assert len((await nights.run(full=not is_weekly)).failures) == RUNS


async def test_an_output_that_failed_is_tried_every_night(nights: Nights) -> None:
    """Its run is never taken for settled, and once it is there, nothing more is asked."""
    (new,) = insert_runs(nights.sim.account, 1)
    new.outputs = [SimOutput("output_1", content_type="image/png", body=png(b"new"))]
    nights.sim.account.record(new, listed=True)  # which gives its output a place
    nights.sim.faults.append(Fault(new.outputs[0].path, status=404))
    for _ in range(4):
        assert int((await nights.run()).exit_code) == 3
        assert nights.sim.media_requests()
    nights.sim.faults.clear()
    assert (await nights.run()).is_complete
    nights.assert_complete()


async def test_a_manifest_put_back_brings_its_own_seal(nights: Nights) -> None:
    """With a backup of `manifest.json`, what came after it is found again, far below the newest runs too."""
    account = nights.sim.account
    (late,) = insert_runs(account, 1, status="pending")
    texts = insert_runs(account, 120)
    for run in texts:
        run.outputs = [SimOutput("output_1", "text", text=run.run_id)]
    await nights.run()
    backup = (nights.dest / "manifest.json").read_bytes()
    account.finish(late.run_id)
    assert (await nights.run()).new_runs == 1
    await nights.run()
    (nights.dest / "manifest.json").write_bytes(backup)
    assert (await nights.run()).is_complete
    nights.assert_complete()


async def test_a_manifest_that_is_lost(nights: Nights) -> None:
    """The journal beside it is no archive: all is listed and recorded again, and nothing fetched."""
    await nights.run()
    (nights.dest / "manifest.json").unlink()
    assert floradl(nights.sim, "verify", nights.dest).returncode == 3
    report = await nights.run()
    assert (report.is_complete, report.new_runs, report.fetched) == (True, RUNS, RUNS)  # texts are written
    assert not nights.sim.media_requests()
    nights.assert_complete()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    ("night", "step"),
    [
        ("new", "replace manifest.json"),
        ("new", "remove .floradl/journal"),
        ("new", "replace .floradl/stamps"),
        ("quiet", "replace .floradl/stamps"),
    ],
)
def test_killed_around_the_end(sim: Simulator, tmp_path: Path, night: str, step: str) -> None:
    """Killed while a night's last files are written: what is removed then is missed, and all is completed."""
    dest = tmp_path / "out"
    with Zygote() as zygote:
        for _ in range(2):
            assert stepped(zygote, sim, dest, as_large=True).returncode == 0
        if night == "new":
            insert_runs(sim.account, 1)
        ran = stepped(zygote, sim, dest, as_large=True, stop=Stop(0, "kill", name=step))
        assert ran.returncode == -signal.SIGKILL
        for number in (0, RUNS - 1):
            (dest / f"ws_a/prj_a/run_{number}/output_1.png").unlink()
        again = stepped(zygote, sim, dest, as_large=True)
        assert again.returncode == 0, again.stderr
    assert_archived(dest, sim.account, completed(sim.account))
    assert_sound(dest)
    assert floradl(sim, "verify", dest).returncode == 0

"""Power cuts, and disks that fail once: nothing recorded is lost, and the same command completes the archive.

floradl works on a real file system, on a disk that keeps every write and every flush (`volatile_disk.py`).
From that the disk is made again as a cut would leave it, and mounted, so that the file system repairs itself
as after a power cut. What is there then is read by docs/format.md alone, and the job that was cut off runs
again.

This needs Linux, root, `/dev/fuse` and loop devices. Elsewhere these tests are skipped and say so, but never
where `CI` is set.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.archive_format import (
    assert_entries_hold,
)
from tests.support.hypothesis_settings import is_night
from tests.support.media import png
from tests.support.power_cuts import (
    FILE_SYSTEMS,
    PAGE_BYTES,
    Cut,
    Kept,
    choose_cuts,
    copy_image,
    why_not_here,
)
from tests.support.processes import wait_for
from tests.support.recorded_jobs import (
    ARCHIVE,
    LAST_SMALL,
    ONLY_IN_RECORDS,
    Job,
    Rig,
    archive_job,
    damaged_archive,
    make_account,
    repair_job,
)
from tests.support.volatile_disk import Kind, Record

pytestmark = pytest.mark.timeout(3600 if is_night() else 600)  # many runs a test

ROOT = Path(__file__).parents[2]
SEED = random.SystemRandom().randrange(10**9) if is_night() else 1
"""Decides where the power is cut; each failure names it."""
ARCHIVE_CUTS, REPAIR_CUTS = (300, 100) if is_night() else (12, 6)
OTHER_ARCHIVE_CUTS, OTHER_REPAIR_CUTS = 100, 40


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The account, served."""
    reason = why_not_here(tmp_path_factory.mktemp("disk"))
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with serve_in_thread(make_account()) as simulator:
        yield simulator


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where images lie: in memory where that is possible, since each of them is read once."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    with tempfile.TemporaryDirectory(prefix="floradl-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def rig(sim: Simulator, folder: Path) -> Iterator[Rig]:
    """Disks with ext4."""
    yield Rig(sim, folder)
    sim.faults.clear()


@pytest.fixture(params=FILE_SYSTEMS[1:], ids=lambda file_system: file_system.name)
def other_rig(request: pytest.FixtureRequest, sim: Simulator, folder: Path) -> Rig:
    """Disks with another file system."""
    if not request.param.is_here():
        pytest.skip(f"there is no {request.param.make[0]}")
    return Rig(sim, folder, request.param)


def assert_kept(broken: Sequence[str]) -> None:
    """Assert that no cut broke a promise; else tell of each that did."""
    assert not broken, "\n".join(broken)


def test_cuts_while_an_archive_is_made(rig: Rig) -> None:
    """A cut at any moment costs nothing that was recorded, and the same command completes the archive."""
    assert_kept(rig.broken_promises(archive_job(rig), ARCHIVE_CUTS, SEED))


def test_cuts_while_an_archive_is_repaired(rig: Rig) -> None:
    """A file that is being repaired is as it was or as it should be, and the same repair ends well."""
    assert_kept(rig.broken_promises(repair_job(rig), REPAIR_CUTS, SEED))


@pytest.mark.nightly
def test_cuts_on_other_file_systems(other_rig: Rig) -> None:
    """The same for file systems that write in another order."""
    assert_kept(other_rig.broken_promises(archive_job(other_rig), OTHER_ARCHIVE_CUTS, SEED))
    assert_kept(other_rig.broken_promises(repair_job(other_rig), OTHER_REPAIR_CUTS, SEED))


def test_cuts_are_seen_where_nothing_is_flushed(rig: Rig) -> None:
    """The check can fail: without flushes a cut costs what a job had archived."""
    broken = rig.broken_promises(archive_job(rig, "--no-fsync"), 2, SEED)
    assert any("the job had ended" in text for text in broken), broken


def mark_of(kind: str, account: Account) -> bytes:
    """Bytes that only one kind of file has."""
    small, large = (account.get(run_id).outputs[0].body for run_id in (LAST_SMALL, "run_large"))
    return {
        "a small output": small[8:72],
        "a large output": large[8:72],
        "run.json": ONLY_IN_RECORDS.encode(),
        "the journal": b'"op":"output"',
        "manifest.json": b'"floradl-manifest"',
        "SHA256SUMS": sha256(large).hexdigest().encode() + b"  ",
    }[kind]


@pytest.mark.parametrize("what", ["write", "flush"])
@pytest.mark.parametrize(
    "kind", ["a small output", "a large output", "run.json", "the journal", "manifest.json", "SHA256SUMS"]
)
def test_a_disk_that_fails_once(rig: Rig, kind: str, what: str) -> None:
    """The disk fails a write or a flush of one file of each kind."""
    if kind == "a small output":  # it comes when the writer processes are sure to be at work
        last = rig.sim.account.get(LAST_SMALL).outputs[0].path
        rig.sim.faults[:] = [Fault(last, delay_s=1)]
    assert_failure_is_outlived(rig, Job(ARCHIVE, rig.empty), what, mark_of(kind, rig.sim.account))


@pytest.mark.parametrize("what", ["write", "flush"])
def test_a_disk_that_fails_once_in_a_repair(rig: Rig, what: str) -> None:
    """The same for a large output that a repair brings back."""
    mark = mark_of("a large output", rig.sim.account)
    assert_failure_is_outlived(rig, damaged_archive(rig), what, mark)


@pytest.mark.parametrize("what", ["write", "flush"])
def test_a_disk_that_fails_behind_a_checkpoint(sim: Simulator, folder: Path, what: str) -> None:
    """The same far inside of a partial that comes slowly, which the next run would go on with."""
    body = png(random.Random(2).randbytes(24_000_000))
    output = SimOutput("output_1", content_type="image/png", body=body)
    account = Account(sim.account.api_key, [SimRun("run_film", "ws_a", "prj_a", outputs=[output])])
    slow = Fault(output.path, drip=(96 * 1024, 0.01))
    with serve_in_thread(account, faults=[slow]) as slow_sim:
        rig = Rig(slow_sim, folder)
        assert_failure_is_outlived(rig, Job(ARCHIVE, rig.empty), what, body[12_000_008:12_000_072])


def assert_failure_is_outlived(rig: Rig, job: Job, what: str, mark: bytes) -> None:
    """Assert what is promised of a disk that fails once during a job.

    The exit code is 1. Nothing recorded is wrong then, neither in the cache nor on the disk, and the next run
    completes the archive. After a failed write that is a run on the same file system, with its cache, and one
    after the disk was mounted again. After a failed flush a file system has to be mounted again.
    """
    copy_image(job.base, rig.image)
    after = rig.folder / "after"
    with rig.serving() as disk, rig.mounted(disk.device):
        disk.fail(what, mark)
        failed = rig.run(*job.command)
        end = disk.position()
        assert failed.returncode == 1, failed.stderr
        assert_entries_hold(rig.dest, but=job.damages)
        rig.sim.faults.clear()
        if what == "write":
            rig.run_well(*job.command)
    records = rig.recording()
    assert [one.kind for one in records].count(Kind.FAILED) == 1
    Cut(end, Kept.HALF).make_image(job.base, records, after, random.Random(SEED))
    with rig.mounted(after):
        assert_entries_hold(rig.dest, but=job.damages)
        rig.run_well(*job.command)
        rig.assert_complete()
    if what == "write":
        Cut(len(records), Kept.ALL).make_image(job.base, records, after, random.Random(SEED))
        with rig.mounted(after):
            rig.assert_complete()


HOLDING = """
import sys, time
from pathlib import Path
from tests.support.power_cuts import EXT4, mounted
from tests.support.volatile_disk import VolatileDisk
image, served, place, log = map(Path, sys.argv[1:])
with VolatileDisk(image, served, log) as disk, mounted(disk.device, place, EXT4):
    print("mounted", flush=True)
    time.sleep(60)
"""
"""What a test does, without an end."""


def test_nothing_stays_mounted_when_the_tests_are_killed(rig: Rig, folder: Path) -> None:
    """A test that takes too long is killed with its process, and no disk of it outlives that."""
    copy_image(rig.empty, rig.image)
    places = [str(path) for path in (rig.image, rig.served, rig.place, folder / "log")]
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDING, *places], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holding.stdout is not None
    with holding, holding.stdout:
        assert holding.stdout.readline() == "mounted\n"
        assert rig.place.is_mount()
        holding.kill()
    wait_for(lambda: not rig.place.is_mount() and not rig.served.is_mount())
    wait_for(lambda: not [path for path in backing_files() if str(folder) in path])


def backing_files() -> list[str]:
    """What is attached to loop devices now."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # detached in this moment
            found.append(path.read_text())
    return found


def test_a_cut_leaves_what_was_flushed(tmp_path: Path) -> None:
    """The disk has all that came before the last flush; of the rest nothing, some whole pages, or all."""
    base, image = tmp_path / "base", tmp_path / "image"
    base.write_bytes(bytes(10 * PAGE_BYTES))
    flushed, late = b"f" * PAGE_BYTES, b"l" * 8 * PAGE_BYTES
    records = [Record(Kind.WRITE, 0, flushed), Record(Kind.FLUSH), Record(Kind.WRITE, PAGE_BYTES, late)]
    late_pages = {}
    for kept in Kept:
        Cut(len(records), kept).make_image(base, records, image, random.Random(SEED))
        data = image.read_bytes()
        assert (data[:PAGE_BYTES], data[-PAGE_BYTES:]) == (flushed, bytes(PAGE_BYTES))
        pages = [data[start : start + PAGE_BYTES] for start in range(PAGE_BYTES, 9 * PAGE_BYTES, PAGE_BYTES)]
        assert set(pages) <= {bytes(PAGE_BYTES), b"l" * PAGE_BYTES}
        late_pages[kept] = pages.count(b"l" * PAGE_BYTES)
    assert late_pages[Kept.NOTHING] == 0 < late_pages[Kept.HALF] < late_pages[Kept.ALL] == 8
    Cut(1, Kept.NOTHING).make_image(base, records, image, random.Random(SEED))
    assert not any(image.read_bytes()), "nothing had been flushed"


def test_there_are_as_many_cuts_as_asked_for() -> None:
    """Also where there are few flushes and a short end; the last cut is when the job has ended."""
    records = [*[Record(Kind.WRITE, 0, b"x")] * 50, Record(Kind.FLUSH)]
    cuts = choose_cuts(records, 40, random.Random(SEED), last_part=50)
    assert len({cut.position for cut in cuts}) == len(cuts) == 40
    assert cuts[-1] == Cut(len(records), Kept.NOTHING)
    assert {cut.kept for cut in cuts} == set(Kept)

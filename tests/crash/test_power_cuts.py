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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.accounts import expected_bytes, files_of, full_account
from tests.support.archive_format import (
    archived_outputs,
    assert_entries_hold,
    assert_final_names_whole,
    assert_nothing_left_over,
    final_files,
    read_entries,
    set_aside,
    sha256_of,
)
from tests.support.archives import assert_all_archived
from tests.support.hypothesis_settings import is_night
from tests.support.media import png
from tests.support.power_cuts import (
    EXT4,
    FILE_SYSTEMS,
    PAGE_BYTES,
    Cut,
    FileSystem,
    Kept,
    choose_cuts,
    copy_image,
    make_image,
    mounted,
    why_not_here,
)
from tests.support.processes import wait_for
from tests.support.volatile_disk import Kind, Record, VolatileDisk, read_recording
from tests.support.zygote import floradl

pytestmark = pytest.mark.timeout(3600 if is_night() else 600)  # many runs a test

ROOT = Path(__file__).parents[2]
SEED = 1
ARCHIVE_CUTS, REPAIR_CUTS = (300, 100) if is_night() else (12, 6)
OTHER_ARCHIVE_CUTS, OTHER_REPAIR_CUTS = 100, 40
SMALL = 72
"""More small outputs than it takes to start the writer processes."""
LAST_SMALL = f"run_small_{SMALL - 1}"

ARCHIVE = ("archive", "--source", "all")
REPAIR = ("verify", "--repair")
ONLY_IN_RECORDS = "a field that no entry repeats"


def make_account() -> Account:
    """An account with something of every source, many small pictures, and a large one."""
    account = full_account(runs=6, techniques=3, assets=4)
    for number in range(SMALL):
        body = png(random.Random(number).randbytes(9_000))
        outputs = [SimOutput("output_1", content_type="image/png", body=body)]
        run_id = f"run_small_{number}"
        account.insert(SimRun(run_id, "ws_a", "prj_a", created_at=10**9 - number, outputs=outputs))
    account.get("run_small_40").extra["note"] = ONLY_IN_RECORDS
    large = SimOutput("output_1", content_type="image/png", body=png(random.Random(-1).randbytes(9_000_000)))
    account.insert(SimRun("run_large", "ws_a", "prj_a", created_at=10**9 - SMALL, outputs=[large]))
    return account


@dataclass
class Job:
    """A job, recorded on a disk.

    Attributes:
        command: the job, without DEST.
        base: the image of the disk before it.
        records: what it did to the disk.
        whole: the SHA-256 of each file that may have a final name.
        recorded: what was recorded when it had ended, as `assert_entries_hold` returns it.
        damages: the files that were damaged before the job, each with the SHA-256 that it has since; "" where
            it is not there.
    """

    command: Sequence[str]
    base: Path
    damages: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[Record] = ()
    whole: frozenset[str] = frozenset()
    recorded: Mapping[str, str] = field(default_factory=dict)


class Rig:
    """A served account, and disks for archives of it."""

    def __init__(self, sim: Simulator, folder: Path, file_system: FileSystem = EXT4) -> None:
        self.sim = sim
        self.folder = folder
        self.file_system = file_system
        self.empty, self.image = folder / "empty", folder / "image"
        self.place, self.served = folder / "mounted", folder / "served"
        self.dest = self.place / "archive"
        self.place.mkdir()
        self.served.mkdir()
        make_image(self.empty, file_system)

    def mounted(self, image: Path) -> AbstractContextManager[Path]:
        """Mount an image where the archive is expected."""
        return mounted(image, self.place, self.file_system)

    def serving(self) -> VolatileDisk:
        """Serve the disk `image`."""
        return VolatileDisk(self.image, self.served, self.folder / "log")

    def recording(self) -> list[Record]:
        """What the disk recorded that was served last."""
        return list(read_recording(self.folder / "log"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run floradl for the archive."""
        return floradl(self.sim, *command, self.dest)

    def run_well(self, *command: str) -> None:
        """Run floradl for the archive, and assert that it ends with exit code 0."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr}"

    def record(self, job: Job) -> Job:
        """Do a job on a disk that is recorded, up to its end: what the disk does after that is left out."""
        copy_image(job.base, self.image)
        with self.serving() as disk, self.mounted(disk.device):
            self.run_well(*job.command)
            end = disk.position()
            job.recorded = assert_entries_hold(self.dest)
            job.whole = self.whole_files() | frozenset(final_files(self.dest).values())
        job.records = self.recording()[:end]
        return job

    def whole_files(self) -> frozenset[str]:
        """The SHA-256 of each output and upload."""
        account = self.sim.account
        return frozenset(sha256(expected_bytes(account, one)).hexdigest() for _, one in files_of(account))

    def broken_promises(self, job: Job, number: int, seed: int = SEED) -> list[str]:
        """Cut the power in so many moments of a job; what was not as promised, a text for each such cut."""
        chance = random.Random(seed)
        cuts = choose_cuts(job.records, number, chance, last_part=_last_part(job.records))
        durable: dict[str, str] = {}
        broken = []
        for cut in cuts:
            cut.make_image(job.base, job.records, self.image, chance)
            try:
                with self.mounted(self.image):
                    now = self._assert_holds(job, durable)
                    if cut.kept is Kept.NOTHING:
                        durable = now
                    if cut.position == len(job.records):
                        assert now == job.recorded, "the job had ended, and what it recorded is not there"
                    self._assert_completes(job)
            except (AssertionError, KeyError, OSError, ValueError) as exc:
                broken.append(f"seed {seed}, {self.file_system.name}, {cut}: {exc!r}")
        return broken

    def _assert_holds(self, job: Job, durable: Mapping[str, str]) -> dict[str, str]:
        """Assert what is promised of the disk as it is; returns what is recorded."""
        if not self.dest.exists():
            assert not durable, "the archive was there before, and is gone"
            return {}
        now = assert_entries_hold(self.dest, but=job.damages)
        assert_final_names_whole(self.dest, job.whole, but=job.damages)
        aside = [sha256_of(path) for path in set_aside(self.dest)]
        for path, damaged in job.damages.items():
            there = sha256_of(self.dest / path) if (self.dest / path).exists() else ""
            is_as_it_was = there == damaged or (not there and damaged in aside)
            assert is_as_it_was or there in job.whole, f"{path} is neither as it was nor repaired"
        lost = [path for path, sha256 in durable.items() if now.get(path) != sha256]
        assert not lost, f"recorded and flushed before, and not any more: {lost}"
        return now

    def _assert_completes(self, job: Job) -> None:
        """Assert that the job that was cut off runs again to its end, and all is complete and sound."""
        self.run_well(*job.command)
        assert_nothing_left_over(self.dest, job.damages.values())
        self.assert_complete(job.whole)

    def assert_complete(self, whole: frozenset[str]) -> None:
        """Assert that the archive has all of the account and nothing else, and that `verify` says so."""
        assert_entries_hold(self.dest)
        assert_final_names_whole(self.dest, whole)
        assert_all_archived(self.dest, self.sim.account)
        checked = self.run("verify", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert '"findings":[]' in checked.stdout.replace(" ", ""), checked.stdout


def _last_part(records: Sequence[Record]) -> int:
    """A record a little before `manifest.json` is written; the first where that is never written."""
    written = [at for at, one in enumerate(records) if b'"floradl-manifest"' in one.data]
    return max(1, written[-1] - 15) if written else 1


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


def archive_job(rig: Rig, *options: str) -> Job:
    """An archive is made, on an empty disk."""
    return rig.record(Job((*ARCHIVE, *options), rig.empty))


def repair_job(rig: Rig) -> Job:
    """Some files of an archive are damaged in every way, a large one too, and repaired."""
    damaged = rig.folder / "damaged"
    copy_image(rig.empty, damaged)
    with rig.mounted(damaged):
        rig.run_well(*ARCHIVE)
        damages = _damage(rig.dest)
    return rig.record(Job(REPAIR, damaged, damages))


def _damage(dest: Path) -> dict[str, str]:
    """Cut, zero and remove files, as `Job.damages` has them."""
    outputs = sorted(archived_outputs(read_entries(dest)))
    pictures = [path for path in outputs if "run_small_" in path][::9]
    (large,) = [path for path in outputs if "run_large" in path]
    record = pictures[0].replace("output_1.png", "run.json")
    damages = {}
    for number, path in enumerate([*pictures, large, record]):
        file = dest / path
        match number % 3:
            case 0:
                os.truncate(file, file.stat().st_size // 2)
            case 1:
                file.write_bytes(bytes(file.stat().st_size))
            case _:
                file.unlink()
        damages[path] = sha256_of(file) if file.exists() else ""
    return damages


def assert_kept(broken: Sequence[str]) -> None:
    """Assert that no cut broke a promise; else tell of each that did."""
    assert not broken, "\n".join(broken)


def test_cuts_while_an_archive_is_made(rig: Rig) -> None:
    """A cut at any moment costs nothing that was recorded, and the same command completes the archive."""
    assert_kept(rig.broken_promises(archive_job(rig), ARCHIVE_CUTS))


def test_cuts_while_an_archive_is_repaired(rig: Rig) -> None:
    """A file that is being repaired is as it was or as it should be, and the same repair ends well."""
    assert_kept(rig.broken_promises(repair_job(rig), REPAIR_CUTS))


@pytest.mark.nightly
def test_cuts_on_other_file_systems(other_rig: Rig) -> None:
    """The same for file systems that write in another order."""
    assert_kept(other_rig.broken_promises(archive_job(other_rig), OTHER_ARCHIVE_CUTS))
    assert_kept(other_rig.broken_promises(repair_job(other_rig), OTHER_REPAIR_CUTS))


def test_cuts_are_seen_where_nothing_is_flushed(rig: Rig) -> None:
    """The check can fail: without flushes a cut costs what a job had archived."""
    broken = rig.broken_promises(archive_job(rig, "--no-fsync"), 4)
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
    assert_failure_is_outlived(rig, what, mark_of(kind, rig.sim.account))


@pytest.mark.parametrize("what", ["write", "flush"])
def test_a_disk_that_fails_behind_a_checkpoint(sim: Simulator, folder: Path, what: str) -> None:
    """The same far inside of a partial that comes slowly, which the next run would go on with."""
    body = png(random.Random(2).randbytes(24_000_000))
    output = SimOutput("output_1", content_type="image/png", body=body)
    account = Account(sim.account.api_key, [SimRun("run_film", "ws_a", "prj_a", outputs=[output])])
    slow = Fault(output.path, drip=(96 * 1024, 0.01))
    with serve_in_thread(account, faults=[slow]) as slow_sim:
        assert_failure_is_outlived(Rig(slow_sim, folder), what, body[12_000_008:12_000_072])


def assert_failure_is_outlived(rig: Rig, what: str, mark: bytes) -> None:
    """Assert what is promised of a disk that fails once while an archive is made.

    The exit code is 1. Nothing recorded is wrong then, neither in the cache nor on the disk, and the next run
    completes the archive. After a failed write that is a run on the same file system, with its cache, and one
    after the disk was mounted again. After a failed flush a file system has to be mounted again.
    """
    copy_image(rig.empty, rig.image)
    after = rig.folder / "after"
    whole = rig.whole_files()
    with rig.serving() as disk, rig.mounted(disk.device):
        disk.fail(what, mark)
        failed = rig.run(*ARCHIVE)
        end = disk.position()
        assert failed.returncode == 1, failed.stderr
        assert_entries_hold(rig.dest)
        rig.sim.faults.clear()
        if what == "write":
            rig.run_well(*ARCHIVE)
            whole |= frozenset(final_files(rig.dest).values())
    records = rig.recording()
    assert [one.kind for one in records].count(Kind.FAILED) == 1
    Cut(end, Kept.HALF).make_image(rig.empty, records, after, random.Random(SEED))
    with rig.mounted(after):
        assert_entries_hold(rig.dest)
        rig.run_well(*ARCHIVE)
        rig.assert_complete(whole | frozenset(final_files(rig.dest).values()))
    if what == "write":
        Cut(len(records), Kept.ALL).make_image(rig.empty, records, after, random.Random(SEED))
        with rig.mounted(after):
            rig.assert_complete(whole)


HOLDING = """
import sys, time
from pathlib import Path
from tests.support.power_cuts import EXT4, mounted
from tests.support.processes import wait_for
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

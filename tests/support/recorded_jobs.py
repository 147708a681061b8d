"""Jobs of floradl on a disk that is recorded, and what must hold when the power is cut during one."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from floradl.simulator import Account, SimOutput, SimRun, Simulator
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
from tests.support.media import png
from tests.support.power_cuts import EXT4, FileSystem, Kept, choose_cuts, copy_image, make_image, mounted
from tests.support.volatile_disk import Record, VolatileDisk, read_recording
from tests.support.zygote import floradl

SMALL = 50
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

    def broken_promises(self, job: Job, number: int, seed: int) -> list[str]:
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
        self.assert_complete()

    def assert_complete(self) -> None:
        """Assert that the archive has all of the account and nothing else, and that `verify` says so."""
        recorded = assert_entries_hold(self.dest)
        assert_final_names_whole(self.dest, {*recorded.values()})
        assert_all_archived(self.dest, self.sim.account)
        checked = self.run("verify", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert '"findings":[]' in checked.stdout.replace(" ", ""), checked.stdout


def _last_part(records: Sequence[Record]) -> int:
    """A record a little before `manifest.json` is written; the first where that is never written."""
    written = [at for at, one in enumerate(records) if b'"floradl-manifest"' in one.data]
    return max(1, written[-1] - 15) if written else 1


def archive_job(rig: Rig, *options: str) -> Job:
    """An archive is made, on an empty disk."""
    return rig.record(Job((*ARCHIVE, *options), rig.empty))


def repair_job(rig: Rig) -> Job:
    """Some files of an archive are damaged in every way, a large one too, and repaired."""
    return rig.record(damaged_archive(rig))


def damaged_archive(rig: Rig) -> Job:
    """A repair that is still to be done."""
    damaged = rig.folder / "damaged"
    copy_image(rig.empty, damaged)
    with rig.mounted(damaged):
        rig.run_well(*ARCHIVE)
        damages = _damage(rig.dest)
    return Job(REPAIR, damaged, damages)


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

"""What a power cut leaves of a recorded disk, and file systems that are mounted while a test runs."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.support.volatile_disk import Kind, Record, VolatileDisk

PAGE_BYTES = 4096


def program(name: str) -> str | None:
    """Where a program is; those of root are not on the path of everybody. None: nowhere."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@dataclass(frozen=True)
class FileSystem:
    """A file system: how an empty one is made, and how it is mounted.

    Commits every second, where it has such, so that names become durable while the files are being written.
    """

    name: str
    make: tuple[str, ...]
    options: str
    size_bytes: int

    def is_here(self) -> bool:
        """Whether this machine can make one."""
        return program(self.make[0]) is not None


# Blocks of 4 KiB, as every disk of a usual size has. For one as small as this mkfs takes blocks of 1 KiB, and
# then Linux does not pass every failed write on: `fsync` succeeds (seen with Linux 6.18).
EXT4 = FileSystem("ext4", ("mkfs.ext4", "-qF", "-b4096"), "commit=1,noinit_itable", 128 << 20)
FILE_SYSTEMS = (
    EXT4,
    FileSystem(
        "ext4-writeback", EXT4.make, f"{EXT4.options},data=writeback,noauto_da_alloc", EXT4.size_bytes
    ),
    FileSystem("xfs", ("mkfs.xfs", "-qf"), "nouuid", 320 << 20),
    FileSystem("btrfs", ("mkfs.btrfs", "-qf"), "commit=1", 256 << 20),
)


def make_image(image: Path, file_system: FileSystem) -> None:
    """Make the image of a disk with an empty file system."""
    with image.open("wb") as file:
        file.truncate(file_system.size_bytes)
    command, *options = file_system.make
    subprocess.run([program(command) or command, *options, image], check=True, capture_output=True)


def copy_image(image: Path, target: Path) -> None:
    """Copy an image; what it has of nothing but zeros takes no room."""
    subprocess.run(["cp", "--sparse=always", image, target], check=True)


_MOUNT = """
mount -o "loop,$1" "$2" "$3" || exit 1
echo mounted
read -r _
for _ in $(seq 100); do
    umount "$3" 2>/dev/null && exit 0
    sleep 0.1
done
umount -l "$3"
exit 1
"""
"""The loop device is detached with the last user of it, by the kernel."""


@contextmanager
def mounted(image: Path, folder: Path, file_system: FileSystem) -> Iterator[Path]:
    """Mount an image.

    A shell of its own does it, waits until its input ends, and unmounts then. So nothing stays mounted when
    the process of the tests is killed, as it is when a test takes too long.
    """
    keeper = subprocess.Popen(
        ["sh", "-c", _MOUNT, "sh", file_system.options, str(image), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    assert keeper.stdout is not None
    is_there = keeper.stdout.readline() == "mounted\n"
    try:
        if is_there:
            yield folder
    finally:
        _, stderr = keeper.communicate(timeout=60)
    if not is_there:
        raise OSError(f"cannot mount a file system here ({stderr.strip()})")
    assert keeper.returncode == 0, "something still uses the disk"


def why_not_here(folder: Path) -> str:
    """Try in an empty folder what the tests of this kind do; why that fails here, or "" where it does not."""
    if os.name == "nt" or os.geteuid() != 0:
        return "only root can mount a disk of its own"
    missing = [name for name in (EXT4.make[0], "mount", "umount") if not program(name)]
    if missing:
        return f"there is no {' and no '.join(missing)}"
    image, served, place = folder / "image", folder / "served", folder / "mounted"
    served.mkdir()
    place.mkdir()
    try:
        make_image(image, EXT4)
        with VolatileDisk(image, served, folder / "log") as disk, mounted(disk.device, place, EXT4):
            return ""
    except (OSError, subprocess.CalledProcessError) as exc:
        return str(exc)


class Kept(StrEnum):
    """What a cut leaves of the pages that were written and not flushed."""

    NOTHING = "nothing"
    HALF = "a random half"
    ALL = "all"


@dataclass(frozen=True)
class Cut:
    """A power cut after so many records, and what it leaves."""

    position: int
    kept: Kept

    def make_image(self, base: Path, records: Sequence[Record], target: Path, chance: random.Random) -> None:
        """Make the image of the disk as the cut leaves it.

        Args:
            base: the image before the first record.
            records: the recording.
            target: the image to be made; what was there is replaced.
            chance: says which pages are kept of what was not flushed.
        """
        before = records[: self.position]
        flushes = [number for number, record in enumerate(before) if record.kind is Kind.FLUSH]
        flushed = flushes[-1] if flushes else 0
        target.unlink(missing_ok=True)  # the last mount may hold the file for a moment longer
        copy_image(base, target)
        with target.open("r+b") as file:
            for number, record in enumerate(before):
                if record.kind is not Kind.WRITE:
                    continue
                for offset, page in self._pages(record, chance, is_flushed=number < flushed):
                    file.seek(offset)
                    file.write(page)

    def _pages(
        self, record: Record, chance: random.Random, *, is_flushed: bool
    ) -> Iterator[tuple[int, bytes]]:
        """What a write leaves on the disk: where, and the bytes."""
        if is_flushed or self.kept is Kept.ALL:
            yield record.offset, record.data
        elif self.kept is Kept.HALF:
            for start in range(0, len(record.data), PAGE_BYTES):
                if chance.random() < 0.5:
                    yield record.offset + start, record.data[start : start + PAGE_BYTES]


def choose_cuts(
    records: Sequence[Record], number: int, chance: random.Random, *, last_part: int
) -> list[Cut]:
    """Choose cuts of a job, earliest first; the last is the moment at which the job has ended.

    A third is anywhere, a third beside a flush, where names and entries appear, and a third at the end of the
    job, from the record `last_part` on.
    """
    flushes = [position for position, record in enumerate(records) if record.kind is Kind.FLUSH]
    positions = {len(records)}
    for turn in itertools.count():
        if len(positions) >= min(number, len(records)):
            break
        match turn % 3:  # by turns: there may be fewer moments beside flushes, or at the end, than a third
            case 0:
                positions.add(chance.randint(1, len(records)))
            case 1:
                positions.add(min(len(records), chance.choice(flushes) + chance.randint(0, 3)))
            case _:
                positions.add(chance.randint(last_part, len(records)))
    kinds = [Kept.NOTHING, Kept.HALF, Kept.NOTHING, Kept.HALF, Kept.ALL]
    cuts = [Cut(position, kinds[at % len(kinds)]) for at, position in enumerate(sorted(positions)[:-1])]
    return [*cuts, Cut(len(records), Kept.NOTHING)]

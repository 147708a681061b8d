"""`--min-free` and `--require-existing`: no archive fills a disk, or lands on a wrong one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.simulator import Account, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound
from tests.support.media import png
from tests.support.small_disks import make_room, small_disk
from tests.support.zygote import floradl

__all__ = ["small_disk"]

SIZES = (3_000_000, 400_000)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A large picture, a small one and a text."""
    pictures = [
        SimOutput(
            f"output_{number}",
            content_type="image/png",
            body=png(random.Random(number).randbytes(size)),
        )
        for number, size in enumerate(SIZES, 1)
    ]
    outputs = [*pictures, SimOutput("output_3", "text", text="a text")]
    with serve_in_thread(Account("sk_live_disk", [SimRun("run_a", "ws_a", "prj_a", outputs=outputs)])) as sim:
        yield sim


def test_min_free_stops_before_the_disk_is_full(sim: Simulator, tmp_path: Path) -> None:
    """With less free than shall stay so, nothing is fetched, exit code 1 says why, and what to do."""
    done = floradl(sim, "--min-free", "1000T", tmp_path / "out")
    assert done.returncode == 1
    assert "bytes free" in done.stderr
    assert "--min-free" in done.stderr
    assert not list((tmp_path / "out").glob("ws_a/prj_a/run_a/output*"))
    assert floradl(sim, tmp_path / "out").returncode == 0
    assert_archived(tmp_path / "out", sim.account, completed(sim.account))
    assert_sound(tmp_path / "out")


def test_min_free_counts_what_is_coming(sim: Simulator, disk: Path) -> None:
    """A file that would not leave enough room is not begun; with room the same command completes."""
    free_bytes = shutil.disk_usage(disk).free
    done = floradl(sim, "-j", "1", "--min-free", str(free_bytes - 2_000_000), disk / "out")
    assert done.returncode == 1
    assert str(disk / "out") in done.stderr
    assert not (disk / "out/ws_a/prj_a/run_a/output_1.png").exists()
    assert free_bytes - shutil.disk_usage(disk).free < 2_000_000
    assert_sound(disk / "out")
    assert floradl(sim, "--min-free", "1K", disk / "out").returncode == 0
    assert_archived(disk / "out", sim.account, completed(sim.account))


def test_min_free_with_nothing_to_do(sim: Simulator, tmp_path: Path) -> None:
    """A quiet night needs no room."""
    assert floradl(sim, tmp_path / "out").returncode == 0
    assert floradl(sim, "--min-free", "1000T", tmp_path / "out").returncode == 0


def test_min_free_of_a_restore(sim: Simulator, tmp_path: Path) -> None:
    """A restore leaves that room too."""
    assert floradl(sim, tmp_path / "out").returncode == 0
    done = floradl(sim, "restore", "--min-free", "1000T", tmp_path / "out", tmp_path / "new")
    assert done.returncode == 1
    assert str(tmp_path / "new") in done.stderr
    assert not list((tmp_path / "new").glob("ws_a/prj_a/run_a/output*"))
    assert floradl(sim, "restore", tmp_path / "out", tmp_path / "new").returncode == 0
    assert_archived(tmp_path / "new", sim.account, completed(sim.account))


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_require_existing(sim: Simulator, tmp_path: Path, option: list[str]) -> None:
    """A folder without an archive, as an unmounted disk leaves it, is refused and stays as it is."""
    (tmp_path / "out").mkdir()
    for name in ("out", "none"):
        done = floradl(sim, "--require-existing", *option, tmp_path / name)
        assert done.returncode == 1
        assert "there is no archive" in done.stderr
        assert "mounted" in done.stderr
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "none").exists()
    assert not sim.media_requests()


def test_require_existing_where_there_is_one(sim: Simulator, tmp_path: Path) -> None:
    """An archive is taken, also one whose first night was cut off."""
    assert floradl(sim, tmp_path / "out").returncode == 0
    assert floradl(sim, "--require-existing", tmp_path / "out").returncode == 0
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / ".floradl" / "journal").write_text("")
    assert floradl(sim, "--require-existing", tmp_path / "out").returncode == 0


@pytest.fixture
def disk(small_disk: Path) -> Path:
    """A disk with room for everything, and little more."""
    make_room(small_disk, "16m")
    return small_disk

"""What all these tests begin with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audits.stage import Stage, archived


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An archive that nobody changes; tests work on copies."""
    with archived(tmp_path_factory.mktemp("sound") / "out") as stage:
        yield stage


@pytest.fixture
def dest(stage: Stage, tmp_path: Path) -> Path:
    """A copy of the archive."""
    stage.sim.faults.clear()
    stage.sim.forget()
    return stage.copy(tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room for very little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a disk of its own")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)

"""Fixtures of tests that check, repair and restore: a sound archive, and copies of it to damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_disks import small_disk
from tests.support.sound_archive import Stage, archived

__all__ = ["dest", "small_disk", "stage"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An archive that no test changes; tests change copies of it."""
    with archived(tmp_path_factory.mktemp("sound") / "out") as stage:
        yield stage


@pytest.fixture
def dest(stage: Stage, tmp_path: Path) -> Path:
    """A copy of the archive."""
    stage.sim.faults.clear()
    stage.sim.forget()
    return stage.copy(tmp_path / "out")

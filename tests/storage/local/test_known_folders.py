"""Which folders are remembered, and that a forgotten one is looked at again."""

from __future__ import annotations

import gc
import pathlib
import tracemalloc
from pathlib import PurePosixPath

import pytest

from floradl.storage.destination import Destination
from floradl.storage.local import folder, known_folders
from floradl.storage.local.fsync import Flusher
from floradl.storage.local.known_folders import KnownFolders
from tests.storage.disk_support import (
    RUN,
)


def test_only_the_last_run_folders_are_remembered(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of folders does not grow with the history; what was forgotten is looked at again."""
    disk.known_folders = KnownFolders(max_run_folders=50)
    monkeypatch.setattr(disk, "flusher", Flusher(is_on=False))

    # Of this alone: whatever else runs in the process takes and gives back memory at any time.
    ours = [
        tracemalloc.Filter(True, path)
        for path in (folder.__file__, known_folders.__file__, pathlib.__file__, __file__)
    ]

    def held() -> int:
        gc.collect()
        return sum(one.size for one in tracemalloc.take_snapshot().filter_traces(ours).statistics("filename"))

    def growth(numbers: range) -> int:
        before = held()
        for number in numbers:
            disk.ensure_dir(PurePosixPath(f"ws_a/prj_b/run_{number}"))
        return held() - before

    tracemalloc.start()
    try:
        assert growth(range(100)) > 5 * growth(range(100, 400))
    finally:
        tracemalloc.stop()
    place = disk.root / "ws_a/prj_b/run_7"
    assert disk.ensure_dir(PurePosixPath("ws_a/prj_b/run_7")) == place
    (place.with_name("run_8")).rmdir()
    (place.with_name("run_8")).write_bytes(b"in the way")
    with pytest.raises(NotADirectoryError):
        disk.ensure_dir(PurePosixPath("ws_a/prj_b/run_8"))


def test_no_forgotten_folder_is_made_on_another_disk(
    disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder that is not remembered any more is no reason to make one on the disk underneath."""
    disk.known_folders = KnownFolders(max_run_folders=1)
    disk.ensure_dir(RUN)
    disk.ensure_dir(RUN.with_name("run_d"))
    (disk.root / RUN).rmdir()
    monkeypatch.setattr(disk, "_device", -1)
    with pytest.raises(FileNotFoundError, match="its disk was unmounted"):
        disk.ensure_dir(RUN)
    assert not (disk.root / RUN).exists()


def test_folders_of_workspaces_and_the_private_ones_are_never_forgotten() -> None:
    """However many runs come, the folders that all of them share need no second look."""
    known = KnownFolders(max_run_folders=1)
    for place in ("ws_a", "ws_a/prj_b", ".floradl/tmp/0", "ws_a/prj_b/run_1", "ws_a/prj_b/run_2"):
        known.add(PurePosixPath(place))
    remembered = (".", "ws_a", "ws_a/prj_b", ".floradl/tmp/0", "ws_a/prj_b/run_2")
    assert all(PurePosixPath(place) in known for place in remembered)
    assert PurePosixPath("ws_a/prj_b/run_1") not in known

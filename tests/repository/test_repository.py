"""Whether there is an archive: an unmounted disk leaves an empty folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.errors import DestinationError
from floradl.repository.repository import require_archive
from floradl.storage.destination import Destination


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """An empty folder."""
    disk = Destination(tmp_path)
    yield disk
    disk.close()


def put(disk: Destination, place: str) -> None:
    """A file somewhere in the folder."""
    path = disk.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


@pytest.mark.parametrize("may_be_remains", [False, True])
@pytest.mark.parametrize("place", [None, "ws_a/prj_b/notes.txt", "run.json"])
def test_a_folder_without_an_archive(disk: Destination, place: str | None, may_be_remains: bool) -> None:
    """It is refused, and the hint is the caller's."""
    if place is not None:
        put(disk, place)
    with pytest.raises(DestinationError, match="no archive") as raised:
        require_archive(disk, may_be_remains=may_be_remains, hint="Look elsewhere.")
    assert raised.value.hint == "Look elsewhere."


@pytest.mark.parametrize("place", ["manifest.json", ".floradl/journal"])
def test_an_archive(disk: Destination, place: str) -> None:
    """Either file tells."""
    put(disk, place)
    require_archive(disk)


@pytest.mark.parametrize(
    "place",
    [
        "SHA256SUMS",
        "ws_a/prj_b/run_1/run.json",
        "ws_a/prj_b/assets/asset_1/asset.json",
        "ws_a/prj_b/canvas/20261126t023000z-canvas.mmd",
        "ws_a/prj_b/canvas/20261126t023000z-nodes.json",
    ],
)
def test_what_is_left_of_one(disk: Destination, place: str) -> None:
    """A check and a repair begin from it; an archive job does not."""
    put(disk, place)
    require_archive(disk, may_be_remains=True)
    with pytest.raises(DestinationError):
        require_archive(disk)

"""An archive's folder for the tests of storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.storage.destination import Destination


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive in a folder of its own, so that tests can put things beside it."""
    disk = Destination(tmp_path / "out", threads=2)
    disk.prepare()
    yield disk
    disk.close()

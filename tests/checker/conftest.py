"""What the tests of checks and repairs begin with."""

from __future__ import annotations

from tests.support.archive_fixtures import dest, small_disk, stage

__all__ = ["dest", "small_disk", "stage"]

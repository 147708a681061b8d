"""What making a gallery is told, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

from floradl.errors import Exit
from floradl.gallery.probe import Probed


@dataclass(frozen=True)
class GalleryOptions:
    """Which archive gets a gallery, and how.

    Args:
        dest: the archive's folder.
        fsync: whether files are flushed before they count.
        threads: how many outputs are looked at the same time.
        lock_timeout_s: how long to wait for another floradl to end.
    """

    dest: Path
    fsync: bool = True
    threads: int = field(default_factory=lambda: 2 + (os.cpu_count() or 1))
    lock_timeout_s: float = 0.0


@dataclass(slots=True)
class GalleryTally:
    """What was done so far, for a display. `total` outputs are due, of `listed_runs` runs in the archive."""

    total: int = 0
    done: int = 0
    moved_bytes: int = 0
    failed: int = 0
    failed_word: str = "without a small picture"
    listed_runs: int = 0
    is_listed: bool = False
    is_stopping: bool = False
    files_written: int = 0
    files_removed: int = 0
    thumbnails: int = 0

    def note(self, seen: Probed) -> None:
        """Count what a thread saw and did."""
        self.done += seen.outputs
        self.thumbnails += seen.thumbnails
        self.failed += seen.refused
        self.moved_bytes += seen.written_bytes

    @property
    def moved(self) -> int:
        """Outputs to which the bytes belong."""
        return self.done

    @property
    def flows(self) -> Collection[Never]:
        """Outputs that are on their way: here there are none."""
        return ()


@dataclass(frozen=True)
class GalleryReport:
    """What became of it. `outputs` are those of runs and the files of assets.

    `thumbnails` are those that were made now, `refused` the outputs that got none; `set_aside` is where an
    `index.html` went that was not floradl's.
    """

    runs: int
    outputs: int
    files_written: int
    files_removed: int
    thumbnails: int
    refused: int
    has_thumbnails: bool
    set_aside: str
    elapsed_s: float
    is_interrupted: bool
    assets: int = 0
    canvases: int = 0

    @property
    def exit_code(self) -> Exit:
        """0, or that it was interrupted."""
        return Exit.INCOMPLETE if self.is_interrupted else Exit.OK

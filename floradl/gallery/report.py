"""The options of a gallery's build, its counters for a display, and its report."""

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
    """Which archive gets a gallery, and how it is built.

    Args:
        dest: the archive's folder.
        fsync: whether each file is flushed to disk before it is renamed to its name.
        threads: how many threads look at outputs.
        lock_timeout_s: how long to wait for another floradl that works on this archive; 0: not at all.
    """

    dest: Path
    fsync: bool = True
    threads: int = field(default_factory=lambda: 2 + (os.cpu_count() or 1))
    lock_timeout_s: float = 0.0


@dataclass(slots=True)
class GalleryTally:
    """How far a build has come, read by a display while it works.

    Args:
        total: outputs that have to be looked at: those of the shelves that are made.
        done: outputs that were looked at.
        moved_bytes: bytes that were written.
        failed: outputs of which no small picture could be made.
        failed_word: what a display says behind that number.
        listed_runs: all runs of the archive.
        is_listed: whether `total` and `listed_runs` are known yet.
        is_stopping: always false: an interrupted build ends at once.
        files_written: files of the gallery, small pictures left out.
        files_removed: files of shelves that are no more.
        thumbnails: small pictures that were made.
    """

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

    def note(self, probed: Probed) -> None:
        """Count the outputs that a thread has looked at."""
        self.done += probed.outputs
        self.thumbnails += probed.thumbnails
        self.failed += probed.refused
        self.moved_bytes += probed.written_bytes

    @property
    def moved(self) -> int:
        """Outputs whose bytes are counted in `moved_bytes`; a display estimates the rest from them."""
        return self.done

    @property
    def flows(self) -> Collection[Never]:
        """Running transfers, which a display names: a build has none."""
        return ()


@dataclass(frozen=True)
class GalleryReport:
    """The result of a build.

    Args:
        runs: runs in the gallery.
        outputs: outputs of runs, and files of assets.
        files_written: files of the gallery that were new or changed, small pictures left out.
        files_removed: files of shelves that are no more.
        thumbnails: small pictures that were made by this build.
        refused: outputs of which no small picture could be made.
        has_thumbnails: whether small pictures can be made here at all (the extra `gallery`).
        set_aside: where an `index.html` was moved that was not floradl's; "" where there was none.
        elapsed_s: how long the build took.
        is_interrupted: whether it was stopped before its end.
        assets: uploaded assets in the gallery.
        canvases: canvases in the gallery.
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
        """`Exit.OK`, or `Exit.INCOMPLETE` where the build was interrupted."""
        return Exit.INCOMPLETE if self.is_interrupted else Exit.OK

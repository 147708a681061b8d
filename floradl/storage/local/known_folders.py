"""Folders that need no second look: this process made them, or looked at them, not long ago."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath

from floradl.storage import base

MAX_RUN_FOLDERS = 2000
"""How many folders of runs are remembered: more than are ever being worked on at the same time."""

_RUN_LEVEL = 3
"""How many levels below the archive the folder of a run lies: workspace, project, run."""


class KnownFolders:
    """Folders of an archive that are there, and whose names are durable. Any thread may call it.

    An archive has few workspaces and projects, so these folders are kept for good, as are the private ones.
    Folders of runs may be a million; only the last ones are kept, so that memory does not grow without end.

    Args:
        max_run_folders: how many folders of runs are kept.
    """

    def __init__(self, max_run_folders: int = MAX_RUN_FOLDERS) -> None:
        self._max_run_folders = max_run_folders
        self._upper = {"."}
        self._runs: dict[str, None] = {}  # in the order in which they came
        self._lock = threading.Lock()

    def __contains__(self, folder: object) -> bool:
        """Whether a folder, relative to the archive, was added and is not forgotten yet."""
        name = str(folder)
        return name in self._upper or name in self._runs

    def add(self, folder: PurePosixPath) -> None:
        """Remember a folder that is there, and whose name in the folder above it was flushed."""
        with self._lock:
            if len(folder.parts) < _RUN_LEVEL or folder.parts[0] == base.PRIVATE.name:
                self._upper.add(str(folder))
                return
            self._runs[str(folder)] = None
            if len(self._runs) > self._max_run_folders:
                del self._runs[next(iter(self._runs))]

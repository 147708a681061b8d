"""Folders of floradl's own outside of any archive: for keys, config, logs and the files of schedulers."""

from __future__ import annotations

from pathlib import Path

_MODE = 0o700


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for its user alone.

    `Path.mkdir` gives its mode to the last folder only; those above it get whatever the umask leaves. Under a
    umask of 000, as some service managers have it, others could put files of theirs in place of ours.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=_MODE, exist_ok=True)

"""What tests of an archive's folder share: places in it, flushes that wait or fail, steps that are noted."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from floradl.storage import base
from floradl.storage.destination import Destination

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
needs_fsync = pytest.mark.skipif(sys.platform != "linux", reason="other systems flush by other calls")

RUN = PurePosixPath("ws_a/prj_b/run_c")
FILE = RUN / "output_1.png"


def temporary_files(disk: Destination) -> list[str]:
    """What lies in the folder for temporary files."""
    return [path.name for path in (disk.root / base.TEMPORARY).rglob("*") if path.is_file()]


def handles() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/dev/fd").iterdir())) if os.name != "nt" else 0


class SlowFlush:
    """Lets flushes wait until they may end, and fail where `errors` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, errors: Sequence[OSError | None] = ()) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.number = 0
        self._errors = errors
        monkeypatch.setattr(os, "fsync", self.flush)

    def flush(self, _: int) -> None:
        """One flush."""
        self.number += 1
        self.began.set()
        assert self.may_end.wait(30)
        error = self._errors[self.number - 1] if self.number <= len(self._errors) else None
        if error is not None:
            raise error


def fail_with(monkeypatch: pytest.MonkeyPatch, function: str, number: int) -> None:
    """Let one function of the operating system fail."""

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, failing)


def record_disk_events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every new folder, flush, rename and dropped cache from now on.

    A flush is noted with the folder or the size that it covers.
    """
    events: list[str] = []
    fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

    def noted_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        else:
            events.append(f"fsync {status.st_size} bytes")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path | str, **kwargs: int) -> None:
        events.append(f"replace {Path(target).name}")
        replace(path, target, **kwargs)

    def noted_mkdir(path: Path | str, *args: int, **kwargs: int) -> None:
        events.append(f"mkdir {Path(path).name}")
        mkdir(path, *args, **kwargs)

    def noted_fadvise(_: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        events.append(f"drop {offset} {length}")

    if hasattr(os, "posix_fadvise"):
        monkeypatch.setattr(os, "posix_fadvise", noted_fadvise)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "mkdir", noted_mkdir)
    return events

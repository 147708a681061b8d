"""Programs at a terminal of their own, for tests that press keys and read what is shown."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Terminal:
    """A terminal and the process that it controls; a context manager.

    Args:
        words: the command line of the process.
        env: its environment.
        folder: where it starts.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def read_to(self, mark: str) -> str:
        """Read what is shown until it has a mark."""
        shown, deadline_s = "", time.monotonic() + 60
        while mark not in shown:
            if not select.select([self._ours], [], [], max(0, deadline_s - time.monotonic()))[0]:
                raise AssertionError(f"{mark!r} does not come: {shown!r}")
            shown += os.read(self._ours, 4096).decode(errors="replace")
        return shown

    def read_to_end(self) -> tuple[int, str]:
        """Wait for the end of the process; returns its exit code, and what was shown until then."""
        shown = b""
        while True:
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # Linux raises this when the process has closed its end
                break
            if not piece:
                break
            shown += piece
        return self._process.wait(), shown.decode(errors="replace")

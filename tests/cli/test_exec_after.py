"""The command after a job, where its own end races with the report that is written to it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import pytest

from floradl.cli.exec_after import run_after


@pytest.mark.parametrize("size", [20, 1 << 20])
def test_a_command_that_reads_nothing_is_no_error(size: int) -> None:
    """It has ended before the first byte of a report is written, or in the midst of a long one."""
    done = [run_after(("true",), b"x" * size, 0, lambda _: time.sleep(0.02)) for _ in range(10)]
    assert done == [""] * 10


def test_a_command_that_reads_nothing_can_be_killed() -> None:
    """Before it has taken a long report: the second Ctrl-C ends it."""
    started = threading.Event()
    kill: list[Callable[[], None]] = []

    def on_start(kills: Callable[[], None]) -> None:
        kill.append(kills)
        started.set()

    def later() -> None:
        started.wait()
        time.sleep(0.2)
        kill[0]()

    threading.Thread(target=later, daemon=True).start()
    words = (sys.executable, "-c", "import time; time.sleep(60)")
    assert run_after(words, b"x" * (1 << 20), 0, on_start).endswith("ended with -9")

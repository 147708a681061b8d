"""How fast a job moves and how long it still takes: measured, and said only where it can be known."""

from __future__ import annotations

import pytest

from floradl.cli.ui.speed import Speed, Speedometer, plain_lines
from floradl.download.tally import ActiveTransfer, Tally
from tests.cli.ui.terminal import tally
from tests.support.clock import FakeTime


def test_the_time_left_comes_from_the_outputs_that_wait() -> None:
    """Ten outputs of 1 MB a second: 100 more take 10 s, and a large file under way as long as its bytes."""
    time, work = FakeTime(), Tally(outputs=300, is_listed=True)
    meter = Speedometer(work, time.clock)
    for _ in range(20):
        time.now_s += 1
        work.fetched += 10
        work.traffic.received_bytes += 10_000_000
        speed = meter.read()
    assert speed.left_s == pytest.approx(10, rel=0.05)
    assert speed.expected_bytes == 300_000_000
    work.traffic.flows = {ActiveTransfer("run output", 0, 1_000_000_000, 0)}
    speed = meter.read()
    assert speed.left_s == pytest.approx(100, rel=0.05)
    assert speed.expected_bytes == 200_000_000 + 99 * 1_000_000 + 1_000_000_000


def test_no_time_left_is_made_up() -> None:
    """In the first seconds, while nothing moves, and while it is listed, nobody knows how long it takes."""
    time, work = FakeTime(), Tally(outputs=10, is_listed=True)
    meter = Speedometer(work, time.clock)
    assert meter.read().left_s is None
    time.now_s += 1
    work.fetched, work.traffic.received_bytes = 5, 1000
    assert meter.read().left_s is None
    time.now_s += 9
    assert meter.read().left_s is None
    time.now_s += 1
    work.fetched, work.traffic.received_bytes = 6, 2000
    assert meter.read().left_s is not None
    work.is_listed = False
    assert meter.read()[1:] == (None, None)


def test_progress_in_words_before_all_is_listed() -> None:
    """A plain line says that more outputs may be found, and gives no time left."""
    (line,) = plain_lines(tally(listed=False), Speed(1000, None, None), 0, slowest=True)
    assert line == "515 of 1124 outputs found so far, 3 failed, 1.2 GB, 1.0 kB/s"

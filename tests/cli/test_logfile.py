"""The log file by itself: rotation, what a line may hold, and a disk that is full."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from floradl.cli.logfile import KEPT_FILES, LogFile
from tests.support.clock import FakeTime


def test_a_line_is_one_json_object(tmp_path: Path) -> None:
    """Control characters, half pairs and bytes that are no text do not break a line or the file."""
    with LogFile(tmp_path / "log", FakeTime(1_795_500_000.25).clock) as log:
        log.write(logging.WARNING, "failed", "a\nb\x1b[31m \udcff €", run="run\n1", output="\ud800")
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    value = json.loads(line)
    assert value["time"] == "2026-11-24T06:00:00.250Z"
    assert (value["level"], value["event"], value["run"]) == (
        "warning",
        "failed",
        "run\N{REPLACEMENT CHARACTER}1",
    )
    assert "€" in line
    assert "\x1b" not in value["message"]


def test_a_full_file_is_put_away_and_the_oldest_removed(tmp_path: Path) -> None:
    """Every file ends with a whole line, none is much larger than allowed, and five old ones are kept."""
    with LogFile(tmp_path / "log", FakeTime().clock, max_bytes=1000) as log:
        for number in range(200):
            log.write(logging.INFO, "message", f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log", *(f"log.{number + 1}" for number in range(KEPT_FILES))]
    assert all(file.stat().st_size <= 1000 for file in files)
    last = [json.loads(line)["message"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert last == [f"line {number}" for number in range(200 - len(last), 200)]


def test_it_is_only_appended_to(tmp_path: Path) -> None:
    """What another job wrote stays."""
    for number in range(2):
        with LogFile(tmp_path / "log", FakeTime().clock) as log:
            log.write(logging.INFO, "message", f"job {number}")
    assert len((tmp_path / "log").read_text().splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    """A log that cannot be written is told once, without a traceback, and stops nothing."""
    (tmp_path / "log").symlink_to("/dev/full")
    told: list[str] = []
    with LogFile(tmp_path / "log", FakeTime().clock) as log:
        log.on_error(told.append)
        for _ in range(3):
            log.write(logging.INFO, "message", "x")
    assert told == ["the log file cannot be written any more"]

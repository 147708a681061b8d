"""Numbers that no machine has, wherever an archive's own files have one: an error, and no traceback."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.archives import manifest
from tests.support.zygote import floradl

COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status --json": ("status", "--json", "--max-age", "1d"),
    "status --prometheus": ("status", "--prometheus"),
    "verify": ("verify",),
    "gallery": ("gallery",),
    "archive": (),
    "restore": ("restore",),
    "restore --flat": ("restore", "--flat"),
}
HUGE, TINY = 10**400, -(10**30)

Change = Callable[[dict[str, Any]], None]


def of_run(field: str, value: object) -> Change:
    """A change of a run's facts."""

    def change(told: dict[str, Any]) -> None:
        next(iter(told["runs"].values()))[field] = value

    return change


def of_output(field: str, value: object) -> Change:
    """A change of an output's entry."""

    def change(told: dict[str, Any]) -> None:
        for run in told["runs"].values():
            for output in run["outputs"].values():
                output[field] = value

    return change


def of_scan(field: str, value: object) -> Change:
    """A change of a scan's state."""

    def change(told: dict[str, Any]) -> None:
        for scan in told["scans"]:
            scan[field] = value

    return change


CHANGES = {
    "a size": of_output("size_bytes", HUGE),
    "a negative size": of_output("size_bytes", -1),
    "a size that no file has": of_output("size_bytes", 2**63),
    "attempts": of_output("attempts", HUGE),
    "a moment": of_run("created_at", 10**30),
    "a moment long ago": of_run("completed_at", TINY),
    "a moment behind the last year": of_run("completed_at", 2**62),
    "a moment before the first": of_run("created_at", -(2**62)),
    "a price": of_run("charged_cost", 10**400),
    "a large price": of_run("charged_cost", 1e308),
    "a count": of_run("output_count", HUGE),
    "a seal": of_scan("sealed_before", TINY),
    "a date": of_scan("last_scan_at", "9" * 400),
    "a date in the last year": of_scan("last_scan_at", "9999-12-31T23:59:59-12:00"),
    "a date in the first year": of_scan("last_full_scan_at", "0001-01-01T00:00:00+14:00"),
}


@pytest.fixture(scope="module")
def sim() -> Any:
    """A small account."""
    with serve_in_thread(generate_account(3, seed=1)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def sound(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive."""
    dest = tmp_path_factory.mktemp("bounds") / "out"
    assert floradl(sim, dest).returncode == 0
    return dest


def assert_answers(sim: Simulator, dest: Path, command: str, other: Path) -> None:
    """A command ends with an exit code of its own and words, never with a traceback."""
    words = COMMANDS[command]
    done = floradl(sim, *words, dest, *([other] if words[:1] == ("restore",) else []))
    assert done.returncode in (0, 1, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert "a bug in floradl" not in done.stderr, done.stderr
    assert "inf" not in done.stdout.split(), done.stdout
    if done.returncode == 1:
        assert "floradl: " in done.stderr


@pytest.mark.parametrize("change", CHANGES)
def test_in_a_manifest(sim: Simulator, sound: Path, tmp_path: Path, change: str) -> None:
    """Each command gives an error or a right result, and a repair makes the archive whole again."""
    told = manifest(sound)
    CHANGES[change](told)
    for number, command in enumerate(COMMANDS):
        dest = tmp_path / f"{number}"
        shutil.copytree(sound, dest)
        (dest / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
        assert_answers(sim, dest, command, tmp_path / f"copy_{number}")
    assert floradl(sim, "verify", "--repair", dest).returncode in (0, 3)
    assert floradl(sim, dest).returncode == 0
    assert floradl(sim, "verify", dest).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_journal(sim: Simulator, sound: Path, tmp_path: Path, command: str) -> None:
    """The same for a change that waits in the journal."""
    dest = tmp_path / "out"
    shutil.copytree(sound, dest)
    told = manifest(sound)
    run_id, run = next(iter(told["runs"].items()))
    key, output = next(iter(run["outputs"].items()))
    head = {"op": "journal", "version": 2} | {name: told[name] for name in ("archive_id", "created_at")}
    op = {"op": "output", "run_id": run_id, "key": key, "entry": output | {"size_bytes": HUGE}}
    lines = [json.dumps(each).encode() for each in (head, op)]
    journal = b"".join(b"%08x %b\n" % (zlib.crc32(line), line) for line in lines)
    (dest / ".floradl" / "journal").write_bytes(journal)
    assert_answers(sim, dest, command, tmp_path / "copy")


@pytest.mark.parametrize("value", [HUGE, TINY, 1e308, "9" * 400, -1, 2**63])
@pytest.mark.parametrize("field", ["created_at", "completed_at", "charged_cost", "progress"])
def test_in_a_record_of_the_api(tmp_path: Path, field: str, value: object) -> None:
    """What cannot be a date or a price is not known; the archive is whole, and every command reads it."""
    account = generate_account(2, seed=1)
    with serve_in_thread(account) as sim:
        record = account.record(account.runs[0], listed=True) | {field: value}
        body = json.dumps({"generations": [record], "meta": {"next_cursor": None}}).encode()
        sim.faults.append(Fault("*/generations", query="status=completed", body=body))
        assert floradl(sim, "--source", "generations", tmp_path / "out").returncode == 0
        for number, command in enumerate(COMMANDS):
            if command != "archive":
                assert_answers(sim, tmp_path / "out", command, tmp_path / f"copy_{number}")

"""The fault tables, row by row: what is asked, what is on disk, what is said, and that a later run mends it.

All rows are acted out beforehand, several at a time, since most of their time is waiting.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from floradl.simulator import Fault
from tests.faults.api_table import API_TABLE
from tests.faults.media_table import MEDIA_TABLE
from tests.faults.row import DATE, VICTIM, Archived, Row
from tests.faults.source_table import SOURCE_TABLE
from tests.faults.stage import Outcome, act
from tests.support.archives import assert_archived, assert_sound, manifest

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.timeout(600),  # all rows are acted out before the first is looked at
]

TABLE = (*MEDIA_TABLE, *API_TABLE)
ROWS_AT_A_TIME = 8
FORMAT = Path(__file__).parents[2] / "docs" / "format.md"

Outcomes = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of each row that is looked at. All are done before the first look."""
    chosen = [row for row in TABLE if any(f"[{row.name}]" in item.name for item in request.session.items)]
    with ThreadPoolExecutor(ROWS_AT_A_TIME) as pool:
        done = {row.name: pool.submit(act, row, tmp_path_factory.mktemp("row")) for row in chosen}
        try:
            wait(done.values())
        finally:
            pool.shutdown(cancel_futures=True)
    return done


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_fault(row: Row, outcomes: Outcomes) -> None:
    """A fault costs the requests, the exit code and the output that its row says, and nothing else."""
    outcome = outcomes[row.name].result()
    first = outcome.first
    assert fnmatchcase(first.asked, row.asked), first.stderr
    assert first.exit == row.exit, first.stderr
    assert not first.strangers, "the media host saw the key"
    _assert_said(row, first.stderr)
    _assert_waited(row, outcome)
    _assert_on_disk(row, outcome)


@pytest.mark.parametrize("row", [row for row in TABLE if row.exit], ids=lambda row: row.name)
def test_a_later_run_mends_what_failed(row: Row, outcomes: Outcomes) -> None:
    """Once the fault is gone the same command fetches what is missing, nothing else, and is complete."""
    outcome = outcomes[row.name].result()
    later = outcome.later
    assert later is not None
    assert later.exit == 0, later.stderr
    assert fnmatchcase(later.asked, row.then), later.stderr
    if row.whole != Archived.NOTHING:
        assert not later.bystanders, "what had arrived was fetched again"
    assert_archived(outcome.mended, outcome.stage, outcome.stage.runs)
    assert_sound(outcome.mended)
    assert not list((outcome.mended / ".floradl").rglob("*.part"))


def test_every_row_has_a_name_of_its_own() -> None:
    """Rows are found by their names."""
    assert len({row.name for row in TABLE}) == len(TABLE)


def test_every_kind_of_fault_is_in_the_table() -> None:
    """There is a row for everything that the simulator can do wrong."""
    told = {
        name.name
        for row in TABLE
        for fault in row.faults
        for name in dataclasses.fields(Fault)
        if getattr(fault, name.name) != name.default
    }
    # Edits are changes, not faults; test_nights.py is about them.
    assert told == {name.name for name in dataclasses.fields(Fault)} - {"edit"}


def test_every_code_of_an_error_is_in_the_table() -> None:
    """Each way in which an output can fail, as the format's page lists them, has a row."""
    listed = re.search(
        r"^Codes of `error`: (.+?); `lost`", FORMAT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert listed is not None
    codes = set(re.findall(r"`([a-z_]+)`", listed[1]))
    assert codes
    # `test_hostile_hosts.py` is about what is no HTTP: the simulator speaks nothing else.
    assert codes <= {row.error for row in TABLE} | {row.error for row in SOURCE_TABLE} | {"not_http"}


def _assert_said(row: Row, stderr: str) -> None:
    named = re.findall(r"^(?:\S+ \S+ )?failed: (\S+ \S+): (\w+): \S", stderr, re.MULTILINE)
    assert named == ([(f"{VICTIM} output_1", row.error)] if row.error else []), stderr
    assert row.said in stderr
    if row.exit in (0, 3):
        assert ("INCOMPLETE" in stderr) == (row.exit == 3), stderr


def _assert_waited(row: Row, outcome: Outcome) -> None:
    """A host that asked for patience got it. Waiting longer is no fault: the machine may be busy."""
    at_s = outcome.first.asked_at_s
    if row.wait_s:
        assert at_s[1] - at_s[0] >= row.wait_s
    if any(value == DATE for fault in row.faults for _, value in fault.headers):
        assert at_s[1] >= outcome.date_s - 0.1  # two clocks are compared


def _assert_on_disk(row: Row, outcome: Outcome) -> None:
    stage, dest = outcome.stage, outcome.dest
    runs = stage.listed()
    match row.whole:
        case Archived.OTHERS:
            runs.remove(stage.victim)
        case Archived.FIRST_PAGE:
            runs = runs[:100]
        case Archived.NOTHING:
            runs = []
    assert_sound(dest)
    folder = dest / "ws_a" / "prj_a"
    files = {path.relative_to(folder).as_posix() for path in folder.glob("*/output*")}
    if row.kept is not None:
        assert [file.read_bytes() for file in (folder / VICTIM).glob("output_1*")] == [row.kept]
        files -= {path for path in files if path.startswith(f"{VICTIM}/")}
        runs.remove(stage.victim)
    if runs:
        assert_archived(dest, stage, runs)
    assert {path.partition("/")[0] for path in files} == {run.run_id for run in runs}
    if row.error:
        failed = manifest(dest)["runs"][VICTIM]["outputs"]["output_1"]
        assert (failed["state"], failed["error"]["code"]) == ("failed", row.error)
        assert json.loads((folder / VICTIM / "run.json").read_bytes())["run_id"] == VICTIM

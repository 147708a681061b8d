"""The table of damage, row by row: found without touching anything, then repaired to the last byte.

All rows are acted out beforehand, several at a time, since most of their time is waiting.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest

from floradl.checker.findings import Trouble
from tests.support.archives import assert_sound
from tests.support.damage_table import DAMAGES, Damage
from tests.support.sound_archive import (
    EVERYTHING,
    Stage,
    Tree,
    assert_all_archived,
    found_in,
    report_of,
    tree_of,
)
from tests.support.zygote import floradl

pytestmark = pytest.mark.timeout(600)  # all rows are acted out before the first is looked at

ROWS_AT_A_TIME = 4


@dataclass(frozen=True)
class Outcome:
    """What came of a row: the trees before and after the check, and what each command said."""

    dest: Path
    before: Tree
    after: Tree
    check: subprocess.CompletedProcess[str]
    repair: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]
    night: subprocess.CompletedProcess[str]


Outcomes = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Outcomes:
    """What came of each row that is looked at. All are done before the first look."""
    chosen = [row for row in DAMAGES if any(f"[{row.name}]" in item.name for item in request.session.items)]
    with ThreadPoolExecutor(ROWS_AT_A_TIME) as pool:
        done = {row.name: pool.submit(_act, row, stage, tmp_path_factory.mktemp("row")) for row in chosen}
        try:
            wait(done.values())
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _act(row: Damage, stage: Stage, folder: Path) -> Outcome:
    sim, dest = stage.sim, stage.copy(folder / "out")
    row.do(dest)
    before = tree_of(dest)
    check = floradl(sim, "verify", "--json", dest)
    after = tree_of(dest)
    repair = floradl(sim, "verify", "--repair", "--json", dest)
    again = floradl(sim, "verify", "--json", dest)
    night = floradl(sim, "--json", *EVERYTHING, dest)
    return Outcome(dest, before, after, check, repair, again, night)


@pytest.mark.parametrize("row", DAMAGES, ids=lambda row: row.name)
def test_a_check_finds_the_damage_and_changes_nothing(row: Damage, outcomes: Outcomes) -> None:
    """`verify` names what is wrong, by kind and place, nothing else, and leaves every byte and date alone."""
    outcome = outcomes[row.name].result()
    assert found_in(outcome.check) == sorted(row.found), outcome.check.stderr
    assert outcome.check.returncode == row.exit, outcome.check.stderr
    for finding in row.found:
        kind, _, path = finding.partition(" ")
        assert f"{kind}: {path}" in outcome.check.stderr
    assert outcome.after == outcome.before


@pytest.mark.parametrize("row", DAMAGES, ids=lambda row: row.name)
def test_a_repair_brings_everything_back(row: Damage, outcomes: Outcomes, stage: Stage) -> None:
    """After `verify --repair` the archive is as it was; what nobody knows stands where it stood."""
    outcome = outcomes[row.name].result()
    assert outcome.repair.returncode == 0, outcome.repair.stderr
    assert outcome.again.returncode == 0, outcome.again.stderr
    assert found_in(outcome.again) == row.strays
    assert all(item["repaired"] is (item["kind"] != "stray") for item in _findings(outcome, row))
    assert_all_archived(outcome.dest, stage.account)
    assert_sound(outcome.dest)
    for _, _, path in (stray.partition(" ") for stray in row.strays if stray in row.found):
        assert _below(tree_of(outcome.dest), path) == _below(outcome.before, path)


@pytest.mark.parametrize("row", DAMAGES, ids=lambda row: row.name)
def test_a_repair_keeps_what_it_does_not_bring_back(row: Damage, outcomes: Outcomes) -> None:
    """What stood in the way of the archive's own files is in `.floradl/aside/`, and is named."""
    outcome = outcomes[row.name].result()
    aside = outcome.dest / ".floradl" / "aside"
    assert sorted(path.name for path in aside.glob("*")) == sorted(row.kept)
    assert sorted(report_of(outcome.repair)["kept_aside"]) == [
        f".floradl/aside/{n}" for n in sorted(row.kept)
    ]


@pytest.mark.parametrize("row", DAMAGES, ids=lambda row: row.name)
def test_a_night_after_a_repair_fetches_nothing(row: Damage, outcomes: Outcomes) -> None:
    """The archive job has nothing left to do after a repair."""
    outcome = outcomes[row.name].result()
    assert outcome.night.returncode == 0, outcome.night.stderr
    outputs = report_of(outcome.night)["outputs"]
    assert (outputs["fetched"], outputs["adopted"], outputs["failed"]) == (0, 0, 0), outcome.night.stderr


def test_every_row_has_a_name_of_its_own() -> None:
    """Rows are found by their names."""
    assert len({row.name for row in DAMAGES}) == len(DAMAGES)


def test_every_kind_of_finding_is_in_the_table() -> None:
    """There is a row for everything that a check can find and a repair mend."""
    found = {finding.partition(" ")[0] for row in DAMAGES for finding in row.found}
    # A disk that gives no bytes is in test_verify.py, what nobody can mend in test_canvases.py.
    assert found == set(Trouble) - {Trouble.UNREADABLE, Trouble.LOST}


def _findings(outcome: Outcome, row: Damage) -> list[dict[str, object]]:
    """The findings of the repair, but strays that were ours after all."""
    findings: list[dict[str, object]] = report_of(outcome.repair)["findings"]
    return [item for item in findings if item["kind"] != "stray" or f"stray {item['path']}" in row.strays]


def _below(tree: Tree, path: str) -> Tree:
    return {name: facts for name, facts in tree.items() if name == path or name.startswith(f"{path}/")}

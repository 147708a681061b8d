"""Shelves that hold still: a night's runs change the newest of them alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from floradl.gallery.shelves import Shelf, ShelvedRun, digest, in_order, shelves_of
from floradl.repository.entries import OutputEntry, RunEntry, State

JULY_MS = 1_782_864_000_000  # 2026-07-01


def digest_of(run_ids: Sequence[str]) -> str:
    """The digest of runs whose entries are their ids."""
    return digest("", ((run_id, run_id.encode()) for run_id in run_ids))


def shelves(runs: Sequence[ShelvedRun], max_outputs: int = 100) -> list[Shelf]:
    """These runs on shelves."""
    return shelves_of(runs, digest_of, max_outputs)


def hourly(count: int) -> list[ShelvedRun]:
    """So many runs, one an hour, of three outputs each."""
    return [ShelvedRun(f"run_{number:05}", JULY_MS + number * 3_600_000, 3) for number in range(count)]


moments = st.none() | st.integers(-(10**18), 10**18) | st.integers(0, 3 * 10**12)


@given(st.dictionaries(st.text(max_size=8), st.tuples(moments, st.integers(0, 9)), max_size=60))
def test_every_run_stands_on_one_shelf(runs: dict[str, tuple[int | None, int]]) -> None:
    """Whatever its date, once; and the same runs in another order stand the same way."""
    counted = [ShelvedRun(run_id, moment, outputs) for run_id, (moment, outputs) in runs.items()]
    found = shelves(counted, 10)
    assert sorted(run_id for shelf in found for run_id in shelf.run_ids) == sorted(runs)
    assert found == shelves(counted[::-1], 10)
    assert len({shelf.name for shelf in found}) == len(found)
    assert all(re.fullmatch(r"(\d{6}|undated)[ab]*-[0-9a-f]{20}", shelf.name) for shelf in found)


def test_the_newest_stand_first_and_no_shelf_is_too_long() -> None:
    """Outputs are counted, not runs."""
    found = shelves(hourly(2000))
    assert [run_id for shelf in found for run_id in shelf.run_ids] == [
        run.run_id for run in reversed(hourly(2000))
    ]
    assert max(shelf.outputs for shelf in found) <= 100
    assert sum(shelf.outputs for shelf in found) == 6000


def test_a_night_changes_the_newest_shelves_alone() -> None:
    """All but one or two keep their names, and with them their files."""
    before, after = shelves(hourly(2000)), shelves(hourly(2010))
    assert len({shelf.name for shelf in before} - {shelf.name for shelf in after}) <= 2


def test_runs_of_one_moment_or_of_none_end_up_somewhere() -> None:
    """What time cannot part stays together; what has none is parted by its ids."""
    same = [ShelvedRun(f"run_{number}", JULY_MS, 50) for number in range(9)]
    assert len(shelves(same)) == 1
    undated = shelves([ShelvedRun(f"run_{number}", None, 50) for number in range(40)])
    assert len(undated) > 5
    assert all(shelf.name.startswith("undated") for shelf in undated)


def test_the_digest_tells_every_change() -> None:
    """Of an entry, of an id, and of what makes small pictures."""
    entries = [("run_a", b"{}")]
    known = {digest("", entries), digest("pictures", entries), digest("", [("run_a", b"{ }")])}
    assert len(known | {digest("", [("run_b", b"{}")])}) == 4


def test_outputs_stand_as_people_count() -> None:
    """`output_2` stands before `output_10`, whatever the order in which they were archived."""
    keys = ["output_10", "output_2", "output_1#2", "output_1", "ä", "", "³", "7"]
    output = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 10, "ab" * 32)
    run = RunEntry("", "", "", None, None, None, None, "", outputs=dict.fromkeys(keys, output))
    assert [*in_order(run).outputs] == ["", "7", "output_1", "output_1#2", "output_2", "output_10", "³", "ä"]

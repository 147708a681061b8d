"""The gallery's data: shelves that hold still, and scripts that are nothing but data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from floradl.constants import Kind
from floradl.gallery.image_size import Size
from floradl.gallery.scripts import (
    EXCERPT_CHARACTERS,
    Appearance,
    Canvas,
    index_script,
    list_script,
    more_script,
    text_script,
)
from floradl.gallery.shelves import Counted, Shelf, digest, in_order, shelves_of
from floradl.repository.entries import ErrorEntry, OutputEntry, RunEntry, State

DAY_MS = 86_400_000
JULY_MS = 1_782_864_000_000  # 2026-07-01


def digest_of(run_ids: Sequence[str]) -> str:
    """The digest of runs whose entries are their ids."""
    return digest("", ((run_id, run_id.encode()) for run_id in run_ids))


def shelves(runs: Sequence[Counted], max_outputs: int = 100) -> list[Shelf]:
    """These runs on shelves."""
    return shelves_of(runs, digest_of, max_outputs)


def hourly(count: int) -> list[Counted]:
    """So many runs, one an hour, of three outputs each."""
    return [Counted(f"run_{number:05}", JULY_MS + number * 3_600_000, 3) for number in range(count)]


moments = st.none() | st.integers(-(10**18), 10**18) | st.integers(0, 3 * 10**12)


@given(st.dictionaries(st.text(max_size=8), st.tuples(moments, st.integers(0, 9)), max_size=60))
def test_every_run_stands_on_one_shelf(runs: dict[str, tuple[int | None, int]]) -> None:
    """Whatever its date, once; and the same runs in another order stand the same way."""
    counted = [Counted(run_id, moment, outputs) for run_id, (moment, outputs) in runs.items()]
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
    same = [Counted(f"run_{number}", JULY_MS, 50) for number in range(9)]
    assert len(shelves(same)) == 1
    undated = shelves([Counted(f"run_{number}", None, 50) for number in range(40)])
    assert len(undated) > 5
    assert all(shelf.name.startswith("undated") for shelf in undated)


def test_the_digest_tells_every_change() -> None:
    """Of an entry, of an id, and of what makes small pictures."""
    entries = [("run_a", b"{}")]
    known = {digest("", entries), digest("pictures", entries), digest("", [("run_a", b"{ }")])}
    assert len(known | {digest("", [("run_b", b"{}")])}) == 4


def parsed(script: bytes) -> Any:
    """The value of a script of data."""
    found = re.fullmatch(rb'floradl\.data\("[a-z]+","[\w-]+",(.*)\);\n', script)
    assert found is not None, script
    return json.loads(found[1])


def a_run(text: str, output: OutputEntry) -> RunEntry:
    """A run with a text everywhere."""
    return RunEntry(
        text, text, "p", text, JULY_MS, None, 0.5, "0" * 64,
        technique_id=text, technique_name=text, name=text, outputs={text: output},
    )  # fmt: skip


def an_output(**more: Any) -> OutputEntry:
    """An archived picture."""
    return OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 10, "ab" * 32, **more)


@given(st.text(), st.text())
def test_scripts_are_data_in_any_page(text: str, long: str) -> None:
    """No text ends a script, begins markup or a comment, or breaks the line; and all of it comes back."""
    shelf = Shelf("202607-00", (text,), 1)
    long = long + "x" * EXCERPT_CHARACTERS + "!"
    output = an_output(content_type=text, url=text)
    runs, looks = [(text, a_run(text, output))], {(text, text): Appearance(text=long, label=long[::-1])}
    texts = text_script(shelf, runs, looks)
    assert texts is not None
    scripts = [
        list_script(shelf, runs, looks),
        more_script(shelf, runs, looks),
        texts,
        index_script(
            "a" * 32, "", [shelf], {text: text}, {text: text}, [Canvas(text, "ws/prj/canvas", (text,))]
        ),
    ]
    for script in scripts:
        assert not set("<>&\u2028\u2029") & set(script.decode())
    places, models, _, rows, has_texts, techniques = parsed(scripts[0])
    assert (places[0][:2], models, rows[0][0], rows[0][7][0][0]) == ([text, text], [text], text, text)
    assert has_texts == 1
    assert parsed(scripts[1])[0][2][0][1:3] == [text, text]
    assert techniques == ([[text, text]] if text else [])
    assert rows[0][8:] == [0, 0 if text else -1, text or 0]
    assert rows[0][7][0][9] == long[::-1][:EXCERPT_CHARACTERS]
    assert parsed(texts) == [[0, 0, long, long[::-1]]]
    assert parsed(scripts[3])[2:] == [[[text, text]], [[text, text]], [[text, "ws/prj/canvas", [text]]]]


def test_an_upload_names_its_whole_folder() -> None:
    """It stands below `assets`, in its project's folder or where its workspace has those of none."""
    shelf = Shelf("202607-00", ("asset_1", "asset_A"), 2)
    of_project = RunEntry("ws_a", "prj_b", "", None, None, None, None, "", kind=Kind.ASSET, name="Logo",
                          outputs={"asset_1": an_output()})  # fmt: skip
    runs = [
        ("asset_1", of_project),
        ("asset_A", msgspec.structs.replace(of_project, project_id="", name=None)),
    ]
    rows = parsed(list_script(shelf, runs, {}))[3]
    assert [(row[0], row[1], *row[8:]) for row in rows] == [
        ("asset_1", "/ws_a/prj_b/assets/asset_1", 1, -1, "Logo"),
        ("asset_A", "/ws_a/_workspace/assets/asset_A~u40", 1, -1, 0),
    ]


def test_a_short_label_needs_no_text_file() -> None:
    """It stands in the list alone, also of an output that failed; one that is long in both."""
    shelf, output = Shelf("202607-00", ("run_a",), 1), OutputEntry("imageUrl", State.FAILED)
    runs = [("run_a", RunEntry("w", "p", "", None, None, None, None, "", outputs={"k": output}))]
    short = {("run_a", "k"): Appearance(label="A boat")}
    assert parsed(list_script(shelf, runs, short))[3][0][7] == [
        ["k", 0, 1, "", 0, 0, 0, 0, "unknown", "A boat"]
    ]
    assert text_script(shelf, runs, short) is None
    long = {("run_a", "k"): Appearance(label="x" * 281)}
    assert parsed(text_script(shelf, runs, long) or b"") == [[0, 0, 0, "x" * 281]]


def test_outputs_stand_as_people_count() -> None:
    """Whatever the order in which they came."""
    keys = ["output_10", "output_2", "output_1#2", "output_1", "ä", "", "³", "7"]
    run = RunEntry("", "", "", None, None, None, None, "", outputs={key: an_output() for key in keys})
    assert [*in_order(run).outputs] == ["", "7", "output_1", "output_1#2", "output_2", "output_10", "³", "ä"]


def test_what_a_list_says_of_an_output() -> None:
    """A file named after its key takes one word less; a failed output has its code."""
    shelf, looks = Shelf("202607-00", ("run_a",), 3), Appearance(Size(4, 3), has_thumbnail=True)
    run = RunEntry("w", "p", "", None, None, None, None, "", outputs={
        "output_1": an_output(),
        "Ä": OutputEntry("text", State.ARCHIVED, "_~~abc.txt", 2),
        "output_3": OutputEntry("videoUrl", State.FAILED, error=ErrorEntry("http_404", "gone", "then")),
    }, vanished_at="today")  # fmt: skip
    script = list_script(shelf, [("run_a", run)], {("run_a", "output_1"): looks})
    _, models, types, rows, has_texts, _ = parsed(script)
    assert (models, types, has_texts) == ([], ["imageUrl", "text", "videoUrl"], 0)
    assert rows[0][:7] == ["run_a", 0, 0, -1, None, None, 1]
    assert rows[0][7] == [
        ["output_1", 0, 0, ".png", 10, 4, 3, "ab" * 16, ""],
        ["Ä", 1, 0, "/_~~abc.txt", 2, 0, 0, 0, ""],
        ["output_3", 2, 1, "", 0, 0, 0, 0, "http_404"],
    ]
    assert text_script(shelf, [("run_a", run)], {}) is None

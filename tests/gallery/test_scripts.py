"""The gallery's files: scripts that are nothing but data, whatever the texts in them hold."""

from __future__ import annotations

import json
import re
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
from floradl.gallery.shelves import Shelf
from floradl.repository.entries import ErrorEntry, OutputEntry, RunEntry, State

JULY_MS = 1_782_864_000_000  # 2026-07-01


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
    runs, appearances = [(text, a_run(text, output))], {(text, text): Appearance(text=long, label=long[::-1])}
    texts = text_script(shelf, runs, appearances)
    assert texts is not None
    scripts = [
        list_script(shelf, runs, appearances),
        more_script(shelf, runs, appearances),
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


def test_what_a_list_says_of_an_output() -> None:
    """A file named after its key takes one word less; a failed output has its code."""
    shelf, appearance = Shelf("202607-00", ("run_a",), 3), Appearance(Size(4, 3), has_thumbnail=True)
    run = RunEntry("w", "p", "", None, None, None, None, "", outputs={
        "output_1": an_output(),
        "Ä": OutputEntry("text", State.ARCHIVED, "_~~abc.txt", 2),
        "output_3": OutputEntry("videoUrl", State.FAILED, error=ErrorEntry("http_404", "gone", "then")),
    }, vanished_at="today")  # fmt: skip
    script = list_script(shelf, [("run_a", run)], {("run_a", "output_1"): appearance})
    _, models, types, rows, has_texts, _ = parsed(script)
    assert (models, types, has_texts) == ([], ["imageUrl", "text", "videoUrl"], 0)
    assert rows[0][:7] == ["run_a", 0, 0, -1, None, None, 1]
    assert rows[0][7] == [
        ["output_1", 0, 0, ".png", 10, 4, 3, "ab" * 16, ""],
        ["Ä", 1, 0, "/_~~abc.txt", 2, 0, 0, 0, ""],
        ["output_3", 2, 1, "", 0, 0, 0, 0, "http_404"],
    ]
    assert text_script(shelf, [("run_a", run)], {}) is None

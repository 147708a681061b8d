"""What is done about each output: one table from entry and disk to the decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import msgspec
import pytest

from floradl.api.models import Filters, Generation, Output, Scope
from floradl.constants import Kind
from floradl.download.dedupe import iter_shareable, shares_content
from floradl.download.plan import (
    Action,
    OnDisk,
    at_recorded_place,
    decide,
    decide_run,
    is_complete_on_disk,
    keys_to_refetch,
    run_folder,
    wants_entry,
)
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.layout import partial_path

URL = "https://media.flora.ai/a/output_1.png"
IMAGE = Output("output_1", "imageUrl", URL)
SEVEN = replace(IMAGE, size_bytes=7)
TEXT = Output("output_1", "text", "https://looks.like/a-url")
NOTE = Output("output_1", "noteCard", "a note")
ARCHIVED = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 7)
KIT = replace(IMAGE, value="https://ik.imagekit.io/flora/output_1.png")
COMPRESSED = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 7, compressed=True)
ARCHIVED_TEXT = OutputEntry("text", State.ARCHIVED, "output_1.txt", 7)
SIZELESS = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png")
FAILED = OutputEntry("imageUrl", State.FAILED, attempts=6)
PARTIAL = frozenset({partial_path("run_1", "output_1").name})
OTHERS = frozenset({partial_path("run_1", "output_2").name, partial_path("run_2", "output_1").name})
RUN = Generation("run_1", "ws_a", "prj_b", "completed", 1, 2, None, None, (IMAGE,), None)

Files = dict[str, int]
Expected = tuple[Action, str | tuple[str, ...] | None, str | None]
"""The action, the file it is about or those that it may be about, and the code of what is reported."""

SKIP: Expected = (Action.SKIP, None, None)
FETCH: Expected = (Action.FETCH, None, None)
RENEW: Expected = (Action.RENEW, "output_1.png", None)
RESUME: Expected = (Action.RESUME, None, None)
WRITE: Expected = (Action.WRITE, "output_1.txt", None)
RECORD: Expected = (Action.RECORD, ("output_1.png",), None)
RECORD_WEBP: Expected = (Action.RECORD, ("output_1.webp",), None)
RECORD_ONE_OF_TWO: Expected = (Action.RECORD, ("output_1.webp", "output_1.png"), None)
CHANGED: Expected = (Action.REPORT, None, "changed")
NO_URL: Expected = (Action.REPORT, None, "no_url")

TABLE: list[tuple[str, Output, OutputEntry | None, Files, frozenset[str], Expected]] = [
    ("there without an entry, and no URL any more", replace(IMAGE, value=None), None,
     {"output_1.png": 9}, frozenset(), RECORD),
    ("new", IMAGE, None, {}, frozenset(), FETCH),
    ("new, with a partial", IMAGE, None, {}, PARTIAL, RESUME),
    ("new, partials are of others", IMAGE, None, {}, OTHERS, FETCH),
    ("new, files are of others", IMAGE, None, {"output_10.png": 7, "run.json": 9}, frozenset(), FETCH),
    ("killed before the record", IMAGE, None, {"output_1.png": 7}, frozenset(), RECORD),
    ("killed before the record, partial left", IMAGE, None, {"output_1.png": 7}, PARTIAL, RECORD),
    ("of the announced size", SEVEN, None, {"output_1.png": 7}, frozenset(), RECORD),
    ("of another size than announced", SEVEN, None, {"output_1.png": 8}, PARTIAL, RESUME),
    ("one of the announced size", SEVEN, None, {"output_1.gif": 8, "output_1.png": 7}, frozenset(), RECORD),
    ("announced with nonsense", replace(IMAGE, size_bytes=-1), None, {"output_1.png": 8}, frozenset(),
     RECORD),
    ("archived, and announced with another size", replace(IMAGE, size_bytes=8), ARCHIVED,
     {"output_1.png": 7}, frozenset(), SKIP),
    ("another extension", IMAGE, None, {"output_1.webp": 7}, frozenset(), RECORD_WEBP),
    ("two of them", IMAGE, None, {"output_1.webp": 7, "output_1.png": 7}, frozenset(), RECORD_ONE_OF_TWO),
    ("an empty file is no output", IMAGE, None, {"output_1.png": 0}, frozenset(), FETCH),
    ("an empty one and a good one", IMAGE, None, {"output_1.gif": 0, "output_1.png": 7}, frozenset(), RECORD),
    ("archived and there", IMAGE, ARCHIVED, {"output_1.png": 7}, frozenset(), SKIP),
    ("archived and there, partial left", IMAGE, ARCHIVED, {"output_1.png": 7}, PARTIAL, SKIP),
    ("compressed and there", KIT, COMPRESSED, {"output_1.png": 7}, frozenset(), RENEW),
    ("compressed, and at another host now", IMAGE, COMPRESSED, {"output_1.png": 7}, frozenset(), SKIP),
    ("compressed, no URL", replace(KIT, value=None), COMPRESSED, {"output_1.png": 7}, frozenset(), SKIP),
    ("compressed, changed", KIT, COMPRESSED, {"output_1.png": 8}, frozenset(), CHANGED),
    ("compressed, gone", KIT, COMPRESSED, {}, frozenset(), FETCH),
    ("archived at ImageKit", KIT, ARCHIVED, {"output_1.png": 7}, frozenset(), SKIP),
    ("archived, the API has no URL any more", replace(IMAGE, value=None), ARCHIVED, {"output_1.png": 7},
     frozenset(), SKIP),
    ("archived, another size", IMAGE, ARCHIVED, {"output_1.png": 8}, PARTIAL, CHANGED),
    ("archived, emptied", IMAGE, ARCHIVED, {"output_1.png": 0}, frozenset(), CHANGED),
    ("archived without a size", IMAGE, SIZELESS, {"output_1.png": 1}, frozenset(), CHANGED),
    ("archived, gone", IMAGE, ARCHIVED, {}, frozenset(), FETCH),
    ("archived, gone, partial left", IMAGE, ARCHIVED, {}, PARTIAL, RESUME),
    ("archived, gone, a stranger has its stem", IMAGE, ARCHIVED, {"output_1.webp": 7}, frozenset(), FETCH),
    ("archived, gone, no URL", replace(IMAGE, value=None), ARCHIVED, {}, frozenset(), NO_URL),
    ("archived, no file named", IMAGE, OutputEntry("imageUrl", State.ARCHIVED), {}, frozenset(), FETCH),
    ("failed", IMAGE, FAILED, {}, frozenset(), FETCH),
    ("failed, with a partial", IMAGE, FAILED, {}, PARTIAL, RESUME),
    ("failed, then killed before the record", IMAGE, FAILED, {"output_1.png": 7}, frozenset(), RECORD),
    ("failed, no URL", replace(IMAGE, value=None), FAILED, {}, PARTIAL, NO_URL),
    ("no URL", replace(IMAGE, value=None), None, {}, frozenset(), NO_URL),
    ("text", TEXT, None, {}, frozenset(), WRITE),
    ("text, file there without entry", TEXT, None, {"output_1.txt": 7}, frozenset(), WRITE),
    ("text, archived", TEXT, ARCHIVED_TEXT, {"output_1.txt": 7}, frozenset(), SKIP),
    ("text, archived, changed", TEXT, ARCHIVED_TEXT, {"output_1.txt": 9}, frozenset(), CHANGED),
    ("text, archived, gone", TEXT, ARCHIVED_TEXT, {}, frozenset(), WRITE),
    ("text, empty", replace(TEXT, value=""), None, {}, frozenset(), WRITE),
    ("text, none", replace(TEXT, value=None), None, {}, frozenset(), NO_URL),
    ("unknown type, text", NOTE, None, {}, PARTIAL, WRITE),
    ("unknown type, URL", replace(NOTE, value=URL), None, {}, frozenset(), FETCH),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "entry", "files", "partials", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_decisions(
    output: Output, entry: OutputEntry | None, files: Files, partials: frozenset[str], expected: Expected
) -> None:
    """What is there is skipped, what is missing is had, what somebody changed is reported, not replaced."""
    decision = decide("run_1", output, entry, OnDisk(files, partials))
    code = decision.failure.code if decision.failure else None
    assert (decision.action, decision.candidates or decision.file, code) == expected
    assert decision.output is output


def test_every_action_is_in_the_table() -> None:
    """No kind of decision is left untested."""
    assert {row[-1][0] for row in TABLE} == set(Action)


def test_a_changed_file_keeps_its_entry() -> None:
    """A report of a changed file says what was found, and does not overwrite what is recorded."""
    output = replace(IMAGE, value="https://user:secret@h/a.png?sig=secret")
    failure = decide("run_1", output, ARCHIVED, OnDisk({"output_1.png": 8})).failure
    assert failure is not None
    assert failure.keeps_entry
    assert failure.message == "output_1.png has 8 bytes, 7 were archived"
    assert failure.url == "https://h/a.png"
    assert (failure.run_id, failure.key, failure.type, failure.attempts) == (
        "run_1",
        "output_1",
        "imageUrl",
        0,
    )


@pytest.mark.parametrize(
    "output", [replace(IMAGE, value=None), replace(TEXT, value=None)], ids=["image", "text"]
)
def test_an_output_without_url_is_recorded_as_failed(output: Output) -> None:
    """What cannot be had becomes an entry, so that it is asked for again."""
    failure = decide("run_1", output, None, OnDisk({})).failure
    assert failure is not None
    assert not failure.keeps_entry
    assert failure.url is None


def test_a_changed_text_is_not_shown_as_a_url() -> None:
    """The content of a text stays out of messages and of the manifest."""
    failure = decide("run_1", TEXT, ARCHIVED_TEXT, OnDisk({"output_1.txt": 9})).failure
    assert failure is not None
    assert failure.url is None


def run_entry(**outputs: OutputEntry) -> RunEntry:
    """The entry of run_1."""
    return RunEntry("ws_a", "prj_b", "ws_a/prj_b/run_1", None, 1, 2, None, "00", outputs=outputs)


def counted(output_count: int | None, **outputs: OutputEntry) -> RunEntry:
    """The same, of a record with so many outputs."""
    return msgspec.structs.replace(run_entry(**outputs), output_count=output_count)


OUTPUTS = (IMAGE, Output("output_2", "text", "hello"), Output("output_3", "videoUrl", URL))


@pytest.mark.parametrize(
    ("outputs", "entry", "types", "actions"),
    [
        (OUTPUTS, None, (), ["fetch", "write", "fetch"]),
        (OUTPUTS, None, ("text",), ["write"]),
        (OUTPUTS, None, ("imageUrl", "videoUrl"), ["fetch", "fetch"]),
        (OUTPUTS, None, ("audioUrl",), []),
        (OUTPUTS, run_entry(output_1=ARCHIVED), (), ["skip", "write", "fetch"]),
        (OUTPUTS, run_entry(output_1=ARCHIVED), ("imageUrl",), ["skip"]),
        (OUTPUTS, run_entry(), (), ["record", "write", "fetch"]),
        ((), None, (), []),
        (None, None, (), []),
        (None, run_entry(output_1=ARCHIVED), (), ["skip"]),
        ((), run_entry(output_1=ARCHIVED, output_9=FAILED), (), ["skip", "report"]),
        ((), run_entry(output_9=FAILED), ("text",), []),
    ],
)
def test_a_whole_run(
    outputs: tuple[Output, ...] | None, entry: RunEntry | None, types: tuple[str, ...], actions: list[str]
) -> None:
    """Each wanted output of a run is decided on with its own entry, in the API's order."""
    files = {} if entry is None else {"output_1.png": 7}
    decisions = decide_run(
        replace(RUN, outputs=outputs), entry, Filters(types=frozenset(types)), OnDisk(files)
    )
    assert [decision.action for decision in decisions] == actions


@pytest.mark.parametrize(
    ("files", "types", "keys"),
    [
        ({"output_1.png": 7, "output_2.txt": 7}, (), ["output_3"]),
        ({"output_1.png": 7}, (), ["output_2", "output_3"]),
        ({"output_1.png": 8, "output_2.txt": 0}, (), ["output_1", "output_2", "output_3"]),
        ({}, (), ["output_1", "output_2", "output_3"]),
        ({}, ("text",), ["output_2"]),
        ({"output_1.png": 7, "output_2.txt": 7}, ("text",), []),
        ({"output_1.png": 7, "output_2.txt": 7, "stranger": 1}, ("imageUrl",), ["output_3"]),
    ],
)
def test_what_needs_mending(files: Files, types: tuple[str, ...], keys: list[str]) -> None:
    """Failed outputs, and files that are gone or of another size, are asked for again; others are not."""
    text = OutputEntry("text", State.ARCHIVED, "output_2.txt", 7)
    entry = run_entry(output_1=ARCHIVED, output_2=text, output_3=FAILED)
    assert keys_to_refetch(entry, Filters(types=frozenset(types)), files) == keys


@pytest.mark.parametrize(
    "entry",
    [OutputEntry("text", State.ARCHIVED), OutputEntry("text", State.ARCHIVED, "a.txt")],
    ids=["no file", "no size"],
)
def test_an_entry_that_says_too_little_needs_mending(entry: OutputEntry) -> None:
    """An entry without file or size vouches for nothing."""
    assert keys_to_refetch(run_entry(a=entry), Filters(), {}) == ["a"]


def test_what_is_lost_for_good_needs_no_mending() -> None:
    """A snapshot that was given up is not asked for again, whether anything stands in its place or not."""
    entry = OutputEntry("canvas", State.LOST, "a.mmd", 7)
    assert keys_to_refetch(run_entry(a=entry), Filters(), {}) == []
    assert keys_to_refetch(run_entry(a=entry), Filters(), {"a.mmd": 7}) == []


def test_a_failed_output_needs_mending_whatever_is_there() -> None:
    """An entry that says failed is asked for again, also when it names a file of the right size."""
    entry = OutputEntry("text", State.FAILED, "a.txt", 7)
    assert keys_to_refetch(run_entry(a=entry), Filters(), {"a.txt": 7}) == ["a"]


@pytest.mark.parametrize(
    ("entry", "files", "types", "is_whole"),
    [
        (None, {"output_1.png": 7}, (), False),
        (counted(None, output_1=ARCHIVED), {"output_1.png": 7}, (), False),
        (counted(1, output_1=ARCHIVED), {"output_1.png": 7}, (), True),
        (counted(1, output_1=ARCHIVED), {"output_1.png": 8}, (), False),
        (counted(1, output_1=ARCHIVED), {}, (), False),
        (counted(1, output_1=ARCHIVED), {}, ("text",), True),
        (counted(2, output_1=ARCHIVED), {"output_1.png": 7}, (), False),
        (counted(1, output_1=ARCHIVED, output_0=ARCHIVED), {"output_1.png": 7}, (), True),
        (counted(1, output_1=FAILED), {"output_1.png": 7}, (), False),
        (counted(0), {}, (), True),
    ],
    ids=[
        "not recorded", "of unknown size", "whole", "changed", "gone", "gone, not wanted", "one more to come",
        "one less than there was", "failed", "without outputs",
    ],
)  # fmt: skip
def test_a_run_that_need_not_be_asked_for(
    entry: RunEntry | None, files: Files, types: tuple[str, ...], is_whole: bool
) -> None:
    """A run that is listed without outputs is left alone only when all of them are known to be there."""
    assert is_complete_on_disk(entry, Filters(types=frozenset(types)), files) is is_whole


def test_where_a_run_goes() -> None:
    """A run's files go to workspace, project, run."""
    assert str(run_folder(RUN)) == "ws_a/prj_b/run_1"


def test_a_run_that_was_moved_stays_where_it_is() -> None:
    """A recorded run is at the place of its entry, whatever the API says of it now; a new one as listed."""
    moved = replace(RUN, workspace_id="ws_z", project_id="prj_z")
    assert at_recorded_place(moved, run_entry()) == RUN
    assert at_recorded_place(moved, None) == moved


def test_files_of_runs_are_copies_of_their_own() -> None:
    """Each run made its own bytes; nothing is looked for that could be shared with them."""
    entry = run_entry(output_1=msgspec.structs.replace(ARCHIVED, sha256="0" * 64))
    assert not shares_content(RUN)
    assert list(iter_shareable([entry])) == []


def test_what_equal_files_may_be_made_from() -> None:
    """Archived files with a hash, where they were archived; not what failed or says too little."""
    whole = msgspec.structs.replace(ARCHIVED, sha256="0" * 64)
    nameless = msgspec.structs.replace(whole, file=None)
    entry = msgspec.structs.replace(run_entry(a=whole, b=FAILED, c=nameless, d=ARCHIVED), kind=Kind.ASSET)
    assert list(iter_shareable([entry])) == [("0" * 64, PurePosixPath(entry.path, "output_1.png"))]


@pytest.mark.parametrize(
    ("filters", "run", "asset", "canvas"),
    [
        (Filters(), True, True, True),
        (Filters(types=frozenset({"imageUrl"})), True, True, False),
        (Filters(types=frozenset({"videoUrl"})), True, False, False),
        (Filters(models=("flux*",)), True, False, False),
        (Filters(models=("other",)), False, False, False),
        (Filters(models=("flux*",), run_ids=frozenset({"it"})), True, True, False),
        (Filters(run_ids=frozenset({"another"})), False, False, False),
        (Filters(since_ms=1000), True, True, False),
        (Filters(until_ms=1000), False, False, False),
    ],
)
def test_what_filters_speak_of(filters: Filters, run: bool, asset: bool, canvas: bool) -> None:
    """Of runs; an asset has a type and a date, and a model only where it was named; a canvas none of it."""
    facts = RunEntry("ws_a", "prj_b", "there", "flux-2", 1000, None, None, "", outputs={"output_1": ARCHIVED})
    wanted = {Kind.RUN: run, Kind.ASSET: asset, Kind.CANVAS: canvas}
    for kind, is_wanted in wanted.items():
        entry = msgspec.structs.replace(facts, kind=kind)
        assert wants_entry([Scope("ws_b"), Scope("ws_a")], filters, "it", entry) == is_wanted, kind
        assert not wants_entry([Scope("ws_b")], filters, "it", entry)

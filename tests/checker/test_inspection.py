"""An entry compared with its folder's listing and its files' digests: which findings that gives."""

from __future__ import annotations

import pytest

from floradl.checker.findings import Trouble
from floradl.checker.inspection import Expected, check_bytes, check_run, unreadable_run
from floradl.repository.entries import ErrorEntry, OutputEntry, RunEntry, State
from floradl.storage.base import Item, Kind
from floradl.storage.digest import Digest

ENTRY = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 10, "a" * 64)
RECORD = Item(Kind.FILE, 5)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (None, Trouble.MISSING),
        (Item(Kind.FILE, 0), Trouble.EMPTY),
        (Item(Kind.FILE, 9), Trouble.TRUNCATED),
        (Item(Kind.FILE, 11), Trouble.CHANGED),
        (Item(Kind.FOLDER, 0), Trouble.NOT_A_FILE),
        (Item(Kind.OTHER, 10), Trouble.NOT_A_FILE),
        (Item(Kind.FILE, 10), None),
    ],
)
def test_a_run_against_its_folder(item: Item | None, kind: Trouble | None) -> None:
    """A file is judged by its presence, kind and size; only one of the right size has to be read."""
    entry = RunEntry("ws", "prj", "ws/prj/run_a", None, 1, 2, None, "b" * 64, outputs={"output_1": ENTRY})
    listing = {"run.json": RECORD} | ({"output_1.png": item} if item else {})
    check = check_run("run_a", entry, listing)
    assert [finding.kind for finding in check.findings] == ([kind] if kind else [])
    assert [expected.path for expected in check.expected] == ([] if kind else ["ws/prj/run_a/output_1.png"])
    assert len(check.lost) == bool(kind)


def test_bytes_against_their_entry() -> None:
    """Only the same size and the same hash are the same bytes."""
    expected = Expected("run_a", "output_1", "p", 10, "a" * 64)
    assert check_bytes(expected, Digest(10, "a" * 64, b"")) is None
    for digest in (Digest(10, "b" * 64, b""), Digest(11, "a" * 64, b"")):
        finding = check_bytes(expected, digest)
        assert finding is not None
        assert finding.kind == Trouble.CHANGED


def run_of(**outputs: OutputEntry) -> RunEntry:
    """The entry of run_a, with these outputs."""
    return RunEntry("ws", "prj", "ws/prj/run_a", None, 1, 2, None, "b" * 64, outputs=outputs)


def test_a_folder_where_something_else_stands() -> None:
    """Nothing of the run is there: the folder is a finding of its own, and each output is missing."""
    check = check_run("run_a", run_of(output_1=ENTRY), None)
    kinds = [(finding.kind, finding.key) for finding in check.findings]
    assert kinds == [(Trouble.NOT_A_FILE, ""), (Trouble.NO_RECORD, ""), (Trouble.MISSING, "output_1")]


def test_files_that_no_entry_names() -> None:
    """A file of an output that failed is unrecorded, litter and labels are nothing, all else is a stray."""
    failed = OutputEntry("imageUrl", State.FAILED, error=ErrorEntry("http_404", "gone", "then"))
    names = ["run.json", "canvas.json", ".DS_Store", "output_1.png", "holiday.png"]
    check = check_run("run_a", run_of(output_1=failed), {name: Item(Kind.FILE, 5) for name in names})
    assert [(finding.kind, finding.message) for finding in check.findings] == [
        (Trouble.FAILED, "http_404: gone"),
        (Trouble.UNRECORDED, "it stands there without being recorded"),
    ]
    assert [(stray.path, stray.size_bytes) for stray in check.strays] == [("ws/prj/run_a/holiday.png", 5)]


@pytest.mark.parametrize("file", [None, "run.json", "output_2.png", "../run_b/output_1.png"])
def test_an_entry_that_names_a_file_of_something_else(file: str | None) -> None:
    """It is a bad entry, and that file is not read as if it were the output's."""
    entry = OutputEntry("imageUrl", State.ARCHIVED, file, 10, "a" * 64)
    check = check_run("run_a", run_of(output_1=entry), {"run.json": RECORD})
    assert [finding.kind for finding in check.findings] == [Trouble.BAD_ENTRY]
    assert check.expected == []


def test_a_folder_that_the_disk_does_not_list() -> None:
    """Each output is unreadable; a run without outputs is one finding, so that it does not go unnoticed."""
    check = unreadable_run("run_a", run_of(output_1=ENTRY), "Input/output error")
    assert [(finding.kind, finding.key) for finding in check.findings] == [(Trouble.UNREADABLE, "output_1")]
    check = unreadable_run("run_a", run_of(), "Input/output error")
    assert [(finding.kind, finding.key) for finding in check.findings] == [(Trouble.UNREADABLE, "")]
    assert not check.has_record


def test_a_snapshot_that_was_given_up() -> None:
    """It stays lost, and no fault, until the same bytes are there again."""
    lost = Expected("prj", "a-canvas", "p", 10, "a" * 64, lost="given up")
    again, other = (check_bytes(lost, Digest(10, letter * 64, b"")) for letter in "ab")
    assert again is not None
    assert other is not None
    assert (again.kind, other.kind) == (Trouble.UNRECORDED, Trouble.LOST)

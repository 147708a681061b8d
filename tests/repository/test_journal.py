"""The journal: what was written comes back, a cut leaves a prefix, and damage is never taken for a change."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.clock import MAX_MS
from floradl.constants import Kind
from floradl.errors import Exit, ManifestError
from floradl.repository.entries import (
    VERSION,
    ErrorEntry,
    JournalHeader,
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    SourcesOp,
    State,
    VanishedOp,
)
from floradl.repository.journal import encode_lines, has_lost_lines, parse_journal
from tests.support.hypothesis_settings import by_day

HEADER = JournalHeader(VERSION, "9f0c", "2026-11-23T02:30:00Z")
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\n\r\0"\\ {}'), max_size=8)
RUN_IDS = st.sampled_from(["run_1", "run_2", "run_3", "r\n\u2028\xe9"])
KEYS = st.sampled_from(["output_1", "output_2", "a#2", ""])
MOMENTS = st.none() | st.integers(0, MAX_MS)
RECORDS = st.sampled_from(
    [b"{}", b'{"a": 1.0}', b'{\n  "a": "\\n",\r\n\t"b": [1,\n2]\n}', '{"é": "\U0001f600"}'.encode()]
)
FACTS = st.builds(
    RunFacts,
    TEXT,
    TEXT,
    TEXT,
    st.none() | TEXT,
    MOMENTS,
    MOMENTS,
    st.none() | st.floats(0, 1e6),
    TEXT,
    kind=st.sampled_from(Kind),
    technique_id=st.none() | TEXT,
    name=st.none() | TEXT,
)
ENTRIES = st.builds(
    OutputEntry,
    type=TEXT,
    state=st.sampled_from(State),
    file=st.none() | TEXT,
    size_bytes=st.none() | st.integers(0, 2**60),
    sha256=st.none() | st.just("ab" * 32),
    url=st.none() | TEXT,
    attempts=st.none() | st.integers(0, 9),
    error=st.none() | st.builds(ErrorEntry, TEXT, TEXT, TEXT),
)
SCOPES = st.builds(
    ScopeEntry, st.just("generations"), st.sampled_from([None, "ws_a"]), st.sampled_from([None, "prj_b"])
)
SCANS = st.builds(
    ScanEntry,
    SCOPES,
    TEXT,
    MOMENTS,
    st.dictionaries(RUN_IDS, st.builds(msgspec.Raw, RECORDS), max_size=2),
    TEXT,
    TEXT,
)
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(RunOp, RUN_IDS, FACTS),
    st.builds(OutputOp, RUN_IDS, KEYS, ENTRIES),
    st.builds(ScanOp, SCANS),
    st.builds(VanishedOp, RUN_IDS, st.none() | TEXT),
    st.builds(SourcesOp, RUN_IDS, st.lists(TEXT, max_size=2).map(tuple)),
    st.builds(LabelsOp, RUN_IDS, TEXT),
)
SOME_OPS: list[Op] = [
    RunOp("run_1", RunFacts("ws_a", "prj_b", "ws_a/prj_b/run_1", None, 1, 2, 0.5, "00")),
    OutputOp("run_1", "output_1", OutputEntry("text", State.ARCHIVED, "output_1.txt", 5, "ab" * 32)),
    ScanOp(
        ScanEntry(
            ScopeEntry("generations", None, None), "acct", 1, {"run_2": msgspec.Raw(b'{"a":\n1}')}, "x", "y"
        )
    ),
    VanishedOp("run_1", "2026-11-23T02:30:00Z"),
    SourcesOp("run_1", ("generations", "technique-runs")),
    LabelsOp("run_1", "cd" * 32),
]


def plain(ops: list[Op] | tuple[Op, ...]) -> list[Any]:
    """Changes as plain JSON, in which records are compared by what they say."""
    return [json.loads(msgspec.json.encode(op)) for op in ops]


def line(body: bytes) -> bytes:
    """A line that is whole, whatever it says."""
    return b"%08x %s\n" % (zlib.crc32(body), body)


@given(st.lists(OPS, max_size=8))
def test_changes_come_back(ops: list[Op]) -> None:
    """Any list of changes is read as it was written, to the last byte."""
    data = encode_lines([HEADER, *ops])
    journal = parse_journal(data)
    assert journal.header == HEADER
    assert plain(journal.ops) == plain(ops)
    assert journal.size_bytes == len(data)


@given(st.lists(OPS, max_size=3))
def test_a_change_is_a_line(ops: list[Op]) -> None:
    """However a record was laid out, each change takes one line, so that a cut costs no other."""
    data = encode_lines([HEADER, *ops])
    assert data.count(b"\n") == 1 + len(ops)
    assert data == b"".join(encode_lines([value]) for value in (HEADER, *ops))


@by_day(15)
@given(st.lists(OPS, max_size=4))
def test_a_cut_at_any_byte_leaves_a_prefix(ops: list[Op]) -> None:
    """Cut anywhere, the journal replays exactly the changes whose lines are whole."""
    lines = [encode_lines([value]) for value in (HEADER, *ops)]
    data = b"".join(lines)
    for cut in range(len(data) + 1):
        whole = data[:cut].count(b"\n")
        journal = parse_journal(data[:cut])
        assert (journal.header is not None) == (whole > 0)
        assert len(journal.ops) == max(0, whole - 1)
        assert journal.size_bytes == sum(map(len, lines[:whole]))
    assert plain(journal.ops) == plain(ops)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_a_flipped_byte_ends_the_replay_before_it(mask: int) -> None:
    """Damage at any byte costs its own line and what follows, and is never replayed."""
    lines = [encode_lines([value]) for value in (HEADER, *SOME_OPS)]
    data = b"".join(lines)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= mask
        whole = data[:position].count(b"\n")
        journal = parse_journal(bytes(damaged))
        assert journal.size_bytes == sum(map(len, lines[:whole]))
        assert plain(journal.ops) == plain(SOME_OPS[: max(0, whole - 1)])
        assert journal.header == (HEADER if whole else None)


@pytest.mark.parametrize(
    "tail",
    [b"\n", b"\0" * 4096, b"\0\n", b"00000000", b"00000000\n", b"junk\n", b"{}\n", b"00000000 {}\n",
     encode_lines(SOME_OPS[3:4])[:-2], encode_lines(SOME_OPS[:1]).upper(), b" " + encode_lines(SOME_OPS[3:])],
    ids=lambda tail: repr(tail[:20]),
)  # fmt: skip
def test_what_follows_a_bad_line_was_never_promised(tail: bytes) -> None:
    """A tail as a crash leaves it ends the replay, and whole lines after it count no more."""
    data = encode_lines([HEADER, SOME_OPS[0]])
    journal = parse_journal(data + tail + b"\n" + encode_lines(SOME_OPS[3:4]))
    assert plain(journal.ops) == plain(SOME_OPS[:1])
    assert journal.header == HEADER


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", HEADER.archive_id.encode(), encode_lines(SOME_OPS), encode_lines([HEADER])[:-1]],
    ids=repr,
)
def test_without_a_header_there_is_nothing(data: bytes) -> None:
    """Changes are of no archive, and count for nothing, until a whole header says of which."""
    journal = parse_journal(data)
    assert (journal.header, journal.ops, journal.size_bytes) == (None, (), 0)


@pytest.mark.parametrize(
    "body",
    [
        msgspec.json.encode(JournalHeader(VERSION + 1, "9f0c", "x")),
        b'{"op": "journal", "version": "two", "archive_id": "a", "created_at": "b"}',
        b'{"op": "journal"}',
        b'{"op": "merged", "run_id": "run_1"}',
        b'{"op": "vanished"}',
        b'{"op": "output", "run_id": "r", "key": "k", "entry": {"type": "t", "state": "moved"}}',
        b'{"op": "vanished", "run_id": "\xff", "at": null}',
        b'{"run_id": "run_1"}',
        b"[]",
        b"",
        b"\xff",
        b'{"op": "scan", "scan": ' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:50]),
)
@pytest.mark.parametrize("before", [[], [HEADER, SOME_OPS[0]]], ids=["first", "later"])
def test_a_whole_line_of_a_newer_version(before: list[JournalHeader | Op], body: bytes) -> None:
    """What is whole and not understood was written by a newer floradl; dropping it would lose entries."""
    with pytest.raises(ManifestError, match="newer") as caught:
        parse_journal(encode_lines(before) + line(body))
    assert "Update floradl" in caught.value.hint
    assert caught.value.exit_code == Exit.FAILED


def test_unknown_fields_of_a_change_are_no_obstacle() -> None:
    """A newer floradl may add a field to a change without making the journal unreadable."""
    journal = parse_journal(
        encode_lines([HEADER]) + line(b'{"op": "vanished", "run_id": "r", "at": null, "why": "x"}')
    )
    assert journal.ops == (VanishedOp("r", None),)


def test_salvage_ends_where_nothing_is_understood() -> None:
    """A whole line that nobody understands refuses the journal; in a rescue it only ends it."""
    bad, change = b'{"op":"unheard of"}', VanishedOp("run_1", "then")
    data = encode_lines([HEADER, change]) + b"%08x %s\n" % (zlib.crc32(bad), bad) + encode_lines([change])
    with pytest.raises(ManifestError):
        parse_journal(data)
    salvaged = parse_journal(data, salvage=True)
    assert (salvaged.header, salvaged.ops) == (HEADER, (change,))
    assert has_lost_lines(data, salvaged)


@pytest.mark.parametrize(
    ("data", "has_lost"),
    [
        (b"", False),
        (encode_lines([HEADER, HEADER])[:-5], False),
        (encode_lines([HEADER]) + b"torn", False),
        (encode_lines([HEADER]) + b"broken\n" + encode_lines([HEADER]), True),
        (b"broken\n", True),
        (b"torn", False),
    ],
)
def test_what_is_lost_in_the_middle(data: bytes, has_lost: bool) -> None:
    """Lines behind one that is broken were flushed once; behind a torn end there is nothing."""
    assert has_lost_lines(data, parse_journal(data)) is has_lost

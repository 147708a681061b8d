"""The folders' stamps: which hold, and for how long."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.archiver.folder_cache import (
    MIN_PART,
    FolderStamp,
    FolderStamps,
    encode_stamps,
    is_settled,
    is_worth_it,
    parse_stamps,
    part_of,
)
from floradl.storage.base import COARSE_NS, FileId
from floradl.storage.local.folder_dates import FolderDate

MANIFEST = FileId(1000, 1_795_487_412_000_000_000, 77)
NUMBERS = st.integers(0, 2**53)
STAMPS = st.dictionaries(
    st.text(), st.builds(FolderStamp, st.text(), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
)
SOME: FolderStamps = {
    "run_1": FolderStamp("w/p/run_1", 1, 2, 3, 4, 5),
    "run_2": FolderStamp("w/p/run_2", 6, 7, 8, 9, 10),
}


def encoded(stamps: FolderStamps) -> bytes:
    """The file."""
    return b"".join(encode_stamps(stamps, "9f0c", MANIFEST))


@given(STAMPS)
def test_they_come_back_in_their_order(stamps: FolderStamps) -> None:
    """What was written is read, the longest unlooked-at first as it was."""
    again = parse_stamps(encoded(stamps), "9f0c", MANIFEST, ())
    assert list(again.items()) == list(stamps.items())


@pytest.mark.parametrize(
    ("archive_id", "manifest"),
    [
        ("other", MANIFEST),
        ("9f0c", MANIFEST._replace(size_bytes=1001)),
        ("9f0c", MANIFEST._replace(mtime_ns=MANIFEST.mtime_ns - 1)),
        ("9f0c", MANIFEST._replace(inode=78)),
    ],
)
def test_they_are_of_one_manifest(archive_id: str, manifest: FileId) -> None:
    """With any other `manifest.json` than the one they were made for, none holds."""
    assert parse_stamps(encoded(SOME), archive_id, manifest, ()) == {}


def test_a_changed_run_has_none() -> None:
    """What was recorded since ends the stamp of that run, and of no other."""
    assert parse_stamps(encoded(SOME), "9f0c", MANIFEST, {"run_1", "run_3"}) == {"run_2": SOME["run_2"]}


@given(st.data())
def test_a_damaged_file_has_none(data: st.DataObject) -> None:
    """Cut anywhere, or with another byte anywhere, no stamp is believed; and it is no error."""
    whole = encoded(SOME)
    at = data.draw(st.integers(0, len(whole) - 1))
    assert parse_stamps(whole[:at], "9f0c", MANIFEST, ()) == {}
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    assert parse_stamps(whole[:at] + bytes([other]) + whole[at + 1 :], "9f0c", MANIFEST, ()) == {}


@given(st.binary())
def test_a_foreign_file_has_none(data: bytes) -> None:
    """Whatever stands there, it is no error."""
    assert parse_stamps(data, "9f0c", MANIFEST, ()) == {}


def test_a_newer_file_has_none() -> None:
    """A form that this version does not know is not read, nor is one that only looks like it."""
    head, body = encoded(SOME).split(b"\n")
    newer = json.dumps(json.loads(head) | {"version": 2}).encode()
    assert parse_stamps(newer + b"\n" + body, "9f0c", MANIFEST, ()) == {}
    body = b'{"run_1": ["w/p/run_1", 1, 2, 3, 4, "5"]}'
    odd = json.dumps(json.loads(head) | {"crc": zlib.crc32(body)}).encode()
    assert parse_stamps(odd + b"\n" + body, "9f0c", MANIFEST, ()) == {}


@pytest.mark.parametrize("ages_ns", [(0, 10), (10, 0), (1, 1)])
def test_a_date_must_be_older_than_the_coarsest_clock_tells(ages_ns: tuple[int, int]) -> None:
    """Neither of a folder's dates may be so young that a later change could have the same."""
    dates = [1000 * COARSE_NS - age_ns for age_ns in ages_ns]
    date = FolderDate(dates[0], dates[1], 77)
    assert not is_settled(date, max(dates) + COARSE_NS)
    assert not is_settled(date, max(dates))
    assert not is_settled(date, min(dates) - 1)
    assert is_settled(date, max(dates) + COARSE_NS + 1)


@given(st.integers(0, 10_000_000))
def test_every_run_has_its_turn(runs: int) -> None:
    """Each session looks into so many that eight see all, and never into fewer than a small archive has."""
    assert part_of(runs) >= MIN_PART
    assert part_of(runs) * 8 >= runs
    assert part_of(runs) <= max(MIN_PART, runs // 8 + 1)
    assert is_worth_it(runs) == (runs > MIN_PART)

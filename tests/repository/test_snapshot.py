"""The forms of `manifest.json` and `SHA256SUMS`: what is kept, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from floradl.errors import ManifestError
from floradl.repository.snapshot import (
    encode_checksums,
    encode_snapshot,
    parse_counted,
    parse_run,
    parse_sizes,
    parse_snapshot,
)

HEAD = {"format": "floradl-manifest", "version": 1, "archive_id": "9f0c", "created_at": "then"}


@pytest.mark.parametrize(
    "more", [{}, {"base_url": "u"}, {"note": {"by": [1]}}, {"base_url": 5, "note": None}]
)
def test_keys_come_back_as_they_were(more: dict[str, Any]) -> None:
    """Whether or not there are keys that nobody here knows, each is kept, and none is made up."""
    head = HEAD | more
    data = json.dumps(head | {"scans": [{"a": 1}], "runs": {"run_1": {"b": 2}}}).encode()
    snapshot = parse_snapshot(data)
    assert snapshot.head == head
    again = json.loads(
        b"".join(encode_snapshot(snapshot.head, snapshot.scans, snapshot.runs, snapshot.kinds))
    )
    assert again == json.loads(data)


def test_a_snapshot_without_scans_and_runs() -> None:
    """Both may be absent; two such snapshots share nothing."""
    first, second = (parse_snapshot(json.dumps(HEAD).encode()) for _ in range(2))
    first.runs["run_1"] = msgspec.Raw(b"{}")
    first.scans.append({})
    assert (second.runs, second.scans) == ({}, [])


def test_sizes_of_a_run() -> None:
    """Each file of the entry with its size; what has no file is left out."""
    run = {"outputs": {"a": {"file": "a.png", "size_bytes": 5}, "b": {"state": "failed"}, "c": {"file": "c"}}}
    assert parse_sizes("run_1", msgspec.Raw(json.dumps(run).encode())) == {"a.png": 5, "c": None}


@pytest.mark.parametrize("file", ["../x", "a/b", "", "/etc/passwd", ".x", "a\n"])
def test_a_file_elsewhere_is_no_file_of_the_run(file: str) -> None:
    """No entry leads anyone out of the run's folder."""
    run = msgspec.Raw(json.dumps({"outputs": {"a": {"file": file, "size_bytes": 5}}}).encode())
    with pytest.raises(ManifestError, match="a path or a hash that is none"):
        parse_sizes("run_1", run)


@pytest.mark.parametrize("entry", [b"5", b"{", b'{"outputs": []}', b'{"outputs": {"a": {"file": "\xff"}}}'])
def test_an_entry_that_cannot_be_read(entry: bytes) -> None:
    """It is told as such, whatever is wanted of it."""
    for parse in (parse_sizes, parse_counted, parse_run):
        with pytest.raises(ManifestError, match=r"manifest\.json cannot be read: the entry of run 'run_1'"):
            parse("run_1", msgspec.Raw(entry))
    with pytest.raises(ManifestError, match=r"manifest\.json cannot be read: the entry of run 'run_1'"):
        list(encode_checksums([("run_1", msgspec.Raw(entry))]))

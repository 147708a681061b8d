"""A fault file gives the faults that it says, or one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from floradl.simulator import (
    Edit,
    Fault,
    FaultFileError,
    load_faults,
    parse_faults,
)


def test_fault_file(tmp_path: Path) -> None:
    """Every field can be written in JSON, headers as an object or as pairs."""
    path = tmp_path / "faults.json"
    path.write_text(
        """[{"match": "*/a", "on": [1, 2], "query": "q", "status": 200, "headers": {"A": "1"}, "body": "é",
            "content_type": "x/y", "cut_after": 1, "stall_after": 2, "stall_s": 0.5, "drip": [3, 0.1],
            "no_length": true, "chunked": true, "length_delta": -1, "range": "wrong", "etag": "e",
            "redirect": "/b", "delay_s": 1, "drop": true, "repeat_cursor": true,
            "edit": {"insert": 1, "insert_status": "failed", "delete": ["a"], "delete_listed": [0],
                     "start": ["b"], "finish": ["c"], "fail": ["d"],
                     "insert_techniques": 2, "insert_assets": 3, "delete_assets": ["e"],
                     "delete_listed_assets": [1], "finish_assets": ["f"], "edit_canvas": ["g"],
                     "hide": ["h"]}},
           {"match": "*", "headers": [["A", "1"], ["A", "2"]], "on": null}]""",
        encoding="utf-8",
    )
    edit = Edit(1, "failed", ("a",), (0,), ("b",), ("c",), ("d",), 2, 3, ("e",), (1,), ("f",), ("g",), ("h",))
    first = Fault(
        "*/a",
        (1, 2),
        "q",
        200,
        (("A", "1"),),
        "é".encode(),
        "x/y",
        1,
        2,
        0.5,
        (3, 0.1),
        no_length=True,
        chunked=True,
        length_delta=-1,
        range="wrong",
        etag="e",
        redirect="/b",
        delay_s=1,
        drop=True,
        repeat_cursor=True,
        edit=edit,
    )
    assert load_faults(path) == [first, Fault("*", headers=(("A", "1"), ("A", "2")))]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("{}", "a list of faults is expected"),
        ("[3]", "fault 1: an object is expected"),
        ('[{"match": "*"}, {"on": [1]}]', "fault 2: match is missing"),
        ('[{"match": "*", "status": "503"}]', "fault 1: status: an integer is expected"),
        ('[{"match": "*", "status": true}]', "fault 1: status: an integer is expected"),
        ('[{"match": "*", "colour": 1}]', "fault 1: unknown field 'colour'"),
        ('[{"match": "*", "drop": 1}]', "fault 1: drop: true or false is expected"),
        ('[{"match": "*", "drip": [1]}]', "fault 1: drip: a pair is expected"),
        ('[{"match": "*", "drip": [0, 1]}]', "fault 1: drip: pieces must be one byte or more"),
        ('[{"match": "*", "on": 1}]', "fault 1: on: a list is expected"),
        ('[{"match": "*", "range": "up"}]', "fault 1: range must be"),
        ('[{"match": "*", "edit": {"insert": "many"}}]', "fault 1: edit: insert: an integer is expected"),
        ('[{"match": "*", "edit": {"insert_status": "odd"}}]', "fault 1: edit: insert_status: 'odd' is not"),
    ],
)
def test_bad_faults_are_explained(text: str, why: str) -> None:
    """What is wrong with a fault file is said in one line that names the place."""
    with pytest.raises(FaultFileError) as caught:
        parse_faults(text)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)


def test_missing_fault_file_is_explained(tmp_path: Path) -> None:
    """A file that is not there, or is no text, is named."""
    with pytest.raises(FaultFileError, match=r"none\.json"):
        load_faults(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FaultFileError, match=r"bytes\.json"):
        load_faults(tmp_path / "bytes.json")

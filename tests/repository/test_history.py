"""What a project or workspace was called before: kept as the API wrote it, without growing for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.raw_json import fields_of
from floradl.errors import ApiAnswerError
from floradl.repository.history import (
    MAX_ACCOUNTS,
    MAX_FORMER_FIELDS,
    MAX_VALUES,
    History,
    history_bytes,
    read_history,
    with_record,
)

NOW_MS = 1_795_500_000_000
NIGHT_MS = 86_400_000


def written(*records: bytes, first: bytes | None = None) -> bytes:
    """The file after these records came, a night apart, onto that of `first`, if it is there."""
    raw = first
    for night, record in enumerate(records):
        known = None if raw is None else read_history(raw)
        assert raw is None or known is not None
        news = with_record(known, record, NOW_MS + night * NIGHT_MS)
        raw = raw if news is None else history_bytes(news)
    assert raw is not None
    return raw


def ours(raw: bytes) -> dict[str, Any]:
    """Our key of a file, as any program would read it."""
    value: dict[str, Any] = json.loads(raw)["floradl"]
    return value


def record_of(**fields: object) -> bytes:
    """A record as the API may send it."""
    return json.dumps({"project_id": "prj_a"} | fields).encode()


def test_the_form() -> None:
    """The newest values stand at the top as the API wrote them, and what they were below our key."""
    raw = written(
        b'{"project_id":"prj_a", "name":"Autumn","size": 1.50}',
        b'{"project_id":"prj_a", "name":"Caf\\u00e9", "size":1e2}',
    )
    assert raw == (
        b'{\n  "project_id": "prj_a",\n  "name": "Caf\\u00e9",\n  "size": 1e2,\n  "floradl": {\n'
        b'    "format": "floradl-names",\n    "version": 1,\n    "first_seen_at": "2026-11-24T06:00:00Z",\n'
        b'    "history": [\n'
        b'      {"until":"2026-11-25T06:00:00Z","was":{"name":"Autumn","size":1.50}}\n    ]\n  }\n}\n'
    )


def test_what_says_nothing_new_is_no_news() -> None:
    """The same again, in another layout, or with fewer fields, changes nothing."""
    known = read_history(written(b'{"name": "A", "tags": {"x": [1, 2], "y": null}}'))
    for same in (
        b'{"name": "A", "tags": {"x": [1, 2], "y": null}}',
        b' {"tags":{"y":null,"x":[1,2]},"name":"\\u0041"} ',
        b'{"name": "A"}',
        b"{}",
    ):
        assert with_record(known, same, NOW_MS) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"1", b"true"),
        (b"1", b'"1"'),
        (b"null", b"0"),
        (b"9007199254740993", b"9007199254740992"),
        (b"123456789012345678901234567890", b"123456789012345678901234567891"),
        (b"[1]", b"[1,1]"),
        (b'{"a": 1}', b'{"a": null}'),
        (b'"a"', b"null"),
        (b"[1e999]", b"[1e998]"),
    ],
    ids=lambda value: value[:20].decode(),
)
def test_every_other_value_is_news(before: bytes, after: bytes) -> None:
    """Values that differ in kind or in one digit are different, also where no double holds them."""
    history = read_history(written(b'{"x": %b}' % before, b'{"x": %b}' % after))
    assert history is not None
    assert history.fields["x"] == after
    assert [bytes(past.was["x"]) for past in history.history] == [before]


def test_values_of_any_depth() -> None:
    """However deep a value is, it is compared, or taken for another, or refused; nothing else comes out."""
    refused = 0
    for depth in (*range(1, 1500), 200_000):
        value = b"[" * depth + b"]" * depth
        try:
            known = with_record(None, b'{"x": %b}' % value, NOW_MS)
            assert with_record(known, b'{"x": %b }' % value, NOW_MS) is None
            other = b'{"x": [%b]}' % value[1:-1].replace(b"[]", b"[1]")
            assert with_record(known, other, NOW_MS) or depth == 1
        except ApiAnswerError:
            refused += 1
    assert refused


def test_a_field_that_goes_stays_and_one_that_comes_is_taken() -> None:
    """A record that lacks a field says nothing of it; a new one is taken without a past."""
    raw = written(record_of(name="A", origin="app"), record_of(name="A", colour="red"))
    assert {key: value for key, value in json.loads(raw).items() if key != "floradl"} == {
        "project_id": "prj_a", "name": "A", "colour": "red", "origin": "app",
    }  # fmt: skip
    assert "history" not in ours(raw)


def test_a_plain_record_is_the_first_state() -> None:
    """What an older floradl kept becomes the past of the first change, and has no date of its own."""
    plain = b'{"project_id": "prj_a", "name": "Autumn", "later": [1]}'
    assert written(plain, first=plain) == plain
    raw = written(record_of(name="Winter"), first=plain)
    assert json.loads(raw)["name"] == "Winter"
    assert json.loads(raw)["later"] == [1]
    assert ours(raw) == {
        "format": "floradl-names",
        "version": 1,
        "history": [{"until": "2026-11-24T06:00:00Z", "was": {"name": "Autumn"}}],
    }


@pytest.mark.parametrize("value", [b'"theirs"', b'{"format": "theirs", "history": 5}', b"[1]", b"null"])
def test_the_apis_own_field_of_our_name(value: bytes) -> None:
    """A field `floradl` of the API's is kept inside ours, and has its own past."""
    first = b'{"name": "A", "floradl": %b}' % value
    raw = written(first, first, b'{"name": "A", "floradl": 7}')
    assert ours(raw)["field"] == 7
    assert ours(raw)["history"][0]["was"] == {"floradl": json.loads(value)}
    assert written(b'{"floradl": 7}', first=raw) == raw


def test_unknown_keys_of_a_newer_floradl_survive() -> None:
    """What a newer floradl of the same version wrote beside ours is written again."""
    raw = written(record_of(name="A")).replace(b'"version": 1,', b'"version": 1, "later": {"x": [1]},')
    raw = written(record_of(name="B"), first=raw)
    assert ours(raw)["later"] == {"x": [1]}
    assert ours(raw)["history"][0]["was"] == {"name": "A"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"words",
        b"[1]",
        b'{"name": "A"',
        b'{"name": "\xff"}',
        b'{"floradl": {"format": "floradl-names", "version": 2}}',
        b'{"floradl": {"format": "floradl-names"}}',
        b'{"floradl": {"format": "floradl-names", "version": 1, "history": [{"until": 3}]}}',
        b"[" * 100_000,
    ],
    ids=lambda raw: raw[:60].decode(errors="replace"),
)
def test_broken_and_newer_files(raw: bytes) -> None:
    """A file that is not understood is none of ours."""
    assert read_history(raw) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b'"a"', b'{"name": "\xff"}', b"{"])
def test_records_that_are_none(raw: bytes) -> None:
    """What is no JSON object in UTF-8 is no record."""
    with pytest.raises(ApiAnswerError):
        fields_of(raw)


def test_half_a_surrogate_pair() -> None:
    """Half a pair is kept as it came, also beside a key that stands there twice, and reads as U+FFFD."""
    raw = written(b'{"x": 1, "name": "cut \\ud83d", "y": 2}')
    assert b'"name": "cut \\ud83d"' in raw
    known = read_history(raw)
    assert known is not None
    assert known.text("name") == "cut \ufffd"
    assert fields_of(b'{"a": "\\ud83d", "b": "x", "a": 3}') == {"a": b"3", "b": b'"x"'}


def test_texts() -> None:
    """A field that is missing, or no text, has none."""
    known = History({"name": b"4", "id": b'"prj"', "size": b"1e999"})
    assert [known.text(key) for key in ("name", "id", "size", "other")] == ["", "prj", "", ""]


def test_accounts_that_saw_it() -> None:
    """Each account is with_record once, the last of them if they are many."""
    known = with_record(None, record_of(), NOW_MS, account="0")
    assert known is not None
    assert known.seen_by == ("0",)
    assert with_record(known, record_of(), NOW_MS, account="0") is None
    for number in range(1, MAX_ACCOUNTS + 10):
        news = with_record(known, record_of(), NOW_MS, account=str(number))
        assert news is not None
        known = read_history(history_bytes(news))
    assert known is not None
    assert known.seen_by == tuple(map(str, range(10, MAX_ACCOUNTS + 10)))


def test_a_date_that_changes_every_night_does_not_grow_the_file() -> None:
    """Of nightly dates the last ones stay; no name is lost however old it is."""
    names = [f"Name {night // 50}" for night in range(1000)]
    raw = written(*(record_of(name=name, last_modified=night) for night, name in enumerate(names)))
    history = ours(raw)["history"]
    dates = [past["was"]["last_modified"] for past in history if "last_modified" in past["was"]]
    assert dates == list(range(999 - MAX_VALUES, 999))
    kept = [past["was"]["name"] for past in history if "name" in past["was"]]
    assert kept == list(dict.fromkeys(names))[:-1]
    assert [past["until"] for past in history] == sorted(past["until"] for past in history)


def test_a_name_that_alternates() -> None:
    """Two names in turn are kept as often as any field, and both are there in the end."""
    raw = written(record_of(name="Rare"), *(record_of(name=f"Name {night % 2}") for night in range(200)))
    names = [past["was"]["name"] for past in ours(raw)["history"]]
    assert names == ["Rare", *(["Name 1", "Name 0"] * MAX_VALUES)[:MAX_VALUES]][::1]


def test_limits_for_an_api_that_makes_things_up() -> None:
    """Large values and ever new fields find an end; the newest are kept."""
    large = ["x" * 400_000 + str(night) for night in range(6)]
    raw = written(*(record_of(name=f"Name {night}", blob=blob) for night, blob in enumerate(large)))
    history = ours(raw)["history"]
    assert [past["was"]["name"] for past in history] == [f"Name {night}" for night in range(5)]
    assert [past["was"]["blob"][-1] for past in history if "blob" in past["was"]] == ["3", "4"]
    raw = written(*(record_of(**{f"field_{night}": night}) for night in range(150)))
    fields = json.loads(raw).keys() - {"project_id", "floradl", "field_149"}
    assert len(fields) <= MAX_FORMER_FIELDS
    assert "field_148" in fields


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
RECORDS = st.dictionaries(st.sampled_from(["name", "floradl", "x", "y", ""]), VALUES)


@given(st.lists(RECORDS, min_size=1, max_size=12))
def test_nothing_is_lost(records: list[dict[str, object]]) -> None:
    """Whatever came: the newest is at the top, and each value that a field had before is in the history."""
    raw = written(*(json.dumps(record).encode() for record in records))
    top, inner = json.loads(raw), ours(raw)
    top.pop("floradl")
    if "field" in inner:
        top["floradl"] = inner["field"]
    for name, value in records[-1].items():
        assert json.dumps(top[name], sort_keys=True) == json.dumps(value, sort_keys=True)
    told = [top, *(past["was"] for past in inner.get("history", []))]
    for record in records:
        for name, value in record.items():
            known = [json.dumps(state[name], sort_keys=True) for state in told if name in state]
            assert json.dumps(value, sort_keys=True) in known

"""Records from outside: read with tolerance, kept to the byte, and never fatal to the run beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floradl.api.models import Filters, Generation, Output, Scope, is_http
from floradl.api.raw_json import merge_records
from floradl.api.records import (
    announced_size,
    parse_asset,
    parse_generation,
    parse_node,
    parse_outputs,
    parse_record,
)
from floradl.clock import MAX_MS
from floradl.constants import Kind, Source
from floradl.errors import ApiAnswerError

BARE = {"run_id": "run_1", "status": "completed"}
FULL: dict[str, Any] = BARE | {
    "generation_id": "run_1",
    "workspace_id": "ws_a",
    "project_id": "prj_b",
    "created_at": 1763949000000,
    "completed_at": 1763949012000,
    "charged_cost": 0.004,
    "progress": 100,
    "model": {"model_id": "t2i-flux-2-pro"},
    "outputs": [{"output_id": "output_1", "type": "imageUrl", "url": "https://media.flora.ai/a.png"}],
    "poll_url": "https://app.flora.ai/api/v1/runs/run_1",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def parsed(fields: Mapping[str, Any]) -> Generation:
    """The run that a record with these fields is read as."""
    return parse_generation(json.dumps(fields).encode())


def with_value(name: str, value: str) -> Generation:
    """The run of a record in which a field is written just so."""
    return parse_generation(f'{{"run_id": "run_1", "status": "completed", "{name}": {value}}}'.encode())


def item(output_id: object, url: object = "https://h/x", kind: object = "imageUrl") -> dict[str, object]:
    """One element of `outputs`."""
    return {"output_id": output_id, "type": kind, "url": url}


def test_a_full_record() -> None:
    """Every documented field arrives where it belongs, and the record's bytes stay beside them."""
    raw = json.dumps(FULL, indent=1).encode()
    assert parse_generation(raw) == Generation(
        run_id="run_1",
        workspace_id="ws_a",
        project_id="prj_b",
        status="completed",
        created_at_ms=1763949000000,
        completed_at_ms=1763949012000,
        charged_cost=0.004,
        model_id="t2i-flux-2-pro",
        outputs=(Output("output_1", "imageUrl", "https://media.flora.ai/a.png"),),
        poll_url="https://app.flora.ai/api/v1/runs/run_1",
        progress=100,
        raw=raw,
    )


def test_a_bare_record() -> None:
    """A run needs nothing but an id and a status."""
    run = parsed(BARE)
    assert (run.workspace_id, run.project_id) == ("", "")
    assert run.outputs is None
    assert run.done_at_ms is None


def test_the_other_name_of_the_id() -> None:
    """A record that has only `generation_id` is the run of that id."""
    assert parsed({"generation_id": "run_9", "status": "pending"}).run_id == "run_9"


@pytest.mark.parametrize(
    "value", [None, True, 7, -1.5, "", "text", [], {}, [1], {"a": 1}, [None], [[]]], ids=repr
)
def test_a_field_of_the_wrong_type_costs_only_itself(value: object) -> None:
    """Whatever stands in an optional field, the run is read and the other fields are right."""
    whole = parsed(FULL)
    names = {"created_at": "created_at_ms", "completed_at": "completed_at_ms", "model": "model_id"}
    for name in FULL.keys() - {"run_id", "status"}:
        run = parsed(FULL | {name: value})
        assert run.raw == json.dumps(FULL | {name: value}).encode()
        for other in FULL.keys() - {name, "generation_id"}:
            assert getattr(run, names.get(other, other)) == getattr(whole, names.get(other, other))


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON), st.dictionaries(st.text(max_size=5), JSON))
def test_no_record_breaks_the_reader(known: dict[str, Any], extra: dict[str, Any]) -> None:
    """Any JSON object is a run or an `ApiAnswerError`, and what is read can be written to the manifest."""
    raw = json.dumps(extra | known).encode()
    fields = extra | known
    run_id, status = fields.get("run_id") or fields.get("generation_id"), fields.get("status")
    if not (isinstance(run_id, str) and isinstance(status, str) and status):
        with pytest.raises(ApiAnswerError):
            parse_generation(raw)
        return
    run = parse_generation(raw)
    assert run.raw == raw
    written = msgspec.json.encode(
        [run.run_id, run.charged_cost, run.model_id, run.created_at_ms, run.outputs]
    )
    kinds = tuple[str, float | None, str | None, int | None, list[Output] | None]
    msgspec.json.decode(written, type=kinds)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"null", b"[]", b"7", b'"run_1"', b"{", b"<html>", b"\xff\xfe", b"{}",
        b'{"run_id": "r"}', b'{"status": "completed"}', b'{"run_id": "", "status": "completed"}',
        b'{"run_id": 5, "status": "completed"}', b'{"run_id": "r", "status": null}',
        b'{"run_id": "r\xff", "status": "completed"}', b'{"run_id": "r", "status": "completed", "\xff": 1}',
        b'{"run_id": "r", "status": "completed", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"run_id": "r", "status": "completed", "x": ' + b'{"a":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:50]),
)  # fmt: skip
def test_what_is_no_record(raw: bytes) -> None:
    """What cannot be a run is an `ApiAnswerError`, whether alone or laid over a known record."""
    with pytest.raises(ApiAnswerError):
        parse_generation(raw)
    if not raw.startswith(b"{") or b"\xff" in raw or len(raw) > 1000:
        with pytest.raises(ApiAnswerError):
            parse_generation(raw, known=parsed(FULL))


def test_a_message_about_a_bad_record_is_fit_for_a_terminal() -> None:
    """A run without a status is named, without its control characters and not at full length."""
    with pytest.raises(ApiAnswerError, match="run_x") as caught:
        parsed({"run_id": "run_x\x1b[2J\n" + "y" * 5000})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("written", "moment_ms"),
    [
        ("1763949000000", 1763949000000),
        ("1763949000", 1763949000000),
        ("1763949000.25", 1763949000250),
        ("1763949000000.9", 1763949000000),
        ("1.763949e12", 1763949000000),
        ("99999999999", 99999999999000),
        ("100000000000", 100000000000),
        (str(MAX_MS), MAX_MS),
        (str(MAX_MS + 1), None),
        ("1", 1000),
        ("0", None),
        ("-5", None),
        ("1e300", None),
        ("1e999", None),
        ("9" * 400, None),
        ("true", None),
        ("null", None),
        ('"1763949000000"', None),
        ('"2026-11-23T02:30:00Z"', None),
        ("{}", None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_moments(written: str, moment_ms: int | None) -> None:
    """Values below 10^11 are seconds, others milliseconds; what is no moment up to 9999 is none."""
    assert with_value("created_at", written).created_at_ms == moment_ms
    assert with_value("completed_at", written).completed_at_ms == moment_ms


@pytest.mark.parametrize(
    ("created", "completed", "done_ms"),
    [(1_700_000_000_000, 1_700_000_009_000, 1_700_000_009_000), (1_700_000_000_000, None, 1_700_000_000_000)],
)
def test_done_at(created: int, completed: int | None, done_ms: int) -> None:
    """A run without a completion time counts as done when it was created."""
    assert parsed(BARE | {"created_at": created, "completed_at": completed}).done_at_ms == done_ms


@pytest.mark.parametrize(
    ("written", "cost"),
    [
        ("0.004", 0.004),
        ("0", 0),
        ("3", 3),
        ("-1", -1),
        ("9" * 15, 1e15),
        ("9" * 16, None),
        ("1e308", None),
        ("9" * 400, None),
        ("1e999", None),
        ("-1e999", None),
        ("NaN", None),
        ("Infinity", None),
        ("true", None),
        ('"0.004"', None),
        ("null", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_costs(written: str, cost: float | None) -> None:
    """A cost is a number that sums and JSON can hold; anything else is no cost."""
    assert with_value("charged_cost", written).charged_cost == (None if cost is None else pytest.approx(cost))


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"a\ud83db", "a\ufffdb"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\uFFFD\u00e9", "\ufffd\xe9"),
    ],
)
def test_half_an_emoji_costs_one_character(escaped: str, text: str) -> None:
    """A string cut in the middle of a surrogate pair is read with U+FFFD there, alone or merged."""
    record = f'{{"run_id": "run_1", "status": "s", "outputs": [{{"type": "text", "url": "{escaped}"}}]}}'
    run = parse_generation(record.encode())
    assert run.raw == record.encode()
    assert run.outputs == (Output("output", "text", text),)
    for known in (run, parsed(FULL)):
        merged = parse_generation(record.encode(), known=known)
        assert merged.outputs == run.outputs
        msgspec.json.decode(merged.raw)


def test_what_a_new_record_lacks_comes_from_the_old() -> None:
    """`GET /runs/{run_id}` names neither workspace, project nor model; what it does name counts."""
    newer = BARE | {"charged_cost": 0.5, "outputs": []}
    run = parse_generation(json.dumps(newer).encode(), known=parsed(FULL | {"status": "running", "x": [1.0]}))
    assert (run.workspace_id, run.project_id, run.model_id) == ("ws_a", "prj_b", "t2i-flux-2-pro")
    assert (run.status, run.charged_cost, run.outputs) == ("completed", 0.5, ())
    assert b'"x":[1.0]' in run.raw


@pytest.mark.parametrize(
    "value",
    ["1.0", "1e2", "1E+2", "0.1000", "12345678901234567890123", "[ 1.0 ]", r'"\u0041\/"', "{ }", "-0"],
)
def test_merged_values_keep_their_spelling(value: str) -> None:
    """A merged record has each value as the API wrote it."""
    older, newer = f'{{"a": {value}, "b": 1}}'.encode(), f'{{"b": {value}}}'.encode()
    assert merge_records(older, newer) == f'{{"a":{value},"b":{value}}}'.encode()


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.text(), JSON), st.dictionaries(st.text(), JSON))
def test_merging_is_laying_over(older: dict[str, Any], newer: dict[str, Any]) -> None:
    """Every field of the newer record that says something wins, every other stays."""
    older, newer = (json.loads(msgspec.json.encode(fields)) for fields in (older, newer))
    merged = merge_records(msgspec.json.encode(older), msgspec.json.encode(newer))
    said = {name: value for name, value in newer.items() if value is not None or name not in older}
    assert json.loads(merged) == older | said


def test_a_null_takes_nothing_away() -> None:
    """A field that a later answer has as null keeps what was known: a run's place depends on it."""
    merged = merge_records(b'{"project_id":"prj_a","x":null}', b'{"project_id":null,"x":1,"y":null}')
    assert merged == b'{"project_id":"prj_a","x":1,"y":null}'


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a", "a#2"]),
        (["a", "a", "a"], ["a", "a#2", "a#3"]),
        (["a", "a", "a#2"], ["a", "a#3", "a#2"]),
        (["a#2", "a", "a"], ["a#2", "a", "a#3"]),
        (["a", "a#2", "a", "a#2"], ["a", "a#2", "a#3", "a#2#2"]),
        (["a", "A"], ["a", "A"]),
        ([None, None], ["output", "output#2"]),
        ([5, ""], ["output", "output#2"]),
        (["output", None], ["output", "output#2"]),
    ],
    ids=repr,
)
def test_keys(ids: list[object], keys: list[str]) -> None:
    """An id that one run uses again gets the next free number; one that occurs once keeps its name."""
    outputs = parse_outputs([item(name) for name in ids])
    assert outputs is not None
    assert [output.key for output in outputs] == keys


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "a#2#2", "b", ""])))
def test_keys_are_unique_and_stable(ids: list[str]) -> None:
    """No two outputs of a run share a key, and ids that occur once keep theirs."""
    outputs = parse_outputs([item(name) for name in ids]) or ()
    keys = [output.key for output in outputs]
    assert len(set(keys)) == len(ids)
    assert all(key == name for key, name in zip(keys, ids, strict=True) if name and ids.count(name) == 1)


@pytest.mark.parametrize("value", [None, {}, "x", 5, True], ids=repr)
def test_outputs_that_are_no_list(value: object) -> None:
    """A run whose `outputs` is no list has outputs that nobody knows yet, which is not none."""
    assert parse_outputs(value) is None


@pytest.mark.parametrize("value", [None, 5, "x", [], {}], ids=repr)
def test_an_output_that_is_no_object(value: object) -> None:
    """An element that is not what it should be is an output without a URL, so that it is reported."""
    assert parse_outputs([value, item("b")]) == (
        Output("output", "", None),
        Output("b", "imageUrl", "https://h/x"),
    )


@pytest.mark.parametrize(
    ("kind", "value", "is_text"),
    [
        ("text", "hello", True),
        ("text", "https://example.com/", True),
        ("text", "", True),
        ("imageUrl", "https://h/x", False),
        ("imageUrl", "not a URL", False),
        ("documentUrl", "", False),
        ("modelUrl", "https://h/x.glb", False),
        ("modelUrl", "HTTP://h/x.glb", False),
        ("noteCard", "a note", True),
        ("noteCard", "ftp://h/x", True),
        ("noteCard", "", True),
        ("noteCard", None, False),
        ("", "https://h/x", False),
        (None, "a note", True),
        (7, None, False),
    ],
)
def test_what_is_text(kind: object, value: object, is_text: bool) -> None:
    """A `text` is its own content whatever it looks like; an unknown type is text unless it is a URL."""
    outputs = parse_outputs([item("a", value, kind)])
    assert outputs is not None
    assert outputs[0].is_text is is_text
    assert outputs[0].value == value


@pytest.mark.parametrize(
    ("value", "looks_so"),
    [
        ("https://h", True),
        ("HtTpS://h", True),
        ("http://", True),
        (" https://h", False),
        ("httpx://h", False),
    ],
)
def test_is_http(value: str, looks_so: bool) -> None:
    """Only the two schemes of the web count, in any case."""
    assert is_http(value) is looks_so


@pytest.mark.parametrize(
    ("scope", "shown", "held"),
    [
        (Scope(), "the whole account", {("ws_a", "prj_b"), ("ws_a", "prj_c"), ("ws_x", "prj_y"), ("", "")}),
        (Scope(workspace_id="ws_a"), "ws_a", {("ws_a", "prj_b"), ("ws_a", "prj_c")}),
        (Scope(project_id="prj_b"), "prj_b", {("ws_a", "prj_b")}),
        (Scope("ws_a", "prj_c"), "ws_a/prj_c", {("ws_a", "prj_c")}),
        (Scope("ws_x", "prj_b"), "ws_x/prj_b", set()),
    ],
)
def test_scope(scope: Scope, shown: str, held: set[tuple[str, str]]) -> None:
    """A scope holds exactly the runs of its workspace and project, and says what it is."""
    places = [("ws_a", "prj_b"), ("ws_a", "prj_c"), ("ws_x", "prj_y"), ("", "")]
    assert {place for place in places if scope.holds(*place)} == held
    assert str(scope) == shown


@pytest.mark.parametrize(
    ("filters", "is_wanted"),
    [
        (Filters(), True),
        (Filters(run_ids=frozenset({"run_1"})), True),
        (Filters(run_ids=frozenset({"run_2"})), False),
        (Filters(models=("t2i-*",)), True),
        (Filters(models=("t2v-*", "*-pro")), True),
        (Filters(models=("T2I-*",)), False),
        (Filters(models=("t2i",)), False),
        (Filters(since_ms=1763949000000), True),
        (Filters(since_ms=1763949000001), False),
        (Filters(until_ms=1763949000001), True),
        (Filters(until_ms=1763949000000), False),
        (Filters(since_ms=1763949000000, until_ms=1763949000001), True),
        (Filters(run_ids=frozenset({"run_1"}), models=("x",)), False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_filters(filters: Filters, is_wanted: bool) -> None:
    """A run is wanted when every filter lets it through; `since` is inclusive, `until` is not."""
    assert filters.wants(parsed(FULL)) is is_wanted
    assert filters.is_empty is (filters == Filters())


@pytest.mark.parametrize(
    ("filters", "is_wanted"),
    [
        (Filters(), True),
        (Filters(models=("*",)), True),
        (Filters(models=("t2i-*",)), False),
        (Filters(since_ms=0), False),
        (Filters(until_ms=MAX_MS), False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_run_without_facts_passes_no_filter_on_them(filters: Filters, is_wanted: bool) -> None:
    """A run without a date or model is not taken for one that fits."""
    assert filters.wants(parsed(BARE)) is is_wanted


@pytest.mark.parametrize(
    ("types", "output_type", "is_wanted"),
    [
        ((), "imageUrl", True),
        ((), "new", True),
        (("text",), "imageUrl", False),
        (("text", "imageUrl"), "imageUrl", True),
    ],
)
def test_type_filter(types: tuple[str, ...], output_type: str, is_wanted: bool) -> None:
    """Without types every output is wanted, with some only theirs; and it is a filter that seals nothing."""
    filters = Filters(types=frozenset(types))
    assert filters.wants_type(output_type) is is_wanted
    assert filters.is_empty is not bool(types)
    assert not Filters(max_runs=1).is_empty


# ------------------------------------------------------------------------------------------- technique runs


@pytest.mark.parametrize(
    ("technique", "expected"),
    [
        ({"technique_id": "tech_1", "name": "Relight"}, ("tech_1", "Relight")),
        ({"technique_id": 5, "name": None}, (None, None)),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_technique(technique: object, expected: tuple[str | None, str | None]) -> None:
    """Which technique a run was made by, where its record says so in a way that can be read."""
    run = parsed(FULL | {"technique": technique})
    assert (run.technique_id, run.technique_name) == expected


# --------------------------------------------------------------------------------------------------- assets

ASSET = {
    "asset_id": "asset_1",
    "workspace_id": "ws_a",
    "project_id": "prj_b",
    "node_id": "node_1",
    "name": "logo.png",
    "content_type": "image/png",
    "size_bytes": 7,
    "status": "ready",
    "url": "https://media.test/logo.png",
    "created_at": 1_700_000_000_000,
    "weight": 3,
}


def asset_of(**more: object) -> Generation:
    """An asset's record with some other fields, read."""
    return parse_asset(json.dumps(ASSET | more).encode())


def test_asset() -> None:
    """An asset is a completed run of no model and no cost, with its file as the one output."""
    asset = asset_of()
    assert asset.outputs == (Output("asset_1", "imageUrl", "https://media.test/logo.png", 7, "image/png"),)
    assert (asset.run_id, asset.kind, asset.status, asset.name) == (
        "asset_1",
        "asset",
        "completed",
        "logo.png",
    )
    assert (asset.workspace_id, asset.project_id, asset.created_at_ms) == ("ws_a", "prj_b", 1_700_000_000_000)
    assert json.loads(asset.raw) == ASSET


@pytest.mark.parametrize(
    ("status", "expected"),
    [("ready", "completed"), ("pending_upload", "pending"), ("failed", "failed"), ("frozen", "frozen")],
)
def test_status_of_an_asset(status: str, expected: str) -> None:
    """What is still being uploaded is open; what nobody knows stays what it is called."""
    assert asset_of(status=status).status == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("image/avif", "imageUrl"),
        ("Video/mp4", "videoUrl"),
        ("audio/mpeg; x=1", "audioUrl"),
        ("application/pdf", "documentUrl"),
        ("", "documentUrl"),
        (None, "documentUrl"),
        ({}, "documentUrl"),
    ],
)
def test_type_of_an_asset(content_type: object, expected: str) -> None:
    """An asset is of the type that an output with such a file has."""
    (output,) = asset_of(content_type=content_type).outputs or ()
    assert output.type == expected


def test_type_that_was_given_at_upload() -> None:
    """It helps where FLORA does not say what the file is."""
    (output,) = asset_of(content_type=None, upload_content_type="video/webm").outputs or ()
    assert output.type == "videoUrl"


@pytest.mark.parametrize("size", [None, 0, -1, True, 1.5, "7", 2**63])
def test_size_that_is_none(size: object) -> None:
    """What no file can have is not held against a file."""
    (output,) = asset_of(size_bytes=size).outputs or ()
    assert output.size_bytes is None


def test_an_asset_without_an_id_has_that_of_its_node() -> None:
    """What lies on a canvas without being an asset of its own is archived too; without any id it is not."""
    assert asset_of(asset_id=None).run_id == "node_1"
    with pytest.raises(ApiAnswerError, match="lacks its asset_id"):
        asset_of(asset_id=None, node_id=None)


@pytest.mark.parametrize("raw", [b"[]", b"{", b"null", b'{"asset_id": "asset_1"}', b'{"status": "ready"}'])
def test_what_is_no_asset(raw: bytes) -> None:
    """A record of another form is refused by itself."""
    with pytest.raises(ApiAnswerError):
        parse_asset(raw)


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        ("2026-11-24T02:30:12Z", 1_795_487_412_000),
        ("2026-11-24T02:30:12.500+00:00", 1_795_487_412_500),
        (1_700_000_000, 1_700_000_000_000),
        ("yesterday", None),
        ("0001-01-01T00:00:00Z", None),
        (None, None),
        (-5, None),
    ],
)
def test_date_of_an_asset(created_at: object, expected: int | None) -> None:
    """One endpoint writes a number, the other ISO 8601."""
    assert asset_of(created_at=created_at).created_at_ms == expected


def test_asset_by_id_is_laid_over_what_is_known() -> None:
    """The endpoint for one asset does not name its project."""
    again = parse_asset(b'{"asset_id": "asset_1", "status": "ready", "url": "https://new"}', known=asset_of())
    assert (again.project_id, again.name) == ("prj_b", "logo.png")
    assert again.outputs == (Output("asset_1", "imageUrl", "https://new", 7, "image/png"),)


def test_record_of_a_kind() -> None:
    """A stored record is read as what it is."""
    assert parse_record(Kind.ASSET, json.dumps(ASSET).encode()).kind is Kind.ASSET
    assert parse_record(Kind.RUN, json.dumps(FULL).encode()).kind is Kind.RUN


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (Source.GENERATIONS, Kind.RUN, "ws_a/prj_b"),
        (Source.TECHNIQUE_RUNS, Kind.RUN, "technique-runs of ws_a/prj_b"),
        (Source.ASSETS, Kind.ASSET, "assets of ws_a/prj_b"),
        (Source.CANVAS, Kind.CANVAS, "canvas of ws_a/prj_b"),
    ],
)
def test_scope_of_a_source(source: Source, kind: Kind, words: str) -> None:
    """The same place may be listed by each source, and says which it is."""
    scope = Scope("ws_a", "prj_b").of(source)
    assert (scope.kind, str(scope)) == (kind, words)
    assert Scope().of(source).of(Source.GENERATIONS) == Scope()


def test_a_node_is_read_like_a_thing_with_one_file() -> None:
    """What it shows is its output, its label its name; an earlier record fills what a newer one lacks."""
    node = parse_node(b'{"node_id": "n1", "type": "text", "url": "words", "label": "Prompt", "width": 3}')
    assert (node.run_id, node.kind, node.name) == ("n1", Kind.CANVAS, "Prompt")
    assert [(output.key, output.type, output.value) for output in node.outputs or ()] == [
        ("n1", "text", "words")
    ]
    again = parse_node(b'{"node_id": "n1", "label": "Later"}', known=node)
    assert (again.name, again.outputs) == ("Later", node.outputs)


@pytest.mark.parametrize("raw", [b"[]", b"7", b"{}", b'{"node_id": ""}', b'{"node_id": 5}', b"nonsense"])
def test_what_is_no_node(raw: bytes) -> None:
    """Without an id there is nothing to tell it by."""
    with pytest.raises(ApiAnswerError):
        parse_node(raw)


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        (1, 1),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (0, None),
        (-1, None),
        (True, None),
        (7.0, None),
        ("7", None),
        (None, None),
    ],
)
def test_announced_sizes(value: object, size_bytes: int | None) -> None:
    """A whole number of bytes that a file can have; anything else announces nothing."""
    assert announced_size(value) == size_bytes

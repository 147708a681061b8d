"""Nonsense from outside: whatever the API answers and whatever manifest.json and the journal hold.

A whole run over it ends in a report or in one of floradl's own errors, writes nothing outside DEST nor at a
place that docs/format.md does not name, and leaves no entry that lies. A run of the API's page that makes
sense is archived, whatever stands beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.errors import FloradlError, ManifestError
from floradl.network.retry import Backoff
from tests.support.archives import manifest
from tests.support.clock import FakeTime
from tests.support.hypothesis_settings import by_day
from tests.support.media import png

API = "https://api.test/api/v1"
MEDIA = "https://media.test/"
EMPTY = b'{"generations": [], "meta": {"next_cursor": null}}'

PLACES = re.compile(
    r"manifest\.json|SHA256SUMS|\.floradl/(lock|holder\.json|journal|partials/[a-z2-7]{32}\.(part|json))"
    r"|[^/]+/(workspace\.json|[^/]+/project\.json)"
    r"|[^/]+/[^/]+/[^/]+/[^/]+"
)
NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*")
CHECKSUM = re.compile(r"([0-9a-f]{64})  ((?:[A-Za-z0-9_][A-Za-z0-9_.~-]*/)+[A-Za-z0-9_][A-Za-z0-9_.~-]*)")

NASTY_IDS = [
    "",
    ".",
    "..",
    "/",
    "../../x",
    "a/b",
    "a\\b",
    "\0",
    "a\0b",
    "\n",
    "con",
    "run",
    "x" * 4000,
    "\U0001f600",
]
IDS = st.sampled_from(NASTY_IDS) | st.text(max_size=6) | st.sampled_from(["run_a", "run_b", "run_c", "run_d"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | IDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
).map(json.dumps)
ODD_TOKENS = ['"\\ud83d"', '"\\udc00x"', "1e999", "-1e999", "9" * 400, "1e-400", "-0.0", '""', '"\\u0000"']
BROKEN_TOKENS = ["NaN", "Infinity", "-Infinity", "[" * 5000 + "]" * 5000, "", "'x'", '"\\q"', "01", '"\n"']
TOKENS = VALUES | st.sampled_from(ODD_TOKENS)
ANY_TOKENS = st.one_of(TOKENS, TOKENS, TOKENS, st.sampled_from(BROKEN_TOKENS))


NOT_FOUND = {"error": {"code": "not_found", "message": "There is no such run."}}
"""FLORA's answer for what it does not have."""


@dataclass
class Record:
    """A run's record as (name, JSON) pairs, so that it may hold what no JSON writer writes."""

    run_id: str
    fields: list[tuple[str, str]]
    files: dict[str, bytes] = field(default_factory=dict)
    is_sane: bool = True

    def text(self) -> str:
        """The record's JSON."""
        return _object(self.fields)


def _object(fields: list[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in fields)}}}"


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A record as the API gives it, in which some things may be odd."""
    run_id, files, outputs = draw(IDS), {}, []
    for number in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(["output_1", "output_2", *NASTY_IDS[1:]]))
        url = f"{MEDIA}{len(run_id)}/{number}.png"
        item = [("output_id", json.dumps(key)), ("type", '"imageUrl"'), ("url", json.dumps(url))]
        outputs.append(item)
        files[url] = png(f"{run_id!a} {number}".encode())
    is_sane = bool(run_id)
    for _ in range(draw(st.integers(0, 2)) if outputs else 0):
        is_sane = False
        _mutate(draw, draw(st.sampled_from(outputs)))
    listed = ", ".join(map(_object, outputs))
    fields = [
        ("run_id", json.dumps(run_id)), ("workspace_id", json.dumps(draw(IDS))),
        ("project_id", json.dumps(draw(IDS))), ("status", '"completed"'),
        ("created_at", "1795500000000"), ("completed_at", "1795500012000"), ("charged_cost", "0.25"),
        ("model", '{"model_id": "m"}'), ("outputs", f"[{listed}]"), ("poll_url", f'"{API}/poll"'),
    ]  # fmt: skip
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        is_sane = False
        _mutate(draw, fields)
    return Record(run_id, fields, files, is_sane)


def _mutate(draw: st.DrawFn, fields: list[tuple[str, str]]) -> None:
    """Replace, remove, double or add one field."""
    place = draw(st.integers(0, max(0, len(fields) - 1)))
    how = draw(st.sampled_from(["replace", "replace", "remove", "double", "add"]))
    name = fields[place][0] if fields else "x"
    if how in ("double", "add") or not fields:
        fields.insert(place, (name if how == "double" else draw(st.text(max_size=3)), draw(ANY_TOKENS)))
    elif how == "remove":
        del fields[place]
    else:
        fields[place] = (name, draw(ANY_TOKENS))


@st.composite
def damages(draw: st.DrawFn, body: bytes) -> bytes:
    """A body that was cut, or has bytes in it that nobody sent."""
    at = draw(st.integers(0, len(body)))
    return draw(
        st.sampled_from(
            [body[:at], body[:at] + b"\xff\xfe" + body[at:], b"\xef\xbb\xbf" + body, body[:at] * 2]
        )
        | st.binary(max_size=20)
        | ANY_TOKENS.map(str.encode)
    )


class Hosts:
    """The API and the media host: answers by URL."""

    def __init__(self, lists: dict[str, bytes], runs: dict[str, bytes], files: dict[str, bytes]) -> None:
        self._lists = lists
        self._runs = runs
        self._files = files

    def api(self, request: httpx.Request) -> httpx.Response:
        """An answer of the API."""
        if request.url.path.endswith("/generations"):
            return httpx.Response(200, content=self._lists.get(request.url.params["status"], EMPTY))
        run_id = unquote(request.url.raw_path.decode().rpartition("/")[2], errors="surrogatepass")
        body = self._runs.get(run_id)
        return httpx.Response(404, json=NOT_FOUND) if body is None else httpx.Response(200, content=body)

    def media(self, request: httpx.Request) -> httpx.Response:
        """A file; anything else is not there."""
        body = self._files.get(str(request.url))
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)


def run_archive(dest: Path, hosts: Hosts) -> Report | FloradlError:
    """One run of the job; only what floradl raises on purpose may come out of it."""

    async def job() -> Report | FloradlError:
        time = FakeTime()
        async with FloraApi(
            API,
            "sk_live_fuzz",
            clock=time.clock,
            retries=1,
            timeout_s=5,
            transport=httpx.MockTransport(hosts.api),
            backoff=Backoff(base_s=0.0),
        ) as api:
            try:
                return await archive(
                    ArchiveOptions(dest, API, fsync=False, concurrency=2, retries=1),
                    api,
                    clock=time.clock,
                    new_transport=lambda: httpx.MockTransport(hosts.media),
                    backoff=Backoff(base_s=0.0),
                )
            except FloradlError as exc:
                return exc

    return asyncio.run(job())


@contextmanager
def fenced() -> Iterator[Path]:
    """A DEST that does not exist yet; nothing beside it may have changed in the end."""
    with tempfile.TemporaryDirectory(prefix="floradl-fuzz-") as folder:
        outside = Path(folder) / "outside"
        (outside / "in").mkdir(parents=True)
        (outside / "x").write_bytes(b"not the archive's")
        yield outside / "in" / "out"
        files = {path.relative_to(outside).as_posix() for path in outside.rglob("*")}
        assert {name for name in files if not name.startswith("in/out")} == {"in", "x"}
        assert (outside / "x").read_bytes() == b"not the archive's"


def assert_tree(dest: Path) -> None:
    """Only files at documented places, and none of them half written."""
    for folder, _, names in os.walk(dest):
        for name in names:
            path = (Path(folder) / name).relative_to(dest).as_posix()
            assert PLACES.fullmatch(path), path
            assert path.startswith(".floradl/") or all(NAMES.fullmatch(part) for part in path.split("/")), (
                path
            )


def assert_truth(dest: Path) -> None:
    """Every archived entry's file is there with that hash, and the checksums are lines about such files."""
    if not (dest / "manifest.json").exists():
        return
    archived = set()
    for run_id, entry in manifest(dest)["runs"].items():
        for output in entry.get("outputs", {}).values():
            if output["state"] != "archived":
                continue
            file = dest / entry["path"] / output["file"]
            if not file.exists():
                continue  # reported by the run, and said again by each that follows
            data = file.read_bytes()
            assert hashlib.sha256(data).hexdigest() == output["sha256"], run_id
            archived.add(file.relative_to(dest).as_posix())
    assert_checksums(dest)


def assert_checksums(dest: Path) -> None:
    """Each line of SHA256SUMS is one, and leads to a place in DEST."""
    if (dest / "SHA256SUMS").exists():
        for line in (dest / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
            assert CHECKSUM.fullmatch(line), line


# --- the API's answers ------------------------------------------------------------------------------------


@by_day(60)
@given(st.data())
def test_any_answer_of_the_api(data: st.DataObject) -> None:
    """Runs that make sense are archived whatever stands beside them, and nothing else goes wrong."""
    found = data.draw(st.lists(records(), min_size=1, max_size=4), label="records")
    runs = {
        record.run_id: data.draw(ANY_TOKENS | st.just(record.text())).encode("utf-8", "surrogatepass")
        for record in found
    }
    cursor = data.draw(st.just("null") | st.just("null") | ANY_TOKENS, label="cursor")
    page = f'{{"generations": [{", ".join(r.text() for r in found)}], "meta": {{"next_cursor": {cursor}}}}}'
    body = page.encode()
    is_whole = cursor == "null" and not any(token in page for token in BROKEN_TOKENS if token)
    if data.draw(st.sampled_from([False, False, False, True])):
        body, is_whole = data.draw(damages(body), label="body"), False
    files = {url: content for record in found for url, content in record.files.items()}
    lists = {"completed": body, data.draw(st.sampled_from(["pending", "running", "none"])): body}
    with fenced() as dest:
        hosts = Hosts(lists, runs, files)
        for _ in range(2):
            result = run_archive(dest, hosts)
            assert not isinstance(result, ManifestError), result
            assert_tree(dest)
            assert_truth(dest)
        if is_whole and _is_json(page):
            assert isinstance(result, Report)
            times = Counter(record.run_id for record in found)
            for record in found:
                if record.is_sane and times[record.run_id] == 1:
                    assert_archived(dest, record, files)


def assert_archived(dest: Path, record: Record, files: dict[str, bytes]) -> None:
    """A run's record and files are on disk as the API gave them."""
    entry = manifest(dest)["runs"][record.run_id]
    folder = dest / entry["path"]
    assert (folder / "run.json").read_bytes() == record.text().encode()
    contents = [(folder / output["file"]).read_bytes() for output in entry["outputs"].values()]
    assert contents == [files[url] for url in record.files]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- what lies in DEST ------------------------------------------------------------------------------------

RECORD = {
    "run_id": "run_a", "workspace_id": "ws_a", "project_id": "prj_a", "status": "completed",
    "created_at": 1795500000000, "outputs": [
        {"output_id": "output_1", "type": "imageUrl", "url": f"{MEDIA}one.png"},
        {"output_id": "output_2", "type": "text", "url": "a text"},
    ],
}  # fmt: skip
GONE = RECORD | {"run_id": "run_gone", "outputs": [{"output_id": "t", "type": "text", "url": "another"}]}
WAITING = {"run_id": "run_open", "status": "pending", "workspace_id": "ws_a", "project_id": "prj_a"}
FILES = {f"{MEDIA}one.png": png(b"one")}


def page(*runs: object) -> bytes:
    """A page of the API."""
    return json.dumps({"generations": runs, "meta": {}}).encode()


NOW = Hosts(
    {"completed": page(RECORD), "pending": page(WAITING)}, {"run_a": json.dumps(RECORD).encode()}, FILES
)
"""The API when the archive is looked at again: one of its runs is gone."""


@cache
def archived() -> dict[str, bytes]:
    """The files of a small archive: path → bytes."""
    with fenced() as dest:
        lists = {"completed": page(RECORD, GONE), "pending": page(WAITING)}
        report = run_archive(dest, Hosts(lists, {}, FILES))
        assert isinstance(report, Report)
        assert report.is_complete
        return {
            path.relative_to(dest).as_posix(): path.read_bytes() for path in dest.rglob("*") if path.is_file()
        }


def put(dest: Path, files: dict[str, bytes]) -> None:
    """Write an archive's files."""
    for name, data in files.items():
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_bytes(data)


def paths_of(value: object, *before: object) -> Iterator[tuple[object, ...]]:
    """Every place in a JSON value."""
    yield before
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from paths_of(inner, *before, name)


LEADING_OUT = [
    "../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/../../x",
    "..\\x",
    "C:\\x",
    "x\nfalse  line",
    "a\0b",
    "../../../x",
]
BAD_VALUES: st.SearchStrategy[Any] = (
    st.sampled_from(
        [*LEADING_OUT, None, -1, 10**30, 1e300, True, [], {}, [[]], "0" * 64, "archived", "failed"]
    )
    | st.text(max_size=5)
    | VALUES.map(json.loads)
)


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with another at one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def assert_a_clear_end(dest: Path, result: Report | FloradlError) -> None:
    """A manifest that cannot be used is named; otherwise what lies there now is an archive."""
    if isinstance(result, FloradlError):
        assert isinstance(result, ManifestError), result
        assert result.hint
    assert_tree(dest)
    if isinstance(result, Report):
        assert_checksums(dest)
        assert (dest / "ws_a/prj_a/run_a/output_2.txt").read_bytes() == b"a text"


@by_day(60)
@given(st.data())
def test_any_value_in_the_manifest(data: st.DataObject) -> None:
    """A manifest with a value that nobody wrote is refused or mended, and leads nowhere else."""
    files = dict(archived())
    known = json.loads(files["manifest.json"])
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(paths_of(known))), label="place")
        known = changed(known, path, data.draw(BAD_VALUES, label="value"))
    with fenced() as dest:
        del files["SHA256SUMS"]  # so that it is written anew
        put(dest, files | {"manifest.json": json.dumps(known).encode()})
        assert_a_clear_end(dest, run_archive(dest, NOW))


@by_day(60)
@given(st.data())
def test_any_bytes_in_the_manifest(data: st.DataObject) -> None:
    """A manifest that was cut or overwritten is refused, and stays as it is."""
    files = dict(archived())
    body = data.draw(damages(files["manifest.json"]))
    with fenced() as dest:
        put(dest, files | {"manifest.json": body})
        result = run_archive(dest, NOW)
        assert_a_clear_end(dest, result)
        if isinstance(result, FloradlError):
            assert (dest / "manifest.json").read_bytes() == body


OPS: list[Any] = [
    {"op": "run", "run_id": "run_gone", "facts": {
        "workspace_id": "ws_a", "project_id": "prj_a", "path": "ws_a/prj_a/run_gone", "model_id": None,
        "created_at": 1, "completed_at": 2, "charged_cost": 0.5, "record_sha256": "0" * 64, "output_count": 1,
    }},
    {"op": "output", "run_id": "run_gone", "key": "t", "entry": {
        "type": "text", "state": "archived", "file": "t.txt", "size_bytes": 7,
        "sha256": hashlib.sha256(b"another").hexdigest(), "url": None,
    }},
    {"op": "scan", "scan": {
        "scope": {"source": "generations", "workspace_id": None, "project_id": None}, "account": "a",
        "sealed_before": 1, "open_runs": {"run_open": WAITING}, "last_scan_at": "2026-11-23T02:30:00Z",
        "last_full_scan_at": "2026-11-23T02:30:00Z",
    }},
    {"op": "vanished", "run_id": "run_gone", "at": None},
]  # fmt: skip


def line(value: object) -> bytes:
    """A line of the journal that is whole."""
    body = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


@by_day(60)
@given(st.data())
def test_any_value_in_the_journal(data: st.DataObject) -> None:
    """A whole line that says what nobody wrote is refused or mended, and leads nowhere else."""
    files = dict(archived())
    known = json.loads(files["manifest.json"])
    header = {"op": "journal", "version": 1, "archive_id": known["archive_id"], "created_at": "x"}
    ops = [header, *OPS]
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(paths_of(ops))[1:]), label="place")
        ops = changed(ops, path, data.draw(BAD_VALUES, label="value"))
    if data.draw(st.booleans(), label="without a manifest"):
        del files["manifest.json"], files["SHA256SUMS"]
    with fenced() as dest:
        put(dest, files | {".floradl/journal": b"".join(map(line, ops))})
        assert_a_clear_end(dest, run_archive(dest, NOW))


@by_day(40)
@given(st.data())
def test_any_bytes_in_the_journal(data: st.DataObject) -> None:
    """A journal that was cut or overwritten is read as far as it is whole."""
    files = dict(archived())
    header = {
        "op": "journal",
        "version": 1,
        "archive_id": json.loads(files["manifest.json"])["archive_id"],
        "created_at": "x",
    }
    body = data.draw(damages(b"".join(map(line, [header, *OPS]))))
    with fenced() as dest:
        put(dest, files | {".floradl/journal": body})
        assert_a_clear_end(dest, run_archive(dest, NOW))

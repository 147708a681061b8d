"""What can go wrong with technique runs, uploads and canvases, and what comes of it.

Every row is a night with `--source all` (or `arguments`) over the account of `test_sources.py`. Whatever goes
wrong costs what the row says it `lacks`, and nothing of any other source; the next night without the fault
has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from floradl.simulator import Fault, SimAsset
from tests.faults.row import FILE, OLD, ONCE, PICTURE, retry_after

RUN_OF_TECHNIQUE = "run_technique"
"""A run that `GET /technique-runs` alone lists."""

ASSET = "asset_victim"
"""The upload that the faults of the media host happen to; its file is `PICTURE`, at `FILE`."""

OTHER_ASSET = "asset_other"
PROJECT, OTHER_PROJECT = "prj_a", "prj_b"

TECHNIQUES = "/api/v1/technique-runs"
ASSETS = "/api/v1/assets"
ONE_ASSET = f"/api/v1/assets/{ASSET}"
WORKSPACES = "/api/v1/workspaces"
PROJECTS = "/api/v1/projects"
CANVAS = f"/api/v1/projects/{PROJECT}/canvas"
NODES = f"/api/v1/projects/{PROJECT}/nodes"

HTML_PAGE = b"<!doctype html><html><title>Maintenance</title></html>"
MANY = b"[" + b"1," * 10_000 + b"1]"
CUT = 300_000


@dataclass(frozen=True)
class SourceRow:
    """One row.

    Attributes:
        name: what goes wrong, in words.
        faults: the same, for the simulator.
        exit: the exit code.
        said: what stands in what is said, whole.
        lacks: the runs, uploads and projects (of whose canvas) that are not archived whole.
        error: the code under which the victim's file is named; `lacks` is the victim then.
        asked: the requests for the victim's file, as in `row.Row.asked`; None: not told. "API 200" is
            `GET /assets/{asset_id}`.
        arguments: instead of `--source all`.
        retries: `--retries`.
        timeout_s: `--timeout`.
        change: what is odd about the victim until the fault is gone.
    """

    name: str
    faults: Sequence[Fault] = ()
    exit: int = 0
    said: str = ""
    lacks: frozenset[str] = frozenset()
    error: str = ""
    asked: str | None = None
    arguments: tuple[str, ...] = ("--source", "all")
    retries: int = 1
    timeout_s: int = 60
    change: Callable[[SimAsset], None] | None = None


def _page(field: str, items: bytes) -> bytes:
    return b'{"%b": %b, "meta": {"next_cursor": null}}' % (field.encode(), items)


def _rows_of(
    path: str, what: str, words: str, field: str, lacks: frozenset[str], *, goes_on: bool = False
) -> list[SourceRow]:
    """What can go wrong with any list.

    Args:
        path: where it is asked for.
        what: what it is called in the names of the rows.
        words: what it is called in messages.
        field: its name in an answer.
        lacks: what is not archived where it cannot be had.
        goes_on: whether an answer that makes no sense costs only itself.
    """
    odd = b'[7, null, [], {"status": "completed"}, {"run_id": 5, "asset_id": 5, "status": "ready"}]'

    def row(name: str, fault: Fault, exit: int = 0, said: str = "", **more: Any) -> SourceRow:  # noqa: A002 - as the column
        is_answer = fault.body is not None or fault.status in (400, 500)
        lacking = frozenset() if not exit or (goes_on and is_answer) else lacks
        return SourceRow(f"{what}: {name}", [fault], exit, said, lacking, **more)

    return [
        row("503 once", Fault(path, on=ONCE, status=503)),
        row("503 for good", Fault(path, status=503), 3, "the API answered 503"),
        row("503, back in an hour", Fault(path, status=503, headers=retry_after("3600")), 3, "answered 503"),
        row("500 that is not to be tried again",
            Fault(path, status=500, headers=(("x-should-retry", "false"),)), 3, "the API answered 500"),
        row("429, back in 1 s", Fault(path, on=ONCE, status=429, headers=retry_after("1"))),
        row("400", Fault(path, status=400), 3, "the API answered 400"),
        row("dropped once", Fault(path, on=ONCE, drop=True)),
        row("dropped for good", Fault(path, drop=True), 3, "does not answer"),
        row("silent for good", Fault(path, stall_after=10), 3, "does not answer: timeout",
            retries=0, timeout_s=5),
        row("cut once", Fault(path, on=ONCE, cut_after=30)),
        row("cut for good", Fault(path, cut_after=30), 3, "does not answer"),
        row("HTML once", Fault(path, on=ONCE, body=HTML_PAGE)),
        row("HTML for good", Fault(path, body=HTML_PAGE), 3, "the API's answer is HTML"),
        row("broken JSON for good", Fault(path, body=b'{"%b": [' % field.encode()), 3, words),
        row("another type for the list", Fault(path, body=_page(field, b'{"a": 1}')), 3, words),
        row("more records than a page can have", Fault(path, body=_page(field, MANY)), 3, "more than 10000"),
        row("no list at all", Fault(path, body=b'{"meta": {}}'), 3, words),
        row("records of other types", Fault(path, body=_page(field, odd)), 3, ""),
    ]  # fmt: skip


def _few(rows: list[SourceRow]) -> list[SourceRow]:
    """Those of `_rows_of` that tell most: one of each kind of failure."""
    kinds = (
        "503 once",
        "503 for good",
        "400",
        "dropped for good",
        "HTML for good",
        "another type for the list",
    )
    odd = ("more records than a page can have", "records of other types")
    return [row for row in rows if row.name.partition(": ")[2] in (*kinds, *odd)]


def _rows_of_pages(path: str, what: str, lacks: frozenset[str]) -> list[SourceRow]:
    return [
        SourceRow(f"{what}: a cursor that comes again once", [Fault(path, on=ONCE, repeat_cursor=True)]),
        SourceRow(f"{what}: a cursor that comes again and again", [Fault(path, repeat_cursor=True)],
            3, "a page cursor a second time", lacks),
    ]  # fmt: skip


OF_TECHNIQUES = frozenset({RUN_OF_TECHNIQUE})
OF_ASSETS = frozenset({ASSET, OTHER_ASSET})
CANVAS_OF = frozenset({PROJECT})
CANVASES = frozenset({PROJECT, OTHER_PROJECT})

LISTS = (
    *_rows_of(TECHNIQUES, "technique runs", "page of technique runs", "technique_runs", OF_TECHNIQUES),
    *_rows_of_pages(TECHNIQUES, "technique runs", frozenset()),
    *_rows_of(ASSETS, "assets", "page of assets", "assets", OF_ASSETS),
    *_rows_of_pages(ASSETS, "assets", frozenset()),
    SourceRow("technique runs: page 2 fails for good",
        [Fault(TECHNIQUES, repeat_cursor=True), Fault(TECHNIQUES, query="cursor=", status=503)],
        3, "the API answered 503"),
)  # fmt: skip

# What a key may not see is left out, unless it was named. A key that is no key ends it.
REFUSALS = (
    SourceRow("technique runs: 403", [Fault(TECHNIQUES, status=403)],
        0, "Left out: technique runs, which this key cannot see", OF_TECHNIQUES),
    SourceRow("technique runs: 404", [Fault(TECHNIQUES, status=404)],
        0, "Left out: technique runs, which this key cannot see", OF_TECHNIQUES),
    SourceRow("technique runs: 401", [Fault(TECHNIQUES, status=401)],
        4, "the API answered 401", OF_TECHNIQUES | OF_ASSETS),
    SourceRow("technique runs that were named: 403", [Fault(TECHNIQUES, status=403)],
        4, "leave out --source technique-runs", OF_TECHNIQUES,
        arguments=("--source", "all", "--source", "technique-runs")),
    SourceRow("assets: 403", [Fault(ASSETS, status=403)], 0, "Left out: assets", OF_ASSETS),
    SourceRow("assets: 404", [Fault(ASSETS, status=404)], 0, "Left out: assets", OF_ASSETS),
    SourceRow("assets: 401", [Fault(ASSETS, status=401)], 4, "the API answered 401", OF_ASSETS),
    SourceRow("assets that were named: 404", [Fault(ASSETS, status=404)],
        4, "leave out --source assets", OF_ASSETS, arguments=("--source", "all", "--source", "assets")),
    SourceRow("canvas: 403", [Fault(CANVAS, status=403)], 0, "Left out: canvas", CANVAS_OF),
    SourceRow("canvas: 404", [Fault(CANVAS, status=404)], 0, "Left out: canvas", CANVAS_OF),
    SourceRow("canvas: 401", [Fault(CANVAS, status=401)], 4, "the API answered 401", CANVAS_OF),
    SourceRow("canvases that were named: 403", [Fault(CANVAS, status=403)],
        4, "the canvas of prj_a: the API answered 403", CANVAS_OF,
        arguments=("--source", "all", "--source", "canvas")),
    SourceRow("nodes: 403", [Fault(NODES, status=403)], 0, "Left out: canvas", CANVAS_OF),
    SourceRow("nodes: 404", [Fault(NODES, status=404)], 0, "Left out: canvas", CANVAS_OF),
    SourceRow("projects: 403", [Fault(PROJECTS, status=403)], 0, "Left out: canvas", CANVASES),
    SourceRow("projects: 401", [Fault(PROJECTS, status=401)], 4, "the API answered 401", CANVASES),
    SourceRow("workspaces: 403, and those that were met are asked for", [Fault(WORKSPACES, status=403)],
        0, "Left out: canvas"),
    SourceRow("workspaces: 401", [Fault(WORKSPACES, status=401)], 4, "the API answered 401", CANVASES),
)  # fmt: skip

OTHERS_CANVAS = b'{"project_id": "prj_b", "diagram": "graph LR"}'

CANVAS_ROWS = (
    *_few(_rows_of(NODES, "nodes", "the canvas of prj_a", "nodes", CANVAS_OF)[:-1]),
    *_rows_of_pages(NODES, "nodes", CANVAS_OF),
    SourceRow("nodes: page 2 fails once", [Fault(NODES, query="cursor=", on=ONCE, status=503)]),
    SourceRow("nodes: page 2 fails for good", [Fault(NODES, query="cursor=", status=503)],
        3, "the canvas of prj_a: the API answered 503", CANVAS_OF),
    SourceRow("nodes: a cursor that is no text",
        [Fault(NODES, body=b'{"nodes": [], "meta": {"next_cursor": 7}}')],
        3, "the canvas of prj_a: the list of its nodes is not whole", CANVAS_OF),
    SourceRow("canvas: 503 once", [Fault(CANVAS, on=ONCE, status=503)]),
    SourceRow("canvas: 503 for good", [Fault(CANVAS, status=503)],
        3, "the canvas of prj_a: the API answered 503", CANVAS_OF),
    SourceRow("canvas: 429, back in 1 s", [Fault(CANVAS, on=ONCE, status=429, headers=retry_after("1"))]),
    SourceRow("canvas: 400", [Fault(CANVAS, status=400)], 3, "the canvas of prj_a: ", CANVAS_OF),
    SourceRow("canvas: dropped once", [Fault(CANVAS, on=ONCE, drop=True)]),
    SourceRow("canvas: dropped for good", [Fault(CANVAS, drop=True)], 3, "does not answer", CANVAS_OF),
    SourceRow("canvas: silent for good", [Fault(CANVAS, stall_after=10)], 3, "timeout", CANVAS_OF,
        retries=0, timeout_s=5),
    SourceRow("canvas: cut once", [Fault(CANVAS, on=ONCE, cut_after=30)]),
    SourceRow("canvas: HTML for good", [Fault(CANVAS, body=HTML_PAGE)],
        3, "the canvas of prj_a: the API's answer is HTML", CANVAS_OF),
    SourceRow("canvas: broken JSON for good", [Fault(CANVAS, body=b'{"diagram": ')],
        3, "the canvas of prj_a: ", CANVAS_OF),
    SourceRow("canvas: a diagram that is a number", [Fault(CANVAS, body=b'{"diagram": 7}')],
        3, "the API's answer has no diagram", CANVAS_OF),
    SourceRow("canvas: another project's", [Fault(CANVAS, body=OTHERS_CANVAS)],
        3, "the API gave another project's canvas", CANVAS_OF),
)  # fmt: skip

PROJECT_ROWS = (
    *_few(_rows_of(PROJECTS, "projects", "the projects of ws_a", "projects", CANVASES)),
    *_rows_of_pages(PROJECTS, "projects", CANVASES),
    *_few(_rows_of(WORKSPACES, "workspaces", "the workspaces", "workspaces", CANVASES, goes_on=True)),
)


def _announce(size_bytes: int) -> Callable[[SimAsset], None]:
    return lambda asset: asset.extra.update(size_bytes=size_bytes)


def _lists(**fields: object) -> Callable[[SimAsset], None]:
    return lambda asset: asset.extra.update(fields)


def _moved(asset: SimAsset) -> None:
    asset.extra["listed_at"] = OLD


def _victim(name: str, faults: Sequence[Fault], asked: str, error: str = "", **more: Any) -> SourceRow:
    """A row about the victim's file."""
    row = SourceRow(
        f"file of an asset: {name}",
        faults,
        exit=3 if error else 0,
        error=error,
        lacks=frozenset({ASSET} if error else ()),
        asked=asked,
    )
    return replace(row, **more)


_CUT_ONCE = Fault(FILE, on=ONCE, cut_after=CUT)

FILES = (
    _victim("503 once", [Fault(FILE, on=ONCE, status=503)], "503, 200"),
    _victim("503 for good", [Fault(FILE, status=503)], "503, 503", "http_503"),
    _victim("404, no other URL", [Fault(FILE, status=404)], "404, API 200", "http_404"),
    _victim("410, the API has another URL", [], f"410 {OLD}, API 200, 200", change=_moved),
    _victim("404, the API has another URL", [Fault(OLD, status=404)], f"404 {OLD}, API 200, 200",
        change=_moved),
    _victim("410, the API fails for good", [Fault(ONE_ASSET, status=503)], f"410 {OLD}, API 503, API 503",
        "http_410", change=_moved),
    _victim("410, the API no longer knows it", [Fault(ONE_ASSET, status=404)], f"410 {OLD}, API 404",
        "http_410", change=_moved),
    _victim("410, the API gives another asset",
        [Fault(ONE_ASSET, body=b'{"asset_id": "x", "status": "ready"}')],
        f"410 {OLD}, API 200, API 200", "http_410", change=_moved),
    _victim("410, and nothing is ready any more",
        [Fault(ONE_ASSET, body=b'{"asset_id": "asset_victim", "status": "failed", "url": null}')],
        f"410 {OLD}, API 200", "http_410", change=_moved),
    # From how far on, and if silence is met twice, tells whether the answer was waited for with its body.
    _victim("cut once", [_CUT_ONCE], "200, 206 from *"),
    _victim("cut before the first byte for good", [Fault(FILE, cut_after=0)], "200, 200, API 200",
        "truncated"),
    _victim("the range is ignored", [_CUT_ONCE, Fault(FILE, range="ignore")], "200, 200 from *"),
    _victim("another range comes", [_CUT_ONCE, Fault(FILE, on=(2,), range="wrong")],
        "200, 206 from *, 200", retries=2),
    _victim("the range is refused", [_CUT_ONCE, Fault(FILE, on=(2,), range="416")],
        "200, 416 from *, 200", retries=2),
    _victim("dropped for good", [Fault(FILE, drop=True)], "no answer, no answer, API 200", "truncated"),
    _victim("silent for good", [Fault(FILE, stall_after=0)], "200*", "timeout", retries=0, timeout_s=5),
    _victim("HTML instead", [Fault(FILE, status=200, body=HTML_PAGE)], "200, 200, API 200, 200, 200, 200",
        "not_media"),
    _victim("HTML that claims to be a PNG",
        [Fault(FILE, status=200, body=HTML_PAGE, content_type="image/png")],
        "200, 200, API 200, 200, 200, 200", "not_media"),
    _victim("empty", [Fault(FILE, body=b"")], "200, 200, API 200", "wrong_size"),
    _victim("larger than announced", [], "200, 200, API 200, 200, 200",
        change=_announce(len(PICTURE.body) - 1)),
    _victim("smaller than announced", [], "200, 200, API 200, 200, 200",
        change=_announce(len(PICTURE.body) + 1)),
    _victim("no URL", [], "", "no_url", change=_lists(url=None)),
    _victim("a URL in a private network", [], "", "unsafe_url", change=_lists(url="https://10.0.0.1/a.png")),
    _victim("an announced size that is no number", [], "200", change=_lists(size_bytes="large")),
)  # fmt: skip

SOURCE_TABLE = (*LISTS, *REFUSALS, *CANVAS_ROWS, *PROJECT_ROWS, *FILES)

"""Labels of canvas nodes: linked to the outputs that the nodes show, shown to people, and never lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.canvas import Node, parse_canvas, parse_nodes
from floradl.api.client import FloraApi
from floradl.api.lists import iter_pages
from floradl.api.projects import project_path
from floradl.repository import labels as labels_module
from floradl.repository.canvas import nodes_bytes
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.labels import (
    Label,
    Target,
    comparable_url,
    is_labels_of,
    labels_by_run,
    merged_labels,
    shown_labels,
    targets_of,
)
from floradl.simulator import (
    Account,
    SimCanvas,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimWorkspace,
    serve_in_thread,
)

IMAGE = "https://media.flora.ai/node-inputs/a.png"


def output(state: State = State.ARCHIVED, **facts: Any) -> OutputEntry:
    """An output's entry."""
    return OutputEntry(**{"type": "imageUrl", "state": state} | facts)


def nodes_of(*records: dict[str, object]) -> list[Node]:
    """Nodes as the API gives them."""
    return list(parse_nodes(json.dumps({"nodes": records}).encode()).nodes)


def run_of(**outputs: OutputEntry) -> RunEntry:
    """A run with these outputs."""
    return RunEntry("ws_a", "prj_a", "ws_a/prj_a/run_a", None, None, None, None, "", outputs=outputs)


@pytest.mark.parametrize(
    ("url", "comparable"),
    [
        (f"{IMAGE}?tr=orig-true#x", IMAGE),
        ("HTTPS://Media.FLORA.ai/node-inputs/a.png", IMAGE),
        ("https://h.test/" + "x" * 1985, "https://h.test/" + "x" * 1985),
        ("https://h.test/" + "x" * 1986, ""),
        ("https://h.test/\x7f", ""),
        ("https://[", ""),
        ("data:image/png;base64,AA", ""),
        ("words", ""),
        ("", ""),
    ],
    ids=lambda value: value[:40],
)
def test_urls_that_can_be_compared(url: str, comparable: str) -> None:
    """A URL counts without its query; where the manifest cuts one it could be several, and is none."""
    assert comparable_url(url) == comparable


def linked(*records: dict[str, object], **outputs: OutputEntry) -> dict[str, list[str]]:
    """Which labels the outputs of a run get from nodes; those of a second run with the same must be alike."""
    targets = targets_of([("run_a", run_of(**outputs)), ("run_b", run_of(**outputs))])
    found = labels_by_run(nodes_of(*records), targets, project_id="prj_a", seen_at="now")
    assert found.get("run_a") == found.get("run_b")
    return {key: [label.label for label in labels] for key, labels in found.get("run_a", {}).items()}


def test_nodes_that_show_an_output() -> None:
    """A node is linked by its URL, whatever the query, or a text by its exact content."""
    text = "  Seven birds.\n"
    outputs = {
        "one": output(url=IMAGE),
        "two": output(State.FAILED, url="https://h.test/b"),
        "words": output(type="text", sha256=hashlib.sha256(text.encode()).hexdigest()),
        "empty": output(type="text", sha256=hashlib.sha256(b" ").hexdigest()),
        "lost": output(State.FAILED, type="text"),
    }
    assert linked(
        {"node_id": "n1", "type": "image", "url": f"{IMAGE}?v=2", "label": "A fox"},
        {"node_id": "n2", "type": "image", "url": IMAGE, "label": "The same fox"},
        {"node_id": "n3", "type": "video", "url": "https://h.test/b", "label": "A film"},
        {"node_id": "n4", "type": "text", "url": text, "label": "Birds"},
        **outputs,
    ) == {"one": ["A fox", "The same fox"], "two": ["A film"], "words": ["Birds"]}
    assert not linked(
        {"node_id": "n1", "type": "image", "url": IMAGE + "x", "label": "Another"},
        {"node_id": "n2", "type": "image", "url": IMAGE, "label": " \n"},
        {"node_id": "n3", "type": "image", "url": IMAGE},
        {"type": "image", "url": IMAGE, "label": "Without an id"},
        {"node_id": "n4", "type": "text", "url": text.strip(), "label": "Not to the byte"},
        {"node_id": "n5", "type": "image", "url": text, "label": "No text"},
        {"node_id": "n6", "type": "text", "url": " ", "label": "Nothing"},
        {"node_id": "n7", "type": "text", "label": text},
        {"node_id": "n8", "type": "image", "url": IMAGE, "label": "x" * (labels_module.MAX_LABEL_BYTES + 1)},
        **outputs,
    )


def test_a_node_that_is_listed_twice() -> None:
    """A node has one label at a time, the same one in whatever order it is listed."""
    records: list[dict[str, object]] = [
        {"node_id": "n1", "url": IMAGE, "label": label} for label in ("A", "B")
    ]
    assert linked(*records, one=output(url=IMAGE)) == linked(*records[::-1], one=output(url=IMAGE))
    assert len(linked(*records, one=output(url=IMAGE))["one"]) == 1


def label(text: str, node_id: str = "n1", seen_at: str = "2026-11-26T02:30:00Z", **facts: str) -> Label:
    """A label of a node of prj_a."""
    return Label(
        **{"node_id": node_id, "label": text, "type": "image", "project_id": "prj_a", "seen_at": seen_at}
        | facts
    )


def merged(*labels: Mapping[str, list[Label]], raw: bytes | None = None) -> bytes:
    """`canvas.json` of run_a after some nights."""
    for night in labels:
        raw = merged_labels(raw, "run_a", night) or raw
    assert raw is not None
    return raw


def test_the_form_of_labels() -> None:
    """`canvas.json` tells its run, and of each output the labels of the nodes that showed it."""
    raw = merged({"output_1": [label("A fox")]})
    assert json.loads(raw) == {
        "format": "floradl-canvas-labels",
        "version": 1,
        "run_id": "run_a",
        "outputs": {
            "output_1": [
                {
                    "node_id": "n1",
                    "label": "A fox",
                    "type": "image",
                    "project_id": "prj_a",
                    "seen_at": "2026-11-26T02:30:00Z",
                }
            ]
        },
    }
    assert raw.startswith(b'{\n  "format"')
    assert raw.endswith(b"}\n")


def test_the_same_labels_again_change_nothing() -> None:
    """What the last label of each node says already is no news, at whatever time."""
    raw = merged({"output_1": [label("A"), label("B", "n2"), label("A", project_id="prj_b")]})
    again = [label("A", seen_at="later"), label("B", "n2", seen_at="later")]
    assert merged_labels(raw, "run_a", {"output_1": again}) is None
    assert merged_labels(raw, "run_a", {"output_1": [], "output_2": []}) is None
    assert merged_labels(raw, "run_a", {}) is None
    assert merged_labels(None, "run_a", {}) is None


def test_a_label_that_changes_is_added_and_one_that_returns_is_the_last() -> None:
    """All labels that a node had are there; the last of them is the one it has."""
    nights = [label(text, seen_at=str(night)) for night, text in enumerate("ABA")]
    raw = merged(*({"o": [each]} for each in nights), {"o": [label("Z", "n2")], "p": [label("A")]})
    outputs = json.loads(raw)["outputs"]
    assert [(entry["label"], entry["seen_at"][:1]) for entry in outputs["o"]] == [
        ("B", "1"),
        ("A", "2"),
        ("Z", "2"),
    ]
    assert [entry["label"] for entry in outputs["p"]] == ["A"]
    assert merged_labels(raw, "run_a", {"o": [label("A", type="video")]}), "another type is another label"


def test_what_a_newer_floradl_adds_survives() -> None:
    """Keys that are not known are written again, also those of a label that moves."""
    content = json.loads(merged({"o": [label("A")]}, {"o": [label("B")]}))
    content["later"] = {"x": [1]}
    content["outputs"]["o"][0]["colour"] = "red"
    told = json.loads(merged({"o": [label("A")]}, raw=json.dumps(content).encode()))
    assert told["later"] == {"x": [1]}
    assert [(entry["label"], entry.get("colour")) for entry in told["outputs"]["o"]] == [
        ("B", None),
        ("A", "red"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "run_b"},
        {"version": 2},
        {"format": "other"},
        {"outputs": None},
        {"outputs": []},
        {"outputs": {"o": {}}},
        {"outputs": {"o": [3]}},
    ],
    ids=str,
)
def test_files_of_labels_that_are_not_ours(change: dict[str, object]) -> None:
    """Another run's, a newer or a broken file stays as it is."""
    content = json.loads(merged({"o": [label("A")]})) | change
    assert merged_labels(json.dumps(content).encode(), "run_a", {"o": [label("B")]}) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a": "\xff"}', b"[" * 100_000])
def test_files_of_labels_that_are_no_json(raw: bytes) -> None:
    """What cannot be read stays as it is."""
    assert merged_labels(raw, "run_a", {"o": [label("B")]}) is None


def test_labels_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many labels of an output none is added, and none of the old is lost."""
    monkeypatch.setattr(labels_module, "MAX_LABELS", 3)
    raw = merged({"o": [label(str(number)) for number in range(5)]})
    assert [entry["label"] for entry in json.loads(raw)["outputs"]["o"]] == ["0", "1", "2"]
    assert [entry["label"] for entry in json.loads(merged({"o": [label("0")]}, raw=raw))["outputs"]["o"]] == [
        "1", "2", "0",
    ]  # fmt: skip
    assert merged_labels(raw, "run_a", {"p": [label("0")]}) is not None
    monkeypatch.setattr(labels_module, "MAX_LABELS_FILE_BYTES", len(raw))
    assert merged_labels(raw, "run_a", {"p": [label("0")]}) is None


NIGHTS = st.lists(
    st.dictionaries(
        st.sampled_from(["o", "p", ""]),
        st.lists(
            st.builds(label, st.sampled_from(["A", "B", "é\n", ""]), st.sampled_from(["n1", "n2"])),
            max_size=4,
        ),
    ),
    max_size=6,
)


@given(NIGHTS)
def test_no_label_is_lost(nights: list[dict[str, list[Label]]]) -> None:
    """Each label that ever was is there once, and the last of each node is the one that it had last."""
    raw = None
    seen: dict[str, dict[tuple[str, str], None]] = {}
    for night in nights:
        raw = merged_labels(raw, "run_a", night) or raw
        for key, labels in night.items():
            for each in labels:
                seen.setdefault(key, {}).pop((each.node_id, each.label), None)
                seen[key][each.node_id, each.label] = None
    outputs = {} if raw is None else json.loads(raw)["outputs"]
    assert outputs.keys() == seen.keys()
    for key, pairs in seen.items():
        kept = [(entry["node_id"], entry["label"]) for entry in outputs[key]]
        assert len(kept) == len(set(kept))
        for node_id in ("n1", "n2"):
            assert [pair for pair in kept if pair[0] == node_id] == [
                pair for pair in pairs if pair[0] == node_id
            ]


def test_targets() -> None:
    """What nodes may show: each output's URL and each archived text."""
    digest = hashlib.sha256(b"words").hexdigest()
    run = run_of(a=output(url=IMAGE), b=output(type="text", sha256=digest), c=output(url="(not a URL)"))
    targets = targets_of([("run_a", run)])
    assert targets.by_url == {IMAGE: [Target("run_a", "a")]}
    assert targets.by_text == {digest: [Target("run_a", "b")]}


@pytest.mark.anyio
async def test_a_canvas_of_the_simulator() -> None:
    """What the API serves is read to the last page: the diagram, all nodes, and the output that one shows."""
    shown = SimOutput("output_1")
    account = Account(
        "sk_live_canvas",
        [SimRun("run_a", "ws_a", "prj_a", outputs=[shown])],
        workspaces=[SimWorkspace("ws_a", "Studio")],
        projects=[SimProject("prj_a", "ws_a", "Autumn")],
    )
    account.canvases["prj_a"] = SimCanvas(
        [SimNode(f"n{number:03}", label=f"Node {number}") for number in range(150)]
        + [SimNode("shows", label="A fox", shows=shown)]
    )
    with serve_in_thread(account) as sim:
        url = account.url_of(shown)
        async with FloraApi(sim.base_url, account.api_key) as api:
            path = project_path("prj_a")
            diagram = await api.ask(f"{path}/canvas", {}, lambda body: parse_canvas(body, "prj_a"))
            nodes = [
                node
                async for page in iter_pages(api, f"{path}/nodes", {}, parse_nodes, max_pages=9)
                for node in page.nodes
            ]
    assert diagram.decode() == f"{account.canvases['prj_a'].diagram()}\n"
    assert len(json.loads(nodes_bytes(nodes))["nodes"]) == 151
    targets = targets_of([("run_a", run_of(output_1=output(url=comparable_url(url))))])
    labels = labels_by_run(nodes, targets, project_id="prj_a", seen_at="now")
    assert labels == {"run_a": {"output_1": [Label("shows", "A fox", "image", "prj_a", "now")]}}


def test_what_people_are_shown_of_labels() -> None:
    """The last label of each node, the newest first, each text once; nothing of what is not understood."""
    told = [
        {"node_id": "n1", "project_id": "p", "label": "old"},
        {"node_id": "n2", "project_id": "p", "label": " boat "},
        {"node_id": "n1", "project_id": "p", "label": "new\nlines"},
        {"node_id": ["n3"], "project_id": "p", "label": "boat"},
        {"node_id": "n4", "project_id": "p", "label": 5},
        {"node_id": "n5", "project_id": "p", "label": "  "},
    ]
    about = {"format": "floradl-canvas-labels", "version": 1, "run_id": "run_1"}
    raw = json.dumps(about | {"outputs": {"a": told, "b": [], "c": told[5:]}}).encode()
    assert shown_labels(raw, "run_1") == {"a": "boat\nnew\nlines"}
    assert shown_labels(raw, "run_2") == {}
    assert (is_labels_of(raw, "run_1"), is_labels_of(raw, "run_2")) == (True, False)
    for broken in (b"", b"{", b"[]", b"\xff", raw.replace(b'"version": 1', b'"version": 2')):
        assert shown_labels(broken, "run_1") == {}

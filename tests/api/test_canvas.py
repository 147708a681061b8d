"""Canvases as the API gives them: diagrams and nodes, kept to the byte."""

from __future__ import annotations

import pytest

from floradl.api import canvas
from floradl.api.canvas import parse_canvas, parse_nodes
from floradl.errors import ApiAnswerError


@pytest.mark.parametrize(
    ("body", "diagram"),
    [
        (b'{"diagram": "graph LR\\n  a --> b"}', b"graph LR\n  a --> b\n"),
        (b'{"project_id": "prj_a", "diagram": "graph LR\\n", "summary": {}}', b"graph LR\n"),
        (b'{"project_id": 4, "diagram": ""}', b"\n"),
        (b'{"diagram": "cut \\ud83d", "diagram_2": 1}', "cut \ufffd\n".encode()),
        (b"graph LR\n  a --> b", b"graph LR\n  a --> b\n"),
        ("\ufeff\n flowchart TD\n é\n".encode(), "\n flowchart TD\n é\n".encode()),
        (b"%% a comment\r\ngraph LR\r\n", b"%% a comment\r\ngraph LR\r\n"),
        (b"---\ntitle: x\n---\nstateDiagram", b"---\ntitle: x\n---\nstateDiagram\n"),
        (b"stateDiagram-v2\n", b"stateDiagram-v2\n"),
    ],
)
def test_canvases(body: bytes, diagram: bytes) -> None:
    """A diagram is kept as it is written, in JSON or bare, with a line's end where it had none."""
    assert parse_canvas(body, "prj_a") == diagram


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>graph</html>",
        b"{}",
        b"[]",
        b'"graph LR"',
        b'{"diagram": null}',
        b'{"diagram": 4}',
        b'{"diagram": "\\x"}',
        b'{"diagram": "\xff"}',
        b"graph \xff",
        b"graphs are not available",
        b"Service unavailable",
        b'{"project_id": "prj_b", "diagram": "graph LR"}',
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_answers_that_are_no_canvas(body: bytes) -> None:
    """What is no diagram, or another project's, never becomes a snapshot."""
    with pytest.raises(ApiAnswerError):
        parse_canvas(body, "prj_a")


def test_pages_of_nodes() -> None:
    """Nodes are kept to the byte, also those that have odd fields or are none."""
    page = parse_nodes(
        b'{"nodes": [ {"node_id": "n1",  "type": "image", "url": null, "label": "\\ud83d", "w": 1.50}, 3, {},'
        b' {"node_id": 5, "type": [], "label": {}}], "meta": {"next_cursor": "c"}}'
    )
    assert (page.next_cursor, page.is_end_known) == ("c", True)
    assert [(node.node_id, node.type, node.url, node.label, node.raw) for node in page.nodes] == [
        ("n1", "image", "", "\ufffd",
         b'{"node_id": "n1",  "type": "image", "url": null, "label": "\\ud83d", "w": 1.50}'),
        ("", "", "", "", b"3"),
        ("", "", "", "", b"{}"),
        ("", "", "", "", b'{"node_id": 5, "type": [], "label": {}}'),
    ]  # fmt: skip
    assert parse_nodes(b'{"nodes": []}').next_cursor is None
    assert not parse_nodes(b'{"nodes": [], "meta": {"next_cursor": 3}}').is_end_known


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"nodes": null}', b'{"nodes": {}}'])
def test_answers_that_are_no_nodes(body: bytes) -> None:
    """A list that is missing is no empty one."""
    with pytest.raises(ApiAnswerError):
        parse_nodes(body)


def test_sizes_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canvas or a page of nodes that is too large is an error, not memory that runs out."""
    monkeypatch.setattr(canvas, "MAX_CANVAS_BYTES", 40)
    assert parse_canvas(b"graph LR", "prj_a")
    with pytest.raises(ApiAnswerError, match="41 bytes"):
        parse_canvas(b"graph LR" + b" " * 33, "prj_a")
    with pytest.raises(ApiAnswerError, match="41 bytes"):
        parse_nodes(b'{"nodes": []}' + b" " * 28)

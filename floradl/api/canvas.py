"""Reading a project's canvas: its diagram in Mermaid, and the nodes on it, both kept to the byte."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from floradl.api.lists import parse_list
from floradl.api.raw_json import NOT_READABLE, fields_of, replace_half_pairs, text_of
from floradl.errors import ApiAnswerError

MAX_CANVAS_BYTES = 64 * 1024 * 1024
"""How large a diagram, a page of nodes or a snapshot may be; a larger one is an error."""

_MERMAID = re.compile(r"(?:(?:graph|flowchart)\b|---|%%|[a-z][A-Za-z0-9]*Diagram\b)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a canvas. Texts that the record lacks are ""; `raw` is the record as the API wrote it."""

    node_id: str
    type: str
    url: str
    label: str
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodePage:
    """A page of nodes. `is_end_known` is False where the cursor is no text, so that more nodes may follow."""

    nodes: tuple[Node, ...]
    next_cursor: str | None
    is_end_known: bool


def parse_canvas(body: bytes, project_id: str) -> bytes:
    """Return the diagram of a canvas: UTF-8 that ends with a line feed, and so is never empty.

    Args:
        body: the answer: JSON with a field `diagram`, or bare Mermaid.
        project_id: the project whose canvas was asked for.

    Raises:
        ApiAnswerError: the answer is neither, is the canvas of another project, or is larger than
            `MAX_CANVAS_BYTES`.
    """
    if len(body) > MAX_CANVAS_BYTES:
        raise ApiAnswerError(f"a canvas has {len(body)} bytes, more than {MAX_CANVAS_BYTES}")
    try:
        answer = fields_of(body)
    except ApiAnswerError:
        return _ended(_plain_mermaid(body))
    if text_of(answer, "project_id") not in ("", project_id):
        raise ApiAnswerError("the API gave another project's canvas")
    try:
        readable = replace_half_pairs(answer.get("diagram", b"null"))
        return _ended(msgspec.json.decode(readable, type=str).encode())
    except NOT_READABLE as exc:
        raise ApiAnswerError("the API's answer has no diagram") from exc


def parse_nodes(body: bytes) -> NodePage:
    """Read a page of a canvas's nodes. An item that is no JSON object is kept as a node without an id.

    Raises:
        ApiAnswerError: the answer has no list of nodes, too many of them, or is larger than
            `MAX_CANVAS_BYTES`.
    """
    if len(body) > MAX_CANVAS_BYTES:
        raise ApiAnswerError(f"a page of nodes has {len(body)} bytes, more than {MAX_CANVAS_BYTES}")
    listed = parse_list(body, "nodes")
    return NodePage(tuple(_node(raw) for raw in listed.items), listed.next_cursor, listed.is_end_known)


def _node(raw: bytes) -> Node:
    try:
        fields = fields_of(raw)
    except ApiAnswerError:
        fields = {}
    identifier, kind, url, label = (text_of(fields, key) for key in ("node_id", "type", "url", "label"))
    return Node(identifier, kind, url, label, raw)


def _plain_mermaid(body: bytes) -> bytes:
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise ApiAnswerError("the API's answer is no canvas") from exc
    if not _MERMAID.match(text.lstrip()):
        kind = "HTML" if text.lstrip()[:1] == "<" else "no canvas"
        raise ApiAnswerError(f"the API's answer is {kind}")
    return text.encode()


def _ended(diagram: bytes) -> bytes:
    return diagram if diagram.endswith(b"\n") else diagram + b"\n"

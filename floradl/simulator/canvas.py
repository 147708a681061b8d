"""A project's canvas: its nodes and edges, and the Mermaid diagram that the API makes of them.

Guarantees that a diagram depends on the nodes and edges alone, and that each node and each edge is one line
of it, whatever a label contains. As at FLORA a diagram has less than the nodes: long labels are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .runs import SimOutput

MAX_LABEL = 60
_ESCAPES = str.maketrans({'"': "#quot;", "\n": " ", "\r": " ", "\u2028": " ", "\u2029": " "})


@dataclass
class SimNode:
    """A node of a canvas.

    Attributes:
        node_id: as the API gives it.
        type: `image`, `video`, `audio` or `text`.
        label: a name, or the prompt.
        shows: the output or uploaded file whose URL the node has; the node follows it to a new URL.
        url: returned as it is when `shows` is None: a URL, or the content of a text node.
        asset_id: of the upload that the node shows.
        extra: fields that no client knows.
    """

    node_id: str
    type: str = "image"
    label: str | None = None
    shows: SimOutput | None = None
    url: str | None = None
    asset_id: str | None = None
    width: int | None = None
    height: int | None = None
    extra: dict[str, object] = field(default_factory=dict)

    def record(self, url_of: Callable[[SimOutput], str]) -> dict[str, object]:
        """The JSON object of the node in `GET /projects/{project_id}/nodes`."""
        return {
            "node_id": self.node_id,
            "type": self.type,
            "label": self.label,
            "url": self.url if self.shows is None else url_of(self.shows),
            "asset_id": self.asset_id,
            "width": self.width,
            "height": self.height,
        } | self.extra


@dataclass
class SimCanvas:
    """The canvas of a project.

    Attributes:
        nodes: in the order in which they were made.
        edges: pairs of node ids, from and to.
        text: returned as the diagram in place of one made from the nodes.
    """

    nodes: list[SimNode] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    text: str | None = None

    def diagram(self) -> str:
        """The canvas as a Mermaid flowchart."""
        if self.text is not None:
            return self.text
        short = {node.node_id: f"n{number}" for number, node in enumerate(list(self.nodes), start=1)}
        lines = ["graph LR"]
        lines += [f'  {short[node.node_id]}["{_label(node)}"]' for node in list(self.nodes)]
        lines += [f"  {short[start]} --> {short[end]}" for start, end in self._joined(short)]
        return "\n".join(lines)

    def record(self, project_id: str) -> dict[str, object]:
        """The JSON object that `GET /projects/{project_id}/canvas` returns."""
        ids = [node.node_id for node in list(self.nodes)]
        joined = self._joined(ids)
        alone = set(ids) - {node_id for edge in joined for node_id in edge}
        return {
            "project_id": project_id,
            "canvas_url": f"https://app.flora.ai/projects/{project_id}",
            "diagram": self.diagram(),
            "summary": {
                "node_count": len(ids),
                "edge_count": len(joined),
                "group_count": 0,
                "isolated_node_count": len(alone),
                "workflow_count": _groups(joined),
            },
        }

    def _joined(self, ids: Collection[str]) -> list[tuple[str, str]]:
        """The edges both of whose ends are among `ids`."""
        return [edge for edge in list(self.edges) if edge[0] in ids and edge[1] in ids]


def _label(node: SimNode) -> str:
    text = (node.label or "").translate(_ESCAPES).strip()
    if len(text) > MAX_LABEL:
        text = text[: MAX_LABEL - 1].rstrip() + "…"
    return f"{text} ({node.type.capitalize()})".strip()


def _groups(edges: list[tuple[str, str]]) -> int:
    """The number of groups of nodes that edges connect."""
    groups: list[set[str]] = []
    for edge in edges:
        touched = [group for group in groups if group & set(edge)]
        groups = [group for group in groups if group not in touched] + [set(edge).union(*touched)]
    return len(groups)

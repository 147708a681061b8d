"""`canvas.json` beside a run's record: the labels of canvas nodes that show the run's outputs.

A node of a canvas may show an output of a run, and its label is often the prompt. A label that was seen once
is kept: labels are added to the file and never removed, whatever becomes of the node.

Everything here is pure, and everything that a canvas says comes from outside. docs/format.md describes the
file.

Source: FLORA's API reference for `GET /projects/{id}/nodes`.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from floradl.api.canvas import Node
from floradl.api.models import is_http
from floradl.api.raw_json import NOT_READABLE, replace_half_pairs
from floradl.constants import OutputType
from floradl.errors import safe_url
from floradl.repository.entries import RunEntry

LABELS_FORMAT = "floradl-canvas-labels"
"""The `format` of `canvas.json`."""
VERSION = 1
"""The version of `canvas.json`, and of snapshots of nodes."""

MAX_LABEL_BYTES = 1024 * 1024
"""A longer label, longer than any prompt, is not kept beside outputs. The snapshot of the nodes has it."""

MAX_LABELS = 1000
"""How many labels one output may have. No more are added then, since none that is kept is removed."""

MAX_LABELS_FILE_BYTES = 16 * 1024 * 1024
"""How large a `canvas.json` may get. A change that would make it larger is left out."""

_MAX_URL = 2000  # characters; the manifest cuts URLs there
_MAX_TYPE = 200  # characters of a node's type that are kept

log = logging.getLogger(__name__)


class Target(NamedTuple):
    """An output, by its run's id and its key."""

    run_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Targets:
    """Outputs, by what tells that a node shows them.

    Attributes:
        by_url: by the output's URL without its query.
        by_text: by the SHA-256, in hex, of an output that is a text.
    """

    by_url: Mapping[str, Sequence[Target]]
    by_text: Mapping[str, Sequence[Target]]


@dataclass(frozen=True, slots=True)
class Label:
    """The label of a node that shows an output; `seen_at` is in ISO 8601."""

    node_id: str
    label: str
    type: str
    project_id: str
    seen_at: str


def targets_of(runs: Iterable[tuple[str, RunEntry]]) -> Targets:
    """The outputs of some runs, by what tells that a node shows them."""
    by_url: defaultdict[str, list[Target]] = defaultdict(list)
    by_text: defaultdict[str, list[Target]] = defaultdict(list)
    for run_id, run in runs:
        for key, output in run.outputs.items():
            if output.url is not None and (url := comparable_url(output.url)):
                by_url[url].append(Target(run_id, key))
            elif output.type == OutputType.TEXT and output.sha256 is not None:
                by_text[output.sha256].append(Target(run_id, key))
    return Targets(by_url, by_text)


def comparable_url(url: str) -> str:
    """A URL in the form in which the manifest keeps it.

    Returns:
        The URL; "" when it is no http URL, or was cut or changed, so that two different URLs could look
        alike.
    """
    if not is_http(url):
        return ""
    shown = safe_url(url, limit=_MAX_URL)
    return shown if shown.startswith("http") and "\ufffd" not in shown and len(shown) <= _MAX_URL else ""


def labels_by_run(
    nodes: Iterable[Node], targets: Targets, *, project_id: str, seen_at: str
) -> dict[str, dict[str, list[Label]]]:
    """The labels of nodes that show outputs.

    Args:
        nodes: the nodes of one canvas.
        targets: the outputs that they may show.
        project_id: the canvas's project.
        seen_at: when the canvas was read, in ISO 8601.

    Returns:
        Run id → output's key → the labels of nodes that show it, one of each node.
    """
    found: dict[str, dict[str, list[Label]]] = {}
    each_once = {node.node_id: node for node in sorted(nodes, key=lambda node: node.raw)}
    for node in each_once.values():
        if not node.node_id or not node.label.strip() or len(node.label.encode()) > MAX_LABEL_BYTES:
            continue
        label = Label(node.node_id, node.label, node.type[:_MAX_TYPE], project_id, seen_at)
        for target in _shown_by(node, targets):
            found.setdefault(target.run_id, {}).setdefault(target.key, []).append(label)
    return found


def _shown_by(node: Node, targets: Targets) -> Sequence[Target]:
    """The outputs that a node shows: those with its URL; for a text, those with the same bytes."""
    found = targets.by_url.get(comparable_url(node.url), ())
    if found or node.type != OutputType.TEXT or not node.url.strip():
        return found
    return targets.by_text.get(hashlib.sha256(node.url.encode()).hexdigest(), ())


def merged_labels(raw: bytes | None, run_id: str, labels: Mapping[str, Collection[Label]]) -> bytes | None:
    """The bytes of a run's `canvas.json` with some labels added.

    The last of a node's labels is the one that it has now. A label that the node had before, and has again,
    moves to the end.

    Args:
        raw: the file as it is; None when there is none.
        run_id: the run.
        labels: output's key → labels of nodes that show it.

    Returns:
        The new bytes. None when nothing changes, when the file is broken, another run's or a newer
        floradl's, or when it would get larger than `MAX_LABELS_FILE_BYTES`: then the file must stay as it
        is.
    """
    content = _new_labels(run_id) if raw is None else _read_labels(raw, run_id)
    if content is None:
        log.info("canvas.json of a run is none of ours, or broken, and is left alone")
        return None
    outputs = content["outputs"]
    has_news = False
    for key, news in labels.items():
        known = outputs.get(key, [])
        for label in news:
            has_news = _add(known, label) or has_news
        if known:
            outputs[key] = known
    if not has_news:
        return None
    written = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    return written if len(written) <= MAX_LABELS_FILE_BYTES else None


def is_labels_of(raw: bytes, run_id: str) -> bool:
    """Whether these bytes are a run's `canvas.json` in the form that this version writes."""
    return _read_labels(raw, run_id) is not None


def shown_labels(raw: bytes, run_id: str) -> dict[str, str]:
    """What to show people of a run's `canvas.json`.

    Returns:
        Output's key → the last label of each node that shows it, newest first, each text once, with line
        feeds between them. Empty when the file is broken, or another run's.
    """
    content = _read_labels(raw, run_id) or {"outputs": {}}
    shown = {}
    for key, entries in content["outputs"].items():
        last: dict[str, object] = {}
        for entry in reversed(entries):
            last.setdefault(f"{entry.get('project_id')} {entry.get('node_id')}", entry.get("label"))
        texts = dict.fromkeys(label.strip() for label in last.values() if isinstance(label, str))
        shown[key] = "\n".join(filter(None, texts))
    return {key: text for key, text in shown.items() if text}


def _add(known: list[dict[str, Any]], label: Label) -> bool:
    """Add a label to those of an output, unless it is its node's last one; True when it was added."""
    same_node = [
        place
        for place, entry in enumerate(known)
        if (entry.get("node_id"), entry.get("project_id")) == (label.node_id, label.project_id)
    ]
    alike = [
        place
        for place in same_node
        if (known[place].get("label"), known[place].get("type")) == (label.label, label.type)
    ]
    if alike and alike[-1] == same_node[-1]:
        return False
    if not alike and len(known) >= MAX_LABELS:
        return False
    entry = known.pop(alike[-1]) if alike else {}
    known.append(entry | msgspec.to_builtins(label))
    return True


def _new_labels(run_id: str) -> dict[str, Any]:
    return {"format": LABELS_FORMAT, "version": VERSION, "run_id": run_id, "outputs": {}}


def _read_labels(raw: bytes, run_id: str) -> dict[str, Any] | None:
    try:
        content = msgspec.json.decode(replace_half_pairs(raw), type=dict[str, Any])
        told = {key: content.get(key) for key in ("format", "version", "run_id")}
        is_ours = told == {"format": LABELS_FORMAT, "version": VERSION, "run_id": run_id}
        msgspec.convert(content.get("outputs"), type=dict[str, list[dict[str, Any]]])
    except (*NOT_READABLE, msgspec.ValidationError):
        return None
    return content if is_ours else None

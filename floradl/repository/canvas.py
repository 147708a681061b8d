"""Snapshots of a canvas: their names, their bytes, and when a new one is due.

A canvas is kept as snapshots of two types: the diagram, in Mermaid as the API wrote it, and the nodes. Each
snapshot is an output in the manifest, under an entry that has the project's id. A snapshot is written only
if its bytes differ from the newest one of its type, so a canvas that does not change costs nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import PurePosixPath

from floradl.api.canvas import MAX_CANVAS_BYTES, Node
from floradl.errors import ApiAnswerError
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, OutputOp, State
from floradl.repository.labels import VERSION
from floradl.storage.destination import Destination

NODES_FORMAT = "floradl-canvas-nodes"
"""The `format` of a file of nodes; see docs/format.md."""

_KEY = re.compile(r"(\d{8}t\d{6}z)-(canvas|nodes)", re.ASCII)
_STAMP = "%Y%m%dt%H%M%Sz"


class SnapshotType(StrEnum):
    """The types of snapshots; each is the `type` of an output, and the end of its key."""

    CANVAS = "canvas"
    NODES = "nodes"


def nodes_bytes(nodes: Iterable[Node]) -> bytes:
    """The bytes of a snapshot of nodes: one record a line, as the API wrote it, each once, sorted by id.

    The API gives nodes in an order of its own. Sorted, the same nodes always make the same bytes, so that no
    new snapshot is written for another order.

    Raises:
        ApiAnswerError: the nodes have more than `MAX_CANVAS_BYTES` bytes.
    """
    order = sorted({(not node.node_id, node.node_id, node.raw) for node in nodes})
    head = b'{"format":"%b","version":%d,"nodes":[' % (NODES_FORMAT.encode(), VERSION)
    lines = b",\n".join(raw for _, _, raw in order)
    if len(lines) > MAX_CANVAS_BYTES:
        raise ApiAnswerError(f"the nodes have {len(lines)} bytes, more than {MAX_CANVAS_BYTES}")
    return head + (b"\n" + lines + b"\n" if order else b"") + b"]}\n"


def snapshot_stamp(now_ms: int, taken: Iterable[str]) -> str:
    """The beginning of a new snapshot's keys: its time to the second, such as `20261126t023000z`.

    Args:
        now_ms: the time, in milliseconds since 1970.
        taken: the keys that the canvas has. The new key has to sort after all of them, since the last one is
            the newest. So if one of them is of this second, or of a later one after the clock was set back,
            the new key is one second after the last of them.
    """
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    stamps = [match[1] for key in taken if (match := _KEY.fullmatch(key))]
    stamp = now.strftime(_STAMP)
    if stamps and max(stamps) >= stamp:
        stamp = _after(max(stamps)) or stamp
    return stamp


def snapshot_key(stamp: str, type: SnapshotType) -> str:  # noqa: A002 - the manifest's own name for it
    """The key of an output of a canvas, such as `20261126t023000z-nodes`."""
    return f"{stamp}-{type}"


def newest_snapshot(outputs: Mapping[str, OutputEntry], type: SnapshotType) -> str | None:  # noqa: A002 - as above
    """The key of the newest archived snapshot of a type; None where there is none."""
    keys = [
        key
        for key, output in outputs.items()
        if (match := _KEY.fullmatch(key)) and match[2] == type and output.state == State.ARCHIVED
    ]
    return max(keys, default=None)


def is_changed(outputs: Mapping[str, OutputEntry], type: SnapshotType, data: bytes) -> bool:  # noqa: A002 - as above
    """Whether these bytes differ from the newest archived snapshot of a type, or there is none."""
    key = newest_snapshot(outputs, type)
    return key is None or outputs[key].sha256 != hashlib.sha256(data).hexdigest()


def _after(stamp: str) -> str | None:
    """The stamp of the next second; None when a stamp is no time, or no time comes after it."""
    try:
        moment = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return moment.strftime(_STAMP)


def snapshot_op(
    disk: Destination, project_id: str, path: PurePosixPath, at: str, *, sha256: str | None = None
) -> OutputOp | None:
    """The change that records a canvas snapshot which the manifest does not have. Blocks.

    Args:
        disk: the archive.
        project_id: the canvas's project.
        path: where the snapshot stands, or stood.
        at: now, in ISO 8601.
        sha256: the hash of its bytes, if one was recorded elsewhere; None to read and hash the file.

    Returns:
        The change; None when the name is no snapshot's, or there is neither a file with bytes nor a hash.
    """
    snapshot = layout.snapshot_of(path.name)
    if snapshot is None:
        return None
    (files,) = disk.sizes([path.parent])
    size_bytes = files.get(path.name, 0)
    if sha256 is None and not size_bytes:
        return None
    entry = OutputEntry(
        type=snapshot[1],
        state=State.ARCHIVED,
        file=path.name,
        size_bytes=size_bytes,
        sha256=sha256 or disk.digest(path).sha256,
        archived_at=at,
    )
    return OutputOp(project_id, snapshot[0], entry)

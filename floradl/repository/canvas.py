"""Snapshots of a canvas: names, files, entries."""

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

_KEY = re.compile(r"(\d{8}t\d{6}z)-(canvas|nodes)", re.ASCII)
_STAMP = "%Y%m%dt%H%M%Sz"


class SnapshotType(StrEnum):
    """The type of a canvas's output, and the end of its key."""

    CANVAS = "canvas"
    NODES = "nodes"


def nodes_bytes(nodes: Iterable[Node]) -> bytes:
    """The file of a canvas's nodes: a record a line, each to the byte and once, sorted by id.

    The API's order says nothing that is kept, so the same nodes in another order are the same bytes.

    Raises:
        ApiAnswerError: it would be larger than `MAX_CANVAS_BYTES`.
    """
    order = sorted({(not node.node_id, node.node_id, node.raw) for node in nodes})
    head = b'{"format":"%b","version":%d,"nodes":[' % (NODES_FORMAT.encode(), VERSION)
    lines = b",\n".join(raw for _, _, raw in order)
    if len(lines) > MAX_CANVAS_BYTES:
        raise ApiAnswerError(f"the nodes have {len(lines)} bytes, more than {MAX_CANVAS_BYTES}")
    return head + (b"\n" + lines + b"\n" if order else b"") + b"]}\n"


def snapshot_stamp(now_ms: int, taken: Iterable[str]) -> str:
    """What the keys of a new snapshot begin with: its time to the second, such as `20261126t023000z`.

    Args:
        now_ms: the time.
        taken: the keys that the canvas has. The new one sorts after all of them, so where one has this second
            or, after a clock was set back, a later one, it is the next second after that.
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
    """Whether these bytes are another state than that of the newest archived snapshot."""
    key = newest_snapshot(outputs, type)
    return key is None or outputs[key].sha256 != hashlib.sha256(data).hexdigest()


def _after(stamp: str) -> str | None:
    """The next second; None where a stamp is no time, or the last there is."""
    try:
        moment = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return moment.strftime(_STAMP)


def snapshot_op(
    disk: Destination, project_id: str, path: PurePosixPath, at: str, *, sha256: str | None = None
) -> OutputOp | None:
    """The entry of a canvas snapshot that none knows, from its name and its bytes. Blocks.

    Args:
        disk: the archive.
        project_id: whose canvas it is.
        path: where it stands, or stood.
        at: now.
        sha256: what its bytes should be; None: whatever they are.

    Returns:
        None when it has no snapshot's name, or no bytes and no hash tells of any.
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

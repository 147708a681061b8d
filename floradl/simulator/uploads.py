"""Uploaded files, and the JSON that `GET /assets` and `GET /assets/{asset_id}` return for them.

Guarantees the fields that FLORA's SDK (0.11.0) declares. They differ: an item of the list has the project,
the node and a `created_at` in unix milliseconds; the single asset has a failure message and a `created_at` in
ISO 8601.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from .runs import NEWEST_AT_MS

if TYPE_CHECKING:
    from .runs import SimOutput


class AssetStatus(StrEnum):
    """The three states an upload can be in."""

    PENDING = "pending_upload"
    READY = "ready"
    FAILED = "failed"


@dataclass(eq=False)
class SimAsset:
    """An uploaded file. Several may have the same bytes, and several in different projects the same id.

    Attributes:
        asset_id: None is returned as null, which the SDK allows; such an asset has a `node_id`, and no
            endpoint returns it alone.
        file: its bytes, content type and path on the media server, like an output's; `file.url` is returned
            in place of a URL of the media server.
        created_at: unix milliseconds, or None for null.
        status: one of `AssetStatus`; `url` is null unless it is ready.
        size_bytes: returned in place of the true size.
        with_size: False returns null as the size.
        content_type: returned in place of the content type of the media server.
        extra: further fields of both endpoints, which also replace those above.
    """

    asset_id: str | None
    workspace_id: str
    file: SimOutput
    project_id: str | None = None
    node_id: str | None = None
    name: str | None = None
    description: str | None = None
    created_at: int | None = NEWEST_AT_MS
    status: str = AssetStatus.READY
    size_bytes: int | None = None
    with_size: bool = True
    content_type: str | None = None
    uploaded_via: str = "direct"
    failure_message: str | None = None
    extra: dict[str, object] = field(default_factory=dict)

    def listed_record(self, url: str) -> dict[str, object]:
        """The JSON object of an item of `GET /assets`; `url` is the address of a ready file."""
        place = {"node_id": self.node_id, "project_id": self.project_id, "created_at": self.created_at}
        return self._facts(url) | place | self.extra

    def own_record(self, url: str) -> dict[str, object]:
        """The JSON object that `GET /assets/{asset_id}` returns; `url` as in `listed_record`."""
        moment = None
        if self.created_at is not None:
            at = datetime.fromtimestamp(self.created_at / 1000, UTC)
            moment = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        more = {"created_at": moment, "failure_message": self.failure_message}
        return self._facts(url) | more | self.extra

    def _facts(self, url: str) -> dict[str, object]:
        is_ready = self.status == AssetStatus.READY
        kind = self.content_type or self.file.content_type or "application/octet-stream"
        size = self.size_bytes
        if size is None and self.with_size and is_ready:
            size = len(self.file.body)
        drawing = self.file.drawing
        is_picture = drawing is not None and kind.startswith("image/")
        return {
            "asset_id": self.asset_id,
            "workspace_id": self.workspace_id,
            "name": self.name,
            "description": self.description,
            "content_type": kind,
            "upload_content_type": kind,
            "uploaded_via": self.uploaded_via,
            "status": self.status,
            "size_bytes": size if self.with_size else None,
            "width": drawing.width if drawing and is_picture else None,
            "height": drawing.height if drawing and is_picture else None,
            "url": url if is_ready else None,
        }

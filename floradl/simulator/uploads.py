"""Uploaded inputs: what `GET /assets` and `GET /assets/{asset_id}` tell of them.

Guarantees the fields that FLORA's SDK (0.11.0) declares for the two, which are not the same: the list tells
project, node and a `created_at` in unix milliseconds, the single asset tells a failure message and a
`created_at` in ISO 8601.
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
    """An uploaded file. Several may have the same bytes, or stand in several projects under one id.

    Attributes:
        asset_id: None gives null, as the SDK says may be; such an asset has a `node_id` and no address.
        file: its bytes, content type and path on the media server, like a run's output; `file.url` is given
            verbatim instead of a URL of the media server.
        created_at: unix milliseconds, or None for null.
        status: one of `AssetStatus`; `url` is null unless it is ready.
        size_bytes: what the API says instead of the true size.
        with_size: False makes the API say null.
        content_type: what the API says instead of what the media server does.
        extra: fields told by both endpoints, also in place of those above.
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
        """An item of `GET /assets`; `url` is where the file is when it is ready."""
        place = {"node_id": self.node_id, "project_id": self.project_id, "created_at": self.created_at}
        return self._facts(url) | place | self.extra

    def own_record(self, url: str) -> dict[str, object]:
        """The answer of `GET /assets/{asset_id}`."""
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

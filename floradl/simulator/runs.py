"""Runs and their outputs, and the workspaces and projects that they are in.

Guarantees that the bytes of an output are drawn when they are first asked for, and stay the same until they
are set: an account of thousands of runs costs no memory for files that nobody downloads.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from enum import StrEnum

from . import media

NEWEST_AT_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


class RunStatus(StrEnum):
    """The four states a run can be in."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class SimOutput:
    """One output of a run.

    Args:
        output_id: as the API gives it; it has no pattern.
        type: the API's type, such as `imageUrl` or `text`.
        content_type: what the media server says; from the drawing when None.
        text: the text of a `text` output, which the API gives in place of a URL.
        body: the file's bytes; drawn from `drawing` when None.
        path: URL path on the media server, percent-encoded, starting with "/"; made up when empty.
        url: given by the API verbatim instead of a URL of the media server.
        drawing: what to draw when `body` is not set.
    """

    __slots__ = ("_body", "_etag", "content_type", "drawing", "output_id", "path", "text", "type", "url")

    def __init__(
        self,
        output_id: str,
        type: str = "imageUrl",  # noqa: A002 - the API's own name for it
        *,
        content_type: str | None = None,
        text: str | None = None,
        body: bytes | None = None,
        path: str = "",
        url: str | None = None,
        drawing: media.Drawing | None = None,
    ) -> None:
        if content_type is None and drawing is not None:
            content_type = media.CONTENT_TYPES[drawing.kind]
        if not path and text is None and url is None:
            path = f"/node-inputs/2026-11-01/anonymous/{uuid.uuid4()}"
        self.output_id = output_id
        self.type = type
        self.content_type = content_type
        self.text = text
        self.path = path
        self.url = url
        self.drawing = drawing
        self._body = body
        self._etag: str | None = None

    def __repr__(self) -> str:
        return f"SimOutput({self.output_id!r}, {self.type!r}, path={self.path!r})"

    @property
    def body(self) -> bytes:
        """The file's bytes (for a text output, its UTF-8); setting them changes the ETag as well."""
        if self._body is None:
            if self.text is not None:
                return self.text.encode()
            self._body = media.draw(self.drawing) if self.drawing else b""
        return self._body

    @body.setter
    def body(self, value: bytes) -> None:
        self._body = value
        self._etag = None

    @property
    def etag(self) -> str:
        """A strong validator, quotes included, made from the bytes alone."""
        if self._etag is None:
            self._etag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'
        return self._etag


class Listing(StrEnum):
    """Which of the two histories list a run; `GET /runs/{run_id}` returns every run."""

    GENERATIONS = "generations"
    TECHNIQUE_RUNS = "technique-runs"
    BOTH = "both"


@dataclass(frozen=True)
class SimTechnique:
    """A technique: a workflow that people run as one."""

    technique_id: str
    name: str


@dataclass(eq=False)
class SimRun:
    """One run, with what the API returns about it; times are unix milliseconds.

    Runs are compared by identity, so that a run that changes stays in the sets that it is in.

    Attributes:
        status: one of `RunStatus`; everything else about a run's state follows from it.
        charged_cost: in USD; None leaves the field out, as the API does for up to a minute.
        model_id: None gives `{"model_id": null}`; `with_model` False leaves `model` out.
        outputs: listed only once the run is completed, so an open run may have them already.
        list_outputs: False leaves `outputs` out of the lists; `GET /runs/{id}` has them all the same.
        extra: fields that no client knows, in the lists and in `GET /runs/{id}`.
        technique: the technique that was run; only `GET /technique-runs` has it.
        listed_by: one of `Listing`; None means both for a run of a technique, else generations.
    """

    run_id: str
    workspace_id: str
    project_id: str
    status: str = RunStatus.COMPLETED
    created_at: int = NEWEST_AT_MS
    started_at: int | None = None
    completed_at: int | None = None
    progress: float = 100
    charged_cost: float | None = None
    model_id: str | None = None
    with_model: bool = True
    outputs: list[SimOutput] = field(default_factory=list)
    list_outputs: bool = True
    extra: dict[str, object] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None
    technique: SimTechnique | None = None
    listed_by: str | None = None

    def is_listed_by(self, source: str) -> bool:
        """Whether `GET /generations` or `GET /technique-runs`, without the slash, lists this run."""
        usual = Listing.BOTH if self.technique else Listing.GENERATIONS
        listed_by = self.listed_by or usual
        return source == listed_by or (listed_by == Listing.BOTH and source in set(Listing))


@dataclass(frozen=True)
class SimWorkspace:
    """A workspace the key may see."""

    workspace_id: str
    name: str
    role: str = "owner"
    created_at: int | None = None


@dataclass(frozen=True)
class SimProject:
    """A project of a workspace."""

    project_id: str
    workspace_id: str
    name: str
    origin: str | None = "app"
    created_at: int = NEWEST_AT_MS
    last_modified: int | None = None

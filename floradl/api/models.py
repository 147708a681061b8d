"""The values of the API: runs with their outputs, scopes to list, and filters on what is wanted.

A run must have an id and a status; any other field may be missing, new or of an unexpected type, and the run
is still read. The record's own bytes stay beside the fields (`Generation.raw`), so that `run.json` is the
API's record to the byte.

An asset, which is a file that somebody uploaded, is read as a run with one output: the file.

Source of the fields: FLORA's API reference for `GET /generations`, `GET /technique-runs`, `GET /assets`, and
for the endpoints that give one of their records by its id.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import msgspec

from floradl.constants import TYPE_WORDS, Kind, OutputType, Source, Status

MEDIA_TYPES = frozenset({OutputType.IMAGE, OutputType.VIDEO, OutputType.AUDIO})
"""Types whose files are never HTML, XML or JSON; such bytes are an error page in place of the file."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a run, as listed.

    Args:
        key: the output's id, made unique within its run (`<id>`, then `<id>#2`…).
        type: the API's word for its type; see `OutputType`.
        value: the API's field `url`: a URL, or the text itself for text outputs; None where it is no text.
        size_bytes: how many bytes the API announces; None where it announces no size.
        content_type: the media type that the record names; "" where it names none, as records of runs do.
    """

    key: str
    type: str
    value: str | None
    size_bytes: int | None = None
    content_type: str = ""

    @property
    def is_text(self) -> bool:
        """Whether `value` is the content itself.

        It always is for the type `text`, even where it looks like a URL, and for an unknown type where it
        does not look like one.
        """
        if self.type == OutputType.TEXT:
            return True
        return self.type not in TYPE_WORDS.values() and self.value is not None and not is_http(self.value)


@dataclass(frozen=True, slots=True)
class Generation:
    """One run, asset or canvas node, as the API lists it.

    `run_id` is its id, whatever its kind; `name` is an asset's name or a node's label. `outputs` is None
    where the record has no list of outputs, and must then be asked for by the run's id.
    """

    run_id: str
    workspace_id: str
    project_id: str
    status: str
    created_at_ms: int | None
    completed_at_ms: int | None
    charged_cost: float | None
    model_id: str | None
    outputs: tuple[Output, ...] | None
    poll_url: str | None
    progress: float | None = None
    raw: bytes = field(default=b"", repr=False)
    kind: Kind = Kind.RUN
    technique_id: str | None = None
    technique_name: str | None = None
    name: str | None = None

    @property
    def done_at_ms(self) -> int | None:
        """When it was completed, or created where the API does not say."""
        return self.completed_at_ms if self.completed_at_ms is not None else self.created_at_ms


class Workspace(msgspec.Struct, frozen=True):
    """A workspace that the key may see, as `GET /workspaces` gives it."""

    workspace_id: str
    name: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What one scan covers: a source, in a workspace or project; both None: all that the key can see."""

    workspace_id: str | None = None
    project_id: str | None = None
    source: str = Source.GENERATIONS

    @property
    def kind(self) -> Kind:
        """The kind of the entries that its source lists."""
        return _KINDS.get(self.source, Kind.RUN)

    @property
    def is_everything(self) -> bool:
        """Whether it names neither a workspace nor a project."""
        return self.workspace_id is None and self.project_id is None

    def holds(self, workspace_id: str, project_id: str) -> bool:
        """Whether a run of this workspace and project lies in the scope."""
        return self.workspace_id in (None, workspace_id) and self.project_id in (None, project_id)

    def of(self, source: Source) -> Scope:
        """Return the same workspace and project in another source."""
        return replace(self, source=source)

    def __str__(self) -> str:
        named = [name for name in (self.workspace_id, self.project_id) if name]
        place = "/".join(named) or "the whole account"
        return place if self.source == Source.GENERATIONS else f"{self.source} of {place}"


_KINDS: dict[str, Kind] = {Source.ASSETS: Kind.ASSET, Source.CANVAS: Kind.CANVAS}
EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Filters:
    """Which of the runs in scope the user wants. With any filter the archive is partial: no seal."""

    run_ids: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    max_runs: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything in scope is wanted."""
        return self == Filters()

    def wants(self, run: Generation) -> bool:
        """Whether this run is wanted. A run without a date or model passes no filter on it."""
        return (
            (not self.run_ids or run.run_id in self.run_ids)
            and self.wants_model(run.model_id)
            and self.wants_moment(run.created_at_ms)
        )

    def wants_model(self, model_id: str | None) -> bool:
        """Whether runs of this model are wanted."""
        return not self.models or any(fnmatchcase(model_id or "", glob) for glob in self.models)

    def wants_moment(self, created_at_ms: int | None) -> bool:
        """Whether runs created at this moment are wanted: `since` inclusive, `until` exclusive."""
        if created_at_ms is None:
            return self.since_ms is None and self.until_ms is None
        return (self.since_ms is None or created_at_ms >= self.since_ms) and (
            self.until_ms is None or created_at_ms < self.until_ms
        )

    def wants_type(self, output_type: str) -> bool:
        """Whether outputs of this API type are wanted."""
        return not self.types or output_type in self.types


def is_http(value: str) -> bool:
    """Whether this looks like a URL that a web client could fetch."""
    return value[:8].lower().startswith(("https://", "http://"))


def is_open(status: str) -> bool:
    """Whether a run with this status may still complete."""
    return status in (Status.PENDING, Status.RUNNING)

"""The values that travel through floradl: what the API lists, what is wanted, what came of it.

Records come from outside and are read with tolerance: a run needs an id and a status, and everything
else may be missing, new or of a type nobody expected, without costing the run. The record's own bytes
stay beside the fields (`Generation.raw`), so that `run.json` is what the API said, to the byte.

An asset, which is what somebody uploaded, is read as a run with one output: its file.

Source of the fields: FLORA's API reference for `GET /generations`, `GET /technique-runs`, `GET /assets` and
what they list by id.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import msgspec

from floradl.constants import TYPE_WORDS, Kind, OutputType, Source, Status

MEDIA_TYPES = frozenset({OutputType.IMAGE, OutputType.VIDEO, OutputType.AUDIO})
"""Types whose bytes are never a page of HTML, XML or JSON."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a run, as listed.

    `key` is the output's id made unique within its run (`<id>`, then `<id>#2`…); `value` is the API's
    `url` field: a URL, the text itself for text outputs, or None when the API gave nothing usable;
    `size_bytes` how many bytes the API announces, None where it does not.
    """

    key: str
    type: str
    value: str | None
    size_bytes: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether `value` is the content itself. A `text` output is one even if it looks like a URL."""
        if self.type == OutputType.TEXT:
            return True
        return self.type not in TYPE_WORDS.values() and self.value is not None and not is_http(self.value)


@dataclass(frozen=True, slots=True)
class Generation:
    """One run or asset, as the API lists it. `outputs` is None when the record had no such field.

    `run_id` is its id, an asset's too; `name` what an asset is called.
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
    """What one scan covers; each scope has a seal of its own. None means: all that the key can see."""

    workspace_id: str | None = None
    project_id: str | None = None
    source: str = Source.GENERATIONS

    @property
    def kind(self) -> Kind:
        """Of which kind what it lists is."""
        return _KINDS.get(self.source, Kind.RUN)

    def holds(self, workspace_id: str, project_id: str) -> bool:
        """Whether a run of this workspace and project lies in the scope."""
        return self.workspace_id in (None, workspace_id) and self.project_id in (None, project_id)

    def of(self, source: Source) -> Scope:
        """The same place, as another endpoint lists it."""
        return replace(self, source=source)

    def __str__(self) -> str:
        named = [name for name in (self.workspace_id, self.project_id) if name]
        place = "/".join(named) or "the whole account"
        return place if self.source == Source.GENERATIONS else f"{self.source} of {place}"


_KINDS: dict[str, Kind] = {Source.ASSETS: Kind.ASSET, Source.CANVAS: Kind.CANVAS}
EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Filters:
    """What the user wants of the runs in scope. Any of these makes the archive partial: no seal."""

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
        """Whether this run is wanted; a run without a date or model passes no filter on it."""
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

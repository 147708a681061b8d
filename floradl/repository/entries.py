"""What the manifest and its journal hold, as typed values.

The names of the fields are the names in `manifest.json`; docs/format.md describes them. Readers keep keys
that they do not know, so a newer floradl may add some without a new version of the format.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from floradl.constants import Kind, Source

FORMAT = "floradl-manifest"
VERSION = 2
"""Of `manifest.json` and the journal; all older ones are read."""


class State(StrEnum):
    """What became of an output."""

    ARCHIVED = "archived"
    FAILED = "failed"
    LOST = "lost"  # a canvas snapshot that was archived, is damaged or gone, and cannot be had again


class ErrorEntry(msgspec.Struct, frozen=True):
    """Why an output failed, and when it was last tried."""

    code: str
    message: str
    at: str


class OutputEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output. `file` lies in the run's folder; `url` is without its query, and absent for texts.

    `same_as` is the path of the file that it was made from, because that had the same bytes, and `shared_by`
    how (`constants.SharedBy`, or what a newer floradl knows); nothing relies on that file afterwards.
    """

    type: str
    state: State
    file: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    url: str | None = None
    archived_at: str | None = None
    attempts: int | None = None
    error: ErrorEntry | None = None
    same_as: str | None = None
    shared_by: str | None = None


class RunFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a run apart from its outputs; of an asset or a canvas the same.

    `path` is its folder, relative to the archive; `record_sha256` the hash of its record there, "" for a
    canvas, which has none; `output_count` how many outputs its record had, None when that is not known.
    `name` is what an asset is called.
    """

    workspace_id: str
    project_id: str
    path: str
    model_id: str | None
    created_at: int | None
    completed_at: int | None
    charged_cost: float | None
    record_sha256: str
    output_count: int | None = None
    kind: Kind = Kind.RUN
    technique_id: str | None = None
    technique_name: str | None = None
    name: str | None = None


class RunEntry(RunFacts, frozen=True, omit_defaults=True):
    """One run, asset or canvas with its outputs by key.

    `sources` are the endpoints that told of it; `labels_sha256` is the hash of what its project's canvas says
    of its outputs (`canvas.json` in its folder), None where there is no such file.
    """

    outputs: dict[str, OutputEntry] = {}
    vanished_at: str | None = None
    sources: tuple[str, ...] = (Source.GENERATIONS,)
    labels_sha256: str | None = None


class ScopeEntry(msgspec.Struct, frozen=True):
    """What a scan covers; null means everything that the key sees."""

    source: str
    workspace_id: str | None
    project_id: str | None


class ScanEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one scope's scans.

    Everything in scope that was created before `sealed_before` (unix ms) is recorded, except `open_runs`:
    the API's records of the runs that were still pending or running. It holds for `account` alone (see
    `client.FloraApi.account`): another key may see other runs. `refused_at` is since when the API keeps this
    list from the key that scanned it before; None: it does not.
    """

    scope: ScopeEntry
    account: str
    sealed_before: int | None
    open_runs: dict[str, msgspec.Raw]
    last_scan_at: str
    last_full_scan_at: str
    refused_at: str | None = None


class JournalHeader(msgspec.Struct, frozen=True, tag_field="op", tag="journal"):
    """A journal's first line."""

    version: int
    archive_id: str
    created_at: str


class RunOp(msgspec.Struct, frozen=True, tag_field="op", tag="run"):
    """A run's `run.json` is on disk; these are its facts. Outputs stay as they are."""

    run_id: str
    facts: RunFacts


class OutputOp(msgspec.Struct, frozen=True, tag_field="op", tag="output"):
    """An output is on disk, or has failed."""

    run_id: str
    key: str
    entry: OutputEntry


class ScanOp(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="op", tag="scan"):
    """A scan ended cleanly. It counts for the snapshot with the origin `onto` alone; None: for any."""

    scan: ScanEntry
    onto: str | None = None


class VanishedOp(msgspec.Struct, frozen=True, tag_field="op", tag="vanished"):
    """The API does not list a run any more; `at` None: it does again."""

    run_id: str
    at: str | None


class SourcesOp(msgspec.Struct, frozen=True, tag_field="op", tag="sources"):
    """Which endpoints of the API have told of a run so far."""

    run_id: str
    sources: tuple[str, ...]


class LabelsOp(msgspec.Struct, frozen=True, tag_field="op", tag="labels"):
    """A run's `canvas.json` is on disk, with this hash."""

    run_id: str
    sha256: str


Op = RunOp | OutputOp | ScanOp | VanishedOp | SourcesOp | LabelsOp
"""One change of the manifest. Applying one twice is the same as once."""

ADDITIONS = (OutputOp, VanishedOp, SourcesOp, LabelsOp)
"""Changes of an entry that is there: one alone makes no entry that anybody could read."""

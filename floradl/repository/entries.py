"""Values that the manifest and its journal are made of.

The names of the fields are the keys in `manifest.json`; docs/format.md describes them. Whoever changes an
entry keeps the keys that it does not know, so a newer floradl may add keys without a new version of the
format.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from floradl.bounds import Count, Moment, SizeBytes, Usd
from floradl.constants import Kind, Source

FORMAT = "floradl-manifest"
VERSION = 2
"""The version of `manifest.json` and of the journal. All older versions are read."""


class State(StrEnum):
    """What has become of an output."""

    ARCHIVED = "archived"
    FAILED = "failed"
    LOST = "lost"  # a canvas snapshot that was archived, is damaged or gone, and cannot be had again


class ErrorEntry(msgspec.Struct, frozen=True):
    """Why an output could not be archived, and when it was last tried (ISO 8601)."""

    code: str
    message: str
    at: str


class OutputEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of a run, an asset or a canvas.

    Attributes:
        type: the API's word for what it is, such as `imageUrl`.
        state: what has become of it.
        file: its name in the run's folder.
        size_bytes: the file's size.
        sha256: the file's hash, in hex.
        content_type: the host's `Content-Type`.
        url: where it came from, without the query, which may hold a secret; None for texts.
        archived_at: when it was archived, in ISO 8601.
        attempts: how often it was tried, if it failed.
        error: why it failed.
        same_as: the path of another file with the same bytes, relative to the archive, from which this one
            was made. Nothing relies on that file afterwards.
        shared_by: how it was made from that file (`constants.SharedBy`, or a newer floradl's word).
        announced_bytes: the size that the API announced, if the file is of another.
        compressed: whether the host refused the original, and the file is what it makes of it.
    """

    type: str
    state: State
    file: str | None = None
    size_bytes: SizeBytes | None = None
    sha256: str | None = None
    content_type: str | None = None
    url: str | None = None
    archived_at: str | None = None
    attempts: Count | None = None
    error: ErrorEntry | None = None
    same_as: str | None = None
    shared_by: str | None = None
    announced_bytes: SizeBytes | None = None
    compressed: bool = False


class RunFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a run, an asset or a canvas apart from its outputs.

    Attributes:
        workspace_id, project_id: where it belongs, as the API said when it was first archived.
        path: its folder, relative to the archive.
        model_id: the model of a run.
        created_at, completed_at: in milliseconds since 1970.
        charged_cost: what FLORA charged, in USD.
        record_sha256: the hash of the API's record in its folder; "" for a canvas, which has no record.
        output_count: how many outputs its record has; None when that is not known.
        kind: a run, an asset or a canvas.
        technique_id, technique_name: the technique of a run, if it had one.
        name: what an asset is called.
        next_record_sha256: the hash of another record that is about to take the place of the one in the
            folder; None apart from the moment of that. Either of the two may stand there then.
    """

    workspace_id: str
    project_id: str
    path: str
    model_id: str | None
    created_at: Moment | None
    completed_at: Moment | None
    charged_cost: Usd | None
    record_sha256: str
    output_count: Count | None = None
    kind: Kind = Kind.RUN
    technique_id: str | None = None
    technique_name: str | None = None
    name: str | None = None
    next_record_sha256: str | None = None

    @property
    def record_hashes(self) -> tuple[str, ...]:
        """The hashes of the records that may stand in the folder: one, or two while it is replaced."""
        return tuple(sha256 for sha256 in (self.record_sha256, self.next_record_sha256) if sha256)


class RunEntry(RunFacts, frozen=True, omit_defaults=True):
    """One run, asset or canvas, with its outputs.

    Attributes:
        outputs: its outputs, by their keys.
        vanished_at: since when the API does not list it any more (ISO 8601); None while it does.
        sources: the lists of the API that have had it.
        labels_sha256: the hash of `canvas.json` in its folder; None when there is no such file.
    """

    outputs: dict[str, OutputEntry] = {}
    vanished_at: str | None = None
    sources: tuple[str, ...] = (Source.GENERATIONS,)
    labels_sha256: str | None = None


class ScopeEntry(msgspec.Struct, frozen=True):
    """What a scan covers: one list of the API, in one place. None stands for everything that the key sees."""

    source: str
    workspace_id: str | None
    project_id: str | None


class ScanEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one scope's scans, by one account.

    Attributes:
        scope: what is scanned.
        account: whose key scanned (`client.FloraApi.account`): another key may see other runs.
        sealed_before: everything in scope that was created before this time (milliseconds since 1970) is
            recorded, apart from the open runs; None when nothing is known to be complete.
        open_runs: the API's records of runs that were still pending or running, by their ids.
        last_scan_at, last_full_scan_at: when the last scan, and the last one over the whole history, ended
            without an error (ISO 8601).
        refused_at: since when the API has refused this list to the key, which it gave before; None while it
            gives it.
    """

    scope: ScopeEntry
    account: str
    sealed_before: Moment | None
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
    """A run's record is on disk, and these are its facts. Its outputs' entries stay as they are."""

    run_id: str
    facts: RunFacts


class OutputOp(msgspec.Struct, frozen=True, tag_field="op", tag="output"):
    """An output is durable under its final name, or has failed."""

    run_id: str
    key: str
    entry: OutputEntry


class ScanOp(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="op", tag="scan"):
    """A scan ended without an error.

    Attributes:
        scan: the scope's new state.
        onto: the `manifest.json` that it was made on (`Manifest.origin`), on which alone it counts. None, as
            an older floradl wrote it, counts on any.
    """

    scan: ScanEntry
    onto: str | None = None


class VanishedOp(msgspec.Struct, frozen=True, tag_field="op", tag="vanished"):
    """The API does not list a run any more since `at` (ISO 8601); with None it lists it again."""

    run_id: str
    at: str | None


class SourcesOp(msgspec.Struct, frozen=True, tag_field="op", tag="sources"):
    """Which lists of the API have had a run so far."""

    run_id: str
    sources: tuple[str, ...]


class LabelsOp(msgspec.Struct, frozen=True, tag_field="op", tag="labels"):
    """A run's `canvas.json` is on disk, with this hash."""

    run_id: str
    sha256: str


Op = RunOp | OutputOp | ScanOp | VanishedOp | SourcesOp | LabelsOp
"""One change of the manifest. To apply it twice is the same as once, so a journal may be replayed again."""

ADDITIONS = (OutputOp, VanishedOp, SourcesOp, LabelsOp)
"""Changes that need an entry which is there already: alone, they make no entry that could be read."""

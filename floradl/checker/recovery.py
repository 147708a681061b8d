"""A manifest again, from whatever is left of it: its own lines, the journal, the folders and their bytes.

Nothing here writes. What a lost or broken `manifest.json` said is put together in this order:

1. Each line of the broken file that still is a whole entry, of whatever kind.
2. The journal, as far as it is whole and of this archive.
3. Each folder that no entry knows (`adopt_folder`): a run's with its `run.json`, an asset's with its
   `asset.json`, a canvas's with snapshots. An output is recorded with the hash that `SHA256SUMS` has for it,
   so that damage and loss show; else with the hash of its bytes. Where `SHA256SUMS` is lost too, an output
   without a file is recorded as failed, so that it is fetched; of a snapshot nothing is known then.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import msgspec

from floradl.api.models import MEDIA_TYPES, Generation, Output
from floradl.api.raw_json import NOT_READABLE, fields_of
from floradl.api.records import moment_ms, parse_record
from floradl.checker.findings import Finding, Trouble
from floradl.clock import Clock, format_ms
from floradl.constants import Kind, Source, Status
from floradl.errors import ApiError, ManifestError, NewerFormatError, safe_url
from floradl.repository import filetype, layout
from floradl.repository.canvas import snapshot_op
from floradl.repository.entries import (
    ADDITIONS,
    ErrorEntry,
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    ScanOp,
    SourcesOp,
    State,
)
from floradl.repository.history import History, read_history
from floradl.repository.journal import Journal, has_lost_lines, parse_journal
from floradl.repository.manifest import Manifest
from floradl.repository.results import facts_of
from floradl.storage.destination import Destination

_RUN_LINE = re.compile(rb'("(?:[^"\\]|\\.)*"): (\{.*\}),?')
_HEAD_LINE = re.compile(rb'"(archive_id|created_at)": "([0-9A-Za-z:.+-]{1,64})",?')
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)/([^/]+)")
Checksums = Mapping[str, Mapping[str, str]]
"""Folder → file → SHA-256."""


_ASSET_DEPTH = 4
"""How many folders deep an asset's own is: workspace, project, `assets`, asset."""

_WITHOUT_OUTPUTS = 2
"""How many changes make a canvas known, its snapshots apart."""


@dataclass(frozen=True)
class Recovered:
    """A manifest, and what was wrong with its files.

    `is_whole` says that snapshot and journal were read as they are; `is_folded` that no change of a run waits
    in the journal, so that `SHA256SUMS` should say what the manifest says. `waiting` are changes of runs that
    the manifest does not know, for when it does.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    is_folded: bool
    waiting: tuple[Op, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing had to be pieced together."""
        return not self.findings


@dataclass(frozen=True)
class Adoption:
    """A run, asset or canvas that no entry knew, and the changes that make it known."""

    run_id: str
    kind: Kind
    ops: tuple[Op, ...]


def recover(disk: Destination, clock: Clock) -> Recovered:
    """Read an archive's manifest as well as it can be read. Blocks.

    Raises:
        NewerFormatError: a newer floradl wrote it; there is nothing to recover.
    """
    waiting: list[Op] = []
    journal, trouble = _read_journal(disk)
    manifest, finding = _read_manifest(disk, clock, journal)
    if journal.header is not None and journal.header.archive_id != manifest.archive_id:
        trouble = "it belongs to another archive than manifest.json"
    else:
        for op in journal.ops:
            if isinstance(op, ADDITIONS) and op.run_id not in manifest:
                waiting.append(op)  # it alone would make an entry that nobody can read
            elif manifest.accepts(op) and not (finding and isinstance(op, ScanOp)):
                manifest.apply(op)  # but no seal: what was lost lies below it and would not be met again
    if waiting and finding is None:
        trouble = "it speaks of a run that manifest.json does not know"
    findings = [finding] if finding else []
    if trouble:
        findings.append(Finding(Trouble.BAD_JOURNAL, str(layout.JOURNAL), trouble))
    is_folded = all(isinstance(op, ScanOp) for op in journal.ops)
    return Recovered(manifest, tuple(findings), is_folded=is_folded, waiting=tuple(waiting))


def read_file(disk: Destination, path: PurePosixPath) -> bytes | None:
    """The bytes of one of the archive's own files; None where no file stands. Blocks."""
    return disk.read(path) if disk.is_file(path) else None


def _read_journal(disk: Destination) -> tuple[Journal, str]:
    """The journal as far as it is whole, and what is wrong with it."""
    data, trouble = disk.read(layout.JOURNAL) or b"", ""
    try:
        journal = parse_journal(data)
    except NewerFormatError:
        raise
    except ManifestError as exc:
        journal, trouble = parse_journal(data, salvage=True), exc.message
    if not trouble and has_lost_lines(data, journal):
        trouble = "it is broken, and not at its end"
    return journal, trouble


def _read_manifest(disk: Destination, clock: Clock, journal: Journal) -> tuple[Manifest, Finding | None]:
    """The snapshot as well as it can be read, and what is wrong with it."""
    begun, snapshot = journal.header, read_file(disk, layout.MANIFEST)
    has_had_one = any(isinstance(op, ScanOp) and op.onto for op in journal.ops)
    if begun is not None and not has_had_one and not disk.exists(layout.MANIFEST):
        return Manifest(begun.archive_id, begun.created_at), None
    try:
        manifest = Manifest.parse(snapshot or b"")
        dropped = manifest.drop_unreadable()
        message = f"it has entries that cannot be read, such as {dropped[0]!r}" if dropped else ""
    except NewerFormatError:
        raise
    except ManifestError as exc:
        message = "there is no such file" if snapshot is None else exc.message
        manifest = _salvaged(
            snapshot or b"",
            archive_id=begun.archive_id if begun else uuid.uuid4().hex,
            created_at=begun.created_at if begun else format_ms(clock.now_ms()),
        )
    finding = Finding(Trouble.BAD_MANIFEST, str(layout.MANIFEST), message) if message else None
    return manifest, finding


def _salvaged(data: bytes, *, archive_id: str, created_at: str) -> Manifest:
    """What is whole of a broken `manifest.json`, which has a line an entry; each says of which kind it is."""
    head = {b"archive_id": archive_id, b"created_at": created_at}
    runs: dict[str, msgspec.Raw] = {}
    for line in data.split(b"\n"):
        if match := _HEAD_LINE.fullmatch(line):
            head[match[1]] = match[2].decode()
        elif match := _RUN_LINE.fullmatch(line):
            try:
                runs[msgspec.json.decode(match[1], type=str)] = msgspec.Raw(match[2])
            except NOT_READABLE:
                continue
    manifest = Manifest(head[b"archive_id"], head[b"created_at"])
    for run_id, entry in runs.items():
        manifest.put(run_id, entry)
    manifest.drop_unreadable()
    return manifest


def read_checksums(disk: Destination) -> Checksums:
    """`SHA256SUMS`, as far as its lines make sense; nothing when it is lost. Blocks."""
    checksums: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in (read_file(disk, layout.CHECKSUMS) or b"").decode("utf-8", "replace").split("\n"):
        if match := _SUM_LINE.fullmatch(line):
            checksums[match[2]][match[3]] = match[1]
    return checksums


def adopt_folder(
    disk: Destination, folder: PurePosixPath, checksums: Checksums, clock: Clock
) -> Adoption | None:
    """The entries of a run, asset or canvas that no entry knows, from its record and its files. Blocks.

    Returns:
        None when the folder is no completed run's, no asset's and no canvas's, or not where that would be.
    """
    kind, summed = _kind_of(folder), checksums.get(str(folder), {})
    (files,) = disk.sizes([folder])
    at = format_ms(clock.now_ms())
    if kind is Kind.CANVAS:
        return _adopt_canvas(disk, folder, files, summed, at)
    raw = read_file(disk, folder / (layout.record_name(kind) or ""))
    try:
        run = parse_record(kind, raw or b"")
    except ApiError:
        return None
    placed = _placed(disk, run, folder)
    if placed is None or run.status != Status.COMPLETED:
        return None
    ops: list[Op] = [RunOp(run.run_id, facts_of(placed, folder, hashlib.sha256(raw or b"").hexdigest()))]
    if (sources := _sources_of(run)) != (Source.GENERATIONS,):
        ops.append(SourcesOp(run.run_id, sources))
    if kind is Kind.RUN and files.get(layout.LABELS):
        ops.append(LabelsOp(run.run_id, disk.digest(folder / layout.LABELS).sha256))
    for output in run.outputs or ():
        entry = _entry(disk, folder, output, files, summed, at)
        if entry is None and not checksums:
            entry = _lost(output, at)
        if entry is not None:
            ops.append(OutputOp(run.run_id, output.key, entry))
    return Adoption(run.run_id, kind, tuple(ops))


def _kind_of(folder: PurePosixPath) -> Kind:
    """What has its folder in such a place; a run has where nothing else does."""
    if folder.parent.name == layout.ASSETS and len(folder.parts) == _ASSET_DEPTH:
        return Kind.ASSET
    return Kind.CANVAS if folder.name == layout.CANVAS else Kind.RUN


def _sources_of(run: Generation) -> tuple[Source, ...]:
    """Which lists had a record, by what is in it: each list of runs has an id of its own for them."""
    if run.kind is Kind.ASSET:
        return (Source.ASSETS,)
    try:
        fields = fields_of(run.raw)
    except ApiError:  # JSON that is hardly any
        fields = {}
    is_technique = "technique_run_id" in fields or run.technique_id is not None
    if not is_technique:
        return (Source.GENERATIONS,)
    is_generation = "generation_id" in fields
    return (*([Source.GENERATIONS] if is_generation else []), Source.TECHNIQUE_RUNS)


def _adopt_canvas(
    disk: Destination, folder: PurePosixPath, files: Mapping[str, int], summed: Mapping[str, str], at: str
) -> Adoption | None:
    """The entry of a canvas, from the names of its snapshots: those that are there, and those that were."""
    workspace_id, project_id = _ids_of(disk, folder, "", "")
    names = sorted(name for name in {*files, *summed} if layout.snapshot_of(name))
    if not (workspace_id and project_id and names):
        return None
    project = _history(disk, folder.parent / layout.PROJECT_RECORD)
    facts = RunFacts(
        workspace_id=workspace_id,
        project_id=project_id,
        path=str(folder),
        model_id=None,
        created_at=moment_ms(project.fields.get("created_at", b"null")),
        completed_at=None,  # so that the next job looks whether the canvas has changed since
        charged_cost=None,
        record_sha256="",
        kind=Kind.CANVAS,
        name=project.text("name") or None,
    )
    ops: list[Op] = [RunOp(project_id, facts), SourcesOp(project_id, (Source.CANVAS,))]
    for name in names:
        op = snapshot_op(disk, project_id, folder / name, at, sha256=summed.get(name))
        ops.extend([op] if op else [])
    return Adoption(project_id, Kind.CANVAS, tuple(ops)) if len(ops) > _WITHOUT_OUTPUTS else None


def _entry(
    disk: Destination,
    folder: PurePosixPath,
    output: Output,
    files: Mapping[str, int],
    summed: Mapping[str, str],
    at: str,
) -> OutputEntry | None:
    """What is known of an output without an entry; None when it was never archived.

    Args:
        disk, folder, files: where its file may be: the run's folder, and the sizes of what is in it.
        output: the output.
        summed: the names that `SHA256SUMS` has for this folder, with their hashes.
        at: now.
    """
    name = next((n for n in (*summed, *sorted(files)) if layout.is_output_of(n, output.key)), None)
    if name is None:
        return None
    entry = OutputEntry(
        type=output.type,
        state=State.ARCHIVED,
        file=name,
        url=None if output.is_text or output.value is None else safe_url(output.value, limit=2000),
        archived_at=at,
    )
    if output.is_text and output.value is not None:
        text = output.value.encode()  # the record itself says what the file must hold
        return msgspec.structs.replace(entry, size_bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    if name in summed:
        return msgspec.structs.replace(entry, size_bytes=files.get(name, 0), sha256=summed[name])
    digest = disk.digest(folder / name)
    if output.size_bytes not in (None, digest.size_bytes):
        return None  # it is not the file that FLORA told of
    if not digest.size_bytes or (
        output.type in MEDIA_TYPES and filetype.page_instead_of_media(digest.head, "")
    ):
        return None
    return msgspec.structs.replace(entry, size_bytes=digest.size_bytes, sha256=digest.sha256)


def _lost(output: Output, at: str) -> OutputEntry:
    """The entry of an output of which nothing is left, so that it is asked for again."""
    message = "the manifest was lost, and no file of this output was there"
    error = ErrorEntry("lost", message, at)
    return OutputEntry(type=output.type, state=State.FAILED, attempts=0, error=error)


def _placed(disk: Destination, run: Generation, folder: PurePosixPath) -> Generation | None:
    """The run in the workspace and project of its folder: a run that was moved since stays where it was."""
    if folder.name != layout.safe_name(run.run_id):
        return None
    workspace_id, project_id = _ids_of(disk, folder, run.workspace_id, run.project_id)
    if workspace_id is None or project_id is None:
        return None
    return replace(run, workspace_id=workspace_id, project_id=project_id)


def _ids_of(
    disk: Destination, folder: PurePosixPath, workspace_id: str, project_id: str
) -> tuple[str | None, str | None]:
    """The ids of the workspace and the project that a folder lies in; None where nothing tells one.

    Args:
        disk: the archive.
        folder: a run's, an asset's or a canvas's.
        workspace_id, project_id: what its record says.
    """
    first, second = folder.parts[:2]
    workspace = _id_of(disk, first, workspace_id, PurePosixPath(first, layout.WORKSPACE_RECORD))
    if second == layout.NO_PROJECT and layout.safe_name(project_id) != second:
        return workspace, ""
    return workspace, _id_of(disk, second, project_id, PurePosixPath(first, second, layout.PROJECT_RECORD))


def _id_of(disk: Destination, name: str, recorded: str, path: PurePosixPath) -> str | None:
    """The id that has a folder of this name: the recorded one, the name's own, or that of a record in it."""
    if layout.safe_name(recorded) == name:
        return recorded
    told = layout.identifier_of(name)
    if told is not None:
        return told
    identifier = _history(disk, path).text(f"{path.stem}_id")
    return identifier if identifier and layout.safe_name(identifier) == name else None


def _history(disk: Destination, path: PurePosixPath) -> History:
    """What the record of a workspace or a project says; nothing where there is none that can be read."""
    raw = read_file(disk, path)
    return (None if raw is None else read_history(raw)) or History({})

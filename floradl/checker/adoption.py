"""Entries for the runs, assets and canvases in folders that no entry knows, from their records and bytes.

A run's folder is known by its `run.json`, an asset's by its `asset.json`, a canvas's by its snapshots. How an
output gets its entry depends on what is left:

- Where `SHA256SUMS` has a line for its file, the entry gets the hash from there. If the file is damaged or
  gone, the check finds that out, and a repair fetches it.
- Otherwise the entry gets the hash of the file's bytes as they are now.
- Where `SHA256SUMS` is lost and there is no file, the output is recorded as failed, so that it is fetched. Of
  a canvas's snapshot that is neither named nor there nothing is known.

Nothing here writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import msgspec

from floradl.api.models import Generation, Output
from floradl.api.raw_json import fields_of
from floradl.api.records import moment_ms, parse_record
from floradl.checker.recovery import Checksums, read_file
from floradl.clock import Clock, format_ms
from floradl.constants import Kind, Source, Status
from floradl.errors import ApiError, safe_url
from floradl.repository import layout
from floradl.repository.canvas import snapshot_op
from floradl.repository.entries import (
    ErrorEntry,
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    SourcesOp,
    State,
)
from floradl.repository.found_files import find_output
from floradl.repository.history import History, read_history
from floradl.repository.results import facts_of
from floradl.storage.destination import Destination

_ASSET_DEPTH = 4
"""How many folders deep an asset's own folder is: workspace, project, `assets`, asset."""

_OPS_WITHOUT_OUTPUTS = 2
"""How many changes record a canvas, apart from its snapshots."""


@dataclass(frozen=True)
class Adoption:
    """A run, asset or canvas that no entry knows.

    Attributes:
        run_id: its id; of a canvas its project's.
        kind: which of the three it is.
        ops: the changes that record it, in the order in which they have to be journaled.
    """

    run_id: str
    kind: Kind
    ops: tuple[Op, ...]


def adopt_folder(
    disk: Destination, folder: PurePosixPath, checksums: Checksums, clock: Clock
) -> Adoption | None:
    """The changes that would record the run, asset or canvas in a folder that no entry knows. Blocks.

    Args:
        disk: the archive.
        folder: the folder, relative to the archive.
        checksums: what `SHA256SUMS` says.
        clock: for the date of archiving; the true one is lost.

    Returns:
        None when the folder holds no completed run, asset or canvas, or is not where that would be archived.
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
        entry = _output_entry(disk, run, folder, output, files, summed, at)
        if entry is None and not checksums:
            entry = _lost_entry(output, at)
        if entry is not None:
            ops.append(OutputOp(run.run_id, output.key, entry))
    return Adoption(run.run_id, kind, tuple(ops))


def _kind_of(folder: PurePosixPath) -> Kind:
    """What is archived in such a place. Only the places of assets and canvases can be told from a run's."""
    if folder.parent.name == layout.ASSETS and len(folder.parts) == _ASSET_DEPTH:
        return Kind.ASSET
    return Kind.CANVAS if folder.name == layout.CANVAS else Kind.RUN


def _sources_of(run: Generation) -> tuple[Source, ...]:
    """Which lists a record came from, by its fields: each list of runs has an id field of its own."""
    if run.kind is Kind.ASSET:
        return (Source.ASSETS,)
    try:
        fields = fields_of(run.raw)
    except ApiError:  # its fields cannot be told apart, although it was parsed
        fields = {}
    is_technique = "technique_run_id" in fields or run.technique_id is not None
    if not is_technique:
        return (Source.GENERATIONS,)
    is_generation = "generation_id" in fields
    return (*([Source.GENERATIONS] if is_generation else []), Source.TECHNIQUE_RUNS)


def _adopt_canvas(
    disk: Destination, folder: PurePosixPath, files: Mapping[str, int], summed: Mapping[str, str], at: str
) -> Adoption | None:
    """The changes that record a canvas, from the names of its snapshots.

    Args:
        disk: the archive.
        folder: the canvas's.
        files: the files there, with their sizes in bytes.
        summed: the files that `SHA256SUMS` has for the folder, with their hashes; some may be gone.
        at: now.

    Returns:
        None where there is no snapshot, or where nothing tells whose canvas it is.
    """
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
        completed_at=None,  # so that the next archive job asks for its nodes, whatever the project's date is
        charged_cost=None,
        record_sha256="",
        kind=Kind.CANVAS,
        name=project.text("name") or None,
    )
    ops: list[Op] = [RunOp(project_id, facts), SourcesOp(project_id, (Source.CANVAS,))]
    for name in names:
        op = snapshot_op(disk, project_id, folder / name, at, sha256=summed.get(name))
        ops.extend([op] if op else [])
    return Adoption(project_id, Kind.CANVAS, tuple(ops)) if len(ops) > _OPS_WITHOUT_OUTPUTS else None


def _output_entry(
    disk: Destination,
    run: Generation,
    folder: PurePosixPath,
    output: Output,
    files: Mapping[str, int],
    summed: Mapping[str, str],
    at: str,
) -> OutputEntry | None:
    """The entry of an output, from its file or from `SHA256SUMS`.

    Args:
        disk: the archive.
        run: the run or asset, as its record has it.
        folder: its folder.
        output: as the record has it.
        files: the files in the folder, with their sizes in bytes.
        summed: the files that `SHA256SUMS` has for the folder, with their hashes.
        at: now.

    Returns:
        None when it was never archived, or no file there proves to be what FLORA had (`found_files`).
    """
    name: str | None
    if output.is_text and output.value is not None:
        text_name = layout.output_name(output.key, layout.TEXT_EXTENSION)
        name = text_name if text_name in summed or text_name in files else None
    else:
        name = next((n for n in summed if layout.is_output_of(n, output.key)), None)
    if name is None:
        # Of a text only the file with its one name was looked for above; anything else is a neighbour.
        sizes = {} if output.is_text else files
        names = [n for n, size in sizes.items() if size and output.size_bytes in (None, size)]
        record = folder / (layout.record_name(run.kind) or "")
        name = find_output(disk, record, output, run.done_at_ms, names)
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
        text = output.value.encode()  # the text stands in the record, so its right bytes are known
        return msgspec.structs.replace(entry, size_bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    if name in summed:
        return msgspec.structs.replace(entry, size_bytes=files.get(name, 0), sha256=summed[name])
    digest = disk.digest(folder / name)
    return msgspec.structs.replace(entry, size_bytes=digest.size_bytes, sha256=digest.sha256)


def _lost_entry(output: Output, at: str) -> OutputEntry:
    """The entry of an output of which nothing is left: a failed one, so that it is fetched."""
    message = "the manifest was lost, and no file of this output was there"
    error = ErrorEntry("lost", message, at)
    return OutputEntry(type=output.type, state=State.FAILED, attempts=0, error=error)


def _placed(disk: Destination, run: Generation, folder: PurePosixPath) -> Generation | None:
    """The run with the workspace and project of its folder.

    FLORA may have moved the run to another project after it was archived; its files stay where they are.

    Returns:
        None where the folder is not named after the run, or nothing tells the workspace's or project's id.
    """
    if folder.name != layout.safe_name(run.run_id):
        return None
    workspace_id, project_id = _ids_of(disk, folder, run.workspace_id, run.project_id)
    if workspace_id is None or project_id is None:
        return None
    return replace(run, workspace_id=workspace_id, project_id=project_id)


def _ids_of(
    disk: Destination, folder: PurePosixPath, workspace_id: str, project_id: str
) -> tuple[str | None, str | None]:
    """The ids of the workspace and the project that a folder lies in; None for one that nothing tells.

    Args:
        disk: the archive.
        folder: a run's, an asset's or a canvas's.
        workspace_id, project_id: the ids in its record; "" where there is none.
    """
    first, second = folder.parts[:2]
    workspace = _id_of(disk, first, workspace_id, PurePosixPath(first, layout.WORKSPACE_RECORD))
    if second == layout.NO_PROJECT:
        return workspace, ""
    return workspace, _id_of(disk, second, project_id, PurePosixPath(first, second, layout.PROJECT_RECORD))


def _id_of(disk: Destination, name: str, recorded: str, path: PurePosixPath) -> str | None:
    """The id whose folder has this name; None where nothing tells it.

    A long or unusual id cannot be read from the name of its folder, which is then made from a hash.

    Args:
        disk: the archive.
        name: the folder's.
        recorded: the id that a record within says; "" where there is none.
        path: the record of the workspace or project in this folder.
    """
    if layout.safe_name(recorded) == name:
        return recorded
    read = layout.identifier_of(name)
    if read is not None:
        return read
    identifier = _history(disk, path).text(f"{path.stem}_id")
    return identifier if identifier and layout.safe_name(identifier) == name else None


def _history(disk: Destination, path: PurePosixPath) -> History:
    """The record of a workspace or project; an empty one where there is none that can be read."""
    raw = read_file(disk, path)
    return (None if raw is None else read_history(raw)) or History({})

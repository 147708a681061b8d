"""Decide what to do about each output of a run: skip it, fetch it, record it, or report it.

The decision depends on three values alone: the record that FLORA gave, the entry in the manifest, and the
files in the run's folder with their sizes. Nothing here touches a disk, a clock or the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from floradl.api.models import Filters, Generation, Output, Scope
from floradl.api.records import announced_size
from floradl.constants import Kind, Source
from floradl.download.imagekit import original_url
from floradl.errors import safe_url
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.results import Failure


class Action(StrEnum):
    """What is to be done about one output."""

    SKIP = "skip"  # it is recorded, and its file has the recorded size
    FETCH = "fetch"  # fetch it from its URL
    RESUME = "resume"  # fetch it, continuing a partial that an earlier process left
    RENEW = "renew"  # ask for the original of a compressed file; where it is refused still, the file stays
    WRITE = "write"  # it is a text, which the record contains
    RECORD = "record"  # a file has its name and no entry: was a process killed in between? else as FETCH
    REPORT = "report"  # it cannot be had, or its file must not be touched


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one output.

    Args:
        output: the output.
        action: what to do.
        file: the name of the file to write or to replace, in the folder of the run; None for other actions.
        failure: what to report; None for other actions.
        candidates: the names of the files that may be recorded; empty for other actions.
    """

    output: Output
    action: Action
    file: str | None = None
    failure: Failure | None = None
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What the disk has of a run.

    Args:
        files: the names in its folder, with the sizes of the files in bytes.
        partials: the names of all partials that earlier processes left, of other runs too.
    """

    files: Mapping[str, int]
    partials: frozenset[str] = frozenset()

    def has_partial(self, run_id: str, key: str) -> bool:
        """Whether an earlier process left a partial of this output."""
        return bool(self.partials) and layout.partial_path(run_id, key).name in self.partials


def decide(run_id: str, output: Output, entry: OutputEntry | None, disk: OnDisk) -> Decision:
    """Decide about one output.

    Args:
        run_id: its run or asset.
        output: the output, as FLORA gave it.
        entry: its entry in the manifest; None if it is not recorded.
        disk: what the disk has of its run.
    """
    if entry is not None and entry.state == State.ARCHIVED and entry.file is not None:
        found_bytes = disk.files.get(entry.file)
        if found_bytes is not None and found_bytes == entry.size_bytes:
            if entry.compressed and output.value is not None and original_url(output.value) is not None:
                return Decision(output, Action.RENEW, entry.file)
            return Decision(output, Action.SKIP)
        if found_bytes is not None:
            # Only `repair` replaces such a file, since the user may have edited it.
            message = f"{entry.file} has {found_bytes} bytes, {entry.size_bytes} were archived"
            return _report(run_id, output, "changed", message, keeps_entry=True)
    if output.is_text and output.value is not None:
        return Decision(output, Action.WRITE, layout.output_name(output.key, layout.TEXT_EXTENSION))
    # Only without an archived entry: if there is one, its file is gone, and another file with the same stem
    # may have any content.
    if entry is None or entry.state == State.FAILED:
        announced = announced_size(output.size_bytes)
        candidates = tuple(
            name
            for name, size_bytes in disk.files.items()
            if size_bytes and announced in (None, size_bytes) and layout.is_output_of(name, output.key)
        )
        if candidates:
            return Decision(output, Action.RECORD, candidates=candidates)
    if output.value is None:
        return _report(run_id, output, "no_url", "the API gives no URL for it")
    return Decision(output, Action.RESUME if disk.has_partial(run_id, output.key) else Action.FETCH)


def decide_run(run: Generation, entry: RunEntry | None, filters: Filters, disk: OnDisk) -> list[Decision]:
    """Decide about each wanted output of a run: those in its record, then those that were recorded before.

    An output may be recorded and be missing from FLORA's record by now. While its file is whole it is
    skipped. Otherwise it is reported, because nobody can bring it back and the user has to know.

    Args:
        run: the record, with outputs.
        entry: the run's entry; None if it is not recorded.
        filters: which outputs are wanted.
        disk: what the disk has of the run.
    """
    entries = entry.outputs if entry else {}
    lost = keys_to_refetch(entry, filters, disk.files) if entry else []
    outputs = [output for output in run.outputs or () if filters.wants_type(output.type)]
    decisions = [decide(run.run_id, output, entries.get(output.key), disk) for output in outputs]
    listed = {output.key for output in run.outputs or ()}
    for key, known in entries.items():
        if key in listed or not filters.wants_type(known.type):
            continue
        output = Output(key, known.type, None)
        if key in lost:
            message = "the run no longer has this output"
            decisions.append(_report(run.run_id, output, "gone", message, keeps_entry=True))
        else:
            decisions.append(Decision(output, Action.SKIP))
    return decisions


def at_recorded_place(run: Generation, entry: RunEntry | None) -> Generation:
    """The run with the workspace and project that it was archived in.

    A run that was moved to another project on FLORA keeps its folder, since its entries name the files there.
    """
    if entry is None:
        return run
    return replace(run, workspace_id=entry.workspace_id, project_id=entry.project_id)


def is_complete_on_disk(entry: RunEntry | None, filters: Filters, files: Mapping[str, int]) -> bool:
    """Whether all outputs of a run are recorded and on the disk, so that FLORA need not be asked for them.

    Args:
        entry: the run's entry; None if it is not recorded.
        filters: which outputs are wanted.
        files: the names in its folder, with sizes in bytes.
    """
    return (
        entry is not None
        and entry.output_count is not None
        and len(entry.outputs) >= entry.output_count
        and not keys_to_refetch(entry, filters, files)
    )


def keys_to_refetch(entry: RunEntry, filters: Filters, files: Mapping[str, int]) -> list[str]:
    """The keys of the recorded outputs that failed, or whose files do not have the recorded size.

    Outputs that a repair has given up (`State.LOST`) are left out: the user was told of them once.
    """
    return [
        key
        for key, output in entry.outputs.items()
        if output.state != State.LOST and filters.wants_type(output.type) and not is_intact(output, files)
    ]


def run_folder(run: Generation) -> PurePosixPath:
    """The folder of a run or an asset, relative to the archive."""
    return layout.item_path(run.kind, run.workspace_id, run.project_id, run.run_id)


def is_intact(entry: OutputEntry, files: Mapping[str, int]) -> bool:
    """Whether an output is archived and its file, among `files`, has the recorded size."""
    found_bytes = files.get(entry.file or "")
    return entry.state == State.ARCHIVED and found_bytes is not None and found_bytes == entry.size_bytes


def _report(run_id: str, output: Output, code: str, message: str, *, keeps_entry: bool = False) -> Decision:
    """The decision to report an output. A text's value is its content, and so is not shown as a URL."""
    url = None if output.value is None or output.is_text else safe_url(output.value, limit=2000)
    failure = Failure(run_id, output.key, output.type, url, code, message, 0, keeps_entry)
    return Decision(output, Action.REPORT, failure=failure)


def wants_entry(scopes: Iterable[Scope], filters: Filters, run_id: str, entry: RunEntry) -> bool:
    """Whether a recorded run, asset or canvas is within the scopes and passes the filters of a job.

    Filters were made for runs. An asset has a date and a type but no model; a canvas has none of them, and so
    passes only if there are no filters.

    Args:
        scopes: the workspaces and projects that the job is about.
        filters: its filters.
        run_id: the id of the item.
        entry: its entry in the manifest.
    """
    is_named = run_id in filters.run_ids
    if not any(scope.holds(entry.workspace_id, entry.project_id) for scope in scopes):
        return False
    if entry.kind is Kind.CANVAS:
        return filters.is_empty
    if entry.kind is Kind.ASSET:
        has_file = any(filters.wants_type(output.type) for output in entry.outputs.values())
        is_of_model = is_named or not filters.models
        is_due = has_file and is_of_model  # without a wanted file nothing is left of an asset
    else:
        is_due = filters.wants_model(entry.model_id)
    return is_due and (is_named or not filters.run_ids) and filters.wants_moment(entry.created_at)


class RecordRule(StrEnum):
    """What becomes of the `run.json` that a run may have already."""

    UPDATE = "update"  # written again if the new record differs
    KEEP = "keep"  # left as it is: the new record was put together from parts and says less
    REPLACE = "replace"  # set aside and written again: it is damaged


@dataclass(frozen=True, slots=True)
class Visit:
    """The order to archive one completed run; what goes into the pool.

    Args:
        run: the record of the run.
        record: what becomes of the `run.json` on the disk.
        replaces: the keys of outputs whose files are damaged. Such a file stays where it is until the new one
            is complete, and is then set aside.
        is_current: whether FLORA gave the record just now, which proves that the run has not vanished.
        only: the keys of the outputs to look at; empty for the record alone, None for all outputs.
        source: the list that brought the run; None if it was asked for by its id.
    """

    run: Generation
    record: RecordRule = RecordRule.UPDATE
    replaces: frozenset[str] = frozenset()
    is_current: bool = True
    only: frozenset[str] | None = None
    source: Source | None = None

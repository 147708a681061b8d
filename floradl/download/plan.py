"""What to do about each output of a run. Pure: an entry and what the disk has, in; a decision, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from floradl.api.models import Filters, Generation, Output, Scope
from floradl.api.records import announced_size
from floradl.constants import Kind, Source
from floradl.errors import safe_url
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.results import Failure

TEXT_EXTENSION = ".txt"


class Action(StrEnum):
    """What is to be done about one output."""

    SKIP = "skip"  # recorded, and on disk with the recorded size
    FETCH = "fetch"  # from its URL
    RESUME = "resume"  # from its URL, with a partial to go on from
    WRITE = "write"  # the text is in the record
    RECORD = "record"  # on disk under its final name, without an entry: killed in between
    REPORT = "report"  # it cannot be had, or must not be touched


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about `output`. `file` is the name to write or record; `failure` what to report."""

    output: Output
    action: Action
    file: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What the disk has for a run: its folder's files with their sizes, and the partials there are."""

    files: Mapping[str, int]
    partials: frozenset[str] = frozenset()

    def has_partial(self, run_id: str, key: str) -> bool:
        """Whether an earlier process left a partial of this output."""
        return bool(self.partials) and layout.partial_path(run_id, key).name in self.partials


def decide(run_id: str, output: Output, entry: OutputEntry | None, disk: OnDisk) -> Decision:
    """What to do about one output, given its entry (None when it has none) and the disk."""
    if entry is not None and entry.state == State.ARCHIVED and entry.file is not None:
        found_bytes = disk.files.get(entry.file)
        if found_bytes is not None and found_bytes == entry.size_bytes:
            return Decision(output, Action.SKIP)
        if found_bytes is not None:
            # Overwriting is for whoever asks for a repair: perhaps somebody edited the file.
            message = f"{entry.file} has {found_bytes} bytes, {entry.size_bytes} were archived"
            return _report(run_id, output, "changed", message, keeps_entry=True)
    if output.is_text and output.value is not None:
        return Decision(output, Action.WRITE, layout.output_name(output.key, TEXT_EXTENSION))
    # With an entry its file is gone, and others with the same stem are not known to be the same.
    if entry is None or entry.state == State.FAILED:
        announced = announced_size(output.size_bytes)
        left = sorted(
            name
            for name, size_bytes in disk.files.items()
            if size_bytes and announced in (None, size_bytes) and layout.is_output_of(name, output.key)
        )
        if left:
            return Decision(output, Action.RECORD, left[0])
    if output.value is None:
        return _report(run_id, output, "no_url", "the API gives no URL for it")
    return Decision(output, Action.RESUME if disk.has_partial(run_id, output.key) else Action.FETCH)


def decide_run(run: Generation, entry: RunEntry | None, filters: Filters, disk: OnDisk) -> list[Decision]:
    """What to do about each wanted output of a run: those it has, and those that it once had.

    An output that is recorded and no longer in the run's record is skipped while its file is there, and
    reported otherwise: nobody can bring it back, and that must not go unsaid.
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
    """A run in the workspace and project it was archived in.

    One that was moved to another project stays where it is: its entries speak of those files.
    """
    if entry is None:
        return run
    return replace(run, workspace_id=entry.workspace_id, project_id=entry.project_id)


def is_complete_on_disk(entry: RunEntry | None, filters: Filters, files: Mapping[str, int]) -> bool:
    """Whether all outputs of a run are recorded and as they should be, so that none need be asked for."""
    return (
        entry is not None
        and entry.output_count is not None
        and len(entry.outputs) >= entry.output_count
        and not keys_to_refetch(entry, filters, files)
    )


def keys_to_refetch(entry: RunEntry, filters: Filters, files: Mapping[str, int]) -> list[str]:
    """Which recorded outputs of a run failed, or are not on disk as they were recorded.

    Not those that were given up: what cannot be had again is said once.
    """
    return [
        key
        for key, output in entry.outputs.items()
        if output.state != State.LOST and filters.wants_type(output.type) and not is_intact(output, files)
    ]


def run_folder(run: Generation) -> PurePosixPath:
    """Where the files of a run or an asset go."""
    return layout.item_path(run.kind, run.workspace_id, run.project_id, run.run_id)


def is_intact(entry: OutputEntry, files: Mapping[str, int]) -> bool:
    """Whether an output is archived, and its file on disk as it was recorded."""
    found_bytes = files.get(entry.file or "")
    return entry.state == State.ARCHIVED and found_bytes is not None and found_bytes == entry.size_bytes


def _report(run_id: str, output: Output, code: str, message: str, *, keeps_entry: bool = False) -> Decision:
    url = None if output.value is None or output.is_text else safe_url(output.value, limit=2000)
    failure = Failure(run_id, output.key, output.type, url, code, message, 0, keeps_entry)
    return Decision(output, Action.REPORT, failure=failure)


def wants_entry(scopes: Iterable[Scope], filters: Filters, run_id: str, entry: RunEntry) -> bool:
    """Whether a recorded run, asset or canvas is one that scopes and filters speak of.

    Filters are of runs: an asset has a date and a type, and no model; a canvas has none of that.
    """
    is_named = run_id in filters.run_ids
    if not any(scope.holds(entry.workspace_id, entry.project_id) for scope in scopes):
        return False
    if entry.kind is Kind.CANVAS:
        return filters.is_empty
    if entry.kind is Kind.ASSET:
        has_file = any(filters.wants_type(output.type) for output in entry.outputs.values())
        is_of_model = is_named or not filters.models
        is_due = has_file and is_of_model  # an asset is its file, and nothing without
    else:
        is_due = filters.wants_model(entry.model_id)
    return is_due and (is_named or not filters.run_ids) and filters.wants_moment(entry.created_at)


class RecordRule(StrEnum):
    """What becomes of the `run.json` that a visited run may have already."""

    UPDATE = "update"  # written anew if the record says something new
    KEEP = "keep"  # left as it is: the new record is put together from parts
    REPLACE = "replace"  # set aside and written anew: it is damaged


@dataclass(frozen=True, slots=True)
class Visit:
    """A completed run to archive.

    Args:
        run: its record.
        record: what becomes of the `run.json` that is there.
        replaces: keys of outputs whose files are damaged. A file stays where it is until the new one is
            whole, and is then set aside.
        is_current: whether the API gave the record just now, so that the run has not vanished.
        only: keys of the outputs that it is about, perhaps none, but for the record; None: all.
        source: the list that brought it, if one did.
    """

    run: Generation
    record: RecordRule = RecordRule.UPDATE
    replaces: frozenset[str] = frozenset()
    is_current: bool = True
    only: frozenset[str] | None = None
    source: Source | None = None

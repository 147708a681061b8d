"""Prepare a run: list its folder, decide about each output, and draft the files that need no network. Blocks.

The caller then writes the drafted files (`Prepared.files`): the record of the run first, then its texts.
Order: only when all of them are durable may `results_of` be journaled, the facts of the run before its
outputs. If the journal came first, a power cut could leave entries about files that are not there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from floradl.api.models import Filters, Generation
from floradl.api.raw_json import merge_records
from floradl.api.records import parse_generation
from floradl.constants import Source
from floradl.download.plan import (
    Action,
    Decision,
    OnDisk,
    RecordRule,
    Visit,
    at_recorded_place,
    decide_run,
    run_folder,
)
from floradl.errors import ApiError, printable
from floradl.repository import layout
from floradl.repository.entries import RunEntry, RunFacts, RunOp, SourcesOp, State, VanishedOp
from floradl.repository.results import Failure, Receipt, Result, facts_of, receipt_of
from floradl.storage.aside import set_aside
from floradl.storage.base import NewFile, Written
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One output that a worker has to fetch or to record.

    Args:
        run: its run.
        folder: the folder of the run, relative to the archive.
        decision: what to do about it.
        replaces: the name of a damaged or compressed file that it replaces; None if there is none.
        was_archived: whether its entry says that it was archived before.
    """

    run: Generation
    folder: PurePosixPath
    decision: Decision
    replaces: str | None
    was_archived: bool


@dataclass(frozen=True, slots=True)
class _TextDraft:
    """The text of an output, to be written; `aside` is where the damaged file went that it replaces."""

    job: Job
    file: NewFile
    aside: PurePosixPath | None


@dataclass(slots=True)
class Prepared:
    """What has to be done about one run.

    Attributes:
        run: its record, with the workspace and project that it is archived in.
        folder: its folder, relative to the archive.
        is_due: False if the filters leave nothing of the run.
        record: its `run.json`, if that has to be written.
        texts: its texts that have to be written.
        announced: what to journal before any of these is written: that another record takes the place of the
            recorded one. Killed right after the rename, the entry would speak of bytes that are gone.
        facts: what to journal before the texts, in this order.
        jobs: the outputs that workers have to fetch or record.
        outputs: how many outputs were looked at.
        already: how many of them are archived and whole.
        kept_aside: where a damaged `run.json` went.
    """

    run: Generation
    folder: PurePosixPath
    is_due: bool = True
    record: NewFile | None = None
    texts: list[_TextDraft] = field(default_factory=list)
    announced: list[RunOp] = field(default_factory=list)
    facts: list[Result] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    outputs: int = 0
    already: int = 0
    kept_aside: list[PurePosixPath] = field(default_factory=list)

    @property
    def files(self) -> list[NewFile]:
        """The files to write into `folder`, in this order, before anything of the run is journaled."""
        return [*([] if self.record is None else [self.record]), *(draft.file for draft in self.texts)]

    @property
    def mtime_ms(self) -> int | None:
        """The date that its files get, in milliseconds since 1970."""
        return self.run.done_at_ms

    def results_of(self, written: Sequence[Written]) -> list[Result]:
        """What to journal, in this order, now that `files` are durable.

        Args:
            written: what became of each of `files`.
        """
        texts = written[len(written) - len(self.texts) :]
        return [*self.facts, *map(_receipt_of, self.texts, texts)]


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares the runs of a session; several threads use it at the same time.

    Args:
        disk: the archive.
        filters: which outputs are wanted.
        partials: the names of the partials that earlier processes left.
    """

    disk: Destination
    filters: Filters
    partials: frozenset[str]

    def prepare(self, visit: Visit, run: Generation, rule: RecordRule, entry: RunEntry | None) -> Prepared:
        """List the folder of a run, and decide about its outputs.

        Damaged files that are about to be written again, a record or a text, are set aside here.

        Args:
            visit: the order to archive the run.
            run: its record, with outputs.
            rule: what becomes of the `run.json` on the disk.
            entry: its entry in the manifest; None if it is not recorded.

        Raises:
            OSError: the disk.
        """
        run = at_recorded_place(run, entry)
        folder = run_folder(run)
        run = self._merged_with_known(visit, run, entry, folder)
        prepared = Prepared(run, folder)
        (files,) = self.disk.sizes([folder])
        damaged = _damaged_files(visit, entry)
        decisions = self._decisions(visit, run, entry, files, frozenset(damaged.values()))
        if self.filters.types and not decisions:
            prepared.is_due = False
            return prepared
        self._draft_record(prepared, rule, entry, files)
        if visit.is_current and entry is not None and entry.vanished_at is not None:
            prepared.facts.append(VanishedOp(run.run_id, None))
        if sources := _sources(visit, entry):
            prepared.facts.append(SourcesOp(run.run_id, sources))
        prepared.outputs = len(decisions)
        for decision in decisions:
            known = entry.outputs.get(decision.output.key) if entry else None
            was_archived = known is not None and known.state == State.ARCHIVED
            replaces = decision.file if decision.action == Action.RENEW else damaged.get(decision.output.key)
            job = Job(run, folder, decision, replaces, was_archived)
            if decision.action == Action.SKIP:
                prepared.already += 1
            elif decision.failure is not None:
                prepared.facts.append(with_kept_entry(decision.failure, job))
            elif decision.action == Action.WRITE:
                prepared.texts.append(self._draft_text(job))
            else:
                prepared.jobs.append(job)
        return prepared

    def _merged_with_known(
        self, visit: Visit, run: Generation, entry: RunEntry | None, folder: PurePosixPath
    ) -> Generation:
        """Merge the record with the archived one, if that came from another list.

        The list of technique runs names the technique of a run and no model; the list of generations names
        the model and no technique. A run that is in both lists gets both.
        """
        others = {Source.GENERATIONS, Source.TECHNIQUE_RUNS} - {visit.source}
        if entry is None or len(others) != 1 or others.isdisjoint(entry.sources):
            return run
        if not self.disk.is_file(folder / layout.RUN_RECORD):
            return run
        try:
            known = parse_generation(self.disk.read(folder / layout.RUN_RECORD) or b"")
            merged = parse_generation(run.raw, known=known)
            says_nothing_new = merged.raw == merge_records(known.raw, known.raw)
        except ApiError as exc:
            log.info("the record of %s is not readable: %s", printable(run.run_id, limit=80), exc.message)
            return run
        return at_recorded_place(known if says_nothing_new else merged, entry)

    def _decisions(
        self,
        visit: Visit,
        run: Generation,
        entry: RunEntry | None,
        files: Mapping[str, int],
        damaged: frozenset[str],
    ) -> list[Decision]:
        """The decisions about the outputs that the visit is about; damaged files count as missing."""
        sound = {name: size for name, size in files.items() if name not in damaged}
        decisions = decide_run(run, entry, self.filters, OnDisk(sound, self.partials))
        if visit.only is None:
            return decisions
        return [decision for decision in decisions if decision.output.key in visit.only]

    def _draft_record(
        self, prepared: Prepared, rule: RecordRule, entry: RunEntry | None, files: Mapping[str, int]
    ) -> None:
        """Draft the `run.json` if there is none, or if the record says something new.

        A run without outputs gets one too. A damaged record is set aside first, and noted in `kept_aside`.
        """
        run, folder = prepared.run, prepared.folder
        name = layout.record_name(run.kind)
        if name is None:
            return
        has_record = entry is not None and name in files
        if has_record and rule == RecordRule.KEEP:
            return
        sha256 = hashlib.sha256(run.raw).hexdigest()
        if rule == RecordRule.REPLACE:
            aside = set_aside(self.disk, folder / name)
            prepared.kept_aside.extend([] if aside is None else [aside])
        elif has_record and entry is not None and entry.record_sha256 == sha256:
            return
        if has_record and entry is not None:
            known = {field: getattr(entry, field) for field in RunFacts.__struct_fields__}
            prepared.announced.append(RunOp(run.run_id, RunFacts(**known | {"next_record_sha256": sha256})))
        prepared.record = NewFile(name, [run.raw], replaces=True)
        prepared.facts.append(RunOp(run.run_id, facts_of(run, folder, sha256)))

    def _draft_text(self, job: Job) -> _TextDraft:
        """Draft the file of a text output, and set aside the damaged file that it replaces."""
        text = (job.decision.output.value or "").encode()
        if self.disk.min_free_bytes:
            self.disk.require_room(len(text))
        aside = set_aside(self.disk, job.folder / job.replaces) if job.replaces else None
        return _TextDraft(job, NewFile(job.decision.file or "", [text]), aside)


def _receipt_of(draft: _TextDraft, written: Written) -> Receipt:
    output = draft.job.decision.output
    receipt = receipt_of(draft.job.run.run_id, output, draft.file.name, written.digest, is_fetched=True)
    return replace(receipt, aside=draft.aside, in_the_way=written.in_the_way)


def with_kept_entry(failure: Failure, job: Job) -> Failure:
    """The failure, told to keep the entry of an output that was archived before.

    That entry has the hash of the right bytes. If the failure replaced it, the next session would take a
    damaged file for one that was never recorded, and adopt it.
    """
    return replace(failure, keeps_entry=True) if job.was_archived else failure


def _sources(visit: Visit, entry: RunEntry | None) -> tuple[str, ...]:
    """The lists that have the run, to be journaled; empty if its entry says the same already."""
    if visit.source is None or visit.source in (entry.sources if entry else (Source.GENERATIONS,)):
        return ()
    return (*(entry.sources if entry else ()), visit.source)


def _damaged_files(visit: Visit, entry: RunEntry | None) -> dict[str, str]:
    """The files that a visit is to replace, by the keys of their outputs."""
    outputs = entry.outputs if entry else {}
    return {key: known.file for key, known in outputs.items() if key in visit.replaces and known.file}

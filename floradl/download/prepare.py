"""A run's folder before any of its outputs is asked for: one look, the decisions. Blocks.

What needs no network is then written, by whoever asked: the run's record first, then its texts, in this order
(`Prepared.files`). Nothing counts before all of them are durable: `results_of` gives what is to be recorded
then, the run's facts before its outputs.
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
from floradl.repository.entries import RunEntry, RunOp, SourcesOp, State, VanishedOp
from floradl.repository.results import Failure, Receipt, Result, facts_of, receipt_of
from floradl.storage.aside import set_aside
from floradl.storage.base import NewFile, Written
from floradl.storage.destination import Destination

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One output to bring in. `replaces` names a damaged file whose place it takes; `was_archived` says that
    its entry speaks of bytes that were whole once."""

    run: Generation
    folder: PurePosixPath
    decision: Decision
    replaces: str | None
    was_archived: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """A text to be written, and where the damaged file went whose place it takes."""

    job: Job
    file: NewFile
    aside: PurePosixPath | None


@dataclass(slots=True)
class Prepared:
    """What came of one run.

    Attributes:
        run: its record, at the place where it is archived.
        folder: that place.
        is_due: False where the filters leave nothing of it.
        record: its record, where that is to be written.
        texts: its texts that are to be written.
        facts: what is to be recorded besides texts, in this order.
        jobs: the outputs that are still to be brought.
        outputs: how many outputs were looked at.
        already: how many of them are there.
        kept_aside: where a damaged record went.
    """

    run: Generation
    folder: PurePosixPath
    is_due: bool = True
    record: NewFile | None = None
    texts: list[_Draft] = field(default_factory=list)
    facts: list[Result] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    outputs: int = 0
    already: int = 0
    kept_aside: list[PurePosixPath] = field(default_factory=list)

    @property
    def files(self) -> list[NewFile]:
        """What is to be written to `folder`, in this order, before anything is recorded."""
        return [*([] if self.record is None else [self.record]), *(draft.file for draft in self.texts)]

    @property
    def mtime_ms(self) -> int | None:
        """The date of its files."""
        return self.run.done_at_ms

    def results_of(self, written: Sequence[Written]) -> list[Result]:
        """What is to be recorded, in this order, now that `files` are durable."""
        texts = written[len(written) - len(self.texts) :]
        return [*self.facts, *map(_receipt_of, self.texts, texts)]


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares the runs of a session.

    Args:
        disk: the archive.
        filters: which outputs are wanted.
        partials: names of the partials that earlier processes left.
    """

    disk: Destination
    filters: Filters
    partials: frozenset[str]

    def prepare(self, visit: Visit, run: Generation, rule: RecordRule, entry: RunEntry | None) -> Prepared:
        """Look at a run's folder, and decide; what is damaged, and to be written now, is set aside.

        Args:
            visit: the run, and what about it.
            run: its record, with outputs.
            rule: what becomes of the `run.json` that is there.
            entry: what is recorded of it.
        """
        run = at_recorded_place(run, entry)
        folder = run_folder(run)
        run = self._with_what_is_known(visit, run, entry, folder)
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
            job = Job(run, folder, decision, damaged.get(decision.output.key), was_archived)
            if decision.action == Action.SKIP:
                prepared.already += 1
            elif decision.failure is not None:
                prepared.facts.append(with_kept_entry(decision.failure, job))
            elif decision.action == Action.WRITE:
                prepared.texts.append(self._draft_text(job))
            else:
                prepared.jobs.append(job)
        return prepared

    def _with_what_is_known(
        self, visit: Visit, run: Generation, entry: RunEntry | None, folder: PurePosixPath
    ) -> Generation:
        """A run of which another list told before, completed by what that one said.

        The record of a technique run names the technique and no model, and the other way round.
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
        sound = {name: size for name, size in files.items() if name not in damaged}
        decisions = decide_run(run, entry, self.filters, OnDisk(sound, self.partials))
        if visit.only is None:
            return decisions
        return [decision for decision in decisions if decision.output.key in visit.only]

    def _draft_record(
        self, prepared: Prepared, rule: RecordRule, entry: RunEntry | None, files: Mapping[str, int]
    ) -> None:
        """Have the record written if it is new or says something new, for a run without outputs too."""
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
        prepared.record = NewFile(name, [run.raw], replaces=True)
        prepared.facts.append(RunOp(run.run_id, facts_of(run, folder, sha256)))

    def _draft_text(self, job: Job) -> _Draft:
        text = (job.decision.output.value or "").encode()
        if self.disk.min_free_bytes:
            self.disk.require_room(len(text))
        aside = set_aside(self.disk, job.folder / job.replaces) if job.replaces else None
        return _Draft(job, NewFile(job.decision.file or "", [text]), aside)


def _receipt_of(draft: _Draft, written: Written) -> Receipt:
    output = draft.job.decision.output
    receipt = receipt_of(draft.job.run.run_id, output, draft.file.name, written.digest, is_fetched=True)
    return replace(receipt, aside=draft.aside, in_the_way=written.in_the_way)


def with_kept_entry(failure: Failure, job: Job) -> Failure:
    """A failure as it is to be recorded.

    The entry of an output that was archived once still says what the right bytes were. Without it a damaged
    file would be adopted.
    """
    return replace(failure, keeps_entry=True) if job.was_archived else failure


def _sources(visit: Visit, entry: RunEntry | None) -> tuple[str, ...]:
    """Which lists have a run, to be recorded; nothing where that is what its entry says anyway."""
    if visit.source is None or visit.source in (entry.sources if entry else (Source.GENERATIONS,)):
        return ()
    return (*(entry.sources if entry else ()), visit.source)


def _damaged_files(visit: Visit, entry: RunEntry | None) -> dict[str, str]:
    """Key → file of the outputs that a visit is to replace."""
    outputs = entry.outputs if entry else {}
    return {key: known.file for key, known in outputs.items() if key in visit.replaces and known.file}

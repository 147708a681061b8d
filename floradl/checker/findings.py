"""What a check of an archive may find, and what it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Never

from floradl.errors import Exit, FloradlError, KeyRefusedError, printable
from floradl.repository.results import Failure


class Trouble(StrEnum):
    """Kinds of findings."""

    MISSING = "missing"  # recorded, and not there
    EMPTY = "empty"  # there, without a byte
    TRUNCATED = "truncated"  # smaller than it was recorded
    CHANGED = "changed"  # larger, or other bytes
    UNREADABLE = "unreadable"  # the disk does not give its bytes
    NOT_A_FILE = "not_a_file"  # a link, a folder or the like where a file or folder of the archive should be
    MISPLACED = "misplaced"  # the bytes of a missing or damaged output, elsewhere in the archive
    STRAY = "stray"  # nobody knows it; it is left alone, and no fault of the archive
    UNRECORDED = "unrecorded"  # a run, an asset, a canvas, or an output of a known one, without an entry
    FAILED = "failed"  # an output that could not be archived so far
    LOST = "lost"  # a canvas snapshot that a repair has given up: its bytes cannot be had again
    BAD_ENTRY = "bad_entry"  # an entry that speaks of no file, or of a place that is not its own
    NO_RECORD = "no_record"  # a run without run.json, an asset without asset.json
    BAD_RECORD = "bad_record"  # a record that is not as it was recorded
    BAD_MANIFEST = "bad_manifest"  # manifest.json is lost, or cannot be read
    BAD_JOURNAL = "bad_journal"  # the journal cannot be read, or is another archive's
    BAD_CHECKSUMS = "bad_checksums"  # SHA256SUMS is lost, or does not say what the manifest says


NO_FAULT = frozenset({Trouble.STRAY, Trouble.LOST})
"""Findings that do not make an archive unsound: what is nobody's, and losses that a repair told of."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        kind: what.
        path: where, relative to the archive, with `/`.
        message: what was found, for people.
        run_id, key: of the output concerned; "" where there is none.
        found_at: of what is misplaced: where it stands.
    """

    kind: Trouble
    path: str
    message: str
    run_id: str = ""
    key: str = ""
    found_at: str = ""

    @property
    def is_unaccounted(self) -> bool:
        """Whether `SHA256SUMS` alone tells of it, so that not even its run is known."""
        return self.kind == Trouble.UNRECORDED and not self.run_id

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is about, whatever was found there."""
        return self.path, self.run_id, self.key

    def line(self) -> str:
        """The finding for people."""
        run = f" ({printable(self.run_id, limit=80)} {printable(self.key, limit=80)})" if self.key else ""
        return f"{self.kind}: {printable(self.path, limit=400)}{run}: {printable(self.message, limit=300)}"


@dataclass(slots=True)
class AuditTally:
    """How far a check has come; read by progress displays meanwhile.

    `listed_runs` are the manifest's; with `is_listed` they are all there is to check.
    """

    total: int = 0
    done: int = 0
    moved_bytes: int = 0
    failed_word: str = "not as they should be"
    findings: list[Finding] = field(default_factory=list)
    listed_runs: int = 0
    is_listed: bool = False
    is_stopping: bool = False

    @property
    def moved(self) -> int:
        """Outputs to which the bytes belong."""
        return self.done

    @property
    def flows(self) -> Collection[Never]:
        """Outputs that are on their way: a check has none."""
        return ()

    @property
    def failed(self) -> int:
        """How many findings there are that are faults."""
        return sum(finding.kind not in NO_FAULT for finding in self.findings)


@dataclass(frozen=True)
class AuditReport:
    """What a check found. Times in seconds, sizes in bytes.

    `runs`, `assets` and `canvases` were checked, with their `outputs`.
    `left` are the findings that stand in the end: all of `findings` unless a repair mended some. `read`
    counts outputs whose bytes were read again; `kept_aside` says where damaged files went whose place was
    taken by other bytes than were archived.
    """

    runs: int
    assets: int
    canvases: int
    outputs: int
    read: int
    read_bytes: int
    sample: str
    findings: tuple[Finding, ...]
    left: tuple[Finding, ...]
    elapsed_s: float
    is_repair: bool = False
    is_interrupted: bool = False
    kept_aside: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    problems: tuple[FloradlError, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether everything recorded is there, as it was recorded, but for what was given up earlier."""
        return not self.is_interrupted and all(finding.kind in NO_FAULT for finding in self.left)

    @property
    def exit_code(self) -> Exit:
        """The exit code of the command, signals apart."""
        if any(isinstance(problem, KeyRefusedError) for problem in self.problems):
            return Exit.KEY_REFUSED
        return Exit.OK if self.is_sound else Exit.INCOMPLETE

    @property
    def repaired(self) -> int:
        """How many findings a repair mended."""
        left = {finding.place for finding in self.left}
        return sum(finding.place not in left for finding in self.findings)

    def counts(self) -> Counter[Trouble]:
        """How many findings of each kind stand in the end."""
        return Counter(finding.kind for finding in self.left)

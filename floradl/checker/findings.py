"""What a check of an archive can find, and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Never

from floradl.errors import Exit, FloradlError, KeyRefusedError, printable
from floradl.repository.results import Failure


class Trouble(StrEnum):
    """Kinds of findings. The values are part of the JSON report."""

    MISSING = "missing"  # an output is recorded, and there is no file
    EMPTY = "empty"  # the file has no bytes
    TRUNCATED = "truncated"  # the file is smaller than recorded
    CHANGED = "changed"  # the file is larger than recorded, or has other bytes
    UNREADABLE = "unreadable"  # the disk does not give the file's bytes
    NOT_A_FILE = "not_a_file"  # a link, a folder or the like where a file or folder of the archive should be
    MISPLACED = "misplaced"  # the bytes of a missing or damaged output, elsewhere in the archive
    STRAY = "stray"  # something that no entry knows; it is left alone, and is no fault of the archive
    UNRECORDED = "unrecorded"  # a run, an asset, a canvas, or an output of a known one, without an entry
    FAILED = "failed"  # an output that could not be archived so far
    LOST = "lost"  # a canvas snapshot that a repair has given up: nobody has its bytes any more
    BAD_ENTRY = "bad_entry"  # an entry that names no file, or a place that is not its own
    NO_RECORD = "no_record"  # a run without run.json, an asset without asset.json
    BAD_RECORD = "bad_record"  # a record with other bytes than were recorded
    BAD_MANIFEST = "bad_manifest"  # manifest.json is lost, or cannot be read
    BAD_JOURNAL = "bad_journal"  # the journal cannot be read, or is another archive's
    BAD_CHECKSUMS = "bad_checksums"  # SHA256SUMS is lost, or does not say what the manifest says


NO_FAULT = frozenset({Trouble.STRAY, Trouble.LOST})
"""Findings that do not make an archive unsound: strays, and losses that a repair has reported once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in an archive that is not as it should be.

    Args:
        kind: what is wrong.
        path: where, relative to the archive, with `/`.
        message: what was found, for people.
        run_id: the run, asset or canvas that it concerns; "" where there is none.
        key: the output that it concerns; "" where it is about a record, or about none.
        found_at: of a misplaced file, the path where it is now; else "".
    """

    kind: Trouble
    path: str
    message: str
    run_id: str = ""
    key: str = ""
    found_at: str = ""

    @property
    def is_unaccounted(self) -> bool:
        """Whether only `SHA256SUMS` names it, so that its run is not known, and nothing can be fetched."""
        return self.kind == Trouble.UNRECORDED and not self.run_id

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is about, without its kind: the same before and after a repair that changes the kind."""
        return self.path, self.run_id, self.key

    def line(self) -> str:
        """The finding as one line for people, with everything in it made printable."""
        run = f" ({printable(self.run_id, limit=80)} {printable(self.key, limit=80)})" if self.key else ""
        return f"{self.kind}: {printable(self.path, limit=400)}{run}: {printable(self.message, limit=300)}"


@dataclass(slots=True)
class AuditTally:
    """How far a check has come. Progress displays read it meanwhile.

    Attributes:
        total: outputs to check.
        done: outputs that are checked.
        moved_bytes: bytes that were read.
        failed_word: what a display calls the outputs that `failed` counts.
        findings: so far.
        listed_runs: runs, assets and canvases in the manifest.
        is_listed: whether the manifest was read, so that `listed_runs` and `total` are final.
        is_stopping: whether the check is being stopped.
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
        """Of how many outputs the `moved_bytes` are, for a display's average."""
        return self.done

    @property
    def flows(self) -> Collection[Never]:
        """Transfers that are under way: a check has none."""
        return ()

    @property
    def failed(self) -> int:
        """How many findings there are that are faults."""
        return sum(finding.kind not in NO_FAULT for finding in self.findings)


@dataclass(frozen=True)
class AuditReport:
    """What a check found. Times in seconds, sizes in bytes.

    Attributes:
        runs, assets, canvases: how many were checked.
        outputs: how many outputs they have.
        read: of how many outputs the bytes were read again.
        read_bytes: how many bytes that were.
        sample: which part of the files was read, such as "1/7".
        findings: what was found, before any repair.
        left: what is still wrong in the end; without a repair the same as `findings`.
        elapsed_s: how long it took.
        is_repair: whether a repair was wanted.
        is_interrupted: whether it was stopped.
        kept_aside: paths of files that a repair set aside and kept.
        failures: outputs that a repair could not fetch.
        problems: errors of the API during a repair.
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
        """Whether everything recorded is there as it was recorded, but for losses reported earlier."""
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
        """How many findings of each kind are left in the end."""
        return Counter(finding.kind for finding in self.left)

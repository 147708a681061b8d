"""Reads an archive's manifest as well as it can be read, from whatever is left of it. Writes nothing.

A lost or broken `manifest.json` is pieced together in this order:

1. Each line of the broken file that is still a whole entry: the file has one line an entry.
2. The journal, as far as it is whole and belongs to this archive.
3. Each folder that no entry knows: see `adoption`, and `audit` for the search.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.checker.findings import Finding, Trouble
from floradl.clock import Clock, format_ms
from floradl.errors import ManifestError, NewerFormatError
from floradl.repository import layout
from floradl.repository.entries import ADDITIONS, Op, ScanOp
from floradl.repository.journal import Journal, has_lost_lines, parse_journal
from floradl.repository.manifest import Manifest
from floradl.storage.destination import Destination

_RUN_LINE = re.compile(rb'("(?:[^"\\]|\\.)*"): (\{.*\}),?')
"""A line of `manifest.json` with a whole entry: `"run_1": {…},`."""

_HEAD_LINE = re.compile(rb'"(archive_id|created_at)": "([0-9A-Za-z:.+-]{1,64})",?')
"""A line of `manifest.json` with one of the archive's own facts that have to survive."""

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)/([^/]+)")
"""A line of `SHA256SUMS`: hash, folder, file."""

Checksums = Mapping[str, Mapping[str, str]]
"""Folder → file → SHA-256."""


@dataclass(frozen=True)
class Recovered:
    """A manifest as well as it could be read, and what was wrong with its files.

    Attributes:
        manifest: with the changes of the journal.
        findings: what was wrong with `manifest.json` and the journal.
        is_folded: whether no change of a run waits in the journal, so that `SHA256SUMS` should say what the
            manifest says.
        waiting: changes in the journal of runs that the manifest does not know. They count once it knows
            them, from their records.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    is_folded: bool
    waiting: tuple[Op, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether both files could be read as they are, so that nothing had to be pieced together."""
        return not self.findings


def recover(disk: Destination, clock: Clock) -> Recovered:
    """Read an archive's manifest as well as it can be read. Blocks.

    Args:
        disk: the archive.
        clock: for the date of creation of a manifest that has lost its own.

    Raises:
        NewerFormatError: a newer floradl wrote it. That is no damage, and must not be mended.
    """
    waiting: list[Op] = []
    journal, trouble = _read_journal(disk)
    manifest, finding = _read_manifest(disk, clock, journal)
    if journal.header is not None and journal.header.archive_id != manifest.archive_id:
        trouble = "it belongs to another archive than manifest.json"
    else:
        for op in journal.ops:
            if isinstance(op, ADDITIONS) and op.run_id not in manifest:
                # Applied now, it would make an entry without the run's facts, which cannot be read.
                waiting.append(op)
            elif manifest.accepts(op) and not (finding and isinstance(op, ScanOp)):
                # No seal counts for a manifest that has lost entries: the next scan would stop at it, and
                # never meet the runs below that were lost.
                manifest.apply(op)
    if waiting and finding is None:
        trouble = "it speaks of a run that manifest.json does not know"
    findings = [finding] if finding else []
    if trouble:
        findings.append(Finding(Trouble.BAD_JOURNAL, str(layout.JOURNAL), trouble))
    is_folded = all(isinstance(op, ScanOp) for op in journal.ops)
    return Recovered(manifest, tuple(findings), is_folded=is_folded, waiting=tuple(waiting))


def read_file(disk: Destination, path: PurePosixPath) -> bytes | None:
    """The bytes of one of the archive's own files; None where no regular file stands. Blocks."""
    return disk.read(path) if disk.is_file(path) else None


def _read_journal(disk: Destination) -> tuple[Journal, str]:
    """The journal as far as it is whole, and what is wrong with it ("": nothing). Blocks."""
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
    """`manifest.json` as well as it can be read, and what is wrong with it. Blocks.

    An archive whose first session was killed has a journal, and no `manifest.json` yet: that is no damage. A
    seal in the journal that names a `manifest.json` tells that there was one.
    """
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
    """The entries of a broken `manifest.json` whose lines are whole.

    Args:
        data: the file.
        archive_id, created_at: for a manifest whose lines do not say them any more.
    """
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
    """The lines of `SHA256SUMS` that make sense; none when it is lost. Blocks."""
    checksums: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in (read_file(disk, layout.CHECKSUMS) or b"").decode("utf-8", "replace").split("\n"):
        if match := _SUM_LINE.fullmatch(line):
            checksums[match[2]][match[3]] = match[1]
    return checksums

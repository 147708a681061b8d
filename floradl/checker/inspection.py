"""Compares the entry of a run, an asset or a canvas with the listing of its folder, and with files' digests.

Pure: nothing here touches the disk. `audit` lists, reads, and calls this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from floradl.checker.findings import Finding, Trouble
from floradl.constants import Kind as EntryKind
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State
from floradl.repository.snapshot import entry_path, entry_place
from floradl.storage.base import Item, Kind
from floradl.storage.digest import Digest

LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
"""Files that operating systems leave in any folder that somebody opens. They are no strays."""

Listing = Mapping[str, Item]
"""Name → what stands there."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A file that must be there, and what must be in it: an archived output's, or an entry's record.

    Attributes:
        run_id: the run, asset or canvas.
        key: the output's; "" of a record.
        path: the file's, relative to the archive.
        size_bytes: how long it must be; 0 of a record, whose size is not recorded.
        sha256: of its bytes, in hexadecimal.
        lost: why a repair has given the output up; None if none has. The file need not be there then, but it
            may be again.
        next_sha256: of the bytes that a record may have instead, since it was about to be replaced.
    """

    run_id: str
    key: str
    path: str
    size_bytes: int
    sha256: str
    lost: str | None = None
    next_sha256: str | None = None

    def finding(self, kind: Trouble, message: str) -> Finding:
        """A finding about this file."""
        return Finding(kind, self.path, message, self.run_id, self.key)


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that no entry knows. `size_bytes` is None where it is no regular file."""

    path: str
    size_bytes: int | None


@dataclass(slots=True)
class RunCheck:
    """What the check of one folder has shown so far.

    Attributes:
        outputs: how many outputs the entry has.
        has_record: first whether there is a record to read; when it was read, whether it is the right one.
            True for a kind that has no record.
        findings: what is wrong.
        expected: the files whose size is right and whose bytes have to be read.
        lost: the outputs whose files are missing or wrong. Their bytes may stand elsewhere.
        lost_record: the record, where it is missing or wrong.
        strays: what no entry knows.
    """

    outputs: int
    has_record: bool = True
    findings: list[Finding] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    lost: list[Expected] = field(default_factory=list)
    lost_record: Expected | None = None
    strays: list[Stray] = field(default_factory=list)


def check_run(run_id: str, entry: RunEntry, listing: Listing | None) -> RunCheck:
    """Compare an entry with the names and sizes in its folder. Pure.

    Args:
        run_id: the run, asset or canvas.
        entry: what is recorded of it.
        listing: what stands in its folder; None where a link or a file stands in the folder's place.
    """
    folder = entry_path(run_id, entry)
    check = RunCheck(len(entry.outputs))
    if listing is None:
        message = f"something else stands where the {entry.kind}'s folder should be"
        check.findings.append(Finding(Trouble.NOT_A_FILE, str(folder), message, run_id))
    items = listing or {}
    if entry.path != str(folder):
        message = f"the entry says {entry.path!r}"
        check.findings.append(Finding(Trouble.BAD_ENTRY, str(folder), message, run_id))
    _check_record(check, run_id, entry, folder, items)
    for key, output in entry.outputs.items():
        _check_output(check, run_id, key, output, folder, items)
    known = {output.file for output in entry.outputs.values()} | {layout.record_name(entry.kind)}
    for name, item in items.items():
        if name not in known and name not in LITTER and not _is_labels(entry, name, item):
            _note_unknown(check, run_id, entry, folder / name, item)
    return check


def unreadable_run(run_id: str, entry: RunEntry, reason: str) -> RunCheck:
    """The check of an entry whose folder cannot be listed: each of its outputs is unreadable.

    Args:
        run_id: the run, asset or canvas.
        entry: what is recorded of it.
        reason: what the disk said.
    """
    folder = entry_place(run_id, entry)
    findings = [Finding(Trouble.UNREADABLE, folder, reason, run_id, key) for key in entry.outputs]
    return RunCheck(
        len(entry.outputs),
        has_record=False,
        findings=findings or [Finding(Trouble.UNREADABLE, folder, reason, run_id)],
    )


def _check_record(
    check: RunCheck, run_id: str, entry: RunEntry, folder: PurePosixPath, items: Listing
) -> None:
    name = layout.record_name(entry.kind)
    if name is None:
        return
    record = items.get(name)
    if record is None or record.kind != Kind.FILE:
        check.has_record = False
        check.findings.append(Finding(Trouble.NO_RECORD, str(folder / name), "there is none", run_id))


def _is_labels(entry: RunEntry, name: str, item: Item) -> bool:
    """Whether this is the file with the labels of a run. It can be made again, so it is not checked."""
    return entry.kind is EntryKind.RUN and name == layout.LABELS and item.kind == Kind.FILE


def _check_output(
    check: RunCheck, run_id: str, key: str, output: OutputEntry, folder: PurePosixPath, items: Listing
) -> None:
    if output.state == State.FAILED:
        why = f"{output.error.code}: {output.error.message}" if output.error else "it has not been archived"
        check.findings.append(Finding(Trouble.FAILED, str(folder), why, run_id, key))
        return
    lost = _why_lost(output) if output.state == State.LOST else None
    if lost is not None and not (output.file and output.sha256):
        check.findings.append(Finding(Trouble.LOST, str(folder), lost, run_id, key))
        return
    if not output.file or not layout.is_output_of(output.file, key) or not output.sha256:
        message = f"the entry names no file of this output: {output.file!r}"
        check.findings.append(Finding(Trouble.BAD_ENTRY, str(folder), message, run_id, key))
        return
    size_bytes = output.size_bytes or 0
    expected = Expected(run_id, key, f"{folder}/{output.file}", size_bytes, output.sha256, lost)
    finding = _check_size(expected, items.get(output.file))
    if finding is None:
        check.expected.append(expected)
    else:
        check.findings.append(finding)
        check.lost.append(expected)


def _why_lost(output: OutputEntry) -> str:
    since = f"given up at {output.error.at}" if output.error else "given up"
    return f"{since}; nothing but the same bytes from elsewhere brings it back"


def _check_size(expected: Expected, item: Item | None) -> Finding | None:
    """What is wrong with a file by its kind and size; None where its bytes have to be read to know."""
    if expected.lost is not None:
        is_as_long = item is not None and (item.kind, item.size_bytes) == (Kind.FILE, expected.size_bytes)
        return None if is_as_long else expected.finding(Trouble.LOST, expected.lost)
    if item is None:
        return expected.finding(Trouble.MISSING, "the file is gone")
    if item.kind != Kind.FILE:
        return expected.finding(Trouble.NOT_A_FILE, "something else stands in its place")
    sizes = f"it has {item.size_bytes} bytes, {expected.size_bytes} were archived"
    if item.size_bytes == 0 < expected.size_bytes:
        return expected.finding(Trouble.EMPTY, sizes)
    if item.size_bytes < expected.size_bytes:
        return expected.finding(Trouble.TRUNCATED, sizes)
    if item.size_bytes > expected.size_bytes:
        return expected.finding(Trouble.CHANGED, sizes)
    return None


def _note_unknown(check: RunCheck, run_id: str, entry: RunEntry, path: PurePosixPath, item: Item) -> None:
    """Note something that no entry names: an output that was never recorded, or a stray.

    A process may have been killed between the renaming of a file and its entry.
    """
    lacking = [key for key, output in entry.outputs.items() if output.state != State.ARCHIVED]
    key = next((key for key in lacking if layout.is_output_of(path.name, key)), None)
    snapshot = layout.snapshot_of(path.name) if entry.kind is EntryKind.CANVAS else None
    if key is None and snapshot is not None and snapshot[0] not in entry.outputs:
        key = snapshot[0]
    if key is not None and item.kind == Kind.FILE and item.size_bytes:
        message = "it stands there without being recorded"
        check.findings.append(Finding(Trouble.UNRECORDED, str(path), message, run_id, key))
        return
    check.strays.append(stray(path, item))


def check_bytes(expected: Expected, digest: Digest) -> Finding | None:
    """What is wrong with a file by its bytes; None where they are the archived ones.

    Args:
        expected: what must be in it.
        digest: of what is in it.
    """
    is_right = digest.size_bytes == expected.size_bytes and digest.sha256 == expected.sha256
    if expected.lost is not None:
        again = expected.finding(Trouble.UNRECORDED, "it was given up, and is there again")
        return again if is_right else expected.finding(Trouble.LOST, expected.lost)
    if is_right:
        return None
    return expected.finding(Trouble.CHANGED, "its bytes are not those that were archived")


def stray(path: PurePosixPath, item: Item) -> Stray:
    """The stray that stands at a path."""
    return Stray(str(path), item.size_bytes if item.kind == Kind.FILE else None)

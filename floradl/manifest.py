"""The archive's memory: `manifest.json`, and the journal of what it does not have yet.

Order of writing, and why it stands so:

1. A change is appended to the journal and flushed, after the file it speaks of was renamed into place:
   an entry never refers to bytes that a power cut could take back.
2. At the end everything is folded: `SHA256SUMS`, then `manifest.json` (each a temporary file, flush,
   rename, flush of the folder), and only then is the journal removed. Cut anywhere, the next start finds
   the old snapshot with the whole journal, or the new one with a journal that changes nothing.

Runs are kept as the JSON they are stored as and decoded one at a time: a million outputs cost their
bytes, not a million objects. Keys that this version does not know survive.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

import msgspec

from floradl import __version__, layout
from floradl.clock import Clock, format_ms
from floradl.entries import (
    FORMAT,
    VERSION,
    JournalHeader,
    Op,
    OutputEntry,
    OutputOp,
    RunEntry,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    State,
    VanishedOp,
)
from floradl.errors import ManifestError, NewerFormatError
from floradl.files import AppendFile, Disk
from floradl.journal import Journal, encode_lines, parse_journal
from floradl.model import Scope

_MAX_LIVE_RUNS = 512
_RUNS_PER_CHUNK = 2000
_OUTPUT_KEYS = frozenset(OutputEntry.__struct_fields__)
_SHA256 = re.compile("[0-9a-f]{64}")
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Manifest:
    """The state of an archive in memory. Pure: it is fed bytes and changes, and gives bytes."""

    def __init__(self, archive_id: str, created_at: str) -> None:
        self._head: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "archive_id": archive_id,
            "created_at": created_at,
        }
        self._scans: dict[tuple[Scope, str], dict[str, Any]] = {}
        self._stored: dict[str, msgspec.Raw] = {}
        self._live: dict[str, dict[str, Any]] = {}
        self.has_changed_files = False

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a `manifest.json`.

        Raises:
            ManifestError: it is not one, or of a newer version.
        """
        try:
            head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            runs = msgspec.json.decode(head.pop("runs", b"{}"), type=dict[str, msgspec.Raw])
            scans = msgspec.json.decode(head.pop("scans", b"[]"), type=list[dict[str, msgspec.Raw]])
            known = {name: msgspec.json.decode(raw) for name, raw in head.items()}
            version = known.get("version")
            if known.get("format") != FORMAT or not isinstance(version, int):
                raise _unreadable("it is not a floradl manifest")
            if version > VERSION:
                raise NewerFormatError(
                    f"manifest.json has version {version}, this floradl reads {VERSION}",
                    hint="Update floradl and run it again.",
                )
            manifest = cls(str(known["archive_id"]), str(known["created_at"]))
            manifest._head.update(known)
            manifest._stored = runs
            for scan in scans:
                scope = msgspec.json.decode(scan["scope"], type=ScopeEntry)
                account = msgspec.json.decode(scan.get("account", b'""'), type=str)
                manifest._scans[_scope(scope), account] = dict(scan)
        except (*_NOT_READABLE, KeyError) as exc:
            raise _unreadable(str(exc)) from exc
        return manifest

    @property
    def archive_id(self) -> str:
        """What tells this archive from every other."""
        return str(self._head["archive_id"])

    @property
    def created_at(self) -> str:
        """When the archive was begun."""
        return str(self._head["created_at"])

    @property
    def base_url(self) -> str:
        """The API it was last filled from; "" before it was first folded."""
        return str(self._head.get("base_url", ""))

    def __len__(self) -> int:
        return len(self._stored.keys() | self._live.keys())

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._live or run_id in self._stored

    def run(self, run_id: str) -> RunEntry | None:
        """The entry of one run."""
        return self._entry(run_id) if run_id in self else None

    def iter_runs(self) -> Iterator[tuple[str, RunEntry]]:
        """Every run with its entry, oldest entry first."""
        for run_id in [*self._stored, *(run_id for run_id in self._live if run_id not in self._stored)]:
            yield run_id, self._entry(run_id)

    def scan(self, scope: Scope, account: str) -> ScanEntry | None:
        """What is known of an account's scans of a scope; None before the first that ended cleanly."""
        scan = self._scans.get((scope, account))
        try:
            return None if scan is None else msgspec.json.decode(msgspec.json.encode(scan), type=ScanEntry)
        except _NOT_READABLE as exc:
            raise _unreadable(f"a scan's entry: {exc}") from exc

    def put(self, run_id: str, entry: msgspec.Raw) -> None:
        """Take over a run's entry as it stands in another manifest."""
        self._stored[run_id] = entry
        self.has_changed_files = True

    def drop_unreadable(self) -> list[str]:
        """Forget the entries that nobody can read, and all seals with them; the ids of their runs."""
        dropped = []
        for run_id in list(self._stored):
            try:
                self._entry(run_id)
            except ManifestError:
                del self._stored[run_id]
                self._scans.clear()  # what is below a seal would not be looked for again
                dropped.append(run_id)
        return dropped

    def apply(self, op: Op) -> None:
        """Make one change."""
        match op:
            case RunOp(run_id, facts):
                run = self._open(run_id)
                run.update(msgspec.to_builtins(facts))
                run.setdefault("outputs", {})
            case OutputOp(run_id, key, entry):
                outputs = self._open(run_id).setdefault("outputs", {})
                before = outputs.get(key, {})
                unknown = {name: value for name, value in before.items() if name not in _OUTPUT_KEYS}
                outputs[key] = unknown | msgspec.to_builtins(entry)
                self.has_changed_files |= State.ARCHIVED in (entry.state, before.get("state"))
            case ScanOp(scan):
                place = (_scope(scan.scope), scan.account)
                fields = msgspec.json.decode(msgspec.json.encode(scan), type=dict[str, msgspec.Raw])
                self._scans[place] = self._scans.get(place, {}) | fields
            case VanishedOp(run_id, at):
                self._open(run_id).pop("vanished_at", None)
                if at is not None:
                    self._open(run_id)["vanished_at"] = at
            case _:
                assert_never(op)
        self._settle()

    def encode(self, *, updated_at: str, base_url: str) -> Iterator[bytes]:
        """`manifest.json`, in pieces: a line a run, so that people can read and compare it."""
        self._settle(everything=True)
        self._head |= {"updated_at": updated_at, "generator": f"floradl {__version__}", "base_url": base_url}
        yield b"{\n"
        for name, value in self._head.items():
            yield b"%s: %s,\n" % (msgspec.json.encode(name), msgspec.json.encode(value))
        scans = b",\n".join(msgspec.json.encode(scan) for scan in self._scans.values())
        yield b'"scans": [%s],\n"runs": {' % scans
        separator = b"\n"
        lines: list[bytes] = []
        for run_id, run in self._stored.items():
            lines.append(b"%s%s: %s" % (separator, msgspec.json.encode(run_id), bytes(run)))
            separator = b",\n"
            if len(lines) == _RUNS_PER_CHUNK:
                yield b"".join(lines)
                lines.clear()
        yield b"".join(lines)
        yield b"\n}}\n"

    def encode_checksums(self) -> Iterator[bytes]:
        """`SHA256SUMS`: a line for every archived output, as `sha256sum` writes them."""
        lines: list[str] = []
        for run_id, run in self.iter_runs():
            # Not the entry's own word for it: who changes that must not change what is checked.
            path = layout.run_path(run.workspace_id, run.project_id, run_id)
            lines.extend(
                f"{output.sha256}  {path}/{output.file}\n"
                for output in run.outputs.values()
                if output.state == State.ARCHIVED and output.file and output.sha256
            )
            if len(lines) >= _RUNS_PER_CHUNK:
                yield "".join(lines).encode()
                lines.clear()
        yield "".join(lines).encode()

    def _entry(self, run_id: str) -> RunEntry:
        try:
            if run_id in self._live:
                entry = msgspec.convert(self._live[run_id], RunEntry)
            else:
                entry = msgspec.json.decode(self._stored[run_id], type=RunEntry)
        except _NOT_READABLE as exc:
            raise _unreadable(f"the entry of run {run_id!r}: {exc}") from exc
        if not _is_within(entry):
            raise _unreadable(f"the entry of run {run_id!r} has a path or a hash that is none")
        return entry

    def _open(self, run_id: str) -> dict[str, Any]:
        """A run's entry to change; a new one for a run that nobody knows."""
        if run_id not in self._live:
            stored = self._stored.get(run_id, msgspec.Raw(b"{}"))
            try:
                run = msgspec.json.decode(stored, type=dict[str, Any])
                if "outputs" in run:
                    run["outputs"] = msgspec.convert(run["outputs"], dict[str, dict[str, Any]])
            except _NOT_READABLE as exc:
                raise _unreadable(f"the entry of run {run_id!r}: {exc}") from exc
            self._live[run_id] = run
        return self._live[run_id]

    def _settle(self, *, everything: bool = False) -> None:
        """Store entries that are not being changed any more as JSON again."""
        keep = 0 if everything else _MAX_LIVE_RUNS
        while len(self._live) > keep:
            run_id = next(iter(self._live))
            self._stored[run_id] = msgspec.Raw(msgspec.json.encode(self._live.pop(run_id)))


class Store:
    """An archive's manifest on disk, open for changes. Needs the archive's lock.

    Args:
        disk: the archive.
        clock: for dates.
    """

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._file: AppendFile | None = None
        self._is_dirty = False
        self.manifest = Manifest("", "")

    async def open(self) -> Manifest:
        """Read the snapshot, replay the journal, and go on appending where it is whole.

        Raises:
            ManifestError: one of them cannot be understood.
        """
        self.manifest, journal = await self._disk.call(_load, self._disk, self._clock)
        self._is_dirty = bool(journal.ops)
        self._file = await self._disk.call(
            self._disk.open_append, layout.JOURNAL, keep_bytes=journal.size_bytes
        )
        if journal.header is None:
            header = JournalHeader(VERSION, self.manifest.archive_id, self.manifest.created_at)
            await self._disk.call(self._file.append, encode_lines([header]))
        return self.manifest

    async def append(self, ops: Iterable[Op]) -> None:
        """Record changes. When this returns they are durable; when it is cancelled, they are or are not."""
        batch, file, is_durable = list(ops), self._open_file(), False
        if not batch:
            return

        def write() -> None:
            nonlocal is_durable
            file.append(encode_lines(batch))
            is_durable = True

        try:
            await self._disk.call(write)
        finally:
            # Also for a caller that was cancelled: a fold removes the journal, so what is in it must be here.
            if is_durable:
                self._is_dirty = True
                for op in batch:
                    self.manifest.apply(op)

    async def fold(self, base_url: str, *, anew: bool = False) -> None:
        """Write the snapshot and drop the journal; nothing when there was no change.

        Args:
            base_url: the API that the archive was filled from.
            anew: write snapshot and checksums without any change too.
        """
        await self._disk.call(self._fold, base_url, anew)

    async def close(self) -> None:
        """Close the journal. What is in it is found again at the next start."""
        if self._file is not None:
            file, self._file = self._file, None
            await self._disk.call(file.close)

    def _open_file(self) -> AppendFile:
        if self._file is None:
            raise RuntimeError("the store is not open")
        return self._file

    def _fold(self, base_url: str, anew: bool) -> None:
        if self._is_dirty or anew:
            (files,) = self._disk.sizes([layout.CHECKSUMS.parent])  # without links: one of those is replaced
            if anew or self.manifest.has_changed_files or layout.CHECKSUMS.name not in files:
                self._disk.write_atomic(layout.CHECKSUMS, self.manifest.encode_checksums())
            now = format_ms(self._clock.now_ms())
            self._disk.write_atomic(layout.MANIFEST, self.manifest.encode(updated_at=now, base_url=base_url))
        if self._file is not None:
            self._file.close()
            self._file = None
        self._disk.remove(layout.JOURNAL)


def load_manifest(disk: Disk, clock: Clock) -> Manifest:
    """The archive's state, snapshot and journal, without changing anything on disk. Blocks."""
    return _load(disk, clock)[0]


def _load(disk: Disk, clock: Clock) -> tuple[Manifest, Journal]:
    snapshot = disk.read(layout.MANIFEST)
    journal = parse_journal(disk.read(layout.JOURNAL) or b"")
    if snapshot is not None:
        manifest = Manifest.parse(snapshot)
        if journal.header is not None and journal.header.archive_id != manifest.archive_id:
            raise ManifestError(
                "the journal under .floradl/ belongs to another archive than manifest.json",
                hint="Put back the manifest.json of this folder; or `floradl verify --repair` sorts it out.",
            )
    elif journal.header is not None:
        manifest = Manifest(journal.header.archive_id, journal.header.created_at)
    else:
        manifest = Manifest(uuid.uuid4().hex, format_ms(clock.now_ms()))
    for op in journal.ops:
        manifest.apply(op)
    return manifest, journal


def _scope(entry: ScopeEntry) -> Scope:
    return Scope(entry.workspace_id, entry.project_id, entry.source)


def _is_within(run: RunEntry) -> bool:
    """Whether what an entry says of files is about files of the archive; `SHA256SUMS` repeats it."""
    return layout.is_place(run.path) and all(
        (output.file is None or (layout.is_place(output.file) and "/" not in output.file))
        and (output.sha256 is None or _SHA256.fullmatch(output.sha256))
        for output in run.outputs.values()
    )


def _unreadable(why: str) -> ManifestError:
    return ManifestError(
        f"manifest.json cannot be read: {why}",
        hint="`floradl verify --repair` makes it anew from what is there; a copy of it does as well.",
    )

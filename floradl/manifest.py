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
from floradl.errors import ManifestError
from floradl.files import AppendFile, Disk
from floradl.journal import Journal, encode_lines, parse_journal
from floradl.model import Scope
from floradl.snapshot import (
    NOT_READABLE,
    encode_checksums,
    encode_snapshot,
    parse_run,
    parse_snapshot,
    unreadable,
)

_MAX_LIVE_RUNS = 512
_OUTPUT_KEYS = frozenset(OutputEntry.__struct_fields__)


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
        snapshot = parse_snapshot(data)
        try:
            manifest = cls(str(snapshot.head["archive_id"]), str(snapshot.head["created_at"]))
            for scan in snapshot.scans:
                scope = msgspec.json.decode(scan["scope"], type=ScopeEntry)
                account = msgspec.json.decode(scan.get("account", b'""'), type=str)
                manifest._scans[_scope(scope), account] = dict(scan)
        except (*NOT_READABLE, KeyError) as exc:
            raise unreadable(str(exc)) from exc
        manifest._head.update(snapshot.head)
        manifest._stored = snapshot.runs
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
        return len(self._stored) + sum(run_id not in self._stored for run_id in self._live)

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
        except NOT_READABLE as exc:
            raise unreadable(f"a scan's entry: {exc}") from exc

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
        yield from encode_snapshot(self._head, self._scans.values(), self._stored)

    def encode_checksums(self) -> Iterator[bytes]:
        """`SHA256SUMS`, in pieces: a line for every archived output, as `sha256sum` writes them."""
        self._settle(everything=True)
        yield from encode_checksums(self._stored.items())

    def _entry(self, run_id: str) -> RunEntry:
        live = self._live.get(run_id)
        return parse_run(run_id, self._stored[run_id] if live is None else _stored(live))

    def _open(self, run_id: str) -> dict[str, Any]:
        """A run's entry to change; a new one for a run that nobody knows."""
        if run_id not in self._live:
            stored = self._stored.get(run_id, msgspec.Raw(b"{}"))
            try:
                run = msgspec.json.decode(stored, type=dict[str, Any])
                if "outputs" in run:
                    run["outputs"] = msgspec.convert(run["outputs"], dict[str, dict[str, Any]])
            except NOT_READABLE as exc:
                raise unreadable(f"the entry of run {run_id!r}: {exc}") from exc
            self._live[run_id] = run
        return self._live[run_id]

    def _settle(self, *, everything: bool = False) -> None:
        """Store entries that are not being changed any more as JSON again."""
        keep = 0 if everything else _MAX_LIVE_RUNS
        while len(self._live) > keep:
            run_id = next(iter(self._live))
            self._stored[run_id] = _stored(self._live.pop(run_id))


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


def _stored(run: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(run))

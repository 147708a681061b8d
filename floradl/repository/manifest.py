"""The state of an archive in memory. Pure: it takes bytes and changes, and gives bytes.

Entries are kept as the JSON that `manifest.json` has, and are decoded one at a time. So a million outputs
cost the memory of their bytes, and not that of a million objects. An entry that is being changed is held as
a dict, and is made JSON again later. Keys that this version does not know are kept.

`repository` reads and writes the files; `snapshot` knows their form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

import msgspec

from floradl.api.models import Scope
from floradl.api.raw_json import NOT_READABLE
from floradl.constants import Kind
from floradl.errors import ManifestError
from floradl.repository.entries import (
    FORMAT,
    VERSION,
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunEntry,
    RunFacts,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    SourcesOp,
    State,
    VanishedOp,
)
from floradl.repository.snapshot import (
    CountedRun,
    encode_checksums,
    encode_snapshot,
    iter_by_table,
    kind_of,
    parse_counted,
    parse_run,
    parse_sizes,
    parse_snapshot,
    unreadable,
)
from floradl.version import __version__

_MAX_LIVE_RUNS = 512  # entries that are held as dicts, since they are being changed
_FACT_KEYS = frozenset(RunFacts.__struct_fields__)
_OUTPUT_KEYS = frozenset(OutputEntry.__struct_fields__)
_SCAN_KEYS = frozenset(ScanEntry.__struct_fields__)


class Manifest:
    """The state of an archive in memory: its entries and scans.

    "Run" stands for runs, assets and canvases alike where nothing else is said: all have entries by their
    ids.

    Args:
        archive_id: what tells this archive from every other.
        created_at: when the archive was begun, in ISO 8601.

    Attributes:
        origin: which `manifest.json` it was read from: its `updated_at` and its size in bytes; "" when there
            was none.
        has_changed_files: whether the content of `SHA256SUMS` has changed since then.
        changed_runs: ids of the entries that were changed or added since then.
    """

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
        self._kinds: dict[str, Kind] = {}  # of entries that are assets or canvases
        self.origin = ""
        self.has_changed_files = False
        self.changed_runs: set[str] = set()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a `manifest.json`.

        Raises:
            ManifestError: it cannot be understood, or has a newer version.
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
        manifest.origin = f"{snapshot.head.get('updated_at')} {len(data)}"
        manifest._head.update(snapshot.head)
        manifest._stored, manifest._kinds = snapshot.runs, snapshot.kinds
        return manifest

    @property
    def archive_id(self) -> str:
        """The id that tells this archive from every other."""
        return str(self._head["archive_id"])

    @property
    def created_at(self) -> str:
        """When the archive was begun, in ISO 8601."""
        return str(self._head["created_at"])

    @property
    def base_url(self) -> str:
        """The base URL of the API that it was last filled from; "" before the first `manifest.json`."""
        return str(self._head.get("base_url", ""))

    def __len__(self) -> int:
        return len(self._stored) + sum(run_id not in self._stored for run_id in self._live)

    def count(self, kind: Kind) -> int:
        """How many entries of a kind there are: runs, assets or canvases."""
        others = Counter(self._kinds.values())
        return len(self) - others.total() if kind is Kind.RUN else others[kind]

    def kind(self, identifier: str) -> Kind:
        """The kind of an entry; `Kind.RUN` when there is no entry of this id."""
        return self._kinds.get(identifier, Kind.RUN)

    def ids(self) -> Iterable[str]:
        """The ids of all entries, oldest entry first."""
        return [*self._stored, *(run_id for run_id in self._live if run_id not in self._stored)]

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._live or run_id in self._stored

    def run(self, run_id: str) -> RunEntry | None:
        """The entry of a run; None when there is none."""
        return self.entry(run_id) if run_id in self else None

    def entry(self, run_id: str) -> RunEntry:
        """The entry of a run; `KeyError` when there is none.

        Raises:
            ManifestError: the entry cannot be read, or leads out of the archive.
        """
        return parse_run(run_id, self._stored_run(run_id))

    def stored(self, run_id: str) -> msgspec.Raw:
        """The entry of a run in JSON, as it is stored: the same bytes as long as nothing in it changes."""
        return self._stored_run(run_id)

    def sizes(self, run_id: str) -> dict[str, int | None]:
        """The files of a run with their sizes, by its entry. Faster than to decode the whole entry."""
        return parse_sizes(run_id, self._stored_run(run_id))

    def iter_entries(self, kind: Kind | None = None) -> Iterator[tuple[str, RunEntry]]:
        """Every entry with its id, oldest entry first; with `kind`, those of that kind.

        Assets and canvases are found without going through the runs, of which there may be a million.
        """
        ids = self.ids() if kind in (None, Kind.RUN) else list(self._kinds)
        for run_id in (each for each in ids if kind in (None, self.kind(each))):
            yield run_id, self.entry(run_id)

    def iter_counted(self) -> Iterator[tuple[str, CountedRun]]:
        """What `status` counts of every entry, with its id. Faster than to decode the entries."""
        for run_id in self.ids():
            yield run_id, parse_counted(run_id, self._stored_run(run_id))

    def scan(self, scope: Scope, account: str) -> ScanEntry | None:
        """The state of an account's scans of a scope; None before the first that ended without an error."""
        scan = self._scans.get((scope, account))
        return None if scan is None else _scan_entry(scan)

    def scans(self) -> list[ScanEntry]:
        """The state of the scans of all scopes and accounts."""
        return [_scan_entry(scan) for scan in self._scans.values()]

    def put(self, run_id: str, entry: msgspec.Raw) -> None:
        """Set an entry to what it is in another manifest, in JSON."""
        self._stored[run_id] = entry
        self._note_kind(run_id, kind_of(entry))
        self.changed_runs.add(run_id)
        self.has_changed_files = True

    def drop_unreadable(self) -> list[str]:
        """Drop the entries that cannot be read, and all seals with them.

        A seal says that everything below it is recorded. With the dropped entries that is not true any more,
        and they would never be looked for again. Where a seal itself cannot be read, all are dropped: the
        next scan walks everything.

        Returns:
            The ids of the dropped entries, and "scans" where a seal could not be read.
        """
        dropped = []
        try:
            self.scans()
        except ManifestError:
            self._scans.clear()
            dropped.append("scans")
        for run_id in list(self._stored):
            try:
                self.entry(run_id)
            except ManifestError:
                del self._stored[run_id]
                self._kinds.pop(run_id, None)
                self._scans.clear()
                dropped.append(run_id)
        return dropped

    def accepts(self, op: Op) -> bool:
        """Whether a change of the journal counts on this manifest.

        All do but some seals. A seal says that everything below it is recorded, in the `manifest.json` that
        it was made on. If somebody puts back an older one from a backup, the seal would hide the runs that
        this older one does not have.
        """
        return not isinstance(op, ScanOp) or op.onto is None or op.onto == self.origin

    def apply(self, op: Op) -> None:
        """Make one change."""
        match op:
            case RunOp(run_id, facts):
                rest = {name: value for name, value in self._open(run_id).items() if name not in _FACT_KEYS}
                self._live[run_id] = {**msgspec.to_builtins(facts), "outputs": {}, **rest}
                self._note_kind(run_id, facts.kind)
            case OutputOp(run_id, key, entry):
                outputs = self._open(run_id).setdefault("outputs", {})
                before = outputs.get(key, {})
                unknown = {name: value for name, value in before.items() if name not in _OUTPUT_KEYS}
                outputs[key] = unknown | msgspec.to_builtins(entry)
                self.has_changed_files |= State.ARCHIVED in (entry.state, before.get("state"))
            case ScanOp(scan, _):
                place = (_scope(scan.scope), scan.account)
                fields = msgspec.json.decode(msgspec.json.encode(scan), type=dict[str, msgspec.Raw])
                before = self._scans.get(place, {})
                rest = {name: value for name, value in before.items() if name not in _SCAN_KEYS}
                self._scans[place] = rest | fields
            case VanishedOp(run_id, at):
                self._open(run_id).pop("vanished_at", None)
                if at is not None:
                    self._open(run_id)["vanished_at"] = at
            case SourcesOp(run_id, sources):
                self._open(run_id)["sources"] = list(sources)
            case LabelsOp(run_id, sha256):
                self._open(run_id)["labels_sha256"] = sha256
            case _:
                assert_never(op)
        self._settle()

    def encode(self, *, updated_at: str, base_url: str) -> Iterator[bytes]:
        """The bytes of `manifest.json`, in pieces.

        Each entry is a line, so that people can read and compare it.

        Args:
            updated_at: now, in ISO 8601.
            base_url: the API that the archive was filled from.
        """
        self._settle(everything=True)
        self._head |= {
            "version": VERSION,
            "updated_at": updated_at,
            "generator": f"floradl {__version__}",
            "base_url": base_url,
        }
        yield from encode_snapshot(self._head, self._scans.values(), self._stored, self._kinds)

    def encode_checksums(self) -> Iterator[bytes]:
        """The bytes of `SHA256SUMS`, in pieces: a line for every archived output, as `sha256sum` writes them.

        The lines stand in the order of `manifest.json`. A check makes them anew from that file, and must get
        the same bytes.
        """
        self._settle(everything=True)
        yield from encode_checksums(iter_by_table(self._stored, self._kinds))

    def _note_kind(self, identifier: str, kind: Kind) -> None:
        if kind is Kind.RUN:
            self._kinds.pop(identifier, None)
        else:
            self._kinds[identifier] = kind

    def _stored_run(self, run_id: str) -> msgspec.Raw:
        live = self._live.get(run_id)
        return self._stored[run_id] if live is None else _stored(live)

    def _open(self, run_id: str) -> dict[str, Any]:
        """A run's entry as a dict, to be changed; an empty one for a run that has none."""
        self.changed_runs.add(run_id)
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
        """Make JSON of the entries that were changed longest ago, or with `everything` of all of them."""
        keep = 0 if everything else _MAX_LIVE_RUNS
        while len(self._live) > keep:
            run_id = next(iter(self._live))
            self._stored[run_id] = _stored(self._live.pop(run_id))


def _scope(entry: ScopeEntry) -> Scope:
    return Scope(entry.workspace_id, entry.project_id, entry.source)


def _scan_entry(scan: dict[str, Any]) -> ScanEntry:
    try:
        return msgspec.json.decode(msgspec.json.encode(scan), type=ScanEntry)
    except NOT_READABLE as exc:
        raise unreadable(f"a scan's entry: {exc}") from exc


def _stored(run: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(run))

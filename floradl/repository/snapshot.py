"""The form of `manifest.json` and `SHA256SUMS`: from bytes to values, and back. Pure.

The manifest of a million outputs has some 400 MB. So each file is gone through once, an entry stays JSON
until somebody asks for it, and for each question only the fields are decoded that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.bounds import Count, Moment, SizeBytes, Usd
from floradl.constants import Kind, Source
from floradl.errors import ManifestError, NewerFormatError
from floradl.repository import layout
from floradl.repository.entries import FORMAT, VERSION, ErrorEntry, RunEntry, State

_RUNS_PER_CHUNK = 2000
_SHA256 = re.compile("[0-9a-f]{64}")

Scan = dict[str, msgspec.Raw]
Runs = dict[str, msgspec.Raw]


class _Plain(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A `manifest.json` without any key that this version does not know: read in one step."""

    format: Any
    version: Any
    archive_id: Any
    created_at: Any
    updated_at: Any = msgspec.UNSET
    generator: Any = msgspec.UNSET
    base_url: Any = msgspec.UNSET
    scans: list[Scan] = []
    runs: Runs = {}
    assets: Runs = {}
    canvases: Runs = {}


class _SummedOutput(msgspec.Struct, gc=False):
    state: State
    file: str | None = None
    sha256: str | None = None


class _SummedRun(msgspec.Struct):
    """What `SHA256SUMS` needs of an entry."""

    workspace_id: str
    project_id: str
    path: str
    kind: Kind = Kind.RUN
    outputs: dict[str, _SummedOutput] = {}


class _SizedOutput(msgspec.Struct, gc=False):
    file: str | None = None
    size_bytes: SizeBytes | None = None


class _SizedRun(msgspec.Struct):
    """What the comparison of an entry with its folder needs of it."""

    outputs: dict[str, _SizedOutput] = {}


class _KindedEntry(msgspec.Struct):
    kind: Kind = Kind.RUN


class CountedOutput(msgspec.Struct, gc=False):
    """What `status` counts of an output."""

    type: str
    state: State
    size_bytes: SizeBytes | None = None
    attempts: Count | None = None
    error: ErrorEntry | None = None
    announced_bytes: SizeBytes | None = None
    compressed: bool = False


class CountedRun(msgspec.Struct):
    """What `status` counts of a run, an asset or a canvas."""

    workspace_id: str
    project_id: str
    kind: Kind = Kind.RUN
    model_id: str | None = None
    created_at: Moment | None = None
    charged_cost: Usd | None = None
    outputs: dict[str, CountedOutput] = {}
    vanished_at: str | None = None
    sources: tuple[str, ...] = (Source.GENERATIONS,)
    technique_id: str | None = None
    technique_name: str | None = None


_TABLES = {"runs": Kind.RUN, "assets": Kind.ASSET, "canvases": Kind.CANVAS}
"""The tables of `manifest.json`, and the kind of the entries in each."""

_HEAD = [name for name in _Plain.__struct_fields__ if name not in ("scans", *_TABLES)]

_plain = msgspec.json.Decoder(_Plain)
_entry = msgspec.json.Decoder(RunEntry)
_summed = msgspec.json.Decoder(_SummedRun)
_sized = msgspec.json.Decoder(_SizedRun)
_kinded = msgspec.json.Decoder(_KindedEntry)
_counted = msgspec.json.Decoder(CountedRun)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of a `manifest.json`.

    Attributes:
        head: its keys apart from scans and entries.
        scans: the state of each scope's scans.
        runs: the entries of all kinds, in JSON, by their ids.
        kinds: the kinds of entries that are assets or canvases, by their ids.
    """

    head: dict[str, Any]
    scans: list[Scan]
    runs: Runs
    kinds: dict[str, Kind]


def parse_snapshot(data: bytes) -> Snapshot:
    """Read a `manifest.json`.

    Raises:
        ManifestError: it cannot be understood, or has a newer version.
    """
    try:
        snapshot = _parse(data)
    except NOT_READABLE as exc:
        raise unreadable(str(exc)) from exc
    version = snapshot.head.get("version")
    if snapshot.head.get("format") != FORMAT or not isinstance(version, int):
        raise unreadable("it is not a floradl manifest")
    if version > VERSION:
        raise NewerFormatError(
            f"manifest.json has version {version}, this floradl reads {VERSION}",
            hint="Update floradl and run it again.",
        )
    return snapshot


def _parse(data: bytes) -> Snapshot:
    try:
        plain = _plain.decode(data)
    except NOT_READABLE:
        pass  # it has keys that this version does not know, or is no manifest; the slower way below tells
    else:
        head = {name: value for name in _HEAD if (value := getattr(plain, name)) is not msgspec.UNSET}
        return _joined(head, plain.scans, {name: getattr(plain, name) for name in _TABLES})
    values = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    tables = {name: msgspec.json.decode(values.pop(name, b"{}"), type=Runs) for name in _TABLES}
    scans = msgspec.json.decode(values.pop("scans", b"[]"), type=list[Scan])
    return _joined({name: msgspec.json.decode(raw) for name, raw in values.items()}, scans, tables)


def _joined(head: dict[str, Any], scans: list[Scan], tables: Mapping[str, Runs]) -> Snapshot:
    """A snapshot with the tables of all kinds joined. One id in two tables is refused."""
    runs = tables["runs"]
    kinds: dict[str, Kind] = {}
    for name, kind in _TABLES.items():
        if kind is Kind.RUN:
            continue
        for identifier, entry in tables[name].items():
            if identifier in runs:
                raise unreadable(f"{identifier!r} stands in it as two things")
            runs[identifier] = entry
            kinds[identifier] = kind
    return Snapshot(head, scans, runs, kinds)


def encode_snapshot(
    head: Mapping[str, Any], scans: Iterable[Scan], runs: Runs, kinds: Mapping[str, Kind]
) -> Iterator[bytes]:
    """The bytes of `manifest.json`, in pieces. Each entry is a line, so that people can read and compare it.

    Args:
        head, scans, runs, kinds: as in `Snapshot`.
    """
    yield b"{\n"
    for name, value in head.items():
        yield b"%s: %s,\n" % (msgspec.json.encode(name), msgspec.json.encode(value))
    yield b'"scans": [%s]' % b",\n".join(msgspec.json.encode(scan) for scan in scans)
    for name, kind in _TABLES.items():
        entries = _of_kind(kind, runs, kinds)
        if kind is Kind.RUN or any(its is kind for its in kinds.values()):
            yield from _encode_table(name, entries)
    yield b"\n}\n"


def iter_by_table(runs: Runs, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, msgspec.Raw]]:
    """All entries in the order of `manifest.json`, which has a table for each kind.

    Args:
        runs, kinds: as in `Snapshot`.
    """
    for kind in _TABLES.values():
        yield from _of_kind(kind, runs, kinds)


def _of_kind(kind: Kind, runs: Runs, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, msgspec.Raw]]:
    if kind is Kind.RUN:
        return ((run_id, run) for run_id, run in runs.items() if run_id not in kinds)
    return ((identifier, runs[identifier]) for identifier, its in kinds.items() if its is kind)


def _encode_table(name: str, entries: Iterable[tuple[str, msgspec.Raw]]) -> Iterator[bytes]:
    yield b',\n"%s": {' % name.encode()
    separator = b"\n"
    parts: list[bytes | msgspec.Raw] = []
    for identifier, entry in entries:
        parts += (separator, msgspec.json.encode(identifier), b": ", entry)
        separator = b",\n"
        if len(parts) == 4 * _RUNS_PER_CHUNK:
            # `join` takes a Raw as it is, so that its bytes are copied once.
            yield b"".join(parts)
            parts.clear()
    yield b"".join(parts)
    yield b"\n}"


def encode_checksums(runs: Iterable[tuple[str, msgspec.Raw]]) -> Iterator[bytes]:
    """The bytes of `SHA256SUMS`, in pieces: a line for every archived output, as `sha256sum` writes them.

    Raises:
        ManifestError: an entry cannot be read, or leads out of the archive.
    """
    lines: list[str] = []
    for run_id, stored in runs:
        try:
            run = _summed.decode(stored)
        except NOT_READABLE as exc:
            raise _unreadable_run(run_id, str(exc)) from exc
        _require(layout.is_place(run.path), run_id)
        # The folder by the ids, and not the entry's `path`: somebody who changes that field must not change
        # which files are checked.
        place = entry_place(run_id, run)
        for output in run.outputs.values():
            if output.state is State.ARCHIVED and output.file is not None and output.sha256 is not None:
                _require(_is_file(output.file) and _is_sha256(output.sha256), run_id)
                lines.append(f"{output.sha256}  {place}/{output.file}\n")
        if len(lines) >= _RUNS_PER_CHUNK:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def parse_run(run_id: str, stored: msgspec.Raw) -> RunEntry:
    """Decode an entry.

    Raises:
        ManifestError: it cannot be read, or leads out of the archive.
    """
    try:
        entry = _entry.decode(stored)
    except NOT_READABLE as exc:
        raise _unreadable_run(run_id, str(exc)) from exc
    # Other code relies on what an entry says of files, so it must be about files of the archive.
    is_within = layout.is_place(entry.path) and all(
        (output.file is None or _is_file(output.file))
        and (output.sha256 is None or _is_sha256(output.sha256))
        for output in entry.outputs.values()
    )
    _require(is_within, run_id)
    return entry


def entry_place(identifier: str, entry: RunEntry | _SummedRun) -> str:
    """The folder of an entry, relative to the archive: by its ids, and not by its field `path`."""
    return layout.item_place(entry.kind, entry.workspace_id, entry.project_id, identifier)


def entry_path(identifier: str, entry: RunEntry) -> PurePosixPath:
    """`entry_place` as a path."""
    return PurePosixPath(entry_place(identifier, entry))


def kind_of(stored: msgspec.Raw) -> Kind:
    """The kind of an entry, by its field `kind`; `Kind.RUN` when that is missing or cannot be read."""
    try:
        return _kinded.decode(stored).kind
    except NOT_READABLE:
        return Kind.RUN


def parse_counted(run_id: str, stored: msgspec.Raw) -> CountedRun:
    """Decode what `status` counts of an entry.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        return _counted.decode(stored)
    except NOT_READABLE as exc:
        raise _unreadable_run(run_id, str(exc)) from exc


def parse_sizes(run_id: str, stored: msgspec.Raw) -> dict[str, int | None]:
    """Decode the files of an entry with their sizes in bytes, None for a size that is not known.

    Raises:
        ManifestError: it cannot be read, or a name is no file's in the run's folder.
    """
    try:
        outputs = _sized.decode(stored).outputs
    except NOT_READABLE as exc:
        raise _unreadable_run(run_id, str(exc)) from exc
    sizes = {output.file: output.size_bytes for output in outputs.values() if output.file is not None}
    for name in sizes:
        _require(_is_file(name), run_id)
    return sizes


def _require(is_within: bool, run_id: str) -> None:
    if not is_within:
        raise unreadable(f"the entry of run {run_id!r} has a path or a hash that is none")


def _is_file(name: str) -> bool:
    return "/" not in name and layout.is_place(name)


def _is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _unreadable_run(run_id: str, why: str) -> ManifestError:
    return unreadable(f"the entry of run {run_id!r}: {why}")


def unreadable(why: str) -> ManifestError:
    """The error for a `manifest.json`, or a part of it, that cannot be understood."""
    return ManifestError(
        f"manifest.json cannot be read: {why}",
        hint="`floradl verify --repair` makes it anew from what is there; a copy of it does as well.",
    )

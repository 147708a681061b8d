"""Checking an archive: everything recorded is there as it was recorded, and what else there is.

The way of one check: the manifest as well as it can be read; the folders down to each run's, asset's and
canvas's, for what no entry knows; each such folder against its entry; the bytes of every file, or of a
sample, hashed again on all cores; what is missing looked for among what nobody knows; `SHA256SUMS`. It
changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import TypeVar

from floradl.checker.findings import NO_FAULT, AuditTally, Finding, Trouble
from floradl.checker.inspection import (
    LITTER,
    Expected,
    Listing,
    RunCheck,
    Stray,
    check_bytes,
    check_run,
    stray,
    unreadable_run,
)
from floradl.checker.recovery import Adoption, Recovered, adopt_folder, read_checksums, read_file, recover
from floradl.clock import Clock
from floradl.constants import Kind as EntryKind
from floradl.repository import layout
from floradl.repository.entries import ADDITIONS, Op, OutputOp, RunEntry
from floradl.repository.manifest import Manifest
from floradl.repository.snapshot import entry_place
from floradl.storage import base
from floradl.storage.base import Kind
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local.reader import Reader
from floradl.tasks import all_of

_DAY_S = 86_400
_RUNS_AT_ONCE = 1000
_RUNS_PER_JOB = 50
_FILES_PER_JOB = 64
_BYTES_PER_JOB = 32 * 1024 * 1024

_OUR_NAMES = {
    str(name) for name in (layout.MANIFEST, layout.CHECKSUMS, base.PRIVATE, layout.INDEX_PAGE, layout.GALLERY)
}
"""What the archive has, or may have, beside the folders of workspaces."""

_RECORDS = {layout.record_name(kind) for kind in EntryKind}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Sample:
    """Which files are read again: `parts` of `of`, in turn by day, so that enough days in a row cover all."""

    parts: int = 1
    of: int = 1

    def has(self, path: str, day: int) -> bool:
        """Whether a file is read on this day, counted from 1970-01-01."""
        return (zlib.crc32(path.encode()) - day * self.parts) % self.of < self.parts

    def __str__(self) -> str:
        return f"{self.parts}/{self.of}"


class Audit:
    """One check of an archive. Needs a lock.

    Args:
        disk: the archive.
        clock: for the day of the sample.
        sample: how much is read again.
        tally: kept up to date, for a display.
        threads: how many files are read at the same time.

    Attributes:
        recovered: the manifest, read as well as it can be.
        adopted: the entries of runs, assets and canvases that no entry knew, from records and bytes.
        counts: how many of each kind were checked.
        outputs: how many of all of them.
        read: of how many outputs the bytes were read.
    """

    def __init__(
        self, disk: Destination, clock: Clock, sample: Sample, tally: AuditTally, *, threads: int
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._sample = sample
        self._day = int(clock.now() // _DAY_S)
        self._tally = tally
        self._threads = threads
        self._strays: list[Stray] = []
        self._wanted: defaultdict[int, list[Expected]] = defaultdict(list)
        self._wanted_records: dict[str, Expected] = {}
        self.recovered: Recovered | None = None
        self.adopted: list[Op] = []
        self.counts: Counter[EntryKind] = Counter()
        self.outputs = self.read = 0

    @property
    def manifest(self) -> Manifest:
        """What the archive should hold. Only after `run`."""
        if self.recovered is None:
            raise RuntimeError("nothing was checked yet")
        return self.recovered.manifest

    @property
    def findings(self) -> list[Finding]:
        """What was found so far."""
        return self._tally.findings

    async def run(self) -> None:
        """Check everything.

        Raises:
            NewerFormatError: the manifest is a newer floradl's.
        """
        self.recovered = recovered = await self._disk.call(recover, self._disk, self._clock)
        self.findings.extend(recovered.findings)
        manifest = recovered.manifest
        folders, self._tally.total = await self._disk.call(_survey, manifest)
        self._tally.listed_runs, self._tally.is_listed = len(manifest), True
        await self._adopt(recovered, await self._disk.call(self._walk, folders))
        if not recovered.is_whole:
            await self._disk.call(self._note_unaccounted, manifest)
        self.counts = Counter({kind: manifest.count(kind) for kind in EntryKind})
        await self.check(manifest.iter_entries())
        await self._find_misplaced()
        if recovered.is_whole and recovered.is_folded:
            await self._disk.call(self._check_checksums, manifest)
        self.findings.sort(key=lambda finding: (finding.kind in NO_FAULT, finding.path, finding.key))

    async def check(self, runs: Iterable[tuple[str, RunEntry]]) -> None:
        """Check these runs: their folders, then the bytes of what should be read."""
        iterator = iter(runs)
        while some := list(islice(iterator, _RUNS_AT_ONCE)):
            expected: list[Expected] = []

            def note(checks: Sequence[RunCheck], expected: list[Expected] = expected) -> None:
                for check in checks:
                    self._note(check)
                    expected.extend(check.expected)

            await self._each(_jobs_of_runs(some), self._check_runs, note)
            # What was given up is read every day: there is little of it, and it must be told every day.
            due = [item for item in expected if item.lost or self._sample.has(item.path, self._day)]
            self._tally.done += len(expected) - len(due)
            await self._each(_jobs_of_files(due), self._read, self._note_read)

    async def _each(self, jobs: Iterable[T], work: Callable[[T], R], note: Callable[[R], None]) -> None:
        """Do blocking work for each job, in all threads at once."""
        iterator = iter(jobs)

        async def worker() -> None:
            for job in iterator:
                note(await self._disk.call(work, job))

        await all_of(worker() for _ in range(self._threads))

    def _note(self, check: RunCheck) -> None:
        self.outputs += check.outputs
        self._strays.extend(check.strays)
        for finding in check.findings:
            self.findings.append(finding)
            self._tally.done += bool(finding.key)
        for expected in check.lost:
            self._wanted[expected.size_bytes].append(expected)
        if check.lost_record is not None:
            self._wanted_records[check.lost_record.sha256] = check.lost_record

    def _note_read(self, results: Sequence[tuple[Expected, int, Finding | None]]) -> None:
        for expected, size_bytes, finding in results:
            self.read += 1
            self._tally.done += 1
            self._tally.moved_bytes += size_bytes
            if finding is not None:
                self.findings.append(finding)
                self._wanted[expected.size_bytes].append(expected)

    def _walk(self, folders: set[str]) -> list[PurePosixPath]:
        """Look at the folders above the entries': the strays there, and the folders that no entry knows."""
        ours, above = set(folders), folders
        while above := {folder.rpartition("/")[0] for folder in above} - {""}:
            ours |= above
        reader = Reader(self._disk.root)
        return [
            PurePosixPath(found)
            for workspace in self._subfolders(reader, "", ours)
            for project in self._subfolders(reader, workspace, ours)
            for folder in self._subfolders(reader, project, ours)
            for found in self._entry_folders(reader, folder, ours)
            if found not in folders
        ]

    def _entry_folders(self, reader: Reader, folder: str, ours: set[str]) -> Iterable[str]:
        """What may be an entry's own: a folder in a project's, or each in its folder of assets."""
        is_assets = folder.endswith(f"/{layout.ASSETS}")
        return self._subfolders(reader, folder, ours) if is_assets else [folder]

    def _subfolders(self, reader: Reader, folder: str, ours: set[str]) -> Iterator[str]:
        for name, item in sorted((_listing(reader, folder) or {}).items()):
            path = f"{folder}/{name}" if folder else name
            if path in _OUR_NAMES or name in LITTER:
                continue
            if item.kind == Kind.FILE and layout.is_name_record(path):
                continue
            if item.kind == Kind.FOLDER:
                yield path
            elif path not in ours:  # in the place of a folder of ours it is named with that
                self._strays.append(stray(PurePosixPath(path), item))

    async def _adopt(self, recovered: Recovered, folders: Sequence[PurePosixPath]) -> None:
        """See which folders that no entry knows are runs', assets' or canvases'.

        Where the manifest had to be pieced together they belong to it.
        """
        checksums = await self._disk.call(read_checksums, self._disk) if folders else {}

        def work(folder: PurePosixPath) -> tuple[PurePosixPath, Adoption | None, Listing]:
            adoption = adopt_folder(self._disk, folder, checksums, self._clock)
            return folder, adoption, _listing(Reader(self._disk.root), str(folder)) or {}

        def note(result: tuple[PurePosixPath, Adoption | None, Listing]) -> None:
            folder, adoption, items = result
            if adoption is None or adoption.run_id in recovered.manifest:  # known, and this is not its place
                found = [stray(folder / name, item) for name, item in items.items() if name not in LITTER]
                self._strays.extend(found or [Stray(str(folder), None)])
                return
            if recovered.is_whole:
                message = f"no entry knows this {adoption.kind}"
                self.findings.append(Finding(Trouble.UNRECORDED, str(folder), message, adoption.run_id))
            else:
                self._tally.total += sum(isinstance(op, OutputOp) for op in adoption.ops)
                for op in adoption.ops:
                    recovered.manifest.apply(op)
            self.adopted.extend(adoption.ops)

        await self._each(folders, work, note)
        for op in recovered.waiting:
            if isinstance(op, ADDITIONS) and op.run_id in recovered.manifest:
                recovered.manifest.apply(op)

    def _note_unaccounted(self, manifest: Manifest) -> None:
        """What `SHA256SUMS` has and the pieces of the manifest, and what stands in the folders, have not."""
        folders, _ = _survey(manifest)
        for folder in read_checksums(self._disk).keys() - folders:
            message = "SHA256SUMS has files of this folder, and nothing else tells of it"
            self.findings.append(Finding(Trouble.UNRECORDED, folder, message))

    def _check_runs(self, runs: Sequence[tuple[str, RunEntry]]) -> list[RunCheck]:
        checks, reader = [], Reader(self._disk.root)
        for run_id, entry in runs:
            folder = entry_place(run_id, entry)
            try:
                check = check_run(run_id, entry, _listing(reader, folder))
            except OSError as exc:  # one folder that the disk does not give must not hide the others
                check = unreadable_run(run_id, entry, exc.strerror or type(exc).__name__)
            if (name := layout.record_name(entry.kind)) is not None:
                _check_record(reader, Expected(run_id, "", f"{folder}/{name}", 0, entry.record_sha256), check)
            checks.append(check)
        return checks

    def _read(self, batch: Sequence[Expected]) -> list[tuple[Expected, int, Finding | None]]:
        results: list[tuple[Expected, int, Finding | None]] = []
        reader = Reader(self._disk.root)
        for expected in batch:
            digest, reason = _digest(reader, expected.path)
            if digest is None:
                results.append((expected, 0, expected.finding(Trouble.UNREADABLE, reason)))
            else:
                results.append((expected, digest.size_bytes, check_bytes(expected, digest)))
        return results

    async def _find_misplaced(self) -> None:
        """See whether what nobody knows is what is missing elsewhere: only where size or name is the same."""
        misplaced: dict[str, Finding] = {}

        def hash_it(found: Stray) -> tuple[Stray, str]:
            is_record = self._wanted_records and PurePosixPath(found.path).name in _RECORDS
            is_wanted = found.size_bytes and (is_record or found.size_bytes in self._wanted)
            digest = _digest(Reader(self._disk.root), found.path)[0] if is_wanted else None
            return found, digest.sha256 if digest else ""

        def note(result: tuple[Stray, str]) -> None:
            found, sha256 = result
            wanted = self._wanted.get(found.size_bytes or 0, [])
            expected = next((expected for expected in wanted if expected.sha256 == sha256), None)
            if expected is not None:
                wanted.remove(expected)
            else:
                expected = self._wanted_records.pop(sha256, None)
            if expected is None:
                self.findings.append(Finding(Trouble.STRAY, found.path, "nobody knows it; it is left alone"))
                return
            finding = expected.finding(Trouble.MISPLACED, f"its bytes stand at {found.path}")
            misplaced[expected.path] = replace(finding, found_at=found.path)

        await self._each(self._strays, hash_it, note)
        if misplaced:
            kept = (
                item for item in self.findings if item.path not in misplaced or item.kind == Trouble.STRAY
            )
            self.findings[:] = [*kept, *misplaced.values()]

    def _check_checksums(self, manifest: Manifest) -> None:
        path, there = str(layout.CHECKSUMS), read_file(self._disk, layout.CHECKSUMS)
        if there is None:
            self.findings.append(Finding(Trouble.BAD_CHECKSUMS, path, "there is no such file"))
        elif hashlib.sha256(there).digest() != _sha256(manifest.encode_checksums()):
            message = "it does not say what manifest.json says"
            self.findings.append(Finding(Trouble.BAD_CHECKSUMS, path, message))


def _listing(reader: Reader, folder: str) -> Listing | None:
    """What stands in a folder; None when a link or a file stands there, or on the way to it."""
    try:
        return reader.listing(folder)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOTDIR):
            return None
        raise


def _digest(reader: Reader, path: str) -> tuple[Digest | None, str]:
    """The digest of a file, or why it could not be read."""
    try:
        return reader.digest(path), ""
    except OSError as exc:
        return None, exc.strerror or type(exc).__name__


def _check_record(reader: Reader, record: Expected, check: RunCheck) -> None:
    """Read an entry's record, and note what is wrong with it."""
    if check.has_record:
        digest, reason = _digest(reader, record.path)
        if digest is None:
            check.findings.append(record.finding(Trouble.UNREADABLE, reason))
        elif digest.sha256 != record.sha256:
            message = "it is not the record that was archived"
            check.findings.append(record.finding(Trouble.BAD_RECORD, message))
        check.has_record = digest is not None and digest.sha256 == record.sha256
    if not check.has_record:
        check.lost_record = record


def _survey(manifest: Manifest) -> tuple[set[str], int]:
    """The folders of all entries, and how many outputs they have."""
    folders: set[str] = set()
    outputs = 0
    for run_id, entry in manifest.iter_entries():
        folders.add(entry_place(run_id, entry))
        outputs += len(entry.outputs)
    return folders, outputs


def _jobs_of_runs(runs: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(runs), _RUNS_PER_JOB):
        yield runs[start : start + _RUNS_PER_JOB]


def _jobs_of_files(files: Iterable[Expected]) -> Iterator[Sequence[Expected]]:
    """Jobs that are neither too many nor too long, so that all threads end at about the same time."""
    job: list[Expected] = []
    size_bytes = 0
    for file in files:
        job.append(file)
        size_bytes += file.size_bytes
        if len(job) == _FILES_PER_JOB or size_bytes >= _BYTES_PER_JOB:
            yield job
            job, size_bytes = [], 0
    if job:
        yield job


def _sha256(parts: Iterable[bytes]) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()

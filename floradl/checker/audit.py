"""One check of an archive: is everything recorded there, as it was recorded, and what else is there?

It changes nothing. In this order:

1. The manifest is read as well as it can be read (`recovery`).
2. The folders above those of the entries are listed, to find what no entry knows. A folder among that may be
   a run's, an asset's or a canvas's that was never recorded (`adoption`).
3. Each entry is compared with its folder's listing (`inspection`).
4. The bytes of every file, or of a sample, are hashed again, in all threads.
5. Files that no entry knows are compared with those that are missing: somebody may have moved one.
6. `SHA256SUMS` is compared with the manifest.
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

from floradl.checker.adoption import Adoption, adopt_folder
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
from floradl.checker.neighbours import set_neighbours_apart
from floradl.checker.recovery import Recovered, read_checksums, read_file, recover
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
from floradl.tasks import all_of, batches

_DAY_S = 86_400

_RUNS_AT_ONCE = 1000
"""How many runs are listed before their files are read: what is in memory does not grow with the archive."""

_RUNS_PER_JOB = 50
"""How many runs' folders one call into a thread lists."""

_FILES_PER_JOB = 64
_BYTES_PER_JOB = 32 * 1024 * 1024
"""How many files, or how many bytes of them, one call into a thread reads."""

_OUR_NAMES = {
    str(name) for name in (layout.MANIFEST, layout.CHECKSUMS, base.PRIVATE, layout.INDEX_PAGE, layout.GALLERY)
}
"""What may stand in the archive's own folder beside the folders of workspaces."""

_RECORD_NAMES = {layout.record_name(kind) for kind in EntryKind}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Sample:
    """Which files are read again.

    Files are spread over `of` parts by their paths; `parts` of those are read a day, in turn. So after
    `of / parts` days in a row every file has been read.
    """

    parts: int = 1
    of: int = 1

    def has(self, path: str, day: int) -> bool:
        """Whether a file is read on a day.

        Args:
            path: the file's, relative to the archive.
            day: days since 1970-01-01.
        """
        return (zlib.crc32(path.encode()) - day * self.parts) % self.of < self.parts

    def __str__(self) -> str:
        return f"{self.parts}/{self.of}"


class Audit:
    """One check of an archive. Needs a lock of it: a file that is just being written would be a finding.

    Args:
        disk: the archive.
        clock: for the day of the sample.
        sample: which files are read again.
        tally: kept up to date, for a display; the findings are collected in it.
        threads: how many files are read at the same time.

    Attributes:
        recovered: the manifest, read as well as it can be read; None before `run`.
        adopted: the changes that would record the runs, assets and canvases that no entry knew.
        counts: how many runs, assets and canvases were checked.
        outputs: how many outputs they have.
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
        """What the archive should hold. Only after `run`.

        Raises:
            RuntimeError: `run` was not called yet.
        """
        if self.recovered is None:
            raise RuntimeError("nothing was checked yet")
        return self.recovered.manifest

    @property
    def findings(self) -> list[Finding]:
        """The findings so far."""
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
        """Check some runs: their folders, then the bytes of the files that the sample has today.

        Args:
            runs: ids and entries.
        """
        iterator = iter(runs)
        while chunk := list(islice(iterator, _RUNS_AT_ONCE)):
            expected: list[Expected] = []

            def note(checks: Sequence[RunCheck], expected: list[Expected] = expected) -> None:
                for check in checks:
                    self._note(check)
                    expected.extend(check.expected)

            await self._each(batches(chunk, max_items=_RUNS_PER_JOB), self._check_runs, note)
            # Files that a repair has given up are read every day, whatever the sample: there are few of them,
            # and each check has to say whether they are back.
            due = [item for item in expected if item.lost or self._sample.has(item.path, self._day)]
            self._tally.done += len(expected) - len(due)
            jobs = batches(
                due, max_items=_FILES_PER_JOB, max_bytes=_BYTES_PER_JOB, size_of=lambda file: file.size_bytes
            )
            await self._each(jobs, self._read, self._note_read)

    async def _each(self, jobs: Iterable[T], work: Callable[[T], R], note: Callable[[R], None]) -> None:
        """Do blocking work for each job, in all threads at once.

        Args:
            jobs: taken one at a time, whenever a thread is free.
            work: blocks; called in a thread.
            note: takes what `work` returned; called on the event loop, so it needs no lock.
        """
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
        """List the folders above those of entries, and note the strays there. Blocks.

        Args:
            folders: the folders of all entries.

        Returns:
            Folders that no entry knows and that stand where one of an entry could.
        """
        ours, above = set(folders), folders
        while above := {folder.rpartition("/")[0] for folder in above} - {""}:
            ours |= above
        reader = Reader(self._disk.root)
        return [
            PurePosixPath(place)
            for workspace in self._subfolders(reader, "", ours)
            for project in self._subfolders(reader, workspace, ours)
            for folder in self._subfolders(reader, project, ours)
            for place in self._entry_folders(reader, folder, ours)
            if place not in folders
        ]

    def _entry_folders(self, reader: Reader, folder: str, ours: set[str]) -> Iterable[str]:
        """The folders of entries in a project's folder: this one, or, of the folder of assets, each in it."""
        is_assets = folder.endswith(f"/{layout.ASSETS}")
        return self._subfolders(reader, folder, ours) if is_assets else [folder]

    def _subfolders(self, reader: Reader, folder: str, ours: set[str]) -> Iterator[str]:
        """The folders in a folder, sorted. Anything else there that no entry knows is noted as a stray."""
        for name, item in sorted((_listing(reader, folder) or {}).items()):
            path = f"{folder}/{name}" if folder else name
            if path in _OUR_NAMES or name in LITTER:
                continue
            if item.kind == Kind.FILE and layout.is_name_record(path):
                continue
            if item.kind == Kind.FOLDER:
                yield path
            elif path not in ours:  # in the place of an entry's folder it is a finding of that entry
                self._strays.append(stray(PurePosixPath(path), item))

    async def _adopt(self, recovered: Recovered, folders: Sequence[PurePosixPath]) -> None:
        """See which unknown folders hold a run, an asset or a canvas, and note the others as strays.

        Where the manifest had to be pieced together, these belong to it, and are checked with the others.
        Where it is whole, each is a finding: somebody put it there, or a process was killed before it was
        recorded.
        """
        checksums = await self._disk.call(read_checksums, self._disk) if folders else {}

        def work(folder: PurePosixPath) -> tuple[PurePosixPath, Adoption | None, Listing]:
            adoption = adopt_folder(self._disk, folder, checksums, self._clock)
            return folder, adoption, _listing(Reader(self._disk.root), str(folder)) or {}

        def note(result: tuple[PurePosixPath, Adoption | None, Listing]) -> None:
            folder, adoption, items = result
            # A run that the manifest knows already has its folder elsewhere, and this one is a copy of it.
            if adoption is None or adoption.run_id in recovered.manifest:
                strays = [stray(folder / name, item) for name, item in items.items() if name not in LITTER]
                self._strays.extend(strays or [Stray(str(folder), None)])
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
        # Changes in the journal of runs that the broken manifest did not know. It may know them now.
        for op in recovered.waiting:
            if isinstance(op, ADDITIONS) and op.run_id in recovered.manifest:
                recovered.manifest.apply(op)

    def _note_unaccounted(self, manifest: Manifest) -> None:
        """Note folders that `SHA256SUMS` names and nothing else does. Blocks.

        The manifest had to be pieced together, and no record is left of these runs. Without this finding
        their loss would go unnoticed.
        """
        folders, _ = _survey(manifest)
        for folder in read_checksums(self._disk).keys() - folders:
            message = "SHA256SUMS has files of this folder, and nothing else tells of it"
            self.findings.append(Finding(Trouble.UNRECORDED, folder, message))

    def _check_runs(self, runs: Sequence[tuple[str, RunEntry]]) -> list[RunCheck]:
        """Compare entries with their folders, and read their records. Blocks."""
        checks, reader = [], Reader(self._disk.root)
        for run_id, entry in runs:
            folder = entry_place(run_id, entry)
            try:
                check = check_run(run_id, entry, _listing(reader, folder))
                set_neighbours_apart(check, entry, self._disk)
            except OSError as exc:  # a folder that cannot be read must not keep the others from being checked
                check = unreadable_run(run_id, entry, exc.strerror or type(exc).__name__)
            if (name := layout.record_name(entry.kind)) is not None:
                path, sha256, coming = f"{folder}/{name}", entry.record_sha256, entry.next_record_sha256
                _check_record(reader, Expected(run_id, "", path, 0, sha256, next_sha256=coming), check)
            checks.append(check)
        return checks

    def _read(self, batch: Sequence[Expected]) -> list[tuple[Expected, int, Finding | None]]:
        """Read files: of each, how many bytes were read, and what is wrong with them. Blocks."""
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
        """See which strays have the bytes of a missing file. Only those of a wanted size or name are read."""
        misplaced: dict[str, Finding] = {}

        def hash_it(candidate: Stray) -> tuple[Stray, str]:
            is_record = self._wanted_records and PurePosixPath(candidate.path).name in _RECORD_NAMES
            is_wanted = candidate.size_bytes and (is_record or candidate.size_bytes in self._wanted)
            digest = _digest(Reader(self._disk.root), candidate.path)[0] if is_wanted else None
            return candidate, digest.sha256 if digest else ""

        def note(result: tuple[Stray, str]) -> None:
            candidate, sha256 = result
            wanted = self._wanted.get(candidate.size_bytes or 0, [])
            expected = next((expected for expected in wanted if expected.sha256 == sha256), None)
            if expected is not None:
                wanted.remove(expected)  # a second stray with the same bytes is a stray
            else:
                expected = self._wanted_records.pop(sha256, None)
            if expected is None:
                message = "nobody knows it; it is left alone"
                self.findings.append(Finding(Trouble.STRAY, candidate.path, message))
                return
            finding = expected.finding(Trouble.MISPLACED, f"its bytes stand at {candidate.path}")
            misplaced[expected.path] = replace(finding, found_at=candidate.path)

        await self._each(self._strays, hash_it, note)
        if misplaced:
            # One finding a file: that it is elsewhere says more than that it is missing here.
            kept = (
                item for item in self.findings if item.path not in misplaced or item.kind == Trouble.STRAY
            )
            self.findings[:] = [*kept, *misplaced.values()]

    def _check_checksums(self, manifest: Manifest) -> None:
        """Compare `SHA256SUMS` with what the manifest would write there. Blocks."""
        path, data = str(layout.CHECKSUMS), read_file(self._disk, layout.CHECKSUMS)
        if data is None:
            self.findings.append(Finding(Trouble.BAD_CHECKSUMS, path, "there is no such file"))
        elif hashlib.sha256(data).digest() != _sha256(manifest.encode_checksums()):
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
        is_right = digest is not None and digest.sha256 in (record.sha256, record.next_sha256)
        if digest is None:
            check.findings.append(record.finding(Trouble.UNREADABLE, reason))
        elif not is_right:
            message = "it is not the record that was archived"
            check.findings.append(record.finding(Trouble.BAD_RECORD, message))
        check.has_record = is_right
    if not check.has_record:
        check.lost_record = record


def _survey(manifest: Manifest) -> tuple[set[str], int]:
    """The folders of all entries, and how many outputs the entries have."""
    folders: set[str] = set()
    outputs = 0
    for run_id, entry in manifest.iter_entries():
        folders.add(entry_place(run_id, entry))
        outputs += len(entry.outputs)
    return folders, outputs


def _sha256(parts: Iterable[bytes]) -> bytes:
    """The hash of a file that is made in parts, without the whole of it in memory."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()

"""Copies one run, asset or canvas from an archive into another folder, and verifies every byte on its way.

Bytes are hashed while they are written to a temporary file, and refused before its rename: a damaged file
never gets a name in the target.

Everything here blocks; call it through `Destination.call` of the target. A file that the source does not
give, or not as it was archived, is reported with a reason and stops nothing. An error of the target's disk
ends the job.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from floradl.clock import parse_ms
from floradl.constants import Kind, Source
from floradl.repository import layout
from floradl.repository.entries import (
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunEntry,
    RunFacts,
    RunOp,
    SourcesOp,
    State,
    VanishedOp,
)
from floradl.repository.results import Failure
from floradl.repository.snapshot import entry_path
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest

_IMPOSSIBLE = {
    errno.EXDEV,
    errno.EPERM,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EINVAL,
    errno.ENOSYS,
}
"""The errors of systems and file systems that cannot link files, or cannot share their blocks."""


class Way(StrEnum):
    """How bytes get from one folder to the other. Where the wanted way is not possible, they are copied."""

    COPY = "copy"
    REFLINK = "reflink"  # two files share their blocks until one changes; only some file systems can
    HARD_LINK = "hard-link"  # one file with two names


class SourceError(Exception):
    """The source does not give a file as it was archived. The message says why."""


@dataclass(slots=True)
class Copied:
    """What came of copying one run, asset or canvas.

    Attributes:
        run_id: its id.
        entry: as the source has it recorded.
        ops: the changes that record it in the target.
        has_record: whether its record is in the target; True for a canvas, which has none.
        restored: how many outputs were copied.
        already: how many were there.
        size_bytes: of the copied ones together.
        lacking: key → why the source does not give this output.
        occupied: key → what stands in this output's place in the target, and is left alone.
    """

    run_id: str
    entry: RunEntry
    ops: list[Op] = field(default_factory=list)
    has_record: bool = True
    restored: int = 0
    already: int = 0
    size_bytes: int = 0
    lacking: dict[str, str] = field(default_factory=dict)
    occupied: dict[str, str] = field(default_factory=dict)

    def failure(self, key: str, code: str, why: str) -> Failure:
        """The failure that reports an output, or a record, which is not there.

        Args:
            key: the output's; of a record its file name.
            code: a word for machines.
            why: for people.
        """
        known = self.entry.outputs.get(key)
        kind, url = (known.type, known.url) if known else ("", None)
        return Failure(self.run_id, key, kind, url, code, why, 0)


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies runs, assets and canvases from one archive.

    Args:
        source: the archive to copy from.
        target: the folder to copy to.
        way: how bytes get there.
        is_flat: whether all files go into one folder, without records.
    """

    source: Destination
    target: Destination
    way: Way
    is_flat: bool = False

    def copy(
        self, run_id: str, entry: RunEntry, keys: Mapping[str, OutputEntry], known: RunEntry | None
    ) -> Copied:
        """Copy one run, asset or canvas. Blocks.

        Args:
            run_id: its id.
            entry: as the source has it recorded.
            keys: the wanted outputs, by key.
            known: as the target has it recorded; None if it has not.

        Raises:
            OSError: the target cannot be written to.
        """
        copied = Copied(run_id, entry)
        if known is not None and known.kind is not entry.kind:
            copied.occupied = dict.fromkeys(keys, f"a {known.kind} has this id there; it is left alone")
            return copied
        folder = entry_path(run_id, entry)
        # FLORA may have moved the run between two projects since. If the target has it in the other one, it
        # stays there: the entries of its outputs are about files in that folder.
        place = entry_path(run_id, known) if known else folder
        if not self.is_flat:
            self._copy_record(copied, folder, place, known)
            self._copy_labels(copied, folder, place, known)
        for key, output in keys.items():
            there = known.outputs.get(key) if known else None
            if there is not None and self._has(there, place):
                self._note_there(copied, key, output, there)
            elif output.state == State.LOST:
                if there is None:  # the target reports the loss too, instead of not knowing of the snapshot
                    copied.ops.append(OutputOp(run_id, key, output))
            else:
                self._copy_output(copied, key, output, folder, place)
        return copied

    def _place_of(self, copied: Copied, folder: PurePosixPath, file: str) -> PurePosixPath:
        """The path of a file in the target."""
        prefix = layout.flat_prefix(copied.entry.kind, copied.run_id)
        return PurePosixPath(f"{prefix}{file}") if self.is_flat else folder / file

    def _copy_record(
        self, copied: Copied, folder: PurePosixPath, place: PurePosixPath, known: RunEntry | None
    ) -> None:
        """Copy the record, and note the facts of the entry. A canvas has facts alone."""
        entry, name = copied.entry, layout.record_name(copied.entry.kind)
        if name is None:
            if known is None:
                self._note_facts(copied, place, known)
            return
        target = place / name
        is_there = self.target.exists(target)
        if known is not None and is_there:
            return  # the target's record may be newer, and say more than the source's
        raw, sha256 = self._record(folder / name, entry)
        if is_there:
            if not (self.target.is_file(target) and self.target.adopt(target).sha256 == sha256):
                copied.occupied[name] = f"another file stands at {target}; it is left alone"
        elif raw is not None:
            self.target.write_atomic(target, [raw], mtime_ms=_done_at_ms(entry))
        else:
            copied.has_record = False
        if known is None or raw is not None:
            self._note_facts(copied, place, known, sha256)

    def _note_facts(
        self, copied: Copied, place: PurePosixPath, known: RunEntry | None, record_sha256: str = ""
    ) -> None:
        """Add the changes that record the run itself: its facts, its sources, and that it has vanished."""
        entry = copied.entry
        facts = {name: getattr(entry, name) for name in RunFacts.__struct_fields__} | {"path": str(place)}
        facts |= {"record_sha256": record_sha256, "next_record_sha256": None}
        if known is not None:
            facts |= {"workspace_id": known.workspace_id, "project_id": known.project_id}
        copied.ops.append(RunOp(copied.run_id, RunFacts(**facts)))
        # An entry without sources is of the list of generations, so that one needs no change.
        recorded = known.sources if known is not None else (Source.GENERATIONS,)
        sources = entry.sources if known is None else tuple(dict.fromkeys((*recorded, *entry.sources)))
        if sources != recorded:
            copied.ops.append(SourcesOp(copied.run_id, sources))
        if entry.vanished_at is not None and known is None:
            copied.ops.append(VanishedOp(copied.run_id, entry.vanished_at))

    def _copy_labels(
        self, copied: Copied, folder: PurePosixPath, place: PurePosixPath, known: RunEntry | None
    ) -> None:
        """Copy the labels of a run, unless the target has some. No other job depends on them, so a file that
        cannot be read is no failure.
        """
        if copied.entry.kind is not Kind.RUN or (known is not None and known.labels_sha256 is not None):
            return
        target = place / layout.LABELS
        if not self.target.exists(target):
            try:
                raw = self.source.read(folder / layout.LABELS)
            except OSError:
                return
            if raw is None:
                return
            self.target.write_atomic(target, [raw])
        if self.target.is_file(target):
            copied.ops.append(LabelsOp(copied.run_id, self.target.adopt(target).sha256))

    def _record(self, path: PurePosixPath, entry: RunEntry) -> tuple[bytes | None, str]:
        """The source's record, and its hash; None and the recorded hash when it is gone, or another one."""
        with suppress(OSError):
            raw = self.source.read(path)
            sha256 = "" if raw is None else hashlib.sha256(raw).hexdigest()
            if sha256 in entry.record_hashes:
                return raw, sha256
        return None, entry.record_sha256

    def _has(self, output: OutputEntry, place: PurePosixPath) -> bool:
        """Whether the target has an output's file with the size that is recorded there."""
        (sizes,) = self.target.sizes([place])
        found_bytes = sizes.get(output.file or "")
        return output.state == State.ARCHIVED and found_bytes is not None and found_bytes == output.size_bytes

    def _note_there(self, copied: Copied, key: str, output: OutputEntry, there: OutputEntry) -> None:
        """Count an output that the target has: as there already, or as occupied by other bytes."""
        if output.state == State.ARCHIVED and output.sha256 not in (None, there.sha256):
            copied.occupied[key] = f"other bytes of it are archived as {there.file}; they are left alone"
        else:
            copied.already += 1

    def _copy_output(
        self, copied: Copied, key: str, output: OutputEntry, folder: PurePosixPath, place: PurePosixPath
    ) -> None:
        if output.state != State.ARCHIVED or not output.file or not layout.is_output_of(output.file, key):
            copied.lacking[key] = "it was never archived"
            return
        path = self._place_of(copied, place, output.file)
        try:
            is_new = self._copy_file(output, folder / output.file, path, _done_at_ms(copied.entry, key))
        except SourceError as exc:
            copied.lacking[key] = str(exc)
            return
        except FileExistsError:
            copied.occupied[key] = f"another file stands at {path}; it is left alone"
            return
        copied.restored += is_new
        copied.already += not is_new
        copied.size_bytes += (output.size_bytes or 0) if is_new else 0
        # In the source it may share its bytes with another file, which the target may not have. There it is a
        # file of its own.
        unshared = msgspec.structs.replace(output, same_as=None, shared_by=None)
        copied.ops.append(OutputOp(copied.run_id, key, unshared))

    def _copy_file(
        self, output: OutputEntry, source: PurePosixPath, target: PurePosixPath, mtime_ms: int | None
    ) -> bool:
        """Copy or link one file.

        Args:
            output: as the source has it recorded.
            source: its path in the source.
            target: its path in the target.
            mtime_ms: its date in the target, in ms since 1970.

        Returns:
            False when it is there already.

        Raises:
            SourceError: the source does not give it as it was archived.
            FileExistsError: another file has its name in the target.
        """
        (sizes,) = self.target.sizes([target.parent])
        found_bytes = sizes.get(target.name)
        is_as_long = found_bytes is not None and found_bytes == output.size_bytes
        if is_as_long and self.target.adopt(target).sha256 == output.sha256:
            return False  # an earlier restore was killed between the rename and the record
        if self.target.exists(target):
            raise FileExistsError(errno.EEXIST, "another file stands there", str(target))
        if self.target.min_free_bytes:
            self.target.require_room(output.size_bytes or 0)
        if self.way == Way.COPY or not self._link(output, source, target, mtime_ms):
            check = _checker(output)
            self.target.write_atomic(target, self._blocks(source), mtime_ms=mtime_ms, check=check)
        return True

    def _blocks(self, source: PurePosixPath) -> Iterator[memoryview]:
        """The bytes of a file of the source.

        Its errors are translated here: any `OSError` that reaches the caller is the target's, and ends the
        job.
        """
        try:
            yield from self.source.blocks(source)
        except OSError as exc:
            raise SourceError(_reason(exc)) from exc

    def _link(
        self, output: OutputEntry, source: PurePosixPath, target: PurePosixPath, mtime_ms: int | None
    ) -> bool:
        """Link or clone one file. Returns False where this system or file system cannot do that.

        Raises:
            SourceError: the source does not give it as it was archived.
        """
        try:
            # Read once here, apart from the check of the linked file: an error of reading is the source's,
            # and stops nothing, while an error below would be the target's.
            _checker(output)(self.source.digest(source))
            path = self.source.real_path(source)
        except OSError as exc:
            raise SourceError(_reason(exc)) from exc
        try:
            if self.way == Way.HARD_LINK:
                self.target.link(path, target, check=_checker(output))
            else:
                self.target.clone(path, target, mtime_ms=mtime_ms, check=_checker(output))
        except OSError as exc:
            if exc.errno in _IMPOSSIBLE:
                return False
            raise
        return True


def _checker(output: OutputEntry) -> Callable[[Digest], None]:
    """A check for `write_atomic` and its like: it raises, before the rename, if the bytes are others."""

    def check(digest: Digest) -> None:
        if digest.sha256 != output.sha256:
            raise SourceError("its bytes are not those that were archived")

    return check


def _done_at_ms(entry: RunEntry, key: str = "") -> int | None:
    """The date of a file, in ms since 1970: when its run completed, or its asset was uploaded.

    Of a snapshot it is when that was taken. Its key begins with that time, such as `20260131t235959z-canvas`.
    """
    if entry.kind is Kind.CANVAS:
        day, _, time = key.partition("-")[0].partition("t")
        return parse_ms(f"{day[:4]}-{day[4:6]}-{day[6:]}T{time[:2]}:{time[2:4]}:{time[4:6]}Z")
    return entry.completed_at if entry.completed_at is not None else entry.created_at


def _reason(exc: OSError) -> str:
    """Why the source does not give a file, for people."""
    if isinstance(exc, FileNotFoundError):
        return "the file is gone"
    return f"it cannot be read: {exc.strerror or type(exc).__name__}"

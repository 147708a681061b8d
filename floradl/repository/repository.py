"""Open, append, fold, close; and whether there is an archive."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec

from floradl.clock import Clock, format_ms
from floradl.errors import DestinationError, ManifestError
from floradl.repository import layout
from floradl.repository.entries import VERSION, JournalHeader, Op, ScanOp
from floradl.repository.journal import Journal, encode_lines, parse_journal
from floradl.repository.manifest import Manifest
from floradl.storage.base import FileId
from floradl.storage.destination import Destination
from floradl.storage.local.folder import AppendFile

LARGE_BYTES = 16 * 1024 * 1024
"""How large a `manifest.json` is not written for the dates of a scan alone; below, that takes a blink."""

LONG_BYTES = 1024 * 1024
"""How long a journal gets that holds such dates alone; to replay it takes a blink, too."""

IS_IT_MOUNTED = "Check the path, and whether its disk is mounted."
NOT_BEGUN = "Is its disk mounted? Without --require-existing a new archive would be begun there."

_REMAINS = (
    f"*/*/*/{layout.RUN_RECORD}",
    f"*/*/{layout.ASSETS}/*/{layout.ASSET_RECORD}",
    *(f"*/*/{layout.CANVAS}/*-{what}{extension}" for what, extension in layout.SNAPSHOTS.items()),
)
"""What tells a folder of a run, an asset or a canvas."""


class Repository:
    """An archive's manifest on disk, open for changes. Needs the archive's lock.

    Args:
        disk: the archive.
        clock: for dates.

    Attributes:
        manifest: the state, with every change that was made.
        snapshot: which `manifest.json` is on disk; None while there is none.
    """

    def __init__(self, disk: Destination, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._file: AppendFile | None = None
        self._journal_bytes = 0
        self._is_dirty = False
        self.manifest = Manifest("", "")
        self.snapshot: FileId | None = None

    async def open(self) -> Manifest:
        """Read the snapshot, replay the journal, and go on appending where it is whole.

        Raises:
            ManifestError: one of them cannot be understood.
        """
        self.manifest, journal, self.snapshot = await self._disk.call(_load, self._disk, self._clock)
        self._is_dirty = any(map(self.manifest.heeds, journal.ops))
        self._journal_bytes = journal.size_bytes
        self._file = await self._disk.call(
            self._disk.open_append, layout.JOURNAL, keep_bytes=journal.size_bytes
        )
        if journal.header is None or journal.header.version < VERSION:
            # Onto an older journal too: that floradl would not understand what comes, and must not begin to.
            header = JournalHeader(VERSION, self.manifest.archive_id, self.manifest.created_at)
            await self._disk.call(self._file.append, encode_lines([header]))
        return self.manifest

    async def append(self, ops: Iterable[Op]) -> None:
        """Record changes. When this returns they are durable; when it is cancelled, they are or are not."""
        batch = [_bound(op, self.manifest.origin) for op in ops]
        file, is_durable = self._open_file(), False
        if not batch:
            return

        def write() -> None:
            nonlocal is_durable
            lines = encode_lines(batch)
            file.append(lines)
            self._journal_bytes += len(lines)
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

        Dates of scans stay in the journal while that is short and the snapshot large: to write hundreds of
        megabytes every night for the sake of a date would be most of what a quiet night costs.

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
        (files,) = self._disk.sizes([layout.CHECKSUMS.parent])  # without links: one of those is replaced
        has_checksums = layout.CHECKSUMS.name in files
        is_put_off = not anew and has_checksums and self._may_wait(base_url)
        if (self._is_dirty and not is_put_off) or anew:
            if anew or self.manifest.has_changed_files or not has_checksums:
                self._disk.write_atomic(layout.CHECKSUMS, self.manifest.encode_checksums())
            now = format_ms(self._clock.now_ms())
            self._disk.write_atomic(layout.MANIFEST, self.manifest.encode(updated_at=now, base_url=base_url))
            self.snapshot = self._disk.identify(layout.MANIFEST)
        if self._file is not None:
            self._file.close()
            self._file = None
        if not is_put_off:
            self._disk.remove(layout.JOURNAL)

    def _may_wait(self, base_url: str) -> bool:
        """Whether the journal has dates of scans alone, and writing those is not worth its cost yet."""
        return (
            self._is_dirty
            and not self.manifest.changed_runs
            and self.manifest.base_url == base_url
            and self.snapshot is not None
            and self.snapshot.size_bytes > LARGE_BYTES
            and self._journal_bytes < LONG_BYTES
        )


def require_archive(disk: Destination, *, may_be_remains: bool = False, hint: str = IS_IT_MOUNTED) -> None:
    """Make sure that there is an archive: an unmounted disk leaves an empty folder. Blocks.

    Args:
        disk: where it should be.
        may_be_remains: whether folders of outputs, or their checksums, are enough. A check and a repair begin
            from what is left when the manifest and the journal are lost.
        hint: what a person can do where there is none.

    Raises:
        DestinationError: there is no archive.
    """
    files = (layout.MANIFEST, layout.JOURNAL, *([layout.CHECKSUMS] if may_be_remains else []))
    if any(disk.exists(file) for file in files):
        return
    if may_be_remains and any(any(disk.root.glob(glob)) for glob in _REMAINS):
        return
    raise DestinationError(f"there is no archive in {disk.root}", hint=hint)


def load_manifest(disk: Destination, clock: Clock) -> Manifest:
    """The archive's state, snapshot and journal, without changing anything on disk. Blocks."""
    return _load(disk, clock)[0]


def _load(disk: Destination, clock: Clock) -> tuple[Manifest, Journal, FileId | None]:
    snapshot, identity = disk.read_identified(layout.MANIFEST)
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
        if manifest.heeds(op):
            manifest.apply(op)
    return manifest, journal, identity


def _bound(op: Op, origin: str) -> Op:
    return msgspec.structs.replace(op, onto=origin) if isinstance(op, ScanOp) else op

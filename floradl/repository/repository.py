"""An archive's manifest and journal on disk: open, append, fold, close; and whether there is an archive.

The order of writing, and why it is this one:

1. A change is appended to the journal and flushed after the file that it is about has its final name. So an
   entry never refers to bytes that a power cut could take back.
2. At the end the journal is folded into the snapshot: `SHA256SUMS` is written, then `manifest.json`, each as
   a whole, and only then the journal is removed. Cut anywhere, the next start finds the old snapshot with
   the whole journal, or the new one with a journal that changes nothing.

So a journal may stay as well. It does when it has nothing but dates of scans, and the snapshot is large.
"""

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

LARGE_MANIFEST_BYTES = 16 * 1024 * 1024
"""From this size on, `manifest.json` is not written for the dates of scans alone. Below it takes no time."""

LONG_JOURNAL_BYTES = 1024 * 1024
"""How long a journal with nothing but such dates may get.

To replay one below this size takes no time either.
"""

IS_IT_MOUNTED = "Check the path, and whether its disk is mounted."
NOT_BEGUN = "Is its disk mounted? Without --require-existing a new archive would be begun there."

_REMAINS = (
    f"*/*/*/{layout.RUN_RECORD}",
    f"*/*/{layout.ASSETS}/*/{layout.ASSET_RECORD}",
    *(f"*/*/{layout.CANVAS}/*-{what}{extension}" for what, extension in layout.SNAPSHOTS.items()),
)
"""Files that only folders of runs, assets and canvases have, as patterns below the archive."""


class Repository:
    """An archive's manifest and journal, open for changes. The caller holds the archive's lock.

    Args:
        disk: the archive.
        clock: for dates in the manifest.

    Attributes:
        manifest: the state in memory, with every change that was recorded.
        snapshot: which version of `manifest.json` is on disk; None while there is none.
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
        """Read `manifest.json`, replay the journal, and go on with the journal after its last whole line.

        Returns:
            The state in memory.

        Raises:
            ManifestError: one of them cannot be understood.
        """
        await self._disk.call(_settle_journal, self._disk)
        self.manifest, journal, self.snapshot = await self._disk.call(_load, self._disk, self._clock)
        self._is_dirty = any(map(self.manifest.accepts, journal.ops))
        self._journal_bytes = journal.size_bytes
        self._file = await self._disk.call(
            self._disk.open_append, layout.JOURNAL, keep_bytes=journal.size_bytes
        )
        if journal.header is None or journal.header.version < VERSION:
            # After the lines of an older version too: an older floradl must refuse this journal from here on,
            # since it would misunderstand the changes that follow.
            header = JournalHeader(VERSION, self.manifest.archive_id, self.manifest.created_at)
            await self._disk.call(self._file.append, encode_lines([header]))
        return self.manifest

    async def append(self, ops: Iterable[Op]) -> None:
        """Record changes: durable on return. When it is cancelled, they are durable or not written at all."""
        batch = [_with_origin(op, self.manifest.origin) for op in ops]
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
            # Also when the caller was cancelled after the flush: `fold` removes the journal, so every change
            # that the journal has must be in the manifest by then.
            if is_durable:
                self._is_dirty = True
                for op in batch:
                    self.manifest.apply(op)

    async def fold(self, base_url: str, *, anew: bool = False) -> None:
        """Write `SHA256SUMS` and `manifest.json` if anything changed, and remove the journal.

        Dates of scans stay in the journal as long as it is short and `manifest.json` is large: to write
            hundreds
        of megabytes for a date would be most of what a quiet night costs.

        Args:
            base_url: the API that the archive was filled from.
            anew: whether to write both files in any case.
        """
        await self._disk.call(self._fold, base_url, anew)

    async def close(self) -> None:
        """Close the journal. The next start reads what is in it."""
        if self._file is not None:
            file, self._file = self._file, None
            await self._disk.call(file.close)

    def _open_file(self) -> AppendFile:
        if self._file is None:
            raise RuntimeError("the repository is not open")
        return self._file

    def _fold(self, base_url: str, anew: bool) -> None:
        (files,) = self._disk.sizes([layout.CHECKSUMS.parent])  # a link is none of them, so it is replaced
        has_checksums = layout.CHECKSUMS.name in files
        keeps_journal = not anew and has_checksums and self._has_dates_alone(base_url)
        if (self._is_dirty and not keeps_journal) or anew:
            if anew or self.manifest.has_changed_files or not has_checksums:
                self._disk.write_atomic(layout.CHECKSUMS, self.manifest.encode_checksums())
            now = format_ms(self._clock.now_ms())
            self._disk.write_atomic(layout.MANIFEST, self.manifest.encode(updated_at=now, base_url=base_url))
            self.snapshot = self._disk.identify(layout.MANIFEST)
        if self._file is not None:
            self._file.close()
            self._file = None
        if not keeps_journal:
            self._disk.remove(layout.JOURNAL)

    def _has_dates_alone(self, base_url: str) -> bool:
        """Whether the journal has nothing but dates of scans, is short, and the snapshot is large."""
        return (
            self._is_dirty
            and not self.manifest.changed_runs
            and self.manifest.base_url == base_url
            and self.snapshot is not None
            and self.snapshot.size_bytes > LARGE_MANIFEST_BYTES
            and self._journal_bytes < LONG_JOURNAL_BYTES
        )


def require_archive(disk: Destination, *, may_be_remains: bool = False, hint: str = IS_IT_MOUNTED) -> None:
    """Make sure that there is an archive.

    Without this, an empty folder would be taken for a new archive. Blocks.

    When a disk is not mounted, the folder where it should be is empty.

    Args:
        disk: where the archive should be.
        may_be_remains: whether folders of runs, or `SHA256SUMS`, are enough. A check or a repair can begin
            with those when the manifest and the journal are lost.
        hint: what the user can do when there is no archive.

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
    """The archive's state by `manifest.json` and the journal. Changes nothing on disk. Blocks.

    Raises:
        ManifestError: one of them cannot be understood.
    """
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
        if manifest.accepts(op):
            manifest.apply(op)
    return manifest, journal, identity


def _settle_journal(disk: Destination) -> None:
    """Make durable what an earlier process left of the journal, before it is read. Blocks.

    A flush of its last lines may have failed. They are then in the system's cache and not on the disk, and
    lines that were appended to them could not be read after a power cut.
    """
    if disk.is_file(layout.JOURNAL):
        disk.flush_existing(layout.JOURNAL)


def _with_origin(op: Op, origin: str) -> Op:
    """A seal with the `manifest.json` that it is made on; any other change as it is."""
    return msgspec.structs.replace(op, onto=origin) if isinstance(op, ScanOp) else op

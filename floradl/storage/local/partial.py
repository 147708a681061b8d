"""Partials: files that are not whole yet, and can be gone on with by a later process.

A partial lies under `.floradl/partials/`, at a place that depends on its run and output alone, so that it
survives a changed URL. Beside it stands a checkpoint: the validator of the file on the host, such as its
ETag, and the size and SHA-256 of the bytes that were there. A later process hashes the bytes again, and
trusts them only if the hash agrees. Everything here blocks; call it through `Destination.call`.

A partial of which a write or a flush failed is removed at once, and never continued: its bytes may be in the
system's cache alone (see `fsync`). A full disk that refuses a write is no such failure, as long as what was
written before can still be flushed, which the later process tries before it reads.

A large file comes over several connections. Its first bytes, without a gap, are "there". Further stretches,
"ahead" of them, lie in the same file at their final offsets, each with its own size and SHA-256 in the
checkpoint. Once all bytes before a stretch are there, it is read back, hashed in order, and is there too.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import msgspec

from floradl.storage.digest import READ_BYTES, Digest, Hasher, Meter
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.fsync import OVERWRITE_FLAGS, Flusher, Hold, rename_into, replace_file, write_all
from floradl.storage.local.no_links import READ_FLAGS, WRITE_FLAGS

CHECKPOINT_BYTES = 8 * 1024 * 1024
"""After how many bytes a new checkpoint is written: so much of a transfer can `kill -9` cost."""

MIN_RESUME_BYTES = 256 * 1024
"""Smaller partials are removed when a job stops, and fetched again: a checkpoint would cost more."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_BYTES_LOST = _NO_ROOM | {errno.EIO}
"""Errors of a flush that a process before this one may have caused, and of reading what it wrote."""


class _Ahead(msgspec.Struct):
    """A stretch of bytes ahead of those that are there, in a checkpoint."""

    start: int
    size_bytes: int
    sha256: str


class _Sidecar(msgspec.Struct):
    """A checkpoint: the file `.json` beside a partial, about its first `size_bytes` bytes."""

    validator: str
    total_bytes: int | None
    size_bytes: int
    sha256: str
    ahead: list[_Ahead] = []


class Partial:
    """One file on its way: bytes are written and hashed as they come, and renamed into place at the end.

    Several threads may write at the same time: one to the bytes that are there, and one to each stretch
    ahead. The calls take turns, since all use one descriptor and its position.

    Args:
        where: gives the path of the partial, `layout.partial_path` below the archive. It is asked for only
            when it is needed: most outputs are small and never have a partial.
        flusher: makes the file durable before it gets its final name.
        direct: writes blocks of large files.

    Attributes:
        is_begun: whether there may be files of this partial on the disk.
        validator: the validator of the file on the host that the bytes belong to; "" when it has none that
            can be relied on. Then no checkpoint is written.
        total_bytes: the size of the whole file, if the host told it.
    """

    def __init__(self, where: Callable[[], Path], flusher: Flusher, direct: Direct) -> None:
        self._where = where
        self.is_begun = False
        self._flusher = flusher
        self._direct = direct
        self._descriptor: int | None = None
        self._error: OSError | None = None
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._meter = Meter()
        self._ahead: dict[int, Meter] = {}
        self._unsaved_bytes = 0
        self.validator = ""
        self.total_bytes: int | None = None

    @cached_property
    def _path(self) -> Path:
        return self._where()

    @cached_property
    def _sidecar(self) -> Path:
        return self._path.with_suffix(".json")

    @property
    def size_bytes(self) -> int:
        """How many bytes are there, from the beginning on and without a gap."""
        return self._meter.size_bytes

    @property
    def head(self) -> bytes:
        """The first bytes, at most `HEAD_BYTES`."""
        return self._meter.head

    @property
    def ahead(self) -> list[tuple[int, int]]:
        """Offset and size in bytes of each stretch ahead, in order."""
        if not self._ahead:
            return []
        return sorted((start, meter.size_bytes) for start, meter in self._ahead.items() if meter.size_bytes)

    def load(self) -> None:
        """Go on with the bytes that an earlier process left, if they agree with the checkpoint's hash.

        They are flushed before they are read, and read from the disk. Where the disk has lost them, the
        partial is removed.
        """
        self.is_begun = True
        try:
            with os.fdopen(os.open(self._sidecar, READ_FLAGS), "rb") as file:
                known = msgspec.json.decode(file.read(), type=_Sidecar)
            # To write, though it is only read: some systems and network file systems flush nothing else.
            descriptor = os.open(self._path, READ_FLAGS | os.O_RDWR)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return
        try:
            self._load(descriptor, known)
        except OSError as exc:
            if exc.errno not in _BYTES_LOST:
                raise
            self.discard()
            self._begin()

    def _load(self, descriptor: int, known: _Sidecar) -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            self._flusher.settle(descriptor)
            is_there = _read_into(self._meter, file, known.size_bytes)
            is_usable = known.validator.isascii() and known.validator.isprintable() and known.validator != ""
            if not is_there or not is_usable or self._meter.digest().sha256 != known.sha256:
                self._begin()
                return
            self._load_ahead(known, file)
        self.validator, self.total_bytes = known.validator, known.total_bytes

    def _load_ahead(self, known: _Sidecar, file: io.FileIO) -> None:
        """Go on with the stretches ahead that agree with their hashes and do not overlap."""
        at = known.size_bytes
        for one in sorted(known.ahead, key=lambda one: one.start):
            end = one.start + one.size_bytes
            if one.start < at or one.size_bytes <= 0 or end > (known.total_bytes or 0):
                continue
            meter = Meter()
            file.seek(one.start)
            if _read_into(meter, file, one.size_bytes) and meter.digest().sha256 == one.sha256:
                self._ahead[one.start] = meter
                at = end

    def expect(self, validator: str, total_bytes: int | None, second: Hasher | None = None) -> None:
        """Bytes that come from now on belong to the file with this validator and size. Does not block.

        Args:
            validator, total_bytes: of the file.
            second: computes a second hash of the file as it comes, if this is its beginning.
        """
        self.validator, self.total_bytes = validator, total_bytes
        if not self.size_bytes:
            self._meter = Meter(second)

    def restart(self) -> None:
        """Drop all bytes, and what was known of them, since the host has another file now."""
        # The checkpoint goes first: cut in between, it would speak of bytes that are gone, which costs a
        # later process a look, and nothing else.
        self._sidecar.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            # Without this the next bytes would be written after a hole of zeros.
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        else:
            self._path.unlink(missing_ok=True)
        self._begin()

    def append(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Write and hash the bytes that follow those that are there."""
        with self._lock, self._distrusted_after(but=_NO_ROOM):
            descriptor = self._open()
            for chunk in chunks:
                written = self._direct.write(descriptor, chunk, self.size_bytes)
                self._write(descriptor, self._meter, chunk, written)

    def begin_ahead(self, start: int) -> None:
        """Begin a stretch ahead at the offset `start`; `append_ahead` writes its bytes."""
        with self._lock:
            self._ahead[start] = Meter()

    def append_ahead(self, start: int, chunks: Sequence[bytes | memoryview]) -> None:
        """Write the next bytes of the stretch ahead that begins at `start`.

        None if it was dropped meanwhile.
        """
        with self._lock, self._distrusted_after(but=_NO_ROOM):
            meter = self._ahead.get(start)
            if meter is None:
                return
            descriptor = self._open()
            os.lseek(descriptor, start + meter.size_bytes, os.SEEK_SET)
            try:
                # By way of the system's cache, since `absorb_next` reads them again soon.
                for chunk in chunks:
                    self._write(descriptor, meter, chunk)
            finally:
                os.lseek(descriptor, self.size_bytes, os.SEEK_SET)  # where `append` goes on

    def absorb(self) -> None:
        """Count as there all stretches ahead that now follow without a gap.

        No thread may be writing to them.
        """
        while self.absorb_next():
            pass

    def absorb_next(self) -> bool:
        """Count as there the stretch ahead that follows without a gap; False when there is none.

        No thread may be writing to it.

        Raises:
            OSError: its bytes are not in the file any more.
        """
        with self._lock:
            start = self.size_bytes
            meter = self._ahead.get(start)
            if meter is None:
                return False
            with os.fdopen(os.open(self._path, READ_FLAGS), "rb", buffering=0) as file:
                file.seek(start)
                if not _read_into(self._meter, file, meter.size_bytes):
                    raise OSError(errno.EIO, "bytes that were written are gone", str(self._path))
            del self._ahead[start]
            os.lseek(self._open(), self.size_bytes, os.SEEK_SET)
            return True

    def drop_ahead(self) -> None:
        """Drop the stretches ahead."""
        with self._lock:
            self._ahead.clear()
            os.ftruncate(self._open(), self.size_bytes)

    def flush(self) -> None:
        """Flush early the bytes that are written so far, while other threads write more."""
        with self._lock:
            descriptor = self._open()
        with self._distrusted_after():
            self._flusher.data_early(descriptor)

    def commit(
        self,
        chunks: Sequence[bytes],
        final: Path,
        mtime_ms: int | None,
        *,
        make_room: Callable[[Digest], None] = lambda _: None,
        hold: Hold | None = None,
    ) -> Digest:
        """Write the last bytes, flush, and rename to the final name, which is durable on return.

        Args:
            chunks: the last bytes.
            final: the final path, in a folder that is there; what stands there is replaced.
            mtime_ms: the file's date, in milliseconds since 1970; None for now.
            make_room: called with the digest once all bytes are flushed and just before the rename, to set
                aside what stands at the final path.
            hold: as for `rename_into`.

        Returns:
            The digest of the file.
        """
        self.append(chunks)
        with self._distrusted_after():
            self._flusher.date_and_flush(self._open(), self._path, mtime_ms)
        self.close()
        digest = self._meter.digest()
        make_room(digest)
        rename_into(str(self._path), str(final), hold)
        self._flusher.folder(final.parent)
        # Last: killed before the rename, a later process goes on from the checkpoint.
        self._sidecar.unlink(missing_ok=True)
        self._begin()
        return digest

    def read_at(self, offset: int, length: int) -> bytes:
        """So many of the written bytes, from an offset on; fewer where the file ends."""
        with os.fdopen(os.open(self._path, READ_FLAGS), "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length) or b""

    def blocks(self) -> Iterator[bytes]:
        """The bytes that are there, read back block by block."""
        for offset in range(0, self.size_bytes, READ_BYTES):
            yield self.read_at(offset, min(READ_BYTES, self.size_bytes - offset))

    def hasher(self, algorithm: str) -> Hasher | None:
        """What has computed a hash of the bytes that are there; None if none of this algorithm was."""
        return self._meter.hasher(algorithm)

    @property
    def digest(self) -> Digest:
        """The digest of the bytes that are there."""
        return self._meter.digest()

    def suspend(self) -> None:
        """Stop here: write a checkpoint if a later process can resume from it, else remove the partial."""
        self.close()
        there_bytes = self.size_bytes + sum(size for _, size in self.ahead)
        if self._error is None and self.validator and there_bytes >= MIN_RESUME_BYTES:
            self._write_sidecar()
        else:
            self.discard()

    def unmark(self) -> None:
        """Remove the checkpoint, so that no later process resumes from here.

        The bytes stay for this process.
        """
        self._sidecar.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the partial. Most were never begun, and for those the disk is not touched."""
        self.close()
        if not self.is_begun:
            return
        self._sidecar.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, without a checkpoint."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._error is not None:
            raise self._error
        if self._descriptor is None:
            self.is_begun = True
            self._descriptor = os.open(self._path, WRITE_FLAGS, 0o666)
            os.ftruncate(self._descriptor, max([self.size_bytes, *(sum(one) for one in self.ahead)]))
            os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
        return self._descriptor

    @contextmanager
    def _distrusted_after(self, *, but: frozenset[int] = frozenset()) -> Iterator[None]:
        """Remove the partial and its checkpoint when the disk fails, and let it not be used any more.

        Order: this comes before anything else is done about the error. A process that is killed right after
        it leaves no bytes that the next one could take for sound.

        Args:
            but: the numbers of errors that say nothing about the bytes that were written before.
        """
        try:
            yield
        except OSError as exc:
            if self._error is None and exc.errno not in but:
                self._error = exc
                for path in (self._sidecar, self._path):
                    with suppress(OSError):  # a disk that fails may refuse this too; `load` finds it out then
                        path.unlink(missing_ok=True)
            raise

    def _write(
        self, descriptor: int, meter: Meter, chunk: bytes | memoryview, written_bytes: int = 0
    ) -> None:
        """Write and hash a chunk; its first `written_bytes` bytes are written already."""
        write_all(descriptor, memoryview(chunk)[written_bytes:])
        meter.take(chunk)
        self._unsaved_bytes += len(chunk)
        if self.validator and self._unsaved_bytes >= CHECKPOINT_BYTES:
            self._write_sidecar()

    def _write_sidecar(self) -> None:
        # Neither the checkpoint nor the bytes are flushed. After a power cut the checkpoint may be torn, or
        # may speak of bytes that are gone; then the hash does not agree, and the file is fetched anew.
        digest = self._meter.digest()
        ahead = [
            _Ahead(start, size_bytes, self._ahead[start].digest().sha256) for start, size_bytes in self.ahead
        ]
        known = _Sidecar(self.validator, self.total_bytes, digest.size_bytes, digest.sha256, ahead)
        temporary = self._sidecar.with_suffix(".new")
        replace_file(temporary, self._sidecar, msgspec.json.encode(known), flags=OVERWRITE_FLAGS)
        self._unsaved_bytes = 0


def _read_into(meter: Meter, file: io.FileIO, size_bytes: int) -> bool:
    """Let a meter take the next bytes of a file; False when the file has fewer."""
    while size_bytes > 0 and (block := file.read(min(READ_BYTES, size_bytes))):
        meter.take(block)
        size_bytes -= len(block)
    return size_bytes <= 0

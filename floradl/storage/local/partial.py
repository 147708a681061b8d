"""Partials: bytes of outputs that are not whole yet.

A partial lies under `.floradl/` in a place that depends on its run and output alone, so that it survives
a changed URL. Beside it stands a checkpoint: the validator it was begun with, and the size and SHA-256 of
what was there. Blocking; call through `Destination.call`.

Of a large file, stretches ahead of what is there may have come already. They lie in the same file at
their places, each with its own size and SHA-256 in the checkpoint, and count as there once what lies before
them has come: then they are read back and hashed in order.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from floradl.storage.digest import READ_BYTES, Digest, Meter
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.fsync import OVERWRITE_FLAGS, Flusher, replace_file, write_all
from floradl.storage.local.no_links import READ_FLAGS, WRITE_FLAGS

CHECKPOINT_BYTES = 8 * 1024 * 1024
"""How much of a transfer `kill -9` can cost: after each such stretch a partial can be resumed from."""

MIN_RESUME_BYTES = 256 * 1024
"""Smaller partials are not worth a second file; they are fetched again after a restart."""


class _Ahead(msgspec.Struct):
    """A stretch of bytes further on."""

    start: int
    size_bytes: int
    sha256: str


class _Sidecar(msgspec.Struct):
    """What is known of a partial's first `size_bytes` bytes; stands beside it as `.json`."""

    validator: str
    total_bytes: int | None
    size_bytes: int
    sha256: str
    ahead: list[_Ahead] = []


class Partial:
    """One output on its way: bytes that are written and hashed as they come, then renamed into place.

    `size_bytes`, `head`, `validator` and `total_bytes` describe what is there. A partial that an earlier
    process left is trusted only as far as its checkpoint's hash agrees with the bytes, so neither
    `kill -9` nor a power cut can make a resumed file of wrong bytes. Several threads may write at the same
    time, one to each stretch.

    Args:
        where: gives the place where its bytes go, `layout.partial_path` below the archive; asked when that is
            needed, since most outputs are small and never have one.
        flusher: for the flush before the final name.
        direct: writes blocks of large files.
    """

    def __init__(self, where: Callable[[], Path], flusher: Flusher, direct: Direct) -> None:
        self._where = where
        self.is_begun = False
        self._flusher = flusher
        self._direct = direct
        self._descriptor: int | None = None
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
        """How many bytes are there."""
        return self._meter.size_bytes

    @property
    def head(self) -> bytes:
        """The first of them, at most `HEAD_BYTES`."""
        return self._meter.head

    @property
    def ahead(self) -> list[tuple[int, int]]:
        """Start and size of the stretches further on."""
        if not self._ahead:
            return []
        return sorted((start, meter.size_bytes) for start, meter in self._ahead.items() if meter.size_bytes)

    def load(self) -> None:
        """Take up what an earlier process left, if its hash agrees."""
        self.is_begun = True
        try:
            with os.fdopen(os.open(self._sidecar, READ_FLAGS), "rb") as file:
                known = msgspec.json.decode(file.read(), type=_Sidecar)
            descriptor = os.open(self._path, READ_FLAGS)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            is_there = _read_into(self._meter, file, known.size_bytes)
            is_usable = known.validator.isascii() and known.validator.isprintable() and known.validator != ""
            if not is_there or not is_usable or self._meter.digest().sha256 != known.sha256:
                self._begin()
                return
            self._load_ahead(known, file)
        self.validator, self.total_bytes = known.validator, known.total_bytes

    def _load_ahead(self, known: _Sidecar, file: io.FileIO) -> None:
        """Take up those stretches that agree with their hashes, and lie where they can."""
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

    def expect(self, validator: str, total_bytes: int | None) -> None:
        """What comes from now on belongs to the representation with this validator. Does not block."""
        self.validator, self.total_bytes = validator, total_bytes

    def restart(self) -> None:
        """Drop all bytes, and what was known of them."""
        self._sidecar.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)  # or the next bytes would come after a hole of zeros
        else:
            self._path.unlink(missing_ok=True)
        self._begin()

    def append(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Write the next bytes."""
        with self._lock:
            descriptor = self._open()
            for chunk in chunks:
                written = self._direct.write(descriptor, chunk, self.size_bytes)
                self._write(descriptor, self._meter, chunk, written)

    def begin_ahead(self, start: int) -> None:
        """Bytes from `start` on, further on than what is there, will be written by `append_ahead`."""
        with self._lock:
            self._ahead[start] = Meter()

    def append_ahead(self, start: int, chunks: Sequence[bytes | memoryview]) -> None:
        """Write the next bytes of the stretch that begins at `start`; nothing if it was dropped meanwhile."""
        with self._lock:
            meter = self._ahead.get(start)
            if meter is None:
                return
            descriptor = self._open()
            os.lseek(descriptor, start + meter.size_bytes, os.SEEK_SET)
            try:
                for chunk in chunks:  # not directly: they are read again soon
                    self._write(descriptor, meter, chunk)
            finally:
                os.lseek(descriptor, self.size_bytes, os.SEEK_SET)

    def absorb(self) -> None:
        """Count as there all stretches that go on from what is there; nobody may be writing to them."""
        while self.absorb_next():
            pass

    def absorb_next(self) -> bool:
        """Count as there the one stretch that goes on from what is there; nobody may be writing to it."""
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
        """Give up the stretches further on."""
        with self._lock:
            self._ahead.clear()
            os.ftruncate(self._open(), self.size_bytes)

    def flush(self) -> None:
        """Make durable what is written so far, while more is written."""
        with self._lock:
            descriptor = self._open()
        self._flusher.data_early(descriptor)

    def commit(
        self,
        chunks: Sequence[bytes],
        final: Path,
        mtime_ms: int | None,
        *,
        make_room: Callable[[Digest], None] = lambda _: None,
    ) -> Digest:
        """Write the last bytes, flush, and rename to the final name, which then is durable.

        Args:
            chunks: the last bytes.
            final: the name; what stands there is replaced.
            mtime_ms: the file's date.
            make_room: called with what is about to be renamed, when all of it is flushed.
        """
        self.append(chunks)
        self._flusher.date_and_flush(self._open(), self._path, mtime_ms)
        self.close()
        digest = self._meter.digest()
        make_room(digest)
        self._path.replace(final)
        self._flusher.folder(final.parent)
        self._sidecar.unlink(missing_ok=True)
        self._begin()
        return digest

    def read_at(self, offset: int, length: int) -> bytes:
        """Some of the bytes that are written; fewer where the file ends."""
        with os.fdopen(os.open(self._path, READ_FLAGS), "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length) or b""

    @property
    def digest(self) -> Digest:
        """Of the bytes that are written."""
        return self._meter.digest()

    def suspend(self) -> None:
        """Stop here: keep what a later process can resume from, remove the rest."""
        self.close()
        there_bytes = self.size_bytes + sum(size for _, size in self.ahead)
        if self.validator and there_bytes >= MIN_RESUME_BYTES:
            self._write_sidecar()
        else:
            self.discard()

    def unmark(self) -> None:
        """Let no later process resume from here; what is there stays for this one."""
        self._sidecar.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it, if it was begun at all; most outputs never are."""
        self.close()
        if not self.is_begun:
            return
        self._sidecar.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, whatever becomes of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self.is_begun = True
            self._descriptor = os.open(self._path, WRITE_FLAGS, 0o666)
            os.ftruncate(self._descriptor, max([self.size_bytes, *(sum(one) for one in self.ahead)]))
            os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
        return self._descriptor

    def _write(
        self, descriptor: int, meter: Meter, chunk: bytes | memoryview, written_bytes: int = 0
    ) -> None:
        """Write and hash a chunk, the first bytes of which are written."""
        write_all(descriptor, memoryview(chunk)[written_bytes:])
        meter.take(chunk)
        self._unsaved_bytes += len(chunk)
        if self.validator and self._unsaved_bytes >= CHECKPOINT_BYTES:
            self._write_sidecar()

    def _write_sidecar(self) -> None:
        # Not flushed: a checkpoint that a power cut tears or outlives fails its hash and starts over.
        digest = self._meter.digest()
        ahead = [
            _Ahead(start, size_bytes, self._ahead[start].digest().sha256) for start, size_bytes in self.ahead
        ]
        known = _Sidecar(self.validator, self.total_bytes, digest.size_bytes, digest.sha256, ahead)
        temporary = self._sidecar.with_suffix(".new")
        replace_file(temporary, self._sidecar, msgspec.json.encode(known), flags=OVERWRITE_FLAGS)
        self._unsaved_bytes = 0


def _read_into(meter: Meter, file: io.FileIO, size_bytes: int) -> bool:
    """Pass the next bytes of a file to a meter; False when there are fewer."""
    while size_bytes > 0 and (block := file.read(min(READ_BYTES, size_bytes))):
        meter.take(block)
        size_bytes -= len(block)
    return size_bytes <= 0

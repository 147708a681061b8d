"""Partials: bytes of outputs that are not whole yet.

A partial lies under `.floradl/` in a place that depends on its run and output alone, so that it survives
a changed URL. Beside it stands a checkpoint: the validator it was begun with, and the size and SHA-256 of
what was there. Blocking; call through `Disk.call`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from floradl.durable import BLOCK_BYTES, READ_FLAGS, WRITE_FLAGS, Digest, Flusher, Meter, write_all

CHECKPOINT_BYTES = 8 * 1024 * 1024
"""How much of a transfer `kill -9` can cost: after each such stretch a partial can be resumed from."""

MIN_RESUME_BYTES = 256 * 1024
"""Smaller partials are not worth a second file; they are fetched again after a restart."""


class _Sidecar(msgspec.Struct):
    """What is known of a partial's first `size_bytes` bytes; stands beside it as `.json`."""

    validator: str
    total_bytes: int | None
    size_bytes: int
    sha256: str


class Partial:
    """One output on its way: bytes that are written and hashed as they come, then renamed into place.

    `size_bytes`, `head`, `validator` and `total_bytes` describe what is there. A partial that an earlier
    process left is trusted only as far as its checkpoint's hash agrees with the bytes, so neither
    `kill -9` nor a power cut can make a resumed file of wrong bytes.

    Args:
        path: where its bytes go, `layout.partial_path` below the archive.
        flusher: for the flush before the final name.
    """

    def __init__(self, path: Path, flusher: Flusher) -> None:
        self._path = path
        self._flusher = flusher
        self._sidecar = self._path.with_suffix(".json")
        self._descriptor: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._meter = Meter()
        self._checkpoint_bytes = 0
        self.validator = ""
        self.total_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """How many bytes are there."""
        return self._meter.size_bytes

    @property
    def head(self) -> bytes:
        """The first of them, at most `HEAD_BYTES`."""
        return self._meter.head

    def load(self) -> None:
        """Take up what an earlier process left, if its hash agrees."""
        try:
            with os.fdopen(os.open(self._sidecar, READ_FLAGS), "rb") as file:
                known = msgspec.json.decode(file.read(), type=_Sidecar)
            descriptor = os.open(self._path, READ_FLAGS)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            left = known.size_bytes
            while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
                self._meter.take(block)
                left -= len(block)
        is_usable = known.validator.isascii() and known.validator.isprintable() and known.validator != ""
        if left or not is_usable or self._meter.digest().sha256 != known.sha256:
            self._begin()
            return
        self._checkpoint_bytes = self.size_bytes
        self.validator, self.total_bytes = known.validator, known.total_bytes

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

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the next bytes."""
        descriptor = self._open()
        for chunk in chunks:
            write_all(descriptor, chunk)
            self._meter.take(chunk)
        if self.validator and self.size_bytes - self._checkpoint_bytes >= CHECKPOINT_BYTES:
            self._write_sidecar()

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
        self._flusher.seal(self._open(), self._path, mtime_ms)
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
    def sha256(self) -> str:
        """Of the bytes that are written."""
        return self._meter.digest().sha256

    def suspend(self) -> None:
        """Stop here: keep what a later process can resume from, remove the rest."""
        self.close()
        if self.validator and self.size_bytes >= MIN_RESUME_BYTES:
            self._write_sidecar()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove it."""
        self.close()
        self._sidecar.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, whatever becomes of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, WRITE_FLAGS, 0o666)
            os.ftruncate(self._descriptor, self.size_bytes)
            os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
        return self._descriptor

    def _write_sidecar(self) -> None:
        # Not flushed: a checkpoint that a power cut tears or outlives fails its hash and starts over.
        digest = self._meter.digest()
        known = _Sidecar(self.validator, self.total_bytes, digest.size_bytes, digest.sha256)
        temporary = self._sidecar.with_suffix(".new")
        descriptor = os.open(temporary, WRITE_FLAGS | os.O_TRUNC, 0o666)
        try:
            write_all(descriptor, msgspec.json.encode(known))
        finally:
            os.close(descriptor)
        temporary.replace(self._sidecar)
        self._checkpoint_bytes = self.size_bytes

"""Size, SHA-256 and head of bytes as they pass."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self

HEAD_BYTES = 1024
"""How much of a file's beginning is kept, to tell of what type it is."""

READ_BYTES = 1024 * 1024
"""How much of a file is read at a time."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file holds: its size, SHA-256 in hex, and its first `HEAD_BYTES` bytes."""

    size_bytes: int
    sha256: str
    head: bytes


class Hasher(Protocol):
    """Computes a hash of bytes as they pass; those of `hashlib` are such."""

    @property
    def name(self) -> str:
        """The algorithm."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """The hash of all bytes that were taken so far."""

    def copy(self) -> Self:
        """Another one that goes on from here."""


class Meter:
    """Takes size, SHA-256 and head of bytes as they pass, so that no file has to be read again for them.

    Args:
        second: computes a second hash of the same bytes.
    """

    def __init__(self, second: Hasher | None = None) -> None:
        self._hash = hashlib.sha256()
        self._second = second
        self.size_bytes = 0
        self.head = b""

    def hasher(self, algorithm: str) -> Hasher | None:
        """A copy of what computes one of the hashes, to go on with; None if it is not computed here."""
        for hasher in (self._hash, self._second):
            if hasher is not None and hasher.name == algorithm:
                return hasher.copy()
        return None

    def take(self, chunk: bytes | memoryview) -> None:
        """Count and hash the next bytes."""
        self._hash.update(chunk)
        if self._second is not None:
            self._second.update(chunk)
        self.size_bytes += len(chunk)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(chunk[: HEAD_BYTES - len(self.head)])

    def digest(self) -> Digest:
        """The digest of all bytes that were taken so far."""
        return Digest(self.size_bytes, self._hash.hexdigest(), self.head)

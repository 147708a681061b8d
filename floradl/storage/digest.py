"""Size, SHA-256 and head of bytes as they pass."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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


class Meter:
    """Takes size, SHA-256 and head of bytes as they pass, so that no file has to be read again for them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.head = b""

    def take(self, chunk: bytes | memoryview) -> None:
        """Count and hash the next bytes."""
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(chunk[: HEAD_BYTES - len(self.head)])

    def digest(self) -> Digest:
        """The digest of all bytes that were taken so far."""
        return Digest(self.size_bytes, self._hash.hexdigest(), self.head)

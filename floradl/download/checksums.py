"""Checksums that a host states of a file: which of them hold for a body, and whether it has them.

They prove what no length does, that the bytes are those which the host has. Each is about something of its
own:

| header | about | used where |
| --- | --- | --- |
| `Repr-Digest` | the whole file, in the coding in which it is sent | always |
| `x-goog-hash` | the whole file as Google's storage has it | length and coding are those stored |
| `Content-Digest`, `Content-MD5`, `x-amz-checksum-sha256` | this body | the body is the whole file |

A checksum of a compressed body is one of its coded bytes. An ETag is none, though many of Amazon's are MD5s:
with encryption, or an upload in parts, it is another number, and nothing tells.

SHA-256 is computed of every file anyway. Of the others one is computed, and only if it was stated without a
SHA-256: CRC-32C where the extra `checksums` is installed, which is the fastest, then MD5, then SHA-512.

Source: RFC 9530; RFC 1864; Google's documentation of `x-goog-hash`; Amazon's of `GetObject`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from floradl.errors import TransferError
from floradl.storage.destination import Destination
from floradl.storage.digest import Hasher
from floradl.storage.local.partial import Partial

_BYTES = {"sha256": 32, "crc32c": 4, "md5": 16, "sha512": 64}
"""The algorithms in the order in which they are preferred, and how many bytes their results have."""

_NAMES = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5", "crc32c": "crc32c"}
_MEMBER = re.compile(r"\s*([a-z0-9-]+)=(:?)([A-Za-z0-9+/]+=*)\2\s*(?:;.*)?")
_INLINE_BYTES = 64 * 1024  # so much is hashed in less time than a thread takes to begin


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum that a host stated: the algorithm, as `hashlib` names it or `crc32c`, and the result."""

    algorithm: str
    value: bytes


def stated_checksum(
    headers: Mapping[str, str], total_bytes: int | None, *, is_whole: bool
) -> Checksum | None:
    """The best checksum that a response states of the whole file, as it is sent.

    Args:
        headers: the headers, by their names in lower case.
        total_bytes: the size of the whole file as it is sent; None if it is not known.
        is_whole: whether the body is the whole file, and not the rest of it.

    Returns:
        None if it states none that can be computed here, or two that differ.
    """
    stated = list(_members(headers.get("repr-digest", "")))
    if _is_as_stored(headers, total_bytes):
        stated += _members(headers.get("x-goog-hash", ""))
    if is_whole:
        stated += _members(headers.get("content-digest", ""))
        stated += _members(f"md5={headers.get('content-md5', '')}")
        stated += _members(f"sha-256={headers.get('x-amz-checksum-sha256', '')}")
    for algorithm in _BYTES:
        found = {checksum for checksum in stated if checksum.algorithm == algorithm}
        if found and (algorithm == "sha256" or new_hasher(algorithm) is not None):
            return found.pop() if len(found) == 1 else None
    return None


def new_hasher(algorithm: str) -> Hasher | None:
    """What computes a checksum; None where this system or installation cannot."""
    try:
        if algorithm == "crc32c":
            module = import_module("google_crc32c")
            hasher: Hasher = _Crc32c(module.Checksum())
            return hasher
        return hashlib.new(algorithm, usedforsecurity=False)
    except (ImportError, ValueError):  # a system may forbid MD5 altogether
        return None


class _Crc32c:
    """Google's CRC-32C, with the methods that hashes of `hashlib` have."""

    name = "crc32c"

    def __init__(self, checksum: Hasher) -> None:
        self._checksum = checksum

    def update(self, data: bytes | memoryview, /) -> None:
        self._checksum.update(bytes(data))  # it takes no memory that may change

    def digest(self) -> bytes:
        return self._checksum.digest()

    def copy(self) -> _Crc32c:
        return _Crc32c(self._checksum.copy())


async def require_checksum(
    checksum: Checksum, chunks: Sequence[bytes | memoryview], partial: Partial, disk: Destination
) -> None:
    """Refuse a file that has not the checksum which its host stated.

    Args:
        checksum: as stated.
        chunks: the last bytes of the file, which are not in the partial yet.
        partial: has the bytes before them.
        disk: the archive.

    Raises:
        TransferError: `wrong_hash`.
        DestinationError: the disk.
    """
    if partial.size_bytes or sum(map(len, chunks)) > _INLINE_BYTES:
        found = await disk.call(_computed, checksum.algorithm, chunks, partial)
    else:
        found = _computed(checksum.algorithm, chunks, partial)
    require_same(checksum, found)


def require_same(checksum: Checksum, found: bytes) -> None:
    """Refuse a file with another checksum than its host stated; raises `TransferError`, `wrong_hash`."""
    if found != checksum.value:
        message = f"the bytes have another {checksum.algorithm} than the host stated"
        raise TransferError(
            "wrong_hash", message, is_retryable=True, wants_fresh_url=True, voids_partial=True
        )


def _computed(algorithm: str, chunks: Iterable[bytes | memoryview], partial: Partial) -> bytes:
    """The checksum of the whole file. What was not hashed as it came is read back. Blocks."""
    hasher = partial.hasher(algorithm)
    if hasher is None:
        hasher = new_hasher(algorithm) or hashlib.sha256()
        for block in partial.blocks():
            hasher.update(block)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()


def _is_as_stored(headers: Mapping[str, str], total_bytes: int | None) -> bool:
    """Whether a body is what Google's storage has: it may decode, and a proxy may recode what it sends."""
    stored = headers.get("x-goog-stored-content-length", "")
    coding = headers.get("x-goog-stored-content-encoding", "identity").lower()
    is_as_long = not stored or stored == str(total_bytes)
    return is_as_long and coding == (headers.get("content-encoding", "").lower() or "identity")


def _members(header: str) -> Iterable[Checksum]:
    """The checksums in a header, `name=base64` or `name=:base64:`, with commas between them."""
    for part in header.split(","):
        match = _MEMBER.fullmatch(part)
        algorithm = _NAMES.get(match[1]) if match else None
        if match is None or algorithm is None:
            continue
        try:
            value = base64.b64decode(match[3], validate=True)
        except binascii.Error:
            continue
        if len(value) == _BYTES[algorithm]:
            yield Checksum(algorithm, value)

"""Checksums that hosts state: which of them hold for a body, and what is computed."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import google_crc32c
import pytest

from floradl.download import checksums
from floradl.download.checksums import Checksum, new_hasher, require_checksum, stated_checksum
from floradl.errors import TransferError
from floradl.storage.destination import Destination
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.fsync import Flusher
from floradl.storage.local.partial import Partial

BODY = b"what a host has " * 10_000
SIZE = len(BODY)
CRC = google_crc32c.Checksum(BODY).digest()  # type: ignore[no-untyped-call]  # it has no types


def value_of(algorithm: str) -> bytes:
    """A hash of the body."""
    return CRC if algorithm == "crc32c" else hashlib.new(algorithm, BODY, usedforsecurity=False).digest()


def text_of(algorithm: str) -> str:
    """The same as headers have it."""
    return base64.b64encode(value_of(algorithm)).decode()


GOOGLE = {"x-goog-hash": f"crc32c={text_of('crc32c')}, md5={text_of('md5')}"}


@pytest.mark.parametrize(
    ("headers", "is_whole", "algorithm"),
    [
        ({}, True, ""),
        ({"etag": '"d41d8cd98f00b204e9800998ecf8427e"'}, True, ""),
        (GOOGLE, True, "crc32c"),
        (GOOGLE, False, "crc32c"),
        ({"x-goog-hash": f"md5={text_of('md5')}"}, True, "md5"),
        (GOOGLE | {"x-goog-stored-content-length": str(SIZE)}, True, "crc32c"),
        (GOOGLE | {"x-goog-stored-content-length": str(SIZE + 1)}, True, ""),
        (GOOGLE | {"x-goog-stored-content-encoding": "gzip"}, True, ""),
        (GOOGLE | {"x-goog-stored-content-encoding": "gzip", "content-encoding": "gzip"}, True, "crc32c"),
        ({"content-md5": text_of("md5")}, True, "md5"),
        ({"content-md5": text_of("md5")}, False, ""),
        ({"content-md5": text_of("md5")[:-4]}, True, ""),
        ({"content-md5": "=" + text_of("md5")}, True, ""),
        ({"content-md5": text_of("md5").rstrip("=")}, True, ""),
        ({"content-digest": f"sha-512=:{text_of('sha512')}:"}, True, "sha512"),
        ({"content-digest": f"sha-512=:{text_of('sha512')}:"}, False, ""),
        ({"repr-digest": f"sha-512=:{text_of('sha512')}:, sha-256=:{text_of('sha256')}:"}, False, "sha256"),
        ({"repr-digest": f"unixsum=:{text_of('md5')}:"}, True, ""),
        ({"repr-digest": f"sha-256=:{text_of('sha256')}"}, True, ""),
        ({"x-amz-checksum-sha256": text_of("sha256")}, True, "sha256"),
        ({"x-amz-checksum-sha256": text_of("sha256")}, False, ""),
        ({"x-amz-checksum-sha256": f"{text_of('sha256')}-3"}, True, ""),
        (GOOGLE | {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, True, "crc32c"),
        ({"content-md5": text_of("md5"), "x-goog-hash": "md5=1B2M2Y8AsgTpgAmY7PhCfg=="}, True, ""),
    ],
)
def test_what_is_stated_of_a_file(headers: dict[str, str], is_whole: bool, algorithm: str) -> None:
    """Only what holds for these very bytes counts; of several the best, and of two that differ none."""
    expected = Checksum(algorithm, value_of(algorithm)) if algorithm else None
    assert stated_checksum(headers, SIZE, is_whole=is_whole) == expected


def test_without_what_computes_crc32c(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next best counts then; MD5, which a system may forbid, likewise."""
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    assert stated_checksum(GOOGLE, SIZE, is_whole=True) == Checksum("md5", value_of("md5"))
    assert new_hasher("crc32c") is None

    def forbidden(*_: object, **__: object) -> None:
        raise ValueError("not in this mode")

    monkeypatch.setattr(hashlib, "new", forbidden)
    assert stated_checksum(GOOGLE, SIZE, is_whole=True) is None


@pytest.mark.parametrize("algorithm", list(checksums._BYTES))
@pytest.mark.parametrize("how", ["small", "in memory", "as it came", "read back"])
@pytest.mark.anyio
async def test_what_is_computed(algorithm: str, how: str, tmp_path: Path) -> None:
    """The same wherever the bytes are, and whether or not they were hashed when they came."""
    disk = Destination(tmp_path, fsync=False)
    partial = Partial(lambda: tmp_path / "one.part", Flusher(is_on=False), Direct(is_on=False))
    body = BODY[:1000] if how == "small" else BODY
    chunks: list[bytes | memoryview] = [body[: len(body) // 2], memoryview(body)[len(body) // 2 :]]
    if how not in ("small", "in memory"):
        partial.expect("", None, new_hasher(algorithm) if how == "as it came" else None)
        partial.append(chunks[:1])
        del chunks[0]
    hasher = new_hasher(algorithm)
    assert hasher is not None
    hasher.update(body)
    await require_checksum(Checksum(algorithm, hasher.digest()), chunks, partial, disk)
    with pytest.raises(TransferError) as caught:
        await require_checksum(Checksum(algorithm, b"other"), chunks, partial, disk)
    assert (caught.value.code, caught.value.voids_partial) == ("wrong_hash", True)
    assert partial.size_bytes == len(body) - sum(map(len, chunks))
    partial.close()
    disk.close()

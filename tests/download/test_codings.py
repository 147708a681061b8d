"""Compressed bodies: which can be decoded, to what, and which are refused."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Sequence

import brotli  # type: ignore[import-untyped]  # it has none
import pytest

from floradl.download import codings
from floradl.download.codings import BodyDecoder, parse_codings, refuse_upload_chunks
from floradl.errors import TransferError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

BODY = b"<svg>" + bytes(range(256)) * 500 + b"</svg>"


def deflated_raw(data: bytes) -> bytes:
    """As many hosts send `deflate`: without its frame."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its frame": ("deflate", deflated_raw),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
}


async def decoded(
    names: Sequence[str], data: bytes, *, chunk_bytes: int = 1000, decoder: BodyDecoder | None = None
) -> bytes:
    """What a body means that comes in chunks of this size."""
    decoder = decoder or BodyDecoder(tuple(names))

    async def body() -> AsyncIterator[bytes]:
        for offset in range(0, len(data), chunk_bytes):
            yield data[offset : offset + chunk_bytes]

    return b"".join([piece async for piece in decoder.decoded(body())])


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("", ()),
        ("identity", ()),
        ("aws-chunked", ()),
        ("Identity, AWS-chunked", ()),
        ("none", ()),
        ("binary", ()),
        ("UTF-8", ()),
        ("gzip", ("gzip",)),
        ("X-GZIP", ("gzip",)),
        ("gzip,aws-chunked", ("gzip",)),
        ("deflate, br", ("deflate", "br")),
        ("zstd", ("zstd",)),
    ],
)
def test_names_of_codings(header: str, names: tuple[str, ...]) -> None:
    """They count in their order; what is no compression does not count."""
    assert parse_codings(header) == names


@pytest.mark.parametrize("header", ["lzma", "gzip, compress", "gzip, gzip, gzip, gzip", "x\x1b[2J"])
def test_codings_that_are_refused(header: str) -> None:
    """One that nobody knows, and more of them than anybody means."""
    with pytest.raises(TransferError) as caught:
        parse_codings(header)
    assert caught.value.code == "encoded"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["br", "zstd"])
def test_what_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the failure says what to install."""
    monkeypatch.setattr(codings, "_module", lambda _: None)
    with pytest.raises(TransferError, match=r"floradl\[codings\]"):
        parse_codings(f"gzip, {name}")
    assert parse_codings("gzip") == ("gzip",)


def test_a_module_that_is_not_installed() -> None:
    """It is as if there were none."""
    assert codings._module("floradl_of_tomorrow") is None


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 10**6])
@pytest.mark.parametrize("what", PACK)
async def test_what_a_body_means(what: str, chunk_bytes: int) -> None:
    """However it is cut into chunks, it is decoded to the byte, and its coded bytes are counted."""
    name, pack = PACK[what]
    decoder = BodyDecoder((name,))
    assert await decoded([name], pack(BODY), chunk_bytes=chunk_bytes, decoder=decoder) == BODY
    assert decoder.coded_bytes == len(pack(BODY))


async def test_codings_one_over_another() -> None:
    """What was applied last is taken away first."""
    assert await decoded(["deflate", "gzip"], gzip.compress(zlib.compress(BODY))) == BODY


@pytest.mark.parametrize("what", PACK)
async def test_a_body_without_its_end(what: str) -> None:
    """The coding has a mark of its end, so a cut shows whatever the host says of the length."""
    name, pack = PACK[what]
    for data in (pack(BODY)[:-1], pack(BODY)[:1], b""):
        with pytest.raises(TransferError) as caught:
            await decoded([name], data)
        assert (caught.value.code, caught.value.voids_partial) == ("truncated", True)


@pytest.mark.parametrize("what", PACK)
async def test_a_body_that_is_damaged(what: str) -> None:
    """It is fetched again, since a proxy or a line may have done it."""
    name, pack = PACK[what]
    packed = pack(BODY)
    with pytest.raises(TransferError) as caught:
        await decoded([name], packed[:4] + bytes(255 - byte for byte in packed[4:]))
    assert caught.value.is_retryable


@pytest.mark.parametrize("name", ["gzip", "zstd"])
async def test_a_body_that_is_not_what_it_is_called(name: str) -> None:
    """Where something on the way has decoded it, it is taken as it is."""
    assert await decoded([name], BODY) == BODY


async def test_several_bodies_one_behind_another() -> None:
    """So are some files of gzip made, and some end with zeros; anything else behind the end is damage."""
    packed = gzip.compress(BODY)
    assert await decoded(["gzip"], packed + gzip.compress(b"") + packed + b"\0" * 100) == BODY + BODY
    with pytest.raises(TransferError, match="cannot be decoded"):
        await decoded(["gzip"], packed + b"rest")


@pytest.mark.parametrize("what", PACK)
async def test_a_body_that_grows_beyond_measure(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in pieces, and is given up long before it fills the disk."""
    name, pack = PACK[what]
    monkeypatch.setattr(codings, "FREE_BYTES", 3 * codings.PIECE_BYTES)
    monkeypatch.setattr(codings, "MAX_GROWTH", 1)
    sizes: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield pack(b"\0" * 20 * codings.PIECE_BYTES)

    async def read() -> None:
        async for piece in BodyDecoder((name,)).decoded(body()):
            sizes.append(len(piece))  # noqa: PERF401 - they are to be seen although it ends with an error

    with pytest.raises(TransferError, match="beyond measure"):
        await read()
    assert sum(sizes) <= 4 * codings.PIECE_BYTES
    assert max(sizes) <= 2 * codings.PIECE_BYTES


def test_files_that_are_kept_as_they_were_uploaded() -> None:
    """The marks of a signed upload between the bytes are no part of a file."""
    refuse_upload_chunks(b"\x89PNG 400;chunk-signature=")
    with pytest.raises(TransferError, match="signed chunks"):
        refuse_upload_chunks(b"1f400;chunk-signature=ad80c730")

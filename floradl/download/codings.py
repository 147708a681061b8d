"""Bodies that a host sends compressed (`Content-Encoding`), decoded while they come.

Every request asks for the bytes as they are. Some hosts keep a file compressed, and send it so to everybody,
most often texts and SVG. What is archived is what the file means, as a browser saves it.

- A decoded body is never continued and never fetched in parts: ranges and lengths are those of its coded
  form.
- It is decoded in pieces, so that a small body cannot fill the memory. One that grows beyond measure is
  refused before it fills the disk.
- It is whole only if its coding says so, by a mark of its end that each of these has.
- Names that stand for no compression are passed over (`aws-chunked`, which some stores keep from the upload,
  or a charset). A body that is called gzip or zstd and does not begin so is taken as it is: something on the
  way has decoded it, or the host was told wrong.

`deflate` and `gzip` are in Python, `zstd` from 3.14 on. For `br`, and `zstd` before, there is the extra
`codings`.

Source: RFC 9110, section 8.4; RFC 1950 to 1952, 7932 and 8878.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from floradl.errors import TransferError, printable

PIECE_BYTES = 1024 * 1024
"""How much is decoded at a time."""

MAX_GROWTH, FREE_BYTES = 200, 64 * 1024 * 1024
"""A body may grow to so many times its coded size, and to so many bytes in any case."""

_NO_CODINGS = frozenset({"", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8", "7bit", "8bit"})
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
_MAX_CODINGS = 3
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_UPLOAD_CHUNK = re.compile(rb"[0-9a-fA-F]{1,8};chunk-signature=")


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> object: ...


def parse_codings(content_encoding: str) -> tuple[str, ...]:
    """The codings of a body, in the order in which they were applied; empty where it is not compressed.

    Args:
        content_encoding: the header `Content-Encoding`; "" where there is none.

    Raises:
        TransferError: `encoded`, one of them cannot be decoded here; the message says what is missing.
    """
    codings = _named(content_encoding)
    for name in codings:
        if name not in _CODINGS or len(codings) > _MAX_CODINGS:
            raise TransferError("encoded", f"the host sent it in an unknown coding: {printable(name)}")
        if not _is_available(_CODINGS[name]):
            what = "install `floradl[codings]`, which decodes that"
            raise TransferError("encoded", f"the host compressed it with {name}; {what}")
    return tuple(_CODINGS[name] for name in codings)


def is_coded(content_encoding: str) -> bool:
    """Whether a body is compressed, be it in a way that cannot be decoded here."""
    return bool(_named(content_encoding))


class BodyDecoder:
    """Decodes one body.

    Args:
        codings: from `parse_codings`, at least one.
        also: is given all coded bytes; None where nobody wants their hash.

    Attributes:
        coded_bytes: how many bytes came so far.
    """

    def __init__(self, codings: tuple[str, ...], also: _Hasher | None = None) -> None:
        self._stages = [_Stage(coding) for coding in reversed(codings)]
        self._also = also
        self._decoded_bytes = 0
        self.coded_bytes = 0

    @property
    def was_coded(self) -> bool:
        """Whether the body was compressed as it was called, in part at least."""
        return any(stage.is_coded for stage in self._stages)

    async def decoded(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The decoded bytes of a body, in pieces.

        Raises:
            TransferError: `encoded`, it cannot be decoded; `truncated`, it ends before its mark of the end.
        """
        async for chunk in body:
            data = bytes(chunk)
            self.coded_bytes += len(data)
            if self._also is not None:
                self._also.update(data)
            for piece in self._decode(data, 0):
                self._decoded_bytes += len(piece)
                if self._decoded_bytes > FREE_BYTES + MAX_GROWTH * self.coded_bytes:
                    raise TransferError("encoded", "the compressed body grows beyond measure")
                yield piece
        for stage in self._stages:
            stage.require_end()

    def _decode(self, data: bytes, number: int) -> Iterator[bytes]:
        """Decode the next bytes with the stage of this number and all behind it."""
        if number == len(self._stages):
            yield data
            return
        for piece in self._stages[number].take(data):
            yield from self._decode(piece, number + 1)


class _Stage:
    """One coding of a body. What is called gzip or zstd and is not is passed on as it is."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._magic = _MAGIC.get(coding, b"")
        self._begin = b""
        self._decode: Callable[[bytes], Iterator[bytes]] | None = None
        self._is_ended = False

    def take(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""
        if self._decode is None:
            self._begin += data
            if len(self._begin) < max(2, len(self._magic)):
                return
            data, self._begin = self._begin, b""
            self._decode = self._decode_members if data.startswith(self._magic) else self._pass
            self._decoder = self._new_decoder(data)
        yield from self._decode(data)

    @property
    def is_coded(self) -> bool:
        """Whether the bytes are what they are called, as far as they have come."""
        return self._decode != self._pass

    def require_end(self) -> None:
        """Make sure that the body is whole; raises `TransferError` if it is not."""
        if self.is_coded and not self._is_ended:
            raise _undecodable("truncated", "the compressed body ends before its end")

    def _pass(self, data: bytes) -> Iterator[bytes]:
        yield data

    def _decode_members(self, data: bytes) -> Iterator[bytes]:
        """Decode; several compressed bodies may follow one another."""
        try:
            while True:
                if self._is_ended:
                    if not data.strip(b"\0"):
                        return
                    self._decoder = self._new_decoder(data)
                piece, data, self._is_ended = self._decoder(data)
                if piece:
                    yield piece
                elif not data:
                    return
        except _errors() as exc:
            raise _undecodable("encoded", "the compressed body cannot be decoded") from exc

    def _new_decoder(self, data: bytes) -> Callable[[bytes], tuple[bytes, bytes, bool]]:
        """What decodes the bytes of one compressed body, which begins with `data`.

        It takes bytes; it gives a piece of what they mean, the bytes that it has not taken yet, and whether
        the body has ended.
        """
        if self._coding == "br":
            return _brotli_decoder()
        if self._coding == "zstd":
            return _zstd_decoder()
        return _zlib_decoder(31 if self._coding == "gzip" else _deflate_bits(data))


def _named(content_encoding: str) -> list[str]:
    named = [name.strip().lower() for name in content_encoding.split(",")]
    return [name for name in named if name not in _NO_CODINGS]


def _deflate_bits(data: bytes) -> int:
    """How zlib is told the form of a `deflate` body: many hosts leave out the frame that belongs to it."""
    has_frame = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_frame else -zlib.MAX_WBITS


def _zlib_decoder(bits: int) -> Callable[[bytes], tuple[bytes, bytes, bool]]:
    decoder = zlib.decompressobj(bits)

    def decode(data: bytes) -> tuple[bytes, bytes, bool]:
        piece = decoder.decompress(data, PIECE_BYTES)
        return piece, decoder.unused_data or decoder.unconsumed_tail, decoder.eof

    return decode


def _zstd_decoder() -> Callable[[bytes], tuple[bytes, bytes, bool]]:
    decoder = _zstd().ZstdDecompressor()

    def decode(data: bytes) -> tuple[bytes, bytes, bool]:
        piece = decoder.decompress(data, PIECE_BYTES)
        return piece, decoder.unused_data, decoder.eof

    return decode


def _brotli_decoder() -> Callable[[bytes], tuple[bytes, bytes, bool]]:
    decoder = _module("brotli").Decompressor()

    def decode(data: bytes) -> tuple[bytes, bytes, bool]:
        piece = decoder.process(data, output_buffer_limit=PIECE_BYTES)
        return piece, b"", decoder.is_finished()

    return decode


def _is_available(coding: str) -> bool:
    if coding == "br":
        return hasattr(_module("brotli"), "Decompressor")
    return coding != "zstd" or _zstd() is not None


def _zstd() -> Any:
    return _module("compression.zstd") or _module("backports.zstd")


def _module(name: str) -> ModuleType | Any:
    """A module that may not be installed; None then."""
    try:
        return import_module(name)
    except ImportError:
        return None


def _errors() -> tuple[type[Exception], ...]:
    """What the decoders raise for bytes that they cannot decode."""
    brotli, zstd = _module("brotli"), _zstd()
    named = [zlib.error, EOFError, getattr(brotli, "error", None), getattr(zstd, "ZstdError", None)]
    return tuple(error for error in named if error is not None)


def refuse_upload_chunks(head: bytes) -> None:
    """Refuse a file with the marks of a signed upload between its bytes: a store took them for the file.

    Raises:
        TransferError: `encoded`.
    """
    if _UPLOAD_CHUNK.match(head):
        raise TransferError("encoded", "the host kept the file as it was uploaded, in signed chunks")


def _undecodable(code: str, message: str) -> TransferError:
    return TransferError(code, message, is_retryable=True, wants_fresh_url=True, voids_partial=True)

"""The body of one response: decoded if it is compressed, and held to all that was said of it.

What is said of a file is its size, by the host and by the API, and perhaps a checksum. Of a compressed body
the host says the size and the checksum of its coded form, so both are taken of that. The API may mean either
form; one that is as long as it says is enough.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

from floradl.download.checksums import new_hasher, require_checksum, require_same
from floradl.download.codings import BodyDecoder
from floradl.download.response import ExpectedBody, bad_body, require_whole
from floradl.storage.destination import Destination
from floradl.storage.digest import Hasher
from floradl.storage.local.partial import Partial


def second_hasher(expected: ExpectedBody) -> Hasher | None:
    """What computes the checksum of a file as it comes; None if there is none, or SHA-256 is all it takes."""
    checksum = expected.checksum
    if checksum is None or expected.codings or checksum.algorithm == "sha256":
        return None
    return new_hasher(checksum.algorithm)


class BodyReader:
    """Reads one body, and tells at its end whether it is what was said.

    Args:
        expected: what the response said.
        announced_bytes: the size that the API announced; None if it announced none.

    Attributes:
        announced_bytes: the size of the file that the API announced; None also if it announced that of its
            coded form.
        is_bounded: whether anybody said where the body ends.
    """

    def __init__(self, expected: ExpectedBody, announced_bytes: int | None) -> None:
        self._expected = expected
        is_of_coded = expected.codings and expected.coded_bytes == announced_bytes
        self.announced_bytes = None if is_of_coded else announced_bytes
        self.is_bounded = (
            bool(expected.codings) or expected.total_bytes is not None or announced_bytes is not None
        )
        checksum = expected.checksum
        self._coded_hasher = new_hasher(checksum.algorithm) if checksum and expected.codings else None
        self._decoder = BodyDecoder(expected.codings, self._coded_hasher) if expected.codings else None

    def read(self, stream: AsyncIterable[bytes]) -> AsyncIterable[bytes]:
        """The bytes of the file, from those of the body."""
        return stream if self._decoder is None else self._decoder.decoded(stream)

    async def require_whole(
        self, chunks: Sequence[bytes | memoryview], partial: Partial, disk: Destination
    ) -> None:
        """Refuse the file unless it is what was said.

        Args:
            chunks: its last bytes, which are not in the partial yet.
            partial: has the bytes before them.
            disk: the archive.

        Raises:
            TransferError: it is too short, too long, empty, or has another checksum.
            DestinationError: the disk.
        """
        expected, decoder = self._expected, self._decoder
        if decoder is not None and expected.coded_bytes not in (None, decoder.coded_bytes):
            came = f"{decoder.coded_bytes} bytes came, {expected.coded_bytes} were announced"
            raise bad_body("truncated", came)
        require_whole(partial.size_bytes + sum(map(len, chunks)), expected, self.announced_bytes)
        if expected.checksum is None:
            return
        if decoder is not None and self._coded_hasher is not None:
            if decoder.was_coded:  # otherwise something on the way has decoded what the checksum is of
                require_same(expected.checksum, self._coded_hasher.digest())
        else:
            await require_checksum(expected.checksum, chunks, partial, disk)

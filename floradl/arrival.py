"""One output from the last of its bytes to its final name: look at them, name them, rename them.

What never happens here: a partial file under a final name; a page of an error kept as a picture.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from floradl import layout, media
from floradl.durable import HEAD_BYTES, Digest
from floradl.errors import TransferError, printable, safe_url
from floradl.files import Disk
from floradl.model import MEDIA_TYPES, Receipt
from floradl.partial import Partial

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output to fetch.

    `folder` is its run's, relative to the archive; `replaces` names a damaged file there that is set aside
    once the new one is whole; `prefix` stands before its name; `size_bytes` is what the API announces, and a
    body of another size gets no name.
    """

    run_id: str
    key: str
    type: str
    url: str
    folder: PurePosixPath
    mtime_ms: int | None
    has_partial: bool
    replaces: str | None = None
    prefix: str = ""
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """How people are told of it."""
        return f"{printable(self.run_id, limit=80)} {printable(self.key, limit=80)}"

    @property
    def about(self) -> dict[str, str]:
        """What a line of the log is about."""
        return {"run": self.run_id, "output": self.key}


class Arrival:
    """The bytes of one output: what they are, and how they get their name.

    Args:
        wanted: the output.
        disk: the archive.
        partial: where they are, but for the last ones.
    """

    def __init__(self, wanted: Wanted, disk: Disk, partial: Partial) -> None:
        self._wanted = wanted
        self._disk = disk
        self._partial = partial
        self._endless_sha256 = ""

    def refuse_page(self, chunks: list[bytes], content_type: str) -> None:
        """Refuse a page in place of media, by its beginning: what the partial has, and these chunks."""
        if self._wanted.type not in MEDIA_TYPES:
            return
        page = media.page_instead_of_media(self._head(chunks), content_type)
        if page is not None:
            raise bad_body("not_media", f"the host sent {page} instead of media")

    def _head(self, chunks: list[bytes]) -> bytes:
        head = self._partial.head
        for chunk in chunks:
            if len(head) >= HEAD_BYTES:
                break
            head += chunk[: HEAD_BYTES - len(head)]
        return head

    async def commit(self, chunks: list[bytes], url: str, content_type: str, *, is_bounded: bool) -> Receipt:
        """Give the bytes their name, if they are right.

        Args:
            chunks: the last bytes, which are not in the partial yet.
            url: where they came from.
            content_type: what the host called them.
            is_bounded: whether host or API said how many there are.

        Raises:
            TransferError: the file is cut off.
        """
        wanted = self._wanted
        extension = media.extension_for(self._head(chunks), content_type, url)
        name = f"{wanted.prefix}{layout.output_name(wanted.key, extension)}"

        disk, aside, in_the_way = self._disk, None, None

        def make_room(digest: Digest) -> None:
            nonlocal aside, in_the_way
            if wanted.replaces is not None:
                aside = disk.set_aside(wanted.folder / wanted.replaces)
            # A file of somebody's, or a folder, which no rename could replace.
            in_the_way = disk.make_way(wanted.folder / name, digest.sha256)

        def commit() -> Digest:
            if not self._partial.size_bytes:
                # Small, and all of it in memory: no use to write a partial first.
                self._require_end(chunks, is_bounded=is_bounded)
                digest = disk.write_atomic(
                    wanted.folder / name, chunks, mtime_ms=wanted.mtime_ms, make_room=make_room
                )
                self._partial.discard()
                return digest
            self._partial.append(chunks)
            self._require_end([], is_bounded=is_bounded)
            folder = disk.ensure_dir(wanted.folder)
            return self._partial.commit([], folder / name, wanted.mtime_ms, make_room=make_room)

        digest = await disk.call(commit)
        return Receipt(
            run_id=wanted.run_id,
            key=wanted.key,
            type=wanted.type,
            file=name,
            size_bytes=digest.size_bytes,
            sha256=digest.sha256,
            content_type=content_type,
            url=safe_url(url, limit=2000),
            is_fetched=True,
            aside=aside,
            in_the_way=in_the_way,
        )

    def _require_end(self, chunks: list[bytes], *, is_bounded: bool) -> None:
        """Refuse a file that its format says is cut off. Blocks.

        The same bytes a second time, as long as they were announced, are what the host has, and better than
        nothing; a body that ends with its connection proves nothing, however often it comes.

        Args:
            chunks: the whole file, or nothing where it is in the partial.
            is_bounded: whether host or API said where the body ends.
        """
        if self._wanted.type not in MEDIA_TYPES:
            return
        size_bytes = sum(map(len, chunks)) or self._partial.size_bytes
        read_at = _reader(chunks) if chunks else self._partial.read_at
        lacking = media.missing_end(self._head(chunks), size_bytes, read_at)
        if not lacking:
            return
        sha256 = hashlib.sha256(b"".join(chunks)).hexdigest() if chunks else self._partial.sha256
        if is_bounded and sha256 == self._endless_sha256:
            log.warning(
                "%s: %s, each time; archived as it is", self._wanted.name, lacking, extra=self._wanted.about
            )
            return
        self._endless_sha256 = sha256
        raise bad_body("no_end", f"the file was cut off: {lacking}")


def _reader(chunks: Sequence[bytes]) -> media.ReadAt:
    """Reads from chunks as if they were one."""

    def read_at(offset: int, length: int) -> bytes:
        found = []
        for chunk in chunks:
            piece = chunk[offset : offset + length] if offset < len(chunk) else b""
            found.append(piece)
            offset, length = max(0, offset - len(chunk)), length - len(piece)
        return b"".join(found)

    return read_at


def bad_body(code: str, message: str) -> TransferError:
    """The error of a body that came and is worth nothing; the next, or that of a fresh URL, may be."""
    return TransferError(code, message, is_retryable=True, wants_fresh_url=True, voids_partial=True)

"""One output from the last of its bytes to its final name: look at them, name them, rename them.

What never happens here: a partial file under a final name; a page of an error kept as a picture.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from floradl.api.models import MEDIA_TYPES
from floradl.constants import SharedBy
from floradl.download.dedupe import ContentIndex
from floradl.errors import TransferError, printable, safe_url
from floradl.repository import filetype, layout
from floradl.repository.results import Receipt
from floradl.storage.aside import make_way, set_aside
from floradl.storage.base import NewFile
from floradl.storage.destination import Destination
from floradl.storage.digest import HEAD_BYTES, Digest, Meter
from floradl.storage.local.partial import Partial
from floradl.storage.local.shared_memory import SLOT_BYTES, SlotLoan
from floradl.storage.local.writer_pool import WriterPool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output to fetch.

    `folder` is its run's, relative to the archive; `replaces` names a damaged file there that is set aside
    once the new one is whole; `prefix` stands before its name; `size_bytes` is what the API announces, and a
    body of another size gets no name; `shares` says that it need not be a copy of its own where the archive
    has the same bytes.
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
    shares: bool = False

    @property
    def name(self) -> str:
        """How people are told of it."""
        return f"{printable(self.run_id, limit=80)} {printable(self.key, limit=80)}"

    @property
    def about(self) -> dict[str, str]:
        """What a line of the log is about."""
        return {"run": self.run_id, "output": self.key}


@dataclass(slots=True)
class _Placed:
    """A file at its place; see `results.Receipt` for what the fields mean."""

    digest: Digest = field(default_factory=lambda: Meter().digest())
    aside: PurePosixPath | None = None
    in_the_way: PurePosixPath | None = None
    same_as: PurePosixPath | None = None
    shared_by: SharedBy | None = None


class _OtherBytesError(Exception):
    """A file has not the bytes that it was archived with."""


class Commit:
    """The bytes of one output: what they are, and how they get their name.

    Args:
        wanted: the output.
        disk: the archive.
        partial: where they are, but for the last ones.
        content_index: the files that an equal one may be made from.
        writer_pool: writes small files.
    """

    def __init__(
        self,
        wanted: Wanted,
        disk: Destination,
        partial: Partial,
        content_index: ContentIndex,
        writer_pool: WriterPool,
    ) -> None:
        self._wanted = wanted
        self._disk = disk
        self._partial = partial
        self._content_index = content_index
        self._writer_pool = writer_pool
        self._endless_sha256 = ""

    def refuse_page(self, chunks: list[bytes], content_type: str) -> None:
        """Refuse a page in place of media, by its beginning: what the partial has, and these chunks."""
        if self._wanted.type not in MEDIA_TYPES:
            return
        page = filetype.page_instead_of_media(self._head(chunks), content_type)
        if page is not None:
            raise bad_body("not_media", f"the host sent {page} instead of media")

    def _head(self, chunks: list[bytes]) -> bytes:
        head = self._partial.head
        for chunk in chunks:
            if len(head) >= HEAD_BYTES:
                break
            head += chunk[: HEAD_BYTES - len(head)]
        return head

    async def commit(
        self,
        chunks: list[bytes],
        url: str,
        content_type: str,
        *,
        is_bounded: bool,
        loan: SlotLoan | None = None,
    ) -> Receipt:
        """Give the bytes their name, if they are right.

        Args:
            chunks: the last bytes, which are not in the partial yet.
            url: where they came from.
            content_type: what the host called them.
            is_bounded: whether host or API said how many there are.
            loan: where a small file's bytes are, perhaps.

        Raises:
            TransferError: the file is cut off.
        """
        wanted = self._wanted
        extension = filetype.extension_for(self._head(chunks), content_type, url)
        name = f"{wanted.prefix}{layout.output_name(wanted.key, extension)}"
        path = wanted.folder / name
        placed = await self._written(chunks, path, loan, is_bounded=is_bounded)
        if placed is None:
            placed = await self._disk.call(self._place, chunks, path, is_bounded=is_bounded)
        return Receipt(
            run_id=wanted.run_id,
            key=wanted.key,
            type=wanted.type,
            file=name,
            size_bytes=placed.digest.size_bytes,
            sha256=placed.digest.sha256,
            content_type=content_type,
            url=safe_url(url, limit=2000),
            is_fetched=True,
            aside=placed.aside,
            in_the_way=placed.in_the_way,
            same_as=None if placed.same_as is None else str(placed.same_as),
            shared_by=placed.shared_by,
        )

    async def _written(
        self, chunks: list[bytes], path: PurePosixPath, loan: SlotLoan | None, *, is_bounded: bool
    ) -> _Placed | None:
        """Have a small file written, which replaces and shares nothing; None: it is none."""
        wanted = self._wanted
        if self._partial.is_begun or wanted.shares or wanted.replaces is not None:
            return None
        file = NewFile(path.name, chunks)
        if file.size_bytes > SLOT_BYTES:
            return None
        self._require_end(chunks, is_bounded=is_bounded)
        (written,) = await self._writer_pool.write(wanted.folder, [file], wanted.mtime_ms, loan)
        return _Placed(digest=written.digest, in_the_way=written.in_the_way)

    def _place(self, chunks: list[bytes], path: PurePosixPath, *, is_bounded: bool) -> _Placed:
        """Bring the file to its place, as bytes of its own or as those of an equal one."""
        if self._partial.size_bytes:
            self._partial.append(chunks)
            chunks = []
        # Else it is small, and all of it in memory: no use to write a partial first.
        self._require_end(chunks, is_bounded=is_bounded)
        placed = _Placed()

        def make_room(digest: Digest) -> None:
            placed.digest = digest
            replaces = self._wanted.replaces
            if replaces is not None:
                placed.aside = set_aside(self._disk, path.with_name(replaces))
            # A file of somebody's, or a folder, which no rename could replace.
            placed.in_the_way = make_way(self._disk, path, digest.sha256)

        if not self._wanted.shares:  # then it is hashed while it is written, and once
            self._keep(chunks, path, make_room)
            return placed
        digest = self._digest(chunks)
        with self._content_index.turn(digest.sha256):
            if not self._share(path, digest, placed, make_room):
                self._keep(chunks, path, make_room)
                self._content_index.put(digest.sha256, path)
        return placed

    def _digest(self, chunks: list[bytes]) -> Digest:
        if not chunks:
            return self._partial.digest
        meter = Meter()
        for chunk in chunks:
            meter.take(chunk)
        return meter.digest()

    def _keep(self, chunks: list[bytes], path: PurePosixPath, make_room: Callable[[Digest], None]) -> None:
        """Give the bytes that came their name."""
        mtime_ms = self._wanted.mtime_ms
        if chunks:
            self._disk.write_atomic(path, chunks, mtime_ms=mtime_ms, make_room=make_room)
            self._partial.discard()
        else:
            folder = self._disk.ensure_dir(path.parent)
            self._partial.commit([], folder / path.name, mtime_ms, make_room=make_room)

    def _share(
        self, path: PurePosixPath, digest: Digest, placed: _Placed, make_room: Callable[[Digest], None]
    ) -> bool:
        """Make the file from another of the archive that has the same bytes, if there is one.

        Whether it has them is read from what is about to get the name, so that a file which was damaged since
        it was recorded spreads nothing, however it is swapped meanwhile.
        """
        other = self._content_index.get(digest.sha256)
        if other is None or other in (path, path.with_name(self._wanted.replaces or path.name)):
            return False
        is_same = False

        def check(found: Digest) -> None:
            nonlocal is_same
            is_same = found == digest
            if not is_same:
                raise _OtherBytesError

        def settle() -> None:
            # Before the name is there: killed after it, nobody would look for the partial any more.
            self._partial.unmark()
            make_room(digest)

        for shared_by in SharedBy:
            try:
                self._bring(shared_by, other, path, check, settle)
            except _OtherBytesError:
                log.warning("%s is damaged, and nothing is made from it", other, extra=self._wanted.about)
                return False
            except OSError as exc:
                if is_same:
                    raise  # the disk failed what any file needs
                log.info(
                    "%s: cannot share %s: %s",
                    self._wanted.name,
                    other,
                    exc.strerror,
                    extra=self._wanted.about,
                )
                continue
            self._partial.discard()
            placed.same_as, placed.shared_by = other, shared_by
            return True
        return False

    def _bring(
        self,
        shared_by: SharedBy,
        other: PurePosixPath,
        path: PurePosixPath,
        check: Callable[[Digest], None],
        settle: Callable[[], None],
    ) -> None:
        source = self._disk.real_path(other)
        if shared_by == SharedBy.HARD_LINK:
            self._disk.link(source, path, check=check, make_room=settle)
        else:
            mtime_ms = self._wanted.mtime_ms
            self._disk.clone(source, path, mtime_ms=mtime_ms, check=check, make_room=settle)

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
        lacking = filetype.missing_end(self._head(chunks), size_bytes, read_at)
        if not lacking:
            return
        sha256 = hashlib.sha256(b"".join(chunks)).hexdigest() if chunks else self._partial.digest.sha256
        if is_bounded and sha256 == self._endless_sha256:
            log.warning(
                "%s: %s, each time; archived as it is", self._wanted.name, lacking, extra=self._wanted.about
            )
            return
        self._endless_sha256 = sha256
        raise bad_body("no_end", f"the file was cut off: {lacking}")


def _reader(chunks: Sequence[bytes]) -> filetype.ReadAt:
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

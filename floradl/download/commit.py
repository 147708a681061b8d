"""Give the bytes of one output their final name: check them, choose the name, make them durable, rename.

What this module promises: no partial file ever bears a final name, and no error page is kept as a picture.

The order of one commit, which a crash may cut anywhere:

1. The bytes are complete, and hashed. Media are refused if they are a page of text, or if the rules of their
   format say that the end is missing.
2. All bytes are flushed to the disk, under a temporary name or in the partial.
3. A damaged file that they replace is set aside, and so is anything else under the final name. Nothing is
   deleted: until the next step both files exist under other names.
4. The file is renamed to its final name, and the folder is flushed. From here on the name survives a power
   cut.
5. The caller records the receipt in the journal. After a crash between 4 and 5 the next session finds the
   file under its name, hashes it and records it then.

Where an equal file may be shared (uploads of assets), step 2 makes a reflink or a hard link of it under a
temporary name instead. It is read again there before it gets the final name, so that damage to the old file
is not passed on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from floradl.api.models import MEDIA_TYPES, Output
from floradl.constants import SharedBy
from floradl.download.dedupe import ContentIndex
from floradl.download.response import bad_body
from floradl.errors import WRONG_SIZE, TransferError, printable, safe_url
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
class WantedOutput:
    """One output to fetch.

    Args:
        run_id, key, type: the run or asset, the key of the output in it, and the API's type of the output.
        url: where to fetch it.
        folder: the folder of its run, relative to the archive.
        mtime_ms: the date that its file gets, in milliseconds since 1970; None for the time of writing.
        has_partial: whether an earlier process left a partial of it.
        replaces: the name of a damaged file in `folder`, which is set aside once the new file is complete.
        prefix: what stands before the name of its file.
        size_bytes: the size that the API announces; a body of another size is refused.
        shares: whether its file may share the bytes of an equal file in the archive.
        content_type: the media type that its record names; "" where it names none.
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
    content_type: str = ""

    @property
    def name(self) -> str:
        """Its run and key as they are shown to people, made printable."""
        return f"{printable(self.run_id, limit=80)} {printable(self.key, limit=80)}"

    @property
    def about(self) -> dict[str, str]:
        """The fields of a log record that say which output it is about."""
        return {"run": self.run_id, "output": self.key}


@dataclass(slots=True)
class _Committed:
    """A file that has its final name; the fields are those of `results.Receipt`."""

    digest: Digest = field(default_factory=lambda: Meter().digest())
    aside: PurePosixPath | None = None
    in_the_way: PurePosixPath | None = None
    same_as: PurePosixPath | None = None
    shared_by: SharedBy | None = None


class _OtherBytesError(Exception):
    """A file that was to be shared does not have the bytes that it was archived with."""


class Commit:
    """Checks the bytes of one output, and gives them their final name.

    One instance serves all tries of a transfer, since it remembers what the last try has brought.

    Args:
        wanted: the output.
        disk: the archive.
        partial: has the bytes that were written so far. The last ones are still in memory, as `chunks`; of a
            small file that is all of them.
        content_index: archived files that an equal one may be made from.
        writer_pool: writes small files.

    Attributes:
        needs_end: whether only a file is accepted of which its format says that it is whole.
    """

    def __init__(
        self,
        wanted: WantedOutput,
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
        self.needs_end = False
        self._truncated_sha256 = ""  # of the body that was refused last because its end is missing

    def refuse_page(self, chunks: list[bytes], content_type: str) -> None:
        """Refuse a page of HTML, XML, JSON or text that the host sent in place of the output.

        Hosts answer expired links with an error page, or one to sign in at, and status 200. Only the first
        bytes are looked at, so this can be called as soon as they have come.

        Args:
            chunks: the bytes that follow those in the partial.
            content_type: the `Content-Type` of the response; "" if it is not known.

        Raises:
            TransferError: `not_media`.
        """
        wanted = self._wanted
        output = Output(wanted.key, wanted.type, wanted.url, content_type=wanted.content_type)
        page = filetype.page_instead_of(output, self.head(chunks), content_type)
        if page is not None:
            expected = (
                "media" if wanted.type in MEDIA_TYPES else f"a {filetype.announced_extension(output)} file"
            )
            raise bad_body("not_media", f"the host sent {page} instead of {expected}")

    def head(self, chunks: list[bytes]) -> bytes:
        """The first bytes of the file, at most `HEAD_BYTES`."""
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
        """Give the bytes their final name, in the order that the module's docstring gives.

        Args:
            chunks: the last bytes, which are not in the partial yet.
            url: where they came from; it may give the extension.
            content_type: the `Content-Type` of the response.
            is_bounded: whether the host or the API said how many bytes there are.
            loan: the shared memory that a small file may have been received into.

        Returns:
            The receipt: the file is durable under its final name.

        Raises:
            TransferError: the format of the file says that its end is missing.
            DestinationError: the disk.
        """
        wanted = self._wanted
        extension = filetype.extension_for(self.head(chunks), content_type, url)
        name = f"{wanted.prefix}{layout.output_name(wanted.key, extension)}"
        path = wanted.folder / name
        committed = await self._write_small(chunks, path, loan, is_bounded=is_bounded)
        if committed is None:
            committed = await self._disk.call(self._commit_file, chunks, path, is_bounded=is_bounded)
        return Receipt(
            run_id=wanted.run_id,
            key=wanted.key,
            type=wanted.type,
            file=name,
            size_bytes=committed.digest.size_bytes,
            sha256=committed.digest.sha256,
            content_type=content_type,
            url=safe_url(url, limit=2000),
            is_fetched=True,
            aside=committed.aside,
            in_the_way=committed.in_the_way,
            same_as=None if committed.same_as is None else str(committed.same_as),
            shared_by=committed.shared_by,
        )

    async def _write_small(
        self, chunks: list[bytes], path: PurePosixPath, loan: SlotLoan | None, *, is_bounded: bool
    ) -> _Committed | None:
        """Have the writer pool write a small file that is whole in memory.

        Returns:
            None if this is not such a file, or if it replaces or shares another one; nothing was done then.
        """
        wanted = self._wanted
        if self._partial.is_begun or wanted.shares or wanted.replaces is not None:
            return None
        file = NewFile(path.name, chunks)
        if file.size_bytes > SLOT_BYTES:
            return None
        self._require_end(chunks, is_bounded=is_bounded)
        (written,) = await self._writer_pool.write(wanted.folder, [file], wanted.mtime_ms, loan)
        return _Committed(digest=written.digest, in_the_way=written.in_the_way)

    def _commit_file(self, chunks: list[bytes], path: PurePosixPath, *, is_bounded: bool) -> _Committed:
        """Give the file its name, with the bytes that came or with those of an equal file. Blocks."""
        if self._partial.size_bytes:
            self._partial.append(chunks)
            chunks = []
        # Otherwise the whole file is in memory, and is written to a temporary file and not to a partial
        # first.
        self._require_end(chunks, is_bounded=is_bounded)
        committed = _Committed()

        def make_room(digest: Digest) -> None:
            # Called between flush and rename. Set aside earlier, the damaged file would be gone without a
            # successor if the flush failed; later, the rename would delete it.
            committed.digest = digest
            replaces = self._wanted.replaces
            if replaces is not None:
                committed.aside = set_aside(self._disk, path.with_name(replaces))
            # A file of the user's under this name would be lost by the rename; a folder would make it fail.
            committed.in_the_way = make_way(self._disk, path, digest.sha256)

        if (
            not self._wanted.shares
        ):  # the digest is not needed beforehand: the file is hashed as it is written
            self._commit_own(chunks, path, make_room)
            return committed
        digest = self._digest(chunks)
        # The lock is held until the name is there and in the index. See `ContentIndex.exclusive`.
        with self._content_index.exclusive(digest.sha256):
            if not self._share(path, digest, committed, make_room):
                self._commit_own(chunks, path, make_room)
                self._content_index.put(digest.sha256, path)
        return committed

    def _digest(self, chunks: list[bytes]) -> Digest:
        """The digest of the whole file: of the chunks, or of the partial where there are none."""
        if not chunks:
            return self._partial.digest
        meter = Meter()
        for chunk in chunks:
            meter.take(chunk)
        return meter.digest()

    def _commit_own(
        self, chunks: list[bytes], path: PurePosixPath, make_room: Callable[[Digest], None]
    ) -> None:
        """Give the bytes that came their name, as a file of their own."""
        mtime_ms = self._wanted.mtime_ms
        if chunks:
            self._disk.write_atomic(path, chunks, mtime_ms=mtime_ms, make_room=make_room)
            self._partial.discard()
        else:
            folder = self._disk.ensure_dir(path.parent)
            hold = partial(self._disk.hold, path.parent)
            self._partial.commit([], folder / path.name, mtime_ms, make_room=make_room, hold=hold)

    def _share(
        self, path: PurePosixPath, digest: Digest, committed: _Committed, make_room: Callable[[Digest], None]
    ) -> bool:
        """Make the file from an archived one with the same bytes: by reflink, or else by hard link.

        Race: the archived file may have been damaged since it was recorded, or somebody may swap it at this
        moment. So it is not looked at beforehand: the clone or link, which already has a temporary name, is
        read (`check`), and only what was read gets the final name.

        Args:
            path: the final name.
            digest: of the bytes that came.
            committed: gets the origin of the shared bytes.
            make_room: sets aside what stands under the final name.

        Returns:
            False if nothing could be shared; nothing was changed then.

        Raises:
            OSError: the disk failed after the bytes were shared, in what any other file would need too.
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
            # Order: the partial's checkpoint is removed before the rename. A process killed after the rename
            # leaves a file that the next session adopts, and then nobody asks for this output's partial
            # again. With its checkpoint it would count as resumable and stay for ever.
            self._partial.unmark()
            make_room(digest)

        for shared_by in SharedBy:
            try:
                self._link_or_clone(shared_by, other, path, check, settle)
            except _OtherBytesError:
                log.warning("%s is damaged, and nothing is made from it", other, extra=self._wanted.about)
                return False
            except OSError as exc:
                if is_same:
                    raise  # the bytes were shared already; a copy of its own would fail in the same way
                log.info(
                    "%s: cannot share %s: %s",
                    self._wanted.name,
                    other,
                    exc.strerror,
                    extra=self._wanted.about,
                )
                continue
            self._partial.discard()
            committed.same_as, committed.shared_by = other, shared_by
            return True
        return False

    def _link_or_clone(
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
        """Refuse a file whose format says that its end is missing. Blocks.

        If a second try brings the same bytes, and their number was announced, the host has no others: the
        file is accepted with a warning, which is better than nothing. If nobody announced the number, the end
        of the body was the end of the connection. That proves nothing, however often it happens at the same
        byte.

        Args:
            chunks: the whole file; nothing if it is in the partial.
            is_bounded: whether the host or the API said how many bytes there are.

        Raises:
            TransferError: `no_end`; or `WRONG_SIZE`, since `needs_end`.
        """
        size_bytes = sum(map(len, chunks)) or self._partial.size_bytes
        read_at = _reader(chunks) if chunks else self._partial.read_at
        if self.needs_end and not filetype.has_end(self.head(chunks), size_bytes, read_at):
            message = "its size is not the announced one, and no format says that it is whole"
            raise TransferError(WRONG_SIZE, message, voids_partial=True)
        if self._wanted.type not in MEDIA_TYPES:
            return
        lacking = filetype.missing_end(self.head(chunks), size_bytes, read_at)
        if not lacking:
            return
        sha256 = hashlib.sha256(b"".join(chunks)).hexdigest() if chunks else self._partial.digest.sha256
        if is_bounded and sha256 == self._truncated_sha256:
            log.warning(
                "%s: %s, each time; archived as it is", self._wanted.name, lacking, extra=self._wanted.about
            )
            return
        self._truncated_sha256 = sha256
        raise bad_body("no_end", f"the file was cut off: {lacking}")


def _reader(chunks: Sequence[bytes]) -> filetype.ReadAt:
    """A function that reads from chunks as from one file."""

    def read_at(offset: int, length: int) -> bytes:
        found = []
        for chunk in chunks:
            piece = chunk[offset : offset + length] if offset < len(chunk) else b""
            found.append(piece)
            offset, length = max(0, offset - len(chunk)), length - len(piece)
        return b"".join(found)

    return read_at

"""Equal uploads are kept once: an index from the SHA-256 of a file to one archived file with these bytes.

Users upload the same picture into several projects. The second file is then made from the first by reflink or
hard link (`commit`), instead of being a second copy.

The index is memory alone and is never checked against the disk: a file in it may have been damaged or removed
since. So `commit` reads the bytes again before it gives them a second name. Several threads use the index at
the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from floradl.api.models import Generation
from floradl.constants import Kind
from floradl.repository.entries import RunEntry, State

SHARED_KIND = Kind.ASSET
"""Files of assets (uploads) are shared, since people upload the same file again into another project."""


@dataclass(slots=True)
class _ContentLock:
    """The lock on one content. `users` counts the threads that hold it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class ContentIndex:
    """One archived file for each SHA-256; paths are relative to the archive."""

    def __init__(self) -> None:
        # Digests as bytes and paths as `str`: an archive may hold a million assets, and this is smaller.
        self._files: dict[bytes, str] = {}
        self._locks: dict[str, _ContentLock] = {}
        self._lock = threading.Lock()
        self._is_filled = False

    def fill(self, load: Callable[[], Iterable[tuple[str, PurePosixPath]]]) -> None:
        """Take in the files that the archive has. Only the first call does anything.

        The manifest is read as late as this because most sessions fetch no asset at all. A file that was put
        into the index before stays: it is newer than the manifest.

        Args:
            load: gives SHA-256 (hex) and path of each archived file that may be shared.
        """
        if self._is_filled:
            return
        self._is_filled = True
        for sha256, path in load():
            self._files.setdefault(bytes.fromhex(sha256), str(path))

    def put(self, sha256: str, path: PurePosixPath) -> None:
        """Let later equal files be made from this one.

        It takes the place of a file with the same content: that could not be shared, or there would be no new
        one (it was damaged, or has as many hard links as the file system allows).

        Args:
            sha256: of the file's bytes, in hex.
            path: where the file is, relative to the archive.
        """
        self._files[bytes.fromhex(sha256)] = str(path)

    def get(self, sha256: str) -> PurePosixPath | None:
        """The path of a file that had this SHA-256 (hex) when it was archived; None if there is none."""
        path = self._files.get(bytes.fromhex(sha256))
        return None if path is None else PurePosixPath(path)

    @contextmanager
    def exclusive(self, sha256: str) -> Iterator[None]:
        """Let only one thread at a time commit a file with this SHA-256 (hex).

        Race: two workers have fetched equal uploads at the same moment. Without the lock both would find
        nothing in the index and both would keep a copy. With it the second waits until the first has its name
        and is in the index, and is then made from it. Threads with other content do not wait.
        """
        with self._lock:
            content = self._locks.setdefault(sha256, _ContentLock())
            content.users += 1
        try:
            with content.lock:
                yield
        finally:
            # Counted under the same lock as the look-up above. If a lock were removed while a thread waits
            # for it, a third thread would make a new lock for the same content, and run beside the second.
            with self._lock:
                content.users -= 1
                if not content.users:
                    del self._locks[sha256]


def shares_content(listed: Generation | RunEntry) -> bool:
    """Whether the files of this item may share their bytes with equal files of the archive.

    Those of assets may. A run generated its own bytes, so equal ones are not worth looking for.
    """
    return listed.kind is SHARED_KIND


def iter_shareable(entries: Iterable[RunEntry]) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield SHA-256 (hex) and path of each archived file that an equal one may be made from."""
    for entry in entries:
        if not shares_content(entry):
            continue
        for output in entry.outputs.values():
            if output.state == State.ARCHIVED and output.file and output.sha256:
                yield output.sha256, PurePosixPath(entry.path, output.file)

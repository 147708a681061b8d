"""Which file of the archive has which content: what equal files are made from, instead of one copy each.

Only memory: whether a file still has what is said of it here is for whoever shares it to find out. Safe for
threads.
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
"""What has files that are often equal: somebody uploads one again, into another project."""


@dataclass(slots=True)
class _Turn:
    """Who brings one content: one thread; and how many do or wait to."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class ContentIndex:
    """Files by the SHA-256 of what is in them, one each; paths are relative to the archive."""

    def __init__(self) -> None:
        self._files: dict[bytes, str] = {}
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()
        self._is_filled = False

    def fill(self, load: Callable[[], Iterable[tuple[str, PurePosixPath]]]) -> None:
        """Take in what the archive has, the first time that somebody asks; what is here already stays.

        Args:
            load: SHA-256 in hex and path of each file.
        """
        if self._is_filled:
            return
        self._is_filled = True
        for sha256, path in load():
            self._files.setdefault(bytes.fromhex(sha256), str(path))

    def put(self, sha256: str, path: PurePosixPath) -> None:
        """This file has this content, and is the one to share from now on: the one before could not be."""
        self._files[bytes.fromhex(sha256)] = str(path)

    def get(self, sha256: str) -> PurePosixPath | None:
        """A file of this content."""
        path = self._files.get(bytes.fromhex(sha256))
        return None if path is None else PurePosixPath(path)

    @contextmanager
    def turn(self, sha256: str) -> Iterator[None]:
        """While one thread brings a content, others that bring the same wait, and find it here."""
        with self._lock:
            turn = self._turns.setdefault(sha256, _Turn())
            turn.users += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[sha256]


def shares_content(listed: Generation | RunEntry) -> bool:
    """Whether files of this need not be copies of their own where the archive has the same bytes already.

    Runs each made their own.
    """
    return listed.kind is SHARED_KIND


def iter_shareable(entries: Iterable[RunEntry]) -> Iterator[tuple[str, PurePosixPath]]:
    """SHA-256 and path of each archived file that an equal one may be made from."""
    for entry in entries:
        if not shares_content(entry):
            continue
        for output in entry.outputs.values():
            if output.state == State.ARCHIVED and output.file and output.sha256:
                yield output.sha256, PurePosixPath(entry.path, output.file)

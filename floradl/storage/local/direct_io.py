"""Large files written straight to the disk, past the system's cache.

What goes by way of the cache is copied into it, into memory that has to be found first, and from there to the
disk when it is flushed; of a large file's time that is more than its hash takes. It also pushes out of the
cache what others need. A block (`blocks`) goes to the disk as it is, while other threads hash and receive.

The cache is better where the disk is slow, since it collects: then, and where the file system has no such
writes, everything goes that way; and what follows a stretch of another length than a page's, as when a
transfer was resumed in the midst of one. Either way a file is durable only once it is flushed.

Source: open(2), O_DIRECT.
"""

from __future__ import annotations

import errno
import logging
import os
import threading

from floradl.buffers import is_block
from floradl.clock import Clock

LOOK_BYTES = 16 * 1024 * 1024
"""How much is written before its speed is looked at, again and again."""

SLOW_LOOKS = 2
"""A disk that is slow so often in a row is slow; once may be somebody else's doing."""

SLOW_BYTES_PER_S = 100_000_000
"""A disk, or one behind a network, that is not as fast as this is better served by the cache."""

_ALIGNMENT = 4096  # what nearly any disk is content with; another says so
_UNABLE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOMEM})

log = logging.getLogger(__name__)


class Direct:
    """Writes blocks past the cache while that works, and works well. Any thread may call it.

    Args:
        is_on: False leaves everything to the cache.
        clock: tells how fast the disk is.
    """

    def __init__(self, *, is_on: bool, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._is_on = is_on and _fcntl is not None and hasattr(os, "O_DIRECT")
        self._lock = threading.Lock()
        self._writers = 0
        self._began_s = 0.0
        self._busy_s = 0.0
        self._written_bytes = 0
        self._slow_looks = 0

    def write(self, descriptor: int, chunk: bytes | memoryview, at: int) -> int:
        """Write a chunk, if it is a block that may go there directly. Blocks.

        Args:
            descriptor: of a file that stands at `at`; nobody else writes to it meanwhile.
            chunk: the next bytes.
            at: how far from the file's beginning.

        Returns:
            How many bytes were written; the rest is the cache's.

        Raises:
            OSError: the disk.
        """
        if not self._is_on or at % _ALIGNMENT or not is_block(chunk):
            return 0
        written = 0
        self._begin()
        try:
            written = _written(descriptor, chunk)
        except OSError as exc:
            if exc.errno not in _UNABLE:
                raise
            self._give_up(exc.strerror)
        finally:
            self._end(written)
        return written

    def _begin(self) -> None:
        with self._lock:
            if not self._writers:
                self._began_s = self._clock.monotonic()
            self._writers += 1

    def _end(self, size_bytes: int) -> None:
        """So many bytes were written. See whether the disk is fast, over all time that anybody waited."""
        with self._lock:
            now_s = self._clock.monotonic()
            self._writers -= 1
            self._written_bytes += size_bytes
            self._busy_s, self._began_s = self._busy_s + now_s - self._began_s, now_s
            if self._written_bytes < LOOK_BYTES:
                return
            is_slow = self._written_bytes < SLOW_BYTES_PER_S * self._busy_s
            self._slow_looks = self._slow_looks + 1 if is_slow else 0
            if self._slow_looks == SLOW_LOOKS:
                self._give_up("the disk is slow")
            self._busy_s, self._written_bytes = 0.0, 0

    def _give_up(self, reason: str | None) -> None:
        if self._is_on:
            log.info("large files go by way of the system's cache from now on: %s", reason)
        self._is_on = False


def _written(descriptor: int, block: memoryview) -> int:
    flags = _fcntl.fcntl(descriptor, _fcntl.F_GETFL)
    _fcntl.fcntl(descriptor, _fcntl.F_SETFL, flags | os.O_DIRECT)
    try:
        return os.write(descriptor, block)
    finally:
        _fcntl.fcntl(descriptor, _fcntl.F_SETFL, flags)


try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]  # there it is never looked at

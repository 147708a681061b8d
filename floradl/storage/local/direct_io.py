"""Large files written straight to the disk, past the system's cache (`O_DIRECT`).

An ordinary write copies the bytes into the system's cache, for which the kernel has to find memory first, and
the flush copies them to the disk. For a large file that takes more time than its hash, and it pushes the
files of other programs out of the cache. A direct write takes a block (`floradl.buffers`) to the disk as it
is, while other threads hash and receive.

Ordinary writes are used instead:

- from the moment when the disk turns out to be slow, where the cache helps by collecting many writes;
- from the moment when the file system refuses direct writes;
- for bytes at an offset that is no multiple of a page, as after a transfer was resumed in the middle of one.

Either way a file is durable only once it is flushed. Source: open(2), O_DIRECT.
"""

from __future__ import annotations

import errno
import logging
import os
import threading

from floradl.buffers import is_block
from floradl.clock import Clock

LOOK_BYTES = 16 * 1024 * 1024
"""After how many bytes the speed of the disk is looked at, each time."""

SLOW_LOOKS = 2
"""How often in a row the disk has to be slow; once, another program may have been writing to it."""

SLOW_BYTES_PER_S = 100_000_000
"""A disk, or a network file system, below this speed is better served by the cache."""

_ALIGNMENT = 4096  # offsets that nearly any disk takes; one that does not refuses with EINVAL, see below
_UNABLE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOMEM})

log = logging.getLogger(__name__)


class Direct:
    """Writes blocks past the cache as long as the file system can, and the disk is fast.

    Any thread may call it.

    Args:
        is_on: False leaves all writes to the cache.
        clock: measures the speed of the disk.
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
        """Write a chunk directly if it is a block, and stands at an offset that is a multiple of a page.

        Blocks.

        Args:
            descriptor: the file, positioned at `at`. No other thread may write to it meanwhile: for the time
                of the call its flags are changed.
            chunk: the next bytes.
            at: their offset in the file, in bytes.

        Returns:
            How many bytes were written. The caller writes the rest in the ordinary way.

        Raises:
            OSError: the disk failed.
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
        """Count bytes that were written. Now and then, compare the disk's speed with what it should be.

        Only the time counts in which at least one thread was writing; when several were, it counts once.
        """
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
        if self._is_on:  # several threads may find it out at the same time; one line is enough
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
    _fcntl = None  # type: ignore[assignment]  # `Direct` is off there

"""The kernel's locks on a file: one holder alone, or any number of readers together.

Such a lock ends with the process that holds it, however that process dies. So a killed process blocks nobody,
and nobody has to guess whether a lock is stale. `repository.lock` waits for these locks, and says who holds
them. Source: flock(2); on Windows `filelock` uses msvcrt's `locking`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import filelock

from floradl.storage.local.no_links import READ_FLAGS

HAS_SHARED_LOCKS = os.name != "nt"
"""Whether this system has locks that several readers can hold. Windows has not."""

_BUSY = (errno.EAGAIN, errno.EACCES)


class ExclusiveLock:
    """A lock that one process holds alone. It may be taken in one thread and released in another.

    Args:
        path: the lock file; made where it is missing, and never removed. Whoever removed it could do so while
            another process opens it, and then two processes would hold locks on two files of one name.
    """

    def __init__(self, path: Path) -> None:
        # `thread_local` would bind the lock to the thread that takes it. The fall back is a lock that is a
        # mere file: a killed holder leaves it behind, and each night after that would be blocked.
        self._lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def try_acquire(self) -> bool:
        """Take the lock; False when another process holds it. Does not wait.

        Raises:
            OSError: the file cannot be opened, a link stands in its place, or the file system has no locks.
        """
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


class SharedLock:
    """A lock that any number of processes hold together, while nobody holds the exclusive one.

    It needs no right to write: the file is opened to read only, and is not made where it is missing.

    Args:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock; False when another process holds the exclusive one. Does not wait.

        True as well where there is no lock file, as nobody who writes has ever been there, and on a system
        without such locks. Nothing is held then.

        Raises:
            OSError: the file cannot be opened, a link stands in its place, or the file system has no locks.
        """
        if not HAS_SHARED_LOCKS:
            return True
        import fcntl  # Windows has no such module

        try:
            descriptor = os.open(self._path, READ_FLAGS)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            if exc.errno in _BUSY:
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back, if it is held: the kernel does so when the file is closed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

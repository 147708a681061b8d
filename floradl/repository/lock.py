"""One writer per archive, or any number of readers.

The lock is the kernel's (`flock`, or its like on Windows): it ends with the process, however that dies,
so a dead holder blocks nobody. Who writes stands beside it in `holder.json`, for the message only.
Readers leave no trace, so that they can read an archive on a disk that nobody can write to.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import NoReturn, Self

import filelock
import msgspec

from floradl.clock import Clock, format_ms
from floradl.errors import LockedError, printable
from floradl.repository import layout
from floradl.storage.destination import Destination
from floradl.storage.local.fsync import READ_FLAGS

_HAS_FLOCK = os.name != "nt"
_POLL_S = 0.5
_BUSY = (errno.EAGAIN, errno.EACCES)


class _Holder(msgspec.Struct):
    pid: int
    host: str
    started_at: str


class _Lock(ABC):
    """A lock of an archive, as an async context.

    Args:
        disk: the archive; prepared.
        clock: for waiting, and for the start in `holder.json`.
        timeout_s: how long to wait for another holder to end.
        stop: ends the wait early.

    Raises:
        LockedError: on entering, when another process still holds it.
    """

    def __init__(
        self, disk: Destination, clock: Clock, *, timeout_s: float = 0.0, stop: asyncio.Event | None = None
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._timeout_s = timeout_s
        self._stop = stop or asyncio.Event()

    @abstractmethod
    def _acquire(self) -> bool:
        """Take the lock, or say that another has it. Blocks for no longer than that takes."""

    @abstractmethod
    def _release(self, *, failed: bool) -> None:
        """Give it back, if it was taken; after a failure nothing else is raised in its place."""

    async def __aenter__(self) -> Self:
        give_up_at_s = self._clock.monotonic() + self._timeout_s
        try:
            # Asked again and again, not waited for in a thread: that could not be interrupted.
            while not await self._disk.call(self._acquire):
                left_s = give_up_at_s - self._clock.monotonic()
                if left_s <= 0 or self._stop.is_set():
                    await self._disk.call(self._refuse)
                await self._clock.sleep(min(_POLL_S, left_s))
        except BaseException:
            await self._disk.call(self._release, failed=True)  # cancelled, or failed, after it was taken
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disk.call(self._release, failed=error is not None)

    def _refuse(self) -> NoReturn:
        raise LockedError(
            f"another floradl is working on this archive{self._holder()}",
            hint="Wait for it to end, or let this one wait with --lock-timeout.",
        )

    def _holder(self) -> str:
        try:
            holder = msgspec.json.decode(self._disk.read(layout.HOLDER) or b"", type=_Holder)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        if holder.host == socket.gethostname() and _has_ended(holder.pid):
            return ""  # killed; whoever holds the lock now is a reader
        return f" (process {holder.pid} on {printable(holder.host)}, since {printable(holder.started_at)})"


class ArchiveLock(_Lock):
    """The lock of who changes an archive; nobody else reads or writes meanwhile."""

    def __init__(
        self, disk: Destination, clock: Clock, *, timeout_s: float = 0.0, stop: asyncio.Event | None = None
    ) -> None:
        super().__init__(disk, clock, timeout_s=timeout_s, stop=stop)
        # Taken in one thread and released in another, so it must not be bound to either. And never a lock
        # that is a mere file: a killed holder would leave it, and block every night after.
        self._lock = filelock.FileLock(disk.root / layout.LOCK, thread_local=False, fallback_to_soft=False)

    def _acquire(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        holder = _Holder(os.getpid(), socket.gethostname(), format_ms(self._clock.now_ms()))
        self._disk.write_atomic(layout.HOLDER, [msgspec.json.encode(holder)])
        return True

    def _release(self, *, failed: bool) -> None:
        if not self._lock.is_locked:
            return
        try:
            # While readers hold the lock nobody shall be told of a writer that has ended.
            self._disk.remove(layout.HOLDER)
        except OSError:
            if not failed:  # otherwise of a disk that is gone, as was said before
                raise
        finally:
            self._lock.release()


class ReadLock(_Lock):
    """The lock of who reads an archive: others may read too, and nobody changes it. Writes nothing.

    Where there is no lock file nobody is at work. Windows has no such lock, and reads without.
    """

    _descriptor: int | None = None

    def _acquire(self) -> bool:
        if not _HAS_FLOCK:
            return True
        import fcntl  # Windows has none

        try:
            descriptor = os.open(self._disk.root / layout.LOCK, READ_FLAGS)
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

    def _release(self, *, failed: bool) -> None:  # noqa: ARG002 - nothing here that could fail again
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _has_ended(pid: int) -> bool:
    if not _HAS_FLOCK:  # Windows, where this signal would end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False

"""One writer per archive, or any number of readers: how long to wait for the lock, and who holds it.

The lock is the kernel's (`storage.local.flock`), on the file `.floradl/lock`. It ends with the process that
holds it, so a process that died blocks nobody. A writer puts its process number, host and start beside the
lock, in `.floradl/holder.json`; that serves the message of those who wait, and nothing else relies on it.
Readers write nothing, so that they can read an archive on a disk that nobody can write to.
"""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import NoReturn, Self

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.clock import Clock, format_ms
from floradl.errors import LockedError, printable
from floradl.repository import layout
from floradl.storage.destination import Destination
from floradl.storage.local.flock import ExclusiveLock, SharedLock

_POLL_S = 0.5
"""How long to wait before the lock is tried again."""

_CAN_ASK_FOR_PROCESSES = os.name != "nt"
"""Whether signal 0 only asks for a process. On Windows `os.kill` would end it."""


class _Holder(msgspec.Struct):
    """What `holder.json` says of the process that changes the archive."""

    pid: int
    host: str
    started_at: str


class _Lock(ABC):
    """A lock of an archive, as an async context.

    Args:
        disk: the archive; prepared.
        clock: for waiting, and for the start in `holder.json`.
        timeout_s: how long to wait for another process to give the lock back, in seconds.
        stop: ends the wait early when it is set.

    Raises:
        LockedError: on entering, when another process still holds the lock.
        DestinationError: on entering or leaving, when the disk fails.
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
        """Take the lock; False when another process holds it. Blocks, but does not wait for the other one."""

    @abstractmethod
    def _release(self, *, failed: bool) -> None:
        """Give the lock back, if it was taken. Blocks.

        Args:
            failed: whether an error is on its way to the user; then no other error may take its place.
        """

    async def __aenter__(self) -> Self:
        give_up_at_s = self._clock.monotonic() + self._timeout_s
        try:
            # The lock is tried again and again. A thread that waits for it in the kernel could not be
            # interrupted, so Ctrl-C would have to wait for the other process.
            while not await self._disk.call(self._acquire):
                left_s = give_up_at_s - self._clock.monotonic()
                if left_s <= 0 or self._stop.is_set():
                    await self._disk.call(self._refuse)
                await self._clock.sleep(min(_POLL_S, left_s))
        except BaseException:
            # The caller may be cancelled while the thread takes the lock, and `holder.json` may fail after
            # that. Nobody leaves this context then, so the lock has to be given back here.
            await self._disk.call(self._release, failed=True)
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
        """The writer's process, host and start, for the message; empty when they are not known."""
        try:
            holder = msgspec.json.decode(self._disk.read(layout.HOLDER) or b"", type=_Holder)
        except NOT_READABLE:
            return ""
        if holder.host == socket.gethostname() and _has_ended(holder.pid):
            return ""  # that writer was killed and left its name; the lock is held by readers
        return f" (process {holder.pid} on {printable(holder.host)}, since {printable(holder.started_at)})"


class ArchiveLock(_Lock):
    """The lock of a process that changes an archive; no other process reads or changes it meanwhile."""

    def __init__(
        self, disk: Destination, clock: Clock, *, timeout_s: float = 0.0, stop: asyncio.Event | None = None
    ) -> None:
        super().__init__(disk, clock, timeout_s=timeout_s, stop=stop)
        self._lock = ExclusiveLock(disk.root / layout.LOCK)

    def _acquire(self) -> bool:
        if not self._lock.try_acquire():
            return False
        holder = _Holder(os.getpid(), socket.gethostname(), format_ms(self._clock.now_ms()))
        self._disk.write_atomic(layout.HOLDER, [msgspec.json.encode(holder)])
        return True

    def _release(self, *, failed: bool) -> None:
        if not self._lock.is_held:
            return
        try:
            # Before the lock is given back: the next process to hold it may be a reader, and whoever waits
            # for that reader would be told of this process, which has ended.
            self._disk.remove(layout.HOLDER)
        except OSError:
            if not failed:  # after a failure the user was told that the disk is gone, or is being told so
                raise
        finally:
            self._lock.release()


class ReadLock(_Lock):
    """The lock of a process that reads an archive; others may read it too, and none changes it meanwhile.

    It writes nothing. Where no lock file is, nobody has ever changed the archive at this place, and it is
    read without a lock; so it is on Windows, which has no lock that several processes can hold.
    """

    def __init__(
        self, disk: Destination, clock: Clock, *, timeout_s: float = 0.0, stop: asyncio.Event | None = None
    ) -> None:
        super().__init__(disk, clock, timeout_s=timeout_s, stop=stop)
        self._lock = SharedLock(disk.root / layout.LOCK)

    def _acquire(self) -> bool:
        return self._lock.try_acquire()

    def _release(self, *, failed: bool) -> None:  # noqa: ARG002 - closing a file that was read cannot fail
        self._lock.release()


def _has_ended(pid: int) -> bool:
    """Whether no process of this machine has that number; False when the system does not say."""
    if not _CAN_ASK_FOR_PROCESSES:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process; or a number that no process can have
        return False
    return False

"""One writer per archive.

The lock is the kernel's (`flock`, or its like on Windows): it ends with the process, however that dies,
so a dead holder blocks nobody. Who holds it stands beside it in `holder.json`, for the message only.
"""

from __future__ import annotations

import asyncio
import os
import socket
from types import TracebackType
from typing import NoReturn, Self

import filelock
import msgspec

from floradl import layout
from floradl.clock import Clock, format_ms
from floradl.errors import LockedError, printable
from floradl.files import Disk

_POLL_S = 0.5


class _Holder(msgspec.Struct):
    pid: int
    host: str
    started_at: str


class ArchiveLock:
    """The lock of an archive, as an async context.

    Args:
        disk: the archive; prepared.
        clock: for waiting, and for the start in `holder.json`.
        timeout_s: how long to wait for another holder to end.
        stop: ends the wait early.

    Raises:
        LockedError: on entering, when another process still holds it.
    """

    def __init__(
        self, disk: Disk, clock: Clock, *, timeout_s: float = 0.0, stop: asyncio.Event | None = None
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._timeout_s = timeout_s
        self._stop = stop or asyncio.Event()
        # Taken in one thread and released in another, so it must not be bound to either. And never a lock
        # that is a mere file: a killed holder would leave it, and block every night after.
        self._lock = filelock.FileLock(disk.root / layout.LOCK, thread_local=False, fallback_to_soft=False)

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
            await self._disk.call(self._lock.release)  # cancelled, or failed, after it was taken
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disk.call(self._lock.release)

    def _acquire(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        holder = _Holder(os.getpid(), socket.gethostname(), format_ms(self._clock.now_ms()))
        self._disk.write_atomic(layout.HOLDER, [msgspec.json.encode(holder)])
        return True

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
        return f" (process {holder.pid} on {printable(holder.host)}, since {printable(holder.started_at)})"

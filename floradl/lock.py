"""One writer per archive.

The lock is the kernel's (`flock`, or its like on Windows): it ends with the process, however that dies,
so a dead holder blocks nobody. Who holds it stands beside it in `holder.json`, for the message only.
"""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Self

import filelock
import msgspec

from floradl import layout
from floradl.clock import Clock, format_ms
from floradl.errors import LockedError, printable
from floradl.files import Disk


class _Holder(msgspec.Struct):
    pid: int
    host: str
    started_at: str


class ArchiveLock:
    """The lock of an archive, as an async context.

    Args:
        disk: the archive; prepared.
        clock: for the start in `holder.json`.
        timeout_s: how long to wait for another holder to end.

    Raises:
        LockedError: on entering, when another process still holds it.
    """

    def __init__(self, disk: Disk, clock: Clock, *, timeout_s: float = 0.0) -> None:
        self._disk = disk
        self._clock = clock
        self._timeout_s = timeout_s
        # Taken in one thread and released in another, so it must not be bound to either.
        self._lock = filelock.FileLock(disk.root / layout.LOCK, thread_local=False)

    async def __aenter__(self) -> Self:
        await self._disk.call(self._acquire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._disk.call(self._lock.release)

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=self._timeout_s)
        except filelock.Timeout as exc:
            raise LockedError(
                f"another floradl is working on this archive{self._holder()}",
                hint="Wait for it to end, or let this one wait with --lock-timeout.",
            ) from exc
        holder = _Holder(os.getpid(), socket.gethostname(), format_ms(self._clock.now_ms()))
        self._disk.write_atomic(layout.HOLDER, [msgspec.json.encode(holder)])

    def _holder(self) -> str:
        try:
            holder = msgspec.json.decode(self._disk.read(layout.HOLDER) or b"", type=_Holder)
        except msgspec.DecodeError:
            return ""
        return f" (process {holder.pid} on {printable(holder.host)}, since {printable(holder.started_at)})"

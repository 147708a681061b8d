"""An archive's folder for coroutines: a `LocalStorage`, and threads to call it in.

- Blocking work runs in threads of its own (`Destination.call`), never on the event loop. A caller that is
  cancelled waits until its work has ended, so that no thread still writes to a file that the caller closes.
- Every `OSError` becomes a `DestinationError` here. It ends the job: no retry makes room on a full disk.

Methods that are not `async` block. Call them through `Destination.call`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import aiofiles.os

from floradl.storage.base import destination_error
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.folder import LocalStorage
from floradl.tasks import to_its_end

P = ParamSpec("P")
T = TypeVar("T")


class Destination(LocalStorage):
    """An archive's folder, and threads in which its blocking methods are called.

    Args:
        root, fsync, min_free_bytes: as for `LocalStorage`.
        threads: how many blocking calls run at the same time, at most.

    Attributes:
        direct: writes blocks of large files past the system's cache; shared by all partials.
    """

    def __init__(self, root: Path, *, fsync: bool = True, threads: int = 8, min_free_bytes: int = 0) -> None:
        super().__init__(root, fsync=fsync, min_free_bytes=min_free_bytes)
        self.direct = Direct(is_on=fsync)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="floradl-disk")
        self._in_thread = aiofiles.os.wrap(self._translated_call)

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that blocks in a thread, and wait for it.

        Args:
            work: what to call, with the arguments that follow.

        Returns:
            What it returns.

        Raises:
            DestinationError: for any `OSError` that it raises.
            asyncio.CancelledError: when the caller was cancelled, and only after the work has ended.
        """
        return await self.ended(self.begin(work, *args, **kwargs))

    def begin(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """As `call`, without waiting.

        The caller has to wait with `ended` before it closes what the work uses.
        """
        running = self._in_thread(partial(work, *args, **kwargs), executor=self._executor)
        return asyncio.ensure_future(cast("Coroutine[None, None, T]", running))

    async def ended(self, running: asyncio.Future[T]) -> T:
        """Wait for work that `begin` has begun.

        Returns:
            What the work returns.

        Raises:
            DestinationError: for any `OSError` that it raises.
            asyncio.CancelledError: when the caller was cancelled, and only after the work has ended.
        """
        return await to_its_end(running)

    def _translated_call(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as exc:
            raise destination_error(exc, self.root) from exc

    def close(self) -> None:
        """Wait for work that still runs, and end the threads."""
        self._executor.shutdown(wait=True)

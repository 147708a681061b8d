"""The archive's folder for those who must not block: a `LocalStorage`, and threads to call it in.

- Blocking work runs in threads of its own (`Destination.call`), never on the event loop; a cancelled caller
  waits until its piece of work has ended, so no thread touches a file that somebody else closes.
- Every `OSError` becomes a `DestinationError` here, which is fatal: a full disk is nobody's retry.

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
    """An archive's folder, with threads.

    Args:
        root, fsync, min_free_bytes: as for `LocalStorage`.
        threads: how many pieces of file work run at the same time.

    Attributes:
        direct: writes large files.
    """

    def __init__(self, root: Path, *, fsync: bool = True, threads: int = 8, min_free_bytes: int = 0) -> None:
        super().__init__(root, fsync=fsync, min_free_bytes=min_free_bytes)
        self.direct = Direct(is_on=fsync)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="floradl-disk")
        self._in_thread = aiofiles.os.wrap(self._translated_call)

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking file work in a thread.

        Raises:
            DestinationError: for any `OSError`.
            asyncio.CancelledError: only after the work has ended.
        """

        return await self.ended(self.begin(work, *args, **kwargs))

    def begin(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin blocking file work in a thread; whoever does must wait for it with `ended`."""
        running = self._in_thread(partial(work, *args, **kwargs), executor=self._executor)
        return asyncio.ensure_future(cast("Coroutine[None, None, T]", running))

    async def ended(self, running: asyncio.Future[T]) -> T:
        """Wait for what `begin` began.

        Raises:
            DestinationError: for any `OSError`.
            asyncio.CancelledError: only after the work has ended.
        """
        return await to_its_end(running)

    def _translated_call(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as exc:
            raise destination_error(exc, self.root) from exc

    def close(self) -> None:
        """Wait for running work and stop the threads."""
        self._executor.shutdown(wait=True)

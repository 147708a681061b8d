"""One job's hold on an archive: its folder, its lock, its manifest and its pool, opened and closed once.

`archive`, `verify --repair` and `restore` change an archive, and open it in the same order. Each step relies
on the ones before it; everything is given back in the opposite order, whatever ends the job:

1. `open_session` makes the destination, its threads, and what all transfers share. Nothing is read or
   written yet.
2. `Session.locked` first asks whether an archive must be there already (`require`). That has to come before
   `prepare`: a disk that is not mounted leaves an empty folder, and `prepare` would begin an archive in it.
3. `prepare` makes `.floradl/`, since the lock is a file in it.
4. The archive's lock is taken.
5. `clean` removes temporary files, and partial files that no later process can go on with. It has to come
   after the lock: before it, these may be files that another floradl is just writing, which would then lose
   what it has fetched.
6. `Session.opened_repository` reads the manifest, replays the journal and cuts its torn tail. It has to come
   after the lock: a tail that looks torn may be a line that another floradl is just appending. It is a step
   of its own, since a repair has to write a broken manifest anew before it can be opened like any other.
7. `Session.new_pool` lists the partial files, which the pool's transfers go on with. It has to come after
   `clean`, or the list would name files that are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from floradl.api.client import FloraApi
from floradl.api.models import Filters
from floradl.clock import Clock
from floradl.download.context import Context, NetworkOptions, new_context
from floradl.download.pool import Pool
from floradl.download.tally import Tally, TransferCounters
from floradl.network.client import MediaClient
from floradl.network.retry import Backoff
from floradl.network.transport import media_transports
from floradl.repository.lock import ArchiveLock
from floradl.repository.repository import Repository
from floradl.storage import base
from floradl.storage.destination import Destination


class SessionOptions(NetworkOptions, Protocol):
    """What the options of a job say about its session."""

    @property
    def timeout_s(self) -> float:
        """How long a media connection may stay silent."""

    @property
    def fsync(self) -> bool:
        """Whether files are flushed before they are recorded."""


@dataclass(frozen=True)
class Session:
    """An archive's folder and what all transfers into it share. Made by `open_session`.

    Attributes:
        context: what all transfers share; `context.disk` is the archive.
        concurrency: how many outputs are on their way at the same time, at most.
        new_client: makes a media client.
    """

    context: Context
    concurrency: int
    new_client: Callable[[], MediaClient]

    @asynccontextmanager
    async def locked(
        self,
        *,
        timeout_s: float,
        stop: asyncio.Event,
        require: Callable[[Destination], None] | None = None,
    ) -> AsyncIterator[None]:
        """The archive, prepared, locked for this process alone, and cleaned of temporary files.

        Args:
            timeout_s: how long to wait for another floradl to end.
            stop: ends that wait early.
            require: raises where an archive must be there and is not, such as `require_archive`. It is called
                in a thread before anything is written. None: a missing archive is begun.

        Raises:
            DestinationError: the folder cannot be used, or `require` raised.
            LockedError: another floradl still uses the archive.
        """
        disk = self.context.disk
        if require is not None:
            await disk.call(require, disk)  # before `prepare`, which would make the folder that is missing
        await disk.call(disk.prepare)
        async with ArchiveLock(disk, self.context.clock, timeout_s=timeout_s, stop=stop):
            await disk.call(disk.clean)  # only now are all temporary files those of processes that ended
            yield

    @asynccontextmanager
    async def opened_repository(self) -> AsyncIterator[Repository]:
        """The archive's manifest and journal, open for changes. Only while the archive is `locked`.

        Raises:
            ManifestError: the manifest or the journal cannot be understood.
        """
        repository = Repository(self.context.disk, self.context.clock)
        try:
            await repository.open()
            yield repository
        finally:
            # Before the lock is given back: no other process may append while this one holds the journal.
            await repository.close()

    async def new_pool(
        self, repository: Repository, api: FloraApi | None, filters: Filters, tally: Tally
    ) -> Pool:
        """A pool for this archive, not at work yet. Only while the archive is `locked`.

        Args:
            repository: where results are recorded; open.
            api: for outputs and fresh URLs; None when there is no key.
            filters: which outputs are wanted.
            tally: kept up to date.

        Raises:
            DestinationError: the partial files cannot be listed.
        """
        disk = self.context.disk
        (partials,) = await disk.call(disk.sizes, [base.PARTIALS])
        return Pool(
            context=self.context,
            api=api,
            repository=repository,
            filters=filters,
            concurrency=self.concurrency,
            new_client=self.new_client,
            partials=frozenset(partials),
            tally=tally,
        )


@asynccontextmanager
async def open_session(
    options: SessionOptions,
    dest: Path,
    *,
    clock: Clock,
    backoff: Backoff | None = None,
    new_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    traffic: TransferCounters | None = None,
    threads: int = 8,
    min_free_bytes: int = 0,
) -> AsyncIterator[Session]:
    """A session for one job. Its threads end with the context, after the work that they have begun.

    Args:
        options: what the job was told.
        dest: the archive's folder; it is not touched yet.
        clock: time.
        backoff: the waits between tries; None: the usual ones.
        new_transport: makes the httpx transport of one media client; None: floradl's own.
        traffic: where received bytes are counted; None: nobody reads them.
        threads: how many pieces of file work run at the same time.
        min_free_bytes: how much room on the disk is left to others.
    """
    disk = Destination(dest, fsync=options.fsync, threads=threads, min_free_bytes=min_free_bytes)
    context = new_context(options, disk, clock, backoff, traffic)
    make_transport = new_transport or media_transports(
        allow_loopback=context.allow_loopback, timeout_s=options.timeout_s
    )

    def new_client() -> MediaClient:
        return MediaClient(make_transport(), timeout_s=options.timeout_s)

    try:
        yield Session(context, options.concurrency, new_client)
    finally:
        disk.close()  # last: everything above needs its threads to give back what it holds

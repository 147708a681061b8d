"""Where `restore` puts files: an archive of its own, or one flat folder without records."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath

from floradl.api.client import FloraApi
from floradl.api.models import Filters, Generation, Output
from floradl.clock import format_ms
from floradl.constants import Kind
from floradl.download.commit import WantedOutput
from floradl.download.missing import Missing, known_record
from floradl.download.pool import GRACE_S, Pool
from floradl.download.refetch import refetch
from floradl.download.session import Session
from floradl.download.tally import Tally
from floradl.download.transfer import fetch_output
from floradl.errors import ApiError, ApiNotFoundError, FloradlError, KeyRefusedError, UsageError, printable
from floradl.network.client import MediaClient
from floradl.repository import layout
from floradl.repository.entries import RunEntry, State
from floradl.repository.results import Failure, Receipt, op_of, receipt_of
from floradl.repository.snapshot import entry_path
from floradl.restorer.copying import Copied
from floradl.storage import base
from floradl.storage.aside import make_way
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.tasks import ends_by_itself


class Target(ABC):
    """A folder that outputs are restored into.

    Args:
        session: of that folder.
        source: the archive that outputs are restored from.
        api: an open session with the API; None: an output that the source lacks is a failure.
        tally: kept up to date, for a display.
        filters: which outputs are wanted.

    Attributes:
        problems: API errors that left something out.
    """

    def __init__(
        self, session: Session, source: Destination, api: FloraApi | None, tally: Tally, filters: Filters
    ) -> None:
        self._session = session
        self._context = session.context
        self._disk = session.context.disk
        self._source = source
        self._api = api
        self._tally = tally
        self._filters = filters
        self.problems: list[FloradlError] = []

    @abstractmethod
    def opened(self, *, timeout_s: float, stop: asyncio.Event) -> AbstractAsyncContextManager[None]:
        """The folder, made ready for files; an archive is locked.

        Args:
            timeout_s: how long to wait for another floradl to end.
            stop: ends that wait early.

        Raises:
            DestinationError: the folder cannot be used.
            LockedError: another floradl uses the archive.
        """

    @abstractmethod
    def known(self, run_id: str) -> RunEntry | None:
        """The entry that a run, an asset or a canvas has here; None where it has none."""

    @abstractmethod
    async def record(self, copies: Iterable[Copied]) -> None:
        """Record what was copied. When this returns, the records are on the disk."""

    @abstractmethod
    async def fill(self, lacking: Sequence[Copied], stop: asyncio.Event) -> bool:
        """Fetch from FLORA the outputs that the source lacks, and count as failed what cannot be fetched.

        Args:
            lacking: the runs, assets and canvases with such outputs.
            stop: ends it early.

        Returns:
            False when it was stopped.
        """

    @abstractmethod
    async def finish(self, base_url: str) -> None:
        """Bring the folder into order at the end.

        Args:
            base_url: the API that the files came from once.
        """


class ArchiveTarget(Target):
    """An archive of its own: with the same folders, a manifest and checksums."""

    @asynccontextmanager
    async def opened(self, *, timeout_s: float, stop: asyncio.Event) -> AsyncIterator[None]:
        """The archive, begun where there is none, locked, with its manifest open."""
        async with (
            self._session.locked(timeout_s=timeout_s, stop=stop),
            self._session.opened_repository() as self._repository,
        ):
            yield

    def known(self, run_id: str) -> RunEntry | None:
        """The entry in this archive's manifest."""
        return self._repository.manifest.run(run_id)

    async def record(self, copies: Iterable[Copied]) -> None:
        """Append the changes to the journal, with one flush."""
        await self._repository.append(op for copied in copies for op in copied.ops)

    async def fill(self, lacking: Sequence[Copied], stop: asyncio.Event) -> bool:
        """Ask for each run by its id, and let a pool fetch its outputs."""
        is_finished = self._api is None or await self._fetch_all(lacking, self._api, stop)
        if is_finished:
            await self._give_up(lacking)
        return is_finished

    async def _fetch_all(self, lacking: Sequence[Copied], api: FloraApi, stop: asyncio.Event) -> bool:
        missing_runs = [
            Missing(copied.run_id, copied.entry, tuple(copied.lacking), frozenset(), copied.has_record, True)
            for copied in lacking
            if copied.entry.kind is not Kind.CANVAS  # FLORA has only the canvas of today
        ]
        filters = Filters(
            types=self._filters.types
        )  # which runs are wanted was decided when they were copied
        pool = await self._session.new_pool(self._repository, api, filters, self._tally)
        async with pool.at_work():
            is_finished = await ends_by_itself(self._fetch(pool, missing_runs, api), stop)
            if not is_finished:
                await pool.wind_down(GRACE_S)
        self.problems.extend(pool.problems)
        return is_finished

    async def finish(self, base_url: str) -> None:
        """Fold the journal into `manifest.json`."""
        await self._repository.fold(base_url)

    async def _fetch(self, pool: Pool, missing_runs: Sequence[Missing], api: FloraApi) -> None:
        await refetch(missing_runs, pool, api, self._disk, self._tally, self.problems)

    async def _give_up(self, lacking: Iterable[Copied]) -> None:
        """Report and record as failed what is not here in the end, unless the pool reported it already."""
        at = format_ms(self._context.clock.now_ms())
        reported = {(failure.run_id, failure.key) for failure in self._tally.failures}
        for copied in lacking:
            failures = [
                failure
                for failure in await self._disk.call(self._absent, copied)
                if (failure.run_id, failure.key) not in reported
            ]
            await self._repository.append(
                op for failure in failures if (op := op_of(failure, at)) is not None
            )
            for failure in failures:
                self._tally.fail(failure)

    def _absent(self, copied: Copied) -> list[Failure]:
        """A failure for each output of a run, and for its record, that is not here. Blocks.

        Where the archive has an entry of bytes that were here once, the failure does not replace the entry:
        it still says which bytes are the right ones.
        """
        entry = self._repository.manifest.run(copied.run_id) or copied.entry
        folder = entry_path(copied.run_id, entry)
        (files,) = self._disk.sizes([folder])
        failures = []
        for key, why in copied.lacking.items():
            known = entry.outputs.get(key)
            was_archived = known is not None and known.state == State.ARCHIVED
            if known is None or not was_archived or files.get(known.file or "") != known.size_bytes:
                failure = copied.failure(key, "not_in_source", why)
                failures.append(replace(failure, keeps_entry=was_archived))
        record = layout.record_name(entry.kind)
        if record is not None and not copied.has_record and record not in files:
            failure = copied.failure(record, "not_in_source", "it is lost")
            failures.append(replace(failure, keeps_entry=True))
        return failures


class FlatTarget(Target):
    """One folder of files, without records and manifest."""

    @asynccontextmanager
    async def opened(self, *, timeout_s: float, stop: asyncio.Event) -> AsyncIterator[None]:  # noqa: ARG002 - as the other targets'
        """The folder, with a private folder for temporary files, which is removed in the end.

        Raises:
            UsageError: there is an archive in it, whose next check would call all these files strays.
        """
        if self._disk.exists(layout.MANIFEST) or self._disk.exists(layout.JOURNAL):
            raise UsageError("DEST holds an archive; files of another must not lie among its own")
        await self._disk.call(self._disk.prepare)
        try:
            yield
        finally:
            await self._disk.call(self._tidy)

    def _tidy(self) -> None:
        """Remove the private folder, unless there is a partial file which the next restore goes on with."""
        for folder in (*base.TEMPORARIES, base.TEMPORARY, base.PARTIALS, base.PRIVATE):
            with suppress(OSError):  # it is not empty
                (self._disk.root / folder).rmdir()

    def known(self, run_id: str) -> None:  # noqa: ARG002 - nothing is recorded here
        """None: whether a file is here already is seen by its bytes."""
        return

    async def record(self, copies: Iterable[Copied]) -> None:
        """Nothing to do: a flat folder has no records."""

    async def finish(self, base_url: str) -> None:
        """Nothing to do: a flat folder has no manifest."""

    async def fill(self, lacking: Sequence[Copied], stop: asyncio.Event) -> bool:
        """Ask for each run by its id, and fetch its outputs one after another."""
        return await ends_by_itself(self._fetch_all(lacking), stop)

    async def _fetch_all(self, lacking: Sequence[Copied]) -> None:
        async with self._session.new_client() as client:
            for copied in lacking:
                await self._fetch_run(copied, client)

    async def _fetch_run(self, copied: Copied, client: MediaClient) -> None:
        """Fetch the outputs of one run that the source lacks, and count what came of each."""
        outputs: dict[str, Output] = {}
        kind = copied.entry.kind
        if self._api is not None and copied.lacking and kind is not Kind.CANVAS:
            try:
                run = await self._current(copied, self._api)
                outputs = {output.key: output for output in run.outputs or ()}
            except KeyRefusedError as exc:
                self.problems.append(exc)
                self._api = None  # it would refuse the key for every other run too
            except ApiError as exc:
                self.problems.append(exc.concerning(f"{kind} {printable(copied.run_id, limit=80)}"))
        for key, why in copied.lacking.items():
            result = await self._fetch_output(copied, outputs.get(key), client)
            if isinstance(result, Failure):
                self._tally.fail(result)
            elif result is None:
                self._tally.fail(copied.failure(key, "not_in_source", why))
            else:
                self._tally.fetched += 1
                self._tally.new_bytes += result.size_bytes

    async def _current(self, copied: Copied, api: FloraApi) -> Generation:
        """The record that FLORA has today.

        An asset that FLORA does not know by its id is one that stands on a canvas without an id of its own.
        Its archived record is used then; the URL in it may still serve.

        Raises:
            ApiError: there is no answer, or FLORA does not know the run any more.
        """
        missing = Missing(copied.run_id, copied.entry, tuple(copied.lacking), has_record=copied.has_record)
        known = await self._source.call(known_record, self._source, missing)
        try:
            return await api.item(copied.entry.kind, copied.run_id, known=known)
        except ApiNotFoundError:
            if copied.entry.kind is Kind.ASSET and known.outputs is not None:
                return known
            raise

    async def _fetch_output(
        self, copied: Copied, output: Output | None, client: MediaClient
    ) -> Receipt | Failure | None:
        """Fetch one output.

        Args:
            copied: what came of its run so far.
            output: as FLORA has it today; None where FLORA does not have it.
            client: a media client.

        Returns:
            What came of it; None when FLORA does not have it.
        """
        if output is None or output.value is None:
            return None
        entry, prefix = copied.entry, layout.flat_prefix(copied.entry.kind, copied.run_id)
        mtime_ms = entry.completed_at if entry.completed_at is not None else entry.created_at
        if output.is_text:
            name = f"{prefix}{layout.output_name(output.key, layout.TEXT_EXTENSION)}"
            digest = await self._disk.call(self._write, PurePosixPath(name), output.value, mtime_ms)
            return receipt_of(copied.run_id, output, name, digest, is_fetched=True)
        wanted = WantedOutput(
            run_id=copied.run_id,
            key=output.key,
            type=output.type,
            url=output.value,
            folder=PurePosixPath(),
            mtime_ms=mtime_ms,
            has_partial=True,
            prefix=prefix,
            size_bytes=output.size_bytes,
        )
        return await fetch_output(wanted, client, self._context, _no_other_url)

    def _write(self, path: PurePosixPath, text: str, mtime_ms: int | None) -> Digest:
        """Write a text. A file with other bytes that stands in its place is set aside first. Blocks."""
        data = text.encode()
        make_way(self._disk, path, hashlib.sha256(data).hexdigest())
        return self._disk.write_atomic(path, [data], mtime_ms=mtime_ms)


async def _no_other_url(run_id: str, key: str) -> None:  # noqa: ARG001 - as `Pool`'s, which asks the API
    """No fresh URL: the record was asked for just now, so the API has no other one."""
    return

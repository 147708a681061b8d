"""A session of an archive: its steps in their order, and everything given back however the job ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from floradl.api.models import Filters
from floradl.archiver.options import ArchiveOptions
from floradl.clock import Clock
from floradl.download import session as session_module
from floradl.download.session import Session, open_session
from floradl.download.tally import Tally, TransferCounters
from floradl.errors import DestinationError, LockedError, ManifestError
from floradl.repository import layout
from floradl.repository.entries import RunFacts, RunOp
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository, require_archive
from floradl.storage import base

pytestmark = pytest.mark.anyio

RUN = RunOp("run_1", RunFacts("ws_a", "prj_b", "ws_a/prj_b/run_1", "t2i", 1, 2, None, "00"))


def opened(dest: Path, **more: Any) -> AbstractAsyncContextManager[Session]:
    """A session of an archive job."""
    return open_session(ArchiveOptions(dest, fsync=False, timeout_s=7.0), dest, clock=Clock(), **more)


def locked(session: Session) -> AbstractAsyncContextManager[None]:
    """The archive, locked at once or not at all."""
    return session.locked(timeout_s=0.0, stop=asyncio.Event())


def names_in(folder: Path) -> list[str]:
    """What stands in a folder."""
    return [path.name for path in folder.iterdir()]


@asynccontextmanager
async def at_work(dest: Path) -> AsyncIterator[Session]:
    """A session whose archive is locked and whose manifest is open, with one run recorded."""
    async with opened(dest) as session, locked(session), session.opened_repository() as repository:
        await repository.append([RUN])
        yield session


async def test_nothing_is_made_before_the_lock_is_asked_for(tmp_path: Path) -> None:
    """To open a session touches no disk: what is wrong with the options is said first."""
    async with opened(tmp_path / "out"):
        assert names_in(tmp_path) == []


async def test_a_folder_without_its_archive_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """The folder of a disk that is not mounted is empty: no archive must be begun in it."""
    require = partial(require_archive, hint="Is it mounted?")
    async with opened(tmp_path) as session:
        with pytest.raises(DestinationError, match="no archive"):
            async with session.locked(timeout_s=0.0, stop=asyncio.Event(), require=require):
                pytest.fail("it was locked")
    assert names_in(tmp_path) == []


async def test_a_required_archive_that_is_there_is_opened(tmp_path: Path) -> None:
    """A first session begins it; the next may require it."""
    async with at_work(tmp_path):
        pass
    stop = asyncio.Event()
    async with opened(tmp_path) as session, session.locked(timeout_s=0.0, stop=stop, require=require_archive):
        assert (tmp_path / layout.HOLDER).exists()


async def test_files_of_another_floradl_are_left_alone_until_it_has_ended(tmp_path: Path) -> None:
    """Temporary files and partials are removed under the lock: before, somebody may be writing them."""
    async with at_work(tmp_path) as first:
        temporary = tmp_path / base.TEMPORARIES[0] / "being-written"
        partial_file = tmp_path / base.PARTIALS / "begun.part"
        for file in (temporary, partial_file):
            await first.context.disk.call(file.write_bytes, b"1")
        async with opened(tmp_path) as second:
            with pytest.raises(LockedError):
                async with locked(second):
                    pytest.fail("two at a time")
        assert temporary.exists()
        assert partial_file.exists()
    async with opened(tmp_path) as third, locked(third):
        assert not temporary.exists()
        assert not partial_file.exists()


async def test_the_archive_is_locked_before_its_journal_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a journal cuts its torn tail, which could be a line that another floradl is just writing."""
    seen = []

    class Watched(Repository):
        async def open(self) -> Manifest:
            seen.append((tmp_path / layout.HOLDER).exists())
            return await super().open()

        async def close(self) -> None:
            seen.append((tmp_path / layout.HOLDER).exists())
            await super().close()

    monkeypatch.setattr(session_module, "Repository", Watched)
    async with at_work(tmp_path):
        pass
    assert seen == [True, True]


@pytest.mark.parametrize("end", ["by itself", "an error", "cancelled"])
async def test_everything_is_given_back_however_the_job_ends(tmp_path: Path, end: str) -> None:
    """The next session gets the lock, and finds what was recorded; no thread is left."""
    threads = set(threading.enumerate())
    begun = asyncio.Event()

    async def job() -> None:
        async with at_work(tmp_path):
            begun.set()
            if end == "an error":
                raise DestinationError("the disk is full")
            if end == "cancelled":
                await asyncio.Event().wait()

    working = asyncio.ensure_future(job())
    await begun.wait()
    if end == "cancelled":
        working.cancel()
    (error,) = await asyncio.gather(working, return_exceptions=True)
    kinds = {"by itself": None, "an error": DestinationError, "cancelled": asyncio.CancelledError}
    assert (error and type(error)) == kinds[end]
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not any(name.startswith("floradl-disk") for name in left)
    async with opened(tmp_path) as session, locked(session), session.opened_repository() as repository:
        assert "run_1" in repository.manifest


async def test_a_manifest_that_cannot_be_read_leaves_no_lock_behind(tmp_path: Path) -> None:
    """A repair that comes next can begin."""
    (tmp_path / layout.MANIFEST).write_bytes(b"torn")
    for _ in range(2):
        async with opened(tmp_path) as session:
            with pytest.raises(ManifestError):
                async with locked(session), session.opened_repository():
                    pytest.fail("it was opened")
    assert not (tmp_path / layout.HOLDER).exists()


async def test_a_pool_knows_the_partials_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are listed after those that nobody can go on with are removed."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(session_module, "Pool", lambda **arguments: made.append(arguments))
    async with opened(tmp_path) as session, locked(session):
        pass
    for name in ("whole.part", "whole.json", "alone.part"):
        (tmp_path / base.PARTIALS / name).write_bytes(b"1")
    tally = Tally()
    async with opened(tmp_path) as session, locked(session), session.opened_repository() as repository:
        await session.new_pool(repository, None, Filters(), tally)
        (arguments,) = made
        assert arguments["partials"] == {"whole.part", "whole.json"}
        assert (arguments["repository"], arguments["tally"]) == (repository, tally)
        assert (arguments["context"], arguments["concurrency"]) == (session.context, session.concurrency)


async def test_each_media_client_has_a_transport_of_its_own(tmp_path: Path) -> None:
    """A transport that a client has closed is of no use to the next one; bytes are counted where wanted."""
    made: list[httpx.AsyncBaseTransport] = []
    traffic = TransferCounters()

    def new_transport() -> httpx.AsyncBaseTransport:
        made.append(httpx.MockTransport(lambda _: httpx.Response(200)))
        return made[-1]

    async with opened(tmp_path, new_transport=new_transport, traffic=traffic) as session:
        for number in (1, 2):
            async with session.new_client():
                assert len(made) == number
        assert session.context.traffic is traffic
    async with opened(tmp_path) as session, session.new_client():
        pass  # floradl's own transport

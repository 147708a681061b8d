"""Large outputs over real sockets to a real disk: received into blocks, and written past the cache."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

import pytest

from floradl.archiver.options import ArchiveOptions
from floradl.buffers import BLOCK_BYTES, Blocks, is_block
from floradl.clock import Clock
from floradl.download.commit import WantedOutput
from floradl.download.context import Context, new_context
from floradl.download.transfer import fetch_output
from floradl.errors import DestinationError
from floradl.network.bandwidth import Bandwidth
from floradl.network.client import MediaClient
from floradl.network.retry import Backoff
from floradl.network.transport import media_transports
from floradl.repository.results import Failure, Receipt
from floradl.storage.destination import Destination
from floradl.storage.local.direct_io import Direct

pytestmark = pytest.mark.anyio

FOLDER = PurePosixPath("ws_a/prj_b/run_c")
BODY = b"\x1a\x45\xdf\xa3" + random.Random(1).randbytes(9 * BLOCK_BYTES + 70_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Each of the event loops that floradl runs on."""
    return "asyncio", {"use_uvloop": request.param}


class Host:
    """A media host with ranges; it breaks off its answers after so many bytes, one after another, then none.

    Attributes:
        starts: from where on it was asked, request by request.
        is_silent: whether it does nothing where it should break off.
        sent: set where it does.
    """

    def __init__(self, *breaks: int) -> None:
        self._breaks = list(breaks)
        self.starts: list[int] = []
        self.is_silent = False
        self.sent = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        self.tasks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(await reader.readuntil(b"\r\n\r\n"), writer):
                    pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow."""
        asked = re.search(rb"(?i)range: bytes=(\d+)-", head)
        start = int(asked[1]) if asked else 0
        self.starts.append(start)
        end = start + self._breaks.pop(0) if self._breaks else len(BODY)
        writer.write(self._head(start, is_range=asked is not None) + BODY[start:end])
        await writer.drain()
        if end == len(BODY):
            return True
        await asyncio.sleep(0.2)  # else what was sent is lost with the connection
        self.sent.set()
        if self.is_silent:
            await asyncio.sleep(60)
        return False

    def _head(self, start: int, *, is_range: bool) -> bytes:
        status = b"206 Partial Content" if is_range else b"200 OK"
        place = b"Content-Range: bytes %d-%d/%d\r\n" % (start, len(BODY) - 1, len(BODY)) if is_range else b""
        return b'HTTP/1.1 %b\r\nETag: "one"\r\nContent-Length: %d\r\n%b\r\n' % (
            status,
            len(BODY) - start,
            place,
        )


class Noted(Direct):
    """Counts what may go past the cache, whether the disk of these tests can or not.

    Attributes:
        direct_bytes: so many bytes.
        fails_at: from where on there is no room; None: there is.
    """

    def __init__(self) -> None:
        super().__init__(is_on=True)
        self.direct_bytes = 0
        self.fails_at: int | None = None

    def write(self, descriptor: int, chunk: bytes | memoryview, at: int) -> int:
        """As it does."""
        if self.fails_at is not None and at >= self.fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(descriptor, chunk, at)
        self.direct_bytes += len(chunk) if is_block(chunk) and not at % BLOCK_BYTES else 0
        return written


class Counted(Blocks):
    """Knows which blocks there are.

    Attributes:
        known: all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: set[object] = set()  # kept, or another would look like one of them

    def take(self) -> memoryview:
        """As it does."""
        block = super().take()
        self.known.add(block.obj)
        return block


class Bench:
    """A host, an archive, and everything between."""

    def __init__(self, host: Host, port: int, context: Context, client: MediaClient) -> None:
        self.host = host
        self.context = context
        self.blocks = cast("Counted", context.blocks)
        self.direct = cast("Noted", context.disk.direct)
        self._port = port
        self._client = client

    async def fetch(self, key: str = "output_1", *, has_partial: bool = False) -> Receipt | Failure:
        """One output."""
        url = f"http://127.0.0.1:{self._port}/{key}.webm"
        wanted = WantedOutput("run_c", key, "videoUrl", url, FOLDER, None, has_partial)

        async def no_other(_run_id: str, _key: str) -> None:
            return None

        return await fetch_output(wanted, self._client, self.context, no_other)

    def is_whole(self, receipt: Receipt | Failure) -> bool:
        """Whether a file is on disk as the host has it."""
        assert isinstance(receipt, Receipt)
        there = (self.context.disk.root / FOLDER / receipt.file).read_bytes()
        return (receipt.size_bytes, receipt.sha256) == (len(BODY), SHA256) and there == BODY


@asynccontextmanager
async def served(folder: Path, *breaks: int, limit_rate_bytes: int = 0) -> AsyncIterator[Bench]:
    """A host that breaks off so."""
    host = Host(*breaks)
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    disk = Destination(folder / "out")
    disk.direct = Noted()
    disk.prepare()
    options = ArchiveOptions(disk.root, base_url=f"http://127.0.0.1:{port}/api/v1", retries=3)
    context = new_context(options, disk, Clock(), Backoff(base_s=0.001))
    context = replace(context, blocks=Counted(), bandwidth=Bandwidth(Clock(), limit_rate_bytes))
    transport = media_transports(allow_loopback=True, timeout_s=5)()
    try:
        async with MediaClient(transport, timeout_s=5) as client:
            yield Bench(host, port, context, client)
    finally:
        disk.close()
        server.close()
        for task in host.tasks:
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)


async def test_some_at_the_same_time(tmp_path: Path) -> None:
    """Each is whole; all but their ends went past the cache, in blocks that were used again and again."""
    async with served(tmp_path) as bench:
        receipts = await asyncio.gather(*[bench.fetch(f"output_{number}") for number in range(6)])
        assert all(bench.is_whole(receipt) for receipt in receipts)
        assert bench.direct.direct_bytes > 6 * 7 * BLOCK_BYTES
        assert len(bench.blocks.known) < 6 * 5


@pytest.mark.parametrize("breaks", [[BLOCK_BYTES], [3 * BLOCK_BYTES + 5000, 5000, 2 * BLOCK_BYTES]])
async def test_broken_off(tmp_path: Path, breaks: list[int]) -> None:
    """Not a byte that came is asked for again, wherever in a block it broke off; and the file is whole."""
    async with served(tmp_path, *breaks) as bench:
        assert bench.is_whole(await bench.fetch())
        assert bench.host.starts == [sum(breaks[:number]) for number in range(len(breaks) + 1)]


async def test_cancelled(tmp_path: Path) -> None:
    """What came of a block is kept as well, and the next process goes on from there."""
    came = 2 * BLOCK_BYTES + 5000
    async with served(tmp_path, came) as bench:
        bench.host.is_silent = True
        fetching = asyncio.ensure_future(bench.fetch())
        await bench.host.sent.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert bench.is_whole(await bench.fetch(has_partial=True))
        assert bench.host.starts == [0, came]


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """It is said so; what is there is gone on from when there is room again."""
    async with served(tmp_path) as bench:
        bench.direct.fails_at = 4 * BLOCK_BYTES
        with pytest.raises(DestinationError, match="No space left"):
            await bench.fetch()
        bench.direct.fails_at = None
        assert bench.is_whole(await bench.fetch(has_partial=True))
        assert bench.host.starts == [0, 4 * BLOCK_BYTES]


async def test_rationed(tmp_path: Path) -> None:
    """What is counted as it comes is not received in blocks."""
    async with served(tmp_path, limit_rate_bytes=40_000_000) as bench:
        assert bench.is_whole(await bench.fetch())
        assert (bench.blocks.known, bench.direct.direct_bytes) == (set(), 0)

"""The processes that write small files: real ones, on real files, but where they are to misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from floradl.constants import SECRET_VARIABLES
from floradl.errors import DestinationError
from floradl.repository.results import Receipt
from floradl.storage import base
from floradl.storage.base import NewFile, Written
from floradl.storage.destination import Destination
from floradl.storage.local import shared_memory, writer_pool
from floradl.storage.local.shared_memory import SLOT_BYTES
from floradl.storage.local.writer_pool import WriterPool
from floradl.storage.local.writer_process import MAX_FILES, MAX_ORDERS, WRITERS, Order, Outcome, WrittenFile
from tests.download.test_transfer import FOLDER, HALF, PNG, Bench, Host, Reply, bench, etag

__all__ = ["bench"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory as Linux has it"),
]

FILE = PurePosixPath("ws_a/prj_b/run_c/output_1.png")
DATA = bytes(range(256)) * 700
PIECES = [DATA[:100_000], DATA[100_000:]]
READY_S = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """An archive's folder."""
    disk = Destination(tmp_path / "out", threads=2)
    disk.prepare()
    yield disk
    disk.close()


@pytest.fixture
async def ready(disk: Destination) -> AsyncIterator[WriterPool]:
    """A pool whose writers are ready."""
    async with WriterPool(disk, start_after=1) as one:
        await written(one, FILE.with_name("first.png"), [b"by a thread"])
        await until(lambda: is_ready(one))
        assert one.written == 0
        (disk.root / FILE.with_name("first.png")).unlink()
        yield one


def is_ready(one: WriterPool) -> bool:
    """Whether its writers take orders."""
    return one._is_ready


async def written(
    one: WriterPool, path: PurePosixPath, chunks: list[bytes], mtime_ms: int | None = None
) -> Written:
    """One file, written."""
    (done,) = await one.write(path.parent, [NewFile(path.name, chunks)], mtime_ms)
    return done


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def process_of(one: WriterPool) -> subprocess.Popen[bytes]:
    """The process that began the writers."""
    assert one._process is not None
    return one._process


def writers_of(one: WriterPool) -> list[int]:
    """The writers: the children of that process."""
    pid = process_of(one).pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


def signal_all(one: WriterPool, number: int) -> None:
    """Send a signal to all of them."""
    os.killpg(process_of(one).pid, number)


def names_in(folder: Path) -> list[str]:
    """What stands in a folder."""
    return sorted(path.name for path in folder.iterdir())


def environment_of(pid: int) -> bytes:
    """A process's environment, as the system tells it."""
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_file_is_written_whole_and_dated(ready: WriterPool, disk: Destination) -> None:
    """What a thread would have done, and nothing else is left."""
    done = await written(ready, FILE, PIECES, 1_700_000_000_000)
    assert (done.digest.size_bytes, done.in_the_way) == (len(DATA), None)
    assert done.digest.sha256 == hashlib.sha256(DATA).hexdigest()
    path = disk.root / FILE
    assert path.read_bytes() == DATA
    assert path.stat().st_mtime == 1_700_000_000
    assert not [path for path in (disk.root / base.TEMPORARY).rglob("*") if path.is_file()]
    assert ready.written == 1


async def test_files_of_a_folder_are_one_order(ready: WriterPool, disk: Destination) -> None:
    """Each has its own bytes; a record takes the place of an older one, and of nothing else is any lost."""
    disk.write_files(FILE.parent, [NewFile("run.json", [b"old"]), NewFile("text.txt", [b"mine"])], None)
    files = [
        NewFile("run.json", [b"new", b"er"], replaces=True),
        NewFile("empty.txt", []),
        NewFile("text.txt", [b"text"]),
    ]
    done = await ready.write(FILE.parent, files, None)
    assert ready.written == 3
    assert [one.digest.sha256 for one in done] == [
        hashlib.sha256(data).hexdigest() for data in (b"newer", b"", b"text")
    ]
    assert [(disk.root / FILE.parent / file.name).read_bytes() for file in files] == [b"newer", b"", b"text"]
    assert [one.in_the_way is None for one in done] == [True, True, False]
    assert done[2].in_the_way is not None
    assert disk.read(done[2].in_the_way) == b"mine"


async def test_what_was_received_into_their_memory_is_not_copied(
    ready: WriterPool, disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written from where it is, and the memory is free again only when whoever has it says so."""
    monkeypatch.setattr(writer_pool, "_copy_into", None)
    with ready.lend() as loan:
        chunk = loan.take(len(DATA))
        chunk[:] = DATA
        (done,) = await ready.write(FILE.parent, [NewFile(FILE.name, [chunk])], None, loan)
        assert done.digest.sha256 == hashlib.sha256(DATA).hexdigest()
        assert (disk.root / FILE).read_bytes() == DATA
        with ready.lend() as other:
            other.take(len(DATA))[:] = bytes(len(DATA))
        assert bytes(chunk) == DATA
    assert ready.written == 1


async def test_what_was_lent_and_not_used(ready: WriterPool, disk: Destination) -> None:
    """The bytes that are given are those that are written, wherever they are."""
    with ready.lend() as loan:
        loan.take(len(DATA))[:] = bytes(len(DATA))
        await ready.write(FILE.parent, [NewFile(FILE.name, PIECES)], None, loan)
    assert (disk.root / FILE).read_bytes() == DATA
    assert ready.written == 1


async def test_what_was_lent_by_writers_that_are_gone(ready: WriterPool, disk: Destination) -> None:
    """The bytes are still there, for a thread."""
    with ready.lend() as loan:
        chunk = loan.take(len(DATA))
        chunk[:] = DATA
        signal_all(ready, signal.SIGKILL)
        await until(lambda: not is_ready(ready))
        await ready.write(FILE.parent, [NewFile(FILE.name, [chunk])], None, loan)
    assert (disk.root / FILE).read_bytes() == DATA
    assert ready.written == 0


async def test_files_of_a_folder_are_ordered_together(
    ready: WriterPool, disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come at the same time, so many at most; each of another folder goes by itself."""
    sent: list[int] = []
    send = ready._send

    def noted(folder: str, orders: list[Order]) -> None:
        if ready._unsent.get(folder) is orders:
            sent.append(len(orders))
        send(folder, orders)

    monkeypatch.setattr(ready, "_send", noted)
    paths = [FILE.with_name(f"{number}.png") for number in range(MAX_ORDERS + 1)]
    paths.append(FILE.parent.with_name("run_d") / "0.png")
    await asyncio.gather(*(written(ready, path, PIECES) for path in paths))
    assert sorted(sent) == [1, 1, MAX_ORDERS]
    assert all((disk.root / path).read_bytes() == DATA for path in paths)


async def test_many_at_once_do_not_mix(ready: WriterPool, disk: Destination) -> None:
    """Each file has its own bytes, however often a place in the memory is used again."""

    async def one(number: int) -> bool:
        data = number.to_bytes(4, "big") * (1000 + number)
        path = FILE.with_name(f"output_{number}.png")
        await written(ready, path, [data])
        return (disk.root / path).read_bytes() == data

    assert all(await asyncio.gather(*map(one, range(300))))
    assert ready.written >= 1


async def test_what_stands_in_the_way_is_kept(ready: WriterPool, disk: Destination) -> None:
    """Somebody's file at the place is set aside."""
    disk.write_atomic(FILE, [b"somebody's"])
    done = await written(ready, FILE, PIECES)
    assert done.in_the_way is not None
    assert (disk.root / done.in_the_way).read_bytes() == b"somebody's"
    assert (disk.root / FILE).read_bytes() == DATA


async def test_the_disk_that_fails_is_told_of(ready: WriterPool, disk: Destination, tmp_path: Path) -> None:
    """The error is the one that a thread would have raised, and nothing is written through a link."""
    (disk.root / "ws_link").symlink_to(tmp_path)
    with pytest.raises(DestinationError, match="symbolic link"):
        await written(ready, "ws_link" / FILE, PIECES)
    assert names_in(tmp_path) == ["out"]


async def test_nothing_counts_after_an_error_in_the_same_folder(ready: WriterPool) -> None:
    """Where one writer was told that a folder could not be written, no other is believed about it."""
    with pytest.raises(DestinationError, match="too long"):
        await written(ready, FILE.with_name("x" * 300), PIECES)
    with pytest.raises(DestinationError, match="too long"):
        await written(ready, FILE, PIECES)
    await written(ready, FILE.parent.with_name("run_d") / "one.png", PIECES)


async def test_a_folder_that_is_known_is_not_made_again(ready: WriterPool, disk: Destination) -> None:
    """Neither by the writers where this process knows it, nor by this process where a writer made it."""
    disk.known_folders.add(FILE.parent.with_name("run_gone"))
    with pytest.raises(DestinationError, match="No such file"):
        await written(ready, FILE.parent.with_name("run_gone") / "one.png", PIECES)
    other = FILE.parent.with_name("run_d")
    await written(ready, other / "one.png", PIECES)
    assert other in disk.known_folders


@pytest.mark.parametrize("files", [1, MAX_FILES + 1])
async def test_what_does_not_fit_is_written_by_a_thread(
    ready: WriterPool, disk: Destination, files: int
) -> None:
    """A large file, or very many."""
    data = bytes(SLOT_BYTES + 1 if files == 1 else 1)
    done = await ready.write(FILE.parent, [NewFile(f"{n}.png", [data]) for n in range(files)], None)
    assert {one.digest.sha256 for one in done} == {hashlib.sha256(data).hexdigest()}
    assert (len(disk.listing(FILE.parent)), ready.written) == (files, 0)


async def test_no_more_at_once_than_there_is_room_for(ready: WriterPool, disk: Destination) -> None:
    """Of whoever comes when all places are taken, a thread writes the file."""
    signal_all(ready, signal.SIGSTOP)
    writes = [
        asyncio.ensure_future(written(ready, FILE.with_name(f"{number}.png"), PIECES))
        for number in range(shared_memory._SLOTS)
    ]
    await asyncio.sleep(0)
    await written(ready, FILE, PIECES)
    assert ready.written == 0
    signal_all(ready, signal.SIGCONT)
    await asyncio.gather(*writes)
    assert ready.written == shared_memory._SLOTS
    assert len(disk.listing(FILE.parent)) == shared_memory._SLOTS + 1


@pytest.mark.parametrize("which", ["the first", "a writer", "all"])
async def test_killed_they_leave_the_file_to_a_thread(
    ready: WriterPool, disk: Destination, which: str
) -> None:
    """In the middle of an order, as when memory runs out; the others do not go on without the one."""
    process, writers = process_of(ready), writers_of(ready)
    assert len(writers) == WRITERS
    signal_all(ready, signal.SIGSTOP)
    writing = asyncio.ensure_future(written(ready, FILE, PIECES))
    await until(lambda: bool(ready._waiting) and not ready._unsent)
    if which == "all":
        signal_all(ready, signal.SIGKILL)
    else:
        os.kill(process.pid if which == "the first" else writers[0], signal.SIGKILL)
    if which == "a writer":
        signal_all(ready, signal.SIGCONT)
    assert (await writing).digest.sha256 == hashlib.sha256(DATA).hexdigest()
    assert (disk.root / FILE).read_bytes() == DATA
    await until(lambda: not is_ready(ready))
    assert process.returncode is not None
    wait_for_end(writers)


@pytest.mark.parametrize("error", [AttributeError, OSError])
async def test_where_the_end_of_a_process_cannot_be_seen(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """They write all the same; that they are gone is told by the socket."""

    def missing(_pid: int) -> int:
        raise error

    monkeypatch.setattr(os, "pidfd_open", missing)
    async with WriterPool(disk, start_after=1) as one:
        await written(one, FILE.with_name("first.png"), PIECES)
        await until(lambda: is_ready(one))
        await written(one, FILE, PIECES)
        assert one.written == 1
        signal_all(one, signal.SIGKILL)
        await until(lambda: not is_ready(one))


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False


async def test_killed_while_they_have_nothing_to_do(ready: WriterPool) -> None:
    """Nothing is ordered any more."""
    signal_all(ready, signal.SIGKILL)
    await until(lambda: not is_ready(ready))


async def test_gone_before_the_order(ready: WriterPool) -> None:
    """The order cannot even be sent."""
    writers = writers_of(ready)
    signal_all(ready, signal.SIGKILL)
    process_of(ready).wait()
    wait_for_end(writers)  # and the event loop has not noticed yet
    paths = [FILE.with_name(f"{number}.png") for number in range(MAX_ORDERS)]
    await asyncio.gather(*(written(ready, path, PIECES) for path in paths))
    assert ready.written == 0
    assert not is_ready(ready)


def wait_for_end(pids: list[int]) -> None:
    """Wait until none of these processes is there."""
    ends = time.monotonic() + READY_S
    while any(map(is_alive, pids)):
        assert time.monotonic() < ends
        time.sleep(0.01)


async def test_a_stop_waits_until_the_file_is_there(ready: WriterPool, disk: Destination) -> None:
    """A cancelled caller must not meet a file that comes afterwards."""
    signal_all(ready, signal.SIGSTOP)
    writing = asyncio.ensure_future(written(ready, FILE, PIECES))
    await until(lambda: bool(ready._waiting) and not ready._unsent)
    writing.cancel()
    await asyncio.sleep(0.05)
    assert not writing.done()
    signal_all(ready, signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (disk.root / FILE).read_bytes() == DATA


async def test_signals_of_the_whole_job_do_not_end_them(ready: WriterPool) -> None:
    """The first process decides when they end."""
    signal_all(ready, signal.SIGINT)
    signal_all(ready, signal.SIGTERM)
    await written(ready, FILE, PIECES)
    assert ready.written == 1
    pid = process_of(ready).pid
    assert {os.getsid(writer) for writer in writers_of(ready)} == {pid}  # the terminal's do not reach them


async def test_they_end_with_the_context(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left, and none had the key."""
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, "sk_test")
    async with WriterPool(disk, start_after=1) as one:
        await written(one, FILE, PIECES)
        await until(lambda: is_ready(one))
        process, writers = process_of(one), writers_of(one)
        environments = [environment_of(pid) for pid in (process.pid, *writers)]
    assert process.returncode is not None
    wait_for_end(writers)
    assert not [name for name in SECRET_VARIABLES for one in environments if name.encode() in one]


async def test_it_ends_before_they_are_ready(disk: Destination) -> None:
    """Nobody waits for what has not even begun."""
    async with WriterPool(disk, start_after=1) as one:
        await written(one, FILE, PIECES)
        process = process_of(one)
    assert process.returncode == -signal.SIGKILL


async def test_few_files_begin_no_process(disk: Destination) -> None:
    """It would cost more than it brings."""
    async with WriterPool(disk, start_after=3) as one:
        await written(one, FILE, PIECES)
        await written(one, FILE, PIECES)
        assert one._process is None


async def test_outside_of_the_context_threads_write(disk: Destination) -> None:
    """Nobody would end the processes."""
    one = WriterPool(disk, start_after=1)
    assert (await written(one, FILE, PIECES)).digest.size_bytes == len(DATA)
    assert one._process is None


async def test_where_no_process_can_be_had_threads_write(
    disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter cannot be found."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with WriterPool(disk, start_after=1) as one:
        for _ in range(5):
            await written(one, FILE, PIECES)
        assert not is_ready(one)


async def test_where_the_system_has_no_such_memory(
    disk: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All systems but Linux."""
    monkeypatch.delattr(os, "memfd_create")
    async with WriterPool(disk, start_after=1) as one:
        for _ in range(5):
            await written(one, FILE, PIECES)
        assert one._process is None


async def test_a_process_that_cannot_begin(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and ends before it says a word."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with WriterPool(disk, start_after=1) as one:
        await written(one, FILE, PIECES)
        await until(lambda: one._process is None)
        await written(one, FILE, PIECES)
        assert not is_ready(one)


@pytest.mark.parametrize("words", [b"\xc1", msgspec.msgpack.encode([Outcome(3, [WrittenFile("ab", None)])])])
async def test_words_that_are_not_understood(ready: WriterPool, words: bytes) -> None:
    """Whoever says them is asked for nothing more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(words)
        ready._read(ours)
    assert not is_ready(ready)


async def test_an_output_comes_by_them(ready: WriterPool, bench: Bench) -> None:
    """A receipt as any other, for a file that no thread of this process wrote."""
    bench = bench.with_context(writer_pool=ready)
    receipt = await bench.fetch(Host([Reply(200, PNG, etag())], bench.time))
    assert isinstance(receipt, Receipt)
    assert (receipt.size_bytes, receipt.sha256) == (len(PNG), hashlib.sha256(PNG).hexdigest())
    assert (bench.files, bench.leftovers) == ({"output_1.png": PNG}, [])
    assert ready.written == 1


async def test_an_output_after_they_were_killed(ready: WriterPool, bench: Bench) -> None:
    """It is archived all the same, by a thread."""
    bench = bench.with_context(writer_pool=ready)
    signal_all(ready, signal.SIGKILL)
    process_of(ready).wait()
    assert isinstance(await bench.fetch(Host([Reply(200, PNG, etag())], bench.time)), Receipt)
    assert (bench.files, bench.leftovers) == ({"output_1.png": PNG}, [])
    assert isinstance(await bench.fetch(Host([Reply(200, PNG, etag())], bench.time)), Receipt)


async def test_a_cut_picture_is_not_ordered(ready: WriterPool, bench: Bench) -> None:
    """What a format says of its end is looked at before."""
    bench = bench.with_context(writer_pool=ready, retries=0)
    host = Host([Reply(200, PNG[:HALF], {})] * 2, bench.time)
    assert (await bench.fetch_once(host, bench.wanted())).code == "no_end"
    assert (bench.files, ready.written) == ({}, 0)


async def test_what_takes_the_place_of_another_file_is_not_for_them(ready: WriterPool, bench: Bench) -> None:
    """The damaged one is set aside in the same step as ever."""
    bench = bench.with_context(writer_pool=ready)
    bench.disk.write_atomic(FOLDER / "output_1.png", [b"damaged"])
    wanted = replace(bench.wanted(), replaces="output_1.png")
    receipt = await bench.fetch(Host([Reply(200, PNG, etag())], bench.time), wanted)
    assert isinstance(receipt, Receipt)
    assert receipt.aside is not None
    assert ready.written == 0


def test_the_end_is_waited_for_whatever_was_said_last() -> None:
    """Of processes that have ended by themselves, too."""
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(b"something")
    theirs.close()
    writer_pool._kill(process, ours)
    ours.close()

"""The second process that writes small files: a real one, on real files, but where it is to misbehave."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from floradl import layout, scribe
from floradl.errors import DestinationError
from floradl.files import Disk
from floradl.keys import SECRET_VARIABLES
from floradl.model import Receipt
from floradl.scribe import SLOT_BYTES, Outcome, Scribe, Written, serve
from tests.test_transfer import FOLDER, HALF, PNG, Bench, Host, Reply, bench, etag

__all__ = ["bench"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory as Linux has it"),
]

FILE = PurePosixPath("ws_a/prj_b/run_c/output_1.png")
DATA = bytes(range(256)) * 700
PIECES = [DATA[:100_000], DATA[100_000:]]
READY_S = 30.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An archive's folder."""
    disk = Disk(tmp_path / "out", threads=2)
    disk.prepare()
    yield disk
    disk.close()


@pytest.fixture
async def ready(disk: Disk) -> AsyncIterator[Scribe]:
    """A scribe whose process is ready."""
    async with Scribe(disk, start_after=1) as one:
        assert not one.takes(1)
        await until(lambda: one.takes(1))
        yield one


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def process_of(one: Scribe) -> subprocess.Popen[bytes]:
    """Its process."""
    assert one._process is not None
    return one._process


def names_in(folder: Path) -> list[str]:
    """What stands in a folder."""
    return sorted(path.name for path in folder.iterdir())


def environment_of(process: subprocess.Popen[bytes]) -> bytes:
    """A process's environment, as the system tells it."""
    return Path(f"/proc/{process.pid}/environ").read_bytes()


async def test_a_file_is_written_whole_and_dated(ready: Scribe, disk: Disk) -> None:
    """What a thread would have done, and nothing else is left."""
    written = await ready.write(FILE, PIECES, 1_700_000_000_000)
    assert written is not None
    assert (written.digest.size_bytes, written.in_the_way) == (len(DATA), None)
    assert written.digest.sha256 == hashlib.sha256(DATA).hexdigest()
    path = disk.root / FILE
    assert path.read_bytes() == DATA
    assert path.stat().st_mtime == 1_700_000_000
    assert not [path for path in (disk.root / layout.TEMPORARY).rglob("*") if path.is_file()]


async def test_many_at_once_do_not_mix(ready: Scribe, disk: Disk) -> None:
    """Each file has its own bytes, however often a place in the memory is used again."""

    async def one(number: int) -> bool:
        data = number.to_bytes(4, "big") * (1000 + number)
        path = FILE.with_name(f"output_{number}.png")
        await until(lambda: ready.takes(len(data)))
        assert await ready.write(path, [data], None) is not None
        return (disk.root / path).read_bytes() == data

    assert all(await asyncio.gather(*map(one, range(300))))


async def test_what_stands_in_the_way_is_kept(ready: Scribe, disk: Disk) -> None:
    """Somebody's file at the place is set aside."""
    disk.write_atomic(FILE, [b"somebody's"])
    written = await ready.write(FILE, PIECES, None)
    assert written is not None
    assert written.in_the_way is not None
    assert (disk.root / written.in_the_way).read_bytes() == b"somebody's"
    assert (disk.root / FILE).read_bytes() == DATA


async def test_the_disk_that_fails_is_told_of(ready: Scribe, disk: Disk, tmp_path: Path) -> None:
    """The error is the one that a thread would have raised, and nothing is written through a link."""
    (disk.root / FILE.parts[0]).symlink_to(tmp_path)
    with pytest.raises(DestinationError, match="symbolic link"):
        await ready.write(FILE, PIECES, None)
    assert names_in(tmp_path) == ["out"]


async def test_large_files_are_not_for_it(ready: Scribe) -> None:
    """What does not fit into its memory is for the caller."""
    assert ready.takes(SLOT_BYTES)
    assert not ready.takes(SLOT_BYTES + 1)


async def test_no_more_at_once_than_there_is_room_for(ready: Scribe, disk: Disk) -> None:
    """Who comes when all places are taken writes his file himself."""
    writes = [
        asyncio.ensure_future(ready.write(FILE.with_name(f"{number}.png"), PIECES, None))
        for number in range(scribe._SLOTS)
    ]
    await asyncio.sleep(0)
    assert not ready.takes(1)
    assert all(isinstance(one, Written) for one in await asyncio.gather(*writes))
    assert ready.takes(1)
    assert len(disk.listing(FILE.parent)) == scribe._SLOTS


async def test_killed_it_leaves_the_file_to_the_caller(ready: Scribe) -> None:
    """In the middle of an order, as when memory runs out."""
    process = process_of(ready)
    process.send_signal(signal.SIGSTOP)
    writing = asyncio.ensure_future(ready.write(FILE, PIECES, None))
    await asyncio.sleep(0)
    process.kill()
    assert await writing is None
    assert not ready.takes(1)
    assert process.returncode == -signal.SIGKILL


async def test_killed_while_it_has_nothing_to_do(ready: Scribe) -> None:
    """Nothing is ordered any more."""
    process_of(ready).kill()
    await until(lambda: not ready.takes(1))


async def test_gone_before_the_order(ready: Scribe) -> None:
    """The order cannot even be sent."""
    process = process_of(ready)
    process.kill()
    process.wait()
    assert await ready.write(FILE, PIECES, None) is None
    assert not ready.takes(1)


async def test_a_stop_waits_until_the_file_is_there(ready: Scribe, disk: Disk) -> None:
    """A cancelled caller must not meet a file that comes afterwards."""
    process_of(ready).send_signal(signal.SIGSTOP)
    writing = asyncio.ensure_future(ready.write(FILE, PIECES, None))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.sleep(0.05)
    assert not writing.done()
    process_of(ready).send_signal(signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (disk.root / FILE).read_bytes() == DATA


async def test_signals_of_the_whole_job_do_not_end_it(ready: Scribe) -> None:
    """The first process decides when it ends."""
    process = process_of(ready)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert await ready.write(FILE, PIECES, None) is not None
    assert os.getsid(process.pid) == process.pid  # the terminal's signals do not even reach it


async def test_it_ends_with_its_context(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left, and none had the key."""
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, "sk_test")
    async with Scribe(disk, start_after=1) as one:
        one.takes(1)
        await until(lambda: one.takes(1))
        process = process_of(one)
        environment = environment_of(process)
    assert process.returncode is not None
    assert not [name for name in SECRET_VARIABLES if name.encode() in environment]


async def test_few_files_begin_no_process(disk: Disk) -> None:
    """It would cost more than it brings."""
    async with Scribe(disk, start_after=3) as one:
        assert not one.takes(1)
        assert not one.takes(1)
        assert one._process is None


async def test_where_no_process_can_be_had_files_are_the_callers(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter cannot be found."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with Scribe(disk, start_after=1) as one:
        assert [one.takes(1) for _ in range(5)] == [False] * 5


async def test_where_the_system_has_no_such_memory(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All systems but Linux."""
    monkeypatch.delattr(os, "memfd_create")
    async with Scribe(disk, start_after=1) as one:
        assert [one.takes(1) for _ in range(5)] == [False] * 5


async def test_a_process_that_cannot_begin(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and ends before it says a word."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with Scribe(disk, start_after=1) as one:
        one.takes(1)
        await until(lambda: one._process is None)
        assert not one.takes(1)


@pytest.mark.parametrize("words", [b"\xc1", msgspec.msgpack.encode(Outcome(3, "ab"))])
async def test_words_that_are_not_understood(ready: Scribe, words: bytes) -> None:
    """Whoever says them is asked for nothing more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(words)
        ready._read(ours)
    assert not ready.takes(1)


async def test_an_output_comes_by_it(ready: Scribe, bench: Bench) -> None:
    """A receipt as any other, for a file that no thread of this process wrote."""
    bench = bench.with_tools(scribe=ready)
    receipt = await bench.fetch(Host([Reply(200, PNG, etag())], bench.time))
    assert isinstance(receipt, Receipt)
    assert (receipt.size_bytes, receipt.sha256) == (len(PNG), hashlib.sha256(PNG).hexdigest())
    assert (bench.files, bench.leftovers) == ({"output_1.png": PNG}, [])
    assert ready.written == 1


async def test_an_output_after_the_process_was_killed(ready: Scribe, bench: Bench) -> None:
    """It is archived all the same, by a thread."""
    bench = bench.with_tools(scribe=ready)
    process = process_of(ready)
    process.kill()
    process.wait()
    assert isinstance(await bench.fetch(Host([Reply(200, PNG, etag())], bench.time)), Receipt)
    assert (bench.files, bench.leftovers) == ({"output_1.png": PNG}, [])
    assert isinstance(await bench.fetch(Host([Reply(200, PNG, etag())], bench.time)), Receipt)


async def test_a_cut_picture_is_not_ordered(ready: Scribe, bench: Bench) -> None:
    """What a format says of its end is looked at before."""
    bench = bench.with_tools(scribe=ready, retries=0)
    host = Host([Reply(200, PNG[:HALF], {})] * 2, bench.time)
    assert (await bench.fetch_once(host, bench.wanted())).code == "no_end"
    assert (bench.files, ready.written) == ({}, 0)


async def test_what_takes_the_place_of_another_file_is_not_for_it(ready: Scribe, bench: Bench) -> None:
    """The damaged one is set aside in the same step as ever."""
    bench = bench.with_tools(scribe=ready)
    bench.disk.write_atomic(FOLDER / "output_1.png", [b"damaged"])
    wanted = replace(bench.wanted(), replaces="output_1.png")
    receipt = await bench.fetch(Host([Reply(200, PNG, etag())], bench.time), wanted)
    assert isinstance(receipt, Receipt)
    assert receipt.aside is not None
    assert ready.written == 0


class Served:
    """The second process's part, in a thread."""

    def __init__(self, disk: Disk) -> None:
        self.memory = mmap.mmap(-1, 2 * SLOT_BYTES)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = theirs
        self.thread = threading.Thread(target=serve, args=(theirs, memoryview(self.memory), disk))
        self.thread.start()
        assert self.answer() == Outcome(-1)

    def answer(self) -> Outcome:
        """The next thing it says."""
        return msgspec.msgpack.decode(self.channel.recv(1 << 16), type=Outcome)

    def order(self, path: PurePosixPath, data: bytes) -> None:
        """Order a file."""
        self.memory[SLOT_BYTES : SLOT_BYTES + len(data)] = data
        self.channel.send(msgspec.msgpack.encode(scribe.Order(1, len(data), str(path), None)))

    def end(self) -> None:
        """Hang up, and wait for the end."""
        self.channel.close()
        self.thread.join(READY_S)
        assert not self.thread.is_alive()
        self.theirs.close()


def test_serving(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the second process answers, to orders that go well and to those that do not."""
    served = Served(disk)
    served.order(FILE, DATA)
    assert served.answer() == Outcome(1, hashlib.sha256(DATA).hexdigest())
    disk.write_atomic(FILE, [b"other"])
    served.order(FILE, DATA)
    assert served.answer().in_the_way == ".floradl/aside/run_c+output_1.png"
    with monkeypatch.context() as patch:

        def fail(code: int, *more: str) -> Callable[..., None]:
            def write(*_: object, **__: object) -> None:
                raise OSError(code, os.strerror(code), *more)

            return write

        patch.setattr(disk, "write_atomic", fail(errno.ENOSPC))
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1, error=(errno.ENOSPC, "No space left on device", None))
        patch.setattr(disk, "write_atomic", fail(errno.EIO, "some/file"))
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1, error=(errno.EIO, "Input/output error", "some/file"))
        patch.setattr(disk, "write_atomic", None)
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1)
    served.end()


def test_nobody_listens_any_more(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process ended while a file was written."""
    served, began, goes_on = Served(disk), threading.Event(), threading.Event()
    write_atomic = disk.write_atomic

    def slow(*args: object, **named: object) -> object:
        began.set()
        assert goes_on.wait(READY_S)
        return write_atomic(*args, **named)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(disk, "write_atomic", slow)
    served.order(FILE, DATA)
    assert began.wait(READY_S)
    served.channel.close()
    goes_on.set()
    served.end()


def test_the_process_itself(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes its setup from the socket, leaves signals alone, and ends when nobody is there."""
    ignored: list[int] = []
    ends: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _: ignored.append(number))
    monkeypatch.setattr(os, "_exit", ends.append)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("test")
    os.ftruncate(memory, SLOT_BYTES)
    setup = scribe._Setup(str(disk.root), True, disk.device)
    monkeypatch.setattr(sys, "argv", ["", str(theirs.detach()), str(memory)])
    ours.send(msgspec.msgpack.encode(setup))
    running = threading.Thread(target=scribe.main)
    running.start()
    assert msgspec.msgpack.decode(ours.recv(1 << 16), type=Outcome) == Outcome(-1)
    os.pwrite(memory, DATA, 0)
    ours.send(msgspec.msgpack.encode(scribe.Order(0, len(DATA), str(FILE), None)))
    assert msgspec.msgpack.decode(ours.recv(1 << 16), type=Outcome).sha256
    ours.close()
    running.join(READY_S)
    os.close(memory)
    assert (sorted(ignored), ends) == ([signal.SIGINT, signal.SIGTERM], [0])
    assert (disk.root / FILE).read_bytes() == DATA


def test_another_disk_at_its_place_is_refused(disk: Disk) -> None:
    """What was mounted since the first process looked is not written to."""
    assert disk.device is not None
    other = Disk(disk.root, device=disk.device + 1)
    with pytest.raises(OSError, match="unmounted"):
        other.write_atomic(FILE, [DATA])
    other.close()

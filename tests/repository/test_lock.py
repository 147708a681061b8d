"""One writer per archive, between real processes, whatever becomes of them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from floradl.errors import DestinationError, Exit, LockedError
from floradl.repository import layout
from floradl.repository.lock import ArchiveLock, ReadLock
from floradl.storage.destination import Destination
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

HOLDER = """
import asyncio, sys
from pathlib import Path
from floradl.clock import Clock
from floradl.storage.destination import Destination
from floradl.repository.lock import ArchiveLock

async def main():
    disk = Destination(Path(sys.argv[1]))
    disk.prepare()
    async with ArchiveLock(disk, Clock(now=lambda: 1_795_500_000.0)):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    disk.close()

asyncio.run(main())
"""


@contextmanager
def other_process(dest: Path) -> Iterator[subprocess.Popen[str]]:
    """Another floradl that holds the lock of `dest` until it is told to end, or killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(dest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


@asynccontextmanager
async def lock(disk: Destination, time: FakeTime, *, timeout_s: float = 0.0) -> AsyncIterator[None]:
    """The lock, held by this process."""
    async with ArchiveLock(disk, time.clock, timeout_s=timeout_s):
        yield


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive."""
    disk = Destination(tmp_path / "out", fsync=False, threads=2)
    disk.prepare()
    yield disk
    disk.close()


@pytest.fixture
def time() -> FakeTime:
    """A clock that moves only when somebody sleeps."""
    return FakeTime()


async def test_holder_is_named(disk: Destination, time: FakeTime) -> None:
    """Whoever holds the lock leaves process, host and start for others to read."""
    async with lock(disk, time):
        held = json.loads((disk.root / layout.HOLDER).read_bytes())
    assert held == {"pid": os.getpid(), "host": socket.gethostname(), "started_at": "2026-11-24T06:00:00Z"}


async def test_lock_can_be_taken_again(disk: Destination, time: FakeTime) -> None:
    """A lock that was given back is free, also after an error."""
    with pytest.raises(ZeroDivisionError):
        async with lock(disk, time):
            raise ZeroDivisionError
    async with lock(disk, time):
        pass


@pytest.mark.parametrize("earlier", [False, True])
async def test_failure_of_giving_back(disk: Destination, time: FakeTime, earlier: bool) -> None:
    """A disk that fails at the very end is told of, but not before an earlier failure; the lock is free."""
    holder = disk.root / layout.HOLDER

    async def work() -> None:
        async with lock(disk, time):
            holder.unlink()
            holder.mkdir()  # which no removal of a file removes
            if earlier:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError if earlier else DestinationError):
        await work()
    holder.rmdir()
    with other_process(disk.root):
        pass


async def test_lock_is_free_for_other_processes(disk: Destination, time: FakeTime) -> None:
    """A lock that was given back is free for another process while this one goes on."""
    held = ArchiveLock(disk, time.clock)
    async with held:
        pass
    with other_process(disk.root):
        pass


async def test_second_holder_is_told_who_is_first(disk: Destination, time: FakeTime) -> None:
    """While another process works on the archive, this one gets an error that names it, with exit code 5."""
    with other_process(disk.root) as holder:
        with pytest.raises(LockedError) as caught:
            async with lock(disk, time):
                pytest.fail("two at once")
        named = f"(process {holder.pid} on {socket.gethostname()}, since 2026-11-24T06:00:00Z)"
        assert named in caught.value.message
        assert caught.value.exit_code == Exit.LOCKED
        assert "--lock-timeout" in caught.value.hint
        assert time.slept == []
        assert json.loads((disk.root / layout.HOLDER).read_bytes())["pid"] == holder.pid


@pytest.mark.parametrize(
    "holder_json", [b"", b"{", b'{"pid": "x"}', b'{"host": "\xff"}', b'{"more": ' + b"[" * 100_000, None]
)
async def test_holder_that_cannot_be_read(
    disk: Destination, time: FakeTime, holder_json: bytes | None
) -> None:
    """A holder's file that is torn or missing costs the names in the message and nothing else."""
    with other_process(disk.root):
        (disk.root / layout.HOLDER).unlink()
        if holder_json is not None:
            (disk.root / layout.HOLDER).write_bytes(holder_json)
        with pytest.raises(LockedError, match=r"another floradl is working on this archive$"):
            async with lock(disk, time):
                pytest.fail("two at once")


async def test_holder_that_writes_to_the_terminal(disk: Destination, time: FakeTime) -> None:
    """What stands in a holder's file reaches nobody's terminal but as text."""
    with other_process(disk.root):
        holder = {"pid": 1, "host": "a\x1b[2Jb", "started_at": "now\n"}
        (disk.root / layout.HOLDER).write_text(json.dumps(holder), encoding="utf-8")
        with pytest.raises(LockedError) as caught:
            async with lock(disk, time):
                pytest.fail("two at once")
    assert caught.value.message.endswith("(process 1 on a\ufffd[2Jb, since now\ufffd)")


async def test_killed_holder_blocks_nobody(disk: Destination, time: FakeTime) -> None:
    """The lock of a process that was killed is free at once."""
    with other_process(disk.root) as holder:
        holder.kill()
        holder.wait()
        async with lock(disk, time):
            assert json.loads((disk.root / layout.HOLDER).read_bytes())["pid"] == os.getpid()


async def test_ended_holder_blocks_nobody(disk: Destination, time: FakeTime) -> None:
    """The lock of a process that ended well is free too."""
    with other_process(disk.root) as holder:
        holder.communicate("\n", timeout=60)
        assert holder.returncode == 0
        async with lock(disk, time):
            pass


async def test_timeout_waits_for_the_other_to_end(disk: Destination, time: FakeTime) -> None:
    """With a timeout the lock is had as soon as the other process is gone."""
    with other_process(disk.root) as holder:

        async def sleep(seconds: float) -> None:
            time.slept.append(seconds)
            time.now_s += seconds
            if len(time.slept) == 3:
                holder.kill()
                holder.wait()

        waiting = replace(time.clock, sleep=sleep)
        begun = time.now_s
        async with ArchiveLock(disk, waiting, timeout_s=3600):
            assert len(time.slept) == 3
            assert time.now_s < begun + 60


@pytest.mark.parametrize("timeout_s", [0.2, 30, 30.3])
async def test_timeout_ends(disk: Destination, time: FakeTime, timeout_s: float) -> None:
    """A wait that is over is an error, neither early nor late."""
    begun = time.now_s
    with other_process(disk.root), pytest.raises(LockedError):
        async with lock(disk, time, timeout_s=timeout_s):
            pytest.fail("two at once")
    assert time.now_s - begun == pytest.approx(timeout_s)


async def test_stopped_while_waiting(disk: Destination, time: FakeTime) -> None:
    """Whoever is told to stop waits for the lock no longer, whatever the timeout."""
    stop = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await time.clock.sleep(seconds)
        stop.set()

    waiting = ArchiveLock(disk, replace(time.clock, sleep=sleep), timeout_s=3600, stop=stop)
    with other_process(disk.root), pytest.raises(LockedError):
        async with waiting:
            pytest.fail("two at once")
    assert len(time.slept) == 1


async def test_cancelled_while_waiting(disk: Destination, time: FakeTime) -> None:
    """Whoever waits for the lock can be interrupted at once, and does not hold it afterwards."""
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    waiting = ArchiveLock(disk, replace(time.clock, sleep=sleep), timeout_s=3600)
    with other_process(disk.root) as holder:
        task = asyncio.create_task(waiting.__aenter__())
        await asyncio.wait_for(asleep.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        holder.kill()
        holder.wait()
    async with lock(disk, time):
        pass


async def test_cancelled_while_taking_it(disk: Destination, time: FakeTime) -> None:
    """A lock that was taken for a caller who is gone is given back."""
    task = asyncio.create_task(ArchiveLock(disk, time.clock).__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with other_process(disk.root):
        pass


async def test_full_disk_gives_the_lock_back(
    disk: Destination, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the holder's file cannot be written, that is a disk error, and nobody is locked out."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_atomic", full)
        with pytest.raises(DestinationError, match="No space left") as caught:
            async with lock(disk, time):
                pytest.fail("a lock without a holder")
        assert not isinstance(caught.value, LockedError)
    with other_process(disk.root):
        pass


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
async def test_linked_lock_is_refused(disk: Destination, time: FakeTime, tmp_path: Path) -> None:
    """A link planted in the lock's place is a disk error, and what it leads to stays as it was."""
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    (disk.root / layout.LOCK).symlink_to(target)
    with pytest.raises(DestinationError):
        async with lock(disk, time):
            pytest.fail("a lock on another file")
    assert target.read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
async def test_file_system_without_locks(
    disk: Destination, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel has no locks, that is a disk error; a file that a killed one leaves is no lock."""

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", unknown)
    with pytest.raises(DestinationError) as caught:
        async with lock(disk, time):
            pytest.fail("a lock that nothing enforces")
    assert not isinstance(caught.value, LockedError)


async def test_lock_that_cannot_be_made(disk: Destination, time: FakeTime) -> None:
    """A lock file that cannot be opened is a disk error and not a lock held by somebody."""
    (disk.root / layout.LOCK).mkdir()
    with pytest.raises(DestinationError) as caught:
        async with lock(disk, time):
            pytest.fail("a lock on a folder")
    assert not isinstance(caught.value, LockedError)


@asynccontextmanager
async def reading(disk: Destination, time: FakeTime) -> AsyncIterator[None]:
    """The archive, read by this process."""
    async with ReadLock(disk, time.clock):
        yield


async def test_readers_share_and_keep_writers_out(disk: Destination, time: FakeTime) -> None:
    """Two may read at once, nobody changes the archive meanwhile, and no writer that ended is named."""
    async with lock(disk, time):
        pass
    async with reading(disk, time), reading(Destination(disk.root), time):
        with pytest.raises(LockedError, match=r"another floradl is working on this archive$"):
            async with lock(disk, time):
                pytest.fail("a writer among readers")
    async with lock(disk, time):
        pass


async def test_a_reader_is_told_of_the_writer(disk: Destination, time: FakeTime) -> None:
    """While another process changes the archive a reader gets an error that names it; afterwards it reads."""
    with other_process(disk.root) as writer, pytest.raises(LockedError, match=f"process {writer.pid} "):
        async with reading(disk, time):
            pytest.fail("a reader beside a writer")
    async with reading(disk, time):
        pass


async def test_where_nobody_was_at_work_a_reader_needs_no_lock(disk: Destination, time: FakeTime) -> None:
    """An archive that was copied without its lock file can be read, and nothing is written for that."""
    before = sorted(disk.root.rglob("*"))
    async with reading(disk, time):
        assert sorted(disk.root.rglob("*")) == before


async def test_a_killed_writer_is_not_named(disk: Destination, time: FakeTime) -> None:
    """A writer that was killed leaves its name; a reader that came later is not taken for it."""
    with other_process(disk.root) as writer:
        writer.kill()
    async with reading(disk, time):
        assert (disk.root / layout.HOLDER).exists()
        with pytest.raises(LockedError, match=r"another floradl is working on this archive$"):
            async with lock(disk, time):
                pytest.fail("a writer beside a reader")


@pytest.mark.parametrize("pid", [1, 2**70])
async def test_a_holder_that_cannot_be_asked(disk: Destination, time: FakeTime, pid: int) -> None:
    """Whether a process of another user is alive, or one with a number that none has, is taken on trust."""
    with other_process(disk.root):
        holder = {"pid": pid, "host": socket.gethostname(), "started_at": "then"}
        (disk.root / layout.HOLDER).write_text(json.dumps(holder))
        with pytest.raises(LockedError, match=f"process {pid} "):
            async with lock(disk, time):
                pytest.fail("two at once")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
async def test_a_lock_that_cannot_be_read(
    disk: Destination, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another error than that somebody has it ends the reading with a clear error."""
    async with lock(disk, time):
        pass

    def no_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(DestinationError, match="no locks available"):
        async with reading(disk, time):
            pytest.fail("read without a lock")


async def test_a_system_without_flock(
    disk: Destination, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There readers take no lock, and a holder counts as alive."""
    with other_process(disk.root):
        monkeypatch.setattr("floradl.storage.local.flock.HAS_SHARED_LOCKS", False)
        monkeypatch.setattr("floradl.repository.lock._CAN_ASK_FOR_PROCESSES", False)
        async with reading(disk, time):
            pass
        ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await ended.wait()
        holder = {"pid": ended.pid, "host": socket.gethostname(), "started_at": "then"}
        (disk.root / layout.HOLDER).write_text(json.dumps(holder))
        with pytest.raises(LockedError, match=f"process {ended.pid} "):
            async with lock(disk, time):
                pytest.fail("two at once")

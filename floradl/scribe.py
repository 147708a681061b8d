"""Small files, written by a second process.

A file of some hundred kilobytes is a dozen calls into the system, and after each of them its thread waits for
Python's lock; with thousands of files more time goes into that than into the files. A process of its own has
a lock of its own. The bytes cross in shared memory; what to do with them, and what came of it, over a
socket.

The second process does what a thread does here: it has a `Disk` on the same folder, and a file is reported
when it is durable under its final name. It knows nothing that this process does not: when it cannot be
started, is killed, or has no room for a file, `Scribe` says so, and the caller, which still has the bytes,
writes them itself. Where this process ends, the socket does, and the other ends at once; what it leaves then
is what a killed thread leaves.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from types import TracebackType
from typing import Self, cast

import msgspec

from floradl.durable import Digest, destination_error
from floradl.files import Disk
from floradl.keys import SECRET_VARIABLES
from floradl.stopping import to_its_end

SLOT_BYTES = 512 * 1024
"""The largest file that crosses."""

START_AFTER = 48
"""A process is begun when so many files came: for a few it would cost more than it brings."""

_SLOTS = 64
_PROGRAM = f"from {__name__} import main; main()"
_THREADS = 4  # with more they wait for each other again
_MESSAGE_BYTES = 64 * 1024

log = logging.getLogger(__name__)


class Order(msgspec.Struct, frozen=True):
    """A file to write: where its bytes are in the shared memory, its place in the archive, its date."""

    slot: int
    size_bytes: int
    path: str
    mtime_ms: int | None


class Outcome(msgspec.Struct, frozen=True):
    """What became of the order whose bytes are in `slot`; `slot` is -1 once, when the process is ready.

    `sha256` is "" where the file was not written: `error` is the `OSError` (number, text, file name) that
    stopped it, or None for whatever else.
    """

    slot: int
    sha256: str = ""
    in_the_way: str | None = None
    error: tuple[int, str, str | None] | None = None


class Written(msgspec.Struct, frozen=True):
    """A file that is durable under its name, and where something went that stood there."""

    digest: Digest
    in_the_way: PurePosixPath | None


class _Setup(msgspec.Struct, frozen=True):
    root: str
    fsync: bool
    device: int | None


class Scribe:
    """Has small files written; see the module. As a context it ends its process.

    Args:
        disk: the archive.
        start_after: how many files come before a process is begun.

    Attributes:
        written: how many files its process wrote.
    """

    def __init__(self, disk: Disk, *, start_after: int = START_AFTER) -> None:
        self._disk = disk
        self._left_to_start = start_after if hasattr(os, "memfd_create") and sys.executable else -1
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._free: list[int] = []
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self.written = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.written:
            log.info("a second process wrote %d small files", self.written)
        self._hang_up()

    def takes(self, size_bytes: int) -> bool:
        """Whether `write` can take a file of this size now. Who is told no writes it; that is counted."""
        if size_bytes > SLOT_BYTES:
            return False
        if not self._free:
            self._count()
            return False
        return True

    async def write(
        self, path: PurePosixPath, chunks: Sequence[bytes], mtime_ms: int | None
    ) -> Written | None:
        """Write a whole file that it `takes`, as `Disk.write_atomic` does; what is in its way is set aside.

        Args:
            path: its place.
            chunks: its bytes.
            mtime_ms: its date.

        Returns:
            None: it was not written, and is the caller's to write.

        Raises:
            DestinationError: the disk.
            asyncio.CancelledError: only after the work has ended.
        """
        size_bytes = sum(map(len, chunks))
        slot = self._free.pop()
        self._put(slot, chunks)
        order = Order(slot, size_bytes, str(path), mtime_ms)
        waiting = self._waiting[slot] = asyncio.get_running_loop().create_future()
        self._send(order)
        outcome = await to_its_end(waiting)
        if outcome.error is not None:
            raise destination_error(OSError(*outcome.error), self._disk.root)
        if not outcome.sha256:
            return None
        self.written += 1
        aside = None if outcome.in_the_way is None else PurePosixPath(outcome.in_the_way)
        return Written(Digest(size_bytes, outcome.sha256, b""), aside)

    def _count(self) -> None:
        """One more file that was not for the process; begins it, once."""
        if self._left_to_start > 0:
            self._left_to_start -= 1
            if not self._left_to_start:
                try:
                    self._start()
                except OSError as exc:
                    log.info("no second process for small files: %s", exc.strerror)
                    self._hang_up()

    def _start(self) -> None:
        """Begin the process. Nothing is sent before it says that it is ready."""
        memory = os.memfd_create("floradl")
        try:
            os.ftruncate(memory, _SLOTS * SLOT_BYTES)
            self._memory = mmap.mmap(memory, _SLOTS * SLOT_BYTES)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket = ours
            with theirs:
                command = [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), str(memory)]
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, and numbers
                    command,
                    pass_fds=(theirs.fileno(), memory),
                    env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for this process; the other ends with it
                )
        finally:
            os.close(memory)
        disk = self._disk
        setup = _Setup(str(disk.root.absolute()), disk.flusher.is_on, disk.device)
        ours.setblocking(False)
        ours.send(msgspec.msgpack.encode(setup))
        asyncio.get_running_loop().add_reader(ours, self._read, ours)

    def _put(self, slot: int, chunks: Sequence[bytes]) -> None:
        at = slot * SLOT_BYTES
        with memoryview(cast("mmap.mmap", self._memory)) as memory:
            for chunk in chunks:
                memory[at : at + len(chunk)] = memoryview(chunk)
                at += len(chunk)

    def _send(self, order: Order) -> None:
        try:
            cast("socket.socket", self._socket).send(msgspec.msgpack.encode(order))
        except OSError:  # it is gone, and the socket tells so, too; or it is full, which would be odd
            self._hang_up()

    def _read(self, channel: socket.socket) -> None:
        """Take up what the process says, all of it."""
        try:
            while message := channel.recv(_MESSAGE_BYTES):
                self._heed(msgspec.msgpack.decode(message, type=Outcome))
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError, KeyError) as exc:  # KeyError: an order that nobody gave
            log.info("no more of the second process: %r", exc)
        self._hang_up()

    def _heed(self, outcome: Outcome) -> None:
        if outcome.slot < 0:
            self._free = list(range(_SLOTS))
            return
        waiting = self._waiting.pop(outcome.slot)
        self._free.append(outcome.slot)
        waiting.set_result(outcome)

    def _hang_up(self) -> None:
        """No more of the process: who still waits is told that nothing was written."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()  # before anybody else writes what it may be at
            self._process.wait()
            self._process = None
        self._memory, self._free = None, []
        waiting, self._waiting = self._waiting, {}
        for slot, future in waiting.items():
            future.set_result(Outcome(slot))


def serve(channel: socket.socket, memory: memoryview, disk: Disk) -> None:
    """Write what is ordered until the other side hangs up. Blocks.

    Args:
        channel: brings an `Order` each message, takes an `Outcome` each.
        memory: where the bytes are.
        disk: the archive.
    """
    orders: SimpleQueue[Order | None] = SimpleQueue()

    def work() -> None:
        while (order := orders.get()) is not None:
            outcome = _carried_out(order, memory, disk)
            try:
                channel.send(msgspec.msgpack.encode(outcome))
            except OSError:
                return  # nobody listens any more

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    channel.send(msgspec.msgpack.encode(Outcome(-1)))
    while message := channel.recv(_MESSAGE_BYTES):
        orders.put(msgspec.msgpack.decode(message, type=Order))
    for _ in threads:
        orders.put(None)


def _carried_out(order: Order, memory: memoryview, disk: Disk) -> Outcome:
    in_the_way: PurePosixPath | None = None
    path = PurePosixPath(order.path)

    def make_room(digest: Digest) -> None:
        nonlocal in_the_way
        in_the_way = disk.make_way(path, digest.sha256)

    at = order.slot * SLOT_BYTES
    part = memory[at : at + order.size_bytes]
    try:
        digest = disk.write_atomic(path, [part], mtime_ms=order.mtime_ms, make_room=make_room)
    except OSError as exc:
        name = None if exc.filename is None else str(exc.filename)
        return Outcome(order.slot, error=(exc.errno or 0, exc.strerror or type(exc).__name__, name))
    except Exception:  # noqa: BLE001 - whatever it is, the other process meets it too, and can tell of it
        return Outcome(order.slot)
    return Outcome(order.slot, digest.sha256, None if in_the_way is None else str(in_the_way))


def main() -> None:
    """The second process."""
    # The first one's end is the end; signals that are sent to all of a job are for the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        memory = memoryview(mmap.mmap(int(sys.argv[2]), 0))
        setup = msgspec.msgpack.decode(channel.recv(_MESSAGE_BYTES), type=_Setup)
        try:
            serve(channel, memory, Disk(Path(setup.root), fsync=setup.fsync, device=setup.device))
        finally:
            os._exit(0)  # in the middle of a file, too, as the first process ended

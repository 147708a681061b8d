"""Small files, written by processes of their own.

A file of some hundred kilobytes is a dozen calls into the system, and in a thread of this process each of
them takes Python's lock from the event loop; with thousands of files more time goes into that than into the
files. So a few processes, each with a lock of its own, do nothing else. The bytes cross in shared memory;
what to do with them, and what came of it, over one socket, from which whoever is idle takes the next order.

A writer does what a thread does here: it has a `Disk` on the same folder, and files are reported when they
are durable under their final names. It knows nothing that this process does not: when the writers cannot be
started, are killed, or have no room for a file, a thread of this process writes it; the bytes are still here.
Where this process ends, the socket does, and the writers end at once; what they leave then is what a killed
thread leaves.
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, cast

import msgspec

from floradl.durable import Digest, destination_error
from floradl.files import Disk, NewFile, Written
from floradl.keys import SECRET_VARIABLES
from floradl.stopping import to_its_end

SLOT_BYTES = 512 * 1024
"""The largest file that crosses."""

START_AFTER = 48
"""Writers are begun when so many orders came: for a few they would cost more than they bring."""

_SLOTS = 72
_MAX_FILES = 64  # in an order, which has to fit into a message
_PROGRAM = f"from {__name__} import main; main()"
_AT_ONCE = 4  # orders that a writer takes together, where so many wait: outputs of a run share a flush
_WRITERS = 4  # more than processors, since each waits for the disk most of the time
_MESSAGE_BYTES = 64 * 1024

log = logging.getLogger(__name__)


Error = tuple[int, str, str | None]
"""An `OSError`: number, text, file name."""


class Ordered(msgspec.Struct, frozen=True, array_like=True):
    """One file of an order; see `NewFile`. Its bytes stand behind those of the one before it."""

    name: str
    size_bytes: int
    replaces: bool


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Files of one folder to write: the slot of the shared memory where their bytes are, and their date.

    `is_known` says that the folder is there and durable.
    """

    slot: int
    folder: str
    is_known: bool
    files: list[Ordered]
    mtime_ms: int | None


class Done(msgspec.Struct, frozen=True, array_like=True):
    """A file that was written; see `Written`."""

    sha256: str
    in_the_way: str | None


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of the order whose bytes are in `slot`; `slot` is -1 once, when the writers are ready.

    `files` is empty where not all was written: `error` is what stopped it, None for whatever is no `OSError`.
    """

    slot: int
    files: list[Done] = []
    error: Error | None = None


class _Setup(msgspec.Struct, frozen=True):
    root: str
    fsync: bool
    device: int | None


class Scribe:
    """Has small files written; see the module. Outside of its context, threads of this process write them.

    Args:
        disk: the archive.
        start_after: how many orders come before writers are begun.

    Attributes:
        written: how many files the writers wrote.
    """

    def __init__(self, disk: Disk, *, start_after: int = START_AFTER) -> None:
        self._disk = disk
        self._start_after = start_after
        self._left_to_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._free: list[int] = []
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Outcome)
        self.written = 0

    async def __aenter__(self) -> Self:
        if hasattr(os, "memfd_create") and sys.executable:
            self._left_to_start = self._start_after
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left_to_start = 0
        if self.written:
            log.info("processes of their own wrote %d small files", self.written)
        self._hang_up()

    async def write(
        self, folder: PurePosixPath, files: Sequence[NewFile], mtime_ms: int | None
    ) -> list[Written]:
        """Write some files of one folder, as `Disk.write_files` does.

        Raises:
            DestinationError: the disk.
            asyncio.CancelledError: only after the work has ended.
        """
        sizes = [file.size_bytes for file in files]
        if sum(sizes) <= SLOT_BYTES and len(files) <= _MAX_FILES:
            if self._free:
                written = await self._ordered(folder, files, sizes, mtime_ms)
                if written is not None:
                    return written
            else:
                self._count()
        return await self._disk.call(self._disk.write_files, folder, files, mtime_ms)

    async def _ordered(
        self, folder: PurePosixPath, files: Sequence[NewFile], sizes: Sequence[int], mtime_ms: int | None
    ) -> list[Written] | None:
        """Have files written; None: they were not, or not all of them."""
        slot = self._free.pop()
        self._put(slot, files)
        ordered = [Ordered(file.name, size, file.replaces) for file, size in zip(files, sizes, strict=True)]
        order = Order(slot, str(folder), self._disk.knows(folder), ordered, mtime_ms)
        waiting = self._waiting[slot] = asyncio.get_running_loop().create_future()
        self._send(order)
        outcome = await to_its_end(waiting)
        if outcome.error is not None:
            raise destination_error(OSError(*outcome.error), self._disk.root)
        if not outcome.files:
            return None
        if not order.is_known:
            self._disk.remember(folder)
        self.written += len(files)
        return [
            Written(
                Digest(size, done.sha256, b""),
                None if done.in_the_way is None else PurePosixPath(done.in_the_way),
            )
            for done, size in zip(outcome.files, sizes, strict=True)
        ]

    def _count(self) -> None:
        """One more order that was not for the writers; begins them, once."""
        if self._left_to_start > 0:
            self._left_to_start -= 1
            if not self._left_to_start:
                try:
                    self._start()
                except OSError as exc:
                    log.info("no processes for small files: %s", exc.strerror)
                    self._hang_up()

    def _start(self) -> None:
        """Begin the writers. Nothing is sent before they say that they are ready."""
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
                    start_new_session=True,  # Ctrl-C is for this process; and all writers are one group
                )
        finally:
            os.close(memory)
        disk = self._disk
        setup = _Setup(str(disk.root.absolute()), disk.flusher.is_on, disk.device)
        ours.setblocking(False)
        ours.send(self._encoder.encode(setup))
        asyncio.get_running_loop().add_reader(ours, self._read, ours)

    def _put(self, slot: int, files: Sequence[NewFile]) -> None:
        at = slot * SLOT_BYTES
        with memoryview(cast("mmap.mmap", self._memory)) as memory:
            for file in files:
                for chunk in file.chunks:
                    memory[at : at + len(chunk)] = memoryview(chunk)
                    at += len(chunk)

    def _send(self, order: Order) -> None:
        try:
            cast("socket.socket", self._socket).send(self._encoder.encode(order))
        except OSError:  # it is gone, and the socket tells so, too; or it is full, which would be odd
            self._hang_up()

    def _read(self, channel: socket.socket) -> None:
        """Take up what the writers say, all of it."""
        try:
            while message := channel.recv(_MESSAGE_BYTES):
                self._heed(self._decoder.decode(message))
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError, KeyError) as exc:  # KeyError: an order that nobody gave
            log.info("no more processes for small files: %r", exc)
        self._hang_up()

    def _heed(self, outcome: Outcome) -> None:
        if outcome.slot < 0:
            self._free = list(range(_SLOTS))
            return
        waiting = self._waiting.pop(outcome.slot)
        self._free.append(outcome.slot)
        waiting.set_result(outcome)

    def _hang_up(self) -> None:
        """No more of the writers: who still waits is told that nothing was written."""
        is_idle = len(self._free) == _SLOTS
        self._memory, self._free = None, []
        channel, self._socket = self._socket, None
        process, self._process = self._process, None
        if channel is not None:
            asyncio.get_running_loop().remove_reader(channel)
            if process is not None and not is_idle:
                _kill(process, channel)  # before anybody else writes what they may be at
            channel.close()  # which ends those that have nothing to do
        if process is not None:
            process.wait()
        waiting, self._waiting = self._waiting, {}
        for slot, future in waiting.items():
            future.set_result(Outcome(slot))


def _kill(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """End the writers, which all are in the group of the process that began them, and wait for that."""
    with suppress(ProcessLookupError):  # they have ended
        os.killpg(process.pid, signal.SIGKILL)
    channel.setblocking(True)
    with suppress(ConnectionError):
        while channel.recv(_MESSAGE_BYTES):  # until nobody has the other end any more
            pass


def serve(channel: socket.socket, memory: memoryview, disk: Disk) -> None:
    """Write what is ordered until the other side hangs up. Blocks.

    Args:
        channel: brings an `Order` each message, takes an `Outcome` each.
        memory: where the bytes are.
        disk: the archive.
    """
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Order)
    with suppress(ConnectionError):  # nobody listens any more
        while messages := _next_messages(channel):
            orders = [decoder.decode(message) for message in messages]
            for outcome in _carried_out(orders, memory, disk):
                channel.send(encoder.encode(outcome))


def _next_messages(channel: socket.socket) -> list[bytes]:
    """What waits to be done, but not all where there is much; nothing once nobody is there any more."""
    messages = [channel.recv(_MESSAGE_BYTES)]
    with suppress(BlockingIOError):
        while messages[-1] and len(messages) < _AT_ONCE:
            messages.append(channel.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT))
    return [message for message in messages if message]


def _carried_out(orders: Sequence[Order], memory: memoryview, disk: Disk) -> list[Outcome]:
    """Carry out orders, with one flush for all of a folder."""
    outcomes = [_written(order, memory, disk) for order in orders]
    unflushed = {order.folder for order, outcome in zip(orders, outcomes, strict=True) if outcome.files}
    errors = {folder: _flush_error(folder, disk) for folder in unflushed}
    return [
        Outcome(order.slot, error=error) if outcome.files and (error := errors[order.folder]) else outcome
        for order, outcome in zip(orders, outcomes, strict=True)
    ]


def _written(order: Order, memory: memoryview, disk: Disk) -> Outcome:
    """Write the files of an order; their folder is still to be flushed."""
    folder, at, files = PurePosixPath(order.folder), order.slot * SLOT_BYTES, []
    for file in order.files:
        files.append(NewFile(file.name, [memory[at : at + file.size_bytes]], file.replaces))
        at += file.size_bytes
    if order.is_known:
        disk.remember(folder)
    try:
        written = disk.write_files(folder, files, order.mtime_ms, is_flushed_later=True)
    except OSError as exc:
        return Outcome(order.slot, error=_error(exc))
    except Exception:  # noqa: BLE001 - whatever it is, the other process meets it too, and can tell of it
        return Outcome(order.slot)
    asides = [None if one.in_the_way is None else str(one.in_the_way) for one in written]
    done = [Done(one.digest.sha256, aside) for one, aside in zip(written, asides, strict=True)]
    return Outcome(order.slot, done)


def _flush_error(folder: str, disk: Disk) -> Error | None:
    try:
        disk.flush_folder(PurePosixPath(folder))
    except OSError as exc:
        return _error(exc)
    return None


def _error(exc: OSError) -> Error:
    name = None if exc.filename is None else str(exc.filename)
    return exc.errno or 0, exc.strerror or type(exc).__name__, name


def main() -> None:
    """The process that begins the writers, and ends all of them with the first that ends."""
    # The first process's end is the end; signals that are sent to all of a job are for that one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        memory = memoryview(mmap.mmap(int(sys.argv[2]), 0))
        setup = msgspec.msgpack.decode(channel.recv(_MESSAGE_BYTES), type=_Setup)
        try:
            writers = set[int]()
            while len(writers) < _WRITERS:
                # Forked, so that Python starts only once; there are no threads here that would mind.
                writers.add(pid := os.fork())
                if not pid:
                    serve(channel, memory, Disk(Path(setup.root), fsync=setup.fsync, device=setup.device))
                    return
            channel.send(msgspec.msgpack.encode(Outcome(-1)))
            channel.close()
            _end_together(writers)
        finally:
            os._exit(0)  # in the middle of a file, too, as the first process ended


def _end_together(writers: set[int]) -> None:
    """Wait for the end of one, and end all."""
    writers.discard(os.wait()[0])
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
    for pid in writers:
        os.waitpid(pid, 0)

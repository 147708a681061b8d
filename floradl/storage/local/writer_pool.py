"""Small files, written by processes of their own.

A file of some hundred kilobytes is a dozen calls into the system, and in a thread of this process each of
them takes Python's lock from the event loop; with thousands of files more time goes into that than into the
files. So a few processes, each with a lock of its own, do nothing else. The bytes cross in shared memory,
which is lent to whoever receives them, so that they come from the network to where the writers see them; what
to do with them, and what came of it, over one socket, from which whoever is idle takes the next orders. Those
for the same folder wait a moment for each other: outputs of a run come together, and share a message and a
flush of their folder.

A writer (`writer`) does what a thread does here. It knows nothing that this process does not: when the
writers cannot be started, are killed, or have no room for a file, a thread of this process writes it; the
bytes are still here. Where this process ends, the socket does, and the writers end at once; what they leave
then is what a killed thread leaves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self, cast

import msgspec

from floradl.constants import SECRET_VARIABLES
from floradl.storage.base import NewFile, Written, destination_error
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local.shared_memory import SLOT_BYTES, SlotLoan, Slots
from floradl.storage.local.writer_process import (
    MAX_FILES,
    MAX_ORDERS,
    MESSAGE_BYTES,
    PROGRAM,
    Order,
    Ordered,
    Outcome,
    Setup,
)
from floradl.tasks import to_its_end

START_AFTER = 48
"""Writers are begun when so many orders came: for a few they would cost more than they bring."""

_TOGETHER_S = 0.005  # how long an order waits for others of its folder

log = logging.getLogger(__name__)


class WriterPool:
    """Has small files written; see the module. Outside of its context, threads of this process write them.

    Args:
        disk: the archive.
        start_after: how many orders come before writers are begun.

    Attributes:
        written: how many files the writers wrote.
    """

    def __init__(self, disk: Destination, *, start_after: int = START_AFTER) -> None:
        self._disk = disk
        self._start_after = start_after
        self._left_to_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._process_end: int | None = None
        self._socket: socket.socket | None = None
        self._slots: Slots | None = None
        self._is_ready = False
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._unsent: dict[str, list[Order]] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[Outcome])
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

    def lend(self) -> SlotLoan:
        """Memory for a small file that is still to come, to be given with it to `write`."""
        return SlotLoan(self._slots if self._is_ready else None)

    async def write(
        self,
        folder: PurePosixPath,
        files: Sequence[NewFile],
        mtime_ms: int | None,
        loan: SlotLoan | None = None,
    ) -> list[Written]:
        """Write some files of one folder, as `Destination.write_files` does.

        Args:
            folder, files, mtime_ms: as there.
            loan: where the bytes are, perhaps.

        Raises:
            DestinationError: the disk.
            asyncio.CancelledError: only after the work has ended.
        """
        sizes = [file.size_bytes for file in files]
        if sum(sizes) <= SLOT_BYTES and len(files) <= MAX_FILES:
            if self._is_ready:
                written = await self._ordered(folder, files, sizes, mtime_ms, loan)
                if written is not None:
                    return written
            else:
                self._count()
        return await self._disk.call(self._disk.write_files, folder, files, mtime_ms)

    async def _ordered(
        self,
        folder: PurePosixPath,
        files: Sequence[NewFile],
        sizes: Sequence[int],
        mtime_ms: int | None,
        loan: SlotLoan | None,
    ) -> list[Written] | None:
        """Have files written; None: they were not, or not all of them."""
        slots, chunks = cast("Slots", self._slots), [chunk for file in files for chunk in file.chunks]
        slot = None if loan is None else loan.slot_of(chunks, slots)
        own = None
        if slot is None:
            slot = own = slots.take()
        if slot is None:
            return None
        if own is not None:
            _put(slots.view(own, sum(sizes)), chunks)
        ordered = [Ordered(file.name, size, file.replaces) for file, size in zip(files, sizes, strict=True)]
        order = Order(slot, str(folder), folder in self._disk.known_folders, ordered, mtime_ms)
        waiting = self._waiting[slot] = asyncio.get_running_loop().create_future()
        self._collect(order)
        try:
            outcome = await to_its_end(waiting)
        finally:
            if own is not None:  # what is lent is given back by whoever has it
                slots.give_back(own)
        if outcome.error is not None:
            raise destination_error(OSError(*outcome.error), self._disk.root)
        if not outcome.files:
            return None
        if not order.is_known:
            self._disk.known_folders.add(folder)
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
        self._slots = Slots()
        try:
            memory = self._slots.descriptor
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket = ours
            with theirs:
                command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), str(memory)]
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
            self._slots.close_descriptor()
        disk = self._disk
        setup = Setup(str(disk.root.absolute()), disk.flusher.is_on, disk.device)
        ours.setblocking(False)
        ours.send(self._encoder.encode(setup))
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._read, ours)
        with suppress(AttributeError, OSError):  # a system or a sandbox without
            # Whoever began them ends them together. Without it, nobody would tell of one that ends later.
            self._process_end = os.pidfd_open(self._process.pid)
            loop.add_reader(self._process_end, self._hang_up)

    def _collect(self, order: Order) -> None:
        """Send an order, together with others of its folder that come soon."""
        orders = self._unsent.setdefault(order.folder, [])
        orders.append(order)
        if len(orders) == 1:
            asyncio.get_running_loop().call_later(_TOGETHER_S, self._send, order.folder, orders)
        elif len(orders) == MAX_ORDERS:
            self._send(order.folder, orders)

    def _send(self, folder: str, orders: list[Order]) -> None:
        if self._unsent.get(folder) is not orders:
            return  # they have been sent
        del self._unsent[folder]
        try:
            cast("socket.socket", self._socket).send(self._encoder.encode(orders))
        except OSError:  # it is gone, and the socket tells so, too; or it is full, which would be odd
            self._hang_up()

    def _read(self, channel: socket.socket) -> None:
        """Take up what the writers say, all of it."""
        try:
            while message := channel.recv(MESSAGE_BYTES):
                for outcome in self._decoder.decode(message):
                    self._heed(outcome)
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError, KeyError) as exc:  # KeyError: an order that nobody gave
            log.info("no more processes for small files: %r", exc)
        self._hang_up()

    def _heed(self, outcome: Outcome) -> None:
        if outcome.slot < 0:
            self._is_ready = True
        else:
            self._waiting.pop(outcome.slot).set_result(outcome)

    def _hang_up(self) -> None:
        """No more of the writers: who still waits is told that nothing was written."""
        waiting, self._waiting = self._waiting, {}
        is_idle = self._is_ready and not waiting
        self._slots, self._is_ready = None, False
        self._unsent.clear()
        channel, self._socket = self._socket, None
        process, self._process = self._process, None
        process_end, self._process_end = self._process_end, None
        if process_end is not None:
            asyncio.get_running_loop().remove_reader(process_end)
            os.close(process_end)
        if channel is not None:
            asyncio.get_running_loop().remove_reader(channel)
            if process is not None and not is_idle:
                _kill(process, channel)  # before anybody else writes what they may be at
            channel.close()  # which ends those that have nothing to do
        if process is not None:
            process.wait()
        for slot, future in waiting.items():
            future.set_result(Outcome(slot))


def _put(memory: memoryview, chunks: Sequence[bytes | memoryview]) -> None:
    at = 0
    for chunk in chunks:
        memory[at : at + len(chunk)] = chunk
        at += len(chunk)


def _kill(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """End the writers, which all are in the group of the process that began them, and wait for that."""
    with suppress(ProcessLookupError):  # they have ended
        os.killpg(process.pid, signal.SIGKILL)
    channel.setblocking(True)
    with suppress(ConnectionError):
        while channel.recv(MESSAGE_BYTES):  # until nobody has the other end any more
            pass

"""Small files, written by processes that do nothing else.

To write a file of some hundred kilobytes takes a dozen system calls. In a thread of this process, after each
of them the thread waits for Python's global lock, which it takes from the event loop; with thousands of
files, more time goes into that than into the files. The writer processes (`writer_process`) have global
locks of their own.

The way of a file: its body is received from the network straight into shared memory (`lend`). `write` then
sends an order over a socket that all writers share, and an idle writer takes it. Orders for the same folder
wait some milliseconds for each other, since the outputs of a run come together: they share a message, and
one flush of the folder. The writer answers when the files are durable under their final names.

A writer is never needed. When the writers cannot be started, are killed, or a file is too large, a thread of
this process writes the file: the bytes are still in its memory. When this process ends, so does the socket,
and the writers end at once; they leave the temporary files that a killed thread would leave.
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
    Error,
    Order,
    OrderedFile,
    Outcome,
    Setup,
)
from floradl.tasks import to_its_end

START_AFTER = 48
"""After how many orders the writers are started: for a few files their start costs more than they save."""

_BATCH_WAIT_S = 0.005  # how long an order waits for others of the same folder

log = logging.getLogger(__name__)


class WriterPool:
    """Writes small files by processes; see the module. Outside of its context, by threads of this process.

    Args:
        disk: the archive.
        start_after: after how many orders the writers are started.

    Attributes:
        written: how many files the writers have written.
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
        self._failed: dict[str, Error] = {}  # what has gone wrong, by folder
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
        self._end_writers()

    def lend(self) -> SlotLoan:
        """Memory to receive a small file into. The loan is given to `write` together with the file."""
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
            loan: the memory that was lent for the files; None when their bytes are elsewhere. Bytes that are
                in no slot are copied into one.

        Returns:
            What was written, in the order of the files.

        Raises:
            DestinationError: the disk failed.
            asyncio.CancelledError: when the caller was cancelled, and only after the work has ended.
        """
        sizes = [file.size_bytes for file in files]
        if sum(sizes) <= SLOT_BYTES and len(files) <= MAX_FILES:
            if self._is_ready:
                written = await self._write_in_process(folder, files, sizes, mtime_ms, loan)
                if written is not None:
                    return written
            else:
                self._count_to_start()
        return await self._disk.call(self._disk.write_files, folder, files, mtime_ms)

    async def _write_in_process(
        self,
        folder: PurePosixPath,
        files: Sequence[NewFile],
        sizes: Sequence[int],
        mtime_ms: int | None,
        loan: SlotLoan | None,
    ) -> list[Written] | None:
        """Have files written by a writer; None when no slot is free, or not all were written."""
        slots, chunks = cast("Slots", self._slots), [chunk for file in files for chunk in file.chunks]
        slot = None if loan is None else loan.slot_of(chunks, slots)
        own = None
        if slot is None:
            slot = own = slots.take()
        if slot is None:
            return None
        if own is not None:
            _copy_into(slots.view(own, sum(sizes)), chunks)
        ordered = [
            OrderedFile(file.name, size, file.replaces) for file, size in zip(files, sizes, strict=True)
        ]
        order = Order(slot, str(folder), folder in self._disk.known_folders, ordered, mtime_ms)
        waiting = self._waiting[slot] = asyncio.get_running_loop().create_future()
        self._queue(order)
        try:
            outcome = await to_its_end(waiting)
        finally:
            if own is not None:  # a lent slot is given back by the loan
                slots.give_back(own)
        # Another writer may have flushed the folder right after a flush of it had failed. That one counts for
        # all names in it: the system tells of a failure once (see `fsync`).
        error = self._failed.get(order.folder) or outcome.error
        if error is not None:
            self._failed[order.folder] = error
            raise destination_error(OSError(*error), self._disk.root)
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

    def _count_to_start(self) -> None:
        """Count an order that came before the writers were ready. With enough of them, start the writers."""
        if self._left_to_start > 0:
            self._left_to_start -= 1
            if not self._left_to_start:
                try:
                    self._start()
                except OSError as exc:
                    log.info("no processes for small files: %s", exc.strerror)
                    self._end_writers()

    def _start(self) -> None:
        """Start the writers. Nothing is sent to them before they have said that they are ready."""
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
                    # Ctrl-C reaches this process alone; and all writers are one group, to be killed together.
                    start_new_session=True,
                )
        finally:
            self._slots.close_descriptor()
        disk = self._disk
        setup = Setup(str(disk.root.absolute()), disk.flusher.is_on, disk.device)
        ours.setblocking(False)
        ours.send(self._encoder.encode(setup))
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._read, ours)
        with suppress(AttributeError, OSError):  # a system or a sandbox that has no pidfd
            # The socket tells when all writers have ended. When only the process that started them ends,
            # which would end the others with the first of them, this is how it is noticed.
            self._process_end = os.pidfd_open(self._process.pid)
            loop.add_reader(self._process_end, self._end_writers)

    def _queue(self, order: Order) -> None:
        """Send an order after a moment, together with others of its folder that come until then."""
        orders = self._unsent.setdefault(order.folder, [])
        orders.append(order)
        if len(orders) == 1:
            asyncio.get_running_loop().call_later(_BATCH_WAIT_S, self._send, order.folder, orders)
        elif len(orders) == MAX_ORDERS:
            self._send(order.folder, orders)

    def _send(self, folder: str, orders: list[Order]) -> None:
        if self._unsent.get(folder) is not orders:
            return  # they were as many as a message takes, and have been sent already
        del self._unsent[folder]
        try:
            cast("socket.socket", self._socket).send(self._encoder.encode(orders))
        except OSError:  # the writers are gone; or the socket is full, though no more orders wait than slots
            self._end_writers()

    def _read(self, channel: socket.socket) -> None:
        """Read all messages of the writers that are there."""
        try:
            while message := channel.recv(MESSAGE_BYTES):
                for outcome in self._decoder.decode(message):
                    self._finish_order(outcome)
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError, KeyError) as exc:  # KeyError: about an order that was not given
            log.info("no more processes for small files: %r", exc)
        self._end_writers()

    def _finish_order(self, outcome: Outcome) -> None:
        if outcome.slot < 0:
            self._is_ready = True
        else:
            self._waiting.pop(outcome.slot).set_result(outcome)

    def _end_writers(self) -> None:
        """Do without the writers from now on. Calls that wait for them then write by a thread."""
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
                # Before a thread writes the same files: a writer that is still at one of them could rename it
                # over the thread's file, or set that aside, after it was reported.
                _kill(process, channel)
            channel.close()  # this ends writers that have nothing to do
        if process is not None:
            process.wait()
        for slot, future in waiting.items():
            future.set_result(Outcome(slot))


def _copy_into(memory: memoryview, chunks: Sequence[bytes | memoryview]) -> None:
    at = 0
    for chunk in chunks:
        memory[at : at + len(chunk)] = chunk
        at += len(chunk)


def _kill(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """Kill the writers, which are the group of the process that started them, and wait for their end."""
    with suppress(ProcessLookupError):  # they have ended already
        os.killpg(process.pid, signal.SIGKILL)
    channel.setblocking(True)
    with suppress(ConnectionError):
        # The socket ends when no writer has the other end any more: the group is gone then, not only the
        # process that this one can wait for.
        while channel.recv(MESSAGE_BYTES):
            pass

"""What a process does that writes small files.

`writer_pool` starts these processes, and orders files from them.

Each writer has one thread, and a `LocalStorage` on the archive's folder. All share one socket, from which an
idle writer takes the next order. It reports files when they are durable under their final names. When the
other end of the socket is closed, it ends at once. This module imports little, so that the processes start
soon.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

from floradl.storage.base import NewFile
from floradl.storage.local.folder import LocalStorage
from floradl.storage.local.shared_memory import SLOT_BYTES

MAX_FILES = 64
"""How many files one order may have: `MAX_ORDERS` orders of so many files fit into a message."""

MAX_ORDERS = 4
"""How many orders one message may have."""

MESSAGE_BYTES = 128 * 1024
"""More bytes than any message has."""

WRITERS = 4
"""How many processes write; more than there are processors, since each mostly waits for the disk."""

PROGRAM = f"from {__name__} import main; main()"
"""Starts the writers; its arguments are the descriptors of the socket and of the shared memory."""

Error = tuple[int, str, str | None]
"""An `OSError`: its number, its text, and the file name, if it has one."""


class OrderedFile(msgspec.Struct, frozen=True, array_like=True):
    """One file of an order; see `NewFile`. In the slot, its bytes follow those of the file before it."""

    name: str
    size_bytes: int
    replaces: bool


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Files of one folder to write.

    Attributes:
        slot: the number of the slot of the shared memory where their bytes are.
        folder: their folder, relative to the archive.
        is_known: whether the folder is there and durable, so that it needs no look.
        files: the files, in the order of their bytes.
        mtime_ms: their date, in milliseconds since 1970; None for now.
    """

    slot: int
    folder: str
    is_known: bool
    files: list[OrderedFile]
    mtime_ms: int | None


class WrittenFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that was written; see `Written`. Its size is known to the other process."""

    sha256: str
    in_the_way: str | None


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of an order.

    Attributes:
        slot: the order's slot, which tells it from others. The first message of all has -1: writers are
            ready.
        files: the files that were written; empty unless all of the order were.
        error: the `OSError` that stopped the order; None when another exception did. Then the other process
            writes the files itself, and meets the exception where it can be told.
    """

    slot: int
    files: list[WrittenFile] = []
    error: Error | None = None


class Setup(msgspec.Struct, frozen=True):
    """What writers have to know of the archive; the arguments of `LocalStorage`."""

    root: str
    fsync: bool
    device: int | None


def serve(channel: socket.socket, memory: memoryview, storage: LocalStorage) -> None:
    """Carry out orders until the other process closes its end of the socket. Blocks.

    Args:
        channel: gives messages of several `Order`s each; for each it takes one of as many `Outcome`s.
        memory: the shared memory, with the bytes of all files.
        storage: the archive.
    """
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Order])
    with suppress(ConnectionError):  # the other process has ended
        while message := channel.recv(MESSAGE_BYTES):
            channel.send(encoder.encode(_carry_out(decoder.decode(message), memory, storage)))


def _carry_out(orders: Sequence[Order], memory: memoryview, storage: LocalStorage) -> list[Outcome]:
    """Carry out the orders of a message, and flush each folder once for all its orders."""
    outcomes = [_write_order(order, memory, storage) for order in orders]
    unflushed = {order.folder for order, outcome in zip(orders, outcomes, strict=True) if outcome.files}
    errors = {folder: _flush_error(folder, storage) for folder in unflushed}
    return [
        Outcome(order.slot, error=error) if outcome.files and (error := errors[order.folder]) else outcome
        for order, outcome in zip(orders, outcomes, strict=True)
    ]


def _write_order(order: Order, memory: memoryview, storage: LocalStorage) -> Outcome:
    """Write the files of an order. The caller flushes their folder, and reports them after that."""
    folder, at, files = PurePosixPath(order.folder), order.slot * SLOT_BYTES, []
    for file in order.files:
        files.append(NewFile(file.name, [memory[at : at + file.size_bytes]], file.replaces))
        at += file.size_bytes
    if order.is_known:
        storage.known_folders.add(folder)
    try:
        written = storage.write_files(folder, files, order.mtime_ms, is_flushed_later=True)
    except OSError as exc:
        return Outcome(order.slot, error=_error(exc))
    except Exception:  # noqa: BLE001 - the other process meets it as well, and can tell the user
        return Outcome(order.slot)
    asides = [None if one.in_the_way is None else str(one.in_the_way) for one in written]
    done = [WrittenFile(one.digest.sha256, aside) for one, aside in zip(written, asides, strict=True)]
    return Outcome(order.slot, done)


def _flush_error(folder: str, storage: LocalStorage) -> Error | None:
    try:
        storage.flush_folder(PurePosixPath(folder))
    except OSError as exc:
        return _error(exc)
    return None


def _error(exc: OSError) -> Error:
    name = None if exc.filename is None else str(exc.filename)
    return exc.errno or 0, exc.strerror or type(exc).__name__, name


def main() -> None:
    """The process that starts the writers. When one of them ends, it ends the others."""
    # A writer ends when the process that ordered ends. Signals that are sent to all processes of a job, as
    # by a service manager, are for that process: it stops in order, and needs its writers until then.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        memory = memoryview(mmap.mmap(int(sys.argv[2]), 0))
        setup = msgspec.msgpack.decode(channel.recv(MESSAGE_BYTES), type=Setup)
        try:
            writers = set[int]()
            while len(writers) < WRITERS:
                # Forked, so that Python starts and imports only once. No other thread runs here whose locks
                # a fork would copy.
                writers.add(pid := os.fork())
                if not pid:
                    serve(
                        channel,
                        memory,
                        LocalStorage(Path(setup.root), fsync=setup.fsync, device=setup.device),
                    )
                    return
            channel.send(msgspec.msgpack.encode([Outcome(-1)]))
            channel.close()
            _end_together(writers)
        finally:
            os._exit(0)  # at once, also in the middle of a file: nobody waits for it any more


def _end_together(writers: set[int]) -> None:
    """Wait until one writer ends, and end all others: an order that it had taken would never be answered.

    When all have ended, so has the last end of the socket, and the other process is told by that.
    """
    writers.discard(os.wait()[0])
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
    for pid in writers:
        os.waitpid(pid, 0)

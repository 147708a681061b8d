"""Processes that write small files, as they are themselves; `scribe` is who begins them and orders files.

Each has one thread and a `LocalStorage` on the archive's folder, and takes the next order from the socket
that all share. It reports files when they are durable under their final names. Where the other end of the
socket goes, it ends at once. It imports little, so that it begins soon.
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
"""In an order; so many orders have to fit into a message."""

MAX_ORDERS = 4
"""In a message."""

MESSAGE_BYTES = 128 * 1024
"""More than any message has."""

WRITERS = 4
"""More than processors, since each waits for the disk most of the time."""

PROGRAM = f"from {__name__} import main; main()"
"""Begins the writers; its arguments are the descriptors of the socket and of the shared memory."""

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


class Setup(msgspec.Struct, frozen=True):
    """What writers have to know of the archive; see `LocalStorage`."""

    root: str
    fsync: bool
    device: int | None


def serve(channel: socket.socket, memory: memoryview, tree: LocalStorage) -> None:
    """Write what is ordered until the other side hangs up. Blocks.

    Args:
        channel: brings some of an `Order` each message, takes as many of an `Outcome`.
        memory: where the bytes are.
        tree: the archive.
    """
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Order])
    with suppress(ConnectionError):  # nobody listens any more
        while message := channel.recv(MESSAGE_BYTES):
            channel.send(encoder.encode(_carried_out(decoder.decode(message), memory, tree)))


def _carried_out(orders: Sequence[Order], memory: memoryview, tree: LocalStorage) -> list[Outcome]:
    """Carry out orders, with one flush for all of a folder."""
    outcomes = [_written(order, memory, tree) for order in orders]
    unflushed = {order.folder for order, outcome in zip(orders, outcomes, strict=True) if outcome.files}
    errors = {folder: _flush_error(folder, tree) for folder in unflushed}
    return [
        Outcome(order.slot, error=error) if outcome.files and (error := errors[order.folder]) else outcome
        for order, outcome in zip(orders, outcomes, strict=True)
    ]


def _written(order: Order, memory: memoryview, tree: LocalStorage) -> Outcome:
    """Write the files of an order; their folder is still to be flushed."""
    folder, at, files = PurePosixPath(order.folder), order.slot * SLOT_BYTES, []
    for file in order.files:
        files.append(NewFile(file.name, [memory[at : at + file.size_bytes]], file.replaces))
        at += file.size_bytes
    if order.is_known:
        tree.known_folders.add(folder)
    try:
        written = tree.write_files(folder, files, order.mtime_ms, is_flushed_later=True)
    except OSError as exc:
        return Outcome(order.slot, error=_error(exc))
    except Exception:  # noqa: BLE001 - whatever it is, the other process meets it too, and can tell of it
        return Outcome(order.slot)
    asides = [None if one.in_the_way is None else str(one.in_the_way) for one in written]
    done = [Done(one.digest.sha256, aside) for one, aside in zip(written, asides, strict=True)]
    return Outcome(order.slot, done)


def _flush_error(folder: str, tree: LocalStorage) -> Error | None:
    try:
        tree.flush_folder(PurePosixPath(folder))
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
        setup = msgspec.msgpack.decode(channel.recv(MESSAGE_BYTES), type=Setup)
        try:
            writers = set[int]()
            while len(writers) < WRITERS:
                # Forked, so that Python starts only once; there are no threads here that would mind.
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
            os._exit(0)  # in the middle of a file, too, as the first process ended


def _end_together(writers: set[int]) -> None:
    """Wait for the end of one, and end all."""
    writers.discard(os.wait()[0])
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
    for pid in writers:
        os.waitpid(pid, 0)

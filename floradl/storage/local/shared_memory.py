"""Memory that this process shares with the processes that write small files.

It is divided into slots of equal size, each for one order. A body that comes over the network is received
straight into a slot, so that its bytes are never copied between processes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

SLOT_BYTES = 512 * 1024
"""The size of a slot. Files that are larger are written by threads of this process."""

_SLOTS = 128


class Slots:
    """The shared memory, as the process that hands out its slots sees it.

    Attributes:
        descriptor: the memory's descriptor, which the writer processes inherit. To be closed once they have
            it.
        memory: the memory.

    Raises:
        OSError: the system gives no memory.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("floradl")
        try:
            os.ftruncate(self.descriptor, _SLOTS * SLOT_BYTES)
            self.memory = mmap.mmap(self.descriptor, _SLOTS * SLOT_BYTES)
        except OSError:
            self.close_descriptor()
            raise
        self._free = list(range(_SLOTS))

    def close_descriptor(self) -> None:
        """Close the descriptor; the memory stays mapped."""
        os.close(self.descriptor)

    def take(self) -> int | None:
        """Take a slot; None when all are taken.

        It is the slot that was given back last, so that few slots are ever touched and need real memory.
        """
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """Give back a slot that no process reads or writes any more."""
        self._free.append(slot)

    def view(self, slot: int, size_bytes: int) -> memoryview:
        """The first `size_bytes` bytes of a slot."""
        return memoryview(self.memory)[slot * SLOT_BYTES : slot * SLOT_BYTES + size_bytes]


class SlotLoan:
    """Memory to receive one file into: a slot if there is a free one, else memory of this process alone.

    It is a context. On leaving it the slot is given back, and the memory may be used for another file.

    Args:
        slots: the shared memory; None when there are no writer processes.
    """

    def __init__(self, slots: Slots | None) -> None:
        self._slots = slots
        self._slot: int | None = None
        self._size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._slots is not None and self._slot is not None:
            self._slots.give_back(self._slot)
        self._slots = self._slot = None

    def take(self, size_bytes: int) -> memoryview:
        """Memory for so many bytes. Memory that this loan gave before must not be used any more."""
        if self._slots is not None and size_bytes <= SLOT_BYTES:
            if self._slot is None:
                self._slot = self._slots.take()
            if self._slot is not None:
                self._size_bytes = size_bytes
                return self._slots.view(self._slot, size_bytes)
        return memoryview(bytearray(size_bytes))

    def slot_of(self, chunks: Sequence[bytes | memoryview], slots: Slots) -> int | None:
        """The slot that holds a file's bytes, from its beginning on and without a gap; None when none does.

        Args:
            chunks: all bytes of the file, in order.
            slots: the memory that the writer processes share now; it may be another than this loan is of.
        """
        if self._slot is None or self._slots is not slots:
            return None
        # Only this loan gives away memory of this slot. So chunks that are parts of the shared memory, and
        # together are as long as the memory that was taken, are the slot's bytes.
        is_there = all(isinstance(chunk, memoryview) and chunk.obj is slots.memory for chunk in chunks)
        return self._slot if is_there and sum(map(len, chunks)) == self._size_bytes else None

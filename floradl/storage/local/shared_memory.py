"""Memory that processes share, in equal parts, which are lent for what comes over the network."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

SLOT_BYTES = 512 * 1024

_SLOTS = 128


class Slots:
    """The memory, for the process that gives it away.

    Attributes:
        descriptor: of the memory, for the processes that share it; to be closed when they have it.

    Raises:
        OSError: the system has none to give.
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
        """The memory stays."""
        os.close(self.descriptor)

    def take(self) -> int | None:
        """A slot, the last that was given back: so not much memory is ever used. None: all are taken."""
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """Nobody reads or writes it any more."""
        self._free.append(slot)

    def view(self, slot: int, size_bytes: int) -> memoryview:
        """The first bytes of a slot."""
        return memoryview(self.memory)[slot * SLOT_BYTES : slot * SLOT_BYTES + size_bytes]


class SlotLoan:
    """Memory for one file that is still to come: a slot, where there is one, so that it has not to be copied.

    In its context only: afterwards it is somebody else's.

    Args:
        slots: where there are writers that share them.
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
        """Memory for so many bytes, in place of any that was taken before."""
        if self._slots is not None and size_bytes <= SLOT_BYTES:
            if self._slot is None:
                self._slot = self._slots.take()
            if self._slot is not None:
                self._size_bytes = size_bytes
                return self._slots.view(self._slot, size_bytes)
        return memoryview(bytearray(size_bytes))

    def slot_of(self, chunks: Sequence[bytes | memoryview], slots: Slots) -> int | None:
        """The slot where these bytes are, all of them and from its beginning on; None: they are elsewhere."""
        if self._slot is None or self._slots is not slots:
            return None
        # Nobody else gives away memory of this slot, so what is part of it and as long as all of it, is it.
        is_there = all(isinstance(chunk, memoryview) and chunk.obj is slots.memory for chunk in chunks)
        return self._slot if is_there and sum(map(len, chunks)) == self._size_bytes else None

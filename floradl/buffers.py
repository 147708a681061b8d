"""Memory for large bodies: blocks that a disk takes as they are, used again and again."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TypeGuard, cast

BLOCK_BYTES = 1024 * 1024

Room = Callable[[int], memoryview]
"""Gives memory for a small body of that many bytes."""

_MAX_FREE = 32


class Blocks:
    """Gives blocks of memory; for one thread.

    Each begins with a page, so that it can be written past the system's cache. They are shared mappings, as
    `mmap` makes them when told nothing else: private ones must not be written so while a process is begun.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> memoryview:
        """A block that nobody else has; the one that was given back last, so that little is ever used."""
        return memoryview(self._free.pop() if self._free else mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, chunk: bytes | memoryview) -> None:
        """Nobody reads or writes this block any more; whoever does so nevertheless gets a `ValueError`.

        What is not a whole block is left to Python: its other parts may be in use.
        """
        if is_block(chunk):
            memory = cast("mmap.mmap", chunk.obj)
            chunk.release()
            if len(self._free) < _MAX_FREE:
                self._free.append(memory)


def is_block(chunk: bytes | memoryview) -> TypeGuard[memoryview]:
    """Whether this is a block, and all of it."""
    if not isinstance(chunk, memoryview) or not isinstance(chunk.obj, mmap.mmap):
        return False
    return len(chunk) == len(chunk.obj) == BLOCK_BYTES

"""A pool of memory blocks for large bodies, aligned so that they can be written past the system's cache."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TypeGuard, cast

BLOCK_BYTES = 1024 * 1024

Room = Callable[[int], memoryview]
"""Gives memory for a small body of that many bytes."""

_MAX_FREE = 32


class Blocks:
    """A pool of memory blocks of `BLOCK_BYTES`, to be used by one thread.

    Each block begins at the start of a memory page, as direct I/O past the system's cache demands. The blocks
    are shared mappings, the default of `mmap`: private ones must not be written with direct I/O while the
    process is being forked.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> memoryview:
        """Return the free block given back last, so that few blocks are ever used; else a new one."""
        return memoryview(self._free.pop() if self._free else mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, chunk: bytes | memoryview) -> None:
        """Take a block back, which its user must not touch any more; doing so raises a `ValueError`.

        A chunk that is not a whole block is left to Python, since other parts of its block may be in use.
        """
        if is_block(chunk):
            memory = cast("mmap.mmap", chunk.obj)
            chunk.release()
            if len(self._free) < _MAX_FREE:
                self._free.append(memory)


def is_block(chunk: bytes | memoryview) -> TypeGuard[memoryview]:
    """Whether this is one whole block of the pool, not a part of one."""
    if not isinstance(chunk, memoryview) or not isinstance(chunk.obj, mmap.mmap):
        return False
    return len(chunk) == len(chunk.obj) == BLOCK_BYTES

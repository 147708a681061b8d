"""Memory for large bodies: blocks that a disk takes as they are, used again and again."""

from __future__ import annotations

import mmap
from typing import TypeGuard, cast

BLOCK_BYTES = 1024 * 1024

_MAX_FREE = 32


class Blocks:
    """Gives blocks of memory. Each begins with a page, so that it can be written past the system's cache."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> memoryview:
        """A block that nobody else has; the one that was given back last, so that little is ever used."""
        return memoryview(self._free.pop() if self._free else mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, chunk: bytes | memoryview) -> None:
        """Nobody reads or writes this block any more.

        What is no block, or part of one whose other parts may be in use, is left to Python.
        """
        if is_block(chunk) and len(self._free) < _MAX_FREE:
            self._free.append(cast("mmap.mmap", chunk.obj))


def is_block(chunk: bytes | memoryview) -> TypeGuard[memoryview]:
    """Whether this is a block, and all of it."""
    if not isinstance(chunk, memoryview) or not isinstance(chunk.obj, mmap.mmap):
        return False
    return len(chunk) == len(chunk.obj) == BLOCK_BYTES

"""Memory for large bodies: who has which block, and which are used again."""

from __future__ import annotations

import mmap

import pytest

from floradl import buffers
from floradl.buffers import BLOCK_BYTES, Blocks, is_block


def test_nobody_gets_the_block_of_another() -> None:
    """Until it is given back; the last of those first."""
    memory = Blocks()
    taken = [memory.take(), memory.take(), memory.take()]
    for number, block in enumerate(taken):
        block[:] = bytes([number]) * BLOCK_BYTES
    assert [bytes(block[:1]) + bytes(block[-1:]) for block in taken] == [b"\0\0", b"\1\1", b"\2\2"]
    first, middle, last = [block.obj for block in taken]
    memory.give_back(taken[0])
    memory.give_back(taken[2])
    again = [memory.take().obj for _ in range(3)]
    assert again[:2] == [last, first]
    assert again[2] not in (first, middle, last)


def test_a_block_that_was_given_back_is_nobodys() -> None:
    """Whoever writes to it or gives it back once more is told, and touches nobody's bytes."""
    memory = Blocks()
    block = memory.take()
    memory.give_back(block)
    with pytest.raises(ValueError, match="released"):
        memory.give_back(block)
    with pytest.raises(ValueError, match="released"):
        block[0] = 1
    assert memory.take().obj is not memory.take().obj


@pytest.mark.parametrize(
    "other",
    [
        b"a" * BLOCK_BYTES,
        memoryview(bytearray(BLOCK_BYTES)),
        memoryview(mmap.mmap(-1, BLOCK_BYTES))[1:],
        memoryview(mmap.mmap(-1, BLOCK_BYTES))[: BLOCK_BYTES - 1],
        memoryview(mmap.mmap(-1, 2 * BLOCK_BYTES))[:BLOCK_BYTES],
        memoryview(mmap.mmap(-1, 4096)),
    ],
)
def test_what_is_no_whole_block_is_not_used_again(other: bytes | memoryview) -> None:
    """Its other parts may be in use; and not all memory begins where a block does."""
    memory = Blocks()
    assert not is_block(other)
    memory.give_back(other)
    taken = memory.take()
    assert is_block(taken)
    assert not isinstance(other, memoryview) or taken.obj is not other.obj


def test_what_was_needed_once_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many blocks wait to be used again."""
    monkeypatch.setattr(buffers, "_MAX_FREE", 2)
    memory = Blocks()
    taken = [memory.take() for _ in range(4)]
    known = [block.obj for block in taken]
    for block in taken:
        memory.give_back(block)
    assert sum(memory.take().obj in known for _ in range(4)) == 2

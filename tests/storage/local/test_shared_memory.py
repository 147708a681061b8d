"""Memory that processes share: who has which part of it, and whether bytes are really there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from floradl.storage.local import shared_memory
from floradl.storage.local.shared_memory import SLOT_BYTES, SlotLoan, Slots

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory as Linux has it")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slots]:
    """Three slots."""
    monkeypatch.setattr(shared_memory, "_SLOTS", 3)
    made = Slots()
    yield made
    made.close_descriptor()
    made.memory.close()


def test_slots_do_not_overlap(memory: Slots) -> None:
    """Each is another part; there are no more than there are; the last given back is the next taken."""
    taken = [memory.take(), memory.take(), memory.take()]
    assert (sorted(slot for slot in taken if slot is not None), memory.take()) == ([0, 1, 2], None)
    for slot in (0, 1, 2):
        memory.view(slot, SLOT_BYTES)[:] = bytes([slot]) * SLOT_BYTES
    for slot in (0, 1, 2):
        assert os.pread(memory.descriptor, SLOT_BYTES, slot * SLOT_BYTES) == bytes([slot]) * SLOT_BYTES
    memory.give_back(1)
    memory.give_back(0)
    assert (memory.take(), memory.take()) == (0, 1)


def test_where_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is an error, and no descriptor is left open."""
    closed: list[int] = []
    close = os.close

    def no_room(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "ftruncate", no_room)
    monkeypatch.setattr(os, "close", closed.append)
    with pytest.raises(OSError, match="no room"):
        Slots()
    assert len(closed) == 1
    close(closed[0])


def test_what_was_lent(memory: Slots) -> None:
    """Bytes in it are known to be there, in one piece or several; afterwards it is free again."""
    with SlotLoan(memory) as loan:
        assert loan.slot_of([], memory) is None
        view = loan.take(1000)
        slot = loan.slot_of([view], memory)
        assert slot is not None
        assert loan.slot_of([view[:300], view[300:]], memory) == slot
        assert (memory.take(), memory.take(), memory.take()) == (1, 0, None)
    assert memory.take() == slot
    assert loan.slot_of([view], memory) is None


def test_what_is_not_where_it_was_lent(memory: Slots) -> None:
    """Other bytes as many, some of them, those of an answer before, or memory of writers that are gone."""
    with SlotLoan(memory) as loan:
        view = loan.take(1000)
        assert loan.slot_of([bytes(1000)], memory) is None
        assert loan.slot_of([memoryview(bytes(1000))], memory) is None
        assert loan.slot_of([view[:999]], memory) is None
        assert loan.slot_of([view[:500], bytes(500)], memory) is None
        assert loan.slot_of([loan.take(7)], memory) == loan.slot_of([loan.take(7)], memory)
        assert loan.slot_of([view], memory) is None
        other = Slots()
        other.close_descriptor()
        other.memory.close()
        assert loan.slot_of([loan.take(7)], other) is None


@pytest.mark.parametrize("size", [SLOT_BYTES + 1, 10])
def test_where_there_is_no_slot(memory: Slots, size: int) -> None:
    """What is too large, or comes when all are taken, has memory all the same, of this process alone."""
    taken = [memory.take() for _ in range(3)] if size == 10 else []
    with SlotLoan(memory) as loan:
        view = loan.take(size)
        view[:] = b"a" * size
        assert loan.slot_of([view], memory) is None
    for slot in taken:
        assert slot is not None
        memory.give_back(slot)
    assert sorted(slot for slot in (memory.take() for _ in range(3)) if slot is not None) == [0, 1, 2]


def test_where_nobody_shares_any() -> None:
    """Before writers are at work, and on other systems."""
    with SlotLoan(None) as loan:
        assert len(loan.take(10)) == 10

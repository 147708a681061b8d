"""Where the bytes of a body go while they come: all kinds of memory, and what can be read when."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.buffers import BLOCK_BYTES, Blocks, is_block
from floradl.network.body import ROOM_BYTES, Body

MIB = 1024 * 1024


def receive(body: Body, data: bytes) -> bool:
    """Bytes come, as the event loop gives them: into the buffer, as often as that is full."""
    is_whole = False
    while data:
        buffer = body.buffer()
        nbytes = min(len(buffer), len(data))
        buffer[:nbytes] = data[:nbytes]
        data, is_whole = data[nbytes:], body.fill(nbytes)
    return is_whole


def taken(body: Body) -> bytes:
    """All that can be read now."""
    data = bytearray()
    while (piece := body.take()) is not None:
        data += piece
    return bytes(data)


def test_a_small_body_is_received_where_the_asker_wants_it() -> None:
    """It is whole in the asker's memory, and given as one piece of that."""
    memory = memoryview(bytearray(100))
    body = Body(lambda: 0.0)
    body.prepare(lambda size: memory[: size + 7], None)
    assert body.begin(5)
    assert not receive(body, b"abc")
    assert receive(body, b"de")
    piece = body.take()
    assert isinstance(piece, memoryview)
    assert (bytes(piece), piece.obj is memory.obj, bytes(memory[:5])) == (b"abcde", True, b"abcde")
    assert body.take() is None


@pytest.mark.parametrize("length", [ROOM_BYTES + 1, None])
def test_no_room_is_asked_for_a_body_that_is_large_or_has_no_length(length: int | None) -> None:
    """Nobody promised that it fits."""
    body = Body(lambda: 0.0)
    body.prepare(lambda _: pytest.fail("room was asked for"), None)
    assert not body.begin(length)
    receive(body, b"abc")
    assert taken(body) == b"abc"


def test_of_a_large_body_whole_blocks_are_given() -> None:
    """A block is given when it is full, and the rest of the body in a smaller piece."""
    blocks, body = Blocks(), Body(lambda: 0.0)
    body.prepare(None, blocks)
    assert not body.begin(BLOCK_BYTES + 10)
    receive(body, bytes(BLOCK_BYTES - 1))
    assert (body.take(), body.is_filling, body.is_readable) == (None, True, False)
    receive(body, b"a")
    block = body.take()
    assert block is not None
    assert is_block(block)
    blocks.give_back(block)
    assert receive(body, b"0123456789")
    assert taken(body) == b"0123456789"


def test_a_block_that_is_slow_to_fill_is_given_in_parts() -> None:
    """What is there can be read once the connection says so; its rest gets a wait of its own."""
    now_s = 1.0
    body = Body(lambda: now_s)
    body.prepare(None, Blocks())
    body.begin(2 * BLOCK_BYTES)
    receive(body, b"abc")
    assert (body.take(), body.filling_since_s) == (None, 1.0)
    now_s = 2.0
    body.give_what_is_there()
    assert (body.is_filling, taken(body), body.filling_since_s) == (False, b"abc", 2.0)
    receive(body, b"de")
    assert (body.is_filling, body.take()) == (True, None)
    receive(body, bytes(BLOCK_BYTES - 5))
    assert taken(body) == b"de" + bytes(BLOCK_BYTES - 5)


def test_a_host_that_is_far_ahead_is_told_to_wait_and_to_go_on() -> None:
    """Too much that nobody took holds it back, until half of it is taken."""
    body = Body(lambda: 0.0)
    body.prepare(None, None)
    body.begin(None)
    receive(body, bytes(MIB))
    assert not body.is_far_ahead
    receive(body, bytes(MIB // 2))
    assert (body.is_far_ahead, body.has_room_again) == (True, False)
    while not body.has_room_again:
        assert body.take() is not None
    assert 0 < body.ahead_bytes < 768 * 1024
    body.prepare(None, None)
    assert (body.ahead_bytes, body.take()) == (0, None)


def test_a_host_goes_on_when_nothing_can_be_read_without_it() -> None:
    """A block that is not full is no reason to keep the host waiting."""
    body = Body(lambda: 0.0)
    body.prepare(None, Blocks())
    body.begin(4 * BLOCK_BYTES)
    receive(body, bytes(BLOCK_BYTES + BLOCK_BYTES - 1))
    assert body.is_far_ahead
    assert body.take() is not None
    assert body.has_room_again


def test_what_came_in_chunks_is_read_as_it_came() -> None:
    """Chunks are received elsewhere, and counted like anything else."""
    body = Body(lambda: 0.0)
    body.prepare(None, None)
    body.add(b"abc")
    body.add(b"de")
    assert (body.ahead_bytes, taken(body), body.ahead_bytes) == (5, b"abcde", 0)


def test_after_the_end_what_came_can_still_be_read() -> None:
    """But a connection that is closed gives nothing any more."""
    body = Body(lambda: 0.0)
    body.prepare(lambda size: memoryview(bytearray(size)), Blocks())
    body.begin(3)
    receive(body, b"abc")
    body.end()
    assert not body.begin(2)  # no room is asked for any more
    body.drop()
    assert (body.take(), body.is_readable) == (None, False)


@given(
    sizes=st.lists(st.integers(1, 700_000), max_size=8),
    is_sized=st.booleans(),
    has_blocks=st.booleans(),
    dice=st.randoms(use_true_random=False),
)
def test_the_bytes_are_those_that_came_in_their_order(
    sizes: list[int], is_sized: bool, has_blocks: bool, dice: random.Random
) -> None:
    """However they come, wherever they are received, and whenever they are read."""
    data = (bytes(range(251)) * (sum(sizes) // 251 + 1))[: sum(sizes)]
    body, received, at = Body(lambda: 0.0), bytearray(), 0
    body.prepare((lambda size: memoryview(bytearray(size))) if dice.random() < 0.5 else None, None)
    if has_blocks:
        body.prepare(None, Blocks())
    body.begin(len(data) if is_sized else None)
    is_whole = False
    for size in sizes:
        is_whole = receive(body, data[at : at + size])
        at += size
        if dice.random() < 0.5:
            received += taken(body)
    body.give_what_is_there()
    received += taken(body)
    assert (bytes(received), body.ahead_bytes) == (data, 0)
    assert is_whole is (is_sized and bool(sizes))

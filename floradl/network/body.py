"""Where the bytes of one answer's body go while they come, and which of them can be read already.

A `Body` knows nothing of sockets, timers or HTTP: a connection tells it how many bytes came into the memory
that it gave, and takes from it what can be read. There are three kinds of memory:

- room, where the asker wants a small body to be as a whole;
- blocks of 1 MiB, for a large body: they are written to the disk as they are, so a block is given when it is
  full. `give_what_is_there` lets a part of one be read, for a host that is slow to fill it;
- pieces of 256 KiB, for anything else: what came is given at once.

Memory is not endless. `is_far_ahead` says that so much came which nobody has taken yet that the host should
wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from floradl.buffers import BLOCK_BYTES, Blocks, Room

ROOM_BYTES = 256 * 1024
"""The largest body for which room is asked."""

_PIECE_BYTES = 256 * 1024
_AHEAD_BYTES = 1536 * 1024
"""The host has to wait when more bytes than this came that nobody has taken."""


class Body:
    """The bytes of one body after the other, as a connection receives them.

    Args:
        now: the event loop's time, in seconds.

    Attributes:
        ahead_bytes: how many bytes came that nobody has taken yet.
        filling_since_s: when the block that is being filled was begun, or when a part of it was last taken.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._room: Room | None = None
        self._blocks: Blocks | None = None
        self._piece: memoryview | None = None
        self._is_block = self._is_due = False
        self._filled_bytes = self._taken_bytes = 0  # of the piece
        self._left_bytes: int | None = None
        self._pieces: deque[memoryview | bytes] = deque()
        self.ahead_bytes = 0
        self.filling_since_s = 0.0

    def prepare(self, room: Room | None, blocks: Blocks | None) -> None:
        """Get ready for the body of the next answer; bytes of the one before that nobody read are dropped."""
        self._room, self._blocks = room, blocks
        self._pieces.clear()
        self.ahead_bytes = 0

    def begin(self, length_bytes: int | None) -> bool:
        """Begin a body.

        Args:
            length_bytes: its length; None where the body ends with the connection.

        Returns:
            Whether the body is so small that it goes to the asker's room as a whole.
        """
        self._left_bytes = length_bytes
        if self._room is None or length_bytes is None or length_bytes > ROOM_BYTES:
            return False
        self._piece, self._filled_bytes, self._taken_bytes = self._room(length_bytes)[:length_bytes], 0, 0
        self._is_block, self._is_due = False, True
        return True

    def buffer(self) -> memoryview:
        """Where the next bytes are to be received; never empty as long as the body has not ended."""
        if self._piece is None:
            self._piece, self._filled_bytes, self._taken_bytes = self._new_piece(), 0, 0
        return self._piece[self._filled_bytes :]

    def fill(self, nbytes: int) -> bool:
        """Take note that bytes came into the buffer.

        Returns:
            Whether the body is whole now; never where its length is not known.
        """
        piece = cast("memoryview", self._piece)
        self._filled_bytes += nbytes
        self.ahead_bytes += nbytes
        is_whole = False
        if self._left_bytes is not None:
            self._left_bytes -= nbytes
            is_whole = not self._left_bytes
        if is_whole or self._filled_bytes == len(piece):
            self._pieces.append(piece[self._taken_bytes : self._filled_bytes])
            self._piece = None
        return is_whole

    def add(self, piece: bytes) -> None:
        """Take a piece that was received elsewhere, as those of a chunked body are."""
        self._pieces.append(piece)
        self.ahead_bytes += len(piece)

    def take(self) -> memoryview | bytes | None:
        """The next bytes that can be read; None when there are none yet."""
        if self._pieces:
            taken = self._pieces.popleft()
        elif self._piece is not None and self.is_readable:
            # The rest of a block gets a full wait of its own.
            self._is_due, self.filling_since_s = not self._is_block, self._now()
            start, self._taken_bytes = self._taken_bytes, self._filled_bytes
            taken = self._piece[start : self._filled_bytes]
        else:
            return None
        self.ahead_bytes -= len(taken)
        return taken

    def end(self) -> None:
        """The answer has ended. What came can still be taken; no further memory is asked for."""
        self._room = self._blocks = None

    def drop(self) -> None:
        """Forget everything, because nobody will read it."""
        self._piece = self._room = self._blocks = None
        self._pieces.clear()

    def give_what_is_there(self) -> None:
        """Let a block be read that is not full: its rest is slow to come, or will not come at all."""
        self._is_due = True

    @property
    def is_readable(self) -> bool:
        """Whether `take` would give something."""
        is_begun = self._piece is not None and self._filled_bytes > self._taken_bytes
        return bool(self._pieces) or (is_begun and self._is_due)

    @property
    def is_filling(self) -> bool:
        """Whether there is a part of a block, which may not be read yet because it still has time to fill."""
        return self._is_block and self._piece is not None and not self._is_due

    @property
    def is_far_ahead(self) -> bool:
        """Whether so much came which nobody has taken that the host should wait."""
        return self.ahead_bytes >= _AHEAD_BYTES

    @property
    def has_room_again(self) -> bool:
        """Whether a host that waits may go on: little is left, or nothing that could be read without it."""
        return self.ahead_bytes < _AHEAD_BYTES // 2 or not self._pieces

    def _new_piece(self) -> memoryview:
        left_bytes = _PIECE_BYTES if self._left_bytes is None else self._left_bytes
        self._is_block = self._blocks is not None and left_bytes >= BLOCK_BYTES
        self._is_due = not self._is_block
        if self._blocks is not None and self._is_block:
            self.filling_since_s = self._now()
            return self._blocks.take()
        return memoryview(bytearray(min(left_bytes, _PIECE_BYTES)))

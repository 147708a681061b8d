"""Whether a host's answer may be waited for with its body, if that is small.

Head and body of a small file are then one thing to wait for instead of several; with thousands of them, a
good part of the work. The price: while both are waited for, nobody sees that something comes. So it is done
with a host whose bodies came at once, and no longer when one did not.
"""

from __future__ import annotations

from collections import OrderedDict

GATHER_BYTES = 256 * 1024
"""How much of a body is waited for, at most."""

QUICK_S = 0.5
"""A body that comes in so much time has come at once."""

SLOW_S = 2.0
"""An answer that takes so much time with its body is the last that is waited for like this."""

PATIENCE_S = 5.0
"""After so much time an answer is asked for anew, without waiting for its body."""

_MAX_HOSTS = 1024


class Gathering:
    """Which hosts are quick; those that were asked last, where there are many.

    Args:
        is_on: False: none is, for where every byte has to be counted when it comes.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on
        self._quick: OrderedDict[str, None] = OrderedDict()

    def size_bytes(self, host: str) -> int:
        """How much of a body to wait for."""
        return GATHER_BYTES if host in self._quick else 0

    def streamed(self, host: str, took_s: float) -> None:
        """A body that nobody waited for was read to its end in so much time."""
        if self._is_on and took_s <= QUICK_S:
            self._quick[host] = None
            if len(self._quick) > _MAX_HOSTS:
                self._quick.popitem(last=False)

    def gathered(self, host: str, took_s: float) -> None:
        """An answer came, with its body or the beginning of it, in so much time."""
        if took_s > SLOW_S:
            self.failed(host)

    def failed(self, host: str) -> None:
        """An answer was waited for in vain, or was cut off."""
        self._quick.pop(host, None)

"""How large numbers from outside may be: those in an archive's own files, which others can write too.

JSON has numbers of any length. A size of 10**400 bytes overflows the first division, a moment of 10**30
milliseconds is no date, and a price of 1e308 dollars makes every sum infinite. So each number has a range in
which everything that floradl does with it works, and what is outside is refused where the JSON is read.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from floradl.clock import MAX_MS, MIN_MS

MAX_BYTES = 2**63 - 1
"""The largest size that a file can have on any system."""

MAX_USD = 1e15
"""The largest price that is believed."""

Moment = Annotated[int, msgspec.Meta(ge=MIN_MS, le=MAX_MS)]
"""Milliseconds since 1970."""

SizeBytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_BYTES)]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of things, and other small numbers."""

Usd = Annotated[float, msgspec.Meta(ge=-MAX_USD, le=MAX_USD)]

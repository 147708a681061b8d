"""Every benchmark by its name, in the order in which they are run and shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import checking, fetching, host, nights, startup, texts
from benchmarks.bench import Bench
from benchmarks.results import Group

SUITE: dict[str, Callable[[Bench], Group]] = {
    "small-40ms": partial(fetching.small, route=host.DELAYED),
    "small-0ms": partial(fetching.small, route=host.INSTANT),
    "large-40ms": partial(fetching.large, route=host.DELAYED),
    "large-0ms": partial(fetching.large, route=host.INSTANT),
    "mix-40ms": partial(fetching.mix, route=host.DELAYED),
    "mix-limited": partial(fetching.mix, route=host.LIMITED),
    "one-limited": partial(fetching.single, route=host.LIMITED),
    "busy-busy": partial(fetching.busy, route=host.BUSY),
    "texts": texts.first_archive,
    "memory": texts.memory,
    "night-1000": partial(nights.night, count=1_000),
    "night-100000": partial(nights.night, count=100_000),
    "night-1000000": partial(nights.night, count=1_000_000),
    "verify-small": checking.small,
    "verify-large": checking.large,
    "startup": startup.startup,
}
"""The keys are the ids of the groups that come of them."""

"""Every benchmark by its name, in the order in which they are run and shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import downloads, host, nights, startup, texts, verify
from benchmarks.bench import Bench
from benchmarks.results import Group

SUITE: dict[str, Callable[[Bench], Group]] = {
    "small-40ms": partial(downloads.small, route=host.DELAYED),
    "small-0ms": partial(downloads.small, route=host.INSTANT),
    "large-40ms": partial(downloads.large, route=host.DELAYED),
    "large-0ms": partial(downloads.large, route=host.INSTANT),
    "mix-40ms": partial(downloads.mix, route=host.DELAYED),
    "mix-limited": partial(downloads.mix, route=host.LIMITED),
    "one-limited": partial(downloads.single, route=host.LIMITED),
    "busy-busy": partial(downloads.busy, route=host.BUSY),
    "texts": texts.first_archive,
    "memory": texts.memory,
    "night-1000": partial(nights.night, count=1_000),
    "night-100000": partial(nights.night, count=100_000),
    "night-1000000": partial(nights.night, count=1_000_000),
    "verify-small": verify.small,
    "verify-large": verify.large,
    "startup": startup.startup,
}
"""The keys are the ids of the groups that come of them."""

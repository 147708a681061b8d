"""What every fetch of media needs, whether of a whole output or of a part of one.

`Context` is what all transfers of a session share, `Requester` a request with its redirects, `Pace` what is
watched while a body comes, `Writing` its way to the disk, which goes on while the next bytes come.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import httpx

from floradl.buffers import Blocks
from floradl.clock import Clock
from floradl.constants import DEFAULT_CONCURRENCY
from floradl.download.dedupe import ContentIndex
from floradl.download.tally import TransferCounters
from floradl.network import addresses
from floradl.network.bandwidth import Bandwidth
from floradl.network.concurrency import HostLimits
from floradl.network.retry import Backoff, HostPauses
from floradl.storage.destination import Destination
from floradl.storage.local.writer_pool import WriterPool


@dataclass(frozen=True)
class Context:
    """What every transfer of a session shares.

    Args:
        disk: the archive.
        writer_pool: writes small files to it.
        clock: for waits and for the speed floor.
        pauses: the pauses that hosts asked for.
        retries: how often an output is tried again while nothing arrives.
        allow_loopback: whether media may come from this machine and over http.
        backoff: the waits between tries.
        traffic: where received bytes are counted.
        limits: how many requests each host gets at the same time.
        bandwidth: how much may be received a second.
        content_index: the files that equal ones are made from.
        blocks: memory for large bodies.
    """

    disk: Destination
    writer_pool: WriterPool
    clock: Clock
    pauses: HostPauses
    retries: int
    allow_loopback: bool
    backoff: Backoff = field(default_factory=Backoff)
    traffic: TransferCounters = field(default_factory=TransferCounters)
    limits: HostLimits = field(default_factory=lambda: HostLimits(DEFAULT_CONCURRENCY))
    bandwidth: Bandwidth = field(default_factory=lambda: Bandwidth(Clock()))
    content_index: ContentIndex = field(default_factory=ContentIndex)
    blocks: Blocks = field(default_factory=Blocks)


class Wire(Protocol):
    """What options of a job say about the network."""

    @property
    def base_url(self) -> str:
        """The API's, which decides where media may come from."""

    @property
    def concurrency(self) -> int:
        """Outputs on their way at the same time, at most."""

    @property
    def retries(self) -> int:
        """Tries after the first, for an output while nothing arrives."""

    @property
    def limit_rate_bytes(self) -> int:
        """How much media may come a second, all together; 0: whatever comes."""


def new_context(
    wire: Wire,
    disk: Destination,
    clock: Clock,
    backoff: Backoff | None,
    traffic: TransferCounters | None = None,
) -> Context:
    """What the transfers of a session share, as the options of its job say."""
    return Context(
        disk=disk,
        writer_pool=WriterPool(disk),
        clock=clock,
        pauses=HostPauses(clock),
        retries=wire.retries,
        allow_loopback=addresses.is_loopback_host(httpx.URL(wire.base_url).host),
        backoff=backoff or Backoff(),
        traffic=traffic or TransferCounters(),
        limits=HostLimits(wire.concurrency),
        bandwidth=Bandwidth(clock, wire.limit_rate_bytes),
    )

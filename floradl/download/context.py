"""What all transfers of one session share, in one frozen value that is passed down to each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import httpx

from floradl.buffers import Blocks
from floradl.clock import Clock
from floradl.constants import DEFAULT_CONCURRENCY
from floradl.download.dedupe import ContentIndex
from floradl.download.fresh_urls import FreshUrlBudget
from floradl.download.tally import TransferCounters
from floradl.network import addresses
from floradl.network.bandwidth import Bandwidth
from floradl.network.concurrency import HostLimits
from floradl.network.retry import Backoff, HostPauses
from floradl.storage.destination import Destination
from floradl.storage.local.writer_pool import WriterPool


@dataclass(frozen=True)
class Context:
    """What all transfers of a session share. The fields are fixed, the objects in them change.

    Args:
        disk: the archive.
        writer_pool: the processes that write small files into the archive.
        clock: the source of time for waits and for the speed floor; tests pass one of their own.
        pauses: for each host, until when it must not be asked (`Retry-After`).
        retries: how many tries in a row may bring no new bytes of an output, after the first try.
        allow_loopback: whether media URLs may lead to this machine, and may be plain http. True only where
            the API itself is on this machine.
        backoff: how long to wait between two tries.
        traffic: counts the received bytes, and lists the transfers under way.
        limits: how many requests each host gets at the same time.
        bandwidth: the `--limit-rate` that all transfers share.
        content_index: archived files by their SHA-256, from which equal uploads are made.
        blocks: memory for the bodies of large files.
        fresh_urls: for which hosts the API is asked for fresh URLs.
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
    fresh_urls: FreshUrlBudget = field(default_factory=FreshUrlBudget)


class NetworkOptions(Protocol):
    """The options of a job that concern the network; the options of each job have these attributes."""

    @property
    def base_url(self) -> str:
        """The URL of the API. If it is on this machine, media may come from this machine too."""

    @property
    def concurrency(self) -> int:
        """How many outputs are transferred at the same time, at most."""

    @property
    def retries(self) -> int:
        """How many tries in a row may bring no new bytes of an output, after the first try."""

    @property
    def limit_rate_bytes(self) -> int:
        """How many bytes of media all transfers together may receive a second; 0 for no limit."""


def new_context(
    options: NetworkOptions,
    disk: Destination,
    clock: Clock,
    backoff: Backoff | None,
    traffic: TransferCounters | None = None,
) -> Context:
    """Make the context of a session from the options of its job.

    Args:
        options: the options of the job.
        disk: the archive.
        clock: the source of time.
        backoff: the waits between tries; None for the usual ones.
        traffic: the counters that a progress display reads; None for new ones.
    """
    return Context(
        disk=disk,
        writer_pool=WriterPool(disk),
        clock=clock,
        pauses=HostPauses(clock),
        retries=options.retries,
        allow_loopback=addresses.is_loopback_host(httpx.URL(options.base_url).host),
        backoff=backoff or Backoff(),
        traffic=traffic or TransferCounters(),
        limits=HostLimits(options.concurrency),
        bandwidth=Bandwidth(clock, options.limit_rate_bytes),
    )

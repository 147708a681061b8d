"""Counters, for displays and reports."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from floradl.constants import Kind
from floradl.repository.results import Failure


@dataclass(slots=True, eq=False)
class ActiveTransfer:
    """One output on its way, for those who show progress.

    Args:
        name: its run and key; printable.
        began_s: when, by the session's steady clock.
        total_bytes: its size, once a host has announced it.
        size_bytes: how much of it is there.
    """

    name: str
    began_s: float
    total_bytes: int | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class TransferCounters:
    """What came over the network so far, and what is on its way, for those who show progress."""

    received_bytes: int = 0
    flows: set[ActiveTransfer] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """What has been done so far; read by progress displays while a pool is at work.

    `listed_runs` counts the runs that the lists gave; with `is_listed` there is no more to come, so that
    `total`, which counts the files of assets too, is final. `is_stopping` says that nothing new is begun, and
    running transfers get a last while.
    """

    runs: int = 0
    new_runs: int = 0
    assets: int = 0
    new_assets: int = 0
    outputs: int = 0
    already: int = 0
    fetched: int = 0
    adopted: int = 0
    failed: int = 0
    new_bytes: int = 0
    charged_cost: float = 0.0
    failed_word: str = "failed"
    failures: list[Failure] = field(default_factory=list)
    traffic: TransferCounters = field(default_factory=TransferCounters)
    listed_runs: int = 0
    is_listed: bool = False
    is_stopping: bool = False

    def note(self, kind: Kind, *, is_new: bool) -> None:
        """Count a run or an asset that a worker is told of."""
        if kind is Kind.RUN:
            self.runs += 1
            self.new_runs += is_new
        else:
            self.assets += 1
            self.new_assets += is_new

    def fail(self, failure: Failure) -> None:
        """Count an output that could not be had."""
        self.failed += 1
        self.failures.append(failure)

    @property
    def total(self) -> int:
        """Outputs found so far."""
        return max(self.outputs, self.done)

    @property
    def moved_bytes(self) -> int:
        """Bytes that came over the network."""
        return self.traffic.received_bytes

    @property
    def moved(self) -> int:
        """Outputs to which these bytes belong, those on their way apart."""
        return self.fetched

    @property
    def flows(self) -> Collection[ActiveTransfer]:
        """Outputs that are on their way."""
        return self.traffic.flows

    @property
    def done(self) -> int:
        """Outputs about which nothing is left to do."""
        return self.already + self.fetched + self.adopted + self.failed

"""Counters of what a job has done so far. Progress displays read them while it runs, its report at the end.

Only the event loop's thread writes them, so they need no lock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from floradl.constants import Kind
from floradl.repository.results import Failure, Receipt


@dataclass(slots=True, eq=False)
class ActiveTransfer:
    """One output that is being transferred; a progress display shows it as a line.

    Args:
        name: the ids of its run and output, made printable.
        began_s: when the transfer began, in seconds of the session's monotonic clock.
        total_bytes: the size of the whole file; None until a host or the API has announced it.
        size_bytes: how many bytes of it have arrived, those of an earlier session included.
    """

    name: str
    began_s: float
    total_bytes: int | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class TransferCounters:
    """The bytes that all transfers have received in this session, and the transfers under way (`flows`)."""

    received_bytes: int = 0
    flows: set[ActiveTransfer] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """What a job has done so far.

    Attributes:
        runs, assets: the runs and assets that a preparer has looked at.
        new_runs, new_assets: those among them that the archive did not know before.
        outputs: the outputs of those runs and assets.
        already: the outputs that were archived and whole already.
        fetched: the outputs that this job brought in.
        adopted: the files that an ended process had renamed into place without recording them.
        failed: the outputs that could not be had; `failures` says why, one value each.
        other_sizes: the receipts of outputs that have another size than the API announced.
        new_bytes: the size of all fetched and adopted files together.
        charged_cost: what FLORA charged for the new runs, in FLORA's own unit.
        failed_word: the word by which a display names the failed outputs.
        traffic: the received bytes and the transfers under way.
        listed_runs: the runs that the API's lists gave.
        is_listed: the lists are read to their end, so `total` does not grow any more.
        is_stopping: a signal came; nothing new is begun and running transfers get a last while.
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
    other_sizes: list[Receipt] = field(default_factory=list)
    traffic: TransferCounters = field(default_factory=TransferCounters)
    listed_runs: int = 0
    is_listed: bool = False
    is_stopping: bool = False

    def note(self, kind: Kind, *, is_new: bool) -> None:
        """Count a run or an asset that a preparer has looked at.

        Args:
            kind: whether it is a run; everything else counts as an asset.
            is_new: whether the archive did not know it before.
        """
        if kind is Kind.RUN:
            self.runs += 1
            self.new_runs += is_new
        else:
            self.assets += 1
            self.new_assets += is_new

    def fail(self, failure: Failure) -> None:
        """Count an output that could not be had, and keep the reason for the report."""
        self.failed += 1
        self.failures.append(failure)

    @property
    def total(self) -> int:
        """How many outputs there are to look at, as far as is known by now."""
        return max(self.outputs, self.done)

    @property
    def moved_bytes(self) -> int:
        """How many bytes came over the network; a display divides them by time."""
        return self.traffic.received_bytes

    @property
    def moved(self) -> int:
        """How many finished outputs `moved_bytes` belongs to; transfers under way are not counted."""
        return self.fetched

    @property
    def flows(self) -> Collection[ActiveTransfer]:
        """The transfers under way."""
        return self.traffic.flows

    @property
    def done(self) -> int:
        """How many outputs need no further work in this job."""
        return self.already + self.fetched + self.adopted + self.failed

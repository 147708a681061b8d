"""What an archive holds, in numbers: pure, from the manifest alone.

One pass over the runs, which a million outputs make some seconds long. Costs are USD, as FLORA charged them;
a run's cost is shared out evenly over its outputs where it is told by type, so that the parts add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from floradl.clock import MAX_MS, parse_ms
from floradl.entries import ScanEntry, State
from floradl.errors import ApiError
from floradl.manifest import Manifest
from floradl.model import Scope, parse_generation
from floradl.names import Place, PlaceName
from floradl.snapshot import CountedOutput, CountedRun
from floradl.verified import Verified

_DAY_MS = 86_400_000

K = TypeVar("K")


@dataclass(slots=True)
class Sums:
    """What some runs come to. `outputs` and `size_bytes` are of what is archived, `failed` outputs are not.

    `cost_usd` leaves out the runs `without_cost`, of which FLORA has not said any yet.
    """

    runs: int = 0
    outputs: int = 0
    size_bytes: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    without_cost: int = 0

    def add(self, other: Sums) -> None:
        """Count what others come to too."""
        self.runs += other.runs
        self.outputs += other.outputs
        self.size_bytes += other.size_bytes
        self.failed += other.failed
        self.cost_usd += other.cost_usd
        self.without_cost += other.without_cost


@dataclass(frozen=True, slots=True)
class FailedOutput:
    """An output that could not be archived so far. Texts are from outside."""

    run_id: str
    key: str
    type: str
    code: str
    message: str
    attempts: int | None
    tried_ms: int | None
    run_created_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that was pending or running when its scope was last scanned."""

    run_id: str
    status: str
    workspace_id: str
    project_id: str
    created_ms: int | None


@dataclass(frozen=True, slots=True)
class VanishedRun:
    """A run that FLORA does not list any more; what is archived of it stays."""

    run_id: str
    at: str


@dataclass(frozen=True, slots=True)
class ScopeAge:
    """When a scope was last scanned without any error, be it as part of a larger one; None: never."""

    scope: Scope
    scanned_ms: int | None
    fully_scanned_ms: int | None


@dataclass(slots=True)
class Status:
    """What an archive holds. Lists are in the manifest's order; `by_month` is by `2026-11`, in UTC."""

    total: Sums = field(default_factory=Sums)
    by_project: dict[Place, Sums] = field(default_factory=dict)
    by_model: dict[str | None, Sums] = field(default_factory=dict)
    by_type: dict[str | None, Sums] = field(default_factory=dict)
    by_month: dict[str | None, Sums] = field(default_factory=dict)
    failed: list[FailedOutput] = field(default_factory=list)
    open_runs: list[OpenRun] = field(default_factory=list)
    vanished: list[VanishedRun] = field(default_factory=list)
    scopes: list[ScopeAge] = field(default_factory=list)
    names: Mapping[Place, PlaceName] = field(default_factory=dict)
    verified: Verified = field(default_factory=Verified)

    @property
    def scanned_ms(self) -> int | None:
        """When the scope that was scanned the longest ago was; None where one never was, or there is none."""
        return _oldest(age.scanned_ms for age in self.scopes)

    @property
    def fully_scanned_ms(self) -> int | None:
        """As `scanned_ms`, of scans over the whole history."""
        return _oldest(age.fully_scanned_ms for age in self.scopes)

    def is_older_than(self, max_age_s: float, now_ms: int) -> bool:
        """Whether any scope's last complete scan is older than that."""
        scanned_ms = self.scanned_ms
        return scanned_ms is None or now_ms - scanned_ms > max_age_s * 1000


def summarize(manifest: Manifest, scopes: Sequence[Scope] = ()) -> Status:
    """Everything that the manifest tells.

    Args:
        manifest: an archive's memory.
        scopes: what to look at; empty: all of it, and as scopes those that were ever scanned.

    Raises:
        ManifestError: an entry cannot be read.
    """
    status, months = Status(), _Months()
    for run_id, run in manifest.iter_counted():
        if scopes and not any(scope.holds(run.workspace_id, run.project_id) for scope in scopes):
            continue
        _count(status, run_id, run, months.of(run.created_at))
    scans = sorted(manifest.scans(), key=lambda scan: parse_ms(scan.last_scan_at) or 0, reverse=True)
    status.open_runs = [
        run
        for run in _open_runs(scans)
        if run.run_id not in manifest
        and (not scopes or any(scope.holds(run.workspace_id, run.project_id) for scope in scopes))
    ]
    asked = dict.fromkeys(scopes or map(_scope, scans))
    status.scopes = [_age(scope, scans) for scope in asked]
    return status


def _count(status: Status, run_id: str, run: CountedRun, month: str | None) -> None:
    """Add one run to all sums that it belongs to."""
    cost, outputs = run.charged_cost, len(run.outputs)
    whole = Sums(runs=1, cost_usd=cost or 0.0, without_cost=cost is None)
    by_type: dict[str | None, Sums] = {}
    for key, output in run.outputs.items():
        sums = by_type.get(output.type) or by_type.setdefault(output.type, Sums(1))
        if output.state is State.ARCHIVED:
            sums.outputs += 1
            sums.size_bytes += output.size_bytes or 0
        elif output.state is State.FAILED:  # and no more of what is lost for good, which was told
            sums.failed += 1
            status.failed.append(_failed(run_id, key, output, run))
    for kind, sums in by_type.items():
        whole.outputs += sums.outputs
        whole.size_bytes += sums.size_bytes
        whole.failed += sums.failed
        sums.cost_usd = whole.cost_usd * (sums.outputs + sums.failed) / outputs
        sums.without_cost = whole.without_cost
        _of(status.by_type, kind).add(sums)
    if not outputs:
        _of(status.by_type, None).add(whole)
    status.total.add(whole)
    _of(status.by_project, Place(run.workspace_id, run.project_id)).add(whole)
    _of(status.by_model, run.model_id).add(whole)
    _of(status.by_month, month).add(whole)
    if run.vanished_at is not None:
        status.vanished.append(VanishedRun(run_id, run.vanished_at))


def _of(groups: dict[K, Sums], key: K) -> Sums:
    return groups.get(key) or groups.setdefault(key, Sums())


def _failed(run_id: str, key: str, output: CountedOutput, run: CountedRun) -> FailedOutput:
    error = output.error
    return FailedOutput(
        run_id=run_id,
        key=key,
        type=output.type,
        code=error.code if error else "",
        message=error.message if error else "",
        attempts=output.attempts,
        tried_ms=parse_ms(error.at) if error else None,
        run_created_ms=run.created_at,
    )


class _Months:
    """The month of a moment, in UTC; each day is looked up once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, moment_ms: int | None) -> str | None:
        """A month such as `2026-11`; None for no moment."""
        if moment_ms is None or not 0 <= moment_ms <= MAX_MS:
            return None
        day = moment_ms // _DAY_MS
        if day not in self._known:
            self._known[day] = datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m")
        return self._known[day]


def _open_runs(scans: Sequence[ScanEntry]) -> Iterator[OpenRun]:
    """The open runs of all scans, newest scan first; what a newer one would have met counts there alone."""
    newer: list[Scope] = []
    for scan in scans:
        for run_id, record in scan.open_runs.items():
            try:
                run = parse_generation(bytes(record))
            except ApiError:
                continue
            if not any(scope.holds(run.workspace_id, run.project_id) for scope in newer):
                yield OpenRun(run_id, run.status, run.workspace_id, run.project_id, run.created_at_ms)
        newer.append(_scope(scan))


def _age(scope: Scope, scans: Iterable[ScanEntry]) -> ScopeAge:
    covering = [scan for scan in scans if _covers(_scope(scan), scope)]
    return ScopeAge(
        scope,
        _newest(parse_ms(scan.last_scan_at) for scan in covering),
        _newest(parse_ms(scan.last_full_scan_at) for scan in covering),
    )


def _covers(larger: Scope, smaller: Scope) -> bool:
    """Whether all of a scope lies in another, as far as their ids tell."""
    return (
        larger.source == smaller.source
        and larger.workspace_id in (None, smaller.workspace_id)
        and larger.project_id in (None, smaller.project_id)
    )


def _scope(scan: ScanEntry) -> Scope:
    return Scope(scan.scope.workspace_id, scan.scope.project_id, scan.scope.source)


def _newest(moments: Iterable[int | None]) -> int | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _oldest(moments: Iterable[int | None]) -> int | None:
    known = list(moments)
    return None if None in known else min((moment for moment in known if moment is not None), default=None)

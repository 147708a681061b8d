"""What an archive holds, in numbers. Pure, from the manifest alone.

It goes over all runs once, which takes some seconds for a million outputs. Costs are in USD, as FLORA
charged them. FLORA charges for runs; for sums by type of output, a run's cost is divided evenly among its
outputs, so that the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from floradl.api.models import Scope
from floradl.api.records import parse_generation
from floradl.clock import MAX_MS, is_to_come, parse_ms
from floradl.constants import Kind, Source
from floradl.errors import ApiError
from floradl.repository.entries import ScanEntry, State
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, PlaceName
from floradl.repository.snapshot import CountedOutput, CountedRun
from floradl.repository.verdict import Verified

_DAY_MS = 86_400_000

K = TypeVar("K")


@dataclass(slots=True)
class Sums:
    """The sums of some runs.

    Attributes:
        runs: how many runs.
        outputs, size_bytes: how many archived outputs, and their size.
        failed: how many outputs that could not be archived so far.
        cost_usd: what FLORA charged for those runs of which it has said so.
        without_cost: how many runs of which FLORA has not said what they cost.
    """

    runs: int = 0
    outputs: int = 0
    size_bytes: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    without_cost: int = 0

    def add(self, other: Sums) -> None:
        """Add the sums of other runs."""
        self.runs += other.runs
        self.outputs += other.outputs
        self.size_bytes += other.size_bytes
        self.failed += other.failed
        self.cost_usd += other.cost_usd
        self.without_cost += other.without_cost


@dataclass(frozen=True, slots=True)
class FailedOutput:
    """An output that could not be archived so far; `run_id` is the id of its run, asset or canvas.

    Its texts come from outside, and have to be made printable.
    """

    run_id: str
    kind: Kind
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
    """A run or asset that FLORA does not list any more; what is archived of it stays."""

    run_id: str
    kind: Kind
    at: str


@dataclass(frozen=True, slots=True)
class ScopeAge:
    """When a scope was last scanned without an error, by itself or as part of a larger one.

    Attributes:
        scope: one list of the API, in one place.
        scanned_ms, fully_scanned_ms: when the last scan, and the last one over the whole history, ended;
            None when none has.
        refused_ms: since when the API has refused this list to the key; None while it gives it.
    """

    scope: Scope
    scanned_ms: int | None
    fully_scanned_ms: int | None
    refused_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Technique:
    """A technique. `technique_id` is None when only its name is known. Its texts come from outside."""

    technique_id: str | None
    name: str


@dataclass(slots=True)
class Status:
    """What an archive holds. Lists are in the manifest's order.

    Attributes:
        total: the sums of all runs.
        besides: the sums of assets and of canvases, by their kind; their `runs` are entries, and they cost
            nothing.
        by_sources: the sums of runs by the lists that have them, in the order of `constants.Source`.
        by_technique: the sums of runs that have a technique.
        by_project, by_model, by_type: the sums of runs by project, by model, and by the type of their
            outputs.
        by_month: the sums of runs by the month of their creation in UTC, such as `2026-11`.
        failed: the outputs that could not be archived so far.
        other_sizes: how many archived outputs have another size than the API announced.
        compressed: how many archived outputs are no originals, which their host refused.
        open_runs: the runs that were not finished when last seen.
        vanished: the entries that FLORA does not list any more.
        scopes: how old the scans are.
        names: the names of projects and workspaces, as far as the archive has them.
        verified: the last checks.
    """

    total: Sums = field(default_factory=Sums)
    besides: dict[Kind, Sums] = field(default_factory=dict)
    by_sources: dict[tuple[str, ...], Sums] = field(default_factory=dict)
    by_technique: dict[Technique, Sums] = field(default_factory=dict)
    by_project: dict[Place, Sums] = field(default_factory=dict)
    by_model: dict[str | None, Sums] = field(default_factory=dict)
    by_type: dict[str | None, Sums] = field(default_factory=dict)
    by_month: dict[str | None, Sums] = field(default_factory=dict)
    failed: list[FailedOutput] = field(default_factory=list)
    other_sizes: int = 0
    compressed: int = 0
    open_runs: list[OpenRun] = field(default_factory=list)
    vanished: list[VanishedRun] = field(default_factory=list)
    scopes: list[ScopeAge] = field(default_factory=list)
    names: Mapping[Place, PlaceName] = field(default_factory=dict)
    verified: Verified = field(default_factory=Verified)

    @property
    def scanned_ms(self) -> int | None:
        """When the scope with the oldest last scan was scanned; None when one never was, or there is none.

        Lists that the API refuses to the key count with the last scan that they gave. What was archived of
        them is as old as that, and nothing else would ever tell.
        """
        return _oldest(age.scanned_ms for age in self.scopes)

    @property
    def fully_scanned_ms(self) -> int | None:
        """As `scanned_ms`, for scans over the whole history."""
        return _oldest(age.fully_scanned_ms for age in self.scopes)

    def is_older_than(self, max_age_s: float, now_ms: int) -> bool:
        """Whether any scope's last complete scan is older than that, or its date is still to come."""
        return not self.scopes or any(
            age.scanned_ms is None
            or is_to_come(age.scanned_ms, now_ms)
            or now_ms - age.scanned_ms > max_age_s * 1000
            for age in self.scopes
        )


def summarize(
    manifest: Manifest,
    scopes: Sequence[Scope] = (),
    sources: Collection[str] = (),
    *,
    now_ms: int = MAX_MS,
) -> Status:
    """Count what an archive holds.

    Args:
        manifest: the archive's state.
        scopes: the places to count; empty for all runs, and for the ages of all scopes that were ever
            scanned.
        sources: the lists whose ages are wanted; empty for all that were ever scanned.
        now_ms: now, in ms since 1970: of several scans of a scope, those with a date to come count last.

    Raises:
        ManifestError: an entry cannot be read.
    """
    status, months = Status(), _Months()
    for run_id, run in manifest.iter_counted():
        if scopes and not any(scope.holds(run.workspace_id, run.project_id) for scope in scopes):
            continue
        if run.kind is Kind.RUN:
            _count(status, run_id, run, months.of(run.created_at))
        else:
            _count_besides(status, run_id, run)
    scans = sorted(
        manifest.scans(), key=lambda scan: _past(parse_ms(scan.last_scan_at), now_ms), reverse=True
    )
    status.open_runs = [
        run
        for run in _open_runs(scans)
        if run.run_id not in manifest
        and (not scopes or any(scope.holds(run.workspace_id, run.project_id) for scope in scopes))
    ]
    wanted = [scan for scan in scans if not sources or scan.scope.source in sources]
    status.scopes = _ages(scopes, wanted, now_ms)
    return status


def _count(status: Status, run_id: str, run: CountedRun, month: str | None) -> None:
    """Add one run to all sums that it belongs to."""
    cost, outputs = run.charged_cost, len(run.outputs)
    whole = Sums(runs=1, cost_usd=cost or 0.0, without_cost=cost is None)
    by_type: dict[str | None, Sums] = {}
    for key, output in run.outputs.items():
        sums = by_type.get(output.type) or by_type.setdefault(output.type, Sums(1))
        _count_output(status, sums, run_id, key, output, run)
    for kind, sums in by_type.items():
        whole.outputs += sums.outputs
        whole.size_bytes += sums.size_bytes
        whole.failed += sums.failed
        sums.cost_usd = whole.cost_usd * (sums.outputs + sums.failed) / outputs
        sums.without_cost = whole.without_cost
        _sums_of(status.by_type, kind).add(sums)
    if not outputs:
        _sums_of(status.by_type, None).add(whole)
    status.total.add(whole)
    _sums_of(status.by_project, Place(run.workspace_id, run.project_id)).add(whole)
    _sums_of(status.by_model, run.model_id).add(whole)
    _sums_of(status.by_month, month).add(whole)
    _sums_of(status.by_sources, _ordered_sources(run.sources)).add(whole)
    if run.technique_id or run.technique_name:
        _sums_of(status.by_technique, Technique(run.technique_id, run.technique_name or "")).add(whole)
    if run.vanished_at is not None:
        status.vanished.append(VanishedRun(run_id, run.kind, run.vanished_at))


def _count_besides(status: Status, identifier: str, entry: CountedRun) -> None:
    """Add one asset or canvas to the sums of its kind."""
    sums = Sums(runs=1)
    for key, output in entry.outputs.items():
        _count_output(status, sums, identifier, key, output, entry)
    status.besides.setdefault(entry.kind, Sums()).add(sums)
    if entry.vanished_at is not None:
        status.vanished.append(VanishedRun(identifier, entry.kind, entry.vanished_at))


def _count_output(
    status: Status, sums: Sums, run_id: str, key: str, output: CountedOutput, run: CountedRun
) -> None:
    if output.state is State.ARCHIVED:
        sums.outputs += 1
        sums.size_bytes += output.size_bytes or 0
        status.other_sizes += output.announced_bytes is not None
        status.compressed += output.compressed
    elif output.state is State.FAILED:  # a lost one is left out: `verify` names it
        sums.failed += 1
        status.failed.append(_failed(run_id, key, output, run))


@lru_cache(maxsize=64)
def _ordered_sources(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Lists in a fixed order; those that only a newer floradl knows come last."""
    known = [str(source) for source in Source]
    return tuple(
        sorted(
            set(sources),
            key=lambda name: (name not in known, known.index(name) if name in known else 0, name),
        )
    )


def _sums_of(groups: dict[K, Sums], key: K) -> Sums:
    return groups.get(key) or groups.setdefault(key, Sums())


def _failed(run_id: str, key: str, output: CountedOutput, run: CountedRun) -> FailedOutput:
    error = output.error
    return FailedOutput(
        run_id=run_id,
        kind=run.kind,
        key=key,
        type=output.type,
        code=error.code if error else "",
        message=error.message if error else "",
        attempts=output.attempts,
        tried_ms=parse_ms(error.at) if error else None,
        run_created_ms=run.created_at,
    )


class _Months:
    """Months of moments, in UTC. Each day is computed once: a million runs are of a few hundred days."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, moment_ms: int | None) -> str | None:
        """The month of a moment, such as `2026-11`; None when there is none, or it is out of range."""
        if moment_ms is None or not 0 <= moment_ms <= MAX_MS:
            return None
        day = moment_ms // _DAY_MS
        if day not in self._known:
            self._known[day] = datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m")
        return self._known[day]


def _open_runs(scans: Sequence[ScanEntry]) -> Iterator[OpenRun]:
    """The open runs of all scans, newest scan first.

    A run that an older scan found open counts only if no newer scan would have found it: otherwise it has
    been finished since then.
    """
    newer: list[Scope] = []
    seen: set[str] = set()
    for scan in scans:
        scope = _scope(scan)
        for run_id, record in scan.open_runs.items() if scope.kind is Kind.RUN else ():
            try:
                run = parse_generation(bytes(record))
            except ApiError:
                continue
            is_newer = (
                other.holds(run.workspace_id, run.project_id)
                for other in newer
                if other.source == scope.source
            )
            if run.run_id not in seen and not any(is_newer):
                seen.add(run.run_id)
                yield OpenRun(run_id, run.status, run.workspace_id, run.project_id, run.created_at_ms)
        newer.append(scope)


def _ages(scopes: Sequence[Scope], scans: Sequence[ScanEntry], now_ms: int) -> list[ScopeAge]:
    """The age of each wanted scope, in each list that was ever scanned there; of all if none is wanted."""
    asked = [_scope(scan) for scan in scans]
    if scopes:
        known = {scope: [scan for scan in scans if _covers(_scope(scan), scope)] for scope in scopes}
        asked = [
            replace(scope, source=source)
            for scope, its in known.items()
            for source in sorted({scan.scope.source for scan in its}) or [scope.source]
        ]
    return [_age(scope, scans, now_ms) for scope in dict.fromkeys(asked)]


def _age(scope: Scope, scans: Iterable[ScanEntry], now_ms: int) -> ScopeAge:
    covering = [scan for scan in scans if scan.scope.source == scope.source and _covers(_scope(scan), scope)]
    is_closed = bool(covering) and all(scan.refused_at is not None for scan in covering)
    return ScopeAge(
        scope,
        _newest((parse_ms(scan.last_scan_at) for scan in covering), now_ms),
        _newest((parse_ms(scan.last_full_scan_at) for scan in covering), now_ms),
        _newest((parse_ms(scan.refused_at or "") for scan in covering), now_ms) if is_closed else None,
    )


def _covers(larger: Scope, smaller: Scope) -> bool:
    """Whether the place of a scope lies within that of another, as far as their ids tell."""
    return larger.workspace_id in (None, smaller.workspace_id) and larger.project_id in (
        None,
        smaller.project_id,
    )


def _scope(scan: ScanEntry) -> Scope:
    return Scope(scan.scope.workspace_id, scan.scope.project_id, scan.scope.source)


def _newest(moments: Iterable[int | None], now_ms: int) -> int | None:
    """The newest moment of the past; where there is none, one that is to come."""
    known = [moment for moment in moments if moment is not None]
    return max(known, key=lambda moment: _past(moment, now_ms), default=None)


def _past(moment_ms: int | None, now_ms: int) -> int:
    """A moment for comparing; what is to come or not known counts as older than everything."""
    return 0 if moment_ms is None or is_to_come(moment_ms, now_ms) else moment_ms


def _oldest(moments: Iterable[int | None]) -> int | None:
    known = list(moments)
    return None if None in known else min((moment for moment in known if moment is not None), default=None)

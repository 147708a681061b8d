"""The facts below the table of `floradl status`: how old scans and checks are, and what is missing. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from floradl.api.models import Scope
from floradl.cli.reports.common import REASONS_SHOWN
from floradl.cli.ui.tables import format_age
from floradl.cli.ui.wording import list_word, place_name
from floradl.clock import format_ms, parse_ms
from floradl.constants import Kind, Source
from floradl.errors import printable
from floradl.repository.statistics import FailedOutput, ScopeAge, Status, VanishedRun
from floradl.repository.verdict import Verdict

_ONE_NIGHT_MS = 3_600_000
"""Lists of one place that were scanned within an hour of each other were scanned by one job."""

Row = tuple[str, ...]
"""A fact: its title (empty where it goes on from the row above), its value, and what is added to that."""


def fact_rows(status: Status, now_ms: int) -> Iterable[Row]:
    """All facts, in the order in which they are shown; ages are counted from `now_ms`."""
    yield from _failed_facts(status.failed, now_ms)
    if status.other_sizes:
        yield "other sizes", f"{status.other_sizes:,}, whole", "than FLORA announced"
    if status.compressed:
        yield "no originals", f"{status.compressed:,}, compressed", "their host refused the originals"
    if status.open_runs:
        statuses = Counter(printable(run.status, limit=12) for run in status.open_runs)
        oldest = [run.created_ms for run in status.open_runs if run.created_ms is not None]
        words = ", ".join(f"{count:,} {word}" for word, count in statuses.most_common())
        yield "open runs", words, f"oldest {ago(min(oldest), now_ms)}" if oldest else ""
    else:
        yield "open runs", "none", ""
    yield _vanished_fact("vanished runs", [run for run in status.vanished if run.kind is Kind.RUN], now_ms)
    if assets := [asset for asset in status.vanished if asset.kind is Kind.ASSET]:
        yield _vanished_fact("vanished assets", assets, now_ms)
    yield from _scan_facts(status, now_ms)
    yield from _closed_facts(status, now_ms)
    yield _verdict_fact("last verify", status.verified.last, now_ms)
    if status.verified.last is not None and not status.verified.last.is_full:
        yield _verdict_fact("last full verify", status.verified.last_full, now_ms)


def _vanished_fact(title: str, vanished: Sequence[VanishedRun], now_ms: int) -> Row:
    if not vanished:
        return title, "none", ""
    since = [parse_ms(run.at) for run in vanished]
    last = max((moment for moment in since if moment is not None), default=None)
    return title, f"{len(vanished):,}, kept", f"last noticed {ago(last, now_ms)}"


def _failed_facts(failed: Sequence[FailedOutput], now_ms: int) -> Iterable[Row]:
    if not failed:
        yield "failed outputs", "none", ""
        return
    by_code: defaultdict[str, list[FailedOutput]] = defaultdict(list)
    for output in failed:
        by_code[printable(output.code or "unknown", limit=24)].append(output)
    ranked = sorted(by_code.items(), key=lambda item: -len(item[1]))
    for number, (code, outputs) in enumerate(ranked[:REASONS_SHOWN]):
        made = [output.run_created_ms for output in outputs if output.run_created_ms is not None]
        tried = [output.tried_ms for output in outputs if output.tried_ms is not None]
        ages = [f"made {ago(min(made), now_ms)}"] if made else []
        ages += [f"tried {ago(max(tried), now_ms)}"] if tried else []
        yield "failed outputs" if not number else "", f"{len(outputs):,} {code}", ", ".join(ages)
    if len(ranked) > REASONS_SHOWN:
        yield "", f"{len(ranked) - REASONS_SHOWN} other reasons", ""


def _scan_facts(status: Status, now_ms: int) -> Iterable[Row]:
    """When the last scans were: of each place, where there are several, the longest ago first."""
    for title, moment in (("last scan", _scanned), ("last full scan", _fully_scanned)):
        rows = sorted(_grouped_moments(status, moment), key=lambda row: row[0] or 0)
        if len(rows) <= 1:
            yield _moment_fact(title, rows[0][0] if rows else None, now_ms)
            continue
        for number, (moment_ms, name) in enumerate(rows[:REASONS_SHOWN]):
            yield title if not number else "", ago(moment_ms, now_ms), f"of {name}"
        if len(rows) > REASONS_SHOWN:
            yield "", f"and {len(rows) - REASONS_SHOWN} later ones", ""


def _grouped_moments(
    status: Status, moment: Callable[[ScopeAge], int | None]
) -> Iterable[tuple[int | None, str]]:
    """When each place was scanned, with its name; list by list where these were not scanned together."""
    of_place: defaultdict[Scope, list[ScopeAge]] = defaultdict(list)
    for age in status.scopes:
        of_place[age.scope.of(Source.GENERATIONS)].append(age)
    for place, ages in of_place.items():
        known = [at for age in ages if (at := moment(age)) is not None]
        if len(known) == len(ages) and max(known) - min(known) <= _ONE_NIGHT_MS:
            yield min(known), _place_name(place, status)
        else:
            yield from ((moment(age), scope_name(age, status)) for age in ages)


def _closed_facts(status: Status, now_ms: int) -> Iterable[Row]:
    """The lists that FLORA showed to this key before, and refuses to it now."""
    closed = [age for age in status.scopes if age.refused_ms is not None]
    for number, age in enumerate(closed[:REASONS_SHOWN]):
        is_all = age.scope == Scope(source=age.scope.source)
        name = list_word(age.scope.source) if is_all else scope_name(age, status)
        yield "closed to the key" if not number else "", name, f"noticed {ago(age.refused_ms, now_ms)}"


def scope_name(age: ScopeAge, status: Status) -> str:
    """A scope for people, by name where that is known: `assets of Autumn (prj_x)`."""
    place = _place_name(age.scope.of(Source.GENERATIONS), status)
    if age.scope.source == Source.GENERATIONS:
        return place
    return f"{list_word(age.scope.source)} of {place}"


def _place_name(scope: Scope, status: Status) -> str:
    for place, name in status.names.items():
        if scope.project_id is not None and place.project_id == scope.project_id:
            return place_name(name.project, place.project_id)
        if scope.project_id is None and place.workspace_id == scope.workspace_id:
            return place_name(name.workspace, place.workspace_id)
    return printable(str(scope), limit=80)


def _scanned(age: ScopeAge) -> int | None:
    return age.scanned_ms


def _fully_scanned(age: ScopeAge) -> int | None:
    return age.fully_scanned_ms


def _verdict_fact(title: str, verdict: Verdict | None, now_ms: int) -> Row:
    if verdict is None:
        return title, "never", ""
    found = "sound" if verdict.sound else f"{verdict.findings:,} finding{'s'[: verdict.findings != 1]}"
    part = "" if verdict.is_full else f", {printable(verdict.sample, limit=20)} of the bytes"
    at_ms = parse_ms(verdict.at)
    return title, f"{ago(at_ms, now_ms)}, {found}", f"{_date(at_ms)}{part}"


def _moment_fact(title: str, moment_ms: int | None, now_ms: int) -> Row:
    return title, ago(moment_ms, now_ms), _date(moment_ms)


def _date(moment_ms: int | None) -> str:
    return "" if moment_ms is None else f"{format_ms(moment_ms)[:16].replace('T', ' ')} UTC"


def ago(moment_ms: int | None, now_ms: int) -> str:
    """How long ago a moment was, such as `3 h ago`; `never` for None."""
    return "never" if moment_ms is None else format_age((now_ms - moment_ms) / 1000)

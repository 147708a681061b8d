"""What an archive holds, for people: the lines that `floradl status` prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from floradl.api.models import Scope
from floradl.cli.ui.tables import Column, cut, format_age, table_lines
from floradl.cli.ui.units import format_bytes
from floradl.cli.ui.wording import output_name, place_name
from floradl.clock import format_ms, parse_ms
from floradl.constants import DEFAULT_SOURCES, SOURCE_WORDS, Kind, Source, type_word
from floradl.errors import printable
from floradl.repository.names import PlaceName
from floradl.repository.statistics import FailedOutput, ScopeAge, Status, Sums, VanishedRun
from floradl.repository.verdict import Verdict

_ROWS_SHOWN = 20
_REASONS_SHOWN = 8
_ONE_NIGHT_MS = 3_600_000
"""Lists that were scanned within an hour were so by one job."""
_COLUMNS = (
    Column("", least=12),
    Column("runs", is_number=True, rank=2),
    Column("outputs", is_number=True),
    Column("size", is_number=True),
    Column("cost", is_number=True, rank=1),
    Column("no cost yet", is_number=True, rank=3),
)
_FACTS = (Column(""), Column("", least=12), Column("", least=20, rank=1))

Row = tuple[str, ...]


class _Part(NamedTuple):
    """Some rows of the table below a heading."""

    title: str
    rows: list[tuple[str, Sums]]
    is_of_runs: bool = True


def status_lines(
    status: Status, dest: str, width: int, now_ms: int, *, everything: bool = False
) -> list[str]:
    """The whole status.

    Args:
        status: what is to be told.
        dest: the archive, as the user named it.
        width: the terminal's, in cells.
        now_ms: for ages.
        everything: whether long lists are not cut short, and each failed output is named.
    """
    return [
        printable(dest, limit=1000),
        "",
        *_table(status, width, everything=everything),
        "",
        *table_lines(_FACTS, list(_facts(status, now_ms)), width, with_head=False),
        *(_failure_lines(status.failed) if everything else []),
    ]


def age_line(status: Status, now_ms: int) -> str:
    """What is too old: the scope that was scanned the longest ago, and when that was."""
    if not status.scopes:
        return "TOO OLD: nothing was ever scanned to its end."
    if not status.open_scopes:
        return "TOO OLD: this key cannot see any more what was scanned before."
    age = min(status.open_scopes, key=lambda age: age.scanned_ms or 0)
    of = scope_name(age, status)
    if age.scanned_ms is None:
        return f"TOO OLD: {of} was never scanned to its end."
    return f"TOO OLD: the last complete scan of {of} was {_ago(age.scanned_ms, now_ms)}."


def _table(status: Status, width: int, *, everything: bool) -> list[str]:
    """All numbers as one table, so that they are aligned, with headings between its parts."""
    parts = list(_parts(status))
    shown = [part.rows if everything else part.rows[:_ROWS_SHOWN] for part in parts]
    rows = [_row("all", status.total)]
    rows += [
        _row(f"  {name}", sums, is_of_runs=part.is_of_runs)
        for part, some in zip(parts, shown, strict=True)
        for name, sums in some
    ]
    columns = len(_COLUMNS) if status.total.without_cost else len(_COLUMNS) - 1
    cells = iter(table_lines(_COLUMNS[:columns], [row[:columns] for row in rows], width))
    lines = [next(cells), next(cells)]
    for part, some in zip(parts, shown, strict=True):
        lines += ["", cut(part.title, width), *islice(cells, len(some))]
        if len(some) < len(part.rows):
            lines.append(cut(f"  … {len(part.rows) - len(some):,} more; -v shows all", width))
    return lines


def _parts(status: Status) -> Iterable[_Part]:
    yield from _project_parts(status)
    models = ((printable(name or "(no model)", limit=80), sums) for name, sums in status.by_model.items())
    yield _Part("by model", _by_size(models))
    types = ((_type_name(kind), sums) for kind, sums in status.by_type.items())
    yield _Part("by type", _by_size(types))
    months = ((month or "(no date)", sums) for month, sums in status.by_month.items())
    yield _Part("by month", sorted(months, reverse=True))
    techniques = (
        (printable(technique.name or technique.technique_id or "", limit=80), sums)
        for technique, sums in status.by_technique.items()
    )
    if status.by_technique:
        yield _Part("by technique", _by_size(techniques))
    if any(sources != (Source.GENERATIONS,) for sources in status.by_sources):
        lists = ((_lists_name(sources), sums) for sources, sums in status.by_sources.items())
        yield _Part("by list", _by_size(lists))
    if status.besides:
        words = {Kind.ASSET: "assets", Kind.CANVAS: "canvas snapshots"}
        besides = [(words[kind], sums) for kind, sums in status.besides.items()]
        yield _Part("besides runs", _by_size(besides), is_of_runs=False)


def _lists_name(sources: tuple[str, ...]) -> str:
    """The lists that have some runs: `technique runs alone`, `both lists`."""
    if sources == DEFAULT_SOURCES:
        return "both lists"
    shown = [_list_word(source) for source in sources]
    return f"{shown[0]} alone" if len(shown) == 1 else " and ".join(shown)


def _list_word(source: str) -> str:
    words = {str(known): word for known, word in SOURCE_WORDS.items()}
    return words.get(source, printable(source, limit=20))


def _project_parts(status: Status) -> Iterable[_Part]:
    """The projects, workspace by workspace where there are several."""
    of_workspace: defaultdict[str, list[tuple[str, Sums]]] = defaultdict(list)
    workspaces: dict[str, str] = {}
    for place, sums in status.by_project.items():
        name = status.names.get(place, PlaceName())
        workspaces[place.workspace_id] = place_name(name.workspace, place.workspace_id)
        of_workspace[place.workspace_id].append((place_name(name.project, place.project_id), sums))
    for workspace_id, projects in of_workspace.items():
        title = "by project" if len(of_workspace) == 1 else f"by project, in {workspaces[workspace_id]}"
        yield _Part(title, _by_size(projects))


def _by_size(rows: Iterable[tuple[str, Sums]]) -> list[tuple[str, Sums]]:
    return sorted(rows, key=lambda row: (-row[1].size_bytes, -row[1].runs, row[0]))


def _row(name: str, sums: Sums, *, is_of_runs: bool = True) -> Row:
    return (
        name,
        f"{sums.runs:,}" if is_of_runs else "",
        f"{sums.outputs:,}",
        format_bytes(sums.size_bytes),
        _dollars(sums) if is_of_runs else "",
        f"{sums.without_cost:,}" if sums.without_cost else "",
    )


def _type_name(kind: str | None) -> str:
    """A type in the word that `--type` takes, where there is one."""
    return printable(type_word(kind or "(no output)"), limit=40)


def _dollars(sums: Sums) -> str:
    """What is known to have been charged; nothing where nothing is known."""
    if sums.without_cost == sums.runs:
        return ""
    return f"${sums.cost_usd:,.2f}" if not 0 < sums.cost_usd < 0.005 else "<$0.01"


def _facts(status: Status, now_ms: int) -> Iterable[Row]:
    yield from _failed_facts(status.failed, now_ms)
    if status.open_runs:
        statuses = Counter(printable(run.status, limit=12) for run in status.open_runs)
        oldest = [run.created_ms for run in status.open_runs if run.created_ms is not None]
        words = ", ".join(f"{count:,} {word}" for word, count in statuses.most_common())
        yield "open runs", words, f"oldest {_ago(min(oldest), now_ms)}" if oldest else ""
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
    return title, f"{len(vanished):,}, kept", f"last noticed {_ago(last, now_ms)}"


def _failed_facts(failed: Sequence[FailedOutput], now_ms: int) -> Iterable[Row]:
    if not failed:
        yield "failed outputs", "none", ""
        return
    by_code: defaultdict[str, list[FailedOutput]] = defaultdict(list)
    for output in failed:
        by_code[printable(output.code or "unknown", limit=24)].append(output)
    ranked = sorted(by_code.items(), key=lambda item: -len(item[1]))
    for number, (code, outputs) in enumerate(ranked[:_REASONS_SHOWN]):
        made = [output.run_created_ms for output in outputs if output.run_created_ms is not None]
        tried = [output.tried_ms for output in outputs if output.tried_ms is not None]
        ages = [f"made {_ago(min(made), now_ms)}"] if made else []
        ages += [f"tried {_ago(max(tried), now_ms)}"] if tried else []
        yield "failed outputs" if not number else "", f"{len(outputs):,} {code}", ", ".join(ages)
    if len(ranked) > _REASONS_SHOWN:
        yield "", f"{len(ranked) - _REASONS_SHOWN} other reasons", ""


def _scan_facts(status: Status, now_ms: int) -> Iterable[Row]:
    """The last scans; each place's where they are several, the one that waits the longest first."""
    for title, moment in (("last scan", _scanned), ("last full scan", _fully_scanned)):
        rows = sorted(_told_together(status, moment), key=lambda row: row[0] or 0)
        if len(rows) <= 1:
            yield _moment_fact(title, rows[0][0] if rows else None, now_ms)
            continue
        for number, (moment_ms, name) in enumerate(rows[:_REASONS_SHOWN]):
            yield title if not number else "", _ago(moment_ms, now_ms), f"of {name}"
        if len(rows) > _REASONS_SHOWN:
            yield "", f"and {len(rows) - _REASONS_SHOWN} later ones", ""


def _told_together(
    status: Status, moment: Callable[[ScopeAge], int | None]
) -> Iterable[tuple[int | None, str]]:
    """When each place was scanned, and its name; list by list where that was not at the same time."""
    of_place: defaultdict[Scope, list[ScopeAge]] = defaultdict(list)
    for age in status.open_scopes:
        of_place[age.scope.of(Source.GENERATIONS)].append(age)
    for place, ages in of_place.items():
        known = [at for age in ages if (at := moment(age)) is not None]
        if len(known) == len(ages) and max(known) - min(known) <= _ONE_NIGHT_MS:
            yield min(known), _place_name(place, status)
        else:
            yield from ((moment(age), scope_name(age, status)) for age in ages)


def _closed_facts(status: Status, now_ms: int) -> Iterable[Row]:
    """The lists that the key saw once, and does not see any more."""
    closed = [age for age in status.scopes if age.refused_ms is not None]
    for number, age in enumerate(closed[:_REASONS_SHOWN]):
        is_all = age.scope == Scope(source=age.scope.source)
        name = _list_word(age.scope.source) if is_all else scope_name(age, status)
        yield "closed to the key" if not number else "", name, f"noticed {_ago(age.refused_ms, now_ms)}"


def scope_name(age: ScopeAge, status: Status) -> str:
    """A scope for people, by name where that is known: `assets of Autumn (prj_x)`."""
    place = _place_name(age.scope.of(Source.GENERATIONS), status)
    if age.scope.source == Source.GENERATIONS:
        return place
    return f"{_list_word(age.scope.source)} of {place}"


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
    return title, f"{_ago(at_ms, now_ms)}, {found}", f"{_date(at_ms)}{part}"


def _moment_fact(title: str, moment_ms: int | None, now_ms: int) -> Row:
    return title, _ago(moment_ms, now_ms), _date(moment_ms)


def _date(moment_ms: int | None) -> str:
    return "" if moment_ms is None else f"{format_ms(moment_ms)[:16].replace('T', ' ')} UTC"


def _ago(moment_ms: int | None, now_ms: int) -> str:
    return "never" if moment_ms is None else format_age((now_ms - moment_ms) / 1000)


def _failure_lines(failed: Sequence[FailedOutput]) -> list[str]:
    return [
        f"failed: {output_name(output.run_id, output.key)}: "
        f"{printable(output.code, limit=40)}: {printable(output.message)}"
        for output in failed
    ]

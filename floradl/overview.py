"""What an archive holds, for people: the lines that `floradl status` prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from floradl.clock import format_ms, parse_ms
from floradl.errors import printable
from floradl.names import PlaceName
from floradl.progress import place_name
from floradl.quantities import format_bytes
from floradl.status import FailedOutput, ScopeAge, Status, Sums
from floradl.tables import Column, cut, format_age, table_lines
from floradl.verified import Verdict
from floradl.words import type_word

_ROWS_SHOWN = 20
_REASONS_SHOWN = 8
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
    age = min(status.scopes, key=lambda age: age.scanned_ms or 0)
    of = scope_name(age, status)
    if age.scanned_ms is None:
        return f"TOO OLD: {of} was never scanned to its end."
    return f"TOO OLD: the last complete scan of {of} was {_ago(age.scanned_ms, now_ms)}."


def _table(status: Status, width: int, *, everything: bool) -> list[str]:
    """All numbers as one table, so that they are aligned, with headings between its parts."""
    parts = list(_parts(status))
    shown = [part.rows if everything else part.rows[:_ROWS_SHOWN] for part in parts]
    rows = [_row("all", status.total)]
    rows += [_row(f"  {name}", sums) for part in shown for name, sums in part]
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


def _row(name: str, sums: Sums) -> Row:
    return (
        name,
        f"{sums.runs:,}",
        f"{sums.outputs:,}",
        format_bytes(sums.size_bytes),
        _dollars(sums),
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
    if status.vanished:
        since = [parse_ms(run.at) for run in status.vanished]
        last = max((moment for moment in since if moment is not None), default=None)
        yield "vanished runs", f"{len(status.vanished):,}, kept", f"last noticed {_ago(last, now_ms)}"
    else:
        yield "vanished runs", "none", ""
    yield from _scan_facts(status, now_ms)
    yield _verdict_fact("last verify", status.verified.last, now_ms)
    if status.verified.last is not None and not status.verified.last.is_full:
        yield _verdict_fact("last full verify", status.verified.last_full, now_ms)


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
    """The last scans; each scope's where they are several, the one that waits the longest first."""
    if len(status.scopes) <= 1:
        yield _moment_fact("last scan", status.scanned_ms, now_ms)
        yield _moment_fact("last full scan", status.fully_scanned_ms, now_ms)
        return
    ages = sorted(status.scopes, key=lambda age: age.scanned_ms or 0)
    for title, moment in (("last scan", _scanned), ("last full scan", _fully_scanned)):
        for number, age in enumerate(ages[:_REASONS_SHOWN]):
            label = title if not number else ""
            yield label, _ago(moment(age), now_ms), f"of {scope_name(age, status)}"
        if len(ages) > _REASONS_SHOWN:
            yield "", f"and {len(ages) - _REASONS_SHOWN} later ones", ""


def scope_name(age: ScopeAge, status: Status) -> str:
    """A scope for people, by name where that is known."""
    scope = age.scope
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
        f"failed: {printable(output.run_id, limit=80)} {printable(output.key, limit=80)}: "
        f"{printable(output.code, limit=40)}: {printable(output.message)}"
        for output in failed
    ]

"""What an archive holds: the object of `floradl status --json`, and the lines for people. Pure.

docs/status.schema.json is the JSON Schema of the object. `status_facts` has the lines below the table, and
`metrics` says the same numbers for Prometheus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from floradl.cli.reports.status_facts import ago, fact_rows, scope_name
from floradl.cli.ui.tables import Column, cut, table_lines
from floradl.cli.ui.units import format_bytes
from floradl.cli.ui.wording import list_word, output_name, place_name
from floradl.clock import format_ms, is_to_come
from floradl.constants import DEFAULT_SOURCES, Kind, Source, type_word
from floradl.errors import printable
from floradl.repository.names import PlaceName
from floradl.repository.statistics import FailedOutput, Status, Sums
from floradl.repository.verdict import Verdict

ENTRY_WORDS = {Kind.ASSET: "assets", Kind.CANVAS: "canvases"}
"""How reports call the entries that are no runs."""

_ROWS_SHOWN = 20
_COLUMNS = (
    Column("", least=12),
    Column("runs", is_number=True, rank=2),
    Column("outputs", is_number=True),
    Column("size", is_number=True),
    Column("cost", is_number=True, rank=1),
    Column("no cost yet", is_number=True, rank=3),
)
_FACTS = (Column(""), Column("", least=12), Column("", least=20, rank=1))


def status_object(
    status: Status, *, archive: Mapping[str, str], now_ms: int, max_age_s: float | None, exit_code: int
) -> dict[str, object]:
    """The object that `status --json` prints.

    Args:
        status: the numbers.
        archive: `path`, `archive_id`, `created_at` and `base_url` of the archive.
        now_ms: the time now, Unix ms.
        max_age_s: the value of `--max-age`, seconds.
        exit_code: the command's.
    """
    return {
        "format": "floradl-status",
        "version": 1,
        "command": "status",
        "exit_code": exit_code,
        "at": format_ms(now_ms),
        "archive": dict(archive),
        "max_age_s": max_age_s,
        "too_old": None if max_age_s is None else status.is_older_than(max_age_s, now_ms),
        "last_scan_at": _date_text(status.scanned_ms),
        "last_full_scan_at": _date_text(status.fully_scanned_ms),
        "last_verify": _verdict_object(status.verified.last),
        "last_full_verify": _verdict_object(status.verified.last_full),
        "scopes": [
            {
                "source": age.scope.source,
                "workspace_id": age.scope.workspace_id,
                "project_id": age.scope.project_id,
                "last_scan_at": _date_text(age.scanned_ms),
                "last_full_scan_at": _date_text(age.fully_scanned_ms),
                "refused_at": _date_text(age.refused_ms),
            }
            for age in status.scopes
        ],
        "total": sums_object(status.total),
        "assets": _besides_object(status, Kind.ASSET),
        "canvases": _besides_object(status, Kind.CANVAS),
        **_groups(status),
        **_lists(status),
    }


def _groups(status: Status) -> dict[str, object]:
    names = status.names
    return {
        "by_project": [
            {
                "workspace_id": place.workspace_id,
                "workspace_name": names.get(place, PlaceName()).workspace or None,
                "project_id": place.project_id,
                "project_name": names.get(place, PlaceName()).project or None,
                **sums_object(sums),
            }
            for place, sums in status.by_project.items()
        ],
        "by_model": [{"model_id": model, **sums_object(sums)} for model, sums in status.by_model.items()],
        "by_type": [{"type": kind, **sums_object(sums)} for kind, sums in status.by_type.items()],
        "by_month": [
            {"month": month, **sums_object(status.by_month[month])}
            for month in sorted(status.by_month, key=lambda month: month or "")
        ],
        "by_sources": [
            {"sources": list(sources), **sums_object(sums)} for sources, sums in status.by_sources.items()
        ],
        "by_technique": [
            {
                "technique_id": technique.technique_id,
                "technique_name": technique.name or None,
                **sums_object(sums),
            }
            for technique, sums in status.by_technique.items()
        ],
    }


def _lists(status: Status) -> dict[str, object]:
    return {
        "failed_outputs": [
            {
                "run_id": output.run_id,
                "kind": output.kind,
                "output": output.key,
                "type": output.type,
                "code": output.code,
                "message": output.message,
                "attempts": output.attempts,
                "last_tried_at": _date_text(output.tried_ms),
                "run_created_at": _date_text(output.run_created_ms),
            }
            for output in status.failed
        ],
        "other_sizes": status.other_sizes,
        "compressed": status.compressed,
        "open_runs": [
            {
                "run_id": run.run_id,
                "status": run.status,
                "workspace_id": run.workspace_id,
                "project_id": run.project_id,
                "created_at": _date_text(run.created_ms),
            }
            for run in status.open_runs
        ],
        "vanished_runs": [
            {"run_id": run.run_id, "vanished_at": run.at} for run in status.vanished if run.kind is Kind.RUN
        ],
        "vanished_assets": [
            {"asset_id": asset.run_id, "vanished_at": asset.at}
            for asset in status.vanished
            if asset.kind is Kind.ASSET
        ],
    }


def sums_object(sums: Sums) -> dict[str, float]:
    """Sums over some runs by the names that reports and metrics have for them."""
    return {
        "runs": sums.runs,
        "outputs": sums.outputs,
        "bytes": sums.size_bytes,
        "failed": sums.failed,
        "cost": round(sums.cost_usd, 6),
        "runs_without_cost": sums.without_cost,
    }


def _besides_object(status: Status, kind: Kind) -> dict[str, int]:
    sums = status.besides.get(kind, Sums())
    return {
        ENTRY_WORDS[kind]: sums.runs,
        "files": sums.outputs,
        "bytes": sums.size_bytes,
        "failed": sums.failed,
    }


def _date_text(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else format_ms(moment_ms)


def _verdict_object(verdict: Verdict | None) -> dict[str, object] | None:
    if verdict is None:
        return None
    return {name: getattr(verdict, name) for name in Verdict.__struct_fields__}


class _Part(NamedTuple):
    """A part of the table: its heading, its rows, and whether these are about runs, which have costs."""

    title: str
    rows: list[tuple[str, Sums]]
    is_of_runs: bool = True


def status_lines(
    status: Status, dest: str, width: int, now_ms: int, *, everything: bool = False
) -> list[str]:
    """All lines that `floradl status` prints.

    Args:
        status: the numbers.
        dest: the archive's folder, as the user named it.
        width: the terminal's width in cells.
        now_ms: the time now, Unix ms; ages are counted from it.
        everything: whether long lists are shown in full, and each failed output is named.
    """
    return [
        printable(dest, limit=1000),
        "",
        *_table(status, width, everything=everything),
        "",
        *table_lines(_FACTS, list(fact_rows(status, now_ms)), width, with_head=False),
        *(_failure_lines(status.failed) if everything else []),
    ]


def age_line(status: Status, now_ms: int) -> str:
    """A message for `--max-age`: which scope was scanned the longest time ago, and how long."""
    if not status.scopes:
        return "TOO OLD: nothing was ever scanned to its end."
    ahead = (age for age in status.scopes if age.scanned_ms and is_to_come(age.scanned_ms, now_ms))
    age = next(ahead, min(status.scopes, key=lambda age: age.scanned_ms or 0))
    of = scope_name(age, status)
    if age.scanned_ms is None:
        return f"TOO OLD: {of} was never scanned to its end."
    if is_to_come(age.scanned_ms, now_ms):
        at = format_ms(age.scanned_ms)
        return f"TOO OLD: the last scan of {of} is dated {at}, which is to come: a clock was wrong."
    closed = "" if age.refused_ms is None else "; FLORA refuses that list to the key since then"
    return f"TOO OLD: the last complete scan of {of} was {ago(age.scanned_ms, now_ms)}{closed}."


def _table(status: Status, width: int, *, everything: bool) -> list[str]:
    """All numbers, laid out as one table so that they are aligned, with headings put between its parts."""
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
    """The lists in which runs were found: `technique runs alone`, `both lists`."""
    if sources == DEFAULT_SOURCES:
        return "both lists"
    shown = [list_word(source) for source in sources]
    return f"{shown[0]} alone" if len(shown) == 1 else " and ".join(shown)


def _project_parts(status: Status) -> Iterable[_Part]:
    """The projects, in a part for each workspace where there are several."""
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


def _row(name: str, sums: Sums, *, is_of_runs: bool = True) -> tuple[str, ...]:
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
    """The cost in US dollars of the runs whose cost is known; "" where it is known of none."""
    if sums.without_cost == sums.runs:
        return ""
    return f"${sums.cost_usd:,.2f}" if not 0 < sums.cost_usd < 0.005 else "<$0.01"


def _failure_lines(failed: Sequence[FailedOutput]) -> list[str]:
    return [
        f"failed: {output_name(output.run_id, output.key)}: "
        f"{printable(output.code, limit=40)}: {printable(output.message)}"
        for output in failed
    ]

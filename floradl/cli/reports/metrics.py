"""What an archive holds, for machines: the object of `status --json`, and Prometheus' text format.

docs/status.md describes both; docs/status.schema.json is the object's JSON Schema. The text is what
node_exporter's textfile collector reads (Prometheus' text exposition format 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from floradl.api.models import Scope
from floradl.clock import format_ms, parse_ms
from floradl.constants import Kind
from floradl.repository.names import PlaceName
from floradl.repository.statistics import Status, Sums
from floradl.repository.verdict import Verdict

Labels = Mapping[str, str]
Sample = tuple[Labels, float]

_ENTRIES = {Kind.ASSET: "assets", Kind.CANVAS: "canvases"}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def status_object(
    status: Status, *, archive: Mapping[str, str], now_ms: int, max_age_s: float | None, exit_code: int
) -> dict[str, object]:
    """The object that `status --json` prints.

    Args:
        status: what is to be told.
        archive: `path`, `archive_id`, `created_at` and `base_url` of the archive.
        now_ms: when it is told.
        max_age_s: what `--max-age` said.
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
        "last_scan_at": _date(status.scanned_ms),
        "last_full_scan_at": _date(status.fully_scanned_ms),
        "last_verify": _verdict(status.verified.last),
        "last_full_verify": _verdict(status.verified.last_full),
        "scopes": [
            {
                "source": age.scope.source,
                "workspace_id": age.scope.workspace_id,
                "project_id": age.scope.project_id,
                "last_scan_at": _date(age.scanned_ms),
                "last_full_scan_at": _date(age.fully_scanned_ms),
                "refused_at": _date(age.refused_ms),
            }
            for age in status.scopes
        ],
        "total": _sums(status.total),
        "assets": _besides(status, Kind.ASSET),
        "canvases": _besides(status, Kind.CANVAS),
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
                **_sums(sums),
            }
            for place, sums in status.by_project.items()
        ],
        "by_model": [{"model_id": model, **_sums(sums)} for model, sums in status.by_model.items()],
        "by_type": [{"type": kind, **_sums(sums)} for kind, sums in status.by_type.items()],
        "by_month": [
            {"month": month, **_sums(status.by_month[month])}
            for month in sorted(status.by_month, key=lambda month: month or "")
        ],
        "by_sources": [
            {"sources": list(sources), **_sums(sums)} for sources, sums in status.by_sources.items()
        ],
        "by_technique": [
            {"technique_id": technique.technique_id, "technique_name": technique.name or None, **_sums(sums)}
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
                "last_tried_at": _date(output.tried_ms),
                "run_created_at": _date(output.run_created_ms),
            }
            for output in status.failed
        ],
        "open_runs": [
            {
                "run_id": run.run_id,
                "status": run.status,
                "workspace_id": run.workspace_id,
                "project_id": run.project_id,
                "created_at": _date(run.created_ms),
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


def _sums(sums: Sums) -> dict[str, float]:
    return {
        "runs": sums.runs,
        "outputs": sums.outputs,
        "bytes": sums.size_bytes,
        "failed": sums.failed,
        "cost": round(sums.cost_usd, 6),
        "runs_without_cost": sums.without_cost,
    }


def _besides(status: Status, kind: Kind) -> dict[str, int]:
    sums = status.besides.get(kind, Sums())
    return {
        _ENTRIES[kind]: sums.runs,
        "files": sums.outputs,
        "bytes": sums.size_bytes,
        "failed": sums.failed,
    }


def _date(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else format_ms(moment_ms)


def _verdict(verdict: Verdict | None) -> dict[str, object] | None:
    if verdict is None:
        return None
    return {name: getattr(verdict, name) for name in Verdict.__struct_fields__}


def metric_lines(status: Status, archive: str) -> Iterator[str]:
    """Prometheus' text format, a line each.

    Every sample has the label `archive`, since node_exporter refuses the same sample from two files.
    A moment that never was has no sample.
    """
    of = {"archive": archive}
    yield from _sum_metrics("", "in the archive", [(of, status.total)])
    yield from _sum_metrics("project_", "by project", _projects(status, of))
    yield from _sum_metrics("model_", "by model", _labelled(status.by_model, "model", of))
    yield from _sum_metrics("type_", "by output type", _labelled(status.by_type, "type", of))
    yield from _sum_metrics("sources_", "by the lists that have the runs", _sources(status, of))
    yield from _sum_metrics("technique_", "by technique", _techniques(status, of))
    yield from _besides_metrics(status, of)
    codes: dict[str, int] = {}
    for output in status.failed:
        codes[output.code] = codes.get(output.code, 0) + 1
    yield from _gauge(
        "floradl_failed_outputs_by_reason",
        "Outputs that could not be archived so far, by reason.",
        [({**of, "code": code}, count) for code, count in codes.items()],
    )
    yield from _gauge(
        "floradl_open_runs", "Runs that were pending or running.", [(of, len(status.open_runs))]
    )
    vanished = sum(run.kind is Kind.RUN for run in status.vanished)
    yield from _gauge("floradl_vanished_runs", "Archived runs that FLORA does not list.", [(of, vanished)])
    yield from _moment_metrics(status, of)


def _labelled(groups: Mapping[str | None, Sums], label: str, of: Labels) -> list[tuple[Labels, Sums]]:
    """Each group with its label. No sample may be twice, so no name and an empty one are the same."""
    merged: dict[str, Sums] = {}
    for name, sums in groups.items():
        merged.setdefault(name or "", Sums()).add(sums)
    return [({**of, label: name}, sums) for name, sums in merged.items()]


def _sources(status: Status, of: Labels) -> list[tuple[Labels, Sums]]:
    groups: dict[str | None, Sums] = {"+".join(sources): sums for sources, sums in status.by_sources.items()}
    return _labelled(groups, "sources", of)


def _techniques(status: Status, of: Labels) -> list[tuple[Labels, Sums]]:
    return [
        ({**of, "technique_id": technique.technique_id or "", "technique": technique.name}, sums)
        for technique, sums in status.by_technique.items()
    ]


def _besides_metrics(status: Status, of: Labels) -> Iterator[str]:
    """What is no run: uploads and canvases, where there are any."""
    for kind, sums in status.besides.items():
        name = _ENTRIES[kind]
        for key, text, value in (
            ("", f"Archived {name}", sums.runs),
            ("_files", f"Files of archived {name}", sums.outputs),
            ("_bytes", f"Bytes of archived {name}", sums.size_bytes),
            ("_failed", f"Files of {name} that could not be archived so far", sums.failed),
        ):
            yield from _gauge(f"floradl_{name}{key}", f"{text}.", [(of, value)])


def _projects(status: Status, of: Labels) -> list[tuple[Labels, Sums]]:
    found: list[tuple[Labels, Sums]] = []
    for place, sums in status.by_project.items():
        name = status.names.get(place, PlaceName())
        labels = {
            "workspace_id": place.workspace_id,
            "workspace": name.workspace,
            "project_id": place.project_id,
            "project": name.project,
        }
        found.append(({**of, **labels}, sums))
    return found


def _sum_metrics(prefix: str, of_what: str, groups: Iterable[tuple[Labels, Sums]]) -> Iterator[str]:
    rows = [(labels, _sums(sums)) for labels, sums in groups]
    for name, key, text in (
        ("runs", "runs", "Runs"),
        ("outputs", "outputs", "Archived outputs"),
        ("bytes", "bytes", "Bytes of archived outputs"),
        ("failed_outputs", "failed", "Outputs that could not be archived so far"),
        ("cost_usd", "cost", "What FLORA charged for runs, in USD"),
        ("runs_without_cost", "runs_without_cost", "Runs without a cost yet"),
    ):
        samples = [(labels, sums[key]) for labels, sums in rows]
        yield from _gauge(f"floradl_{prefix}{name}", f"{text}, {of_what}.", samples)


def _moment_metrics(status: Status, of: Labels) -> Iterator[str]:
    scopes = [(_scope_labels(age.scope, of), age) for age in status.scopes]
    scans = [(labels, age.scanned_ms) for labels, age in scopes if age.refused_ms is None]
    full_scans = [(labels, age.fully_scanned_ms) for labels, age in scopes if age.refused_ms is None]
    closed = [(labels, float(age.refused_ms is not None)) for labels, age in scopes]
    yield from _gauge(
        "floradl_scope_refused", "Whether a list is closed to the key that saw it before.", closed
    )
    verdict, full = status.verified.last, status.verified.last_full
    checks = [(of, parse_ms(verdict.at))] if verdict else []
    full_checks = [(of, parse_ms(full.at))] if full else []
    for what, text, moments in (
        ("scan", "the last complete scan of a scope began", scans),
        ("full_scan", "the last complete scan of a scope over the whole history began", full_scans),
        ("verify", "the last check began", checks),
        ("full_verify", "the last check of all bytes began", full_checks),
    ):
        samples = [(labels, moment / 1000) for labels, moment in moments if moment is not None]
        yield from _gauge(f"floradl_last_{what}_timestamp_seconds", f"When {text}.", samples)
    sound = [(of, float(verdict.sound))] if verdict else []
    yield from _gauge("floradl_last_verify_sound", "Whether the last check found all as it should be.", sound)


def _scope_labels(scope: Scope, of: Labels) -> Labels:
    place = {"workspace_id": scope.workspace_id or "", "project_id": scope.project_id or ""}
    return {**of, **place, "source": scope.source}


def _gauge(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    lines = [f"{name}{{{_labels(labels)}}} {_number(value)}" for labels, value in samples]
    if lines:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} gauge"
        yield from lines


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _number(value: float) -> str:
    """All digits: `%g` would round a byte count."""
    return str(value) if isinstance(value, int) else repr(round(value, 6))

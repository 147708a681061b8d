"""What an archive holds, for monitoring: Prometheus' text format.

docs/status.md describes the metrics. The text is what node_exporter's textfile collector reads (Prometheus'
text exposition format 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from floradl.api.models import Scope
from floradl.cli.reports.status import ENTRY_WORDS, sums_object
from floradl.clock import is_to_come, parse_ms
from floradl.constants import Kind
from floradl.repository.names import PlaceName
from floradl.repository.statistics import Status, Sums

Labels = Mapping[str, str]
Sample = tuple[Labels, float]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def metric_lines(status: Status, archive: str, now_ms: int) -> Iterator[str]:
    """All metrics, line by line.

    Every sample has the label `archive`: node_exporter reads the files of all archives on a machine, and
    refuses two samples that are alike. A scan or check that never happened has no sample. One whose date is
    to come, since a clock was wrong, has 0.

    Args:
        status: the numbers.
        archive: the absolute path of the archive, for that label.
        now_ms: now, in ms since 1970.
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
    yield from _moment_metrics(status, of, now_ms)


def _labelled(groups: Mapping[str | None, Sums], label: str, of: Labels) -> list[tuple[Labels, Sums]]:
    """Each group with its label. No name and an empty name give the same sample, so they are added up."""
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
    """Metrics of uploads and canvases, where the archive has any."""
    for kind, sums in status.besides.items():
        name = ENTRY_WORDS[kind]
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
    rows = [(labels, sums_object(sums)) for labels, sums in groups]
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


def _moment_metrics(status: Status, of: Labels, now_ms: int) -> Iterator[str]:
    scopes = [(_scope_labels(age.scope, of), age) for age in status.scopes]
    scans = [(labels, age.scanned_ms) for labels, age in scopes]
    full_scans = [(labels, age.fully_scanned_ms) for labels, age in scopes]
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
        samples = [
            # A date to come would be young for years to any rule that subtracts it from now.
            (labels, 0.0 if is_to_come(moment, now_ms) else moment / 1000)
            for labels, moment in moments
            if moment is not None
        ]
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
    return ",".join(f'{name}="{_shown(value).translate(_ESCAPES)}"' for name, value in labels.items())


def _shown(value: str) -> str:
    """A label with what a terminal would obey written out, as `\\u001b`. Different ones stay different."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in value)


def _number(value: float) -> str:
    """A value with all its digits: `%g` would round a number of bytes."""
    return str(value) if isinstance(value, int) else repr(round(value, 6))

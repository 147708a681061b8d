"""What an archive job reports, and a dry run: the JSON objects and the lines for people. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from floradl.archiver.report import Report
from floradl.cli.reports.common import REASONS_SHOWN, entries_phrase, failure_objects, reason_lines
from floradl.cli.ui.units import count, counts, format_bytes, format_cost, format_duration
from floradl.cli.ui.wording import place_name
from floradl.constants import SOURCE_WORDS, Source

if TYPE_CHECKING:
    from floradl.archiver.report import SourceNews
    from floradl.repository.results import Receipt


_PROJECTS_SHOWN = 5


def report_object(report: Report, exit_code: int) -> dict[str, object]:
    """The object that `--json` prints; docs/format.md describes it."""
    return {
        "format": "floradl-report",
        "version": 1,
        "command": "archive",
        "exit_code": exit_code,
        "complete": report.is_complete,
        "interrupted": report.is_interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
        "api_calls": report.api_calls,
        "runs": {
            "listed": report.listed_runs,
            "new": report.new_runs,
            "open": report.open_runs,
            "new_by_project": [
                {
                    "workspace_id": news.workspace_id,
                    "project_id": news.project_id,
                    "name": news.name,
                    "runs": news.runs,
                    "assets": news.assets,
                }
                for news in report.news
            ],
            "vanished": list(report.vanished_runs),
            "not_found": list(report.missing_runs),
        },
        "assets": {
            "listed": report.listed_assets,
            "new": report.new_assets,
            "vanished": list(report.vanished_assets),
        },
        "unseen_projects": [
            {"workspace_id": its.workspace_id, "project_id": its.project_id, "name": its.name}
            for its in report.unseen
        ],
        "sources": [
            {"source": its.source, "listed": its.listed, "new": its.new, "refused": its.refused}
            for its in report.sources
        ],
        "outputs": {
            "fetched": report.fetched,
            "adopted": report.adopted,
            "already": report.already,
            "failed": len(report.failures),
            "new_bytes": report.new_bytes,
            "new_cost": round(report.new_cost, 6),
        },
        "other_sizes": [_other_size_object(receipt) for receipt in report.other_sizes],
        "archive": {
            "runs": report.archive_runs,
            "assets": report.archive_assets,
            "canvases": report.archive_canvases,
            "outputs": report.archive_outputs,
            "bytes": report.archive_bytes,
        },
        "failures": failure_objects(report.failures),
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in report.problems],
    }


def _other_size_object(receipt: Receipt) -> dict[str, object]:
    """An output of another size than FLORA announced."""
    return {
        "run_id": receipt.run_id,
        "output": receipt.key,
        "bytes": receipt.size_bytes,
        "announced_bytes": receipt.announced_bytes,
    }


def preview_report(
    to_do: list[dict[str, str]], already: int, missing: list[str], exit_code: int, *, is_interrupted: bool
) -> dict[str, object]:
    """The object that `--dry-run --json` prints; docs/format.md describes it.

    Args:
        to_do: an object for each output that would be fetched or written.
        already: how many outputs need nothing.
        missing: ids of `--run-id` that no list has.
        exit_code: the command's.
        is_interrupted: whether a signal ended it early.
    """
    return {
        "format": "floradl-preview",
        "version": 1,
        "command": "archive",
        "exit_code": exit_code,
        "interrupted": is_interrupted,
        "to_do": to_do,
        "already": already,
        "not_found": missing,
    }


def summary_lines(report: Report, dest: str) -> list[str]:
    """The summary of a job: what is new, what the archive holds, what went wrong; last, what to do next."""
    lines = [f"{_what_is_new(report)}. Took {format_duration(report.elapsed_s)}."]
    lines.extend(_news_lines(report))
    lines.extend(_sources_lines(report.sources))
    if report.new_cost:
        lines.append(f"What is new cost {format_cost(report.new_cost)} to generate.")
    if report.adopted:
        lines.append(
            f"{count(report.adopted, 'file')} that an earlier run left unrecorded: hashed and recorded"
        )
    if report.other_sizes:
        files = count(len(report.other_sizes), "file")
        lines.append(f"{files} of another size than FLORA announced, and whole: kept; each is named above.")
    kinds = entries_phrase(report.archive_runs, report.archive_assets, report.archive_canvases)
    holds = f"{count(report.archive_outputs, 'output')} of {kinds}"
    lines.append(f"{dest} holds {holds}, {format_bytes(report.archive_bytes)}.")
    if vanished := counts((len(report.vanished_runs), "run"), (len(report.vanished_assets), "asset")):
        lines.append(f"{vanished} not listed by FLORA any more; what is archived stays.")
    for its in report.unseen:
        project = place_name(its.name, its.project_id)
        lines.append(f"Project {project} is not visible to this key any more; what is archived stays.")
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    lines.extend(_refused_lines(report.sources))
    lines.extend(_trouble_lines(report))
    if report.open_runs:
        runs = count(report.open_runs, "run")
        lines.append(f"{runs} not done yet: the next run fetches them, or --wait stays for them.")
    if report.is_complete and report.fetched:
        lines.append(f"Check it any time: floradl verify {shlex.quote(dest)}")
    return lines


def _trouble_lines(report: Report) -> list[str]:
    """What kept an archive job from being complete, and what to do about it."""
    lines = []
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {count(report.failures, 'output')} could not be archived:")
        lines.extend(reason_lines(report.failures))
        lines.append("Each is named above. The same command tries them again.")
    if report.problems:
        lines.append("INCOMPLETE: not everything could be listed:")
        reasons = Counter(problem.message for problem in report.problems)
        lines.extend(f"  {message}" for message, _ in reasons.most_common(REASONS_SHOWN))
        lines.extend(
            f"  {hint}" for hint in dict.fromkeys(problem.hint for problem in report.problems) if hint
        )
    return lines


def _sources_lines(sources: Sequence[SourceNews]) -> list[str]:
    """How much each source listed; nothing where only one listed anything."""
    listed = [f"{its.listed} {SOURCE_WORDS[its.source]}" for its in sources if its.listed]
    return [f"Listed: {', '.join(listed)}."] if len(listed) > 1 else []


def _refused_lines(sources: Sequence[SourceNews]) -> list[str]:
    """The sources that FLORA does not show to this key. That is no failure."""
    return [
        f"Left out: {SOURCE_WORDS[its.source]}, which this key cannot see ({its.refusal})."
        for its in sources
        if its.refused is not None
    ]


def _what_is_new(report: Report) -> str:
    """The first sentence of the summary."""
    new = report.fetched + report.adopted
    parts = []
    snapshots = sum(its.new for its in report.sources if its.source is Source.CANVAS)
    things = counts((report.new_runs, "new run"), (report.new_assets, "new asset"))
    if new:
        of = f" of {things}" if things else ""
        parts.append(f"{count(new, 'new output')} ({format_bytes(report.new_bytes)}){of}")
    elif things:
        parts.append(f"{things}, no new outputs")
    elif not report.is_complete:
        parts.append("No new outputs")
    else:
        return "Nothing new"
    if snapshots:
        parts.append(f"{snapshots} of canvases")
    if report.already:
        parts.append(f"{report.already} there already")
    if report.failures:
        parts.append(f"{len(report.failures)} failed")
    return ", ".join(parts)


def _news_lines(report: Report) -> list[str]:
    """The projects with new runs or assets, by name where it is known, those with most of them first."""
    lines = []
    for news in report.news[:_PROJECTS_SHOWN]:
        name = place_name(news.name, news.project_id)
        assets = f", and {count(news.assets, 'asset')}" if news.runs and news.assets else ""
        what = ", assets" if not news.runs else assets
        lines.append(f"  {news.runs or news.assets:>4}  {name}{what}")
    rest = len(report.news) - _PROJECTS_SHOWN
    return [*lines, *([f"        and of {count(rest, 'further project')}"] if rest > 0 else [])]

"""What a restore reports: its JSON object and the lines for people. Pure."""

from __future__ import annotations

from floradl.cli.reports.common import entries_phrase, failure_objects, reason_lines
from floradl.cli.ui.units import count, format_bytes, format_duration
from floradl.restorer.restore import RestoreReport


def restore_lines(report: RestoreReport, dest: str, *, has_key: bool) -> list[str]:
    """The summary of a restore; `has_key` says whether it could ask FLORA for what the archive lacks."""
    kinds = entries_phrase(report.runs, report.assets, report.canvases)
    brought = f"{count(report.restored, 'output')} of {kinds} restored"
    took = format_duration(report.elapsed_s)
    size = format_bytes(report.new_bytes)
    lines = [f"{dest}: {brought}, {report.already} there already, {size}. Took {took}."]
    if report.fetched:
        lines.append(f"{count(report.fetched, 'output')} that the archive lacked came from FLORA.")
    lines.extend(f"not found: {run_id}" for run_id in report.missing_runs)
    if report.is_interrupted:
        lines.append("Stopped before the end. The same command goes on from here.")
    if report.failures:
        lines.append(f"INCOMPLETE: {count(report.failures, 'output')} could not be restored, named above:")
        lines.extend(reason_lines(report.failures))
        if not has_key:
            lines.append("With an API key (FLORA_API_KEY) what the archive lacks comes from FLORA.")
    for problem in report.problems:
        lines.append(f"INCOMPLETE: {problem.message}")
        lines.extend([f"  {problem.hint}"] if problem.hint else [])
    return lines


def restore_object(report: RestoreReport, exit_code: int) -> dict[str, object]:
    """The object that `restore --json` prints; docs/format.md describes it."""
    return {
        "format": "floradl-restore",
        "version": 1,
        "command": "restore",
        "exit_code": exit_code,
        "complete": report.is_complete,
        "interrupted": report.is_interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
        "runs": report.runs,
        "assets": report.assets,
        "canvases": report.canvases,
        "outputs": {
            "restored": report.restored,
            "already": report.already,
            "fetched": report.fetched,
            "failed": len(report.failures),
            "new_bytes": report.new_bytes,
        },
        "not_found": list(report.missing_runs),
        "failures": failure_objects(report.failures),
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in report.problems],
    }

"""What a check and a repair report: the JSON object and the lines for people. Pure."""

from __future__ import annotations

import shlex

from floradl.checker.findings import NO_FAULT, AuditReport, Trouble
from floradl.cli.reports.common import entries_phrase, failure_objects
from floradl.cli.ui.units import count, format_bytes, format_duration


def audit_object(report: AuditReport, exit_code: int) -> dict[str, object]:
    """The object that `verify --json` prints; docs/format.md describes it."""
    left = {finding.place for finding in report.left}
    return {
        "format": "floradl-verify",
        "version": 1,
        "command": "verify",
        "exit_code": exit_code,
        "sound": report.is_sound,
        "interrupted": report.is_interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
        "sample": report.sample,
        "runs": report.runs,
        "assets": report.assets,
        "canvases": report.canvases,
        "outputs": report.outputs,
        "read": report.read,
        "read_bytes": report.read_bytes,
        "findings": [
            {
                "kind": finding.kind,
                "path": _text(finding.path),
                "run_id": finding.run_id or None,
                "output": finding.key or None,
                "message": finding.message,
                "found_at": _text(finding.found_at) or None,
                "repaired": (finding.place not in left) if report.is_repair else None,
            }
            for finding in report.findings
        ],
        "kept_aside": [_text(path) for path in report.kept_aside],
        "failures": failure_objects(report.failures),
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in report.problems],
    }


def _text(path: str) -> str:
    """A path for JSON. A file name may hold bytes that are no text, which JSON could not hold."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def audit_lines(report: AuditReport, dest: str) -> list[str]:
    """The summary of a check, and of the repair if there was one; last, what to do next."""
    lines = [finding.line() for finding in report.left]
    holds = (
        f"{count(report.outputs, 'output')} of {entries_phrase(report.runs, report.assets, report.canvases)}"
    )
    read = f"{count(report.read, 'file')} read again ({format_bytes(report.read_bytes)})"
    lines.append(f"{dest}: {holds} checked, {read}. Took {format_duration(report.elapsed_s)}.")
    if report.is_repair and report.repaired:
        lines.append(f"{count(report.repaired, 'finding')} repaired.")
    lines.extend(f"Set aside, and kept: {path}" for path in report.kept_aside)
    strays = report.counts()[Trouble.STRAY]
    if strays:
        lines.append(f"{count(strays, 'stray')}, left alone.")
    if lost := report.counts()[Trouble.LOST]:
        lines.append(f"{count(lost, 'canvas snapshot')} lost for good, as a repair told before.")
    if report.is_interrupted:
        lines.append("Stopped before the end.")
    elif report.is_sound:
        lines.append("All the rest is as it was archived." if lost else "Everything is as it was archived.")
    else:
        lines.extend(_audit_trouble_lines(report, dest))
    if report.is_repair and any(finding.kind == Trouble.BAD_MANIFEST for finding in report.findings):
        lines.append(
            f"The manifest was made anew. What nothing here told of comes with: floradl {shlex.quote(dest)}"
        )
    return lines


def _audit_trouble_lines(report: AuditReport, dest: str) -> list[str]:
    """What is wrong with the archive, and how to bring it in order."""
    lines = ["NOT SOUND:"]
    kinds = ((kind, number) for kind, number in report.counts().most_common() if kind not in NO_FAULT)
    lines.extend(f"  {number:>4}  {kind}" for kind, number in kinds)
    for problem in report.problems:
        lines.append(f"  {problem.message}")
        if problem.hint:
            lines.append(f"  {problem.hint}")
    if report.is_repair:
        lines.append("What is left could not be repaired now; each is named above.")
    else:
        lines.append(f"Bring back what can be: floradl verify --repair {shlex.quote(dest)}")
    return lines

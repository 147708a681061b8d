"""What several reports say in the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from floradl.cli.ui.units import count, counts
from floradl.repository.results import Failure

if TYPE_CHECKING:
    from floradl.archiver.report import Report


_REASONS_SHOWN = 8


def entries_phrase(runs: int, assets: int, canvases: int) -> str:
    """How many runs, and what else: `3 runs, 2 assets and 1 canvas`."""
    return counts((runs, "run"), (assets, "asset"), (canvases, "canvas")) or "0 runs"


def trouble_lines(report: Report) -> list[str]:
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
        lines.extend(f"  {message}" for message, _ in reasons.most_common(_REASONS_SHOWN))
        lines.extend(
            f"  {hint}" for hint in dict.fromkeys(problem.hint for problem in report.problems) if hint
        )
    return lines


def reason_lines(failures: Sequence[Failure]) -> list[str]:
    """Why outputs failed, a line a reason, the most frequent first."""
    codes = Counter(failure.code for failure in failures)
    said = {failure.code: failure.message for failure in reversed(failures)}
    lines = [f"  {number:>4}  {code}: {said[code]}" for code, number in codes.most_common(_REASONS_SHOWN)]
    if len(codes) > _REASONS_SHOWN:
        lines.append(f"  and {len(codes) - _REASONS_SHOWN} more reasons")
    return lines


def failure_objects(failures: Iterable[Failure]) -> list[dict[str, object]]:
    """Failures as the reports of `--json` have them; docs/format.md describes them."""
    return [
        {
            "run_id": failure.run_id,
            "output": failure.key,
            "type": failure.type,
            "url": failure.url,
            "code": failure.code,
            "message": failure.message,
            "attempts": failure.attempts,
        }
        for failure in failures
    ]

"""Parts that several reports have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from floradl.cli.ui.units import counts
from floradl.repository.results import Failure

REASONS_SHOWN = 8
"""So many different reasons are named; the others are only counted."""


def entries_phrase(runs: int, assets: int, canvases: int) -> str:
    """Numbers of entries in words: `3 runs, 2 assets and 1 canvas`; kinds without any are left out."""
    return counts((runs, "run"), (assets, "asset"), (canvases, "canvas")) or "0 runs"


def reason_lines(failures: Sequence[Failure]) -> list[str]:
    """Why outputs failed: a line for each reason with its number, the most frequent first."""
    codes = Counter(failure.code for failure in failures)
    said = {failure.code: failure.message for failure in reversed(failures)}
    lines = [f"  {number:>4}  {code}: {said[code]}" for code, number in codes.most_common(REASONS_SHOWN)]
    if len(codes) > REASONS_SHOWN:
        lines.append(f"  and {len(codes) - REASONS_SHOWN} more reasons")
    return lines


def failure_objects(failures: Iterable[Failure]) -> list[dict[str, object]]:
    """Failures as they stand in the objects of `--json`; docs/format.md describes them."""
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

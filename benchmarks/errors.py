"""What ends a benchmark run."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something is missing or broken; the message says what."""

"""The error that ends a run of benchmarks."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something is missing or broken; the message says what."""

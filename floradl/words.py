"""The API's words for what a run and an output may be, and a number: what `--help` shows."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A run's status; the only field that tells whether it is done (`progress` and `completed_at` do not)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class OutputType(StrEnum):
    """Output types that the API documents. Others may appear and are archived too."""

    IMAGE = "imageUrl"
    VIDEO = "videoUrl"
    AUDIO = "audioUrl"
    DOCUMENT = "documentUrl"
    TEXT = "text"


class SharedBy(StrEnum):
    """How a file came to share its bytes with another of the same content."""

    REFLINK = "reflink"  # shared blocks, as some file systems can: two files
    HARD_LINK = "hard_link"  # one file with two names


# What `--type` takes, and the API's word for it.
TYPE_WORDS = {kind.name.lower(): kind for kind in OutputType}

DEFAULT_BASE_URL = "https://app.flora.ai/api/v1"
"""FLORA's API."""

DEFAULT_CONCURRENCY = 64
"""Outputs on their way at the same time, where nobody says otherwise and the host takes that many."""

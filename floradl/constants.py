"""The API's words for what a run and an output may be, and floradl's own: what `--help` shows."""

from __future__ import annotations

from enum import StrEnum

SECRET_VARIABLES = frozenset({"FLORA_API_KEY", "FLORADL_API_KEY", "FLORADL_PING_URL"})
"""Variables of the environment that no other process is handed."""


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


class Kind(StrEnum):
    """What an entry of the archive is: a run with its outputs, an uploaded file, or a project's canvas."""

    RUN = "run"
    ASSET = "asset"
    CANVAS = "canvas"


class Source(StrEnum):
    """Where FLORA tells of what there is; each endpoint has scans and seals of its own."""

    GENERATIONS = "generations"
    TECHNIQUE_RUNS = "technique-runs"
    ASSETS = "assets"
    CANVAS = "canvas"


DEFAULT_SOURCES = (Source.GENERATIONS, Source.TECHNIQUE_RUNS)
"""What is archived where nobody says otherwise: all runs."""

SOURCE_WORDS = {
    Source.GENERATIONS: "generations",
    Source.TECHNIQUE_RUNS: "technique runs",
    Source.ASSETS: "assets",
    Source.CANVAS: "canvases",
}
"""What each gives, as people say it."""

EVERY_SOURCE = "all"
"""The word for all sources at once."""


class SharedBy(StrEnum):
    """How a file came to share its bytes with another of the same content."""

    REFLINK = "reflink"  # shared blocks, as some file systems can: two files
    HARD_LINK = "hard_link"  # one file with two names


# What `--type` takes, and the API's word for it.
TYPE_WORDS = {kind.name.lower(): kind for kind in OutputType}


def type_word(kind: str) -> str:
    """The word of an output's type that `--type` takes; the API's own where there is none."""
    return next((word for word, api_word in TYPE_WORDS.items() if api_word == kind), kind)


DEFAULT_BASE_URL = "https://app.flora.ai/api/v1"
"""FLORA's API."""

DEFAULT_CONCURRENCY = 64
"""Outputs on their way at the same time, where nobody says otherwise and the host takes that many."""

"""The API's words for status, type and source, floradl's own words, and the defaults."""

from __future__ import annotations

from enum import StrEnum

SECRET_VARIABLES = frozenset({"FLORA_API_KEY", "FLORADL_API_KEY", "FLORADL_PING_URL"})
"""Environment variables that hold secrets; they are removed from the environment of child processes."""


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
    """The lists of the API that are archived. Each has scans and seals of its own."""

    GENERATIONS = "generations"
    TECHNIQUE_RUNS = "technique-runs"
    ASSETS = "assets"
    CANVAS = "canvas"


DEFAULT_SOURCES = (Source.GENERATIONS, Source.TECHNIQUE_RUNS)
"""The sources that are archived unless the user names others: all runs."""

SOURCE_WORDS = {
    Source.GENERATIONS: "generations",
    Source.TECHNIQUE_RUNS: "technique runs",
    Source.ASSETS: "assets",
    Source.CANVAS: "canvases",
}
"""The plural noun for the entries of each source, for messages."""

EVERY_SOURCE = "all"
"""The value of an option that stands for all sources."""


class SharedBy(StrEnum):
    """How a file shares its bytes on the disk with another file of the same content."""

    REFLINK = "reflink"  # shared blocks, as some file systems can: two files
    HARD_LINK = "hard_link"  # one file with two names


# The words that `--type` takes → the API's words.
TYPE_WORDS = {kind.name.lower(): kind for kind in OutputType}


def type_word(kind: str) -> str:
    """Return the word that `--type` takes for an API type; the API's own word where there is none."""
    return next((word for word, api_word in TYPE_WORDS.items() if api_word == kind), kind)


DEFAULT_BASE_URL = "https://app.flora.ai/api/v1"
"""The URL of FLORA's API."""

DEFAULT_CONCURRENCY = 64
"""How many outputs are fetched at the same time by default; fewer where the host does not take as many."""

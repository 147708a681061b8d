"""What a row of the fault tables is: what goes wrong, and all that a user may expect of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from floradl.simulator import Fault, encoders

VICTIM = "run_victim"
"""The run that the faults of the media hosts happen to. It has one output."""

FILE = "/media/picture"
"""Where the victim's output lies; nothing in it says of what type it is."""

OLD = "/media/moved-away.png"
"""Where it no longer lies: this path answers 410."""

API = "/api/*"
LIST = "/api/v1/generations"
RUN = f"/api/v1/runs/{VICTIM}"

PAGE_2 = "cursor="
"""What stands in the query of every page but the first."""

ONCE = (1,)
"""A fault that happens to the first request alone."""

DATE = "{date}"
"""In a header: an HTTP date a few seconds after the row began."""

MEDIA = "{media}"
"""In a redirect: scheme, host and port of the media host."""

PORT = "{port}"
"""In a redirect: its port."""


class Archived(StrEnum):
    """What is on disk and recorded after the first run."""

    ALL = "everything"
    OTHERS = "everything but the victim's output"
    FIRST_PAGE = "the newest 100 runs"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Victim:
    """The victim's output: what the API calls it, what its host calls it, and what it is."""

    type: str
    content_type: str
    body: bytes
    is_text: bool = False


def retry_after(when: str) -> tuple[tuple[str, str], ...]:
    """The header with which a host asks for patience."""
    return (("Retry-After", when),)


def _picture() -> bytes:
    pixels = random.Random(1)
    return encoders.png([pixels.randbytes(1080) for _ in range(370)])


PICTURE = Victim("imageUrl", "image/png", _picture())
"""A PNG of 400 kB."""

JSON = Victim("documentUrl", "application/json", b'{"error": "so the story begins"}')
HTML = Victim("documentUrl", "text/html", b"<!doctype html><title>404</title><p>A story of a page not found.")
TEXT = Victim("text", "", b"https://example.com/a-text-and-not-a-file.png", is_text=True)


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: what goes wrong, in words.
        faults: the same, for the simulator.
        asked: the requests for the victim's output, in order, by how they were answered:
            "200", "no answer", "206 from 300000" (a range was asked for; `*` stands for any number),
            "200 /elsewhere" (at another path than `FILE`), "API 200" (`GET /runs/{run_id}`, for a fresh URL).
            In rows about the API's lists, the pages of the list of completed runs: "200, 500 page 2".
        exit: the exit code.
        error: the code under which the victim's output is named on stderr and in the manifest; "" when it
            arrives. Where there is one, everything but this output is on disk.
        said: what else stands on stderr.
        archived: what is on disk, where `error` does not tell.
        then: as `asked`, for the same command after the fault is gone. It completes the archive and exits 0.
        wait_s: seconds at least between the first of `asked` and the second.
        victim: the victim's output.
        kept: what its file holds, where that is not what FLORA has.
        retries: `--retries`.
        timeout_s: `--timeout`.
        listed_at: the path under which the list has the output, where `GET /runs/{run_id}` has another.
        record: fields of the victim's record that the API tells wrongly until the fault is gone.
        has_outputs: whether the list has the victim's outputs; `GET /runs/{run_id}` has.
        history: how many older runs there are, a text each.
    """

    name: str
    faults: Sequence[Fault]
    asked: str
    exit: int = 0
    error: str = ""
    said: str = ""
    archived: Archived = Archived.ALL
    then: str = "200"
    wait_s: float = 0
    victim: Victim = PICTURE
    kept: bytes | None = None
    retries: int = 1
    timeout_s: int = 60
    listed_at: str = FILE
    record: Mapping[str, object] = field(default_factory=dict)
    has_outputs: bool = True
    history: int = 0

    @property
    def is_about_lists(self) -> bool:
        """Whether `asked` and `then` tell of pages."""
        return any(fault.match in (LIST, API) for fault in self.faults)

    @property
    def arguments(self) -> list[str]:
        """The options of the command."""
        return ["--retries", str(self.retries), "--timeout", str(self.timeout_s)]

    @property
    def whole(self) -> Archived:
        """What is on disk after the first run."""
        return Archived.OTHERS if self.error else self.archived

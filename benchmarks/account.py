"""The account that the benchmarks archive: its runs, and the API's pages of them as files for nginx.

Runs are numbered from the newest, `run_0000000`, on; each was created a minute before the one that precedes
it. The pages are laid out as FLORA's are, one record a line (see `host`): one list of all runs, and one for
each project.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

PAGE_RUNS = 100
WORKSPACE_ID = "ws_bench"
API_KEY = "sk_live_bench"
NEWEST_MS = 1_763_949_000_000
_APART_MS = 60_000


@dataclass(frozen=True, slots=True)
class Output:
    """One output: its type, and its URL or, for a text, its content."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Run:
    """One completed run."""

    number: int
    outputs: tuple[Output, ...]
    project_id: str = "prj_bench"

    @property
    def run_id(self) -> str:
        """The run's id."""
        return f"run_{self.number:07d}"

    @property
    def created_at_ms(self) -> int:
        """When the run was created, in unix milliseconds."""
        return NEWEST_MS - self.number * _APART_MS

    @property
    def completed_at_ms(self) -> int:
        """When the run was completed, in unix milliseconds."""
        return self.created_at_ms + 12_000

    def record(self) -> bytes:
        """The run's record, as the API lists it."""
        return msgspec.json.encode(
            {
                "generation_id": self.run_id,
                "run_id": self.run_id,
                "workspace_id": WORKSPACE_ID,
                "project_id": self.project_id,
                "status": "completed",
                "created_at": self.created_at_ms,
                "started_at": self.created_at_ms + 1000,
                "completed_at": self.completed_at_ms,
                "progress": 100,
                "charged_cost": 0.004,
                "model": {"model_id": "t2i-flux-2-pro"},
                "outputs": [
                    {"output_id": f"output_{index}", "type": output.type, "url": output.value}
                    for index, output in enumerate(self.outputs, 1)
                ],
            }
        )


def runs_of(outputs: Sequence[Output], per_run: int) -> list[Run]:
    """Divide outputs into runs of equally many, in order."""
    starts = range(0, len(outputs), per_run)
    return [Run(number, tuple(outputs[start : start + per_run])) for number, start in enumerate(starts)]


def write_pages(folder: Path, runs: Iterable[Run], *, goes_on: bool = False) -> None:
    """Write the pages on which the API lists these runs.

    Args:
        folder: of the pages; it is created.
        runs: newest first.
        goes_on: whether the history is longer than these runs. The last page then has a cursor, and the page
            that it leads to answers 404, so that reading too far fails.
    """
    lists: dict[str, list[bytes]] = {"all": []}
    for run in runs:
        record = run.record()
        for name in ("all", run.project_id):
            lists.setdefault(name, []).append(record)
    for name, records in lists.items():
        (folder / name / "completed").mkdir(parents=True)
        (folder / name / "empty").mkdir()
        (folder / name / "empty" / "0.json").write_bytes(_page([], ""))
        for number, page in enumerate(_pages(records, goes_on)):
            (folder / name / "completed" / f"{number}.json").write_bytes(page)
    _write_places(folder, [name for name in lists if name != "all"])


def _pages(records: Sequence[bytes], goes_on: bool) -> Iterator[bytes]:
    starts = range(0, max(len(records), 1), PAGE_RUNS)
    for number, start in enumerate(starts):
        is_last = start + PAGE_RUNS >= len(records) and not goes_on
        yield _page(records[start : start + PAGE_RUNS], "" if is_last else str(number + 1))


def _page(records: Sequence[bytes], next_cursor: str) -> bytes:
    meta = msgspec.json.encode({"next_cursor": next_cursor or None})
    return b'{"generations": [\n%s\n], "meta": %s}' % (b",\n".join(records), meta)


def _write_places(folder: Path, project_ids: Sequence[str]) -> None:
    workspace = {"workspace_id": WORKSPACE_ID, "name": "Bench", "role": "owner", "created_at": NEWEST_MS}
    projects = [
        {
            "project_id": project_id,
            "workspace_id": WORKSPACE_ID,
            "name": project_id,
            "origin": "app",
            "created_at": NEWEST_MS,
            "last_modified": NEWEST_MS,
        }
        for project_id in project_ids
    ]
    (folder / "workspaces.json").write_bytes(msgspec.json.encode({"workspaces": [workspace]}))
    answer = {"projects": projects, "meta": {"next_cursor": None}}
    (folder / "projects.json").write_bytes(msgspec.json.encode(answer))

"""What an archive job reports.

Every number is counted where the work was done and recorded, so a report never says more than the manifest
does.
"""

from __future__ import annotations

from dataclasses import dataclass

from floradl.constants import Source
from floradl.errors import Exit, FloradlError, KeyRefusedError
from floradl.repository.results import Failure, Receipt


@dataclass(frozen=True, slots=True)
class SourceNews:
    """What one source brought.

    Attributes:
        source: the list, such as generations or assets.
        listed: how many things it has.
        new: how many of them are new in this archive.
        refused: what the API said where this key may not see the source; None where it may.
        refusal: the same in two words, such as "403 forbidden".
    """

    source: Source
    listed: int
    new: int
    refused: str | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """How many runs and assets of one project are new.

    `name` is the project's name as FLORA has it, so it has to be made printable before it is shown; "" where
    it is unknown.
    """

    workspace_id: str
    project_id: str
    name: str
    runs: int
    assets: int = 0


@dataclass(frozen=True, slots=True)
class UnseenProject:
    """A project that is archived and that the key does not see any more.

    `name` is as FLORA had it, so it has to be made printable before it is shown; "" where it is unknown.
    """

    workspace_id: str
    project_id: str
    name: str


@dataclass(frozen=True)
class Report:
    """What a session did. Times in seconds, sizes in bytes, cost in USD.

    Outputs, failures and bytes are those of runs, assets and canvases together.

    Attributes:
        listed_runs: completed runs that the filters want and that were listed or asked for by id.
        new_runs: those of them that had no entry before.
        fetched: outputs that were downloaded, written from a record, or kept as a snapshot of a canvas.
        adopted: outputs whose files were there already, without an entry.
        already: outputs that were there and recorded before.
        failures: outputs that could not be archived.
        problems: errors that left something unknown.
        missing_runs: ids that the user named and that are nowhere.
        vanished_runs: recorded runs that FLORA does not list any more.
        open_runs: runs that are pending or running.
        news: the projects with new runs or assets, those with the most first.
        new_bytes: of the outputs that were fetched or adopted.
        new_cost: what the new runs were charged.
        sources: what each source brought.
        archive_runs, archive_outputs, archive_bytes: what the archive holds now.
        api_calls: requests to the API, repeated ones included.
        elapsed_s: how long the session took.
        is_interrupted: whether it was stopped.
        listed_assets, new_assets, vanished_assets: as for runs.
        archive_assets, archive_canvases: what the archive holds now.
        unseen: archived projects that the key does not see any more.
        other_sizes: the outputs among the fetched that have another size than the API announced.
    """

    listed_runs: int
    new_runs: int
    fetched: int
    adopted: int
    already: int
    failures: tuple[Failure, ...]
    problems: tuple[FloradlError, ...]
    missing_runs: tuple[str, ...]
    vanished_runs: tuple[str, ...]
    open_runs: int
    news: tuple[News, ...]
    new_bytes: int
    new_cost: float
    sources: tuple[SourceNews, ...]
    archive_runs: int
    archive_outputs: int
    archive_bytes: int
    api_calls: int
    elapsed_s: float
    is_interrupted: bool
    listed_assets: int = 0
    new_assets: int = 0
    vanished_assets: tuple[str, ...] = ()
    archive_assets: int = 0
    archive_canvases: int = 0
    unseen: tuple[UnseenProject, ...] = ()
    other_sizes: tuple[Receipt, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every completed run in scope was seen and all its outputs are on disk and recorded."""
        return not (self.failures or self.problems or self.missing_runs or self.is_interrupted)

    @property
    def exit_code(self) -> Exit:
        """The exit code of the command, signals apart."""
        if any(isinstance(problem, KeyRefusedError) for problem in self.problems):
            return Exit.KEY_REFUSED
        return Exit.OK if self.is_complete else Exit.INCOMPLETE

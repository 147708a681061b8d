"""Looks at the canvases of projects, keeps a snapshot of each that changed, and labels beside the runs.

A canvas costs a night one request, for its diagram. Its nodes may be many pages. They are asked for only
where they may have changed: where the diagram or the project's date is another, where the project has new
runs, or where everything is walked anew. An error of one project's canvas leaves the others alone.

FLORA has only the canvas of today, so a snapshot that is lost is lost for good.

Things are written in this order, so that a process may be killed anywhere:

1. The labels of the runs. They come first, since the nodes of a canvas that is recorded as it is today are
   not asked for again; labels that were not written by then would never be.
2. A snapshot, flushed under its final name.
3. Its entry, in the journal. Killed between 2 and 3, the snapshot is found by its name the next time, and
   recorded then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from floradl.api.canvas import Node, parse_canvas, parse_nodes
from floradl.api.client import FloraApi
from floradl.api.lists import iter_pages
from floradl.api.projects import Project, is_final, project_path
from floradl.api.raw_json import fields_of
from floradl.api.records import moment_ms
from floradl.archiver.canvas_labels import Labels
from floradl.clock import Clock, format_ms
from floradl.constants import Kind, Source
from floradl.download.tally import Tally
from floradl.errors import ApiAnswerError, ApiError, printable
from floradl.repository import layout
from floradl.repository.canvas import (
    SnapshotType,
    is_changed,
    newest_snapshot,
    nodes_bytes,
    snapshot_key,
    snapshot_op,
    snapshot_stamp,
)
from floradl.repository.entries import Op, OutputEntry, OutputOp, RunEntry, RunFacts, RunOp, SourcesOp, State
from floradl.repository.names import Place
from floradl.repository.repository import Repository
from floradl.storage.aside import make_way
from floradl.storage.destination import Destination
from floradl.tasks import all_of, to_its_end

_CANVASES_AT_ONCE = 4
"""How many canvases are looked at at the same time."""

_MAX_PAGES = 1000
"""How many pages of nodes a canvas may have: a list that never ends must not hold the session for ever."""


@dataclass(slots=True)
class Kept:
    """What came of the canvases.

    Attributes:
        listed: how many were looked at.
        new: how many snapshots were kept.
        refused: project id → the API's answer, of projects whose canvas this key may not see.
        problems: all other errors, each saying which canvas it is about.
    """

    listed: int = 0
    new: int = 0
    refused: dict[str, ApiError] = field(default_factory=dict)
    problems: list[ApiError] = field(default_factory=list)


async def keep_canvases(
    projects: Iterable[Project],
    api: FloraApi,
    repository: Repository,
    disk: Destination,
    clock: Clock,
    tally: Tally,
    *,
    full: bool,
    news: Collection[Place],
) -> Kept:
    """Look at the canvases of some projects, and keep snapshots of those that changed.

    Args:
        projects: the projects, with their records of today.
        api: an open session with the API.
        repository: the manifest, open; all runs of this session are recorded.
        disk: the archive.
        clock: for the dates of snapshots.
        tally: snapshots are counted there as fetched outputs.
        full: ask for the nodes of every canvas, even where nothing says that they changed.
        news: the projects with new runs.

    Raises:
        DestinationError: the disk does not take it.
    """
    keeper = _Keeper(api, repository, disk, clock, tally, full=full, news=news)
    waiting = iter(list(projects))

    async def lane() -> None:
        for project in waiting:
            if keeper.is_over:
                return
            await keeper.look(project)

    await all_of(lane() for _ in range(_CANVASES_AT_ONCE))
    return keeper.kept


class _Keeper:
    """The state of one `keep_canvases`."""

    def __init__(
        self,
        api: FloraApi,
        repository: Repository,
        disk: Destination,
        clock: Clock,
        tally: Tally,
        *,
        full: bool,
        news: Collection[Place],
    ) -> None:
        self._api = api
        self._repository = repository
        self._disk = disk
        self._clock = clock
        self._tally = tally
        self._full = full
        self._news = news
        self._labels = Labels(repository, disk, clock)
        self.is_over = False
        self.kept = Kept()

    async def look(self, project: Project) -> None:
        """Look at one canvas. An error of the API becomes one of the problems."""
        name = f"the canvas of {printable(project.project_id, limit=80)}"
        try:
            await self._look(project)
        except ApiError as exc:
            if exc.is_refusal:
                self.kept.refused[project.project_id] = exc.concerning(name)
                return
            self.kept.problems.append(exc.concerning(name))
            # No answer, or an invalid key: every other canvas would give the same error.
            self.is_over |= is_final(exc) and not isinstance(exc, ApiAnswerError)

    async def _look(self, project: Project) -> None:
        manifest = self._repository.manifest
        known = manifest.run(project.project_id)
        if known is not None and known.kind is not Kind.CANVAS:
            raise ApiAnswerError(f"its id is that of a {known.kind} here")
        place = Place(known.workspace_id if known else project.workspace_id, project.project_id)
        folder = layout.item_path(Kind.CANVAS, *place, project.project_id)
        facts = _facts(project, place, folder)
        outputs = dict(known.outputs) if known else {}
        unrecorded = await self._disk.call(self._unrecorded, project.project_id, folder, outputs)
        outputs |= {op.key: op.entry for op in unrecorded}
        diagram = await self._diagram(project.project_id)
        self.kept.listed += 1
        states = {SnapshotType.CANVAS: diagram}
        if unrecorded or self._may_have_other_nodes(known, facts, outputs, diagram, place):
            nodes = await self._nodes(project.project_id)
            states[SnapshotType.NODES] = nodes_bytes(nodes)
            # Before this state of the canvas is recorded. Killed after that, the next session would find the
            # canvas unchanged, would not ask for its nodes, and these labels would be lost.
            await self._labels.keep(place, nodes)
        stamp = snapshot_stamp(self._clock.now_ms(), outputs)
        changed = {
            snapshot_key(stamp, type_): (type_, data)
            for type_, data in states.items()
            if is_changed(outputs, type_, data)
        }
        # Not to be stopped between writing and recording: the snapshot would count as one that a killed
        # process left, and the nodes would be asked for once more.
        await to_its_end(self._keep(known, project.project_id, facts, changed, unrecorded))

    def _may_have_other_nodes(
        self,
        known: RunEntry | None,
        facts: RunFacts,
        outputs: dict[str, OutputEntry],
        diagram: bytes,
        place: Place,
    ) -> bool:
        """Whether the nodes may be others than those of the newest snapshot, so that they are asked for."""
        return (
            self._full
            or known is None
            or newest_snapshot(outputs, SnapshotType.NODES) is None
            or known.completed_at != facts.completed_at
            or place in self._news
            or is_changed(outputs, SnapshotType.CANVAS, diagram)
        )

    async def _diagram(self, project_id: str) -> bytes:
        path = f"{project_path(project_id)}/canvas"
        return await self._api.ask(path, {}, lambda body: parse_canvas(body, project_id))

    async def _nodes(self, project_id: str) -> list[Node]:
        nodes: list[Node] = []
        page = None
        async for page in iter_pages(
            self._api, f"{project_path(project_id)}/nodes", {}, parse_nodes, max_pages=_MAX_PAGES
        ):
            nodes.extend(page.nodes)
        if page is None or page.next_cursor is not None or not page.is_end_known:
            raise ApiAnswerError("the list of its nodes is not whole")
        return nodes

    async def _keep(
        self,
        known: RunEntry | None,
        project_id: str,
        facts: RunFacts,
        changed: dict[str, tuple[SnapshotType, bytes]],
        unrecorded: list[OutputOp],
    ) -> None:
        """Write the snapshots that changed, then record them and those that a killed process left."""
        folder = PurePosixPath(facts.path)
        written = await self._disk.call(self._write, project_id, folder, changed)
        await self._record(project_id, known, facts, [*unrecorded, *written])

    def _unrecorded(self, project_id: str, folder: PurePosixPath, outputs: Collection[str]) -> list[OutputOp]:
        """The entries of snapshots that a killed process wrote and did not record. Blocks.

        They are flushed: that process may have been killed before it came to that.
        """
        (files,) = self._disk.sizes([folder])
        at = format_ms(self._clock.now_ms())
        ops = []
        for name in sorted(files):
            snapshot = layout.snapshot_of(name)
            if snapshot is None or snapshot[0] in outputs:
                continue
            self._disk.flush_existing(
                folder / name
            )  # before it is read: its hash is that of what the disk has
            if op := snapshot_op(self._disk, project_id, folder / name, at):
                ops.append(op)
        return ops

    def _write(
        self, project_id: str, folder: PurePosixPath, changed: dict[str, tuple[SnapshotType, bytes]]
    ) -> list[OutputOp]:
        """Write snapshots, flushed, each under its final name. Blocks.

        Args:
            project_id: the project.
            folder: of its canvas.
            changed: key of the snapshot → its type and bytes.

        Returns:
            The changes that record them.
        """
        now_ms = self._clock.now_ms()
        ops = []
        for key, (type_, data) in changed.items():
            if self._disk.min_free_bytes:
                self._disk.require_room(len(data))
            name = layout.output_name(key, layout.SNAPSHOTS[type_])
            make_way(self._disk, folder / name, hashlib.sha256(data).hexdigest())
            digest = self._disk.write_atomic(folder / name, [data], mtime_ms=now_ms)
            entry = OutputEntry(
                type=type_,
                state=State.ARCHIVED,
                file=name,
                size_bytes=digest.size_bytes,
                sha256=digest.sha256,
                archived_at=format_ms(now_ms),
            )
            ops.append(OutputOp(project_id, key, entry))
        return ops

    async def _record(
        self, project_id: str, known: RunEntry | None, facts: RunFacts, outputs: Sequence[OutputOp]
    ) -> None:
        """Record a canvas and its new snapshots, with one flush."""
        ops: list[Op] = []
        fields = facts.__struct_fields__
        if known is None or any(getattr(known, name) != getattr(facts, name) for name in fields):
            ops.append(RunOp(project_id, facts))
        if known is None:
            ops.append(SourcesOp(project_id, (Source.CANVAS,)))
        await self._repository.append([*ops, *outputs])
        self.kept.new += len(outputs)
        self._tally.fetched += len(outputs)
        self._tally.outputs += len(outputs)
        self._tally.new_bytes += sum(op.entry.size_bytes or 0 for op in outputs)


def _facts(project: Project, place: Place, folder: PurePosixPath) -> RunFacts:
    """What the manifest keeps of a canvas. Its `completed_at` is the date of the project's last change."""
    fields = fields_of(project.raw)
    return RunFacts(
        workspace_id=place.workspace_id,
        project_id=place.project_id,
        path=str(folder),
        model_id=None,
        created_at=moment_ms(fields.get("created_at", b"null")),
        completed_at=moment_ms(fields.get("last_modified", b"null")),
        charged_cost=None,
        record_sha256="",
        kind=Kind.CANVAS,
        name=project.name or None,
    )

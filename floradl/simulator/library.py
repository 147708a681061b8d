"""What an account holds besides its runs: workspaces, projects, uploads, canvases; and what the key may see.

Guarantees that uploads are listed newest first, that deleting one leaves its file on the media server, and
that every change of a canvas by `edit_canvas` shows in its project's `last_modified`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from .canvas import SimCanvas
from .runs import NEWEST_AT_MS, SimRun
from .uploads import AssetStatus, SimAsset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .canvas import SimNode
    from .runs import SimOutput, SimProject, SimWorkspace

DEFAULT_SPACING_MS = 600_000

SOURCES = ("generations", "technique-runs", "runs", "assets", "canvas", "workspaces", "projects")
"""What `Account.refuse` can refuse: lists and single things alike; `canvas` is a diagram and its nodes."""


class Library:
    """All of an account but its runs; see `Account`, which is one.

    Attributes:
        refused: source → the status that it is refused with.
        hidden: ids of the projects that the key cannot see.
        more_rng: decides what is made up here.
    """

    def __init__(
        self,
        *,
        workspaces: Iterable[SimWorkspace],
        projects: Iterable[SimProject],
        assets: Iterable[SimAsset],
        canvases: Mapping[str, SimCanvas],
        seed: int,
        spacing_ms: int,
    ) -> None:
        self.workspaces = list(workspaces)
        self.projects = list(projects)
        self.assets = list(assets)
        self.canvases = dict(canvases)
        self.spacing_ms = spacing_ms
        self.refused: dict[str, int] = {}
        self.hidden: set[str] = set()
        self.base_url = "http://127.0.0.1/api/v1"
        self.media_url = "http://127.0.0.1"
        # Apart from the runs' own, so that a seed gives the same runs whatever else there is.
        self.more_rng = random.Random(f"more-{seed}")  # noqa: S311 - made-up ids need no cryptography
        self._served: dict[str, tuple[SimRun | SimAsset, SimOutput]] = {}

    # --- what happens to uploads and canvases -----------------------------------------------------------

    def insert_asset(self, asset: SimAsset) -> SimAsset:
        """Add one upload, wherever its `created_at` puts it."""
        self.assets.append(asset)
        return asset

    def insert_assets(self, count: int = 1, *, status: str = AssetStatus.READY) -> list[SimAsset]:
        """Add `count` made-up uploads, each newer than the newest, and return them, oldest first."""
        from . import more  # it imports this module

        newest = max((asset.created_at or 0 for asset in list(self.assets)), default=NEWEST_AT_MS)
        return [
            self.insert_asset(more.make_asset(self, newest + place * self.spacing_ms, status=status))
            for place in range(1, count + 1)
        ]

    def get_asset(self, asset_id: str) -> SimAsset:
        """The first upload of that id; KeyError when there is none."""
        for asset in list(self.assets):
            if asset.asset_id == asset_id:
                return asset
        raise KeyError(asset_id)

    def delete_asset(self, asset: SimAsset) -> None:
        """Take an upload out of the lists; its file stays where it is."""
        self._index([asset])
        self.assets.remove(asset)

    def finish_asset(self, asset_id: str) -> SimAsset:
        """A pending upload gets ready."""
        asset = self.get_asset(asset_id)
        asset.status = AssetStatus.READY
        return asset

    def get_project(self, project_id: str) -> SimProject:
        """The project of that id; KeyError when there is none."""
        for project in list(self.projects):
            if project.project_id == project_id:
                return project
        raise KeyError(project_id)

    def canvas_of(self, project_id: str) -> SimCanvas:
        """What is on a project's canvas, to be looked at or changed; `edit_canvas` tells the project, too."""
        return self.canvases.setdefault(project_id, SimCanvas())

    def edit_canvas(
        self,
        project_id: str,
        *,
        add: Iterable[SimNode] = (),
        connect: Iterable[tuple[str, str]] = (),
        remove: Iterable[str] = (),
        relabel: Mapping[str, str] | None = None,
        at_ms: int | None = None,
    ) -> SimCanvas:
        """Change a canvas; the project's `last_modified` moves on. Without any change it gains a note.

        Args:
            project_id: of a project of this account; KeyError when there is none.
            add: nodes.
            connect: pairs of node ids to be joined.
            remove: ids of nodes that go, and their edges with them.
            relabel: node id → its label from now on.
            at_ms: `last_modified`; a minute after what it was, when None.
        """
        from . import more  # it imports this module

        project, canvas = self.get_project(project_id), self.canvas_of(project_id)
        add, connect, gone, relabel = list(add), list(connect), set(remove), relabel or {}
        if not (add or connect or gone or relabel):
            add = [more.make_note(self)]
        canvas.nodes = [node for node in canvas.nodes if node.node_id not in gone] + add
        canvas.edges = [edge for edge in canvas.edges if not gone.intersection(edge)] + connect
        for node in canvas.nodes:
            node.label = relabel.get(node.node_id, node.label)
        modified = at_ms or (project.last_modified or project.created_at) + 60_000
        self.projects[self.projects.index(project)] = replace(project, last_modified=modified)
        return canvas

    # --- what the key may see ---------------------------------------------------------------------------

    def refuse(self, source: str, status: int = 403) -> None:
        """Answer everything of one of `SOURCES` with an error, until `allow`.

        The same for requests that a path or query tells apart is a `Fault`:
        `Fault("*/projects/prj_x/canvas", status=403)`.
        """
        if source not in SOURCES:
            raise ValueError(f"{source!r} is none of {', '.join(SOURCES)}")
        self.refused[source] = status

    def allow(self, source: str) -> None:
        """End a refusal."""
        self.refused.pop(source, None)

    def hide(self, project_id: str) -> None:
        """Take a project out of the key's sight: it and all in it are in no list, and 404 by their ids.

        A list that asks for the project is 404, too. `hidden.discard` shows it again.
        """
        self.hidden.add(project_id)

    # --- what the API tells of it ------------------------------------------------------------------------

    def listed_assets(
        self, *, workspace_id: str | None = None, project_id: str | None = None, query: str | None = None
    ) -> list[SimAsset]:
        """The uploads that match, newest first; `query` is looked for in name and description."""
        order = sorted(self.assets, key=lambda a: (a.created_at or 0, a.asset_id or ""), reverse=True)
        return [
            asset
            for asset in order
            if asset.project_id not in self.hidden
            and (workspace_id is None or asset.workspace_id == workspace_id)
            and (project_id is None or asset.project_id == project_id)
            and (query is None or query.lower() in f"{asset.name or ''}\n{asset.description or ''}".lower())
        ]

    def asset_record(self, asset: SimAsset, *, listed: bool) -> dict[str, object]:
        """The JSON object the API gives for an upload: an item of `GET /assets`, or the answer by its id."""
        url = self.url_of(asset.file)
        return asset.listed_record(url) if listed else asset.own_record(url)

    def url_of(self, output: SimOutput) -> str:
        """What the API gives as `url`: the text itself for a text output."""
        if output.url is not None:
            return output.url
        return output.text if output.text is not None else self.media_url + output.path

    def _index(self, owners: Iterable[SimRun | SimAsset]) -> None:
        for owner in owners:
            for output in owner.outputs if isinstance(owner, SimRun) else [owner.file]:
                if output.path:
                    self._served[output.path] = (owner, output)

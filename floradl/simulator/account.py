"""An account of FLORA in memory: its runs, uploads and canvases, and the changes that can happen to them.

Guarantees:

- The `*record` methods return exactly the JSON object that the API returns for a thing, field by field.
- Runs are listed newest first by (`created_at`, `run_id`), uploads by (`created_at`, `asset_id`), whatever
  order they were added in.
- Deleting a run or an upload takes it out of the lists only. Its files stay on the media server, as FLORA's
  do: a path that was given out is served until `move_url` ends it.
- What the key may not see is in no list and no answer. Its media files are served all the same, because the
  media server knows no keys.

Another thread than the serving one may change an account at any time, so every reader here iterates over a
copy of a list: iterating over the list itself would skip or repeat items while a test inserts and deletes.
"""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING

from .canvas import SimCanvas
from .runs import Listing, RunStatus, SimRun
from .uploads import AssetStatus, SimAsset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .runs import SimOutput, SimProject, SimWorkspace

DEFAULT_SPACING_MS = 600_000

SOURCES = ("generations", "technique-runs", "runs", "assets", "canvas", "workspaces", "projects")
"""What `Account.refuse` can refuse: a list, or a single thing by its id. `canvas` stands for both a
project's diagram and its nodes."""


class Account:
    """Everything that one API key can see.

    Args:
        api_key: the only key that the simulated API accepts.
        runs: in any order.
        workspaces: the answer of `GET /workspaces`.
        projects: the answer of `GET /projects`.
        seed: decides the runs, uploads and notes that `scenario` adds later.
        spacing_ms: how much newer than the newest run or upload each added one is, in milliseconds.
        assets: uploads, in any order.
        canvases: project id → its canvas; a project without one has an empty canvas.

    Attributes:
        rng: chooses everything about made-up runs.
        sources_rng: chooses everything about made-up technique runs, uploads and canvases.
        refused: source (one of `SOURCES`) → the HTTP status that it is refused with.
        hidden: ids of the projects that the key cannot see.
        dead_paths: media paths that `move_url` ended; the media server answers 410 for them.
        base_url: of the API; set by the simulator that serves the account.
        media_url: of the media server; set by the simulator that serves the account.
    """

    def __init__(
        self,
        api_key: str,
        runs: Iterable[SimRun] = (),
        *,
        workspaces: Iterable[SimWorkspace] = (),
        projects: Iterable[SimProject] = (),
        seed: int = 0,
        spacing_ms: int = DEFAULT_SPACING_MS,
        assets: Iterable[SimAsset] = (),
        canvases: Mapping[str, SimCanvas] | None = None,
    ) -> None:
        self.api_key = api_key
        self.runs = list(runs)
        self.workspaces = list(workspaces)
        self.projects = list(projects)
        self.assets = list(assets)
        self.canvases = dict(canvases or {})
        self.spacing_ms = spacing_ms
        self.rng = random.Random(f"account-{seed}")  # noqa: S311 - made-up ids need no cryptography
        # A generator apart from the runs', so that a seed gives the same runs whatever else is made up.
        self.sources_rng = random.Random(f"more-{seed}")  # noqa: S311 - made-up ids need no cryptography
        self.refused: dict[str, int] = {}
        self.hidden: set[str] = set()
        self.dead_paths: set[str] = set()
        self.base_url = "http://127.0.0.1/api/v1"
        self.media_url = "http://127.0.0.1"
        self._served: dict[str, tuple[SimRun | SimAsset, SimOutput]] = {}

    # --- runs -------------------------------------------------------------------------------------------

    def insert(self, run: SimRun) -> SimRun:
        """Add one run; its `created_at` decides where the lists show it."""
        self.runs.append(run)
        return run

    def delete(self, run_id: str) -> SimRun:
        """Take a run out of the lists; the media server goes on serving its files."""
        run = self.get(run_id)
        self._index([run])  # before it goes: `output_at` finds only the runs that are left
        self.runs.remove(run)
        return run

    def get(self, run_id: str) -> SimRun:
        """The run with this id; raises KeyError when there is none."""
        for run in list(self.runs):
            if run.run_id == run_id:
                return run
        raise KeyError(run_id)

    def start(self, run_id: str) -> SimRun:
        """Turn a pending run into a running one."""
        run = self.get(run_id)
        run.status, run.progress = RunStatus.RUNNING, 35
        run.started_at = run.created_at + 1500
        return run

    def finish(self, run_id: str, at_ms: int | None = None) -> SimRun:
        """Complete an open run, so that its outputs are listed.

        Args:
            run_id: of a pending or running run.
            at_ms: its `completed_at` in unix milliseconds; 12 seconds after its creation when None.
        """
        run = self.get(run_id)
        self._end(run, RunStatus.COMPLETED, at_ms)
        return run

    def fail(self, run_id: str, at_ms: int | None = None) -> SimRun:
        """Let an open run fail; takes what `finish` takes.

        A failed run has `progress` 100 and a `completed_at` too, as measured at FLORA.
        """
        run = self.get(run_id)
        self._end(run, RunStatus.FAILED, at_ms)
        run.error_code = run.error_code or "generation_failed"
        run.error_message = run.error_message or "The model did not return a result."
        return run

    @staticmethod
    def _end(run: SimRun, status: RunStatus, at_ms: int | None) -> None:
        run.status, run.progress = status, 100
        run.started_at = run.started_at or run.created_at + 1500
        run.completed_at = at_ms or run.created_at + 12_000

    # --- uploads, projects and canvases ----------------------------------------------------------------

    def insert_asset(self, asset: SimAsset) -> SimAsset:
        """Add one upload; its `created_at` decides where the list shows it."""
        self.assets.append(asset)
        return asset

    def get_asset(self, asset_id: str) -> SimAsset:
        """The first upload with this id (several may share one); raises KeyError when there is none."""
        for asset in list(self.assets):
            if asset.asset_id == asset_id:
                return asset
        raise KeyError(asset_id)

    def delete_asset(self, asset: SimAsset) -> None:
        """Take an upload out of the lists; the media server goes on serving its file."""
        self._index([asset])  # before it goes: `output_at` finds only the uploads that are left
        self.assets.remove(asset)

    def finish_asset(self, asset_id: str) -> SimAsset:
        """Turn a pending upload into a ready one."""
        asset = self.get_asset(asset_id)
        asset.status = AssetStatus.READY
        return asset

    def get_project(self, project_id: str) -> SimProject:
        """The project with this id; raises KeyError when there is none."""
        for project in list(self.projects):
            if project.project_id == project_id:
                return project
        raise KeyError(project_id)

    def canvas_of(self, project_id: str) -> SimCanvas:
        """A project's canvas, empty when it had none.

        Changing it leaves the `last_modified` of the project as it was; `scenario.edit_canvas` moves that on.
        """
        return self.canvases.setdefault(project_id, SimCanvas())

    # --- what the key may see ---------------------------------------------------------------------------

    def refuse(self, source: str, status: int = 403) -> None:
        """Answer every request for one source with an error, until `allow`.

        To refuse only some of the requests, by path or query, use a `Fault` instead, such as
        `Fault("*/projects/prj_x/canvas", status=403)`.

        Args:
            source: one of `SOURCES`; raises ValueError for any other.
            status: the HTTP status of the error.
        """
        if source not in SOURCES:
            raise ValueError(f"{source!r} is none of {', '.join(SOURCES)}")
        self.refused[source] = status

    def allow(self, source: str) -> None:
        """Answer requests for a source again."""
        self.refused.pop(source, None)

    def hide(self, project_id: str) -> None:
        """Hide a project from the key.

        The project and everything in it are left out of all lists. Asking for one of them by its id, or for a
        list of this project alone, answers 404. `hidden.discard` shows the project again.
        """
        self.hidden.add(project_id)

    # --- what the API answers ---------------------------------------------------------------------------

    def listed(
        self,
        *,
        status: str | None = None,
        workspace_id: str | None = None,
        project_id: str | None = None,
        source: str = Listing.GENERATIONS,
        technique_id: str | None = None,
    ) -> list[SimRun]:
        """The runs that one history lists (`source` is a `Listing`) and that match, newest first."""
        runs = sorted(self.runs, key=lambda run: (run.created_at, run.run_id), reverse=True)
        return [
            run
            for run in runs
            if run.is_listed_by(source)
            and run.project_id not in self.hidden
            and (status is None or run.status == status)
            and (workspace_id is None or run.workspace_id == workspace_id)
            and (project_id is None or run.project_id == project_id)
            and (technique_id is None or (run.technique and run.technique.technique_id == technique_id))
        ]

    def record(self, run: SimRun, *, listed: bool) -> dict[str, object]:
        """The JSON object that the API returns for `run`.

        Args:
            run: a run of this account.
            listed: True for an item of `GET /generations`, False for `GET /runs/{run_id}`, which has neither
                workspace nor project nor model.
        """
        record: dict[str, object] = {"run_id": run.run_id}
        if listed:
            record = {
                "generation_id": run.run_id,
                "run_id": run.run_id,
                "workspace_id": run.workspace_id,
                "project_id": run.project_id,
            }
        record |= {"status": run.status, "created_at": run.created_at, "progress": run.progress}
        record |= {
            name: value
            for name in ("started_at", "completed_at", "charged_cost", "error_code", "error_message")
            if (value := getattr(run, name)) is not None
        }
        if listed and run.with_model:
            record["model"] = {"model_id": run.model_id}
        if run.status == RunStatus.COMPLETED and (run.list_outputs or not listed):
            record["outputs"] = [
                {"output_id": output.output_id, "type": output.type, "url": self.url_of(output)}
                for output in run.outputs
            ]
        record["poll_url"] = f"{self.base_url}/runs/{run.run_id}"
        return record | run.extra

    def technique_record(self, run: SimRun) -> dict[str, object]:
        """The JSON object of `run` in `GET /technique-runs`: it has the technique and lacks the model."""
        record = self.record(run, listed=True)
        own: dict[str, object] = {"technique_run_id": run.run_id}
        own |= {name: value for name, value in record.items() if name not in ("generation_id", "model")}
        if run.technique is not None:
            own["technique"] = dict(vars(run.technique))
        return own

    def record_json(self, run: SimRun, *, listed: bool) -> str:
        """`record` as the text that the API sends."""
        return json.dumps(self.record(run, listed=listed), ensure_ascii=False)

    def listed_assets(
        self, *, workspace_id: str | None = None, project_id: str | None = None, query: str | None = None
    ) -> list[SimAsset]:
        """The uploads that match, newest first; `query` is a part of a name or description, in any case."""
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
        """The JSON object of an upload: an item of `GET /assets` if `listed`, else of `GET /assets/{id}`."""
        url = self.url_of(asset.file)
        return asset.listed_record(url) if listed else asset.own_record(url)

    # --- media ------------------------------------------------------------------------------------------

    def url_of(self, output: SimOutput) -> str:
        """The `url` that the API returns for an output; a text output has its text in place of a URL."""
        if output.url is not None:
            return output.url
        return output.text if output.text is not None else self.media_url + output.path

    def body_of(self, output: SimOutput) -> bytes:
        """The bytes a complete archive must hold for `output`."""
        return output.body

    def move_url(self, output: SimOutput) -> str:
        """Serve an output at a new URL, which is returned; the media server answers 410 for the old one."""
        self.dead_paths.add(output.path)
        folder, _, name = output.path.rpartition("/")
        _, dot, suffix = name.rpartition(".")
        fresh = uuid.UUID(int=self.rng.getrandbits(128), version=4)
        output.path = f"{folder}/{fresh}{dot}{suffix if dot else ''}"
        return self.url_of(output)

    def output_at(self, path: str) -> tuple[SimRun | SimAsset, SimOutput] | None:
        """The run or upload whose file is served at a media path, and the file; None when there is none."""
        found = self._served.get(path)
        # Tests add runs and set paths without telling the account, so an unknown path means a new index.
        if found is None or found[1].path != path:
            self._index([*list(self.runs), *list(self.assets)])
            found = self._served.get(path)
        return found if found and found[1].path == path else None

    def _index(self, owners: Iterable[SimRun | SimAsset]) -> None:
        """Remember at which path each file is served, also after its run or upload was deleted."""
        for owner in owners:
            for output in owner.outputs if isinstance(owner, SimRun) else [owner.file]:
                if output.path:
                    self._served[output.path] = (owner, output)

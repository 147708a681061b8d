"""A FLORA account in memory: its runs, uploads and canvases, and everything that can happen to them.

Guarantees:

- `Account.record` and its like give exactly the JSON object the API gives for a thing, field by field.
- Runs are listed newest first by (`created_at`, `run_id`), whatever order they were put in.
- Every media path that was ever given out is either served or known to be dead (`move_url`), also after its
  run or upload was deleted: that takes it out of the lists, not its files off the media hosts.
- What the key may not see is in no list and no answer, and its media are served all the same.

Changes may come from another thread than the one that serves: every reader works on a copy of the list.
"""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING

from .library import DEFAULT_SPACING_MS, Library
from .runs import NEWEST_AT_MS, Edit, Listing, RunStatus, SimRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from .canvas import SimCanvas
    from .runs import SimOutput, SimProject, SimWorkspace
    from .uploads import SimAsset


class EditError(LookupError):
    """An `Edit` names something, or a place in a list, that is not there; the message fits one line."""


class Account(Library):
    """Everything one API key can see.

    Args:
        api_key: the only key the API will take.
        runs: in any order.
        workspaces: told by `GET /workspaces`.
        projects: told by `GET /projects`.
        seed: decides the runs that `insert_new` makes up.
        spacing_ms: how much newer than the newest each of them is.
        assets: uploads, in any order.
        canvases: project id → what is on its canvas; a project without one has an empty canvas.

    `base_url` and `media_url` are set by the simulator that serves the account.
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
        super().__init__(
            workspaces=workspaces,
            projects=projects,
            assets=assets,
            canvases=canvases or {},
            seed=seed,
            spacing_ms=spacing_ms,
        )
        self.api_key = api_key
        self.runs = list(runs)
        self.dead_paths: set[str] = set()
        self.rng = random.Random(f"account-{seed}")  # noqa: S311 - made-up ids need no cryptography

    @classmethod
    def generate(
        cls,
        runs: int = 300,
        *,
        seed: int = 1,
        workspaces: int = 2,
        projects: int = 3,
        spacing_ms: int = DEFAULT_SPACING_MS,
        newest_at_ms: int = NEWEST_AT_MS,
        open_runs: int = 0,
        techniques: int = 0,
        assets: int = 0,
        canvases: bool = False,
    ) -> Self:
        """An account with a rich mix of runs, the same for the same arguments; see `generate.fill`.

        The last three add to the runs and change nothing about them; see `more`.

        Args:
            runs: how many runs there are in all.
            seed: decides ids, bytes and everything else.
            workspaces: how many workspaces.
            projects: how many projects in all, dealt out to the workspaces in turn.
            spacing_ms: from one run's `created_at` to the next one's.
            newest_at_ms: `created_at` of the newest run.
            open_runs: how many of the newest runs are running or pending, in turn.
            techniques: how many runs of techniques there are besides, two of three in both histories.
            assets: how many uploads, one in five without a project; the last two have equal bytes.
            canvases: whether the projects' canvases show some of the outputs and uploads.
        """
        from . import generate, more  # they import this module

        account = cls(generate.api_key(seed), seed=seed, spacing_ms=spacing_ms)
        generate.add_places(account, workspaces=workspaces, projects=projects)
        generate.fill(account, runs, newest_at_ms=newest_at_ms, open_runs=open_runs)
        more.add_technique_runs(account, techniques, newest_at_ms=newest_at_ms)
        more.add_assets(account, assets, newest_at_ms=newest_at_ms)
        if canvases:
            more.add_canvases(account)
        return account

    @classmethod
    def demo(cls) -> Self:
        """The account that `floradl demo` archives: sixty runs that are pleasant to look at.

        Some are runs of techniques, which both histories list. There are uploads, one of them twice, and
        every project has a canvas whose labels are prompts.
        """
        from . import generate, more  # they import this module

        account = cls(generate.api_key(60), seed=60)
        generate.fill_demo(account)
        more.furnish_demo(account)
        return account

    # --- what happens to runs ---------------------------------------------------------------------------

    def insert(self, run: SimRun) -> SimRun:
        """Add one run, wherever its `created_at` puts it."""
        self.runs.append(run)
        return run

    def insert_new(self, count: int = 1, *, status: str = RunStatus.COMPLETED) -> list[SimRun]:
        """Add `count` made-up runs, each newer than the newest, and return them, oldest first."""
        from . import generate  # it imports this module

        newest = max((run.created_at for run in list(self.runs)), default=NEWEST_AT_MS - self.spacing_ms)
        return [
            self.insert(generate.make_run(self, newest + place * self.spacing_ms, status=status))
            for place in range(1, count + 1)
        ]

    def insert_techniques(self, count: int = 1, *, listed_by: str | None = None) -> list[SimRun]:
        """Add `count` made-up runs of techniques, each newer than the newest run; oldest first."""
        from . import more  # it imports this module

        return [more.as_technique_run(self, run, listed_by) for run in self.insert_new(count)]

    def delete(self, run_id: str) -> SimRun:
        """Take a run out of the history; its media stay where they are."""
        run = self.get(run_id)
        self._index([run])
        self.runs.remove(run)
        return run

    def get(self, run_id: str) -> SimRun:
        """The run of that id; KeyError when there is none."""
        for run in list(self.runs):
            if run.run_id == run_id:
                return run
        raise KeyError(run_id)

    def start(self, run_id: str) -> SimRun:
        """A pending run begins to run."""
        run = self.get(run_id)
        run.status, run.progress = RunStatus.RUNNING, 35
        run.started_at = run.created_at + 1500
        return run

    def finish(self, run_id: str, at_ms: int | None = None) -> SimRun:
        """An open run completes and shows its outputs, at `at_ms` or 12 s after it was created."""
        run = self.get(run_id)
        self._end(run, RunStatus.COMPLETED, at_ms)
        return run

    def fail(self, run_id: str, at_ms: int | None = None) -> SimRun:
        """An open run fails: measured, `progress` is 100 and `completed_at` is there all the same."""
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

    def apply(self, edit: Edit) -> None:
        """Make the change `edit` describes; raises EditError when it names a run that is not there."""
        if edit.insert:
            self.insert_new(edit.insert, status=edit.insert_status)
        try:
            completed = self.listed(status=RunStatus.COMPLETED)
            for run_id in (*edit.delete, *[completed[place].run_id for place in edit.delete_listed]):
                self.delete(run_id)
            for change, run_ids in (
                (self.start, edit.start),
                (self.finish, edit.finish),
                (self.fail, edit.fail),
            ):
                for run_id in run_ids:
                    change(run_id)
            self._apply_to_the_rest(edit)
        except LookupError as exc:
            raise EditError(f"an edit names what is not there: {exc}") from exc

    def _apply_to_the_rest(self, edit: Edit) -> None:
        self.insert_techniques(edit.insert_techniques)
        self.insert_assets(edit.insert_assets)
        listed = self.listed_assets()
        gone = [self.get_asset(asset_id) for asset_id in edit.delete_assets]
        for asset in (*gone, *[listed[place] for place in edit.delete_listed_assets]):
            self.delete_asset(asset)
        for asset_id in edit.finish_assets:
            self.finish_asset(asset_id)
        for project_id in edit.edit_canvas:
            self.edit_canvas(project_id)
        for project_id in edit.hide:
            self.hide(self.get_project(project_id).project_id)

    # --- what the API tells -----------------------------------------------------------------------------

    def listed(
        self,
        *,
        status: str | None = None,
        workspace_id: str | None = None,
        project_id: str | None = None,
        source: str = Listing.GENERATIONS,
        technique_id: str | None = None,
    ) -> list[SimRun]:
        """The runs of one history (`source`) that match, newest first."""
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
        """The JSON object the API gives for `run`.

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
        """The JSON object `GET /technique-runs` gives for `run`: it tells the technique, and no model."""
        record = self.record(run, listed=True)
        own: dict[str, object] = {"technique_run_id": run.run_id}
        own |= {name: value for name, value in record.items() if name not in ("generation_id", "model")}
        if run.technique is not None:
            own["technique"] = dict(vars(run.technique))
        return own

    def record_json(self, run: SimRun, *, listed: bool) -> str:
        """`record`, as the very text the API sends."""
        return json.dumps(self.record(run, listed=listed), ensure_ascii=False)

    # --- media ------------------------------------------------------------------------------------------

    def body_of(self, output: SimOutput) -> bytes:
        """The bytes a complete archive must hold for `output`."""
        return output.body

    def move_url(self, output: SimOutput) -> str:
        """Let the output's URL die (the media server answers 410) and return its new one: same bytes."""
        self.dead_paths.add(output.path)
        folder, _, name = output.path.rpartition("/")
        _, dot, suffix = name.rpartition(".")
        fresh = uuid.UUID(int=self.rng.getrandbits(128), version=4)
        output.path = f"{folder}/{fresh}{dot}{suffix if dot else ''}"
        return self.url_of(output)

    def output_at(self, path: str) -> tuple[SimRun | SimAsset, SimOutput] | None:
        """The file served at a media path, with its run or upload; None when there is none."""
        found = self._served.get(path)
        if found is None or found[1].path != path:
            self._index([*list(self.runs), *list(self.assets)])
            found = self._served.get(path)
        return found if found and found[1].path == path else None

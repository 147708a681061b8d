"""Made-up accounts, and more of them as time goes on: the functions that tests and benchmarks begin with.

Guarantees the same account for the same arguments on every machine, and the same additions in the same order
for the same seed: chance comes from the account's own two generators alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import made_up_runs, made_up_sources
from .account import DEFAULT_SPACING_MS, Account
from .runs import NEWEST_AT_MS, RunStatus, SimRun
from .uploads import AssetStatus, SimAsset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .canvas import SimCanvas, SimNode


def generate_account(
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
) -> Account:
    """An account whose runs have every kind of output and every oddity of the API; see `made_up_runs.fill`.

    `techniques`, `assets` and `canvases` add to the runs and change nothing about them: a seed gives the same
    runs with and without them.

    Args:
        runs: how many runs there are, without those of techniques.
        seed: decides ids, bytes and everything else.
        workspaces: how many workspaces.
        projects: how many projects in all, dealt out to the workspaces in turn.
        spacing_ms: time from one run's `created_at` to that of the next newer one, in milliseconds.
        newest_at_ms: `created_at` of the newest run, in unix milliseconds.
        open_runs: how many of the newest runs are running or pending, in turn.
        techniques: how many runs of techniques there are besides; both histories list two of three of them.
        assets: how many uploads there are. One in five has no project; the last two have equal bytes.
        canvases: whether the projects' canvases show some of the outputs and uploads.
    """
    account = Account(made_up_runs.api_key(seed), seed=seed, spacing_ms=spacing_ms)
    made_up_runs.add_places(account, workspaces=workspaces, projects=projects)
    made_up_runs.fill(account, runs, newest_at_ms=newest_at_ms, open_runs=open_runs)
    made_up_sources.add_technique_runs(account, techniques, newest_at_ms=newest_at_ms)
    made_up_sources.add_assets(account, assets, newest_at_ms=newest_at_ms)
    if canvases:
        made_up_sources.add_canvases(account)
    return account


def insert_runs(account: Account, count: int = 1, *, status: str = RunStatus.COMPLETED) -> list[SimRun]:
    """Add `count` made-up runs, each newer than the newest, and return them, oldest first."""
    spacing_ms = account.spacing_ms
    newest = max((run.created_at for run in list(account.runs)), default=NEWEST_AT_MS - spacing_ms)
    return [
        account.insert(made_up_runs.make_run(account, newest + place * spacing_ms, status=status))
        for place in range(1, count + 1)
    ]


def insert_technique_runs(account: Account, count: int = 1, *, listed_by: str | None = None) -> list[SimRun]:
    """Add `count` made-up runs of techniques, each newer than the newest run, and return them, oldest first.

    `listed_by` is the `Listing` that has them; None stands for both.
    """
    runs = insert_runs(account, count)
    return [made_up_sources.as_technique_run(account, run, listed_by) for run in runs]


def insert_assets(account: Account, count: int = 1, *, status: str = AssetStatus.READY) -> list[SimAsset]:
    """Add `count` made-up uploads, each newer than the newest, and return them, oldest first."""
    newest = max((asset.created_at or 0 for asset in list(account.assets)), default=NEWEST_AT_MS)
    return [
        account.insert_asset(
            made_up_sources.make_asset(account, newest + place * account.spacing_ms, status=status)
        )
        for place in range(1, count + 1)
    ]


def edit_canvas(
    account: Account,
    project_id: str,
    *,
    add: Iterable[SimNode] = (),
    connect: Iterable[tuple[str, str]] = (),
    remove: Iterable[str] = (),
    relabel: Mapping[str, str] | None = None,
    at_ms: int | None = None,
) -> SimCanvas:
    """Change a canvas and move the project's `last_modified` on. Without any change, add a made-up note.

    Args:
        account: the account that the project is in.
        project_id: of the project; raises KeyError when the account has no such project.
        add: nodes to add.
        connect: edges to add, as pairs of node ids.
        remove: ids of nodes to remove, together with the edges that touch them.
        relabel: node id → its new label.
        at_ms: the new `last_modified` in unix milliseconds; a minute after the old one when None.
    """
    project, canvas = account.get_project(project_id), account.canvas_of(project_id)
    add, connect, gone, relabel = list(add), list(connect), set(remove), relabel or {}
    if not (add or connect or gone or relabel):
        add = [made_up_sources.make_note(account)]
    canvas.nodes = [node for node in canvas.nodes if node.node_id not in gone] + add
    canvas.edges = [edge for edge in canvas.edges if not gone.intersection(edge)] + connect
    for node in canvas.nodes:
        node.label = relabel.get(node.node_id, node.label)
    modified = at_ms or (project.last_modified or project.created_at) + 60_000
    account.projects[account.projects.index(project)] = replace(project, last_modified=modified)
    return canvas

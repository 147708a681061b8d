"""Made-up runs of techniques, uploads and canvases, for accounts that have runs already.

Guarantees the same things for the same seed, and that adding them changes nothing about the other runs, those
added later included: every choice is made by `Account.sources_rng`, never by the runs' own `Account.rng`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from .canvas import SimNode
from .made_up_runs import make_id, make_run
from .media import OUTPUT_TYPES, Drawing, Kind
from .runs import Listing, RunStatus, SimOutput, SimTechnique
from .uploads import AssetStatus, SimAsset

if TYPE_CHECKING:
    from .account import Account
    from .runs import SimRun

TECHNIQUES = (
    SimTechnique("tech_productshot", "Product shot"),
    SimTechnique("tech_daytonight", "Day to night"),
    SimTechnique("tech_turnaround", "Turnaround, four views"),
    SimTechnique("tech_papercut", "Papercut 🎏"),
)

_KINDS = (Kind.PNG, Kind.JPEG, Kind.WEBP, Kind.MP4, Kind.WAV, Kind.PDF)
_NAMES = ("Box front", "Mood board", "Slate & moss", "Loop, 2nd take", "Voice note", "Brief “final”")
_VIAS = ("direct", "signed_url", "url")
_PROMPTS = (
    "A paper boat crossing a flooded library, seen from above, early light through high windows",
    "Three hills at dusk, a low sun, colours of ripe plums. No people, no text",
    'The box on a slate table, lid half open, one red thread; label reads "AUTUMN"',
    "Slow drift over folded cloth. The stripes stay parallel; the camera never stops",
    "Moss close up, macro, morning dew, shallow depth of field",
    "Discs of coloured glass that overlap, backlit, on white",
    "Papercut mountains in seven layers, light from the left",
    "Same again, but the thread leads out of the frame",
)
_NODE_TYPES = {"imageUrl": "image", "videoUrl": "video", "audioUrl": "audio", "text": "text"}


def add_technique_runs(account: Account, count: int, *, newest_at_ms: int) -> None:
    """Add `count` runs of techniques between the other runs; `GET /generations` lacks every third of them."""
    for place in range(count):
        created_at = newest_at_ms - place * account.spacing_ms - account.spacing_ms // 2
        status = RunStatus.FAILED if place % 12 == 7 else RunStatus.COMPLETED
        run = make_run(account, created_at, status=status, place=place, rng=account.sources_rng)
        listed_by = Listing.TECHNIQUE_RUNS if place % 3 == 2 else Listing.BOTH
        account.insert(as_technique_run(account, run, listed_by))


def as_technique_run(account: Account, run: SimRun, listed_by: str | None) -> SimRun:
    """Turn a run into one of a technique, listed by `listed_by` (a `Listing`; None means both histories)."""
    run.technique = account.sources_rng.choice(TECHNIQUES)
    run.listed_by = listed_by
    return run


def add_assets(account: Account, count: int, *, newest_at_ms: int) -> None:
    """Add `count` uploads, newest first, of all kinds and states, one in five without a project.

    The last one has the same bytes as the one before it, but a path of its own.
    """
    for place in range(count):
        status = {5: AssetStatus.PENDING, 9: AssetStatus.FAILED}.get(place % 12, AssetStatus.READY)
        account.insert_asset(
            make_asset(account, newest_at_ms - place * account.spacing_ms, status=status, place=place)
        )
    if count > 1:
        first, second = account.assets[-2:]
        second.file.drawing, second.file.content_type = first.file.drawing, first.file.content_type


def make_asset(
    account: Account, created_at: int, *, status: str = AssetStatus.READY, place: int | None = None
) -> SimAsset:
    """Make an upload for the account, without adding it.

    `place` decides its kind and its oddities, and is chosen at random when None: one upload in five has no
    project, one in 13 has no id but a node, one in 11 has no date.
    """
    rng = account.sources_rng
    place = rng.randrange(1000) if place is None else place
    project = rng.choice(account.projects)
    kind = _KINDS[place % len(_KINDS)]
    node_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    asset = SimAsset(
        None if place % 13 == 12 else make_id(rng, "asset"),
        project.workspace_id,
        make_upload(account, kind, Drawing(kind, rng.getrandbits(40))),
        project_id=None if place % 5 == 4 else project.project_id,
        name=f"{_NAMES[place % len(_NAMES)]}.{kind}",
        created_at=None if place % 11 == 10 else created_at,
        status=status,
        uploaded_via=_VIAS[place % len(_VIAS)],
    )
    asset.node_id = node_id if asset.project_id or asset.asset_id is None else None
    asset.failure_message = "The upload was not completed." if status == AssetStatus.FAILED else None
    return asset


def make_upload(account: Account, kind: Kind, drawing: Drawing) -> SimOutput:
    """Make the file of an upload, at a fresh path of the media server."""
    fresh = uuid.UUID(int=account.sources_rng.getrandbits(128), version=4)
    return SimOutput(str(fresh), OUTPUT_TYPES[kind], path=f"/uploads/{fresh}.{kind}", drawing=drawing)


def make_note(account: Account) -> SimNode:
    """Make a text node for a canvas, without adding it."""
    rng = account.sources_rng
    node_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return SimNode(node_id, "text", label="Note", url=f"{rng.choice(_PROMPTS)} ({rng.randrange(1000)})")


def add_canvases(account: Account, *, max_runs: int = 8) -> None:
    """Give each project a canvas: uploads lead to prompts, and a prompt to the outputs of its run."""
    for project in list(account.projects):
        runs = [
            run
            for run in account.runs
            if run.project_id == project.project_id and run.status == RunStatus.COMPLETED
        ]
        assets = [
            asset
            for asset in account.assets
            if asset.project_id == project.project_id and asset.status == AssetStatus.READY
        ]
        _draw_canvas(account, project.project_id, runs[:max_runs], assets)


def _draw_canvas(account: Account, project_id: str, runs: list[SimRun], assets: list[SimAsset]) -> None:
    canvas, rng = account.canvas_of(project_id), account.sources_rng
    for asset in assets:
        if (shown := _NODE_TYPES.get(asset.file.type)) is not None:
            node_id = asset.node_id or make_id(rng, "node")
            canvas.nodes.append(_node(node_id, shown, asset.name, asset.file, asset.asset_id))
    uploads = [node.node_id for node in canvas.nodes]
    for place, run in enumerate(runs):
        prompt = _PROMPTS[rng.randrange(len(_PROMPTS))]
        words = SimNode(make_id(rng, "node"), "text", label=prompt, url=prompt)
        shown_outputs = [output for output in run.outputs if output.type in _NODE_TYPES]
        if not shown_outputs:
            continue
        canvas.nodes.append(words)
        if uploads and place % 2 == 0:
            canvas.edges.append((uploads[place % len(uploads)], words.node_id))
        for output in shown_outputs:
            node = _node(make_id(rng, "node"), _NODE_TYPES[output.type], prompt, output)
            canvas.nodes.append(node)
            canvas.edges.append((words.node_id, node.node_id))


def _node(
    node_id: str, shown: str, label: str | None, file: SimOutput, asset_id: str | None = None
) -> SimNode:
    size = (file.drawing.width, file.drawing.height) if file.drawing and shown == "image" else (None, None)
    return SimNode(node_id, shown, label=label, shows=file, asset_id=asset_id, width=size[0], height=size[1])

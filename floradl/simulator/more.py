"""Made-up technique runs, uploads and canvases, for accounts that `generate` has filled with runs.

Guarantees the same for the same seed, and that nothing here changes what the seed makes of the runs: chance
comes from `Account.more_rng` alone.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from .canvas import SimNode
from .generate import make_id, make_run
from .media import OUTPUT_TYPES, Drawing, Kind
from .runs import NEWEST_AT_MS, Listing, RunStatus, SimOutput, SimTechnique
from .uploads import AssetStatus, SimAsset

if TYPE_CHECKING:
    from .account import Account
    from .library import Library
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
    """Add `count` runs of techniques between the other runs; every third is in no other history."""
    for place in range(count):
        created_at = newest_at_ms - place * account.spacing_ms - account.spacing_ms // 2
        status = RunStatus.FAILED if place % 12 == 7 else RunStatus.COMPLETED
        run = make_run(account, created_at, status=status, place=place, rng=account.more_rng)
        listed_by = Listing.TECHNIQUE_RUNS if place % 3 == 2 else Listing.BOTH
        account.insert(as_technique_run(account, run, listed_by))


def as_technique_run(account: Account, run: SimRun, listed_by: str | None) -> SimRun:
    """Let a run be one of some technique."""
    run.technique = account.more_rng.choice(TECHNIQUES)
    run.listed_by = listed_by
    return run


def add_assets(account: Account, count: int, *, newest_at_ms: int) -> None:
    """Add `count` uploads, newest first: of all kinds and states, one in five without a project.

    The last one has the bytes of the one before, in another place.
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
    account: Library, created_at: int, *, status: str = AssetStatus.READY, place: int | None = None
) -> SimAsset:
    """An upload of the account (not added yet). `place` decides its kind and its oddities.

    One in five has no project, one in 13 no id (but a node), one in 11 no known date.
    """
    rng = account.more_rng
    place = rng.randrange(1000) if place is None else place
    project = rng.choice(account.projects)
    kind = _KINDS[place % len(_KINDS)]
    node_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    asset = SimAsset(
        None if place % 13 == 12 else make_id(rng, "asset"),
        project.workspace_id,
        _upload(account, kind, Drawing(kind, rng.getrandbits(40))),
        project_id=None if place % 5 == 4 else project.project_id,
        name=f"{_NAMES[place % len(_NAMES)]}.{kind}",
        created_at=None if place % 11 == 10 else created_at,
        status=status,
        uploaded_via=_VIAS[place % len(_VIAS)],
    )
    asset.node_id = node_id if asset.project_id or asset.asset_id is None else None
    asset.failure_message = "The upload was not completed." if status == AssetStatus.FAILED else None
    return asset


def _upload(account: Library, kind: Kind, drawing: Drawing) -> SimOutput:
    fresh = uuid.UUID(int=account.more_rng.getrandbits(128), version=4)
    return SimOutput(str(fresh), OUTPUT_TYPES[kind], path=f"/uploads/{fresh}.{kind}", drawing=drawing)


def make_note(account: Library) -> SimNode:
    """A text node (not added yet) for a canvas."""
    rng = account.more_rng
    node_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return SimNode(node_id, "text", label="Note", url=f"{rng.choice(_PROMPTS)} ({rng.randrange(1000)})")


def add_canvases(account: Account, *, max_runs: int = 8) -> None:
    """Give each project a canvas: uploads lead to prompts, and each prompt to what came of it."""
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
    canvas, rng = account.canvas_of(project_id), account.more_rng
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


def furnish_demo(account: Account) -> None:
    """Make some of the demo's runs those of techniques, and add six uploads and three canvases."""
    for run in account.runs[5::8]:
        as_technique_run(account, run, None)
    campaign, packaging, playground = account.projects
    uploads = (
        (campaign, "Mood board.jpg", Kind.JPEG, (720, 405)),
        (campaign, "Slate and moss.webp", Kind.WEBP, (640, 480)),
        (campaign, "Brief.pdf", Kind.PDF, (640, 480)),
        (packaging, "Box, front.png", Kind.PNG, (448, 672)),
        (packaging, "Slate and moss.webp", Kind.WEBP, (640, 480)),
        (playground, "Hum.wav", Kind.WAV, (640, 480)),
    )
    for place, (project, name, kind, size) in enumerate(uploads):
        asset = SimAsset(
            make_id(account.more_rng, "asset"),
            project.workspace_id,
            _upload(account, kind, Drawing(kind, len(name), *size)),
            project_id=project.project_id,
            node_id=make_id(account.more_rng, "node"),
            name=name,
            created_at=NEWEST_AT_MS - (place + 4) * 86_400_000,
        )
        account.insert_asset(asset)
    add_canvases(account)

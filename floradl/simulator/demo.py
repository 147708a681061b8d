"""The account that `floradl demo` archives: sixty runs in three projects that are pleasant to look at.

Some runs are those of techniques, which both histories list. There are six uploads, two of them with equal
bytes, and every project has a canvas whose labels are prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .account import Account
from .made_up_runs import api_key, make_id, make_output, make_run, settle
from .made_up_sources import add_canvases, as_technique_run, make_upload
from .media import Drawing, Kind
from .runs import NEWEST_AT_MS, RunStatus, SimProject, SimWorkspace
from .uploads import SimAsset

if TYPE_CHECKING:
    import random

_SIZES = ((640, 480), (560, 560), (448, 672), (720, 405), (420, 630), (720, 306))
_PLACES = (
    ("Studio North", ("Autumn campaign", "Packaging")),
    ("Playground", ("Moving colours",)),
)
_RECIPES: tuple[tuple[str, ...], ...] = (
    ("png",),
    ("jpg",),
    ("webp",),
    ("png", "jpg"),
    ("mp4",),
    ("text",),
    ("png",),
    ("wav",),
    ("jpg",),
    ("pdf",),
    ("webp", "png"),
    ("png", "text"),
)

# The models that make a kind of output; `_PICTURES` make all the others.
_MODELS = {
    "mp4": ("i2v-kling-3", "t2v-veo-4"),
    "wav": ("t2a-sonic-2",),
    "text": ("llm-haiku",),
    "pdf": ("llm-haiku",),
}
_PICTURES = ("t2i-flux-2-pro", "t2i-flux-2-pro", "t2i-nano-banana")
_TEXTS = (
    "A paper boat crossing a flooded library, seen from above, early light through high windows.",
    "Three hills at dusk, a low sun, colours of ripe plums. No people, no text.",
    "# Mood\n\n- warm light\n- long shadows\n- *no* people\n",
    "Slow drift over folded cloth. The stripes stay parallel; the camera never stops.",
    "Autumn, but not orange: moss, slate and one red thread that leads the eye to the box.",
)


def demo_account() -> Account:
    """The demo's account, the same every time."""
    account = Account(api_key(60), seed=60)
    _add_runs(account)
    _add_sources(account)
    return account


def _age_ms(place: int, rng: random.Random) -> int:
    """The age of a run: 36 were made in the last two days, the others in sixes, weeks apart."""
    if place < 36:
        return place * 5_000_000 + rng.randrange(4_000_000)
    sitting, number = divmod(place - 36, 6)
    return (16 + 29 * sitting) * 86_400_000 + number * 2_400_000 + rng.randrange(2_000_000)


def _add_runs(account: Account) -> None:
    """Add sixty runs in three projects: pictures of several shapes, films, sounds, documents and texts."""
    rng = account.rng
    for studio, projects in _PLACES:
        workspace = SimWorkspace(make_id(rng, "ws"), studio, created_at=NEWEST_AT_MS - 10**10)
        account.workspaces.append(workspace)
        for name in projects:
            account.projects.append(SimProject(make_id(rng, "prj"), workspace.workspace_id, name))
    statuses = {0: RunStatus.RUNNING, 1: RunStatus.PENDING, 2: RunStatus.PENDING}
    statuses |= {17: RunStatus.FAILED, 41: RunStatus.FAILED}
    for place in range(60):
        recipe = _RECIPES[place % len(_RECIPES)]
        created_at = NEWEST_AT_MS - _age_ms(place, rng)
        run = make_run(account, created_at, status=RunStatus.PENDING, recipe=(), place=place)
        run.charged_cost = round(rng.uniform(0.004, 0.12), 3)
        run.model_id, run.with_model = rng.choice(_MODELS.get(recipe[-1], _PICTURES)), True
        run.outputs = [
            make_output(rng, what, f"output_{number}", created_at, rng.choice(_SIZES))
            for number, what in enumerate(recipe, start=1)
        ]
        for output in run.outputs:
            output.text = rng.choice(_TEXTS) if output.text is not None else None
        settle(run, statuses.get(place, RunStatus.COMPLETED))
        account.insert(run)


def _add_sources(account: Account) -> None:
    """Make one run in eight one of a technique, and add six uploads and three canvases."""
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
            make_id(account.sources_rng, "asset"),
            project.workspace_id,
            make_upload(account, kind, Drawing(kind, len(name), *size)),
            project_id=project.project_id,
            node_id=make_id(account.sources_rng, "node"),
            name=name,
            created_at=NEWEST_AT_MS - (place + 4) * 86_400_000,
        )
        account.insert_asset(asset)
    add_canvases(account)

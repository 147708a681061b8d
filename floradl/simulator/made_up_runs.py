"""Made-up runs: every kind of output and every oddity of the API in a small account.

Guarantees the same runs for the same seed, and that `fill` deals out all 24 recipes before it repeats one, so
that even an account of 24 runs has every kind and every count of outputs.
"""

from __future__ import annotations

import random
import string
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .media import OUTPUT_TYPES, Drawing, Kind
from .runs import NEWEST_AT_MS, RunStatus, SimOutput, SimProject, SimRun, SimWorkspace

if TYPE_CHECKING:
    from .account import Account

_LETTERS = string.ascii_lowercase + string.digits

_MODELS = ("t2i-flux-2-pro", "t2i-nano-banana", "i2v-kling-3", "t2v-veo-4", "t2a-sonic-2", "llm-haiku")

# What outputs a run has, one recipe for each run. A name is a `Kind`, or "text", or "note": a type that no
# client knows, as "glb" is.
_RECIPES: tuple[tuple[str, ...], ...] = (
    ("png",),
    ("jpg",),
    ("webp",),
    ("png",) * 4,
    ("mp4",),
    ("wav",),
    ("mp3",),
    ("pdf",),
    ("text",),
    ("glb",),
    ("note",),
    (),
    ("png", "text"),
    ("jpg",) * 4,
    ("png", "mp4", "wav"),
    ("png", "jpg", "webp", "text") * 6,
    ("json",),
    ("html",),
    ("webp", "webp"),
    ("text", "text"),
    ("png",),
    ("jpg",),
    ("png",),
    ("mp4", "text"),
)

_TEXTS = (
    "A paper boat crossing a flooded library, seen from above.",
    "https://example.com/this-is-a-text-and-not-a-file.png",
    "Pétales 🌸, naïve ☕ and 日本語 — all in one line\u2028and a second one",
    "First line\r\nsecond line\r\n\r\nfourth line, with a tab\tin it\r\n",
    'She said: "keep the \\ and the \'quotes\'", </script> and {"json": [1, 2]} too.',
    "  spaces at both ends, and a trailing newline  \n",
    "# Mood\n\n- warm light\n- long shadows\n- *no* people\n",
)

_EXTRAS: tuple[dict[str, object], ...] = (
    {"labels": ["hero", "Über-größe 🎨"], "ratio": 1.0, "budget": 1e22, "tiny": 2.5e-07},
    {"lineage": {"parents": [{"run_id": "run_parent", "weight": 0.5}], "depth": 2}, "starred": True},
    {"canvas_node": None, "big": 9_007_199_254_740_993, "empty": {}, "none": [], "path": "a/b\\c"},
)


def api_key(seed: int) -> str:
    """The key of the account made from `seed`."""
    rng = random.Random(f"key-{seed}")  # noqa: S311 - it opens nothing but a simulator
    return "sk_live_" + "".join(rng.choices(string.ascii_letters + string.digits, k=32))


def make_id(rng: random.Random, prefix: str) -> str:
    """An id such as `run_k3v9…`: the prefix and twenty lower-case letters and digits."""
    return f"{prefix}_{''.join(rng.choices(_LETTERS, k=20))}"


def add_places(account: Account, *, workspaces: int, projects: int) -> None:
    """Add workspaces to the account, and projects that are dealt out to the workspaces in turn."""
    for number in range(1, workspaces + 1):
        account.workspaces.append(
            SimWorkspace(make_id(account.rng, "ws"), f"Studio {number}", created_at=NEWEST_AT_MS - 10**10)
        )
    for number in range(projects):
        workspace = account.workspaces[number % workspaces]
        account.projects.append(
            SimProject(
                make_id(account.rng, "prj"),
                workspace.workspace_id,
                f"Project {number + 1}",
                created_at=NEWEST_AT_MS - 9 * 10**9,
                last_modified=NEWEST_AT_MS,
            )
        )


def fill(account: Account, runs: int, *, newest_at_ms: int, open_runs: int) -> None:
    """Add `runs` runs, newest first, the first `open_runs` of them running or pending in turn.

    One in 24 of the others has failed; the rest are completed, with outputs of every kind.
    """
    order: list[tuple[str, ...]] = []
    for place in range(runs):
        if not order:
            order = account.rng.sample(_RECIPES, len(_RECIPES))
        status = RunStatus.FAILED if place % 24 == 13 else RunStatus.COMPLETED
        if place < open_runs:
            status = RunStatus.PENDING if place % 2 else RunStatus.RUNNING
        created_at = newest_at_ms - place * account.spacing_ms
        recipe = order.pop()
        account.insert(make_run(account, created_at, status=status, recipe=recipe, place=place))


def make_run(
    account: Account,
    created_at: int,
    *,
    status: str,
    recipe: tuple[str, ...] | None = None,
    place: int | None = None,
    rng: random.Random | None = None,
) -> SimRun:
    """Make a run for the account, without adding it.

    Args:
        account: its projects are chosen from; it gets one when it has none.
        created_at: unix milliseconds.
        status: one of `RunStatus`.
        recipe: the outputs; one of `_RECIPES` that has any when None.
        place: decides the oddities of its record: no model, a model without id, no cost, unknown fields.
            Chosen at random when None.
        rng: makes the choices; the account's own when None.
    """
    rng = rng or account.rng
    if not account.projects:
        add_places(account, workspaces=1, projects=1)
    place = rng.randrange(1000) if place is None else place
    recipe = rng.choice([entry for entry in _RECIPES if entry]) if recipe is None else recipe
    project = rng.choice(account.projects)
    run = SimRun(
        run_id=make_id(rng, "run"),
        workspace_id=project.workspace_id,
        project_id=project.project_id,
        status=RunStatus.PENDING,
        created_at=created_at,
        progress=0,
        charged_cost=None if place % 7 == 3 else round(rng.uniform(0.001, 0.4), 4),
        model_id=None if place % 9 == 4 else rng.choice(_MODELS),
        with_model=place % 11 != 6,
        extra=dict(_EXTRAS[place % len(_EXTRAS)]) if place % 5 == 2 else {},
    )
    run.outputs = [
        make_output(rng, what, _output_id(run, number, len(recipe)), created_at, (48, 36))
        for number, what in enumerate(recipe, start=1)
    ]
    settle(run, status)
    return run


def settle(run: SimRun, status: str) -> None:
    """Give a fresh pending run another status, and the times and fields that belong to it."""
    run.status = status
    if status == RunStatus.PENDING:
        run.charged_cost = None
        return
    run.started_at, run.progress = run.created_at + 1500, 35
    if status == RunStatus.RUNNING:
        run.charged_cost = None
        return
    run.completed_at, run.progress = run.created_at + 12_000, 100
    if status == RunStatus.FAILED:
        run.charged_cost = 0.0
        run.error_code, run.error_message = "generation_failed", "The model did not return a result."


def _output_id(run: SimRun, number: int, count: int) -> str:
    if count == 4 and run.created_at % 3 == 0:
        return ("full-1", "top-detail-2", "left-detail-3", "close-up-4")[number - 1]
    return f"output_{number}"


def make_output(
    rng: random.Random, what: str, output_id: str, created_at: int, size: tuple[int, int]
) -> SimOutput:
    """Make one output by the name it has in a recipe; `size` is a picture's width and height in pixels."""
    if what == "text":
        return SimOutput(output_id, "text", text=rng.choice(_TEXTS))
    if what == "note":
        return SimOutput(output_id, "noteCard", url=f"A note, not an address: {rng.choice(_TEXTS)}")
    kind = Kind(what)
    day = datetime.fromtimestamp(created_at / 1000, UTC).date().isoformat()
    name = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    chance = rng.random()
    # As on the real hosts: most paths end in a suffix, some have none, some need percent-encoding.
    if chance > 0.12:
        name += f".{kind}"
    if chance > 0.92:
        name = f"caf%C3%A9%20{name}"
    return SimOutput(
        output_id,
        OUTPUT_TYPES[kind],
        content_type="application/octet-stream" if 0.5 < chance < 0.56 else None,
        path=f"/node-inputs/{day}/anonymous/{name}",
        drawing=Drawing(kind, rng.getrandbits(40), *size),
    )

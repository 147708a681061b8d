"""Made-up accounts: a rich mix for tests, and a handsome one for the demo.

Guarantees the same account for the same seed, and that any 24 neighbouring runs of `fill` hold every kind of
output and every oddity of the API at least once, so that even a small account is a fair test.
"""

from __future__ import annotations

import random
import string
import uuid
from datetime import UTC, datetime

from .account import Account
from .media import OUTPUT_TYPES, Drawing, Kind
from .runs import NEWEST_AT_MS, RunStatus, SimOutput, SimProject, SimRun, SimWorkspace

_LETTERS = string.ascii_lowercase + string.digits

_MODELS = ("t2i-flux-2-pro", "t2i-nano-banana", "i2v-kling-3", "t2v-veo-4", "t2a-sonic-2", "llm-haiku")

# One entry a run; the names in it are Kinds, or "text", or one of two types that no client knows.
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
    """Give the account workspaces, and projects dealt out to them in turn."""
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

    Of the others one in 24 has failed; the rest are completed, with outputs of every kind.
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
    """A run of the account (not added yet) in the given state, with outputs by `recipe` or by chance.

    `place` decides which oddities it has: no model, a model without id, no cost, unknown fields. Chance comes
    from the account's own `rng` unless another is given.
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
        _make_output(rng, what, _output_id(run, number, len(recipe)), created_at, (48, 36))
        for number, what in enumerate(recipe, start=1)
    ]
    settle(run, status)
    return run


def settle(run: SimRun, status: str) -> None:
    """Bring a fresh pending run into `status`, with the times and fields that belong to it."""
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


def _make_output(
    rng: random.Random, what: str, output_id: str, created_at: int, size: tuple[int, int]
) -> SimOutput:
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


# --- the demo -------------------------------------------------------------------------------------------

_DEMO_SIZES = ((640, 480), (560, 560), (448, 672), (720, 405), (420, 630), (720, 306))
_DEMO_PLACES = (
    ("Studio North", ("Autumn campaign", "Packaging")),
    ("Playground", ("Moving colours",)),
)
_DEMO_RECIPES: tuple[tuple[str, ...], ...] = (
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

# What makes each kind of output, as far as there is a choice.
_DEMO_MODELS = {
    "mp4": ("i2v-kling-3", "t2v-veo-4"),
    "wav": ("t2a-sonic-2",),
    "text": ("llm-haiku",),
    "pdf": ("llm-haiku",),
}
_DEMO_PICTURES = ("t2i-flux-2-pro", "t2i-flux-2-pro", "t2i-nano-banana")
_DEMO_TEXTS = (
    "A paper boat crossing a flooded library, seen from above, early light through high windows.",
    "Three hills at dusk, a low sun, colours of ripe plums. No people, no text.",
    "# Mood\n\n- warm light\n- long shadows\n- *no* people\n",
    "Slow drift over folded cloth. The stripes stay parallel; the camera never stops.",
    "Autumn, but not orange: moss, slate and one red thread that leads the eye to the box.",
)


def _demo_age_ms(place: int, rng: random.Random) -> int:
    """How long ago a run of the demo was: three busy days, and before that sittings of six, weeks apart."""
    if place < 36:
        return place * 5_000_000 + rng.randrange(4_000_000)
    sitting, number = divmod(place - 36, 6)
    return (16 + 29 * sitting) * 86_400_000 + number * 2_400_000 + rng.randrange(2_000_000)


def fill_demo(account: Account) -> None:
    """Sixty runs in three projects: pictures of several shapes, films, sounds, documents and texts."""
    rng = account.rng
    for studio, projects in _DEMO_PLACES:
        workspace = SimWorkspace(make_id(rng, "ws"), studio, created_at=NEWEST_AT_MS - 10**10)
        account.workspaces.append(workspace)
        for name in projects:
            account.projects.append(SimProject(make_id(rng, "prj"), workspace.workspace_id, name))
    statuses = {0: RunStatus.RUNNING, 1: RunStatus.PENDING, 2: RunStatus.PENDING}
    statuses |= {17: RunStatus.FAILED, 41: RunStatus.FAILED}
    for place in range(60):
        recipe = _DEMO_RECIPES[place % len(_DEMO_RECIPES)]
        created_at = NEWEST_AT_MS - _demo_age_ms(place, rng)
        run = make_run(account, created_at, status=RunStatus.PENDING, recipe=(), place=place)
        run.charged_cost = round(rng.uniform(0.004, 0.12), 3)
        run.model_id, run.with_model = rng.choice(_DEMO_MODELS.get(recipe[-1], _DEMO_PICTURES)), True
        run.outputs = [
            _make_output(rng, what, f"output_{number}", created_at, rng.choice(_DEMO_SIZES))
            for number, what in enumerate(recipe, start=1)
        ]
        for output in run.outputs:
            output.text = rng.choice(_DEMO_TEXTS) if output.text is not None else None
        settle(run, statuses.get(place, RunStatus.COMPLETED))
        account.insert(run)

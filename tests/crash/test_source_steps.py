"""Killed, or failed by the disk, at the steps that bring what is not a run: uploads, canvases and labels.

tests/crash/test_steps.py has every step of runs. Here it is those by which an upload arrives, one is made
from an equal one, a snapshot is written and recorded, and labels get beside a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from floradl.simulator import (
    Account,
    SimAsset,
    SimNode,
    SimOutput,
    SimProject,
    SimTechnique,
    SimWorkspace,
    edit_canvas,
    serve_in_thread,
)
from tests.support.lanes import (
    Lane,
    Lanes,
    adopted,
    assert_all_failed,
    failed,
    flushes_of_the_journal,
    killed,
    numbers_of,
    picture,
    recorded,
    text,
)
from tests.support.media import png
from tests.support.steps import NEEDS_ROOM, Stop
from tests.support.zygote import Zygote

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.timeout(600),  # hundreds of runs a test
]

ABOUT = ("/canvas/", "/canvas.json", "/assets/", "/project.json")


def upload(asset_id: str, body: bytes, *, at_ms: int, project_id: str | None = "prj_a") -> SimAsset:
    """An upload that is a picture."""
    file = SimOutput(asset_id, content_type="image/png", body=png(body))
    return SimAsset(asset_id, "ws_a", file, project_id=project_id, name=f"{asset_id}.png", created_at=at_ms)


def account_of_all() -> Account:
    """A run of each history, two uploads with equal bytes, and a canvas that shows some of it."""
    pictured, technique = (
        picture("run_picture", b"a" * 900, at_ms=5_000_000),
        text("run_tech", "Words.", at_ms=4),
    )
    technique.technique = SimTechnique("tech_a", "A technique")
    uploads = [
        upload("asset_a", b"c" * 900, at_ms=2),
        upload("asset_twin", b"c" * 900, at_ms=1, project_id=None),
    ]
    account = Account(
        "sk_live_steps",
        [pictured, technique],
        workspaces=[SimWorkspace("ws_a", "A")],
        projects=[SimProject("prj_a", "ws_a", "A", last_modified=5_000_000)],
        assets=uploads,
    )
    account.canvas_of("prj_a").nodes = [
        SimNode("node_run", label="A boat of paper", shows=pictured.outputs[0]),
        SimNode("node_asset", label="Mood board", shows=uploads[0].file, asset_id="asset_a"),
    ]
    return account


def grow(account: Account) -> None:
    """A run more in both histories, an upload equal to one that is there, and both on a changed canvas."""
    run = picture("run_new", b"d" * 900, at_ms=8_000_000)
    run.technique = SimTechnique("tech_a", "A technique")
    account.insert(run)
    asset = account.insert_asset(upload("asset_new", b"c" * 900, at_ms=9_000_000))
    nodes = [
        SimNode("node_new", label="A ship of glass", shows=run.outputs[0]),
        SimNode("node_new_asset", label="Mood board, again", shows=asset.file, asset_id="asset_new"),
    ]
    edit_canvas(account, "prj_a", add=nodes, relabel={"node_run": "A boat of cloth"})


@pytest.fixture(params=["first run", "second run"])
def lanes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lanes]:
    """Two lanes: for the first run of an archive, or for one with more of everything."""
    with ExitStack() as stack:
        made = []
        for number in range(2):
            account = account_of_all()
            sim, zygote = stack.enter_context(serve_in_thread(account)), stack.enter_context(Zygote())
            lane = Lane(sim, zygote, tmp_path / f"lane_{number}", arguments=("--source", "all"))
            lane.folder.mkdir()
            if request.param == "second run":
                lane.before = lane.folder / "before"
                assert lane.run(lane.before).returncode == 0
                grow(account)
            made.append(lane)
        yield Lanes(made)


def is_about_these(steps: tuple[str, ...], number: int) -> bool:
    """Whether a step brings what is not a run, or is next to one that does: temporary files, the journal."""
    near = steps[max(0, number - 3) : number + 2]
    return any(word in step for step in near for word in ABOUT)


def test_killed_at_each_step(lanes: Lanes) -> None:
    """Killed before any of these steps, nothing that is there is a lie, and the next run completes it."""
    steps = lanes.learn()
    numbers = [n for n in range(1, len(steps) + 1) if not steps[n - 1].startswith("flush")]
    stops = [Stop(n, "kill") for n in numbers if is_about_these(steps, n)]
    assert len(stops) > 20
    lanes.each(stops, killed)


def test_killed_in_the_middle_of_a_write(lanes: Lanes) -> None:
    """Killed when half of a write is done: no lie, and the next run completes it."""
    steps = lanes.learn()
    stops = [Stop(n, "tear") for n in numbers_of(steps, "write") if is_about_these(steps, n)]
    assert len(stops) > 5
    lanes.each(stops, killed)


def test_the_disk_fails_at_each_step(lanes: Lanes) -> None:
    """Full, broken or read-only from a step on: exit 1 with what and where, and the next run completes it."""
    steps = lanes.learn()
    ways = ("ENOSPC", "EIO", "EROFS")
    stops = []
    for number in (n for n in range(1, len(steps) + 1, 4) if is_about_these(steps, n)):
        how = ways[number // 4 % len(ways)]
        if how == "ENOSPC" and steps[number - 1].split()[0] not in NEEDS_ROOM - {"flush"}:
            how = "EIO"
        stops.append(Stop(number, how))
    assert {stop.how for stop in stops} == set(ways)
    assert len(stops) > 8
    assert_all_failed(steps, stops, lanes.each(stops, failed))


def test_what_is_recorded_was_durable_before(lanes: Lanes) -> None:
    """What only a power cut would show: no entry and no label before its file and its name are durable."""
    ran = lanes.each(flushes_of_the_journal(lanes.learn()), recorded)
    assert sum(one.returncode != 0 for one in ran) >= 3


@pytest.mark.parametrize("lanes", ["second run"], indirect=True)
def test_what_is_found_is_durable_before_it_is_recorded(lanes: Lanes) -> None:
    """The same for labels and snapshots that a killed process left under their names, flushed or not."""
    steps = lanes.learn()
    stops = []
    for number in numbers_of(steps, "write"):
        named = [step for step in steps[number - 4 : number - 1] if step.startswith("replace")]
        if steps[number - 1] == "write .floradl/journal" and any("canvas" in step for step in named):
            stops.append(Stop(number, "kill"))
    assert len(stops) >= 2
    lanes.each(stops, adopted)

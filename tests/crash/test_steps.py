"""Killed, or failed by the disk, at each single step by which floradl changes it.

`tests/support/steps.py` numbers the steps. How many there are differs a little from run to run, so each
test learns the number first, and goes on past it until a run ends by itself.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from floradl.simulator import Account, SimOutput, SimRun, serve_in_thread
from tests.support.hypothesis_settings import is_night
from tests.support.lanes import (
    SHARING,
    SPREAD,
    TWINS,
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
from tests.support.steps import NEEDS_ROOM, Stepped, Stop
from tests.support.zygote import Zygote

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.timeout(600),  # hundreds of runs a test
]

REMOVED = "ws_a/prj_a/run_picture/output_1.png"


def small_account() -> Account:
    """A picture, a text, a run without outputs, one listed without them, and one worth a checkpoint."""
    large = random.Random(1).randbytes(9_000_000)
    runs = [
        picture("run_picture", b"a" * 5000, at_ms=5_000_000),
        text("run_text", "Words, words.", at_ms=4_000_000),
        SimRun("run_empty", "ws_a", "prj_a", created_at=3_000_000),
        picture("run_unlisted", b"b" * 5000, at_ms=2_000_000, list_outputs=False),
        picture("run_large", large, at_ms=1_000_000),
    ]
    return Account("sk_live_steps", runs)


def grow(account: Account, dest: Path) -> None:
    """Something new, a cost that was not known before, and a file that somebody removed."""
    account.insert(picture("run_new", b"c" * 5000, at_ms=8_000_000))
    account.insert(text("run_new_text", "More words.", at_ms=7_000_000))
    account.get("run_text").charged_cost = 0.2
    (dest / REMOVED).unlink()


def add_twins(account: Account, at_ms: int) -> None:
    """Something that is there already, small and large, from this moment."""
    for number, (twin, run_id) in enumerate(TWINS.items()):
        (output,) = account.get(run_id).outputs
        assert output.body is not None
        outputs = [SimOutput("output_1", content_type="image/png", body=output.body)]
        account.insert(SimRun(twin, "ws_a", "prj_a", created_at=at_ms + number, outputs=outputs))


AT_NIGHT = [pytest.param("second run", marks=pytest.mark.nightly)]
"""Most of its steps are those of a first run too, which every day looks at."""

SHARING_BY_DAY = [
    pytest.param(name, marks=[pytest.mark.nightly] if name == "reflinks" else []) for name in SHARING
]
"""A reflink's steps are a hard link's, and a copy's where the file system has none."""


@pytest.fixture(params=["first run", "second run"])
def lanes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lanes]:
    """Two lanes: for the first run of an archive, or for one with something new and something to mend.

    Or for one that brings the same outputs as others, in the same run or in one before.
    """
    with ExitStack() as stack:
        made = []
        for number in range(2):
            account = small_account()
            if request.param == "second run":
                account.delete("run_large")
            sim, zygote = stack.enter_context(serve_in_thread(account)), stack.enter_context(Zygote())
            lane = Lane(sim, zygote, tmp_path / f"lane_{number}")
            lane.folder.mkdir()
            if request.param in SHARING:
                lane.shares = SHARING[request.param]
                if "there" in request.param:
                    lane.before = lane.folder / "before"
                    assert lane.run(lane.before).returncode == 0
                # The others come first: in the run before, or in the list.
                add_twins(account, at_ms=9_000_000 if lane.before else 100_000)
            if request.param == "second run":
                before = lane.folder / "before"
                assert lane.run(before).returncode == 0
                grow(account, before)
                lane.before, lane.removed = before, frozenset({REMOVED})
            made.append(lane)
        yield Lanes(made)


@pytest.mark.parametrize("lanes", ["first run", *AT_NIGHT], indirect=True)
def test_killed_at_every_step(lanes: Lanes) -> None:
    """Killed before any step, nothing that is there is a lie, and the next run completes it.

    But for flushes: they are not made here, so a kill before one leaves what the next kill leaves.
    """
    steps = lanes.learn()
    numbers = [n for n in range(1, len(steps) + 1) if not steps[n - 1].startswith("flush")]
    for number, ran in zip(numbers, lanes.each((Stop(n, "kill") for n in numbers), killed), strict=True):
        assert ran.returncode == -signal.SIGKILL or number > len(steps) - SPREAD, f"no step {number}"
    beyond = Stop(len(steps) + 1, "kill")
    while lanes.each([beyond], killed)[0].returncode != 0:
        beyond = Stop(beyond.number + 1, "kill")


def steps_of_sharing(steps: tuple[str, ...]) -> range:
    """The numbers of those by which the twins get their files, and of some before and after."""
    named = [n for n, step in enumerate(steps, 1) if step.startswith("replace") and "_twin/output_1" in step]
    assert len(named) == len(TWINS)
    return range(min(named) - 9, max(named) + 5)


@pytest.mark.parametrize("lanes", SHARING_BY_DAY, indirect=True)
def test_killed_at_every_step_of_sharing(lanes: Lanes) -> None:
    """The same where an output is made from an equal one, in memory or from a partial."""
    steps = lanes.learn()
    near = steps_of_sharing(steps)
    lanes.each((Stop(n, "kill") for n in near if not steps[n - 1].startswith("flush")), killed)
    writes = [n for n in numbers_of(steps, "write") if n in near]
    lanes.each((Stop(number, "tear") for number in writes), killed)


@pytest.mark.parametrize("lanes", ["hard links to what is there"], indirect=True)
def test_sharing_fails_as_the_disk_does(lanes: Lanes) -> None:
    """A disk that is full, or broken, from a step of it on: exit 1, and the next run completes it.

    By day, from every other step on.
    """
    steps = lanes.learn()
    near = steps_of_sharing(steps)[:: 1 if is_night() else 2]
    stops = [Stop(n, "ENOSPC") for n in near if steps[n - 1].split()[0] in NEEDS_ROOM - {"flush"}]
    stops += [Stop(n, "EIO") for n in near]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


@pytest.mark.parametrize("lanes", ["first run", *AT_NIGHT], indirect=True)
def test_killed_in_the_middle_of_every_write(lanes: Lanes) -> None:
    """Killed when half of a write is done, whatever is written: no lie, and the next run completes it."""
    steps = lanes.learn()
    lanes.each((Stop(number, "tear") for number in numbers_of(steps, "write")), killed)


@pytest.mark.parametrize("lanes", ["first run", *AT_NIGHT], indirect=True)
def test_full_at_every_step(lanes: Lanes) -> None:
    """A disk that is full from any step on (by day, from every other): exit 1 with what and where.

    With room again the next run completes it.
    """
    steps = lanes.learn()
    numbers = numbers_of(steps, *sorted(NEEDS_ROOM - {"flush"}))
    stops = [Stop(number, "ENOSPC") for number in (numbers if is_night() else numbers[::2])]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


@pytest.mark.parametrize("lanes", AT_NIGHT, indirect=True)
def test_input_or_output_error_at_every_step(lanes: Lanes) -> None:
    """A disk that fails at one step, or from there on: exit 1 with what and where; the next completes it."""
    steps = lanes.learn()
    stops = [Stop(number, "EIO", lasts=number % 2 == 0) for number in range(1, len(steps) + 1)]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


@pytest.mark.parametrize("lanes", ["first run"], indirect=True)
def test_input_or_output_error_around_a_partial(lanes: Lanes) -> None:
    """The same at the steps of a file that is long enough for a checkpoint."""
    steps = lanes.learn()
    numbers = [n for n, step in enumerate(steps, 1) if ".floradl/partials/" in step or "run_large" in step]
    stops = [Stop(number, "EIO", lasts=False) for number in numbers[::2]]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


def fetched_anew(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """Let one flush fail: it leaves nothing to trust, and the next run fetches the file whole."""
    ran = lane.run(dest, stop)
    assert ran.returncode == 1, ran.stderr
    assert not list((dest / ".floradl" / "partials").iterdir())
    again = lane.run(dest)
    assert again.returncode == 0, again.stderr
    assert not [request.path for request in lane.sim.media_requests() if "range" in request.headers]
    lane.assert_archived(dest)
    return ran


@pytest.mark.parametrize("lanes", ["first run"], indirect=True)
def test_a_flush_that_failed_once_is_not_made_up_for_by_the_next(lanes: Lanes) -> None:
    """The cache may have bytes that the disk has lost, and flushing them again writes nothing."""
    lanes.each([Stop(0, "EIO", lasts=False, name="flush .floradl/partials/")], fetched_anew)


@pytest.mark.parametrize("lanes", ["first run", *AT_NIGHT], indirect=True)
def test_read_only_from_some_steps_on(lanes: Lanes) -> None:
    """A disk that becomes read-only in mid-run: exit 1 with what and where; the next completes it."""
    steps = lanes.learn()
    stops = [Stop(number, "EROFS") for number in range(1, len(steps) + 1, 6)]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


def test_the_order_of_writing(lanes: Lanes) -> None:
    """What only a power cut would show: each file is flushed before it gets its name, its folder after it."""
    steps = lanes.learn()
    renames = [step.split()[1::2] for step in steps if step.startswith("replace ")]
    durable = [(name, source) for name, source in renames if not name.startswith(".floradl/partials/")]
    assert len(durable) >= 8
    for name, source in durable:
        named = steps.index(f"replace {name} from {source}")
        last_write = max(number for number, step in enumerate(steps) if step == f"write {source}")
        assert last_write < steps.index(f"flush {source}", last_write) < named
        folder = Path(name).parent.as_posix()
        assert f"flush {folder}" in steps[named + 1 :], f"the folder is not flushed after {name}"
    ends = [number for number, step in enumerate(steps) if step.startswith(("replace SHA", "replace man"))]
    assert steps.index("remove .floradl/journal") > max(ends)
    for number in numbers_of(steps, "write"):
        if steps[number - 1] == "write .floradl/journal":
            assert "flush .floradl/journal" in steps[number:]


@pytest.mark.parametrize("lanes", ["first run", "second run", *SHARING], indirect=True)
def test_what_is_recorded_was_durable_before(lanes: Lanes) -> None:
    """What only a power cut would show: no entry is written before its file and its name are durable."""
    ran = lanes.each(flushes_of_the_journal(lanes.learn()), recorded)
    assert sum(one.returncode != 0 for one in ran) >= 3


@pytest.mark.parametrize("lanes", ["first run"], indirect=True)
def test_what_is_found_is_durable_before_it_is_recorded(lanes: Lanes) -> None:
    """The same for a file that a killed process left under its name, flushed or not."""
    steps = lanes.learn()
    numbers = [n for n in numbers_of(steps, "write") if steps[n - 1] == "write .floradl/journal"]
    lanes.each((Stop(number, "kill") for number in numbers), adopted)

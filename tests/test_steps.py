"""Killed, or failed by the disk, at each single step by which floradl changes it.

`tests/steps.py` numbers the steps. How many there are differs a little from run to run, so each test learns
the number first, and goes on past it until a run ends by itself.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from floradl.entries import Op, OutputOp, RunOp, State
from floradl.journal import parse_journal
from floradl.simulator import Account, SimOutput, SimRun, Simulator, serve_in_thread
from tests.steps import NEEDS_ROOM, Stepped, Stop, stepped
from tests.support import (
    assert_archived,
    assert_entries_true,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    completed,
    manifest,
    output_files,
    png,
)
from tests.zygote import Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

REMOVED = "ws_a/prj_a/run_picture/output_1.png"
SPREAD = 12
"""By how many steps two runs of the same job may differ: results that share one flush, or do not."""


def picture(run_id: str, body: bytes, *, at_ms: int, list_outputs: bool = True) -> SimRun:
    """A run with one picture."""
    output = SimOutput("output_1", content_type="image/png", body=png(body))
    return SimRun(
        run_id,
        "ws_a",
        "prj_a",
        created_at=at_ms,
        charged_cost=0.1,
        outputs=[output],
        list_outputs=list_outputs,
    )


def text(run_id: str, words: str, *, at_ms: int) -> SimRun:
    """A run with one text."""
    return SimRun(
        run_id, "ws_a", "prj_a", created_at=at_ms, outputs=[SimOutput("output_1", "text", text=words)]
    )


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


TWINS = {"run_twin": "run_picture", "run_large_twin": "run_large"}
"""Runs whose outputs are, byte for byte, those of others."""


def add_twins(account: Account, at_ms: int) -> None:
    """Something that is there already, small and large, from this moment."""
    for number, (twin, run_id) in enumerate(TWINS.items()):
        (output,) = account.get(run_id).outputs
        assert output.body is not None
        outputs = [SimOutput("output_1", content_type="image/png", body=output.body)]
        account.insert(SimRun(twin, "ws_a", "prj_a", created_at=at_ms + number, outputs=outputs))


@dataclass
class Lane:
    """A served account and a zygote: one run at a time.

    `before` is the archive to start from, if any; `shares` how equal outputs are kept, "" for as copies.
    """

    sim: Simulator
    zygote: Zygote
    folder: Path
    before: Path | None = None
    shares: str = ""

    def fresh(self, name: str) -> Path:
        """A DEST as it is before the run that is to be disturbed."""
        dest = self.folder / name
        if self.before is not None:
            shutil.copytree(self.before, dest)
        return dest

    def run(self, dest: Path, stop: Stop | None = None) -> Stepped:
        """One run with one worker, the log of requests emptied before."""
        self.sim.forget()
        return stepped(self.zygote, self.sim, dest, "-j", "1", stop=stop, shares=self.shares)


class Lanes:
    """Several lanes, so that no core stands idle."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._lanes = lanes

    def learn(self) -> tuple[str, ...]:
        """The steps of a run that nothing disturbs."""
        lane = self._lanes[0]
        dest = lane.fresh("undisturbed")
        ran = lane.run(dest)
        assert ran.returncode == 0, ran.stderr
        assert_complete(lane, dest)
        if lane.shares:
            assert_shared(dest, lane.shares)
        shutil.rmtree(dest)
        return ran.steps

    def each(self, stops: Iterable[Stop], check: Callable[[Lane, Path, Stop], Stepped]) -> list[Stepped]:
        """Make a check for each stop, on a DEST of its own; what each disturbed run was like."""
        free: SimpleQueue[Lane] = SimpleQueue()
        for lane in self._lanes:
            free.put(lane)

        def one(stop: Stop) -> Stepped:
            lane = free.get()
            dest = lane.fresh(f"{stop.how}-{stop.number}-{stop.lasts}")
            try:
                return check(lane, dest, stop)
            except AssertionError as exc:
                exc.add_note(f"disturbed by {stop}")
                raise
            finally:
                shutil.rmtree(dest, ignore_errors=True)
                free.put(lane)

        with ThreadPoolExecutor(len(self._lanes)) as pool:
            return list(pool.map(one, stops))


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
                lane.before = before
            made.append(lane)
        yield Lanes(made)


def assert_complete(lane: Lane, dest: Path) -> None:
    """Every output is there and recorded, and nothing else lies around."""
    assert_archived(dest, lane.sim.account, completed(lane.sim.account))
    assert_sound(dest)
    assert_tidy(dest)


SHARING = {"hard links to what is there": "hard_link", "reflinks": "reflink"}


def assert_shared(dest: Path, way: str) -> None:
    """Of two equal files one is made from the other, and the manifest says so."""
    runs = manifest(dest)["runs"]
    for pair in TWINS.items():
        told = {}
        for run_id in pair:
            output = runs[run_id]["outputs"]["output_1"]
            told[f"{runs[run_id]['path']}/{output['file']}"] = (
                output.get("same_as"),
                output.get("shared_by"),
            )
        one, other = told
        assert {told[one], told[other]} in ({(None, None), (one, way)}, {(None, None), (other, way)})
        assert (dest / one).samefile(dest / other) == (way == "hard_link")


def assert_goes_on(lane: Lane, dest: Path) -> None:
    """Nothing that is there is a lie, and the same command completes it and fetches nothing twice."""
    before = output_files(dest)
    removed = {REMOVED} - before.keys() if lane.before and not lane.shares else ()
    assert_sound(dest, removed=removed)
    assert_entries_true(dest, removed=removed)
    assert_files_whole(dest, lane.sim.account)
    again = lane.run(dest)
    assert again.returncode == 0, again.stderr
    assert_complete(lane, dest)
    assert_not_fetched_again(lane.sim, dest, before)


def killed(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """A run that is killed, and the next one."""
    ran = lane.run(dest, stop)
    assert ran.returncode in (-signal.SIGKILL, 0), ran.stderr
    assert_goes_on(lane, dest)
    return ran


def numbers_of(steps: tuple[str, ...], *kinds: str) -> list[int]:
    """The numbers of the steps of these kinds."""
    return [number for number, step in enumerate(steps, 1) if step.split()[0] in kinds]


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


@pytest.mark.parametrize("lanes", SHARING, indirect=True)
def test_killed_at_every_step_of_sharing(lanes: Lanes) -> None:
    """The same where an output is made from an equal one, in memory or from a partial."""
    steps = lanes.learn()
    near = steps_of_sharing(steps)
    lanes.each((Stop(n, "kill") for n in near if not steps[n - 1].startswith("flush")), killed)
    writes = [n for n in numbers_of(steps, "write") if n in near]
    lanes.each((Stop(number, "tear") for number in writes), killed)


@pytest.mark.parametrize("lanes", ["hard links to what is there"], indirect=True)
def test_sharing_fails_as_the_disk_does(lanes: Lanes) -> None:
    """A disk that is full, or broken, from a step of it on: exit 1, and the next run completes it."""
    steps = lanes.learn()
    near = steps_of_sharing(steps)
    stops = [Stop(n, "ENOSPC") for n in near if steps[n - 1].split()[0] in NEEDS_ROOM - {"flush"}]
    stops += [Stop(n, "EIO") for n in near]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


def test_killed_in_the_middle_of_every_write(lanes: Lanes) -> None:
    """Killed when half of a write is done, whatever is written: no lie, and the next run completes it."""
    steps = lanes.learn()
    lanes.each((Stop(number, "tear") for number in numbers_of(steps, "write")), killed)


def failed(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """A run whose disk fails it, and the next one, when the disk is well again."""
    before = read(dest / "manifest.json")
    ran = lane.run(dest, stop)
    if len(ran.steps) >= stop.number:
        # No step's failure passes for harmless: not even that of a flush at the very end.
        assert ran.returncode == 1, (ran.steps[-1], ran.stderr)
        assert f"cannot use the archive {dest}: {os.strerror(getattr(errno, stop.how))}" in ran.stderr
        assert len(ran.stderr.splitlines()) == 2, ran.stderr  # what and where; and what to do
        assert not ran.stdout
    else:
        assert ran.returncode == 0, ran.stderr
    if read(dest / "manifest.json") != before:
        assert_archived(dest, lane.sim.account, completed(lane.sim.account))
    assert_goes_on(lane, dest)
    return ran


def read(file: Path) -> bytes | None:
    """A file's bytes, None when there is no file."""
    return file.read_bytes() if file.exists() else None


def assert_all_failed(steps: tuple[str, ...], stops: list[Stop], ran: list[Stepped]) -> None:
    """But for those near the end of the run, which may be a few steps shorter, each met its failure."""
    for stop, one in zip(stops, ran, strict=True):
        assert one.returncode == 1 or stop.number > len(steps) - SPREAD, stop


def test_full_at_every_step(lanes: Lanes) -> None:
    """A disk that is full from any step on: exit 1 with what and where; with room the next completes it."""
    steps = lanes.learn()
    stops = [Stop(number, "ENOSPC") for number in numbers_of(steps, *sorted(NEEDS_ROOM - {"flush"}))]
    assert_all_failed(steps, stops, lanes.each(stops, failed))


@pytest.mark.parametrize("lanes", ["second run"], indirect=True)
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


def recorded(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """A run that is killed: whatever it wrote to the journal last was durable before.

    The steps before the last write are all there were, so what is in the journal must be covered by them.
    """
    earlier = len(journal_of(dest))
    ran = lane.run(dest, stop)
    writes = numbers_of(ran.steps, "write")
    before = ran.steps[: max((n for n in writes if ran.steps[n - 1] == "write .floradl/journal"), default=0)]
    for op in journal_of(dest)[earlier:]:
        if isinstance(op, RunOp):
            assert_was_durable(before, f"{op.facts.path}/run.json")
        elif isinstance(op, OutputOp) and op.entry.state == State.ARCHIVED:
            assert_was_durable(before, f"ws_a/prj_a/{op.run_id}/{op.entry.file}")
    return ran


def journal_of(dest: Path) -> tuple[Op, ...]:
    """The changes in an archive's journal."""
    return tuple(parse_journal(read(dest / ".floradl" / "journal") or b"").ops)


def assert_was_durable(steps: tuple[str, ...], file: str) -> None:
    """A file, made by these steps or found, was flushed, and its folder when it had its name."""
    named = [number for number, step in enumerate(steps) if step.startswith(f"replace {file} from ")]
    made = f"flush {steps[named[-1]].split()[-1]}" if named else f"flush {file}"
    assert made in steps, f"{file} was recorded before it was flushed"
    start = named[-1] if named else steps.index(made)
    assert f"flush {Path(file).parent.as_posix()}" in steps[start:], (
        f"{file} was recorded before its name was"
    )


def flushes_of_the_journal(steps: tuple[str, ...]) -> list[Stop]:
    """A kill at each of them."""
    return [Stop(n, "kill") for n in numbers_of(steps, "flush") if steps[n - 1] == "flush .floradl/journal"]


@pytest.mark.parametrize("lanes", ["first run", "second run", *SHARING], indirect=True)
def test_what_is_recorded_was_durable_before(lanes: Lanes) -> None:
    """What only a power cut would show: no entry is written before its file and its name are durable."""
    ran = lanes.each(flushes_of_the_journal(lanes.learn()), recorded)
    assert sum(one.returncode != 0 for one in ran) >= 3


def adopted(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """A run that is killed when its files have their names and no entries; the next run, killed too."""
    ran = lane.run(dest, stop)
    learnt = dest.with_name(f"{dest.name}-learnt")
    shutil.copytree(dest, learnt)
    for next_stop in flushes_of_the_journal(lane.run(learnt).steps):
        again = dest.with_name(f"{dest.name}-{next_stop.number}")
        shutil.copytree(dest, again)
        recorded(lane, again, next_stop)
        shutil.rmtree(again)
    shutil.rmtree(learnt)
    return ran


@pytest.mark.parametrize("lanes", ["first run"], indirect=True)
def test_what_is_found_is_durable_before_it_is_recorded(lanes: Lanes) -> None:
    """The same for a file that a killed process left under its name, flushed or not."""
    steps = lanes.learn()
    numbers = [n for n in numbers_of(steps, "write") if steps[n - 1] == "write .floradl/journal"]
    lanes.each((Stop(number, "kill") for number in numbers), adopted)

"""Runs of floradl that are killed or fail at a step, several at a time, and what must be true then.

`steps` numbers the steps. A `Lane` is an account and the process that starts runs; `Lanes` works through many
stops with one lane for each core.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from floradl.repository import layout
from floradl.repository.entries import LabelsOp, Op, OutputOp, RunOp, State
from floradl.repository.journal import parse_journal
from floradl.simulator import SimOutput, SimRun, Simulator
from tests.support.accounts import completed
from tests.support.archives import (
    assert_all_archived,
    assert_archived,
    assert_entries_true,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    entries,
    manifest,
    output_files,
)
from tests.support.media import png
from tests.support.steps import Stepped, Stop, stepped
from tests.support.zygote import Zygote

SPREAD = 12
"""By how many steps two runs of the same job may differ: results that share one flush, or do not."""


def picture(run_id: str, body: bytes, *, at_ms: int, list_outputs: bool = True) -> SimRun:
    """A run of the account with one picture."""
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
    """A run of the account with one text."""
    return SimRun(
        run_id, "ws_a", "prj_a", created_at=at_ms, outputs=[SimOutput("output_1", "text", text=words)]
    )


TWINS = {"run_twin": "run_picture", "run_large_twin": "run_large"}
"""Runs whose outputs are, byte for byte, those of others."""


SHARING = {"hard links to what is there": "hard_link", "reflinks": "reflink"}


@dataclass
class Lane:
    """A served account and a zygote, which together do one run at a time.

    `before` is the archive that each run starts from, if any, and `removed` has the recorded files that it
    lacks. `shares` says how equal outputs are stored, "" for as copies. `arguments` are further options of
    floradl.
    """

    sim: Simulator
    zygote: Zygote
    folder: Path
    before: Path | None = None
    removed: frozenset[str] = frozenset()
    shares: str = ""
    arguments: tuple[str, ...] = ()

    def fresh(self, name: str) -> Path:
        """Make a DEST as it is before the run that will be disturbed."""
        dest = self.folder / name
        if self.before is not None:
            shutil.copytree(self.before, dest)
        return dest

    def run(self, dest: Path, stop: Stop | None = None) -> Stepped:
        """Do one run with one worker; the log of requests is emptied before."""
        self.sim.forget()
        words = ("-j", "1", *self.arguments)
        return stepped(self.zygote, self.sim, dest, *words, stop=stop, shares=self.shares)

    def assert_archived(self, dest: Path) -> None:
        """Assert that all that the account has, of the sources archived here, is there and recorded."""
        account = self.sim.account
        if "all" in self.arguments:
            assert_all_archived(dest, account)
        else:
            assert_archived(dest, account, completed(account))


class Lanes:
    """Several lanes at work at the same time, so that all cores are used."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._lanes = lanes

    def learn(self) -> tuple[str, ...]:
        """The steps of an undisturbed run: the shortest of several that all lanes do at the same time."""
        with ThreadPoolExecutor(len(self._lanes)) as threads:
            learned = [steps for _ in range(2) for steps in threads.map(self._undisturbed, self._lanes)]
        return min(learned, key=len)

    def _undisturbed(self, lane: Lane) -> tuple[str, ...]:
        dest = lane.fresh("undisturbed")
        ran = lane.run(dest)
        assert ran.returncode == 0, ran.stderr
        assert_complete(lane, dest)
        if lane.shares:
            assert_shared(dest, lane.shares)
        shutil.rmtree(dest)
        return ran.steps

    def each(self, stops: Iterable[Stop], check: Callable[[Lane, Path, Stop], Stepped]) -> list[Stepped]:
        """Check each stop on a DEST of its own; returns how each disturbed run ended."""
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


def assert_complete(lane: Lane, dest: Path) -> None:
    """Assert that every output is there and recorded, and that nothing else is left over."""
    lane.assert_archived(dest)
    assert_sound(dest)
    assert_tidy(dest)


def assert_shared(dest: Path, way: str) -> None:
    """Assert that one of two equal files was made from the other, and that the manifest says so."""
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
    """Assert that the archive is sound, and that the same command completes it without fetching twice."""
    before = output_files(dest)
    removed = lane.removed - before.keys()
    assert_sound(dest, removed=removed)
    assert_entries_true(dest, removed=removed)
    assert_files_whole(dest, lane.sim.account)
    again = lane.run(dest)
    assert again.returncode == 0, again.stderr
    assert_complete(lane, dest)
    assert_not_fetched_again(lane.sim, dest, before)


def killed(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """Kill a run at a stop, and check what it left and what the next run does."""
    ran = lane.run(dest, stop)
    assert ran.returncode in (-signal.SIGKILL, 0), ran.stderr
    assert_goes_on(lane, dest)
    return ran


def numbers_of(steps: tuple[str, ...], *kinds: str) -> list[int]:
    """The numbers of the steps that begin with one of these kinds."""
    return [number for number, step in enumerate(steps, 1) if step.split()[0] in kinds]


def failed(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """Let the disk of a run fail, and check what it left and what the next run does on a sound disk."""
    before = read(dest / "manifest.json")
    ran = lane.run(dest, stop)
    if len(ran.steps) >= stop.number:
        # Every failure must be reported, even that of the last flush.
        assert ran.returncode == 1, (ran.steps[-1], ran.stderr)
        assert f"cannot use the archive {dest}: {os.strerror(getattr(errno, stop.how))}" in ran.stderr
        assert len(ran.stderr.splitlines()) == 2, (
            ran.stderr
        )  # what happened and where, and what to do about it
        assert not ran.stdout
    else:
        assert ran.returncode == 0, ran.stderr
    if read(dest / "manifest.json") != before:
        lane.assert_archived(dest)
    assert_goes_on(lane, dest)
    return ran


def read(file: Path) -> bytes | None:
    """The bytes of a file; None when there is no file."""
    return file.read_bytes() if file.exists() else None


def assert_all_failed(steps: tuple[str, ...], stops: list[Stop], ran: list[Stepped]) -> None:
    """Assert that each run met its failure, except near the end: a run may have a few steps fewer."""
    for stop, one in zip(stops, ran, strict=True):
        assert one.returncode == 1 or stop.number > len(steps) - SPREAD, stop


def recorded(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """Kill a run, and assert that the files in its last journal entry were durable before it was written.

    A killed run has done exactly the steps before the stop, so their flushes must cover what the journal has.
    """
    earlier = len(journal_of(dest))
    ran = lane.run(dest, stop)
    writes = numbers_of(ran.steps, "write")
    before = ran.steps[: max((n for n in writes if ran.steps[n - 1] == "write .floradl/journal"), default=0)]
    known = entries(dest)
    for op in journal_of(dest)[earlier:]:
        if (
            isinstance(op, RunOp)
            and not op.facts.next_record_sha256
            and (name := layout.record_name(op.facts.kind))
        ):
            assert_was_durable(before, f"{op.facts.path}/{name}")
        elif isinstance(op, OutputOp) and op.entry.state == State.ARCHIVED:
            assert_was_durable(before, f"{known.entry(op.run_id).path}/{op.entry.file}")
        elif isinstance(op, LabelsOp):
            assert_was_durable(before, f"{known.entry(op.run_id).path}/{layout.LABELS}")
    return ran


def journal_of(dest: Path) -> tuple[Op, ...]:
    """The changes that an archive's journal has."""
    return tuple(parse_journal(read(dest / ".floradl" / "journal") or b"").ops)


def assert_was_durable(steps: tuple[str, ...], file: str) -> None:
    """Assert that a file was flushed, and its folder after the file had got its name."""
    named = [number for number, step in enumerate(steps) if step.startswith(f"replace {file} from ")]
    made = f"flush {steps[named[-1]].split()[-1]}" if named else f"flush {file}"
    assert made in steps, f"{file} was recorded before it was flushed"
    start = named[-1] if named else steps.index(made)
    assert f"flush {Path(file).parent.as_posix()}" in steps[start:], (
        f"{file} was recorded before its name was"
    )


def flushes_of_the_journal(steps: tuple[str, ...]) -> list[Stop]:
    """A kill at each flush of the journal."""
    return [Stop(n, "kill") for n in numbers_of(steps, "flush") if steps[n - 1] == "flush .floradl/journal"]


def adopted(lane: Lane, dest: Path, stop: Stop) -> Stepped:
    """Kill a run whose files have names but no entries yet, then kill the next run as well."""
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

"""A journal cut at every byte, a manifest cut anywhere: what is left is true, or is refused and left alone.

The archives are real ones, killed before their journal was folded. Unlike in
tests/repository/test_journal.py, what is read is looked for on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from floradl.clock import Clock
from floradl.errors import ManifestError
from floradl.repository.entries import OutputOp, RunEntry, State
from floradl.repository.journal import parse_journal
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository
from floradl.simulator import (
    Account,
    Fault,
    SimAsset,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimTechnique,
    Simulator,
    SimWorkspace,
    serve_in_thread,
)
from floradl.storage.destination import Destination
from tests.support.accounts import completed
from tests.support.archives import (
    assert_all_archived,
    assert_archived,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    entries,
    output_files,
)
from tests.support.hypothesis_settings import is_night
from tests.support.media import png
from tests.support.steps import Stop, stepped
from tests.support.zygote import Zygote

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.timeout(600),  # hundreds of runs a test
]

BEFORE_THE_FOLD = Stop(0, "kill", name="replace SHA256SUMS")
BEFORE_THE_MANIFEST = Stop(0, "kill", name="replace manifest.json")


@dataclass
class Killed:
    """An archive that was killed before its fold, and what serves it."""

    dest: Path
    sim: Simulator
    zygote: Zygote
    sources: tuple[str, ...] = ()

    @property
    def journal_path(self) -> Path:
        """Where its journal is."""
        return self.dest / ".floradl" / "journal"

    def assert_goes_on(self, dest: Path) -> None:
        """The same command completes it, fetches nothing that is there, and leaves nothing lying around."""
        before = output_files(dest)
        self.sim.forget()
        ran = stepped(self.zygote, self.sim, dest, *self.sources)
        assert ran.returncode == 0, ran.stderr
        assert_archived(dest, self.sim.account, completed(self.sim.account))
        if self.sources:
            assert_all_archived(dest, self.sim.account)
        assert_sound(dest)
        assert_not_fetched_again(self.sim, dest, before)


def account() -> Account:
    """Two pictures and a text; one more run that is not done yet."""
    account = Account("sk_live_cuts")
    for number in range(2):
        body = png(random.Random(number).randbytes(3000))
        output = SimOutput("output_1", content_type="image/png", body=body)
        account.insert(SimRun(f"run_{number}", "ws_a", "prj_a", created_at=10**9 + number, outputs=[output]))
    words = [SimOutput("output_1", "text", text="Words.")]
    account.insert(SimRun("run_text", "ws_a", "prj_a", created_at=10**9 + 5, outputs=words))
    account.insert(SimRun("run_open", "ws_a", "prj_a", created_at=10**9 + 6, outputs=words, status="running"))
    return account


def add_other_sources(served: Account) -> None:
    """A run of a technique, an upload, and a canvas that says what the first picture is."""
    run = served.get("run_0")
    run.technique = SimTechnique("tech_a", "A technique")
    served.workspaces.append(SimWorkspace("ws_a", "A"))
    served.projects.append(SimProject("prj_a", "ws_a", "A"))
    file = SimOutput("asset_a", content_type="image/png", body=png(b"upload"))
    served.insert_asset(SimAsset("asset_a", "ws_a", file, project_id="prj_a"))
    served.canvas_of("prj_a").nodes.append(SimNode("node_a", label="A boat", shows=run.outputs[0]))


@pytest.fixture(params=["no manifest", "older manifest", "equal files", "all sources"])
def killed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Killed]:
    """An archive with changes of every kind in its journal: a first run, a later one, one with equal files.

    The runs after it know nothing of sharing.
    """
    served = account()
    if request.param == "all sources":
        add_other_sources(served)
    shares = "hard_link" if request.param == "equal files" else ""
    if shares:
        output = SimOutput("output_1", content_type="image/png", body=served.get("run_0").outputs[0].body)
        served.insert(SimRun("run_twin", "ws_a", "prj_a", created_at=10**9 + 4, outputs=[output]))
    with serve_in_thread(served) as sim, Zygote() as zygote:
        archive = Killed(tmp_path / "out", sim, zygote)
        archive.sources = ("--source", "all") if request.param == "all sources" else ()
        sim.faults.append(Fault(served.get("run_1").outputs[0].path, status=404))
        arguments, kinds = ["-j", "1", "--retries", "0", *archive.sources], {"RunOp", "OutputOp", "ScanOp"}
        kinds |= {"SourcesOp", "LabelsOp"} if archive.sources else set()
        if request.param == "older manifest":
            served.insert(SimRun("run_gone", "ws_a", "prj_a", created_at=10**9 + 2))
            assert stepped(zygote, sim, archive.dest, *arguments).returncode == 3
            served.delete("run_gone")
            served.finish("run_open")
            next(archive.dest.glob("*/*/run_0/output_1.png")).unlink()
            arguments, kinds = [*arguments, "--full"], kinds | {"VanishedOp"}
        ran = stepped(zygote, sim, archive.dest, *arguments, stop=BEFORE_THE_FOLD, shares=shares)
        assert ran.returncode < 0, ran.stderr
        sim.faults.clear()
        ops = parse_journal(archive.journal_path.read_bytes()).ops
        assert {type(op).__name__ for op in ops} == kinds
        told = {op.entry.shared_by for op in ops if isinstance(op, OutputOp)}
        assert told == ({None, shares} if shares else {None})
        yield archive


def expected_states(killed: Killed) -> list[dict[str, RunEntry]]:
    """What is recorded after the journal's first change, its second, and so on; before any of them first."""
    snapshot = killed.dest / "manifest.json"
    manifest = Manifest.parse(snapshot.read_bytes()) if snapshot.exists() else Manifest("", "")
    states = [dict(manifest.iter_entries())]
    for op in parse_journal(killed.journal_path.read_bytes()).ops:
        manifest.apply(op)
        states.append(dict(manifest.iter_entries()))
    return states


def assert_true(dest: Path, state: dict[str, RunEntry]) -> None:
    """Every archived output of a state is on disk and hashes to what was recorded."""
    for run in state.values():
        for output in run.outputs.values():
            if output.state == State.ARCHIVED:
                data = (dest / run.path / (output.file or "")).read_bytes()
                assert hashlib.sha256(data).hexdigest() == output.sha256


def test_a_journal_cut_at_every_byte(killed: Killed) -> None:
    """Cut anywhere, a journal is read without an error: the changes that are whole, and all are true."""
    data, states = killed.journal_path.read_bytes(), expected_states(killed)
    for state in states:
        assert_true(killed.dest, state)
    assert len(states) >= 6
    for cut in range(len(data) + 1):
        killed.journal_path.write_bytes(data[:cut])
        whole = data[:cut].count(b"\n")  # the header's line is the first
        assert dict(entries(killed.dest).iter_entries()) == states[max(0, whole - 1)], cut


def test_a_journal_that_was_cut_is_gone_on_with(killed: Killed) -> None:
    """Opened for changes, a journal loses its torn tail and nothing else, at every byte.

    By day, at every fifth and at those around the ends of lines.
    """
    data, states = killed.journal_path.read_bytes(), expected_states(killed)

    async def open_and_close() -> dict[str, RunEntry]:
        disk = Destination(killed.dest, fsync=False, threads=1)
        repository = Repository(disk, Clock())
        try:
            return dict((await repository.open()).iter_entries())
        finally:
            await repository.close()
            disk.close()

    async def open_at_every_byte() -> None:
        for cut in range(len(data) + 1):
            if not is_night() and cut % 5 and b"\n" not in data[max(0, cut - 2) : cut + 2]:
                continue
            killed.journal_path.write_bytes(data[:cut])
            whole = data[:cut].count(b"\n")
            assert await open_and_close() == states[max(0, whole - 1)], cut
            left = killed.journal_path.read_bytes()
            assert left == data[: data[:cut].rfind(b"\n") + 1] or (whole == 0 and left.count(b"\n") == 1), cut

    asyncio.run(open_at_every_byte())


def copy_archive(source: Path, dest: Path) -> None:
    """Copy an archive with its dates, and what is one file under two names as one file."""
    subprocess.run(["cp", "--archive", source, dest], check=True)


def test_the_next_run_after_a_cut(killed: Killed, tmp_path: Path) -> None:
    """However little of the journal is left, the next run completes the archive and fetches no file twice."""
    data = killed.journal_path.read_bytes()
    moments = random.Random(7)
    for cut in {0, 1, len(data) - 1, *moments.sample(range(len(data)), 12)}:
        dest = tmp_path / f"cut_{cut}"
        copy_archive(killed.dest, dest)
        (dest / ".floradl" / "journal").write_bytes(data[:cut])
        killed.assert_goes_on(dest)
        assert_tidy(dest)


@pytest.mark.parametrize("killed", ["older manifest"], indirect=True)
def test_a_manifest_cut_anywhere(killed: Killed) -> None:
    """A manifest.json that is not whole is refused and left alone, and so is all it speaks of."""
    path = killed.dest / "manifest.json"
    data = path.read_bytes()
    end = len(data.rstrip())  # the last line feed is not missed
    cuts = {*range(60), *range(end - 60, end), *random.Random(3).sample(range(end), 200)}
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(ManifestError, match=r"manifest\.json") as caught:
            entries(killed.dest)
        assert caught.value.hint
    for cut in (0, 1, end // 2, end - 1):
        path.write_bytes(data[:cut])
        before = _tree(killed.dest)
        killed.sim.forget()
        ran = stepped(killed.zygote, killed.sim, killed.dest)
        assert ran.returncode == 1
        what, todo = ran.stderr.splitlines()
        assert "manifest.json cannot be read" in what
        assert "verify --repair" in todo
        assert _tree(killed.dest) == before
        assert killed.sim.requests == []
    path.write_bytes(data)
    killed.assert_goes_on(killed.dest)


def test_a_half_written_snapshot_is_cleaned_away(killed: Killed) -> None:
    """Killed while the new manifest.json is written, the old state counts and the half is removed."""
    ran = stepped(killed.zygote, killed.sim, killed.dest, stop=BEFORE_THE_MANIFEST)
    assert ran.returncode < 0
    (temporary,) = (path for path in (killed.dest / ".floradl" / "tmp").rglob("*") if path.is_file())
    temporary.write_bytes(temporary.read_bytes()[:-100])
    before = expected_states(killed)[-1]
    assert dict(entries(killed.dest).iter_entries()) == before
    killed.assert_goes_on(killed.dest)
    assert_tidy(killed.dest)


def _tree(dest: Path) -> dict[str, bytes]:
    """Every file but those that say who works on the archive, and temporary ones."""
    return {
        file.relative_to(dest).as_posix(): file.read_bytes()
        for file in dest.rglob("*")
        if file.is_file() and file.name not in ("lock", "holder.json") and "tmp" not in file.parts[-3:-1]
    }

"""A sound archive of a small account, copies of it for tests to damage, and comparisons of whole folders."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from floradl.clock import Clock, parse_ms
from floradl.constants import Kind, Source
from floradl.repository import layout
from floradl.repository.entries import LabelsOp, Op, OutputEntry, OutputOp, RunFacts, RunOp, SourcesOp, State
from floradl.repository.repository import Repository
from floradl.simulator import (
    Account,
    SimAsset,
    SimOutput,
    SimRun,
    SimTechnique,
    Simulator,
    generate_account,
    serve_in_thread,
)
from floradl.storage import base
from floradl.storage.destination import Destination
from tests.support.accounts import completed
from tests.support.archives import all_entries, assert_archived, assert_sound, manifest
from tests.support.media import mp4, png
from tests.support.zygote import floradl

PROJECT = "ws_a/prj_a"
PHOTO = f"{PROJECT}/run_photo"
FILM = f"{PROJECT}/run_film"
STORY = f"{PROJECT}/run_story"
PICTURE = f"{PHOTO}/output_1.png"
SECOND = f"{PHOTO}/output_2.png"
TEXT = f"{STORY}/output_1.txt"
BOX = f"{PROJECT}/assets/asset_box"
UPLOAD = f"{BOX}/asset_box.png"
LOOSE = "ws_a/_workspace/assets/asset_loose"
LOOSE_UPLOAD = f"{LOOSE}/asset_loose.png"
CANVAS = f"{PROJECT}/canvas"
DIAGRAM = f"{CANVAS}/20261120t023000z-canvas.mmd"
NODES = f"{CANVAS}/20261120t023000z-nodes.json"
LATER = f"{CANVAS}/20261121t023000z-canvas.mmd"
LABELS = f"{FILM}/canvas.json"

EVERYTHING = ("--source", "all")
"""What makes the archive job speak of all that `Stage` has."""

MOMENT_MS = 1_795_000_000_000
"""When the runs of `PROJECT` were created; days before those of the rest of the account."""


def make_account() -> Account:
    """An account of two dozen runs of all kinds, three runs with known ids in `PROJECT`, and two uploads."""
    account = generate_account(24, seed=12)
    film = mp4(random.Random(3).randbytes(40_000))
    outputs = {
        "run_photo": [_picture("output_1"), _picture("output_2")],
        "run_film": [SimOutput("output_1", "videoUrl", content_type="video/mp4", body=film)],
        "run_story": [SimOutput("output_1", "text", text="A boat of paper, and a long voyage.")],
    }
    for number, (run_id, of_run) in enumerate(outputs.items()):
        moment = MOMENT_MS - number * 60_000
        account.insert(SimRun(run_id, "ws_a", "prj_a", created_at=moment, outputs=of_run))
    account.get("run_film").technique = SimTechnique("tech_boat", "Boats")
    for asset_id, project_id in (("asset_box", "prj_a"), ("asset_loose", None)):
        file = _picture(asset_id)
        account.insert_asset(
            SimAsset(asset_id, "ws_a", file, project_id=project_id, name="Box.png", created_at=MOMENT_MS)
        )
    return account


def _picture(output_id: str) -> SimOutput:
    body = png(random.Random(output_id).randbytes(9_000))
    return SimOutput(output_id, content_type="image/png", body=body)


@dataclass(frozen=True)
class Stage:
    """A served account, and an archive of it that no test changes."""

    sim: Simulator
    sound: Path

    @property
    def account(self) -> Account:
        """The account that is served."""
        return self.sim.account

    def copy(self, dest: Path) -> Path:
        """Copy the archive, with its dates."""
        shutil.copytree(self.sound, dest, symlinks=True)
        return dest


SNAPSHOTS = {
    DIAGRAM: ("canvas", 'graph LR\n  n1["A boat of paper (Text)"]'),
    NODES: ("nodes", '{"nodes": [{"node_id": "node_1", "label": "A boat of paper"}]}'),
    LATER: ("canvas", 'graph LR\n  n1["A boat of paper, folded twice (Text)"]'),
}
"""The canvas of `PROJECT` on two days."""


def add_canvas(dest: Path) -> None:
    """Add `SNAPSHOTS` of a canvas as jobs on two days would, and the labels that they give a run."""
    asyncio.run(_add_canvas(dest))


async def _add_canvas(dest: Path) -> None:
    disk = Destination(dest)
    repository = Repository(disk, Clock())
    facts = RunFacts("ws_a", "prj_a", CANVAS, None, None, None, None, "", kind=Kind.CANVAS)
    ops: list[Op] = [RunOp("prj_a", facts), SourcesOp("prj_a", (Source.CANVAS,))]
    for path, (kind, text) in SNAPSHOTS.items():
        place = PurePosixPath(path)
        moment = f"{place.name[:4]}-{place.name[4:6]}-{place.name[6:8]}T02:30:00Z"
        digest = disk.write_atomic(place, [text.encode()], mtime_ms=parse_ms(moment))
        entry = OutputEntry(
            kind, State.ARCHIVED, place.name, digest.size_bytes, digest.sha256, archived_at=moment
        )
        ops.append(OutputOp("prj_a", place.stem, entry))
    labels = disk.write_atomic(PurePosixPath(LABELS), [b'{"outputs": {"output_1": []}}'])
    ops.append(LabelsOp("run_film", labels.sha256))
    await repository.open()
    await repository.append(ops)
    await repository.fold(repository.manifest.base_url)
    disk.close()


@contextmanager
def archived(folder: Path) -> Iterator[Stage]:
    """Serve an account and archive it into a folder."""
    with serve_in_thread(make_account()) as sim:
        done = floradl(sim, *EVERYTHING, folder)
        assert done.returncode == 0, done.stderr
        add_canvas(folder)
        sim.forget()
        yield Stage(sim, folder)


def without_key(sim: Simulator, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run floradl without a key in its environment."""
    return floradl(sim, *arguments, FLORA_API_KEY="")


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The report that `--json` printed."""
    assert done.stdout, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def found_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The findings that `verify --json` printed, as `kind path`."""
    return sorted(f"{item['kind']} {item['path']}" for item in report_of(done)["findings"])


Tree = dict[str, tuple[object, ...]]


def tree_of(folder: Path, *, private: bool = True, identity: bool = True) -> Tree:
    """A folder and everything below it: kind, date, and bytes or the target of a link.

    The record that `verify` writes about its last check is left out, and so are the dates of its folders.

    Args:
        folder: the folder.
        private: whether floradl's own folder is included.
        identity: whether dates and inodes are included.
    """
    paths = [folder, *folder.rglob("*")]
    tree: Tree = {}
    for path in paths:
        relative = path.relative_to(folder)
        if not private and relative.parts[:1] == (".floradl",):
            continue
        facts = path.lstat()
        place = PurePosixPath(relative)
        if place == layout.VERIFIED:
            continue
        is_theirs = identity and place not in (base.PRIVATE, base.TEMPORARY, *base.TEMPORARIES)
        who = (facts.st_ino, facts.st_mtime_ns, facts.st_nlink) if is_theirs else ()
        if stat.S_ISREG(facts.st_mode):
            content: object = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = path.readlink() if stat.S_ISLNK(facts.st_mode) else None
        tree[relative.as_posix()] = (stat.S_IFMT(facts.st_mode), content, *who)
    return tree


def runs_of(dest: Path) -> dict[str, Any]:
    """The entries of runs in a manifest."""
    runs: dict[str, Any] = manifest(dest)["runs"]
    return runs


def assert_all_archived(dest: Path, account: Account) -> None:
    """Assert that all runs, both uploads and their records are on disk byte for byte, and in the manifest."""
    assert_archived(dest, account, completed(account))
    assets = manifest(dest)["assets"]
    for asset in account.assets:
        folder, name = dest / (LOOSE if asset.project_id is None else BOX), f"{asset.asset_id}.png"
        assert (folder / name).read_bytes() == asset.file.body
        record = json.loads((folder / "asset.json").read_text())
        assert record == account.asset_record(asset, listed=True)
        entry = assets[asset.asset_id]
        assert (entry["kind"], entry["sources"], entry["name"]) == ("asset", ["assets"], "Box.png")
        assert entry["outputs"][asset.asset_id]["file"] == name
    canvas = manifest(dest)["canvases"]["prj_a"]
    assert (canvas["kind"], canvas["sources"]) == ("canvas", ["canvas"])
    for path, (_, text) in SNAPSHOTS.items():
        assert (dest / path).read_text() == text
        assert canvas["outputs"][PurePosixPath(path).stem]["state"] == "archived"


def edit_manifest(dest: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change `manifest.json` as a user with an editor would."""
    value = manifest(dest)
    edit(value)
    (dest / "manifest.json").write_text(json.dumps(value), encoding="utf-8")


def flip_bit(path: Path) -> None:
    """Change one bit in the middle of a file, and keep its date."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def assert_same(dest: Path, source: Path, *, names: bool = True) -> None:
    """Assert that two archives have equal files, bytes and dates, but for floradl's own folder and the ids.

    Args:
        dest, source: the two archives.
        names: whether `workspace.json`, which says which keys saw the workspace, is compared too.
    """
    assert all_entries(dest) == all_entries(source)
    ours, theirs = tree_of(dest, private=False), tree_of(source, private=False)
    for tree in (ours, theirs):
        left_out = [name for name in tree if not names and name.endswith("/workspace.json")]
        for name in (".", "manifest.json", *left_out):
            del tree[name]
    assert {name: facts[:2] for name, facts in ours.items()} == {
        name: facts[:2] for name, facts in theirs.items()
    }
    files = [*source.glob("ws_*/*/*/*.*"), *source.glob("ws_*/*/assets/*/*")]
    for file in files:
        if file.name == layout.LABELS:
            continue
        date, known = (path.stat().st_mtime_ns for path in (dest / file.relative_to(source), file))
        # The date of a snapshot comes from its name, which has no milliseconds.
        assert abs(date - known) < (2 * 10**9 if layout.snapshot_of(file.name) else 1), file
    assert_sound(dest)


def restored(stage: Stage, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Restore without a key, and assert that all went well."""
    done = without_key(stage.sim, "restore", *arguments)
    assert done.returncode == 0, done.stderr
    return done

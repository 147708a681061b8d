"""An archive to harm: a small account, the archive of it, copies, and pictures of whole trees."""

from __future__ import annotations

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

from floradl import layout
from floradl.simulator import Account, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support import assert_sound, manifest, mp4, png
from tests.zygote import floradl

PROJECT = "ws_a/prj_a"
PHOTO = f"{PROJECT}/run_photo"
FILM = f"{PROJECT}/run_film"
STORY = f"{PROJECT}/run_story"
PICTURE = f"{PHOTO}/output_1.png"
SECOND = f"{PHOTO}/output_2.png"
TEXT = f"{STORY}/output_1.txt"

MOMENT_MS = 1_795_000_000_000
"""When the runs of `PROJECT` were created; days before those of the rest of the account."""


def make_account() -> Account:
    """Two dozen runs of all kinds, and in `PROJECT` three whose names the tests know."""
    account = Account.generate(24, seed=12)
    film = mp4(random.Random(3).randbytes(40_000))
    outputs = {
        "run_photo": [_picture("output_1"), _picture("output_2")],
        "run_film": [SimOutput("output_1", "videoUrl", content_type="video/mp4", body=film)],
        "run_story": [SimOutput("output_1", "text", text="A boat of paper, and a long voyage.")],
    }
    for number, (run_id, of_run) in enumerate(outputs.items()):
        moment = MOMENT_MS - number * 60_000
        account.insert(SimRun(run_id, "ws_a", "prj_a", created_at=moment, outputs=of_run))
    return account


def _picture(output_id: str) -> SimOutput:
    body = png(random.Random(output_id).randbytes(9_000))
    return SimOutput(output_id, content_type="image/png", body=body)


@dataclass(frozen=True)
class Stage:
    """A served account, and an archive of it that stays as it is."""

    sim: Simulator
    sound: Path

    @property
    def account(self) -> Account:
        """What FLORA has."""
        return self.sim.account

    def copy(self, dest: Path) -> Path:
        """A copy of the archive, dates included."""
        shutil.copytree(self.sound, dest, symlinks=True)
        return dest


@contextmanager
def archived(folder: Path) -> Iterator[Stage]:
    """An account, served, with its archive in a folder."""
    with serve_in_thread(make_account()) as sim:
        done = floradl(sim, folder)
        assert done.returncode == 0, done.stderr
        sim.forget()
        yield Stage(sim, folder)


def without_key(sim: Simulator, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run floradl where nobody has set a key."""
    return floradl(sim, *arguments, FLORA_API_KEY="")


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What `--json` printed."""
    assert done.stdout, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def found_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The findings that `verify --json` printed, as `kind path`."""
    return sorted(f"{item['kind']} {item['path']}" for item in report_of(done)["findings"])


Tree = dict[str, tuple[object, ...]]


def tree_of(folder: Path, *, private: bool = True, identity: bool = True) -> Tree:
    """Everything below a folder, and the folder: kind, date, bytes or where a link leads.

    What a check notes about itself is left out, and so are the dates of the folders that it is written in.

    Args:
        folder: where to look.
        private: whether floradl's own folder counts.
        identity: whether dates and inodes count.
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
        is_theirs = identity and place not in (layout.PRIVATE, layout.TEMPORARY, *layout.TEMPORARIES)
        who = (facts.st_ino, facts.st_mtime_ns, facts.st_nlink) if is_theirs else ()
        if stat.S_ISREG(facts.st_mode):
            content: object = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = path.readlink() if stat.S_ISLNK(facts.st_mode) else None
        tree[relative.as_posix()] = (stat.S_IFMT(facts.st_mode), content, *who)
    return tree


def runs_of(dest: Path) -> dict[str, Any]:
    """The runs that a manifest has."""
    runs: dict[str, Any] = manifest(dest)["runs"]
    return runs


def edit_manifest(dest: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change `manifest.json` as somebody with an editor would."""
    value = manifest(dest)
    edit(value)
    (dest / "manifest.json").write_text(json.dumps(value), encoding="utf-8")


def flip_bit(path: Path) -> None:
    """Change one bit in the middle of a file, and not its date."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def assert_same(dest: Path, source: Path) -> None:
    """The same tree, bytes and dates, but for floradl's own folder and what tells two archives apart."""
    assert runs_of(dest) == runs_of(source)
    ours, theirs = tree_of(dest, private=False), tree_of(source, private=False)
    for tree in (ours, theirs):
        del tree["."], tree["manifest.json"]
    assert {name: facts[:2] for name, facts in ours.items()} == {
        name: facts[:2] for name, facts in theirs.items()
    }
    for file in source.glob("ws_*/*/*/*"):
        assert (dest / file.relative_to(source)).stat().st_mtime_ns == file.stat().st_mtime_ns
    assert_sound(dest)


def restored(stage: Stage, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Restore without a key; all went well."""
    done = without_key(stage.sim, "restore", *arguments)
    assert done.returncode == 0, done.stderr
    return done

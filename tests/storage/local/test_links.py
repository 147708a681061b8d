"""Links and pipes where the archive has its own: nothing outside DEST is read into it, written or removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.repository import layout
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from floradl.storage import base
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound, manifest
from tests.support.media import png
from tests.support.processes import start, wait_for
from tests.support.zygote import floradl

pytestmark = pytest.mark.skipif(os.name == "nt", reason="making links on Windows takes privileges")

FOLDER = "ws_a/prj_a/run_1"
PARTIAL = str(layout.partial_path("run_1", "large"))
SIDECAR = PARTIAL.replace(".part", ".json")
FOLDERS = ["ws_a", "ws_a/prj_a", FOLDER, ".floradl", ".floradl/partials", ".floradl/tmp",
           *map(str, base.TEMPORARIES)]  # fmt: skip
FILES = [f"{FOLDER}/large.png", f"{FOLDER}/run.json", "manifest.json", "SHA256SUMS", ".floradl/journal",
         ".floradl/lock", ".floradl/holder.json", PARTIAL, SIDECAR]  # fmt: skip


KINDS = ["link", "dangling", "pipe", "copy"]
CASES = [
    *[("new", place, "link") for place in [*FOLDERS, "manifest.json", ".floradl/journal", ".floradl/lock"]],
    *[("half", place, kind) for place in (PARTIAL, SIDECAR, ".floradl/partials") for kind in KINDS],
    *[("whole", place, kind) for place in [*FOLDERS, *FILES[:-2]] for kind in KINDS],
]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A served account: a run with a text and a file large enough to be resumed."""
    large = SimOutput("large", content_type="image/png", body=png(bytes(range(256)) * 40_000))
    account = Account("sk_live_links")
    account.insert(
        SimRun("run_1", "ws_a", "prj_a", outputs=[large, SimOutput("note", "text", text="a note")])
    )
    with serve_in_thread(account) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where archives are kept that the cases begin with."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder and a file beside the archive."""
    folder = tmp_path / "outside"
    (folder / "kept").mkdir(parents=True)
    (folder / "kept" / "precious").write_bytes(b"precious")
    (folder / "file").write_bytes(b"precious too")
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder: files with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def begin(sim: Simulator, made: Path, state: str) -> Path:
    """An archive that is `new`, `half` (its large output is a partial with a sidecar, killed) or `whole`."""
    dest = made / state
    if dest.exists():
        return dest
    if state == "new":
        dest.mkdir()
    elif state == "whole":
        assert floradl(sim, dest).returncode == 0
    else:
        sim.faults.append(Fault(sim.account.get("run_1").outputs[0].path, stall_after=9_000_000))
        process = start(sim, dest)
        wait_for(lambda: (dest / SIDECAR).exists() and (dest / FOLDER / "note.txt").exists())
        process.kill()
        process.communicate()
        sim.faults.clear()
    return dest


def plant(dest: Path, place: str, kind: str, outside: Path) -> None:
    """Put a link or a pipe where the archive has something of its own, or would put it."""
    path = dest / place
    path.parent.mkdir(parents=True, exist_ok=True)
    is_folder = path.is_dir() or place in FOLDERS
    if kind == "copy":  # what was there, moved out, and a link to it
        target = outside / "moved"
        if path.exists():
            path.rename(target)
        path.symlink_to(target)
        return
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(outside / "nowhere")
    else:
        path.symlink_to(outside / ("kept" if is_folder else "file"))


@pytest.mark.parametrize(("state", "place", "kind"), CASES)
def test_a_link_inside_the_archive(
    sim: Simulator, made: Path, tmp_path: Path, outside: Path, state: str, place: str, kind: str
) -> None:
    """The command says what stands in its way, or archives beside it; what is outside stays as it is."""
    dest = tmp_path / "out"
    shutil.copytree(begin(sim, made, state), dest)
    plant(dest, place, kind, outside)
    before = tree(outside)
    done = floradl(sim, "--no-fsync", dest)
    assert tree(outside) == before
    assert done.returncode in (0, 1, 3), done.stderr
    if done.returncode:
        assert Path(place).name in done.stderr, done.stderr
        assert "bug" not in done.stderr
    else:
        assert_archived(dest, sim.account, completed(sim.account))
        assert_sound(dest)
        assert not [path for path in (dest / FOLDER).rglob("*") if path.is_symlink()]
        assert manifest(dest)["runs"]["run_1"]["path"] == FOLDER

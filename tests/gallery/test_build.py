"""`floradl gallery`: made once, brought up to date by little, and nothing that a check would mind."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import jsonschema
import pytest
from PIL import Image

import floradl as floradl_package
from floradl.errors import DestinationError
from floradl.gallery.build import build_gallery
from floradl.gallery.report import GalleryOptions
from floradl.gallery.thumbnails import Thumbnails
from floradl.simulator import (
    SimOutput,
    SimRun,
    Simulator,
    generate_account,
    insert_runs,
    serve_in_thread,
)
from floradl.simulator.media import Drawing, Kind
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from tests.repository.test_lock import other_process
from tests.support.archives import assert_sound, manifest
from tests.support.zygote import floradl

pytestmark = pytest.mark.anyio

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account with two pictures that are too large to be shown themselves, and what others have."""
    account = generate_account(30, seed=4)
    for number in range(2):
        drawing = Drawing(Kind.PNG, number, 1200, 700)
        account.insert(
            SimRun(f"run_large_{number}", "ws_a", "prj_a", outputs=[SimOutput("output_1", drawing=drawing)])
        )
    with serve_in_thread(account) as sim:
        yield sim


@pytest.fixture
def dest(sim: Simulator, tmp_path: Path) -> Path:
    """An archive of it, with its gallery."""
    dest = tmp_path / "out"
    assert floradl(sim, "--gallery", dest).returncode == 0
    return dest


def gallery(dest: Path) -> dict[str, bytes]:
    """All files of a gallery, by their places."""
    files = [dest / "index.html", *(dest / "gallery").rglob("*")]
    return {file.relative_to(dest).as_posix(): file.read_bytes() for file in files if file.is_file()}


def dates(dest: Path) -> dict[str, int]:
    """When each file of a gallery was written."""
    return {name: (dest / name).stat().st_mtime_ns for name in gallery(dest)}


def test_a_gallery_that_is_up_to_date_is_left_alone(sim: Simulator, dest: Path) -> None:
    """The second making writes nothing at all, and says so."""
    before = dates(dest)
    done = floradl(sim, "gallery", dest)
    assert done.returncode == 0
    assert re.search(r"index\.html shows \d+ outputs of \d+ runs\. 0 files written\.", done.stderr)
    assert done.stdout == ""
    assert dates(dest) == before
    assert floradl(sim, "gallery", "-q", dest).stderr == ""


def test_new_outputs_change_little(sim: Simulator, dest: Path) -> None:
    """A small picture of an old output is not made again; files of the changed shelf are replaced."""
    before = dates(dest)
    insert_runs(sim.account, 3)
    assert floradl(sim, "--gallery", dest).returncode == 0
    after = dates(dest)
    pictures = {name for name in after.keys() - before.keys() if name.startswith("gallery/thumbnails/")}
    changed = {name for name in after if after[name] != before.get(name)} - pictures
    assert {name.partition("-")[0] for name in changed} <= {
        *("gallery/data/index.js", "gallery/data/list", "gallery/data/more", "gallery/data/text")
    }
    gone = before.keys() - after.keys()
    assert gone
    assert all(
        name.startswith(("gallery/data/list-", "gallery/data/more-", "gallery/data/text-")) for name in gone
    )


@pytest.mark.parametrize(
    "part", ["gallery", "gallery/data", "gallery/thumbnails", "gallery/page", "index.html"]
)
def test_everything_can_be_removed_and_made_again(sim: Simulator, dest: Path, part: str) -> None:
    """Byte for byte."""
    before = gallery(dest)
    assert any(name.startswith("gallery/thumbnails/") for name in before)
    shutil.rmtree(dest / part, ignore_errors=True)
    (dest / part).unlink(missing_ok=True)
    assert floradl(sim, "gallery", dest).returncode == 0
    assert gallery(dest) == before


def test_the_archive_is_as_sound_as_before(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """No check minds the gallery, no repair touches it, and a restored archive makes its own."""
    before = gallery(dest)
    done = floradl(sim, "verify", "--json", dest)
    assert (done.returncode, json.loads(done.stdout)["findings"]) == (0, [])
    assert floradl(sim, "verify", "--repair", dest).returncode == 0
    assert gallery(dest) == before
    assert "gallery" not in (dest / "SHA256SUMS").read_text()
    assert floradl(sim, "restore", dest, tmp_path / "new").returncode == 0
    assert not (tmp_path / "new" / "gallery").exists()
    assert_sound(dest)


def test_a_page_of_somebody_else_is_kept(sim: Simulator, dest: Path) -> None:
    """An index.html that floradl did not write is set aside, and named."""
    (dest / "index.html").write_text("<h1>My own</h1>")
    done = floradl(sim, "gallery", dest)
    assert "Another index.html stood there; it is in .floradl/aside/index.html now." in done.stderr
    assert (dest / ".floradl" / "aside" / "index.html").read_text() == "<h1>My own</h1>"
    assert b'content="floradl"' in (dest / "index.html").read_bytes()


def test_small_pictures_are_named_after_their_bytes(dest: Path) -> None:
    """Large pictures have one, by hash; small ones are shown themselves."""
    found = {file.stem: file for file in (dest / "gallery" / "thumbnails").rglob("*.webp")}
    runs = manifest(dest)["runs"]
    hashes = {runs[f"run_large_{number}"]["outputs"]["output_1"]["sha256"][:32] for number in range(2)}
    assert hashes <= found.keys()
    with Image.open(found[hashes.pop()]) as picture:
        assert picture.size == (720, 420)


async def test_the_job_in_python(dest: Path) -> None:
    """The public job, with progress of what was due."""
    shutil.rmtree(dest / "gallery")
    told: list[floradl_package.Progress] = []
    options = floradl_package.GalleryOptions(dest)
    report = await floradl_package.build_gallery(options, progress=told.append)
    assert report.outputs == told[-1].outputs == told[-1].done
    assert (report.exit_code, report.files_written > 0) == (0, True)


async def test_without_pillow_the_page_shows_the_files(dest: Path) -> None:
    """There are no small pictures then, and with Pillow again there are."""

    class Without(Thumbnails):
        is_on = False

    report = await build_gallery(GalleryOptions(dest), thumbnails=Without())
    assert (report.thumbnails, report.has_thumbnails) == (0, False)
    lists = [file.read_text() for file in (dest / "gallery" / "data").glob("list-*")]
    assert not any(re.search(r'"[0-9a-f]{32}"', text) for text in lists)
    again = await build_gallery(GalleryOptions(dest))
    assert again.thumbnails == 0  # they were still there
    lists = [file.read_text() for file in (dest / "gallery" / "data").glob("list-*")]
    assert any(re.search(r'"[0-9a-f]{32}"', text) for text in lists)


async def test_one_that_is_stopped_leaves_the_old_one_whole(sim: Simulator, dest: Path) -> None:
    """Stopped in mid-making, the page is as it was; the next making goes on from there."""
    before, stop = gallery(dest), asyncio.Event()
    sim.account.insert(
        SimRun("run_new", "ws_a", "prj_a", outputs=[SimOutput("a", drawing=Drawing(Kind.PNG, 9, 1200, 700))])
    )
    assert floradl(sim, dest).returncode == 0
    loop = asyncio.get_running_loop()

    class Stopping(Thumbnails):
        def make(self, source: IO[bytes], path: Path, extension: str) -> bytes | None:
            loop.call_soon_threadsafe(stop.set)
            return super().make(source, path, extension)

    report = await build_gallery(GalleryOptions(dest), stop=stop, thumbnails=Stopping())
    assert report.is_interrupted
    after = gallery(dest)
    assert {name: after[name] for name in before} == before
    again = await build_gallery(GalleryOptions(dest))
    assert (again.is_interrupted, again.thumbnails) == (False, 0)
    assert gallery(dest)["gallery/data/index.js"] != before["gallery/data/index.js"]


def test_a_missing_file_does_not_stop_it(sim: Simulator, dest: Path) -> None:
    """What is gone from the disk is for `verify` to say; the page shows where it was."""
    shutil.rmtree(dest / "gallery")
    run = manifest(dest)["runs"]["run_large_0"]
    (dest / run["path"] / "output_1.png").unlink()
    done = floradl(sim, "gallery", dest)
    assert done.returncode == 0


async def test_a_disk_that_does_not_take_it_is_an_error(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small picture that cannot be written is no picture that could not be made."""
    shutil.rmtree(dest / "gallery")
    write = Destination.write_atomic

    def full(disk: Destination, relative: PurePosixPath, parts: Iterable[bytes], **more: Any) -> Digest:
        if relative.suffix == ".webp":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(disk, relative, parts, **more)

    monkeypatch.setattr(Destination, "write_atomic", full)
    with pytest.raises(DestinationError, match="No space left"):
        await build_gallery(GalleryOptions(dest))


def test_the_report_as_json(sim: Simulator, dest: Path) -> None:
    """One object, with what was done."""
    done = floradl(sim, "gallery", "--json", dest)
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert (report["format"], report["version"], report["exit_code"]) == ("floradl-gallery", 1, 0)
    assert report["files"] == {"written": 0, "removed": 0}
    assert report["runs"] == len(manifest(dest)["runs"])


def test_where_there_is_no_archive(sim: Simulator, tmp_path: Path) -> None:
    """Nothing is made, and one is told."""
    done = floradl(sim, "gallery", tmp_path / "none")
    assert done.returncode == 1
    assert "there is no archive" in done.stderr
    assert not (tmp_path / "none").exists()


def test_another_floradl_at_work(sim: Simulator, dest: Path) -> None:
    """Exit code 5, as everywhere."""
    with other_process(dest):
        assert floradl(sim, "gallery", dest).returncode == 5


def test_no_link_is_written_through(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """A gallery folder that leads elsewhere is refused."""
    shutil.rmtree(dest / "gallery")
    (tmp_path / "elsewhere").mkdir()
    (dest / "gallery").symlink_to(tmp_path / "elsewhere")
    done = floradl(sim, "gallery", dest)
    assert done.returncode == 1
    assert "symbolic link" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_archive_job_tells_what_it_did_though_its_gallery_fails(sim: Simulator, dest: Path) -> None:
    """The new outputs are archived and reported; the exit code says that something is left to do."""
    shutil.rmtree(dest / "gallery")
    (dest / "gallery").write_text("a file")
    insert_runs(sim.account, 2)
    done = floradl(sim, "--gallery", "--json", dest)
    assert done.returncode == 1
    assert "The gallery could not be made: " in done.stderr
    report = json.loads(done.stdout)
    assert (report["format"], report["exit_code"], report["runs"]["new"]) == ("floradl-report", 1, 2)
    assert_sound(dest)

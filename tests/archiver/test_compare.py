"""The manifest compared with the folders: what is gone is fetched again, in a large archive as in a small."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from floradl.api.models import Filters
from floradl.archiver.compare import compare_repository, compare_with_disk, keep_stamps
from floradl.archiver.folder_cache import FolderStamp
from floradl.clock import Clock
from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.entries import Op, OutputEntry, OutputOp, RunFacts, RunOp, State
from floradl.repository.manifest import Manifest
from floradl.repository.repository import Repository
from floradl.storage.destination import Destination

URL = "https://media.test/a.png"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Destination]:
    """A prepared archive."""
    disk = Destination(tmp_path / "out", fsync=False)
    disk.prepare()
    yield disk
    disk.close()


def archived(size_bytes: int, file: str = "output_1.png") -> OutputEntry:
    """An output that is on disk."""
    return OutputEntry("imageUrl", State.ARCHIVED, file, size_bytes, "ab" * 32, url=URL)


FAILED = OutputEntry("videoUrl", State.FAILED, url=URL, attempts=6)


def memory(**runs: dict[str, OutputEntry]) -> Manifest:
    """A manifest with these runs of ws_a/prj_b, and their outputs."""
    manifest = Manifest("9f0c", "then")
    for run_id, outputs in runs.items():
        path = f"ws_a/prj_b/{run_id}"
        manifest.apply(RunOp(run_id, RunFacts("ws_a", "prj_b", path, "t2i", 1, 2, None, "00")))
        for key, entry in outputs.items():
            manifest.apply(OutputOp(run_id, key, entry))
    return manifest


def compare(
    disk: Destination, manifest: Manifest, filters: Filters | None = None, unwanted: str = ""
) -> tuple[int, int, list[tuple[str, tuple[str, ...]]]]:
    """How many outputs are there, with how many bytes, and which of which runs have to be fetched."""
    found = compare_with_disk(manifest, disk, filters or Filters(), lambda run_id, _: run_id != unwanted)
    return found.outputs, found.size_bytes, [(missing.run_id, missing.keys) for missing in found.missing_runs]


def write(disk: Destination, run_id: str, **files: bytes) -> None:
    """Put files into a run's folder; `output_1` is `output_1.png`."""
    for name, data in files.items():
        disk.write_atomic(layout.item_path(Kind.RUN, "ws_a", "prj_b", run_id) / f"{name}.png", [data])


def test_an_archive_as_it_should_be(disk: Destination) -> None:
    """Where each file has its recorded size nothing has to be fetched, and every byte counts."""
    write(disk, "run_1", output_1=b"12345", output_2=b"")
    write(disk, "run_2", output_1=b"67", stranger=b"89")
    manifest = memory(
        run_1={"output_1": archived(5), "output_2": archived(0, "output_2.png")},
        run_2={"output_1": archived(2)},
        run_3={},
    )
    assert compare(disk, manifest) == (3, 7, [])


def test_what_is_not_as_it_should_be(disk: Destination) -> None:
    """Failed outputs, missing files and files of another size are fetched again, and count for nothing."""
    write(disk, "run_1", output_1=b"12345")
    write(disk, "run_2", output_1=b"123456")
    manifest = memory(
        run_1={"output_1": archived(5), "output_2": FAILED},
        run_2={"output_1": archived(5)},
        run_3={"output_1": archived(5), "output_2": archived(6, "output_2.png")},
    )
    assert compare(disk, manifest) == (
        1,
        5,
        [("run_1", ("output_2",)), ("run_2", ("output_1",)), ("run_3", ("output_1", "output_2"))],
    )


def test_only_what_is_wanted_is_fetched_again(disk: Destination) -> None:
    """Runs and types that a job does not want are left alone; the archive's size is of all of it."""
    write(disk, "run_2", output_1=b"12345")
    damage = {"output_1": archived(5), "output_2": FAILED}
    manifest = memory(run_1=damage, run_2=damage)
    assert compare(disk, manifest, unwanted="run_2") == (1, 5, [("run_1", ("output_1", "output_2"))])
    videos = Filters(types=frozenset({"videoUrl"}))
    assert compare(disk, manifest, videos) == (1, 5, [("run_1", ("output_2",)), ("run_2", ("output_2",))])


def test_a_run_that_was_named_is_asked_for_in_any_case(disk: Destination) -> None:
    """With --run-id a run is looked at again although nothing of it is missing."""
    write(disk, "run_1", output_1=b"12345")
    named = Filters(run_ids=frozenset({"run_1"}))
    assert compare(disk, memory(run_1={"output_1": archived(5)}), named) == (1, 5, [("run_1", ())])


@pytest.mark.parametrize("count", [499, 500, 501, 1001])
def test_however_many_runs_there_are(disk: Destination, count: int) -> None:
    """No run is left out and none is looked at twice, wherever a batch ends."""
    names = [f"run_{number}" for number in range(count)]
    manifest = memory(**{name: {"output_1": archived(5)} for name in names})
    assert compare(disk, manifest) == (0, 0, [(name, ("output_1",)) for name in names])


# --------------------------------------------------------------------------------------- in a large archive


@pytest.fixture
def _as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs are a large archive, of which two are looked into in each session; and time has passed."""
    monkeypatch.setattr("floradl.archiver.folder_cache.MIN_PART", 2)
    now_ns = Destination.moment_ns
    monkeypatch.setattr(Destination, "moment_ns", lambda disk: (now_ns(disk) or 0) + 10**10)


large = pytest.mark.usefixtures("_as_if_large")


class Nights:
    """A large archive that is compared night after night."""

    def __init__(self, disk: Destination, runs: int) -> None:
        self.disk = disk
        self.ids = [f"run_{number}" for number in range(1, runs + 1)]
        for run_id in self.ids:
            write(disk, run_id, output_1=b"12345")
            self.path(run_id, "run.json").write_bytes(b"{}")
        data = b"".join(
            memory(**{run_id: {"output_1": archived(5)} for run_id in self.ids}).encode(
                updated_at="then", base_url="u"
            )
        )
        disk.write_atomic(layout.MANIFEST, [data])

    def path(self, run_id: str, name: str = "output_1.png") -> Path:
        """A file of a run."""
        return self.disk.root / "ws_a/prj_b" / run_id / name

    def night(
        self, *ops: Op, filters: Filters | None = None, everything: bool = False, is_folded: bool = True
    ) -> tuple[int, int, list[str]]:
        """How many outputs are there, their bytes, and which runs are due; then `ops` are recorded."""
        return asyncio.run(self._night(ops, filters or Filters(), everything, is_folded))

    async def _night(
        self, ops: Iterable[Op], filters: Filters, everything: bool, is_folded: bool
    ) -> tuple[int, int, list[str]]:
        repository = Repository(self.disk, Clock())
        await repository.open()
        try:
            found = compare_repository(repository, self.disk, filters, lambda *_: True, everything=everything)
            await repository.append(ops)
            if is_folded:
                await repository.fold("u")
                keep_stamps(repository, self.disk, found.stamps)
        finally:
            await repository.close()
        return found.outputs, found.size_bytes, [missing.run_id for missing in found.missing_runs]

    def edit(self, run_id: str) -> None:
        """Write to a file in place, which does not change its folder's date."""
        with self.path(run_id).open("ab") as file:
            file.write(b"6")


@large
@pytest.mark.parametrize("damage", ["remove", "rename", "replace", "folder", "move", "link"])
def test_what_happens_to_a_name_is_noticed_the_next_night(disk: Destination, damage: str) -> None:
    """Whatever happened to the files and folders of runs, each run is due again the next night."""
    nights = Nights(disk, 6)
    for _ in range(2):
        assert nights.night() == (6, 30, [])
    for run_id in nights.ids:
        file = nights.path(run_id)
        match damage:
            case "remove":
                file.unlink()
            case "rename":
                file.rename(file.with_suffix(".PNG"))
            case "replace":
                (file.parent / "new").write_bytes(b"123456")
                (file.parent / "new").replace(file)
            case "folder":
                shutil.rmtree(file.parent)
            case "move":
                file.parent.rename(file.parent.with_name(f"{run_id}.away"))
            case _:
                file.unlink()
                file.symlink_to("run.json")
    for _ in range(2):
        assert nights.night() == (0, 0, nights.ids)


@large
def test_a_folder_above_that_is_gone_or_a_link(disk: Destination) -> None:
    """A project that was moved away is missing with all its runs; one that is a link now is refused."""
    nights = Nights(disk, 6)
    nights.night()
    project = disk.root / "ws_a/prj_b"
    project.rename(disk.root / "elsewhere")
    assert nights.night() == (0, 0, nights.ids)
    (disk.root / "elsewhere").rename(project)
    assert nights.night() == (6, 30, [])
    project.rename(disk.root / "elsewhere")
    project.symlink_to(disk.root / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        nights.night()


@large
def test_a_file_that_grew_in_place_is_noticed_when_its_run_has_its_turn(disk: Destination) -> None:
    """Only the file's size shows it: two of six runs are looked into each night, so three nights see all."""
    nights = Nights(disk, 6)
    nights.night()
    for run_id in nights.ids:
        nights.edit(run_id)
    assert nights.night() == (4, 20, nights.ids[:2])
    assert nights.night() == (2, 10, nights.ids[:4])
    assert nights.night() == (0, 0, nights.ids)


@large
def test_every_folder_has_its_turn_again(disk: Destination) -> None:
    """A folder that was looked into waits until all others were, whatever new runs come meanwhile."""
    nights = Nights(disk, 6)
    for _ in range(5):
        nights.night()
    nights.edit("run_3")
    facts = RunFacts("ws_a", "prj_b", "ws_a/prj_b/run_7", "t2i", 1, 2, None, "00")
    found = [nights.night(RunOp("run_7", facts))[2]] + [nights.night()[2] for _ in range(2)]
    assert ["run_3"] in found


@large
def test_a_full_walk_looks_into_every_folder(disk: Destination) -> None:
    """On the night of a full walk no stamp counts; folders that are right are stamped anew."""
    nights = Nights(disk, 6)
    nights.night()
    for run_id in nights.ids:
        nights.edit(run_id)
    assert nights.night(everything=True) == (0, 0, nights.ids)


@large
def test_what_is_not_just_as_recorded_is_looked_at_every_night(disk: Destination) -> None:
    """A file of another size, a failed output and a missing record: none of these runs is skipped."""
    nights = Nights(disk, 6)
    nights.edit("run_1")
    for run_id in nights.ids[2:]:
        nights.path(run_id, "run.json").unlink()
    nights.night(OutputOp("run_2", "output_2", FAILED))
    for _ in range(4):
        assert nights.night() == (5, 25, ["run_1", "run_2"])
    for run_id in nights.ids[2:]:
        nights.edit(run_id)
    assert nights.night() == (1, 5, nights.ids)


@large
@pytest.mark.parametrize("is_folded", [True, False], ids=["folded", "killed before the fold"])
def test_what_was_recorded_since_ends_a_stamp(disk: Destination, is_folded: bool) -> None:
    """An output that has failed since is tried again the next night, though its folder is as it was."""
    nights = Nights(disk, 6)
    for _ in range(2):
        nights.night()
    nights.night(OutputOp("run_6", "output_1", FAILED), is_folded=is_folded)
    for _ in range(2):
        assert nights.night() == (5, 25, ["run_6"])


@large
def test_an_older_manifest_put_back(disk: Destination) -> None:
    """An output that failed by the older manifest is due again, though a later one had it."""
    nights = Nights(disk, 6)
    nights.night(OutputOp("run_6", "output_2", FAILED))
    manifest = disk.root / layout.MANIFEST
    backup = shutil.copy2(manifest, disk.root / "backup")
    cured = OutputOp("run_6", "output_2", archived(5))
    nights.night(cured)
    assert nights.night() == (7, 35, [])
    shutil.copy2(backup, manifest)
    assert nights.night() == (6, 30, ["run_6"])


@large
@pytest.mark.parametrize("stamps", [None, b"", b"torn", "cut", "a folder", "a link"])
def test_stamps_that_are_lost_or_broken(disk: Destination, stamps: str | bytes | None) -> None:
    """Nothing depends on them: all is compared, and a link or folder in their place is left alone."""
    nights = Nights(disk, 6)
    nights.night()
    for run_id in nights.ids:
        nights.edit(run_id)
    file = disk.root / layout.STAMPS
    whole = file.read_bytes()
    file.unlink()
    match stamps:
        case bytes():
            file.write_bytes(stamps)
        case "cut":
            file.write_bytes(whole[:-1])
        case "a folder":
            file.mkdir()
        case "a link":
            (disk.root / "stamps").write_bytes(whole)
            file.symlink_to(disk.root / "stamps")
        case _:
            pass
    for _ in range(2):
        assert nights.night() == (0, 0, nights.ids)
    if stamps == "a link":
        assert (disk.root / "stamps").read_bytes() == whole


@large
def test_filters_see_through_stamps(disk: Destination) -> None:
    """A run that was named is asked for, stamped or not; the archive's size is of all of it."""
    nights = Nights(disk, 6)
    nights.night()
    named = Filters(run_ids=frozenset({"run_6"}))
    assert nights.night(filters=named) == (6, 30, ["run_6"])
    assert nights.night() == (6, 30, [])


def test_a_date_that_is_too_young(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was changed just now is not stamped: the next change could have the same date."""
    monkeypatch.setattr("floradl.archiver.folder_cache.MIN_PART", 2)
    nights = Nights(disk, 6)
    nights.night()
    assert not (disk.root / layout.STAMPS).exists()
    for run_id in nights.ids:
        nights.edit(run_id)
    assert nights.night() == (0, 0, nights.ids)


def test_a_file_system_that_does_not_date_folders(disk: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where folders' dates do not change, no stamp is made, and none counts."""
    monkeypatch.setattr("floradl.archiver.folder_cache.MIN_PART", 2)
    nights = Nights(disk, 6)
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "moment_ns", lambda _: time.time_ns() + 10**10)
        nights.night()
    for run_id in nights.ids:
        nights.edit(run_id)
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "moment_ns", lambda _: None)
        assert nights.night() == (0, 0, nights.ids)


def test_a_small_archive_has_no_stamps(disk: Destination) -> None:
    """Every folder is listed each night, and there is no file of stamps."""
    nights = Nights(disk, 6)
    nights.night()
    nights.edit("run_6")
    assert nights.night() == (5, 25, ["run_6"])
    assert not (disk.root / layout.STAMPS).exists()


@large
@pytest.mark.anyio
async def test_a_large_archive_that_is_not_folded_yet(disk: Destination) -> None:
    """Without a manifest.json, as after a first session that was killed, no stamp is valid or kept."""
    repository = Repository(disk, Clock())
    await repository.open()
    for run_id in ("run_1", "run_2", "run_3"):
        write(disk, run_id, output_1=b"12345")
        facts = RunFacts("ws_a", "prj_b", f"ws_a/prj_b/{run_id}", "t2i", 1, 2, None, "00")
        await repository.append([RunOp(run_id, facts), OutputOp(run_id, "output_1", archived(5))])
    (disk.root / layout.STAMPS).write_bytes(b"of another")
    found = compare_repository(repository, disk, Filters(), lambda *_: True, everything=False)
    keep_stamps(repository, disk, {"run_1": FolderStamp("ws_a/prj_b/run_1", 1, 2, 3, 1, 5)})
    await repository.close()
    assert (found.outputs, found.missing_runs) == (3, [])
    assert (disk.root / layout.STAMPS).read_bytes() == b"of another"

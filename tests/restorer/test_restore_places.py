"""`floradl restore` where something stands already: what is there is left alone, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floradl.simulator import Account, SimRun, generate_account, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived, assert_sound
from tests.support.small_disks import make_room
from tests.support.sound_archive import (
    PHOTO,
    PICTURE,
    SECOND,
    STORY,
    TEXT,
    Stage,
    assert_same,
    edit_manifest,
    restored,
    runs_of,
    tree_of,
    without_key,
)
from tests.support.zygote import floradl


def test_a_foreign_file_in_a_flat_folder(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A file of somebody's that has the name of an output is left alone and named."""
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "run_photo+output_1.png").write_text("mine")
    done = floradl(stage.sim, "restore", "--flat", dest, flat)
    assert done.returncode == 3
    assert "run_photo output_1: occupied" in done.stderr
    assert (flat / "run_photo+output_1.png").read_text() == "mine"


def test_no_flat_files_in_an_archive(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A flat restore refuses a folder that holds an archive, also one that is not folded yet."""
    other = stage.copy(tmp_path / "other")
    assert without_key(stage.sim, "restore", "--flat", dest, other).returncode == 2
    (other / "manifest.json").unlink()
    (other / ".floradl" / "journal").write_text("")
    assert without_key(stage.sim, "restore", "--flat", dest, other).returncode == 2


def test_one_folder_in_the_other(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """An archive is not restored into itself, into a folder within it or around it, by whatever name."""
    (tmp_path / "link").symlink_to(dest)
    before = tree_of(dest)
    for inner in (dest, dest / "new", dest / ".." / "out", tmp_path, tmp_path / "link" / "x"):
        assert without_key(stage.sim, "restore", dest, inner).returncode == 2
    assert tree_of(dest) == before


def test_links_in_the_target_are_not_followed(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Nothing is written through a link that somebody planted in the target."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "ws_a").symlink_to(tmp_path / "elsewhere")
    done = without_key(stage.sim, "restore", dest, tmp_path / "new")
    assert done.returncode == 1
    assert str(tmp_path / "new" / "ws_a") in done.stderr
    assert not list((tmp_path / "elsewhere").iterdir())


def test_occupied_places(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """What stands where a file belongs is left alone and named, and never recorded as the output."""
    new = tmp_path / "new"
    (new / SECOND).mkdir(parents=True)
    (new / TEXT).parent.mkdir(parents=True)
    (new / TEXT).write_text("mine")
    (new / STORY / "run.json").write_text("mine too")
    (dest / PICTURE).unlink()  # comes from FLORA, of the same run as one that is occupied
    done = floradl(stage.sim, "restore", dest, new)
    assert done.returncode == 3
    for item in ("run_photo output_2", "run_story output_1", "run_story run.json"):
        assert f"failed: {item}: occupied" in done.stderr
    assert (new / SECOND).is_dir()
    assert (new / TEXT).read_text() == "mine"
    assert (new / STORY / "run.json").read_text() == "mine too"
    assert (new / PICTURE).read_bytes() == (stage.sound / PICTURE).read_bytes()
    entries = runs_of(new)
    assert "output_2" not in entries["run_photo"]["outputs"]
    assert not entries["run_story"]["outputs"]


def test_into_an_archive_that_has_more(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Where the target knows a run already, what it knows stands: files, records, facts and entries."""
    new = stage.copy(tmp_path / "new")

    def forget(value: dict[str, Any]) -> None:
        photo = value["runs"]["run_photo"]
        photo["charged_cost"] = None
        photo["outputs"]["output_1"] = {"type": "imageUrl", "state": "failed"}
        photo["record_sha256"] = "0" * 64

    edit_manifest(dest, forget)
    (dest / PICTURE).unlink()
    before = tree_of(new, private=False)
    done = without_key(stage.sim, "restore", dest, new)
    assert done.returncode == 0, done.stderr
    assert tree_of(new, private=False) == before
    assert without_key(stage.sim, "verify", new).returncode == 0


def test_into_an_archive_with_other_bytes(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Other bytes that the target has archived under the same name are not replaced, and named."""
    new = stage.copy(tmp_path / "new")
    edit_manifest(dest, lambda m: m["runs"]["run_photo"]["outputs"]["output_1"].update(sha256="0" * 64))
    done = without_key(stage.sim, "restore", dest, new)
    assert done.returncode == 3
    assert "run_photo output_1: occupied" in done.stderr
    assert (new / PICTURE).read_bytes() == (stage.sound / PICTURE).read_bytes()
    assert runs_of(new) == runs_of(stage.sound)


def test_into_an_archive_with_the_run_elsewhere(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """A run that the target has in another project stays there, and gets there what it lacks."""
    account = make_moved(stage.account)
    with serve_in_thread(account) as sim:
        assert floradl(sim, tmp_path / "new").returncode == 0
    moved = tmp_path / "new/ws_b/prj_b/run_photo"
    (moved / "output_1.png").unlink()
    (moved / "run.json").unlink()
    restored(stage, "--run-id", "run_photo", dest, tmp_path / "new")
    assert (moved / "output_1.png").read_bytes() == (stage.sound / PICTURE).read_bytes()
    assert not (tmp_path / "new" / PHOTO).exists()
    assert without_key(stage.sim, "verify", tmp_path / "new").returncode == 0


def test_into_the_archive_of_another_account(stage: Stage, dest: Path, tmp_path: Path) -> None:
    """Two accounts' runs live in one archive, and both stay sound."""
    with serve_in_thread(generate_account(6, seed=77)) as other:
        assert floradl(other, tmp_path / "new").returncode == 0
        restored(stage, dest, tmp_path / "new")
        assert_archived(tmp_path / "new", stage.account, completed(stage.account))
        assert_archived(tmp_path / "new", other.account, completed(other.account))
    assert_sound(tmp_path / "new")


def test_a_full_disk(stage: Stage, dest: Path, small_disk: Path) -> None:
    """A full disk ends it with exit code 1 and the folder's name; with room the same command completes."""
    done = without_key(stage.sim, "restore", dest, small_disk / "new")
    assert done.returncode == 1
    assert str(small_disk / "new") in done.stderr
    assert_sound(small_disk / "new")
    make_room(small_disk)
    restored(stage, dest, small_disk / "new")
    assert_same(small_disk / "new", dest)


def make_moved(account: Account) -> Account:
    """An account that has one run of another, in a project of its own."""
    run = account.get("run_photo")
    copy = SimRun("run_photo", "ws_b", "prj_b", created_at=run.created_at, outputs=run.outputs)
    return Account("sk_live_moved", [copy])

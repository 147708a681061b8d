"""The table of damages: each row damages an archive, and says what `verify` finds and `repair` keeps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.damages import (
    add,
    both,
    change_output,
    change_upload,
    cut,
    drop_entry,
    everything,
    fail_output,
    failed_op,
    header,
    line,
    lose_both,
    lose_manifest,
    manifest_size,
    move,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
    write_journal,
)
from tests.support.sound_archive import (
    BOX,
    CANVAS,
    DIAGRAM,
    FILM,
    LATER,
    LOOSE,
    LOOSE_UPLOAD,
    NODES,
    PHOTO,
    PICTURE,
    PROJECT,
    SECOND,
    STORY,
    TEXT,
    UPLOAD,
    edit_manifest,
    flip_bit,
)

SUMS = "bad_checksums SHA256SUMS"


@dataclass(frozen=True)
class Damage:
    """One row of the table.

    Attributes:
        name: what happened, in words.
        do: damages the archive in a folder.
        found: all findings of a check, each as `kind path`.
        kept: the names in `.floradl/aside/` after the repair.
        stays: the strays that a check finds after the repair, when they are others than before.
    """

    name: str
    do: Callable[[Path], object]
    found: tuple[str, ...]
    kept: tuple[str, ...] = ()
    stays: tuple[str, ...] | None = None

    @property
    def exit(self) -> int:
        """The exit code of the check; strays alone are no fault."""
        return 3 if any(not item.startswith("stray ") for item in self.found) else 0

    @property
    def strays(self) -> list[str]:
        """The findings that a repair leaves alone."""
        if self.stays is not None:
            return sorted(self.stays)
        return sorted(item for item in self.found if item.startswith("stray "))


def gone(folder: str, *files: str) -> tuple[str, ...]:
    """The findings when a run's folder was replaced by something else."""
    return (f"not_a_file {folder}", f"no_record {folder}/run.json", *(f"missing {folder}/{f}" for f in files))


PHOTO_GONE = gone(PHOTO, "output_1.png", "output_2.png")

BOX_GONE = (f"not_a_file {BOX}", f"no_record {BOX}/asset.json", f"missing {UPLOAD}")

FILES = (
    Damage("a file is missing", lambda d: (d / PICTURE).unlink(), (f"missing {PICTURE}",)),
    Damage("a text is missing", lambda d: (d / TEXT).unlink(), (f"missing {TEXT}",)),
    Damage("a run's folder is missing", lambda d: shutil.rmtree(d / PHOTO),
           (f"missing {PICTURE}", f"missing {SECOND}", f"no_record {PHOTO}/run.json")),
    Damage("a file is empty", lambda d: cut(d / PICTURE, 0), (f"empty {PICTURE}",)),
    Damage("a file is half", lambda d: cut(d / PICTURE, 4000), (f"truncated {PICTURE}",)),
    Damage("a file lacks its last byte", lambda d: cut(d / PICTURE, 9007), (f"truncated {PICTURE}",)),
    Damage("a bit of a file is changed", lambda d: flip_bit(d / PICTURE), (f"changed {PICTURE}",)),
    Damage("a bit of a text is changed", lambda d: flip_bit(d / TEXT), (f"changed {TEXT}",)),
    Damage("a file is longer", lambda d: cut(d / PICTURE, 9100), (f"changed {PICTURE}",)),
    Damage("a link instead of a file", lambda d: replace_by_link(d / PICTURE), (f"not_a_file {PICTURE}",),
           kept=("run_photo+output_1.png",)),
    Damage("a folder instead of a file", lambda d: replace_by_folder(d / PICTURE), (f"not_a_file {PICTURE}",),
           kept=("run_photo+output_1.png",)),
    Damage("a pipe instead of a file", lambda d: replace_by_pipe(d / PICTURE), (f"not_a_file {PICTURE}",),
           kept=("run_photo+output_1.png",)),
    Damage("a pipe instead of a text", lambda d: replace_by_pipe(d / TEXT), (f"not_a_file {TEXT}",),
           kept=("run_story+output_1.txt",)),
    Damage("a link instead of a run's folder", lambda d: replace_by_link(d / PHOTO), PHOTO_GONE,
           kept=("prj_a+run_photo",)),
    Damage("a file instead of a run's folder",
           both(lambda d: shutil.rmtree(d / PHOTO), lambda d: add(d, PHOTO)), PHOTO_GONE,
           kept=("prj_a+run_photo",)),
)  # fmt: skip

EMPTY = ("stray ws_a/prj_b/run_photo",)

PLACES = (
    Damage("a file under another name", lambda d: move(d, PICTURE, f"{PHOTO}/boat.png"),
           (f"misplaced {PICTURE}",)),
    Damage("a file in another run's folder", lambda d: move(d, PICTURE, f"{FILM}/output_1.png"),
           (f"misplaced {PICTURE}",)),
    Damage("a file at the top", lambda d: move(d, PICTURE, "output_1.png"), (f"misplaced {PICTURE}",)),
    Damage("a file in a folder of mine", lambda d: move(d, PICTURE, "mine/boat.png"),
           (f"misplaced {PICTURE}",)),
    Damage("a copy elsewhere and half of a file", both(lambda d: move(d, PICTURE, "boat.png"),
           lambda d: add(d, PICTURE)), (f"misplaced {PICTURE}",), kept=("run_photo+output_1.png",)),
    Damage("a run's folder in another project", lambda d: move(d, PHOTO, "ws_a/prj_b/run_photo"),
           (f"misplaced {PICTURE}", f"misplaced {SECOND}", f"misplaced {PHOTO}/run.json"),
           stays=EMPTY),
    Damage("a run's folder at the top", lambda d: move(d, PHOTO, "run_photo"),
           (f"misplaced {PICTURE}", f"misplaced {SECOND}", f"misplaced {PHOTO}/run.json")),
    Damage("a run's folder moved and a link left", both(lambda d: move(d, PHOTO, "ws_a/prj_b/run_photo"),
           lambda d: (d / PHOTO).symlink_to("../prj_b/run_photo")),
           (f"not_a_file {PHOTO}", f"misplaced {PICTURE}", f"misplaced {SECOND}",
            f"misplaced {PHOTO}/run.json"), kept=("prj_a+run_photo",), stays=EMPTY),
    Damage("a file where no check looks",
           lambda d: move(d, PICTURE, f"{PHOTO}/deep/output_1.png"),
           (f"missing {PICTURE}", f"stray {PHOTO}/deep")),
    Damage("strays everywhere",
           lambda d: add(d, "a.txt", "ws_a/b.txt", f"{PROJECT}/c.txt", f"{PHOTO}/d.txt", "x/y/e.txt"),
           ("stray a.txt", "stray ws_a/b.txt", f"stray {PROJECT}/c.txt", f"stray {PHOTO}/d.txt",
            "stray x/y/e.txt")),
    Damage("strays that look like ours",
           both(lambda d: add(d, "ws_a/prj_a/run_other/output_1.png", "x/y/z/run.json/mine.txt",
                              "manifest.json.bak"), lambda d: (d / "a" / "b" / "c").mkdir(parents=True)),
           (f"stray {PROJECT}/run_other/output_1.png", "stray x/y/z/run.json", "stray manifest.json.bak",
            "stray a/b/c")),
    Damage("a stray link", lambda d: (d / "to-the-root").symlink_to("/"), ("stray to-the-root",)),
    Damage("a copy of a run's folder", lambda d: shutil.copytree(d / PHOTO, d / "ws_a/prj_b/run_photo"),
           tuple(f"stray ws_a/prj_b/run_photo/{n}" for n in ("output_1.png", "output_2.png", "run.json"))),
    Damage("what systems leave behind", lambda d: add(d, ".DS_Store", f"{PHOTO}/Thumbs.db"), ()),
)  # fmt: skip

RECORD = ("run_photo+run.json",)

ENTRIES = (
    Damage("an entry without its file's name", lambda d: change_output(d, file=None),
           (f"bad_entry {PHOTO}", f"stray {PICTURE}", SUMS), stays=()),
    Damage("an entry that names a file far away", lambda d: change_output(d, file="../../../x"),
           ("bad_manifest manifest.json",), kept=("manifest.json",)),
    Damage("an entry without a hash", lambda d: change_output(d, sha256=None),
           (f"bad_entry {PHOTO}", SUMS), kept=("run_photo+output_1.png",)),
    Damage("an entry with another place",
           lambda d: edit_manifest(d, lambda m: m["runs"]["run_photo"].update(path="ws_a/elsewhere")),
           (f"bad_entry {PHOTO}",)),
    Damage("an entry with another hash", lambda d: change_output(d, sha256="0" * 64),
           (f"changed {PICTURE}", SUMS), kept=("run_photo+output_1.png",)),
    Damage("an entry of something that is none",
           lambda d: edit_manifest(d, lambda m: m["runs"].update(run_photo={"outputs": []})),
           ("bad_manifest manifest.json",), kept=("manifest.json",)),
    Damage("an output that failed", lambda d: fail_output(d, with_file=False), (f"failed {PHOTO}", SUMS)),
    Damage("an output that failed, and its file", lambda d: fail_output(d, with_file=True),
           (f"failed {PHOTO}", f"unrecorded {PICTURE}", SUMS)),
    Damage("a run that no entry knows", lambda d: edit_manifest(d, lambda m: m["runs"].pop("run_photo")),
           (f"unrecorded {PHOTO}", SUMS)),
    Damage("no run.json", lambda d: (d / PHOTO / "run.json").unlink(), (f"no_record {PHOTO}/run.json",)),
    Damage("another run.json", lambda d: (d / PHOTO / "run.json").write_text("{}"),
           (f"bad_record {PHOTO}/run.json",), kept=RECORD),
    Damage("an empty run.json", lambda d: cut(d / PHOTO / "run.json", 0), (f"bad_record {PHOTO}/run.json",),
           kept=RECORD),
    Damage("a bit of run.json is changed", lambda d: flip_bit(d / PHOTO / "run.json"),
           (f"bad_record {PHOTO}/run.json",), kept=RECORD),
    Damage("a folder instead of run.json", lambda d: replace_by_folder(d / PHOTO / "run.json"),
           (f"no_record {PHOTO}/run.json",), kept=RECORD),
    Damage("a link instead of run.json", lambda d: replace_by_link(d / PHOTO / "run.json"),
           (f"no_record {PHOTO}/run.json",), kept=RECORD),
)  # fmt: skip

OLD = ("manifest.json",)

MANIFEST = "bad_manifest manifest.json"

JOURNAL = "bad_journal .floradl/journal"

MANIFESTS = (
    Damage("no manifest.json", lose_manifest, (MANIFEST,)),
    Damage("an empty manifest.json", lambda d: cut(d / "manifest.json", 0), (MANIFEST,),
           kept=OLD),
    Damage("the first line of manifest.json", lambda d: cut(d / "manifest.json", 20), (MANIFEST,),
           kept=OLD),
    Damage("a half of manifest.json", lambda d: cut(d / "manifest.json", manifest_size(d) // 2), (MANIFEST,),
           kept=OLD),
    Damage("manifest.json without its end",
           lambda d: cut(d / "manifest.json", manifest_size(d) - 3), (MANIFEST,),
           kept=OLD),
    Damage("garbage instead of manifest.json", lambda d: (d / "manifest.json").write_bytes(b"\xff\x00" * 500),
           (MANIFEST,), kept=OLD),
    Damage("a list instead of manifest.json", lambda d: (d / "manifest.json").write_text("[]"), (MANIFEST,),
           kept=OLD),
    Damage("other JSON instead of manifest.json", lambda d: (d / "manifest.json").write_text('{"a": 1}'),
           (MANIFEST,),
           kept=OLD),
    Damage("a folder instead of manifest.json", lambda d: replace_by_folder(d / "manifest.json"),
           (MANIFEST,), kept=("manifest.json",)),
    Damage("a link instead of manifest.json", lambda d: replace_by_link(d / "manifest.json"),
           (MANIFEST,), kept=("manifest.json",)),
    Damage("no manifest.json and a file less", both(lose_manifest, lambda d: (d / PICTURE).unlink()),
           (MANIFEST, f"missing {PICTURE}")),
    Damage("no manifest.json and a bit less", both(lose_manifest, lambda d: flip_bit(d / PICTURE)),
           (MANIFEST, f"changed {PICTURE}")),
    Damage("neither manifest.json nor SHA256SUMS", lose_both, (MANIFEST,)),
    Damage("neither of both, and a file less", both(lose_both, lambda d: (d / PICTURE).unlink()),
           (MANIFEST, f"failed {PHOTO}")),
    Damage("neither of both, and a text changed", both(lose_both, lambda d: cut(d / TEXT, 9)),
           (MANIFEST, f"truncated {TEXT}")),
    Damage("neither of both, and a page instead of a film",
           both(lose_both, lambda d: (d / FILM / "output_1.mp4").write_text("<!doctype html><title>404")),
           (MANIFEST, f"failed {FILM}", f"stray {FILM}/output_1.mp4"), kept=("run_film+output_1.mp4",),
           stays=()),
    Damage("no SHA256SUMS", lambda d: (d / "SHA256SUMS").unlink(), (SUMS,)),
    Damage("an empty SHA256SUMS", lambda d: cut(d / "SHA256SUMS", 0), (SUMS,)),
    Damage("a changed SHA256SUMS", lambda d: flip_bit(d / "SHA256SUMS"), (SUMS,)),
    Damage("a link instead of SHA256SUMS", lambda d: replace_by_link(d / "SHA256SUMS"), (SUMS,),
           kept=("SHA256SUMS",)),
    Damage("a folder instead of SHA256SUMS", lambda d: replace_by_folder(d / "SHA256SUMS"), (SUMS,),
           kept=("SHA256SUMS",)),
    Damage("a journal of another archive", lambda d: write_journal(d, header(d, "f" * 32), failed_op(d)),
           (JOURNAL,), kept=(".floradl+journal",)),
    Damage("a line in the journal that says nothing we know",
           lambda d: write_journal(d, header(d), line({"op": "dance"}), failed_op(d)),
           (JOURNAL,), kept=(".floradl+journal",)),
    Damage("a torn line in the middle of the journal",
           lambda d: write_journal(d, header(d), b"0000 torn\n", failed_op(d)),
           (JOURNAL,), kept=(".floradl+journal",)),
    Damage("garbage instead of a journal", lambda d: write_journal(d, b"no\n" * 99), (JOURNAL,),
           kept=(".floradl+journal",)),
    Damage("a torn line at the journal's end", lambda d: write_journal(d, header(d), failed_op(d)[:-9]), ()),
    Damage("a journal that waits", lambda d: write_journal(d, header(d), failed_op(d)),
           (f"failed {PHOTO}", f"unrecorded {SECOND}")),
    Damage("a broken manifest.json and a journal that says little of a run",
           both(lambda d: write_journal(d, header(d), failed_op(d)), lambda d: cut(d / "manifest.json", 0)),
           (MANIFEST, f"failed {PHOTO}", f"unrecorded {SECOND}"), kept=(".floradl+journal", *OLD)),
    Damage("everything at once", everything,
           (MANIFEST, JOURNAL, f"missing {PICTURE}", f"changed {SECOND}", f"truncated {FILM}/output_1.mp4",
            f"not_a_file {TEXT}", f"no_record {STORY}/run.json", "stray mine.txt"),
           kept=(".floradl+journal", "manifest.json", "run_story+output_1.txt")),
)  # fmt: skip

ASSET_RECORD = ("asset_box+asset.json",)

ASSETS = (
    Damage("an upload is missing", lambda d: (d / UPLOAD).unlink(), (f"missing {UPLOAD}",)),
    Damage("an upload of no project is missing", lambda d: (d / LOOSE_UPLOAD).unlink(),
           (f"missing {LOOSE_UPLOAD}",)),
    Damage("an upload's folder is missing", lambda d: shutil.rmtree(d / BOX),
           (f"missing {UPLOAD}", f"no_record {BOX}/asset.json")),
    Damage("all uploads of a project are missing", lambda d: shutil.rmtree(d / BOX.rpartition("/")[0]),
           (f"missing {UPLOAD}", f"no_record {BOX}/asset.json")),
    Damage("all uploads of no project are missing", lambda d: shutil.rmtree(d / "ws_a/_workspace"),
           (f"missing {LOOSE_UPLOAD}", f"no_record {LOOSE}/asset.json")),
    Damage("an upload is empty", lambda d: cut(d / UPLOAD, 0), (f"empty {UPLOAD}",)),
    Damage("an upload is half", lambda d: cut(d / UPLOAD, 4000), (f"truncated {UPLOAD}",)),
    Damage("a bit of an upload is changed", lambda d: flip_bit(d / UPLOAD), (f"changed {UPLOAD}",)),
    Damage("a folder instead of an upload", lambda d: replace_by_folder(d / UPLOAD),
           (f"not_a_file {UPLOAD}",), kept=("asset_box+asset_box.png",)),
    Damage("a link instead of an upload's folder", lambda d: replace_by_link(d / BOX), BOX_GONE,
           kept=("assets+asset_box",)),
    Damage("a link instead of the folder of uploads",
           lambda d: replace_by_link(d / BOX.rpartition("/")[0]), BOX_GONE, kept=("prj_a+assets",)),
    Damage("an upload under another name", lambda d: move(d, UPLOAD, f"{BOX}/box.png"),
           (f"misplaced {UPLOAD}",)),
    Damage("an upload's folder where uploads of no project are",
           lambda d: move(d, BOX, "ws_a/_workspace/assets/asset_box"),
           (f"misplaced {UPLOAD}", f"misplaced {BOX}/asset.json"),
           stays=("stray ws_a/_workspace/assets/asset_box",)),
    Damage("an upload's folder among runs", lambda d: move(d, BOX, f"{PROJECT}/asset_box"),
           (f"misplaced {UPLOAD}", f"misplaced {BOX}/asset.json"), stays=(f"stray {PROJECT}/asset_box",)),
    Damage("no asset.json", lambda d: (d / BOX / "asset.json").unlink(), (f"no_record {BOX}/asset.json",)),
    Damage("no asset.json of no project", lambda d: (d / LOOSE / "asset.json").unlink(),
           (f"no_record {LOOSE}/asset.json",)),
    Damage("another asset.json", lambda d: (d / BOX / "asset.json").write_text("{}"),
           (f"bad_record {BOX}/asset.json",), kept=ASSET_RECORD),
    Damage("a run.json beside an asset.json", lambda d: add(d, f"{BOX}/run.json", f"{BOX}/canvas.json"),
           (f"stray {BOX}/run.json", f"stray {BOX}/canvas.json")),
    Damage("strays among uploads",
           lambda d: add(d, f"{PROJECT}/assets/a.txt", f"{PROJECT}/assets/mine/a.txt", f"{BOX}/mine/a.txt",
                         "ws_a/_workspace/mine.txt", "ws_a/_workspace/mine/b.txt", "ws_a/assets/b.txt"),
           (f"stray {PROJECT}/assets/a.txt", f"stray {PROJECT}/assets/mine/a.txt", f"stray {BOX}/mine",
            "stray ws_a/_workspace/mine.txt", "stray ws_a/_workspace/mine/b.txt", "stray ws_a/assets/b.txt")),
    Damage("an upload that no entry knows", lambda d: drop_entry(d, "assets", "asset_box"),
           (f"unrecorded {BOX}", SUMS)),
    Damage("an upload of no project that no entry knows", lambda d: drop_entry(d, "assets", "asset_loose"),
           (f"unrecorded {LOOSE}", SUMS)),
    Damage("no uploads in manifest.json", lambda d: edit_manifest(d, lambda m: m.pop("assets")),
           (f"unrecorded {BOX}", f"unrecorded {LOOSE}", SUMS)),
    Damage("an upload's entry names another place",
           lambda d: edit_manifest(d, lambda m: m["assets"]["asset_box"].update(path=PHOTO)),
           (f"bad_entry {BOX}",)),
    Damage("an upload's entry names another file", lambda d: change_upload(d, file="asset_loose.png"),
           (f"bad_entry {BOX}", f"stray {UPLOAD}", SUMS), stays=()),
    Damage("an upload that failed",
           both(lambda d: change_upload(d, state="failed"), lambda d: (d / UPLOAD).unlink()),
           (f"failed {BOX}", SUMS)),
    Damage("no manifest.json and an upload less", both(lose_manifest, lambda d: (d / UPLOAD).unlink()),
           (MANIFEST, f"missing {UPLOAD}")),
    Damage("no manifest.json and an upload changed",
           both(lose_manifest, lambda d: flip_bit(d / LOOSE_UPLOAD)),
           (MANIFEST, f"changed {LOOSE_UPLOAD}")),
    Damage("neither of both, and an upload less", both(lose_both, lambda d: (d / UPLOAD).unlink()),
           (MANIFEST, f"failed {BOX}")),
    Damage("neither of both, and half an upload", both(lose_both, lambda d: cut(d / LOOSE_UPLOAD, 4000)),
           (MANIFEST, f"failed {LOOSE}", f"stray {LOOSE_UPLOAD}"),
           kept=("asset_loose+asset_loose.png",), stays=()),
)  # fmt: skip

CANVASES = (
    Damage("a snapshot under another name", lambda d: move(d, DIAGRAM, f"{CANVAS}/old.mmd"),
           (f"misplaced {DIAGRAM}",)),
    Damage("a canvas's folder at the top", lambda d: move(d, CANVAS, "canvas"),
           (f"misplaced {DIAGRAM}", f"misplaced {NODES}", f"misplaced {LATER}")),
    Damage("a canvas that no entry knows", lambda d: drop_entry(d, "canvases", "prj_a"),
           (f"unrecorded {CANVAS}", SUMS)),
    Damage("a snapshot that no entry knows", lambda d: drop_entry(d, "canvases", "prj_a", Path(LATER).stem),
           (f"unrecorded {LATER}", SUMS)),
    Damage("strays beside snapshots",
           lambda d: add(d, f"{CANVAS}/mine.mmd", f"{CANVAS}/20261120t023000z-canvas.json",
                         f"{CANVAS}/20261122T023000z-nodes.json", f"{CANVAS}/run.json",
                         f"{CANVAS}/20261122t023000z-canvas.mmd/mine.txt",
                         f"{PROJECT}/20261122t023000z-nodes.json"),
           tuple(f"stray {name}" for name in
                 (f"{CANVAS}/mine.mmd", f"{CANVAS}/20261120t023000z-canvas.json", f"{CANVAS}/run.json",
                  f"{CANVAS}/20261122T023000z-nodes.json", f"{CANVAS}/20261122t023000z-canvas.mmd",
                  f"{PROJECT}/20261122t023000z-nodes.json"))),
    Damage("an empty snapshot that no entry knows",
           lambda d: (d / CANVAS / "20261122t023000z-canvas.mmd").write_text(""),
           (f"stray {CANVAS}/20261122t023000z-canvas.mmd",)),
    Damage("a folder called canvas in another project", lambda d: add(d, "ws_a/prj_b/canvas/mine.mmd"),
           ("stray ws_a/prj_b/canvas/mine.mmd",)),
    Damage("what a canvas says of a run is gone", lambda d: (d / FILM / "canvas.json").unlink(), ()),
    Damage("a folder in the place of what a canvas says of a run",
           lambda d: replace_by_folder(d / FILM / "canvas.json"), (f"stray {FILM}/canvas.json",)),
)  # fmt: skip

DAMAGES = (*FILES, *PLACES, *ENTRIES, *MANIFESTS, *ASSETS, *CANVASES)

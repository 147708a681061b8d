"""Ways to damage an archive on disk: each function makes one kind of damage."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.archives import manifest
from tests.support.sound_archive import (
    FILM,
    PICTURE,
    SECOND,
    STORY,
    TEXT,
    edit_manifest,
    flip_bit,
    runs_of,
)


def cut(path: Path, size_bytes: int) -> None:
    """Truncate a file to a number of bytes."""
    os.truncate(path, size_bytes)


def replace_by_link(path: Path) -> None:
    """Move a file or folder out of the archive, and leave a link to it."""
    elsewhere = path.parents[len(path.parts) - 1 - path.parts.index("out")] / "moved" / path.name
    elsewhere.parent.mkdir(exist_ok=True)
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def replace_by_folder(path: Path) -> None:
    """Put a folder with a file in it where a file was."""
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def replace_by_pipe(path: Path) -> None:
    """Put a named pipe where a file was."""
    path.unlink()
    os.mkfifo(path)


def move(dest: Path, source: str, target: str) -> None:
    """Move a file or folder within the archive."""
    (dest / target).parent.mkdir(parents=True, exist_ok=True)
    (dest / source).rename(dest / target)


def add(dest: Path, *paths: str) -> None:
    """Add files that belong to no entry."""
    for path in paths:
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        (dest / path).write_text("mine")


def change_output(dest: Path, **fields: object) -> None:
    """Change fields of the picture's entry; None removes a field."""

    def edit(value: dict[str, Any]) -> None:
        outputs = value["runs"]["run_photo"]["outputs"]
        entry = outputs["output_1"] | fields
        outputs["output_1"] = {name: field for name, field in entry.items() if field is not None}

    edit_manifest(dest, edit)


def fail_output(dest: Path, *, with_file: bool) -> None:
    """Let the picture's entry say that it failed."""
    error = {"code": "http_404", "message": "the host said no", "at": "2026-11-01T00:00:00Z"}
    change_output(dest, state="failed", file=None, sha256=None, size_bytes=None, error=error)
    if not with_file:
        (dest / PICTURE).unlink()


def line(value: object) -> bytes:
    """A whole line of a journal."""
    body = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def header(dest: Path, archive_id: str = "") -> bytes:
    """The first line of an archive's journal."""
    known = manifest(dest)
    return line(
        {
            "op": "journal",
            "version": 1,
            "archive_id": archive_id or known["archive_id"],
            "created_at": known["created_at"],
        }
    )


def write_journal(dest: Path, *lines: bytes) -> None:
    """Write a journal of these lines."""
    (dest / ".floradl" / "journal").write_bytes(b"".join(lines))


def failed_op(dest: Path) -> bytes:
    """A journal's line that says the second picture failed."""
    assert runs_of(dest)
    return line(
        {
            "op": "output",
            "run_id": "run_photo",
            "key": "output_2",
            "entry": {"type": "imageUrl", "state": "failed"},
        }
    )


def everything(dest: Path) -> None:
    """Many damages at once. What is left of `manifest.json` still has a line for every run."""
    (dest / PICTURE).unlink()
    flip_bit(dest / SECOND)
    cut(dest / FILM / "output_1.mp4", 100)
    replace_by_pipe(dest / TEXT)
    (dest / STORY / "run.json").unlink()
    cut(dest / "manifest.json", manifest_size(dest) - 3)
    (dest / "SHA256SUMS").unlink()
    write_journal(dest, header_of_nobody())
    add(dest, "mine.txt")


def manifest_size(dest: Path) -> int:
    """The size of `manifest.json` in bytes."""
    return (dest / "manifest.json").stat().st_size


def header_of_nobody() -> bytes:
    """The first line of another archive's journal."""
    return line({"op": "journal", "version": 1, "archive_id": "f" * 32, "created_at": "2026-01-01T00:00:00Z"})


def lose_manifest(dest: Path) -> None:
    """Remove `manifest.json`."""
    (dest / "manifest.json").unlink()


def lose_both(dest: Path) -> None:
    """Remove `manifest.json` and `SHA256SUMS`."""
    lose_manifest(dest)
    (dest / "SHA256SUMS").unlink()


def both(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    """Do one damage after another."""

    def do(dest: Path) -> None:
        for step in steps:
            step(dest)

    return do


def drop_entry(dest: Path, table: str, identifier: str, key: str = "") -> None:
    """Remove the entry of an asset or a canvas, or of one of its outputs."""

    def edit(value: dict[str, Any]) -> None:
        if key:
            del value[table][identifier]["outputs"][key]
        else:
            del value[table][identifier]

    edit_manifest(dest, edit)


def change_upload(dest: Path, **fields: object) -> None:
    """Change fields of the uploaded file's entry."""
    edit_manifest(dest, lambda m: m["assets"]["asset_box"]["outputs"]["asset_box"].update(fields))

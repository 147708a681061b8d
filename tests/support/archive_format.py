"""An archive as docs/format.md describes it, read and checked with none of floradl's modules.

What floradl wrote is judged here by the words of the format alone, so that a mistake in how floradl reads
cannot hide one in how it writes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

RECORDS = {"run.json", "asset.json", "canvas.json", "project.json", "workspace.json"}
"""Files that a newer one may replace: they are whole where they are JSON."""

_TABLES = ("runs", "assets", "canvases")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def journal_changes(dest: Path) -> Iterator[dict[str, Any]]:
    """The changes in the journal, up to the first line that is not whole."""
    journal = dest / ".floradl" / "journal"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    for line in lines:
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            return
        yield json.loads(text)


def read_entries(dest: Path) -> dict[str, dict[str, Any]]:
    """The entries of runs, assets and canvases, by id: those of the manifest, changed as the journal says."""
    entries: dict[str, dict[str, Any]] = {}
    if (dest / "manifest.json").exists():
        manifest = json.loads((dest / "manifest.json").read_bytes())
        assert (manifest["format"], manifest["version"]) == ("floradl-manifest", 2)
        for table in _TABLES:
            entries |= manifest.get(table, {})
    for change in journal_changes(dest):
        match change["op"]:
            case "run":
                known = entries.get(change["run_id"], {})
                entries[change["run_id"]] = {"outputs": {}} | known | change["facts"]
            case "output":
                entries[change["run_id"]]["outputs"][change["key"]] = change["entry"]
            case "labels":
                entries[change["run_id"]]["labels_sha256"] = change["sha256"]
    return entries


def archived_outputs(entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The archived outputs, each by its path relative to the archive."""
    return {
        f"{entry['path']}/{output['file']}": output
        for entry in entries.values()
        for output in entry["outputs"].values()
        if output["state"] == "archived"
    }


def assert_entries_hold(dest: Path, *, but: Collection[str] = ()) -> dict[str, str]:
    """Assert that each entry names a file with the size and hash that it states, the paths in `but` apart.

    A record that is not the recorded one must be a whole one: a newer record gets its name before its hash is
    in the journal.

    Returns:
        the SHA-256 of each archived output, by its path.
    """
    entries = read_entries(dest)
    outputs = archived_outputs(entries)
    for path, output in outputs.items():
        if path in but:
            continue
        assert (dest / path).is_file(), f"{path} is recorded, and not there"
        size_bytes = (dest / path).stat().st_size
        assert size_bytes == output["size_bytes"], f"{path} is recorded with another size than {size_bytes}"
        assert sha256_of(dest / path) == output["sha256"], f"{path} is recorded with another hash"
    for entry in entries.values():
        for name, key in _records_of(entry):
            path = f"{entry['path']}/{name}"
            if path not in but:
                assert (dest / path).is_file(), f"{path} is recorded, and not there"
                assert sha256_of(dest / path) == entry[key] or _is_json(dest / path), f"{path} is torn"
    return {path: output["sha256"] for path, output in outputs.items()}


def _records_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files beside the outputs of which an entry has the hash, and its key for each."""
    if entry.get("record_sha256"):
        yield ("asset.json" if entry.get("kind") == "asset" else "run.json"), "record_sha256"
    if entry.get("labels_sha256"):
        yield "canvas.json", "labels_sha256"


def final_files(dest: Path) -> dict[str, str]:
    """The SHA-256 of each file that has a final name, by its path."""
    return {
        path.relative_to(dest).as_posix(): sha256_of(path)
        for path in dest.rglob("*")
        if path.is_file() and path.relative_to(dest).parts[0] != ".floradl"
    }


def assert_final_names_whole(dest: Path, whole: Collection[str], *, but: Collection[str] = ()) -> None:
    """Assert that no final name has torn, empty or foreign bytes.

    Args:
        dest: the archive.
        whole: the SHA-256 of each file that may be there, records and lists apart.
        but: paths that are not looked at.
    """
    for path, sha256 in final_files(dest).items():
        name = path.rpartition("/")[2]
        if path in but or sha256 in whole:
            continue
        if path == "SHA256SUMS":
            _assert_sums_hold(dest, but)
        else:
            assert name in RECORDS or path == "manifest.json", f"{path} has bytes that FLORA does not have"
            assert _is_json(dest / path), f"{path} is torn"


def _assert_sums_hold(dest: Path, but: Collection[str]) -> None:
    text = (dest / "SHA256SUMS").read_text(encoding="utf-8")
    assert text.endswith("\n"), "SHA256SUMS is torn"
    for line in text.splitlines():
        sha256, path = line.split("  ", 1)
        assert path in but or sha256_of(dest / path) == sha256, f"SHA256SUMS has another hash of {path}"


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


def assert_nothing_left_over(dest: Path, aside: Collection[str] = ()) -> None:
    """Assert that floradl's own folder has no journal, no partial and no temporary file.

    Args:
        dest: the archive.
        aside: the SHA-256 of each file that a repair may have set aside.
    """
    own = dest / ".floradl"
    left = {path.relative_to(own).as_posix(): path for path in own.rglob("*") if path.is_file()}
    for name in ("lock", "verified.json"):
        left.pop(name, None)
    left = {
        name: path
        for name, path in left.items()
        if not (path in set_aside(dest) and sha256_of(path) in aside)
    }
    assert not left, f"left over: {sorted(left)}"


def set_aside(dest: Path) -> list[Path]:
    """What repairs set aside."""
    return [path for path in (dest / ".floradl" / "aside").rglob("*") if path.is_file()]

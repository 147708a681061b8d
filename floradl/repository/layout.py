"""Where everything stands in an archive: pure functions from ids to paths.

Ids come from outside and may hold anything. Every function here gives the same name for the same id,
different names for different ids, and only names that Linux, macOS and Windows all accept and keep apart,
also on file systems that ignore case or Unicode forms:

- An ordinary id (lower-case ASCII letters, digits, `_`, `-`, inner dots; at most 80 characters; no
  Windows device name; no name that the archive uses itself) stays as it is.
- An id that is ordinary apart from upper-case letters keeps its spelling and gains `~u` and a hexadecimal
  number whose bit i says that character i is upper case: `run_aB` is `run_aB~u20`. (The `u` keeps it apart
  from the short names, `OUTPUT~1`, that Windows makes up.)
- Any other id becomes a readable rest of at most 24 characters, `~~`, and 26 characters of base 32: the
  first 128 bits of the SHA-256 of the id's UTF-8.

An ordinary id never has a `~`, so no id of one kind gets the name of an id of another kind.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NewType

from floradl.constants import Kind
from floradl.storage.base import PARTIALS, PRIVATE

SafeName = NewType("SafeName", str)
"""One component of a path that is safe on every system. Only this module makes values of this type."""

MANIFEST = PurePosixPath("manifest.json")
CHECKSUMS = PurePosixPath("SHA256SUMS")
LOCK = PRIVATE / "lock"
HOLDER = PRIVATE / "holder.json"
JOURNAL = PRIVATE / "journal"
STAMPS = PRIVATE / "stamps"
VERIFIED = PRIVATE / "verified.json"
INDEX_PAGE = PurePosixPath("index.html")
GALLERY = PurePosixPath("gallery")
GALLERY_PAGE = GALLERY / "page"
GALLERY_DATA = GALLERY / "data"
THUMBNAILS = GALLERY / "thumbnails"
RUN_RECORD = SafeName("run.json")
ASSET_RECORD = SafeName("asset.json")
LABELS = SafeName("canvas.json")
"""Beside a run's record: the labels of canvas nodes that show its outputs; see `labels`."""
ASSETS = SafeName("assets")
CANVAS = SafeName("canvas")
NO_PROJECT = SafeName("_workspace")
"""The folder of a workspace's assets that belong to none of its projects."""
PROJECT_RECORD = SafeName("project.json")
WORKSPACE_RECORD = SafeName("workspace.json")

TEXT_EXTENSION = ".txt"
"""The extension of an output that is a text."""

SNAPSHOTS = {"canvas": ".mmd", "nodes": ".json"}
"""The types of a canvas's snapshots, and the extensions of their files."""

_RECORDS = {Kind.RUN: RUN_RECORD, Kind.ASSET: ASSET_RECORD}
_MAX_LENGTH = 80
_ORDINARY = re.compile(r"[a-z0-9_][a-z0-9_.-]*(?<!\.)", re.ASCII)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.~-]*"
_SNAPSHOT = re.compile(r"([0-9]{8}t[0-9]{6}z-([a-z]+))(\.[a-z]+)")
_PLACE = re.compile(rf"{_NAME}(?:/{_NAME})*", re.ASCII)
# Windows refuses these names with any extension. It refuses superscript digits too, but those are not ASCII,
# so that an id with one is not ordinary anyway.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
OWN_NAMES = frozenset({
    MANIFEST.name, CHECKSUMS.name, INDEX_PAGE.name, GALLERY.name, PRIVATE.name, NO_PROJECT, ASSETS, CANVAS,
    RUN_RECORD, ASSET_RECORD, LABELS, PROJECT_RECORD, WORKSPACE_RECORD,
})  # fmt: skip
"""All names of the archive's own files and folders outside `gallery` and `.floradl`, at any level."""

# An id must not take their place, whatever extension its file gets. "asset" alone is left to ids, which bore
# it before there were assets: see `output_name`.
_OURS = {name.lower().partition(".")[0] for name in OWN_NAMES} - {ASSET_RECORD.partition(".")[0]}


def safe_name(identifier: str) -> SafeName:
    """The path component of an id, by the rules at the top of this module."""
    lower = identifier.lower()
    if identifier.isascii() and _is_ordinary(lower):
        upper = sum(1 << index for index, character in enumerate(identifier) if character.isupper())
        return SafeName(f"{identifier}~u{upper:x}" if upper else identifier)
    return _hashed_name(identifier)


def _hashed_name(identifier: str) -> SafeName:
    """The third form of a name: a readable rest, and a hash of the id."""
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).digest()[:16]
    readable = re.sub(r"[^a-z0-9_]+", "-", identifier.lower()[:200], flags=re.ASCII).strip("-")[:24]
    return SafeName(f"{readable or '_'}~~{_base32(digest)}")


def identifier_of(name: str) -> str | None:
    """The id that `safe_name` gives this name; None when the name does not tell it, or no id has the name."""
    identifier = re.sub(r"~u[0-9a-f]+$", "", name)
    return identifier if safe_name(identifier) == name else None


def item_path(kind: Kind, workspace_id: str, project_id: str, identifier: str) -> PurePosixPath:
    """The folder of a run, an asset or a canvas, relative to the archive: `ws_abc/prj_def/run_ghi`.

    A canvas has its project's id, and one folder in it; an asset of no project has its workspace's
    `_workspace`.
    """
    return PurePosixPath(item_place(kind, workspace_id, project_id, identifier))


def item_place(kind: Kind, workspace_id: str, project_id: str, identifier: str) -> str:
    """`item_path` as text: an archive has hundreds of thousands, and path objects take long to make."""
    if kind is Kind.RUN:
        return f"{_project_place(workspace_id, project_id)}/{safe_name(identifier)}"
    if kind is Kind.CANVAS:
        return f"{_project_place(workspace_id, project_id)}/{CANVAS}"
    if not project_id:
        return f"{safe_name(workspace_id)}/{NO_PROJECT}/{ASSETS}/{safe_name(identifier)}"
    return f"{_project_place(workspace_id, project_id)}/{ASSETS}/{safe_name(identifier)}"


def record_name(kind: Kind) -> SafeName | None:
    """The name of the API's record in the folder of an entry; None for a canvas, which has no record."""
    return _RECORDS.get(kind)


@lru_cache(maxsize=1024)
def _project_place(workspace_id: str, project_id: str) -> str:
    return f"{safe_name(workspace_id)}/{safe_name(project_id)}"


def project_record(workspace_id: str, project_id: str) -> PurePosixPath:
    """Where the API's record of a project is kept: in the folder of its runs' folders."""
    return PurePosixPath(_project_place(workspace_id, project_id)) / PROJECT_RECORD


def workspace_record(workspace_id: str) -> PurePosixPath:
    """Where the API's record of a workspace is kept: in its folder."""
    return PurePosixPath(safe_name(workspace_id)) / WORKSPACE_RECORD


def is_name_record(path: str) -> bool:
    """Whether the record of a workspace or of a project belongs at this path, relative to the archive."""
    *folders, name = path.split("/")
    return name == {1: WORKSPACE_RECORD, 2: PROJECT_RECORD}.get(len(folders))


def output_name(key: str, extension: str) -> SafeName:
    """The name of an output's file in its run's folder.

    Args:
        key: the output's key, unique in its run.
        extension: a dot and letters or digits, as `filetype.extension_for` gives it.
    """
    name = SafeName(f"{safe_name(key)}{extension}")
    return SafeName(f"{_hashed_name(key)}{extension}") if name in OWN_NAMES else name


def snapshot_of(name: str) -> tuple[str, str] | None:
    """Key and type of the canvas snapshot with this file name; None when it is no snapshot's name."""
    match = _SNAPSHOT.fullmatch(name)
    return (match[1], match[2]) if match and SNAPSHOTS.get(match[2]) == match[3] else None


def flat_prefix(kind: Kind, identifier: str) -> str:
    """What an entry's file names begin with where the files of all entries lie in one folder (`--flat`).

    No name made here has a `+`, so two outputs never get the same name there either. An asset has one file,
    whose name is the asset's id already.
    """
    return "" if kind is Kind.ASSET else f"{safe_name(identifier)}+"


def is_output_of(name: str, key: str) -> bool:
    """Whether a file name is that of the output with this key, with any extension."""
    _, dot, extension = name.rpartition(".")
    return bool(dot) and name == output_name(key, f".{extension}")


def is_place(text: str) -> bool:
    """Whether a text is a path of names like those made here: it stays in the archive, and is on one line."""
    return _PLACE.fullmatch(text) is not None


def partial_path(run_id: str, key: str) -> PurePosixPath:
    """Where the bytes of an output lie until they are whole: one place for each output of each run."""
    name = f"{len(run_id)}:{run_id}{key}".encode("utf-8", "surrogatepass")
    return PARTIALS / f"{_base32(hashlib.sha256(name).digest()[:20])}.part"


def _is_ordinary(lower: str) -> bool:
    stem = lower.partition(".")[0]
    return (
        len(lower) <= _MAX_LENGTH
        and _ORDINARY.fullmatch(lower) is not None
        and stem not in _DEVICES
        and stem not in _OURS
        and lower != ASSET_RECORD
    )


def _base32(digest: bytes) -> str:
    return base64.b32encode(digest).decode().rstrip("=").lower()

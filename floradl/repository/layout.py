"""Where things stand in an archive: pure functions from ids to paths.

Ids come from outside and may hold anything. Every function here gives the same name for the same id,
different names for different ids, and only names that Linux, macOS and Windows all accept and keep
apart, also where the file system ignores case or Unicode form:

- An ordinary id (lower-case ASCII letters, digits, `_`, `-`, inner dots; at most 80 characters; no
  Windows device name; no name that the archive uses itself) stays as it is.
- An id that is ordinary but for upper-case letters keeps its spelling and gains `~u` and a hexadecimal
  number whose bit i says that character i is upper case: `run_aB` is `run_aB~u20`. (The `u` keeps it apart
  from the short names, `OUTPUT~1`, that Windows makes up.)
- Any other id becomes a readable rest of at most 24 characters, `~~`, and 26 characters of base 32: the
  first 128 bits of the SHA-256 of the id's UTF-8.

`~` never occurs in an ordinary id, so the three kinds cannot meet.
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
"""One path component that is safe on every system. Only this module makes them."""

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
"""What a project's canvas says of a run's outputs, beside the run's record."""
ASSETS = SafeName("assets")
CANVAS = SafeName("canvas")
NO_PROJECT = SafeName("_workspace")
"""The folder of what belongs to a workspace and to none of its projects: its `assets` alone."""
PROJECT_RECORD = SafeName("project.json")
WORKSPACE_RECORD = SafeName("workspace.json")

SNAPSHOTS = {"canvas": ".mmd", "nodes": ".json"}
"""What snapshots of a canvas hold, by the types of its outputs, and the extensions of their files."""

_RECORDS = {Kind.RUN: RUN_RECORD, Kind.ASSET: ASSET_RECORD}
_MAX_LENGTH = 80
_ORDINARY = re.compile(r"[a-z0-9_][a-z0-9_.-]*(?<!\.)", re.ASCII)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.~-]*"
_SNAPSHOT = re.compile(r"([0-9]{8}t[0-9]{6}z-([a-z]+))(\.[a-z]+)")
_PLACE = re.compile(rf"{_NAME}(?:/{_NAME})*", re.ASCII)
# Windows refuses these whatever the extension; superscript digits count too, but are not ASCII.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
# Names that the archive gives to its own files and folders, at whatever level.
_OURS = {"manifest", "sha256sums", "index", "gallery", "run", "project", "workspace", "assets", "canvas"}


def safe_name(identifier: str) -> SafeName:
    """The path component of an id; see the module's docstring."""
    lower = identifier.lower()
    if identifier.isascii() and _is_ordinary(lower):
        upper = sum(1 << index for index, character in enumerate(identifier) if character.isupper())
        return SafeName(f"{identifier}~u{upper:x}" if upper else identifier)
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).digest()[:16]
    readable = re.sub(r"[^a-z0-9_]+", "-", lower[:200], flags=re.ASCII).strip("-")[:24]
    return SafeName(f"{readable or '_'}~~{_base32(digest)}")


def identifier_of(name: str) -> str | None:
    """The id that has this path component; None where it cannot be told from the name, or no id has it."""
    identifier = re.sub(r"~u[0-9a-f]+$", "", name)
    return identifier if safe_name(identifier) == name else None


def item_path(kind: Kind, workspace_id: str, project_id: str, identifier: str) -> PurePosixPath:
    """The folder of a run, an asset or a canvas, relative to the archive: `ws_abc/prj_def/run_ghi`.

    A canvas has its project's id, and one folder in it; an asset of no project has its workspace's
    `_workspace`.
    """
    return PurePosixPath(item_place(kind, workspace_id, project_id, identifier))


def item_place(kind: Kind, workspace_id: str, project_id: str, identifier: str) -> str:
    """`item_path` as text, for where there are hundreds of thousands of them."""
    if kind is Kind.RUN:
        return f"{_project_place(workspace_id, project_id)}/{safe_name(identifier)}"
    if kind is Kind.CANVAS:
        return f"{_project_place(workspace_id, project_id)}/{CANVAS}"
    if not project_id:
        return f"{safe_name(workspace_id)}/{NO_PROJECT}/{ASSETS}/{safe_name(identifier)}"
    return f"{_project_place(workspace_id, project_id)}/{ASSETS}/{safe_name(identifier)}"


def record_name(kind: Kind) -> SafeName | None:
    """The file of the API's record in the folder of such an entry; None: it has none."""
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
    """Whether the record of a workspace or of a project lies at this place below the archive."""
    *folders, name = path.split("/")
    return name == {1: WORKSPACE_RECORD, 2: PROJECT_RECORD}.get(len(folders))


def output_name(key: str, extension: str) -> SafeName:
    """The file of an output within its run's folder.

    Args:
        key: the output's key, unique in its run.
        extension: a dot and letters or digits, as `filetype.extension_for` gives it.
    """
    return SafeName(f"{safe_name(key)}{extension}")


def snapshot_of(name: str) -> tuple[str, str] | None:
    """Key and type of the canvas snapshot that has a file of this name; None where none has."""
    match = _SNAPSHOT.fullmatch(name)
    return (match[1], match[2]) if match and SNAPSHOTS.get(match[2]) == match[3] else None


def flat_prefix(kind: Kind, identifier: str) -> str:
    """What the names of an entry's files begin with where all entries' files lie in one folder.

    No component holds a `+`, so no two outputs share a name there either. An asset's one file bears its id
    already.
    """
    return "" if kind is Kind.ASSET else f"{safe_name(identifier)}+"


def is_output_of(name: str, key: str) -> bool:
    """Whether a file of this name is the output's, whatever its extension."""
    stem, dot, _ = name.rpartition(".")
    return bool(dot) and stem == safe_name(key)


def is_place(text: str) -> bool:
    """Whether this is a path of names as they are made here: below the archive, and on one line."""
    return _PLACE.fullmatch(text) is not None


def partial_path(run_id: str, key: str) -> PurePosixPath:
    """Where an output's bytes wait until they are whole; one place per (run, output)."""
    name = f"{len(run_id)}:{run_id}{key}".encode("utf-8", "surrogatepass")
    return PARTIALS / f"{_base32(hashlib.sha256(name).digest()[:20])}.part"


def _is_ordinary(lower: str) -> bool:
    stem = lower.partition(".")[0]
    return (
        len(lower) <= _MAX_LENGTH
        and _ORDINARY.fullmatch(lower) is not None
        and stem not in _DEVICES
        and stem not in _OURS
    )


def _base32(digest: bytes) -> str:
    return base64.b32encode(digest).decode().rstrip("=").lower()

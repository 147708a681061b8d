"""A cache of folders that need not be listed again, so that a quiet night of a large archive is short.

A stamp says: when this folder had this date, it was listed, and was just as `manifest.json` has it. Every
output was archived and there with its size, and the record (`run.json`) beside them. As long as the folder
has the same date, no file in it was added, removed, renamed or replaced. So it need not be listed, and its
entry need not be decoded.

The file is `.floradl/stamps`. Removing it costs one session that lists every folder, and nothing else. A
stamp is valid only under all of these conditions; otherwise the folder is listed:

1. The folder's date was read before the folder was listed, and was then more than `COARSE_NS` old by the
   clock of its own file system (`Destination.moment_ns`). Then any later change gives it a later date, even
   where the file system's dates are coarse.
2. The stamps name the very `manifest.json` that is on disk. After a newer one was written, or an older one
   put back from a backup, all stamps are void.
3. No change of the run was recorded since.
4. The file is whole, and of a format that this version knows.

A folder's date does not change when one of its files is written to in place. So in each session a part of
the stamped folders has its files' sizes compared all the same, those first that have waited longest: an
eighth of the archive's runs, and at least `MIN_PART`. An archive with no more runs than that has no stamps
at all. A full walk believes no stamp.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.bounds import Count, SizeBytes
from floradl.storage.base import COARSE_NS, FileId
from floradl.storage.local.folder_dates import FolderDate

MIN_PART = 5000
"""How many stamped folders a session looks into at least."""

PARTS = 8
"""In how many sessions every stamped folder of a large archive is looked into."""

_FORMAT = "floradl-stamps"
_VERSION = 1


class FolderStamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A folder as it was when everything in it was right.

    Attributes:
        place: the folder, such as `ws_abc/prj_def/run_ghi`.
        mtime_ns, ctime_ns, inode: its date (`FolderDate`).
        outputs: how many outputs are in it.
        size_bytes: of these outputs together.
    """

    place: str
    mtime_ns: int
    ctime_ns: int
    inode: int
    outputs: Count
    size_bytes: SizeBytes


FolderStamps = dict[str, FolderStamp]
"""Run id → stamp. The first ones have waited longest for a look at their files' sizes."""


class _Head(msgspec.Struct, frozen=True):
    """The file's first line: its format, the `manifest.json` it is valid for, and the CRC-32 of the rest."""

    format: str
    version: int
    archive_id: str
    manifest: FileId
    crc: int


def is_settled(date: FolderDate, moment_ns: int) -> bool:
    """Whether a folder's date is old enough for a stamp.

    A folder that was changed just now may be changed again within what its file system takes for the same
    moment; the stamp would then hide the second change.

    Args:
        date: the folder's, read before it was listed.
        moment_ns: now, by the clock of the folder's file system.
    """
    return max(date.mtime_ns, date.ctime_ns) < moment_ns - COARSE_NS


def is_worth_it(runs: int) -> bool:
    """Whether an archive with this many runs has stamps. A smaller one is listed whole in as little time."""
    return runs > MIN_PART


def part_of(runs: int) -> int:
    """How many stamped folders a session looks into all the same, in an archive with this many runs."""
    return max(MIN_PART, -(-runs // PARTS))


def encode_stamps(stamps: FolderStamps, archive_id: str, manifest: FileId) -> list[bytes]:
    """The file's bytes, in pieces: the head's line, then the stamps.

    Args:
        stamps: what to keep.
        archive_id: the archive's.
        manifest: which `manifest.json` the stamps are valid for.
    """
    body = msgspec.json.encode(stamps)
    head = _Head(_FORMAT, _VERSION, archive_id, manifest, zlib.crc32(body))
    return [msgspec.json.encode(head), b"\n", body]


def parse_stamps(data: bytes, archive_id: str, manifest: FileId, changed: Collection[str]) -> FolderStamps:
    """The valid stamps of a file; none where anything is wrong with it.

    Args:
        data: the file's bytes.
        archive_id: the archive's.
        manifest: which `manifest.json` is on disk.
        changed: ids of runs that were changed since it was written.
    """
    end = data.find(b"\n")
    body = memoryview(data)[end + 1 :]
    try:
        head = msgspec.json.decode(data[: max(end, 0)], type=_Head)
        if head != _Head(_FORMAT, _VERSION, archive_id, manifest, zlib.crc32(body)):
            return {}
        stamps = msgspec.json.decode(body, type=FolderStamps)
    except NOT_READABLE:
        return {}
    for run_id in changed:
        stamps.pop(run_id, None)
    return stamps

"""What spares a quiet night the listing of every folder: which of them are as they were when last compared.

A stamp says that a run's folder, when it had this date, was listed and found to be just as `manifest.json`
has it: every output archived and there with its size, and `run.json` beside them. While the date is the
same, no name in it has come, gone or changed hands, so there is nothing to list and no entry to decode.

The stamps are a cache (`.floradl/stamps`): whoever removes it costs one night's comparison. They hold only
under these conditions, any of which failing means that the folder is compared:

1. The folder was dated before it was listed, and its date was then more than `COARSE_NS` old by the clock of
   its own file system (`Destination.moment_ns`). A later change has a later date, however coarse dates are
   there.
2. They speak of the very `manifest.json` that is on disk: another one, newer or put back, voids all.
3. No change of the run was recorded since.
4. The file is whole, and of a form that is known here.

What no date tells is a file that was written to in place. So in each session a part of the stamped folders,
the longest unlooked-at first, has its files' sizes compared all the same: an eighth, and never less than
`MIN_PART`. An archive that small has no stamps at all; and a full walk takes no stamp's word.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.storage.base import COARSE_NS, FileId
from floradl.storage.local.folder_dates import FolderDate

MIN_PART = 5000
PARTS = 8

_FORMAT = "floradl-stamps"
_VERSION = 1


class FolderStamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run's folder as it was when all was right, and how much of the archive it is."""

    place: str
    mtime_ns: int
    ctime_ns: int
    inode: int
    outputs: int
    size_bytes: int


FolderStamps = dict[str, FolderStamp]
"""Run id → stamp, the longest unlooked-at first."""


class _Head(msgspec.Struct, frozen=True):
    """The first line: what it is, of which manifest, and the CRC-32 of the rest."""

    format: str
    version: int
    archive_id: str
    manifest: FileId
    crc: int


def is_settled(date: FolderDate, moment_ns: int) -> bool:
    """Whether a folder's date is old enough at a moment of its own clock."""
    return max(date.mtime_ns, date.ctime_ns) < moment_ns - COARSE_NS


def is_worth_it(runs: int) -> bool:
    """Whether an archive of so many runs has stamps."""
    return runs > MIN_PART


def part_of(runs: int) -> int:
    """How many stamped folders a session looks into all the same, for an archive of so many runs."""
    return max(MIN_PART, -(-runs // PARTS))


def encode_stamps(stamps: FolderStamps, archive_id: str, manifest: FileId) -> list[bytes]:
    """The file, in pieces."""
    body = msgspec.json.encode(stamps)
    head = _Head(_FORMAT, _VERSION, archive_id, manifest, zlib.crc32(body))
    return [msgspec.json.encode(head), b"\n", body]


def parse_stamps(data: bytes, archive_id: str, manifest: FileId, changed: Collection[str]) -> FolderStamps:
    """The stamps of a file, as far as they hold.

    Args:
        data: the file; whatever is wrong with it, there are no stamps then.
        archive_id, manifest: the archive, and its `manifest.json`.
        changed: ids of runs that were changed since that was written.
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

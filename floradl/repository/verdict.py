"""What the last checks of an archive found, kept in `.floradl/verified.json` for `status` to tell.

`verify` holds a shared lock only, and has to work on a disk that nobody can write to. So the file is written
where that is possible, and no job depends on it. When two checks end at the same time, each writes a whole
file, and the later one stays.
"""

from __future__ import annotations

import logging

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.bounds import Count
from floradl.repository import layout
from floradl.storage import base
from floradl.storage.destination import Destination

FORMAT = "floradl-verified"
VERSION = 1

log = logging.getLogger(__name__)


class Verdict(msgspec.Struct, frozen=True):
    """One check that was not ended early.

    Attributes:
        at: when it began, in ISO 8601.
        sample: which part of the bytes was read again, such as `1/30`.
        sound: whether nothing was wrong.
        runs, outputs: how many entries and outputs were checked.
        read: how many files were read again.
        findings: how many things were wrong in the end; files that no entry knows are not counted.
    """

    at: str
    sample: str
    sound: bool
    runs: Count
    outputs: Count
    read: Count
    findings: Count

    @property
    def is_full(self) -> bool:
        """Whether every file was read again."""
        parts, _, of = self.sample.partition("/")
        return parts == of


class Verified(msgspec.Struct, frozen=True):
    """The last check, and the last one that read every file; None before the first."""

    last: Verdict | None = None
    last_full: Verdict | None = None
    format: str = FORMAT
    version: int = VERSION


def read_verified(disk: Destination) -> Verified:
    """The last checks, as the archive keeps them; none when the file is missing or unreadable. Blocks."""
    try:
        return msgspec.json.decode(disk.read(layout.VERIFIED) or b"{}", type=Verified)
    except (OSError, *NOT_READABLE) as exc:
        log.info("%s cannot be read: %s", layout.VERIFIED, exc)
        return Verified()


def note_verified(disk: Destination, verdict: Verdict) -> None:
    """Keep the verdict of a check.

    Where the archive cannot be written to, that is logged and nothing else. Blocks.
    """
    if not disk.exists(base.PRIVATE):
        return
    known = read_verified(disk)
    note = Verified(verdict, verdict if verdict.is_full else known.last_full)
    try:
        for folder in base.TEMPORARIES:
            disk.ensure_dir(folder)
        disk.write_atomic(layout.VERIFIED, [msgspec.json.encode(note), b"\n"])
    except OSError as exc:
        log.info("the date of this check could not be kept: %s", exc.strerror)

"""What the last checks of an archive found, kept in `.floradl/verified.json` for `status` to tell.

`verify` reads under a shared lock and has to work on a disk that nobody can write to, so the note is made
where that is possible and missed nowhere else: no job depends on it. Two checks at the same time each write
a whole file; the later one stays.
"""

from __future__ import annotations

import logging

import msgspec

from floradl.api.raw_json import NOT_READABLE
from floradl.repository import layout
from floradl.storage import base
from floradl.storage.destination import Destination

FORMAT = "floradl-verified"
VERSION = 1

log = logging.getLogger(__name__)


class Verdict(msgspec.Struct, frozen=True):
    """One check that came to its end.

    `at` is when it began; `sample` how much was read again, such as `1/30`; `findings` counts what was not
    as it should be in the end, strays apart.
    """

    at: str
    sample: str
    sound: bool
    runs: int
    outputs: int
    read: int
    findings: int

    @property
    def is_full(self) -> bool:
        """Whether all bytes were read again."""
        parts, _, of = self.sample.partition("/")
        return parts == of


class Verified(msgspec.Struct, frozen=True):
    """The last check, and the last that read everything, None before the first."""

    last: Verdict | None = None
    last_full: Verdict | None = None
    format: str = FORMAT
    version: int = VERSION


def read_verified(disk: Destination) -> Verified:
    """What is known of the last checks. Blocks."""
    try:
        return msgspec.json.decode(disk.read(layout.VERIFIED) or b"{}", type=Verified)
    except (OSError, *NOT_READABLE) as exc:
        log.info("%s cannot be read: %s", layout.VERIFIED, exc)
        return Verified()


def note_verified(disk: Destination, verdict: Verdict) -> None:
    """Keep the verdict of a check, if the archive can be written to and has a folder for it. Blocks."""
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

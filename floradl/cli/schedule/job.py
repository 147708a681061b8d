"""A nightly job, before any scheduler has seen it: its command, its time, its name. Pure.

The job never holds an API key: it looks for one when it runs. Characters that some scheduler's format cannot
hold are refused here, before anything is installed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

from floradl.errors import UsageError, printable

PREFIX = "floradl-"
"""The name of every job begins so; by that floradl recognizes its own jobs."""

PLAIN_WORD = re.compile(r"[\w@+=:,./-]+", re.ASCII)
"""A word that no scheduler's format needs to quote."""


@dataclass(frozen=True)
class NightlyJob:
    """A command that runs once a day.

    Args:
        name: the same in every scheduler; begins with `PREFIX`.
        command: the program by its absolute path, and its arguments.
        dest: the absolute path of the archive's folder.
        at: hour and minute, local time.
        random_delay_s: the job begins up to so much later, so that not all users ask FLORA at once.
        writable: absolute paths of the folders that it writes to.
        is_sandboxed: whether it may write nowhere else, where the scheduler can enforce that (systemd).

    Raises:
        UsageError: a word has a character that no scheduler's format can hold, such as a line break.
    """

    name: str
    command: tuple[str, ...]
    dest: str
    at: tuple[int, int]
    random_delay_s: int
    writable: tuple[str, ...]
    is_sandboxed: bool = True

    def __post_init__(self) -> None:
        for word in (*self.command, self.dest, *self.writable):
            if not _is_text(word):
                raise UsageError(
                    f"{printable(word)!r} has characters that cannot stand in a nightly job",
                    hint="Rename the folder or file: no line breaks, tabs or bytes that are no text.",
                )

    @property
    def settled_at(self) -> tuple[int, int]:
        """`at` plus a part of the random delay, for schedulers that have no random delay of their own.

        The part is computed from the job's name: different jobs get different times, each always the same.
        """
        number = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4])
        hour, minute = self.at
        total = (hour * 60 + minute + number % (self.random_delay_s // 60 + 1)) % (24 * 60)
        return divmod(total, 60)


def job_name(dest: str, chosen: str | None) -> str:
    """The name of a job.

    Args:
        dest: the absolute path of the archive's folder; the same folder gives the same name.
        chosen: a name that the user chose instead.
    """
    if chosen is not None:
        return f"{PREFIX}{chosen}"
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(dest).name.lower()).strip("-")[:40]
    digest = hashlib.sha256(dest.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{PREFIX}{folder or 'archive'}-{digest}"


def clock_time(at: tuple[int, int]) -> str:
    """Hour and minute as `02:30`."""
    return f"{at[0]:02}:{at[1]:02}"


def _is_text(word: str) -> bool:
    """Whether every scheduler's format can hold a word.

    Refused are control characters and Unicode's line breaks, surrogates, and the code points that Unicode
    calls non-characters: XML may not contain them.
    """
    return not any(
        (ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or character in "\u2028\u2029")
        or 0xD800 <= ord(character) < 0xE000
        or 0xFDD0 <= ord(character) < 0xFDF0
        or ord(character) & 0xFFFE == 0xFFFE
        for character in word
    )

"""A nightly job in the words of each scheduler: systemd, launchd, Task Scheduler and cron.

Pure: a job in, text out. No text ever holds a key: the job finds one when it runs. What a format cannot say
of a path is refused here, before anything is installed.

Facts come from systemd.service(5), systemd.exec(5), systemd.timer(5), launchd.plist(5), crontab(5) and
Microsoft's Task Scheduler Schema.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

from floradl.errors import UsageError, printable

PREFIX = "floradl-"
"""How the name of every job begins, by which they are found again."""

PLAIN_WORD = re.compile(r"[\w@+=:,./-]+", re.ASCII)


@dataclass(frozen=True)
class NightlyJob:
    """A command that runs once a day.

    Args:
        name: what it is called everywhere; begins with `PREFIX`.
        command: the program, absolute, and its arguments.
        dest: the archive's folder, absolute.
        at: hour and minute, local.
        random_delay_s: it begins up to that much later.
        writable: absolute folders that it writes to.
        is_sandboxed: whether all else is closed for writing, where the scheduler can do that.

    Raises:
        UsageError: a word has a character that no scheduler takes, such as a line break.
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
        """`at` and a part of the random delay that is always the same for this job: for want of dice."""
        number = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4])
        hour, minute = self.at
        total = (hour * 60 + minute + number % (self.random_delay_s // 60 + 1)) % (24 * 60)
        return divmod(total, 60)


def job_name(dest: str, chosen: str | None) -> str:
    """The chosen name, or one made from the archive's absolute folder: the same on every call."""
    if chosen is not None:
        return f"{PREFIX}{chosen}"
    folder = re.sub(r"[^a-z0-9]+", "-", PurePath(dest).name.lower()).strip("-")[:40]
    digest = hashlib.sha256(dest.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{PREFIX}{folder or 'archive'}-{digest}"


def clock_time(at: tuple[int, int]) -> str:
    """`02:30`."""
    return f"{at[0]:02}:{at[1]:02}"


def _is_text(word: str) -> bool:
    """Whether every format can hold a word: no controls, no halves of characters, no non-characters."""
    return not any(
        (ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or character in "\u2028\u2029")
        or 0xD800 <= ord(character) < 0xE000
        or 0xFDD0 <= ord(character) < 0xFDF0
        or ord(character) & 0xFFFE == 0xFFFE
        for character in word
    )

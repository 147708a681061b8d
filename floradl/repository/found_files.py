"""Files that stand under the name of an output without being recorded, and which of them is the output.

A process that is killed between the rename of a file and its entry leaves such a file, and so does a lost
manifest. But people keep things beside their pictures too: `output_1.xmp` of a photo program, `output_1.jpg`
that they exported, `output_1.txt` with a note. All of them have the output's name, apart from the extension.
What a user made never becomes an archived output, so a file has to prove itself:

- Its name and bytes are such that floradl could have named it so (`filetype.may_be_file_of`), and its size is
  the one that FLORA announces.
- It has the date of its run, which floradl gives each file before it gets its name, or it is one file with
  another, as an upload that the archive had already is. Where the record beside it has lost that date, as in
  an archive that was copied without dates, dates say nothing. Then the file must be the only one that may be
  the output, or the only one with the extension that the output announces.

A file that does not prove itself costs one request: the output is fetched again, and the file stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import PurePosixPath

from floradl.api.models import Output
from floradl.repository import filetype, layout
from floradl.storage.destination import Destination
from floradl.storage.digest import HEAD_BYTES

_SAME_DATE_MS = 2000
"""How far apart two dates of files may be and still count as one: FAT keeps dates to two seconds."""


def find_output(
    disk: Destination, record: PurePosixPath, output: Output, done_at_ms: int | None, names: Iterable[str]
) -> str | None:
    """The name of the file that is an output; None where no file proves to be it. Blocks.

    Args:
        disk: the archive.
        record: the record of its run or asset, in the same folder.
        output: as FLORA gave it, or as its entry has it.
        done_at_ms: the date that floradl gives the files of its run; None where it is not known.
        names: the files in the folder that bear the output's name and have a size that it may have.

    Raises:
        OSError: one of them cannot be read.
    """
    folder = record.parent
    named = [name for name in sorted(names) if layout.is_output_of(name, output.key)]
    has_dates = done_at_ms is not None and disk.is_file(record) and _has_date(disk, record, done_at_ms)
    found = [
        name
        for name in named
        if (not has_dates or _has_date(disk, folder / name, done_at_ms) or disk.is_linked(folder / name))
        and filetype.may_be_file_of(output, _head(disk, folder / name), PurePosixPath(name).suffix)
    ]
    announced = [name for name in found if PurePosixPath(name).suffix == filetype.announced_extension(output)]
    candidates = announced or found
    return candidates[0] if candidates and (has_dates or len(candidates) == 1) else None


def _has_date(disk: Destination, path: PurePosixPath, date_ms: int | None) -> bool:
    return date_ms is not None and abs(disk.identify(path).mtime_ns // 1_000_000 - date_ms) <= _SAME_DATE_MS


def _head(disk: Destination, path: PurePosixPath) -> bytes:
    with closing(disk.blocks(path)) as blocks:
        return bytes(next(blocks, memoryview(b""))[:HEAD_BYTES])

"""What the disk takes for an archive of texts: `python floor.py DEST RUNS`.

For each run a folder with two small files; each file is created under another name, written, flushed and
renamed, and the folder flushed, as an archive that may lose nothing has to do it, in eight threads.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

THREADS = 8
_RECORD, _TEXT = b"r" * 700, b"t" * 340


def write_run(dest: Path, number: int) -> None:
    """One run's folder and files."""
    folder = dest / f"run_{number:07d}"
    folder.mkdir()
    for name, content in (("run.json", _RECORD), ("output_1.txt", _TEXT)):
        temporary = dest / f"{number}-{name}"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / name)
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def main(dest: Path, count: int) -> None:
    """Write so many runs."""
    dest.mkdir(parents=True)
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(partial(write_run, dest), range(count)):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

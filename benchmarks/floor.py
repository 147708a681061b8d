"""The time that the disk takes for an archive: `python floor.py DEST RUNS OUTPUTS SIZE`.

Writes a folder for each run, with a small record and OUTPUTS files of SIZE bytes, in eight threads. Each file
is created under another name, written, flushed and renamed, and its folder is flushed: no archive that may
lose nothing can do less.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

THREADS = 8
_RECORD_BYTES = 700
_PIECE = memoryview(bytes(range(256)) * 4096)


def write_file(dest: Path, name: str, target: Path, size_bytes: int) -> None:
    """Write one file so that a power cut cannot take it away."""
    temporary = dest / name
    with temporary.open("wb", buffering=0) as file:
        for start in range(0, size_bytes, len(_PIECE)):
            file.write(_PIECE[: size_bytes - start])
        os.fsync(file.fileno())
    temporary.rename(target)
    handle = os.open(target.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def main(dest: Path, runs: int, outputs: int, size_bytes: int) -> None:
    """Write the runs that the command line asks for."""
    dest.mkdir(parents=True)
    jobs = []
    for number in range(runs):
        folder = dest / f"run_{number:07d}"
        folder.mkdir()
        jobs.append(partial(write_file, dest, f"{number}.json", folder / "run.json", _RECORD_BYTES))
        jobs += [
            partial(write_file, dest, f"{number}-{index}", folder / f"output_{index}", size_bytes)
            for index in range(outputs)
        ]
    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(job) for job in jobs]:
            done.result()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

"""Run one command and write down what it cost: `python -IS launch.py FIGURES STDOUT STDERR COMMAND...`.

This is a small process of its own, because the kernel begins the peak memory of a process with the memory of
the one that forked it: started by the benchmarks themselves, a downloader of 5 MB would seem to take as much
as they do. Some 9 MB remain, the size of this bare interpreter; no command seems smaller than that.

FIGURES becomes a line of JSON: the exit code, wall time, CPU time and peak memory of the command. The times
include all processes that it started and waited for; the peak memory is that of the largest one.
"""

from __future__ import annotations

import os
import sys
import time


def main(figures: str, stdout: str, stderr: str, command: list[str]) -> None:
    """Run `command` and write FIGURES."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, stdout, flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, stderr, flags, 0o600),
    ]
    began_s = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began_s
    cpu_s = usage.ru_utime + usage.ru_stime
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    code = os.waitstatus_to_exitcode(status)
    # Not by `json`: importing it would make this process larger, and with it every figure.
    line = f'{{"exit_code": {code}, "wall_s": {wall_s}, "cpu_s": {cpu_s}, "peak_rss_bytes": {peak_bytes}}}'
    with open(figures, "w", encoding="utf-8") as file:
        file.write(line)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])

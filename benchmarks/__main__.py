"""`python -m benchmarks [run]` measures; `python -m benchmarks report` writes docs/performance.md from
the figures.

    python -m benchmarks run --only small-40ms,large-0ms --runs 3
    python -m benchmarks run --tiny
    python -m benchmarks list

`--only` measures the named benchmarks and leaves the figures of all others in results.json as they are.
`--tiny` runs each benchmark once with next to nothing to do and keeps no figures: it shows that everything
works. It ends with an error where a required contender is not installed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from benchmarks import report, results
from benchmarks.bench import Bench
from benchmarks.errors import BenchmarkError
from benchmarks.host import Host
from benchmarks.machine import describe_machine
from benchmarks.suite import SUITE


def main() -> int:
    """Run the command; returns its exit code."""
    options = _parse()
    # SIGTERM ends the run as Ctrl-C does, so that nginx, the folders and the contenders do not stay behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.command == "list":
            sys.stdout.write("".join(f"{name}\n" for name in SUITE))
        elif options.command == "run":
            _run(options)
        else:
            found = results.load(options.results)
            report.write(found)
            sys.stdout.write(report.summary(found))
    except BenchmarkError as exc:
        sys.stderr.write(f"benchmarks: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("benchmarks: interrupted\n")
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("command", nargs="?", choices=("run", "report", "list"), default="run")
    parser.add_argument("--runs", type=int, default=5, help="how often each contender takes its turn")
    parser.add_argument("--only", default="", help="names of benchmarks, with commas")
    parser.add_argument("--tiny", action="store_true", help="see that everything works; keep no figures")
    parser.add_argument("--data", type=Path, default=_cache(), help="where made-up media are kept")
    parser.add_argument("--results", type=Path, default=results.RESULTS, help="where figures are kept")
    parser.add_argument(
        "--floradl",
        default=str(Path(sys.executable).with_name("floradl")),
        help="the command that is measured",
    )
    return parser.parse_args()


def _run(options: argparse.Namespace) -> None:
    names = _chosen(options.only)
    options.data.mkdir(parents=True, exist_ok=True)
    with (options.data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchmarkError(f"other benchmarks are at work in {options.data}") from None
        _measure(options, names)


def _measure(options: argparse.Namespace, names: Iterable[str]) -> None:
    work = Path(tempfile.mkdtemp(prefix="work-", dir=options.data))
    file = work / "results.json" if options.tiny else options.results
    try:
        with Host(work / "host", options.data / "media") as host:
            bench = Bench(
                host=host,
                data=options.data,
                work=work,
                floradl=tuple(shlex.split(options.floradl)),
                runs=1 if options.tiny else options.runs,
                is_tiny=options.tiny,
                say=_say,
            )
            for name in names:
                _say(name)
                _keep(file, SUITE[name](bench))
        if options.tiny:
            report.check(results.load(file))
    finally:
        shutil.rmtree(work)


def _keep(file: Path, group: results.Group) -> None:
    """Add a group's figures to the file at once, so that a run which is interrupted later keeps them."""
    found = results.load(file) if file.exists() else results.Results({})
    found.machine = describe_machine()
    found.groups[group.id] = group
    found.groups = {name: found.groups[name] for name in SUITE if name in found.groups}
    results.save(found, file)


def _chosen(only: str) -> Iterable[str]:
    names = [name for name in only.split(",") if name]
    unknown = [name for name in names if name not in SUITE]
    if unknown:
        raise BenchmarkError(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(SUITE)}")
    return names or SUITE


def _cache() -> Path:
    """The folder of this user for data that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "floradl-benchmarks"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

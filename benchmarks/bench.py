"""What every benchmark is given: the host, folders, and how to run floradl in them."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks import account
from benchmarks.errors import BenchmarkError
from benchmarks.host import Host
from benchmarks.measure import Entrant, Outcome, run_process, take_turns, with_extra
from benchmarks.results import Row, Sample

FLOOR = "the disk alone"
ARCHIVE = ("archive", "--json", "--no-progress")
_FLOOR = Path(__file__).with_name("floor.py")
_OWN_FILES = {"run.json", "project.json", "workspace.json", "manifest.json", "SHA256SUMS"}


@dataclass(frozen=True)
class Bench:
    """One run of benchmarks.

    Args:
        host: the running nginx.
        data: where what is made once is kept.
        work: a folder for everything that is gone afterwards, on the same file system as `data`.
        floradl: the command that is measured.
        runs: how often each contender takes its turn.
        is_tiny: loads are so small that the figures mean nothing; this is to see that everything works.
        say: prints a line for whoever waits.
        seen: in a tiny run, who has had a turn.
    """

    host: Host
    data: Path
    work: Path
    floradl: tuple[str, ...]
    runs: int
    is_tiny: bool
    say: Callable[[str], None]
    seen: set[str] = field(default_factory=set)

    @property
    def media(self) -> Path:
        """Where the media files are; it is what the host serves."""
        return self.data / "media"

    def size(self, full: int, tiny: int) -> int:
        """How much of something: `full`, or `tiny` in a tiny run."""
        return tiny if self.is_tiny else full

    def environment(self, base_url: str = "") -> dict[str, str]:
        """The environment of every contender: nothing of the user's settings, caches or proxies."""
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
        return env | {"FLORA_BASE_URL": base_url, "FLORA_API_KEY": account.API_KEY} if base_url else env

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh folder. Its files are emptied afterwards (`empty_tree`); it goes with `work`."""
        path = Path(tempfile.mkdtemp(dir=self.work))
        try:
            yield path
        finally:
            empty_tree(path)

    def take_turns(self, entrants: Sequence[Entrant], runs: int | None = None) -> list[Row]:
        """Let each run as often as is wanted here, or `runs` times; see `measure.take_turns`."""
        wait = None if self.is_tiny else os.sync
        return take_turns(entrants, self.runs if runs is None else runs, self.say, before_each=wait)

    def publish(self, scene: str, runs: Iterable[account.Run], *, goes_on: bool = False) -> None:
        """Let the API of `scene` list these runs; `goes_on` as for `account.write_pages`."""
        folder = self.host.api_folder(scene)
        if not folder.exists():
            account.write_pages(folder, runs, goes_on=goes_on)

    def archive(self, scene: str, dest: Path, options: Sequence[str] = ()) -> tuple[Sample, Report]:
        """Run an archive job into `dest`: its figures, with the API calls it made, and its report.

        Raises:
            BenchmarkError: it failed, or its report is not one.
        """
        command = [*self.floradl, *ARCHIVE, *options, str(dest)]
        before = self.host.counts().api
        outcome = run_process(command, self.environment(self.host.base_url(scene)), self.work)
        report = report_of(outcome)
        calls = self.host.counts().api - before
        if calls != report.api_calls:
            raise BenchmarkError(f"floradl says {report.api_calls} API calls, the host counted {calls}")
        return with_extra(outcome.sample, {"api_calls": calls}), report

    def floor(self, runs: int, outputs: int, size_bytes: int) -> Entrant:
        """What the disk takes for as many files, by a program that does nothing else."""
        numbers = (str(runs), str(outputs), str(size_bytes))

        def run() -> Sample:
            with self.folder() as folder:
                dest = folder / "files"
                command = [sys.executable, str(_FLOOR), str(dest), *numbers]
                outcome = run_process(command, self.environment(), self.work)
                check_tree(dest, runs * outputs, runs * outputs * size_bytes, FLOOR)
            return outcome.sample

        lacks = "only creates, writes, flushes and renames as many files of as many bytes, eight at a time"
        return Entrant(FLOOR, "python benchmarks/floor.py DEST RUNS OUTPUTS SIZE", run, lacks)


class Outputs(msgspec.Struct, frozen=True):
    """The part of floradl's report about outputs."""

    fetched: int
    already: int
    failed: int
    new_bytes: int


class Archive(msgspec.Struct, frozen=True):
    """The part of floradl's report about the whole archive."""

    runs: int
    outputs: int
    bytes: int


class Report(msgspec.Struct, frozen=True):
    """What floradl's `--json` prints, as far as it is looked at here."""

    exit_code: int
    complete: bool
    api_calls: int
    outputs: Outputs
    archive: Archive


def report_of(outcome: Outcome) -> Report:
    """The report that floradl printed.

    Raises:
        BenchmarkError: it printed something else, or says that it is not complete.
    """
    try:
        report = msgspec.json.decode(outcome.stdout, type=Report)
    except msgspec.DecodeError as exc:
        raise BenchmarkError(f"floradl printed no report: {exc}: {outcome.stdout[:300]!r}") from exc
    if not report.complete:
        raise BenchmarkError(f"floradl's report is not of a complete archive: {report}")
    return report


def empty_tree(folder: Path) -> None:
    """Give back the room of all files below a folder, and leave them standing.

    Not removed at once: without a journal ext4 gives no inode away that was freed in the last minutes, and
    looks through all of them for every new file. Whoever came next would be timed at that. What has another
    name too is left alone: its bytes may be somebody else's.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.truncate(path, 0)


def check_tree(dest: Path, count: int, size_bytes: int, who: str) -> None:
    """Look at what was fetched: so many files of so many bytes together, floradl's own apart.

    Raises:
        BenchmarkError: it is something else.
    """
    sizes = []
    for folder, folders, names in os.walk(dest):
        if Path(folder) == dest and ".floradl" in folders:
            folders.remove(".floradl")
        sizes += [Path(folder, name).stat().st_size for name in names if name not in _OWN_FILES]
    if (len(sizes), sum(sizes)) != (count, size_bytes):
        found = f"{len(sizes)} files of {sum(sizes)} bytes"
        raise BenchmarkError(f"{who} fetched {found} instead of {count} of {size_bytes}")

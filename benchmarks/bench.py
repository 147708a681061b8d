"""What every benchmark works with: the host, folders, and the ways to run floradl and to check its output."""

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
        data: the folder of files that are made once and kept, such as media.
        work: a folder that is removed at the end, on the same file system as `data`.
        floradl: the command that is measured, as its arguments.
        runs: how often each contender takes its turn.
        is_tiny: whether the loads are so small that the figures mean nothing, to see that everything works.
        say: prints a line about the progress.
        seen: names of the contenders that have had a turn, in a tiny run.
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
        """The folder of media files, which the host serves."""
        return self.data / "media"

    def size(self, full: int, tiny: int) -> int:
        """`full`, or in a tiny run `tiny`."""
        return tiny if self.is_tiny else full

    def environment(self, base_url: str = "") -> dict[str, str]:
        """The environment of every contender, without the user's settings, caches and proxies."""
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
        return env | {"FLORA_BASE_URL": base_url, "FLORA_API_KEY": account.API_KEY} if base_url else env

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh folder. Its files are emptied afterwards (`empty_tree`); it is removed with `work`."""
        path = Path(tempfile.mkdtemp(dir=self.work))
        try:
            yield path
        finally:
            empty_tree(path)

    def take_turns(self, entrants: Sequence[Entrant], runs: int | None = None) -> list[Row]:
        """Let each entrant run `runs` times, or `self.runs` times when None; see `measure.take_turns`."""
        wait = None if self.is_tiny else os.sync
        return take_turns(entrants, self.runs if runs is None else runs, self.say, before_each=wait)

    def publish(self, scene: str, runs: Iterable[account.Run], *, goes_on: bool = False) -> None:
        """Write the pages of an API called `scene` with these runs; `goes_on` as in `account.write_pages`."""
        folder = self.host.api_folder(scene)
        if not folder.exists():
            account.write_pages(folder, runs, goes_on=goes_on)

    def archive(self, scene: str, dest: Path, options: Sequence[str] = ()) -> tuple[Sample, Report]:
        """Archive the account of `scene` into `dest`.

        Args:
            scene: the name of the API, as given to `publish`.
            dest: the archive's folder.
            options: further options of `floradl`.

        Returns:
            The figures, with the number of API calls, and the report that floradl printed.

        Raises:
            BenchmarkError: floradl failed, printed no report, or counted other API calls than the host did.
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
        """An entrant that only writes as many files of this size: the time that the disk takes."""
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
    """What floradl's report says about outputs."""

    fetched: int
    already: int
    failed: int
    new_bytes: int


class Archive(msgspec.Struct, frozen=True):
    """What floradl's report says about the whole archive."""

    runs: int
    outputs: int
    bytes: int


class Report(msgspec.Struct, frozen=True):
    """The report that `floradl --json` prints: the fields that the benchmarks read."""

    exit_code: int
    complete: bool
    api_calls: int
    outputs: Outputs
    archive: Archive


def report_of(outcome: Outcome) -> Report:
    """Read the report that floradl printed.

    Raises:
        BenchmarkError: floradl printed something else, or the report says that the archive is not complete.
    """
    try:
        report = msgspec.json.decode(outcome.stdout, type=Report)
    except msgspec.DecodeError as exc:
        raise BenchmarkError(f"floradl printed no report: {exc}: {outcome.stdout[:300]!r}") from exc
    if not report.complete:
        raise BenchmarkError(f"floradl's report is not of a complete archive: {report}")
    return report


def empty_tree(folder: Path) -> None:
    """Truncate all files below a folder, to free their room, but do not remove them.

    They are not removed here because ext4 without a journal does not reuse an inode that was freed in the
    last minutes, and looks through all of them for every new file: the next contender would be slowed down by
    that. A file that has several hard links is left alone, because its bytes may be in use elsewhere.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.truncate(path, 0)


def check_tree(dest: Path, count: int, size_bytes: int, who: str) -> None:
    """Check the number of files and their bytes in all that were downloaded, without floradl's own files.

    Raises:
        BenchmarkError: the number of files or the number of bytes is another.
    """
    sizes = []
    for folder, folders, names in os.walk(dest):
        if Path(folder) == dest and ".floradl" in folders:
            folders.remove(".floradl")
        sizes += [Path(folder, name).stat().st_size for name in names if name not in _OWN_FILES]
    if (len(sizes), sum(sizes)) != (count, size_bytes):
        found = f"{len(sizes)} files of {sum(sizes)} bytes"
        raise BenchmarkError(f"{who} fetched {found} instead of {count} of {size_bytes}")

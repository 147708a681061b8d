"""Running processes for their figures, in turns."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.errors import BenchmarkError
from benchmarks.results import Row, Sample

LAUNCHER = Path(__file__).with_name("launch.py")
TIMEOUT_S = 3600.0
_TAIL_BYTES = 3000


class _Figures(msgspec.Struct, frozen=True):
    exit_code: int
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures and the output of a process that ended with exit code 0."""

    sample: Sample
    stdout: bytes


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender in a group that takes turns.

    `run` does the job once, with all preparations that are not measured. `max_runs` limits the turns of a
    contender so slow that more of them would tell nothing new. `missing` says why it cannot run, if so.
    """

    name: str
    command: str
    run: Callable[[], Sample]
    lacks: str = ""
    max_runs: int | None = None
    missing: str = ""


def run_process(command: Sequence[str], env: Mapping[str, str], work: Path) -> Outcome:
    """Run a command and wait for its end.

    Args:
        command: the program and its arguments.
        env: its whole environment.
        work: a folder for temporary files, such as its output.

    Raises:
        BenchmarkError: the command ended with another exit code than 0, or not within `TIMEOUT_S`.
    """
    with TemporaryDirectory(dir=work) as folder:
        figures, stdout, stderr = (Path(folder, name) for name in ("figures", "stdout", "stderr"))
        launcher = [sys.executable, "-IS", str(LAUNCHER), str(figures), str(stdout), str(stderr)]
        # In a session of its own, so that Ctrl-C reaches only the benchmarks, which then end the whole group.
        process = subprocess.Popen([*launcher, *command], env=dict(env), start_new_session=True)
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{_shown(command)} took more than {TIMEOUT_S:.0f} s") from None
        finally:
            _end_group(process)
        printed = stdout.read_bytes() if stdout.exists() else b""
        complaints = stderr.read_bytes() if stderr.exists() else b""
        if process.returncode or not figures.exists():
            raise BenchmarkError(f"{_shown(command)} could not be started")
        found = msgspec.json.decode(figures.read_bytes(), type=_Figures)
    if found.exit_code:
        said = (printed[-_TAIL_BYTES:] + complaints[-_TAIL_BYTES:]).decode(errors="replace")
        raise BenchmarkError(f"{_shown(command)} ended with {found.exit_code}:\n{said}")
    return Outcome(Sample(found.wall_s, found.cpu_s, found.peak_rss_bytes), printed)


def take_turns(
    entrants: Sequence[Entrant],
    runs: int,
    say: Callable[[str], None],
    *,
    before_each: Callable[[], None] | None = None,
) -> list[Row]:
    """Let each entrant run `runs` times, all of them once before any of them a second time.

    `before_each` is called before every turn. It is for `os.sync`: the system would otherwise write what the
    entrant before left unwritten, during this one's time.
    """
    samples: dict[str, list[Sample]] = {entrant.name: [] for entrant in entrants}
    for entrant in entrants:
        if entrant.missing:
            say(f"  MISSING: {entrant.name}: {entrant.missing}")
    for turn in range(runs):
        for entrant in entrants:
            if entrant.missing or turn >= (runs if entrant.max_runs is None else entrant.max_runs):
                continue
            if before_each is not None:
                before_each()
            sample = entrant.run()
            samples[entrant.name].append(sample)
            say(f"  {entrant.name:<34} {sample.wall_s:8.3f} s {sample.peak_rss_bytes / 1e6:6.0f} MB")
    return [
        Row(
            name=entrant.name,
            command=entrant.command,
            lacks=entrant.lacks,
            samples=samples[entrant.name],
            missing=entrant.missing,
        )
        for entrant in entrants
    ]


def with_extra(sample: Sample, extra: Mapping[str, float]) -> Sample:
    """A copy of a sample with more counts."""
    return msgspec.structs.replace(sample, extra=sample.extra | dict(extra))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started and left behind; they are in a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shown(command: Sequence[str]) -> str:
    text = shlex.join(command)
    return text if len(text) < 300 else text[:300] + "…"

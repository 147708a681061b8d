"""Runs of floradl without the time that Python takes to start.

Starting Python takes longer than a whole small run. So one process, the *zygote*, imports floradl, starts no
thread, and forks a child for each run, which calls `floradl.cli.main` as the installed command does. Tests in
which the start of the process matters (signals, kills, the first contact) start the command itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import certifi

from floradl.simulator import Simulator
from tests.support.processes import environment

TIME_LIMIT_S = 180
"""How long a run may take: some wait as long as a host asks for, and many run at the same time."""

_IMPORTED = (
    "floradl.cli.main",
    "floradl.cli.commands.archive",
    "floradl.cli.commands.restore",
    "floradl.cli.commands.status",
    "floradl.cli.commands.verify",
    "anyio._backends._asyncio",
    "encodings.idna",
)
"""What a run needs; some of it would be imported at its first request."""

_END = b"-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Ran:
    """How a run ended: its exit code (negative for a signal), its output, and what the hook wrote."""

    returncode: int
    stdout: str
    stderr: str
    log: str


class Zygote:
    """The process that forks runs, one at a time; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=TIME_LIMIT_S)  # the zygote ends when its input ends

    def descriptors(self) -> Iterator[str]:
        """The numbers of the descriptors by which the zygote gets requests and answers them."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                yield str(stream.fileno())

    def run(self, arguments: list[str], env: dict[str, str], hook: tuple[str, Any] | None = None) -> Ran:
        """Run `floradl ARGUMENTS` to its end, and assert that it shows no traceback.

        Args:
            arguments: the command line.
            env: its environment.
            hook: a module, and the argument for its function `hook`, which the child calls before the run.
                The function also gets the descriptor of a log.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": arguments, "env": env, "hook": hook}) + "\n")
        self._process.stdin.flush()
        ran = Ran(**json.loads(self._process.stdout.readline()))
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran


_mine = threading.local()

lasting: set[str] = set()
"""The numbers of the descriptors of zygotes that stay until the end of the tests."""


def floradl(sim: Simulator, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `processes.floradl` does, but by this thread's zygote."""
    zygote: Zygote | None = getattr(_mine, "zygote", None)
    if zygote is None:
        zygote = _mine.zygote = Zygote().__enter__()
        atexit.register(zygote.__exit__, None, None, None)
        lasting.update(zygote.descriptors())
    words = [str(argument) for argument in arguments]
    ran = zygote.run(words, environment(sim, **env))
    return subprocess.CompletedProcess(words, ran.returncode, ran.stdout, ran.stderr)


# --- the zygote -------------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests, each a line of JSON, until the input ends."""
    for module in _IMPORTED:
        importlib.import_module(module)
    with tempfile.NamedTemporaryFile(suffix=".pem") as certificate:
        # No run here speaks TLS, and reading the root certificates would be most of the work of a small run.
        certificate.write(Path(certifi.where()).read_bytes().partition(_END)[0] + _END)
        certificate.flush()
        certifi.where = lambda: certificate.name
        gc.freeze()  # then the collector touches nothing imported, and no child copies its pages
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
            sys.stdout.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do one run in a child, and answer how it ended."""
    with (
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        tempfile.TemporaryFile() as log,
    ):
        child = os.fork()
        if child == 0:
            _run_and_exit(request, stdout.fileno(), stderr.fileno(), log.fileno())
        _, status = os.waitpid(child, 0)
        said = []
        for file in (stdout, stderr, log):
            file.seek(0)
            said.append(file.read().decode())
    return {
        "returncode": os.waitstatus_to_exitcode(status),
        "stdout": said[0],
        "stderr": said[1],
        "log": said[2],
    }


def _run_and_exit(request: dict[str, Any], stdout: int, stderr: int, log: int) -> None:
    """Do the run in the child, and end the child whatever happens."""
    code: object = 1
    try:
        signal.alarm(TIME_LIMIT_S)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.environ.clear()
        os.environ.update(request["env"])
        if request["hook"] is not None:
            module, argument = request["hook"]
            importlib.import_module(module).hook(argument, log)
        code = importlib.import_module("floradl.cli.main").main(request["argv"])
    except SystemExit as exc:
        code = exc.code
    except BaseException:  # noqa: BLE001 - whatever comes out of `main` is what the test wants to see
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()

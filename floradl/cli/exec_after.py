"""The command that runs when a job has ended (`--exec-after`).

The text is split into words as a shell does it, but no shell runs it: there are no variables, globs or pipes.
The command gets the job's JSON report on standard input and the exit code as `FLORADL_EXIT_CODE`. The API key
is not in its environment. What it prints goes to standard error, because standard output is for data.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable

from floradl.constants import SECRET_VARIABLES
from floradl.errors import UsageError, printable


def parse_command(text: str) -> tuple[str, ...]:
    """Split the text of `--exec-after` into words.

    Raises:
        UsageError: a quote is missing, or there is no such program.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as exc:
        raise UsageError(f"--exec-after: {printable(text)!r} does not fit: {exc}") from exc
    if not words or shutil.which(words[0]) is None:
        shown = printable(words[0] if words else text)
        hint = "No shell runs it; for what needs one: --exec-after \"sh -c '…'\""
        raise UsageError(f"--exec-after: there is no program {shown!r}", hint=hint)
    return words


def run_after(
    words: tuple[str, ...], report: bytes, exit_code: int, on_start: Callable[[Callable[[], None]], None]
) -> str:
    """Run a command to its end, however long it takes. Blocks, so it is called in a thread.

    asyncio's subprocesses are not used: the command may end without reading all of its input, at which each
    event loop's pipes raise another error. `communicate` ignores it.

    Args:
        words: the command's words.
        report: what it gets on standard input.
        exit_code: the job's.
        on_start: called with a function that kills the command.

    Returns:
        What went wrong; "" where it ended with exit code 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    try:
        process = subprocess.Popen(  # noqa: S603 - what the user asked for, and no shell sees it
            words,
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            env=environment | {"FLORADL_EXIT_CODE": str(exit_code)},
        )
    except OSError as exc:
        return f"{printable(words[0])} could not be started: {exc.strerror}"
    on_start(process.kill)
    process.communicate(report)
    if process.returncode:
        return f"{printable(words[0])} ended with {process.returncode}"
    return ""

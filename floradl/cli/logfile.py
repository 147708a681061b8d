"""The log file (`--log-file`): a JSON object on each line, about everything that a job does.

Each line has `time` (UTC), `level`, `event` and `message`; a line about one run or output has `run` and
`output` too. When the file has reached 10 MB it is renamed to `.1`, the one before to `.2`, and so on to
`.5`. If the log cannot be written any more, one warning is shown and the job goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Self

from floradl.clock import Clock
from floradl.errors import UsageError, printable

MAX_BYTES = 10_000_000
KEPT_FILES = 5

_FIELDS = ("event", "run", "output", "code", "exit_code", "bytes")


class LogFile:
    """An open log file; a context manager that closes it.

    Args:
        path: the file; its folder must exist.
        clock: gives the time of each line.
        max_bytes: at this size it is renamed and a new one begun.

    Raises:
        UsageError: it cannot be written.
    """

    def __init__(self, path: Path, clock: Clock, *, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        try:
            self._handler = _Handler(
                path, maxBytes=max_bytes, backupCount=KEPT_FILES, encoding="utf-8", errors="backslashreplace"
            )
        except OSError as exc:
            raise UsageError(
                f"cannot write the log file {printable(str(path))}: {exc.strerror}",
                hint="Nothing was done. Name a file in a folder that exists and that you may write to.",
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk has been reported already
            self._handler.close()

    def on_error(self, tell: Callable[[str], None]) -> None:
        """Have a function called with a message when a line cannot be written; only the first time."""
        self._handler.tell = tell

    def write(self, level: int, event: str, message: str, **fields: str | int) -> None:
        """Write a line.

        Args:
            level: one of `logging`'s.
            event: a stable word for what happened.
            message: the same for people; one line.
            fields: further keys of the line, such as `run` and `output`.
        """
        known = {
            name: printable(value) if isinstance(value, str) else value for name, value in fields.items()
        }
        line = {
            "time": datetime.fromtimestamp(self._clock.now(), UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": logging.getLevelName(level).lower(),
            "event": event,
            "message": printable(message, limit=2000),
            **known,
        }
        self._handler.handle(logging.makeLogRecord({"msg": json.dumps(line, ensure_ascii=False)}))

    def record(self, record: logging.LogRecord) -> None:
        """Write what a module of floradl logged; known names in its `extra` become keys of the line."""
        given = {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        self.write(record.levelno, given.pop("event", "log"), record.getMessage(), **given)


class _Handler(RotatingFileHandler):
    """The standard library's rotating handler; it reports an error once, in one line, without a traceback."""

    tell: Callable[[str], None] | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as logging has it
        tell, self.tell = self.tell, None
        if tell is not None:
            tell("the log file cannot be written any more")

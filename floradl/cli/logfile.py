"""The log file: a JSON object a line, for whoever asks in the morning what happened at night.

Each line has `time` (UTC), `level`, `event` and `message`, and `run` and `output` where it is about one. A
file that has grown to 10 MB is renamed to `.1`, and so on to `.5`. A log that cannot be written any more is
told once, and stops no job.
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
    """A log file that is open; a context, after which it is closed.

    Args:
        path: where; its folder must be there.
        clock: for the time of each line.
        max_bytes: how large it gets before it is renamed.

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
        with suppress(OSError):  # on a full disk it has been told already
            self._handler.close()

    def on_error(self, tell: Callable[[str], None]) -> None:
        """Who hears, once, that a line could not be written."""
        self._handler.tell = tell

    def write(self, level: int, event: str, message: str, **fields: str | int) -> None:
        """Write a line.

        Args:
            level: one of `logging`'s.
            event: a stable word for what happened.
            message: the same for people; one line.
            fields: what it is about, such as `run` and `output`.
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
        """Write what a module of floradl logged; what it gave as `extra` becomes fields."""
        given = {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        self.write(record.levelno, given.pop("event", "log"), record.getMessage(), **given)


class _Handler(RotatingFileHandler):
    """stdlib's rotation, but that an error is told in one line and once."""

    tell: Callable[[str], None] | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as logging has it
        tell, self.tell = self.tell, None
        if tell is not None:
            tell("the log file cannot be written any more")

"""What the commands share: opening the API from settings, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from floradl.api.models import EVERYTHING, Filters, Scope
from floradl.cli.config import Settings
from floradl.cli.values import parse_moment_ms
from floradl.clock import Clock
from floradl.constants import EVERY_SOURCE, TYPE_WORDS, Source
from floradl.errors import UsageError, printable

if TYPE_CHECKING:
    from floradl.api.client import FloraApi


def open_api(settings: Settings, clock: Clock, warn: Callable[[str], None]) -> FloraApi:
    """A session with the API that the settings name; `warn` hears of keys that others can read.

    Raises:
        UsageError: no key, or a base URL that must not be used.
    """
    from floradl.api.client import FloraApi
    from floradl.network import addresses  # a check of an archive shares this module and needs no HTTP

    base_url = addresses.check_base_url(settings.base_url)
    key = settings.api_key(_read_line)
    for warning in settings.warnings:
        warn(warning)
    return FloraApi(base_url, key, clock=clock, retries=settings.retries, timeout_s=settings.timeout)


def expanded(path: str, *, what: str = "DEST") -> Path:
    """A folder or file that the user named, with `~`.

    Raises:
        UsageError: it is empty, as an unset variable makes it, or no path.
    """
    if not path:
        raise UsageError("DEST is empty", hint="Name the archive's folder; . is the one you are in.")
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise UsageError(f"{what} {printable(path)}: {exc}") from exc


def filters_of(settings: Settings, clock: Clock) -> Filters:
    """The filters that the settings name.

    Raises:
        UsageError: a value does not fit.
    """
    return Filters(
        run_ids=frozenset(settings.run_id),
        types=frozenset(TYPE_WORDS[word] for word in settings.type),
        models=tuple(settings.model),
        since_ms=_moment(settings.since, "--since", clock),
        until_ms=_moment(settings.until, "--until", clock),
        max_runs=settings.max_runs,
    )


def scopes_of(workspace_ids: tuple[str, ...], project_ids: tuple[str, ...]) -> tuple[Scope, ...]:
    """What to list: any of the workspaces and any of the projects; everything when there are none."""
    return tuple(
        dict.fromkeys(
            Scope(workspace_id, project_id)
            for workspace_id in workspace_ids or (None,)
            for project_id in project_ids or (None,)
        )
    ) or (EVERYTHING,)


def sources_of(words: tuple[str, ...]) -> tuple[Source, ...]:
    """The sources that `--source` names, each once; none where it was not given."""
    return tuple(source for source in Source if source in words or EVERY_SOURCE in words)


def write_line(line: bytes) -> None:
    """A line of data on stdout: UTF-8 whatever the terminal's encoding is."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _read_line() -> str:
    return sys.stdin.readline()


class Interruption:
    """The signals that came.

    Attributes:
        stop: set by the first.
        number: the first one's.
        meanwhile: what goes on after the first.
    """

    def __init__(self, meanwhile: str) -> None:
        self.stop = asyncio.Event()
        self.number: int | None = None
        self.meanwhile = meanwhile
        self.leave: Callable[[], None] = lambda: None

    def leave_by(self, leave: Callable[[], None]) -> None:
        """What is called when the second ends the process."""
        self.leave = leave


@contextmanager
def catch_signals(
    say: Callable[[str], None], *, meanwhile: str = "running transfers get 10 s to finish"
) -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into an orderly stop, and let the second end the process at once.

    Args:
        say: hears of both.
        meanwhile: what goes on after the first.
    """
    interruption = Interruption(meanwhile)
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        again = "Ctrl-C again" if number == signal.SIGINT else "A second signal"
        if interruption.number is not None:
            # Nothing is lost by this: what is not recorded yet is a partial or is hashed at the next start.
            interruption.leave()
            say("Ended at once. Nothing is lost: the same command goes on from here.")
            os._exit(128 + number)
        interruption.number = number
        interruption.stop.set()
        say(f"Stopping: {interruption.meanwhile}. {again} ends at once; nothing is lost.")

    numbers = (signal.SIGINT, signal.SIGTERM)
    with suppress(NotImplementedError):  # Windows' event loop has no signal handlers: Ctrl-C ends at once
        for number in numbers:
            loop.add_signal_handler(number, on_signal, number)
    try:
        yield interruption
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def _moment(text: str | None, flag: str, clock: Clock) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment_ms(text, clock.now_ms())
    except ValueError as exc:
        raise UsageError(f"{flag}: {text!r} does not fit: {exc}") from exc

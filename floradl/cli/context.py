"""What the commands share: values made from settings, the API client, output, and signals."""

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
    """A client of the API that the settings name.

    Args:
        settings: the command's.
        clock: time.
        warn: called with a warning for each file with a key that other users can read.

    Raises:
        UsageError: there is no key, or the base URL must not be used.
    """
    from floradl.api.client import FloraApi
    from floradl.network import addresses  # `verify` imports this module too, and needs no HTTP

    base_url = addresses.check_base_url(settings.base_url)
    key = settings.api_key(_read_line)
    for warning in settings.warnings:
        warn(warning)
    return FloraApi(base_url, key, clock=clock, retries=settings.retries, timeout_s=settings.timeout)


def expanded(path: str, *, what: str = "DEST") -> Path:
    """The path of a folder or file that the user named; `~` becomes the home folder.

    Raises:
        UsageError: it is empty, as `"$UNSET"` is, or names the home folder of an unknown user.
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
        UsageError: a date, time or age cannot be read, or nothing can pass the filters: a job that can find
            nothing would end well night after night.
    """
    since_ms, until_ms = (
        _moment(settings.since, "--since", clock),
        _moment(settings.until, "--until", clock),
    )
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        hint = f"--since {settings.since} is not before --until {settings.until}: swap them."
        raise UsageError("no run can be within --since and --until", hint=hint)
    if since_ms is not None and since_ms > clock.now_ms():
        raise UsageError(f"--since {settings.since} is in the future", hint="No run was created by then.")
    return Filters(
        run_ids=frozenset(settings.run_id),
        types=frozenset(TYPE_WORDS[word] for word in settings.type),
        models=tuple(settings.model),
        since_ms=since_ms,
        until_ms=until_ms,
        max_runs=settings.max_runs,
    )


def scopes_of(workspace_ids: tuple[str, ...], project_ids: tuple[str, ...]) -> tuple[Scope, ...]:
    """The scopes to list: each workspace with each project; everything where none is named."""
    return tuple(
        dict.fromkeys(
            Scope(workspace_id, project_id)
            for workspace_id in workspace_ids or (None,)
            for project_id in project_ids or (None,)
        )
    ) or (EVERYTHING,)


def sources_of(words: tuple[str, ...]) -> tuple[Source, ...]:
    """The sources that `--source` names, each once; an empty tuple where it was not given."""
    return tuple(source for source in Source if source in words or EVERY_SOURCE in words)


def write_line(line: bytes) -> None:
    """Write a line of data to stdout, as bytes: data are UTF-8 whatever encoding the terminal has."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _read_line() -> str:
    return sys.stdin.readline()


class Interruption:
    """The signals that came while a job runs.

    Attributes:
        stop: an event that the first signal sets; the job ends early then.
        number: the number of the first signal; None before it.
        meanwhile: what is said after the first signal: what the user is waiting for then.
    """

    def __init__(self, meanwhile: str) -> None:
        self.stop = asyncio.Event()
        self.number: int | None = None
        self.meanwhile = meanwhile
        self.leave: Callable[[], None] = lambda: None
        """Called by the second signal, right before the process ends."""

    def on_exit(self, leave: Callable[[], None]) -> None:
        """Have something called when a second signal ends the process, such as killing a child process."""
        self.leave = leave


@contextmanager
def catch_signals(
    say: Callable[[str], None], *, meanwhile: str = "running transfers get 10 s to finish"
) -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into an orderly stop, and let the second end the process at once.

    Args:
        say: called with a message for the user at each signal.
        meanwhile: see `Interruption`.
    """
    interruption = Interruption(meanwhile)
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        again = "Ctrl-C again" if number == signal.SIGINT else "A second signal"
        if interruption.number is not None:
            # Ending here loses nothing. An output that is not recorded yet is either a partial file, with
            # which the next run goes on, or a whole file, which the next run hashes and records.
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

"""How outputs, places and failures are called on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floradl.errors import printable

if TYPE_CHECKING:
    from floradl.repository.results import Failure


def failure_line(failure: Failure) -> str:
    """One failed output: which, and why."""
    name = output_name(failure.run_id, failure.key)
    tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
    return f"failed: {name}: {failure.code}: {failure.message}{tries}"


def output_name(identifier: str, key: str) -> str:
    """An output by its run's id and its own; an asset's file, whose key is the asset's id, by that."""
    shown = printable(identifier, limit=80)
    return shown if key == identifier else f"{shown} {printable(key, limit=80)}"


def place_name(name: str, identifier: str) -> str:
    """A project or workspace by name and id, or by id alone."""
    shown = printable(identifier, limit=80) or "(no project)"
    return f"{printable(name, limit=60)} ({shown})" if name else shown

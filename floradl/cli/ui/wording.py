"""How outputs, places, lists and failures are called on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floradl.constants import SOURCE_WORDS
from floradl.errors import printable

if TYPE_CHECKING:
    from floradl.repository.results import Failure


def failure_line(failure: Failure) -> str:
    """A line about a failed output: which it is, and why it failed."""
    name = output_name(failure.run_id, failure.key)
    tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
    return f"failed: {name}: {failure.code}: {failure.message}{tries}"


def output_name(identifier: str, key: str) -> str:
    """An output's name: the id of its run and its key.

    Args:
        identifier: the id of the run or asset.
        key: the output's; the one file of an asset has the asset's id as its key, which is not said twice.
    """
    shown = printable(identifier, limit=80)
    return shown if key == identifier else f"{shown} {printable(key, limit=80)}"


def place_name(name: str, identifier: str) -> str:
    """A project or workspace as `name (id)`, or as its id where it has no name."""
    shown = printable(identifier, limit=80) or "(no project)"
    return f"{printable(name, limit=60)} ({shown})" if name else shown


def list_word(source: str) -> str:
    """What one of FLORA's lists is called; the source itself where a newer floradl wrote it."""
    words = {str(known): word for known, word in SOURCE_WORDS.items()}
    return words.get(source, printable(source, limit=20))

"""JSON on standard output: pure text, whatever names and messages from outside are in it.

JSON has to escape the control characters below U+0020 alone. A name may hold others that a terminal obeys or
that change what is read: DEL and the C1 controls, of which one begins a command to the terminal, marks that
turn the direction of writing, line separators. They are escaped too, so that the JSON means the same and
nothing in it reaches a terminal.
"""

from __future__ import annotations

import msgspec

from floradl.cli.context import write_line


def write_json(value: object) -> None:
    """Write a value to standard output as one line of JSON."""
    write_line(escaped(msgspec.json.encode(value)))


def escaped(text: bytes) -> bytes:
    """JSON with every character escaped that cannot be shown; it means the same.

    Args:
        text: JSON in UTF-8. Outside its strings only ASCII can stand, so nothing else is changed.
    """
    if text.isascii() and b"\x7f" not in text:
        return text
    return "".join(_shown(character) for character in text.decode("utf-8", "replace")).encode()


def _shown(character: str) -> str:
    if character.isprintable() or character in "\r\n\t":  # these three stand between the fields alone
        return character
    pair = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))

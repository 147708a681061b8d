"""docs/cli.md: it says what the parsers and the table of options say."""

from __future__ import annotations

import re

import pytest

from floradl.cli.options import COMMANDS
from floradl.cli.parser import parser_of
from tests.support.cli_page import PAGE, page


def sections() -> dict[str, str]:
    """What the page says of each command."""
    parts = re.split(r"^## floradl (\S+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_is_not_stale() -> None:
    """The page in the repository is the one that `make docs` writes now."""
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/cli.md is stale: run `make docs`"


def test_every_command_is_documented() -> None:
    """Each command has its section, and no other has one."""
    assert list(sections()) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_argument_is_documented(command: str) -> None:
    """A command's section names each flag with its variables and its key, and each argument."""
    text = sections()[command]
    for option in COMMANDS[command]:
        row = next(line for line in text.splitlines() if re.search(rf"^\|.*`--{option.name}[ `\[]", line))
        assert all(f"`{name}`" in row for name in option.environment)
        assert f"`{option.key}`" in row or option.key == "profile"
        assert option.short is None or f"`{option.short}" in row
        assert option.help.split("|")[0].split("<")[0] in row
    for action in parser_of(command)._actions:
        if not action.option_strings:
            shown = str(action.metavar or action.dest).replace("|", "\\|")
            assert f"| `{shown}` |" in text

"""`python -m tests.support.cli_page FILE`: write docs/cli.md from the parsers and the table of options.

`test_cli_page.py` compares the page with them, so that it cannot become outdated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from floradl.cli.options import COMMANDS, Option
from floradl.cli.parser import parser_of

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

_BEGIN = """\
# The command line

<!-- Written by `make docs` from the table of options; a test keeps it true. -->

`floradl COMMAND --help` says the same at the terminal. `archive` may be left out: `floradl ./out` is
`floradl archive ./out`.

## Where values come from

Each option's value comes from the first of these that has one:

1. the flag;
2. the environment: `FLORADL_<OPTION>`, and for two of them `FLORA_API_KEY` and `FLORA_BASE_URL`, which
   FLORA's own tools use. A variable that is set to nothing counts as not set;
3. the config file's table `[profile.NAME]`, with `--profile NAME` or `FLORADL_PROFILE=NAME`;
4. the config file outside of profiles;
5. the default.

The config file is `config.toml`, where `floradl config path` says; it need not exist. Its keys are the
options' names with `_` for `-`:

```toml
concurrency = 32
min_free = "10G"

[profile.studio]
project_id = ["prj_abc", "prj_def"]

[profile.agency]
api_key_file = "~/agency.key"
```

One file serves all commands; each takes what it has an option for. A key that no command knows is an error,
in every table, and the nearest that there is gets named. `floradl config show` prints every value and its
origin, also with `--profile` and the flags of any command; `floradl config check` names all that is wrong.

## Where the key comes from

Of `api_key` and `api_key_file` the one from the earlier of these sources counts; of two from one source,
`api_key`. If neither is set anywhere, the key counts that `floradl login` keeps. It keeps one for each
profile and base URL, and gives it to no other base URL: in the system's keyring, if floradl was installed
with the extra `keyring` and the keyring works, else in a file that only you can read, in the folder `keys` of
floradl's data folder. `floradl login --profile NAME` adds the profile to the config file if it is not there.

Where the keyring is locked while nobody is logged in, as for a nightly job, `floradl login --to-file` leaves
it alone.
"""


def page() -> str:
    """The whole page."""
    lines = [_BEGIN]
    for command in COMMANDS:
        lines += _command(command)
    lines += ["## Exit codes", "", "```", (parser_of("archive").epilog or "").strip(), "```"]
    return "\n".join(lines) + "\n"


def _command(name: str) -> Iterator[str]:
    parser = parser_of(name)
    arguments = [action for action in parser._actions if not action.option_strings]
    summary = parser.description or ""
    yield f"## floradl {name}"
    yield ""
    yield f"{summary[:1].upper()}{summary[1:]}."
    yield ""
    options = " [options]" if COMMANDS[name] else ""
    yield f"```\nfloradl {name}{options}{''.join(f' {_usage(action)}' for action in arguments)}\n```"
    yield ""
    if arguments:
        yield from ("| argument | meaning |", "| --- | --- |")
        for action in arguments:
            yield f"| `{_cell(_name(action))}` | {_cell(action.help or '')} |"
        yield ""
    if COMMANDS[name]:
        yield from ("| option | meaning | variable | key |", "| --- | --- | --- | --- |")
        for option in COMMANDS[name]:
            yield _row(option)
        yield ""


def _name(argument: argparse.Action) -> str:
    return str(argument.metavar or argument.dest)


def _usage(argument: argparse.Action) -> str:
    return f"[{_name(argument)}]" if argument.nargs == "?" else _name(argument)


def _row(option: Option) -> str:
    value = "" if option.parse is None else f" {option.value_name}"
    if option.implied is not None:
        value = f"[={option.value_name}]"
    flags = ", ".join(f"`{flag}{value}`" for flag in (option.short, f"--{option.name}") if flag)
    variables = ", ".join(f"`{name}`" for name in option.environment)
    key = "" if option.key == "profile" else f"`{option.key}`"
    return f"| {flags} | {_cell(option.help)} | {variables} | {key} |"


def _cell(text: str) -> str:
    """A text escaped for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")

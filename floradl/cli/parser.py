"""The argument parsers of the commands, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from floradl.cli.options import COMMANDS, EVERY_OPTION, Option
from floradl.errors import UsageError, printable
from floradl.version import __version__

_SUMMARIES = {
    "archive": "archive all completed generations, fetching only what is missing (may be left out)",
    "verify": "check an archive: everything recorded is there, byte for byte; --repair mends it",
    "restore": "copy verified files out of an archive into another, or into one flat folder",
    "status": "what an archive holds, what is missing, what it cost to generate, and how old it is",
    "gallery": "make index.html, which shows the archive in any browser, or bring it up to date",
    "list": "print generations, technique runs, uploads or a canvas, as the API gives them",
    "schedule": "print, install, list or remove a nightly job that archives; takes archive's options too",
    "login": "keep an API key, once it is checked: typed in unseen, or from standard input",
    "logout": "forget the kept key",
    "whoami": "which key is in use, and the workspaces and roles that it sees",
    "config": "where the config file is, what each option is and why, and what is wrong with them",
    "completion": "print what lets a shell complete floradl's commands, options and paths",
    "demo": "the whole job against a built-in local FLORA, no account needed",
}
_DEST_HELP = {
    "archive": "the archive's folder; made when missing",
    "verify": "the archive's folder",
    "restore": "where files go; made when missing",
    "schedule": "the archive's folder; not needed with --list",
    "status": "the archive's folder",
    "gallery": "the archive's folder",
    "demo": "a folder for the demo's archive; made when missing",
}
_CONFIG_HELP = """\
path: where the config file is; show: every option's value and its origin, the options of all commands
understood; check: everything that is wrong in the file and in FLORADL_ variables"""
_SHELL_HELP = """\
bash: eval "$(floradl completion bash)" in ~/.bashrc; zsh: eval "$(floradl completion zsh)" in ~/.zshrc, after
compinit; fish: floradl completion fish > ~/.config/fish/completions/floradl.fish"""
_WORDS = {
    "config": ("action", ("path", "show", "check"), _CONFIG_HELP),
    "completion": ("shell", ("bash", "zsh", "fish"), _SHELL_HELP),
}
"""Commands that take one word: the argument's name, the words that it may be, its help."""

_EPILOG = """\
exit codes: 0 complete, 1 could not do the job, 2 wrong usage, 3 something is missing,
4 key refused, 5 another floradl is working on this archive, 130/143 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` where argparse would print and exit."""

    def error(self, message: str) -> None:  # type: ignore[override]  # it raises, where argparse's exits
        raise UsageError(printable(message), hint=f"See {self.prog} --help.")


def top_parser() -> argparse.ArgumentParser:
    """The parser whose help is `floradl --help`."""
    commands = "\n".join(f"  {name:<10} {summary}" for name, summary in _SUMMARIES.items())
    return _Parser(
        prog="floradl",
        usage="floradl [archive] [options] DEST\n       floradl COMMAND --help",
        description="Archive everything a FLORA account has generated.",
        epilog=f"commands:\n{commands}\n\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    parser = _Parser(
        prog=f"floradl {command}",
        description=_SUMMARIES[command],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"floradl {__version__}")
    for option in COMMANDS[command]:
        option.add_to(parser)
    if command in _WORDS:
        name, words, meaning = _WORDS[command]
        parser.add_argument(name, choices=words, metavar="|".join(words), help=meaning)
    if command == "config":
        for option in _foreign_options(command):
            option.add_to(parser)
    if command == "restore":
        parser.add_argument("src", metavar="SRC", help="an archive; nothing in it is changed")
    if command in _DEST_HELP:
        nargs = "?" if command == "schedule" else None
        parser.add_argument("dest", metavar="DEST", help=_DEST_HELP[command], nargs=nargs)
    return parser


def _foreign_options(command: str) -> list[Option]:
    """The options of all other commands: `config show` takes them to say what they would set.

    They are hidden in the help. Where a flag has several meanings, the one of the nightly job is taken.
    """
    flags = {option.name for option in COMMANDS[command]}
    letters = {option.short for option in COMMANDS[command]}
    found = []
    for option in EVERY_OPTION:
        if option.name in flags:
            continue
        flags.add(option.name)
        # Two options of different commands may have the same letter; the first one keeps it here.
        short = None if option.short in letters else option.short
        letters.add(short)
        found.append(replace(option, short=short, help=argparse.SUPPRESS))
    return found


def parse(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Read a command line.

    Returns:
        The name of the command, and its options by key with its arguments: `src`, `dest`, `action`, `shell`.

    Raises:
        UsageError: it cannot be understood. `--help` and `--version` raise `SystemExit`, as argparse has it.
    """
    command, rest = (argv[0], argv[1:]) if argv[0] in COMMANDS else ("archive", argv)
    options = EVERY_OPTION if command == "config" else COMMANDS[command]
    flags = vars(parser_of(command).parse_args(_with_implied(rest, options)))
    dest = flags.get("dest")
    if command == "archive" and dest in COMMANDS:
        raise UsageError(
            f"{dest!r} is a command and stands first", hint=f"floradl {dest} …; for a folder write ./{dest}"
        )
    return command, flags


def _with_implied(argv: Sequence[str], options: tuple[Option, ...]) -> list[str]:
    """The words with `--wait DEST` written as `--wait=52w DEST`.

    For argparse, a flag with an optional value takes the next word, so DEST would become the value.
    """
    implied = {f"--{option.name}": option for option in options if option.implied is not None}
    words = []
    for index, word in enumerate(argv):
        option = implied.get(word)
        following = argv[index + 1] if index + 1 < len(argv) else ""
        is_bare = option is not None and not _fits(option, following)
        words.append(f"{word}={option.implied}" if option is not None and is_bare else word)
    return words


def _fits(option: Option, text: str) -> bool:
    try:
        option.read(text, "")
    except UsageError:
        return False
    return True

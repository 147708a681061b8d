"""The command line: which command, its options, and what every error means for the exit code.

`floradl [archive] [options] DEST` is the main job; the other commands are named first. What a command
needs is imported when it runs, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from floradl import __version__
from floradl.config import Option, Settings, default_config_path, resolve
from floradl.errors import Exit, FloradlError, UsageError, printable
from floradl.options import COMMANDS, EVERY_OPTION

_SUMMARIES = {
    "archive": "archive all completed generations, fetching only what is missing (may be left out)",
    "verify": "check an archive: everything recorded is there, byte for byte; --repair mends it",
    "restore": "copy verified files out of an archive into another, or into one flat folder",
    "list": "print the generation history, as the API gives it",
    "demo": "the whole job against a built-in local FLORA, no account needed",
}
_DEST_HELP = {
    "archive": "the archive's folder; made when missing",
    "verify": "the archive's folder",
    "restore": "where files go; made when missing",
    "demo": "a folder for the demo's archive; made when missing",
}
_EPILOG = """\
exit codes: 0 complete, 1 could not do the job, 2 wrong usage, 3 something is missing,
4 key refused, 5 another floradl is working on this archive, 130/143 interrupted
"""


def entry() -> NoReturn:
    """The command. It ends without taking the interpreter down piece by piece.

    That would cost up to half a second for a large manifest; and where a thread of the engine under media
    requests is still saying goodbye, Python would abort the process. Nothing is left to do: files are flushed
    and closed by then.
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run floradl with these arguments; `sys.argv` when None. Returns the exit code."""
    _open_missing_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where it is told what goes wrong with that
    except FloradlError as exc:
        print(f"floradl: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return int(exc.exit_code)
    except KeyboardInterrupt:
        return int(Exit.SIGINT)
    except OSError as exc:
        # Errors of the archive's disk are DestinationErrors: this is stdout. Python would try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):  # `floradl list | head` needs no message
            print(f"floradl: cannot write to standard output: {exc.strerror}", file=sys.stderr)
        return int(Exit.FAILED)
    except Exception:  # noqa: BLE001 - the last stop: a bug must end in exit code 1 and say where it is
        print("floradl: this is a bug in floradl; please report it with the lines below", file=sys.stderr)
        traceback.print_exc()
        return int(Exit.FAILED)
    return code


def _open_missing_streams() -> None:
    """Give a process that was started without standard streams (`>&-`) some that lead nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - the process's own


def _run(argv: list[str]) -> int:
    parsers = _Parsers()
    if not argv or argv[0] in ("-h", "--help", "help"):
        parsers.top.print_help()
        return int(Exit.OK if argv else Exit.USAGE)
    if argv[0] == "--version":
        print(f"floradl {__version__}")
        return int(Exit.OK)
    command, rest = (argv[0], argv[1:]) if argv[0] in COMMANDS else ("archive", argv)
    options = COMMANDS[command]
    flags = vars(parsers.of(command).parse_args(_with_implied(rest, options)))
    source, dest = flags.pop("source", ""), flags.pop("dest", None)
    if command == "archive" and dest in COMMANDS:
        raise UsageError(
            f"{dest!r} is a command and stands first", hint=f"floradl {dest} …; for a folder write ./{dest}"
        )
    settings = resolve(options, EVERY_OPTION, flags, os.environ, default_config_path())
    return _dispatch(command, settings, source, dest)


def _dispatch(command: str, settings: Settings, source: str, dest: str) -> int:
    if command == "archive":
        from floradl.commands import archive

        return archive.run(settings, dest)
    if command == "verify":
        from floradl.commands import verify

        return verify.run(settings, dest)
    if command == "restore":
        from floradl.commands import restore

        return restore.run(settings, source, dest)
    if command == "list":
        from floradl.commands import generations

        return generations.run(settings)
    from floradl.commands import demo

    return demo.run(settings, dest)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are floradl's."""

    def error(self, message: str) -> None:  # type: ignore[override]  # it raises, where argparse's exits
        raise UsageError(printable(message), hint=f"See {self.prog} --help.")


class _Parsers:
    """The parsers, made when they are needed."""

    @property
    def top(self) -> argparse.ArgumentParser:
        """What `floradl --help` shows."""
        commands = "\n".join(f"  {name:<9} {summary}" for name, summary in _SUMMARIES.items())
        return _Parser(
            prog="floradl",
            usage="floradl [archive] [options] DEST\n       floradl COMMAND --help",
            description="Archive everything a FLORA account has generated.",
            epilog=f"commands:\n{commands}\n\n{_EPILOG}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def of(self, command: str) -> argparse.ArgumentParser:
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
        if command == "restore":
            parser.add_argument("source", metavar="SRC", help="an archive; nothing in it is changed")
        if command in _DEST_HELP:
            parser.add_argument("dest", metavar="DEST", help=_DEST_HELP[command])
        return parser


def _with_implied(argv: list[str], options: tuple[Option, ...]) -> list[str]:
    """`--wait DEST` as `--wait=… DEST`: a flag's optional value must not swallow the folder."""
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

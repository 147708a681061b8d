"""The entry point of the command line: it finds the command, runs it, and turns errors into exit codes.

`floradl [archive] [options] DEST` is the main job; every other command is named first. A command's module is
imported when it runs, and not before. So `--help` and `--version` load neither HTTP, the event loop and JSON
nor the reader of the config file, and start in a quarter of the time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from floradl.errors import Exit, FloradlError
from floradl.version import __version__

if TYPE_CHECKING:
    from floradl.cli.config import Settings


def entry() -> NoReturn:
    """Run the command, and end the process without letting Python free its memory first.

    Freeing a large manifest object by object takes up to half a second. Nothing else is left to do at this
    point: all files are flushed and closed.
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
        sys.stdout.flush()  # here, so that a full disk behind stdout is reported below
    except FloradlError as exc:
        print(f"floradl: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return int(exc.exit_code)
    except KeyboardInterrupt:
        return int(Exit.SIGINT)
    except OSError as exc:
        # The archive's disk raises DestinationError, so this is stdout. Python flushes stdout once more when
        # it ends, which would fail and print a traceback: its descriptor leads to /dev/null from here on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):  # `floradl list | head` needs no message
            print(f"floradl: cannot write to standard output: {exc.strerror}", file=sys.stderr)
        return int(Exit.FAILED)
    except Exception:  # noqa: BLE001 - the last stop: a bug must end in exit code 1 and say where it is
        import traceback

        print("floradl: this is a bug in floradl; please report it with the lines below", file=sys.stderr)
        traceback.print_exc()
        return int(Exit.FAILED)
    return code


def _open_missing_streams() -> None:
    """Open /dev/null for standard streams that are closed, as `floradl >&-` has it; `print` would fail."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            from pathlib import Path

            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - the process's own


def _run(argv: list[str]) -> int:
    if argv[:1] == ["--version"]:
        print(f"floradl {__version__}")
        return int(Exit.OK)
    from floradl.cli import parser

    if not argv or argv[0] in ("-h", "--help", "help"):
        parser.top_parser().print_help()
        return int(Exit.OK if argv else Exit.USAGE)
    command, flags = parser.parse(argv)
    if command in ("completion", "config"):
        return _run_on_itself(command, flags)
    from floradl.cli.config import default_config_path, resolve
    from floradl.cli.options import COMMANDS, EVERY_OPTION

    src, dest = flags.pop("src", ""), flags.pop("dest", "")
    path = default_config_path()
    # `login` adds a profile to the config file, and `logout` must work after somebody removed it from there.
    may_be_new = command in ("login", "logout")
    settings = resolve(COMMANDS[command], EVERY_OPTION, flags, os.environ, path, may_be_new=may_be_new)
    if command in ("login", "logout", "whoami"):
        return _run_on_key(command, settings)
    if command == "schedule":
        from floradl.cli.commands import schedule

        return schedule.run(settings, dest, flags)
    return _dispatch(command, settings, src, dest)


def _run_on_itself(command: str, flags: dict[str, Any]) -> int:
    """Run a command that must work although the config file is wrong."""
    if command == "completion":
        from floradl.cli.commands import completion

        return completion.run(flags["shell"])
    from floradl.cli.commands import config

    return config.run(flags.pop("action"), flags)


def _run_on_key(command: str, settings: Settings) -> int:
    """Run a command about API keys."""
    if command == "login":
        from floradl.cli.commands import login

        return login.run(settings)
    if command == "logout":
        from floradl.cli.commands import logout

        return logout.run(settings)
    from floradl.cli.commands import whoami

    return whoami.run(settings)


def _dispatch(command: str, settings: Settings, src: str, dest: str) -> int:
    """Run a command about an archive, `list` or `demo`."""
    if command == "archive":
        from floradl.cli.commands import archive

        return archive.run(settings, dest)
    if command == "verify":
        from floradl.cli.commands import verify

        return verify.run(settings, dest)
    if command == "restore":
        from floradl.cli.commands import restore

        return restore.run(settings, src, dest)
    if command == "status":
        from floradl.cli.commands import status

        return status.run(settings, dest)
    if command == "gallery":
        from floradl.cli.commands import gallery

        return gallery.run(settings, dest)
    if command == "list":
        from floradl.cli.commands import list as list_command

        return list_command.run(settings)
    from floradl.cli.commands import demo

    return demo.run(settings, dest)

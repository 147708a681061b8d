"""`python -m floradl.simulator`: serve a made-up account until SIGINT or SIGTERM.

Prints two lines on stdout, `FLORA_BASE_URL=…` and `FLORA_API_KEY=…`, and nothing else. The exit code is 0
after one of the signals, 1 when the port cannot be opened or an edit failed, and 2 when the arguments or the
fault file are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import EditError, Fault, FaultFileError, Simulator, generate_account, load_faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from . import Account


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        faults = load_faults(options.faults) if options.faults else []
    except FaultFileError as exc:
        print(f"simulator: {exc}", file=sys.stderr)
        return 2
    account = generate_account(
        options.runs,
        seed=options.seed,
        techniques=options.techniques,
        assets=options.assets,
        canvases=options.canvases,
    )
    try:
        asyncio.run(_serve(account, options.host, options.port, faults))
    except KeyboardInterrupt:
        return 0  # on Windows, whose event loop has no signal handlers
    except (OSError, EditError) as exc:
        print(f"simulator: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m floradl.simulator", description="A local FLORA API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="of the API; 0 is any free one (default)")
    parser.add_argument("--runs", type=_count, default=300, help="runs in the history (default: %(default)s)")
    parser.add_argument("--techniques", type=_count, default=0, help="runs of techniques (default: 0)")
    parser.add_argument("--assets", type=_count, default=0, help="uploaded files (default: 0)")
    parser.add_argument("--canvases", action="store_true", help="let each project's canvas show some of it")
    parser.add_argument("--seed", type=int, default=1, help="decides what they are (default: %(default)s)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON list of faults")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


async def _serve(account: Account, host: str, port: int, faults: list[Fault]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows; `main` gets KeyboardInterrupt there
            loop.add_signal_handler(number, stop.set)
    async with Simulator(account, host=host, port=port, faults=faults) as simulator:
        print(f"FLORA_BASE_URL={simulator.base_url}")
        print(f"FLORA_API_KEY={account.api_key}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())

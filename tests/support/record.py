"""What a terminal shows: `python -m tests.support.record` types commands into one and keeps that in the
documents.

The first night goes into README.md as text, where `test_docs` holds it against what the commands say today.
The picture `docs/terminal.svg` is taken in the middle of a run, and so is another one each time.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
from collections.abc import Callable
from html import escape
from pathlib import Path

from floradl.cli.keystore import Place
from floradl.cli.schedule.job import job_name
from floradl.constants import DEFAULT_BASE_URL
from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.processes import COMMAND
from tests.support.schedulers import Home

ROOT = Path(__file__).parents[2]
COLUMNS = 80
FIRST_NIGHT = (
    "floradl login",
    "floradl ~/flora-archive",
    "floradl schedule ~/flora-archive --at 02:30 --install",
)
INSTALL = "pip install floradl"
"""The first of the four commands. It is not typed here: what the tests run was installed by pip just so."""

_PLACE = re.compile(r"(<!-- recorded by `python -m tests.support.record` -->\n```\n).*?(```\n)", re.DOTALL)
_CONTROL = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[?\d;]*[A-Za-z]")


class Screen:
    """The lines of a terminal that is high enough for all, as far as floradl moves about on one."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = self._column = 0

    def show(self, text: str) -> None:
        """Take what a program writes. A sequence that arrives in two pieces is not understood."""
        position = 0
        while position < len(text):
            control = _CONTROL.match(text, position)
            if control:
                self._move(control[2] or "", int(control[1] or 1))
                position = control.end()
                continue
            self._put(text[position])
            position += 1

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            self.lines += [""] * (self._row + 1 - len(self.lines))
        else:
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
            self._column += 1

    def _move(self, what: str, number: int) -> None:
        if what == "A":
            self._row = max(0, self._row - number)
        elif what == "K":
            self.lines[self._row] = self.lines[self._row][: self._column]
        elif what == "J":
            self.lines[self._row] = self.lines[self._row][: self._column]
            del self.lines[self._row + 1 :]

    def text(self) -> list[str]:
        """The lines, without what is blank at the end of each and of all."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip().split("\n")


def typed(
    line: str,
    env: dict[str, str],
    secret: str = "",
    until: Callable[[Screen], bool] | None = None,
    columns: int = COLUMNS,
) -> Screen:
    """What a terminal shows after a command was typed into it.

    Args:
        line: for the shell.
        env: the shell's variables.
        secret: typed, and a return, as soon as something is asked for that is not shown.
        until: ends the recording, and the command, as soon as it holds.
        columns: of the terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {line}"],
        env=env | {"TERM": "xterm", "COLUMNS": str(columns)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # without a terminal of its own, so that the key is asked for on this one
    )
    os.close(theirs)
    screen = Screen()
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        screen.show(piece.decode(errors="replace"))
        if secret and "not shown" in screen.lines[-1]:
            os.write(ours, f"{secret}\n".encode())
            secret = ""
        if until is not None and until(screen):
            process.kill()
            break
    os.close(ours)
    process.wait()
    return screen


def first_night(root: Path) -> list[str]:
    """The four commands from nothing to a nightly job, and what a terminal shows of them.

    Args:
        root: an empty folder, in which a home is made.
    """
    with serve_in_thread(generate_account(120, seed=7)) as sim:
        home, env = _home(root, sim)
        lines = [f"$ {INSTALL}"]
        for line in FIRST_NIGHT:
            # So wide that no message is broken: where it would be depends on how long this home's path is.
            screen = typed(line, env, secret=sim.account.api_key, columns=400)
            lines += [f"$ {line}", *screen.text()]
        return _as_a_reader_sees_it(lines, home, sim)


def at_work(root: Path) -> list[str]:
    """The same up to the middle of the first run.

    Args:
        root: an empty folder, in which a home is made.
    """
    with serve_in_thread(generate_account(300, seed=7)) as sim:
        sim.faults.append(Fault("/node-inputs/*", delay_s=0.15))
        home, env = _home(root, sim)
        lines = []
        for line in FIRST_NIGHT[:2]:
            screen = typed(line, env, secret=sim.account.api_key, until=_is_half_done)
            lines += [f"$ {line}", *screen.text()]
        return _as_a_reader_sees_it(lines, home, sim)


def _is_half_done(screen: Screen) -> bool:
    match = re.search(r"^outputs .*\| (\d+)/(\d+)", "\n".join(screen.lines), re.MULTILINE)
    return match is not None and int(match[1]) > 250


def _home(root: Path, sim: Simulator) -> tuple[Home, dict[str, str]]:
    home = Home(root)
    env = home.environment(FLORA_BASE_URL=sim.base_url)
    return home, env | {"PATH": f"{Path(COMMAND).parent}:{env['PATH']}"}


def _as_a_reader_sees_it(lines: list[str], home: Home, sim: Simulator) -> list[str]:
    """With the reader's home and FLORA's own address, and the names that follow from them."""
    reader = "/home/you"
    archive = "flora-archive"
    text = "\n".join(lines)
    for ours, theirs in (
        (job_name(str(home.path / archive), None), job_name(f"{reader}/{archive}", None)),
        (Place(sim.base_url).file_name, Place(DEFAULT_BASE_URL).file_name),
        (str(home.path), reader),
    ):
        text = text.replace(ours.removeprefix("floradl-"), theirs.removeprefix("floradl-"))
    return text.split("\n")


def recorded(readme: str) -> list[str]:
    """The lines that stand in README.md as recorded."""
    match = _PLACE.search(readme)
    assert match
    return match[0].split("\n")[2:-2]


def drawing(lines: list[str]) -> str:
    """A terminal with these lines, as SVG."""
    lines = [line[at : at + COLUMNS] for line in lines for at in range(0, max(len(line), 1), COLUMNS)]
    height = 19 * len(lines) + 58
    width = int(8.43 * COLUMNS) + 40
    shown = "\n".join(
        f'<text x="20" y="{50 + 19 * number}"{_style(line)} xml:space="preserve">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" \
role="img">
<title>floradl at work in a terminal</title>
<rect width="100%" height="100%" rx="8" fill="#16181d"/>
<circle cx="22" cy="18" r="6" fill="#ff5f57"/>
<circle cx="42" cy="18" r="6" fill="#febc2e"/>
<circle cx="62" cy="18" r="6" fill="#28c840"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" \
fill="#b9c0cb">
{shown}
</g>
</svg>
"""


def _style(line: str) -> str:
    return ' fill="#ffffff" font-weight="600"' if line.startswith("$ ") else ""


def main() -> None:
    """Write README.md's text and the picture anew."""
    readme = ROOT / "README.md"
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        text = "".join(f"{line}\n" for line in first_night(Path(one)))
        readme.write_text(
            _PLACE.sub(lambda place: f"{place[1]}{text}{place[2]}", readme.read_text(encoding="utf-8")),
            encoding="utf-8",
        )
        (ROOT / "docs" / "terminal.svg").write_text(drawing(at_work(Path(other))), encoding="utf-8")


if __name__ == "__main__":
    main()

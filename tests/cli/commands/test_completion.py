"""`floradl completion`: the scripts, in real shells at a real terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from floradl.cli.options import COMMANDS
from tests.support.processes import COMMAND
from tests.support.terminals import Terminal

SHELLS = {
    # Without anybody's own settings; the prompt is a mark, and the line is what was typed and completed.
    "bash": (["bash", "--noprofile", "--norc", "-i"], "PS1='@@@'; bind 'set enable-bracketed-paste off'"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "PS1='@@@'; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D",
    ),
    "fish": (["fish", "--no-config", "--interactive"], "function fish_prompt; echo -n '@@@'; end"),
}
LOADS = {
    "bash": f'eval "$({COMMAND} completion bash)"',
    "zsh": f'eval "$({COMMAND} completion zsh)"',
    "fish": f"{COMMAND} completion fish | source",
}
# In place of floradl stands a function that tells its arguments: what the shell made of the line.
TELL = {
    "bash": "floradl() { printf '<%s>' \"$@\"; echo '&&&'; }",
    "zsh": "floradl() { printf '<%s>' \"$@\"; echo '&&&' }",
    "fish": "function floradl; printf '<%s>' $argv; echo '&&&'; end",
}
LINES = [
    ("verif\t", "<verify>"),
    ("rest\t --har\t", "<restore><--hard-link>"),
    ("--proj\t", "<--project-id>"),
    ("verify --sam\t", "<verify><--sample>"),
    ("list --status comp\t", "<list><--status><completed>"),
    ("archive --type vid\t x", "<archive><--type><video><x>"),
    ("--type aud\t x", "<--type><audio><x>"),
    ("config sh\t", "<config><show>"),
    ("completion fi\t", "<completion><fish>"),
    ("verify my\\ fol\t", "<verify><my folder>"),
    ("archive out\t", "<archive><outgoing>"),
    ("out\t", "<outgoing>"),
    ("--api-key-file key\t", "<--api-key-file><keyfile.txt>"),
]


def folder_with_things(tmp_path: Path) -> Path:
    """A folder with folders and a file to complete."""
    folder = tmp_path / "home"
    for name in ("my folder", "outgoing"):
        (folder / name).mkdir(parents=True)
    (folder / "keyfile.txt").write_text("k")
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_real_shells_complete_commands_options_words_and_paths(shell: str, tmp_path: Path) -> None:
    """What is typed with a tab becomes what was meant, in the shell itself."""
    if shutil.which(shell) is None and "CI" not in os.environ:
        pytest.skip(f"needs {shell}")
    words, quiet = SHELLS[shell]
    folder = folder_with_things(tmp_path)
    env = os.environ | {"TERM": "dumb", "HOME": str(folder), "INPUTRC": os.devnull}
    with Terminal(words, env, folder) as terminal:
        for line in (quiet, LOADS[shell], TELL[shell]):
            terminal.type(f"{line}\necho rea''dy\n")  # the echo of the line is not the mark
            terminal.read_to("ready\r\n")
        for typed, expected in LINES:
            terminal.type(f"floradl {typed}\n")
            said = terminal.read_to("&&&\r\n").replace("/>", ">")  # zsh takes the / of a folder back
            assert f"{expected}&&&" in said, (typed, said)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_the_script(shell: str) -> None:
    """The scripts are made from the table: nothing that floradl takes is missing."""
    done = subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True, check=True)
    for command, options in COMMANDS.items():
        assert command in done.stdout
        for option in options:
            flag = f"-l {option.name} " if shell == "fish" else f"--{option.name}"
            assert flag in done.stdout

"""What reaches standard output is text that no terminal obeys, whatever FLORA's names hold."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.cli.json_output import escaped
from floradl.simulator import Account, Simulator, generate_account, serve_in_thread
from tests.support.processes import COMMAND, environment
from tests.support.zygote import floradl

ODD = {
    "ESC": "\x1b[2J",
    "OSC 52": "\x1b]52;c;ZWNobyBoaQ==\x07",
    "DEL": "\x7f",
    "C1": "\x9b2J\x85",
    "right to left": "\u202egnp.exe",
    "isolates": "\u2066\u2069",
    "separators": "\u2028\u2029",
    "nothing": "\0",
    "no width": "\u200b\ufeff",
    "private": "\U000f0000",
}
PRINTING = {
    "archive": (),
    "archive -v": ("-v",),
    "archive --json": ("--json",),
    "dry run": ("--dry-run", "--full"),
    "dry run --json": ("--dry-run", "--json", "--full"),
    "status": ("status",),
    "status -v": ("status", "-v"),
    "status --json": ("status", "--json"),
    "status --prometheus": ("status", "--prometheus"),
    "verify": ("verify",),
    "verify --json": ("verify", "--json"),
    "gallery --json": ("gallery", "--json"),
}
ASKING = {
    "whoami": ("whoami",),
    "whoami --json": ("whoami", "--json"),
    "list": ("list", "--format", "table"),
    "list of uploads": ("list", "--source", "assets", "--format", "table"),
    "list of techniques": ("list", "--source", "technique-runs", "--format", "table"),
}


def odd_account(odd: str) -> Account:
    """An account in which every name has something odd."""
    account = generate_account(3, seed=1, projects=1, techniques=2, assets=2, canvases=True)
    for things in (account.workspaces, account.projects, account.assets):
        for thing in things:
            object.__setattr__(thing, "name", f"a{odd}b")
    for run in account.runs:
        run.model_id = f"m{odd}n"
        if run.technique is not None:
            object.__setattr__(run.technique, "name", f"t{odd}u")
    return account


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account whose names have all of it, served."""
    with serve_in_thread(odd_account("".join(ODD.values()))) as simulator:
        yield simulator


def assert_pure(text: str, what: str) -> None:
    """Nothing in it moves a cursor, turns the direction of writing or hides."""
    odd = {character for character in text if not character.isprintable()} - {"\n"}
    assert not odd, (what, odd)


def test_no_command_prints_it(sim: Simulator, tmp_path: Path) -> None:
    """On standard output and standard error of every command that shows a name; JSON keeps the names."""
    names = set()
    for what, words in PRINTING.items():
        done = floradl(
            sim, *words, *(["--source", "all"] if what.startswith(("archive", "dry")) else []), tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert_pure(done.stdout, what)
        assert_pure(done.stderr, what)
        if "--json" in words:
            names.add(json.dumps(json.loads(done.stdout), ensure_ascii=False))
    for what, words in ASKING.items():
        done = floradl(sim, *words)
        assert done.returncode == 0, done.stderr
        assert_pure(done.stdout + done.stderr, what)
        if "--json" in words:
            names.add(json.dumps(json.loads(done.stdout), ensure_ascii=False))
    name = sim.account.projects[0].name
    assert any(json.dumps(name, ensure_ascii=False) in told for told in names)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminal")
@pytest.mark.parametrize("shape", ["json", "jsonl"])
def test_the_apis_own_bytes_on_a_terminal(shape: str) -> None:
    """They are escaped there, and are as the API wrote them for a program."""
    with serve_in_thread(odd_account("\x9b2J\u202e")) as sim:
        words = ("list", "--source", "assets", "--format", shape)
        assert "\x9b2J\u202e" in floradl(sim, *words).stdout
        ours, theirs = pty.openpty()
        process = subprocess.Popen([COMMAND, *words], env=environment(sim), stdout=theirs)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux says so where the other end of a terminal is closed
            pass
        os.close(ours)
        assert process.wait() == 0
    assert_pure(shown.decode().replace("\r", ""), shape)
    assert b"\\u009b2J\\u202e" in shown


@pytest.mark.parametrize("text", [*ODD.values(), "plain", "漢字", "\U0001f98a", "a\nb"])
def test_it_means_the_same(text: str) -> None:
    """What is escaped is read as what it was; what can be shown stays."""
    raw = json.dumps({"name": text}, ensure_ascii=False).encode()
    pure = escaped(raw)
    assert json.loads(pure) == {"name": text}
    assert_pure(pure.decode(), text)
    assert (pure == raw) is raw.decode().isprintable()

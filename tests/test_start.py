"""What a command loads before it does anything: the modules, since times say more about the machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from floradl.simulator import generate_account, serve_in_thread
from tests.support.processes import environment

HEAVY = {"asyncio", "ssl", "httpx", "msgspec", "aiofiles", "tqdm", "platformdirs", "tomllib", "filelock"}
"""What takes long to load, and only work needs."""

NETWORK = {
    "httpx",
    "httpcore",
    "floradl.api.client",
    "floradl.network.addresses",
    "floradl.download.pool",
    "tqdm",
}
"""What speaks HTTP or shows it, and what reads an archive does not need."""


def loaded(*arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """The modules that a run of floradl loads, from Python's own account of its imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "floradl", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "--help",
        "help",
        "--help -q",
        "verify --version",
        "verify --help",
        "list --help",
        "config --help",
        "completion bash",
    ],
)
def test_version_and_help_load_nothing_heavy(arguments: str) -> None:
    """Asking what floradl is and can do, as shells do when they start, does not load what only work needs."""
    found = loaded(*arguments.split())
    assert "floradl.cli.main" in found
    assert found & HEAVY == set()


def test_version_does_not_even_load_the_options() -> None:
    """`floradl --version`, which scripts call, loads four small modules of floradl's."""
    found = {name for name in loaded("--version") if name.startswith("floradl")}
    assert found == {"floradl", "floradl.cli", "floradl.cli.main", "floradl.errors", "floradl.version"}


def test_a_night_loads_neither_other_commands_nor_a_bar_that_nobody_sees(tmp_path: Path) -> None:
    """An archive job off a terminal loads no tqdm, and without a config file no reader of it."""
    with serve_in_thread(generate_account(3, seed=1)) as sim:
        env = environment(sim, XDG_CONFIG_HOME=str(tmp_path / "none"))
        found = loaded(str(tmp_path / "out"), env=env)
        again = loaded(str(tmp_path / "out"), env=env)
    assert "floradl.archiver.archive" in found
    assert {"floradl.network.http11", "httptools"} <= found
    assert not {"floradl.network.http11", "httptools"} & again  # nothing was fetched
    unwanted = {
        "tqdm",
        "tomllib",
        "difflib",
        "floradl.restorer.restore",
        "floradl.checker.repair",
        "floradl.checker.verify",
        "floradl.checker.audit",
        "floradl.archiver.preview",
        "floradl.simulator",
    }
    assert found & unwanted == set()


def test_a_check_loads_no_network(tmp_path: Path) -> None:
    """`floradl verify` without a repair reads files; it does not load what speaks HTTP."""
    with serve_in_thread(generate_account(3, seed=1)) as sim:
        env = environment(sim, XDG_CONFIG_HOME=str(tmp_path / "none"))
        loaded(str(tmp_path / "out"), env=env)
    found = loaded("verify", str(tmp_path / "out"))
    assert "floradl.checker.audit" in found
    assert found & NETWORK == set()


def test_a_status_loads_no_network(tmp_path: Path) -> None:
    """`floradl status` reads the manifest; it loads neither HTTP nor what checks files."""
    with serve_in_thread(generate_account(3, seed=1)) as sim:
        env = environment(sim, XDG_CONFIG_HOME=str(tmp_path / "none"))
        loaded(str(tmp_path / "out"), env=env)
    found = loaded("status", str(tmp_path / "out"))
    assert "floradl.repository.statistics" in found
    assert found & (NETWORK | {"floradl.checker.audit", "floradl.archiver.archive"}) == set()

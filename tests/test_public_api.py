"""`import floradl`: what other programs may use, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import floradl
from floradl.simulator import Account, Simulator
from tests.support import assert_archived, completed


@pytest.mark.anyio
async def test_the_documented_lines_archive_an_account(tmp_path: Path) -> None:
    """The example in the package's docstring works."""
    account = Account.generate(12)
    async with (
        Simulator(account) as sim,
        floradl.FloraApi(
            sim.base_url, account.api_key, clock=floradl.Clock(), retries=5, timeout_s=60
        ) as api,
    ):
        report = await floradl.archive(floradl.ArchiveOptions(tmp_path, sim.base_url), api)
    assert report.is_complete
    assert_archived(tmp_path, account, completed(account))


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be imported, and nothing else pretends to be."""
    for name in floradl.__all__:
        assert getattr(floradl, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        floradl.nonsense  # noqa: B018 - asking is the test


def test_importing_the_package_imports_nothing_else() -> None:
    """`import floradl` is free until something of it is used."""
    code = "import sys, floradl; print(sorted(n for n in sys.modules if n.startswith(('floradl', 'httpx'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['floradl']"

"""`--limit-rate` at the command line, over real connections."""

from __future__ import annotations

import time
from pathlib import Path

from floradl.network.bandwidth import BURST_BYTES
from floradl.simulator import Account, SimOutput, SimRun, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived
from tests.support.media import png
from tests.support.processes import floradl

SIZE = 200_000


def test_limit_rate(tmp_path: Path) -> None:
    """All transfers together keep to it; our own waits are no silence of the host, however long."""
    outputs = [
        SimOutput(f"output_{number}", "imageUrl", body=png(bytes([number]) * SIZE)) for number in range(2)
    ]
    account = Account("sk_live_rate", [SimRun("run_a", "ws_a", "prj_a", outputs=outputs)])
    with serve_in_thread(account) as sim:
        began_s = time.monotonic()
        options = ("--limit-rate", "100K", "--timeout", "1", "--retries", "0", "-q")
        done = floradl(sim, *options, tmp_path / "out")
        took_s = time.monotonic() - began_s
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_archived(tmp_path / "out", account, completed(account))
    assert took_s > (2 * SIZE - BURST_BYTES) / 100_000

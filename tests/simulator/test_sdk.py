"""FLORA's official SDK uses the simulator: a witness of what the API is that we did not write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, serve_in_thread

SDK = Path(__file__).parent / "sdk"


@pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")) and "CI" not in os.environ,
    reason="needs node and npm",
)
def test_official_sdk(tmp_path: Path) -> None:
    """The SDK walks the whole history, retries a 503, reads a run, and knows a wrong key when it has one."""
    for name in ("package.json", "check.mjs"):
        shutil.copy(SDK / name, tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    account = Account.generate(250, seed=8, open_runs=3)
    busy = Fault("*/generations", on=(3,), status=503, headers=(("retry-after-ms", "5"),))
    with serve_in_thread(account, faults=[busy]) as sim:
        environment = os.environ | {"FLORA_BASE_URL": sim.base_url, "FLORA_API_KEY": account.api_key}
        done = subprocess.run(
            ["node", "check.mjs"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        seen = json.loads(done.stdout)
        history = account.listed()
        assert seen["ids"] == [run.run_id for run in history]
        completed = [account.record(run, listed=True) for run in account.listed(status="completed")]
        assert [run["run_id"] for run in seen["completed"]] == [run["run_id"] for run in completed]
        assert [run.get("outputs") for run in seen["completed"]] == [run.get("outputs") for run in completed]
        assert seen["retrieved"] == account.record(history[3], listed=False)
        assert set(seen["projects"]) == {project.project_id for project in account.projects}
        assert (seen["wrongKey"]["authentication"], seen["wrongKey"]["code"]) == (True, "invalid_api_key")
        assert seen["wrongKey"]["requestId"].startswith("req_")
        assert (seen["missing"]["notFound"], seen["missing"]["code"]) == (True, "not_found")
        assert (seen["tooMany"]["badRequest"], seen["tooMany"]["code"]) == (True, "input_validation_error")
        assert 503 in [request.status for request in sim.api_requests()]

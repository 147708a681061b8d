"""FLORA's official SDK uses the simulator: a witness of what the API is that we did not write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from floradl.simulator import Account, Fault, generate_account, serve_in_thread

SDK = Path(__file__).parent / "sdk"


@pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")) and "CI" not in os.environ,
    reason="needs node and npm",
)
def test_official_sdk(tmp_path: Path) -> None:
    """The SDK walks every list, retries a 503, reads what is listed, and knows each error for what it is."""
    for name in ("package.json", "check.mjs"):
        shutil.copy(SDK / name, tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    account = generate_account(250, seed=8, open_runs=3, techniques=25, assets=27, canvases=True)
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
        assert_other_sources(account, seen)
        assert (seen["wrongKey"]["authentication"], seen["wrongKey"]["code"]) == (True, "invalid_api_key")
        assert seen["wrongKey"]["requestId"].startswith("req_")
        assert (seen["missing"]["notFound"], seen["missing"]["code"]) == (True, "not_found")
        for name in ("missingAsset", "missingCanvas"):
            assert (seen[name]["notFound"], seen[name]["code"]) == (True, "not_found")
        assert (seen["badTechnique"]["badRequest"], seen["badTechnique"]["status"]) == (True, 400)
        assert (seen["tooMany"]["badRequest"], seen["tooMany"]["code"]) == (True, "input_validation_error")
        assert 503 in [request.status for request in sim.api_requests()]


def in_javascript(value: object) -> Any:
    """A value as JavaScript reads it: no integer is larger than a float can tell apart."""
    return json.loads(json.dumps(value), parse_int=lambda digits: int(float(digits)))


def assert_other_sources(account: Account, seen: dict[str, Any]) -> None:
    """The SDK got all technique runs, uploads and canvases, page by page, as the account has them."""
    runs = account.listed(source="technique-runs")
    assert seen["techniqueRuns"] == in_javascript([account.technique_record(run) for run in runs])
    assert runs[0].technique
    of_one = account.listed(
        source="technique-runs", technique_id=runs[0].technique.technique_id, status="completed"
    )
    assert seen["ofOneTechnique"] == [run.run_id for run in of_one] != []
    uploads = account.listed_assets()
    assert seen["assets"] == [account.asset_record(asset, listed=True) for asset in uploads]
    assert seen["asset"] == account.asset_record(uploads[0], listed=False)
    boxes = account.listed_assets(workspace_id=account.workspaces[0].workspace_id, query="box")
    assert seen["found"] == [asset.name for asset in boxes] != []
    assert set(seen["canvases"]) == {project.project_id for project in account.projects}
    for project_id, canvas in seen["canvases"].items():
        own = account.canvas_of(project_id)
        nodes = [node.record(account.url_of) for node in own.nodes]
        assert len(nodes) > 5  # more than one page of them
        assert canvas == own.record(project_id) | {"nodes": nodes}

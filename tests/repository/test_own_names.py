"""The archive's own names: the list that ids are kept from is the list of what is really written."""

from __future__ import annotations

from pathlib import Path

import pytest

from floradl.constants import Kind
from floradl.repository import layout
from floradl.simulator import (
    Account,
    SimAsset,
    SimNode,
    SimOutput,
    edit_canvas,
    generate_account,
    serve_in_thread,
)
from floradl.storage.base import PRIVATE
from tests.support.archives import all_entries, manifest
from tests.support.zygote import floradl

RECORD_LIKE = b'{"made": "by a user"}'


def full_account() -> Account:
    """Runs, uploads with a project and without, and canvases of which one has labels for a run."""
    account = generate_account(4, seed=2, projects=2, techniques=2, assets=3, canvases=True)
    file = SimOutput("loose", content_type="application/json", body=RECORD_LIKE)
    account.assets.append(SimAsset("loose", account.workspaces[0].workspace_id, file, project_id=None))
    run = next(run for run in account.runs if any(output.path for output in run.outputs))
    output = next(output for output in run.outputs if output.path)
    edit_canvas(account, run.project_id, add=[SimNode("node_1", label="A fox in snow", shows=output)])
    return account


def names_of_ids(dest: Path) -> set[str]:
    """All names that the ids of the archived entries give."""
    names: set[str] = set()
    for identifier, entry in all_entries(dest).items():
        names |= {layout.safe_name(entry[key]) for key in ("workspace_id", "project_id") if entry[key]}
        names |= {layout.safe_name(identifier), *(out["file"] for out in entry["outputs"].values())}
    return names


def test_the_list_is_what_is_written(tmp_path: Path) -> None:
    """Each name in an archive comes from an id or is in the list, and each in the list is written."""
    with serve_in_thread(full_account()) as sim:
        assert floradl(sim, "--source", "all", "--gallery", tmp_path).returncode == 0
    assert floradl(sim, "verify", tmp_path).returncode == 0
    own = {path.name for path in tmp_path.iterdir()}
    apart = (tmp_path / layout.GALLERY, tmp_path / PRIVATE)
    for folder in (path for path in tmp_path.iterdir() if path.is_dir() and path not in apart):
        own |= {path.name for path in folder.rglob("*")}
    assert (
        own - names_of_ids(tmp_path) - {folder.name for folder in tmp_path.glob("ws_*")} == layout.OWN_NAMES
    )


@pytest.mark.parametrize("identifier", ["asset", "Asset", "run", "canvas", "manifest", "_workspace"])
def test_an_upload_with_one_of_these_ids(tmp_path: Path, identifier: str) -> None:
    """Its file, a JSON like the record beside it, is archived whole, and stays that."""
    account = Account("sk_live_names")
    file = SimOutput(identifier, content_type="application/json", body=RECORD_LIKE)
    account.assets.append(SimAsset(identifier, "ws_a", file, project_id="prj_a"))
    with serve_in_thread(account) as sim:
        for _ in range(2):
            assert floradl(sim, "--source", "assets", tmp_path).returncode == 0
            entry = manifest(tmp_path)["assets"][identifier]
            (output,) = entry["outputs"].values()
            assert (tmp_path / entry["path"] / output["file"]).read_bytes() == RECORD_LIKE
            assert b'"asset_id"' in (tmp_path / entry["path"] / layout.ASSET_RECORD).read_bytes()
        assert floradl(sim, "verify", tmp_path).returncode == 0
    assert layout.record_name(Kind.ASSET) == layout.ASSET_RECORD

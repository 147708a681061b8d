"""Technique runs, uploads and canvases: what the API tells of them, and of whom it keeps quiet."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest

from floradl.simulator import (
    Account,
    AssetStatus,
    Fault,
    Listing,
    SimAsset,
    SimCanvas,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimTechnique,
    Simulator,
    edit_canvas,
    generate_account,
    insert_assets,
)

from .conftest import Ask, ids_of, items_of

pytestmark = pytest.mark.anyio

# As FLORA's SDK 0.11.0 declares them; those of technique runs that are always there.
TECHNIQUE_RUN = {"technique_run_id", "run_id", "workspace_id", "project_id", "technique", "status"} | {
    "created_at",
    "progress",
}
ASSET = {
    *("asset_id", "content_type", "created_at", "description", "height", "name", "size_bytes", "status"),
    *("upload_content_type", "uploaded_via", "url", "width", "workspace_id"),
}
NODE = {"node_id", "type", "asset_id", "height", "label", "url", "width"}


@pytest.fixture
def account() -> Account:
    """Runs, nine of techniques, 26 uploads and canvases."""
    return generate_account(25, seed=3, open_runs=2, techniques=9, assets=26, canvases=True)


# --- technique runs ---------------------------------------------------------------------------------------


async def test_technique_runs_are_listed(ask: Ask, account: Account) -> None:
    """Every run of a technique once, newest first, with the technique and the fields the SDK declares."""
    items = await items_of(ask, "/technique-runs", "technique_runs")
    runs = [run for run in account.runs if run.technique]
    assert len(items) == len(runs) == 9
    assert {item["run_id"] for item in items} == {run.run_id for run in runs}
    assert all(first["created_at"] > second["created_at"] for first, second in pairwise(items))
    for item in items:
        run = account.get(item["run_id"])
        assert set(item) >= TECHNIQUE_RUN
        assert not {"generation_id", "model"} & set(item)
        assert item == account.technique_record(run)
        assert item["technique_run_id"] == item["run_id"]
        assert run.technique
        assert item["technique"] == {
            "technique_id": run.technique.technique_id,
            "name": run.technique.name,
        }
    assert any(item.get("outputs") for item in items)


async def test_the_histories_overlap(ask: Ask, account: Account) -> None:
    """A run of a technique is in both histories, or in one alone; it has one address either way."""
    generations, techniques = await ids_of(ask, "/generations"), await ids_of(ask, "/technique-runs")
    both = set(generations) & set(techniques)
    assert (len(both), len(techniques), len(generations)) == (6, 9, 25 + 6)
    for run_id in techniques:
        assert (await ask(f"/runs/{run_id}")).json() == account.record(account.get(run_id), listed=False)


async def test_who_lists_a_run(ask: Ask, account: Account) -> None:
    """`listed_by` says which history has a run; without it a technique makes the difference."""
    technique = SimTechnique("tech_x", "X")
    cases = {
        "run_plain": (None, None, {"generations"}),
        "run_both": (technique, None, {"generations", "technique-runs"}),
        "run_apart": (technique, Listing.TECHNIQUE_RUNS, {"technique-runs"}),
        "run_quiet": (technique, Listing.GENERATIONS, {"generations"}),
        "run_odd": (None, Listing.BOTH, {"generations", "technique-runs"}),
    }
    for run_id, (made_by, listed_by, _) in cases.items():
        account.insert(SimRun(run_id, "ws_a", "prj_a", technique=made_by, listed_by=listed_by))
    listed = {name: await ids_of(ask, f"/{name}") for name in ("generations", "technique-runs")}
    for run_id, (_, _, expected) in cases.items():
        assert {name for name, ids in listed.items() if run_id in ids} == expected, run_id
    odd = account.technique_record(account.get("run_odd"))
    assert "technique" not in odd


async def test_filters_of_technique_runs(ask: Ask, account: Account) -> None:
    """Workspace, project, technique and status each narrow the list."""
    run = next(run for run in account.runs if run.technique and run.status == "failed")
    assert run.technique
    for query in (
        {"workspace_id": run.workspace_id},
        {"project_id": run.project_id},
        {"technique_id": run.technique.technique_id},
        {"status": "failed"},
    ):
        found = await ids_of(ask, "/technique-runs", **query)
        assert run.run_id in found
        listed = account.listed(source="technique-runs", **query)
        assert found == [run.run_id for run in listed]
        assert len(found) < 9
    assert await ids_of(ask, "/technique-runs", technique_id="tech_nowhere") == []


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("technique_id=x", 400, "technique_id"),
        ("status=done", 400, "status"),
        ("limit=101", 400, "limit"),
        ("workspace_id=x", 400, "workspace_id"),
        ("project_id=x", 500, None),
    ],
)
async def test_bad_parameters(ask: Ask, query: str, status: int, field: str | None) -> None:
    """Technique runs refuse what generations refuse, and a malformed technique."""
    answer = await ask(f"/technique-runs?{query}")
    assert answer.status_code == status
    fields = [entry["field"] for entry in answer.json()["error"].get("fields", ())]
    assert fields == ([field] if field else [])


# --- uploads ----------------------------------------------------------------------------------------------


async def test_assets_are_listed(ask: Ask, get: Ask, account: Account) -> None:
    """Every upload with the SDK's fields; what is ready has bytes of the size and type announced."""
    items = await items_of(ask, "/assets", "assets")
    assert len(items) == len(account.assets) == 26
    assert Counter(item["status"] for item in items) == {"ready": 22, "pending_upload": 2, "failed": 2}
    for item in items:
        assert set(item) == ASSET | {"node_id", "project_id"}
        assert item["asset_id"] or item["node_id"]
        if item["status"] != "ready":
            assert (item["url"], item["size_bytes"]) == (None, None)
            continue
        file = await get(item["url"])
        assert file.status_code == 200
        assert file.headers["content-type"] == item["content_type"]
        assert len(file.content) == item["size_bytes"]
        assert (item["width"] is not None) == item["content_type"].startswith("image/")
    assert any(item["asset_id"] is None for item in items)
    assert any(item["project_id"] is None for item in items)
    assert any(item["created_at"] is None for item in items)


async def test_an_asset_by_its_id(ask: Ask, account: Account) -> None:
    """Alone it tells an ISO date and a failure, and neither project nor node."""
    for asset in account.assets:
        if asset.asset_id is None:
            continue
        record = (await ask(f"/assets/{asset.asset_id}")).json()
        assert set(record) == ASSET | {"failure_message"}
        assert record["asset_id"] == asset.asset_id
        if asset.created_at is None:
            assert record["created_at"] is None
        else:
            assert datetime.fromisoformat(record["created_at"]).timestamp() * 1000 == asset.created_at
        assert (record["failure_message"] is not None) == (asset.status == AssetStatus.FAILED)


async def test_filters_of_assets(ask: Ask, account: Account) -> None:
    """Workspace, project and a search in names narrow the list."""
    asset = account.assets[0]
    assert asset.project_id
    assert asset.name
    for query in (
        {"workspace_id": asset.workspace_id},
        {"project_id": asset.project_id},
        {"query": asset.name.upper()},
    ):
        found = await items_of(ask, "/assets", "assets", **query)
        assert 0 < len(found) < 26
        assert asset.asset_id in [item["asset_id"] for item in found]
    assert await items_of(ask, "/assets", "assets", query="none of these") == []
    assert (await ask("/assets?workspace_id=x")).status_code == 400
    assert (await ask("/assets?project_id=x")).status_code == 500


async def test_two_assets_with_the_same_bytes(account: Account) -> None:
    """The last two uploads are equal to the byte, under two ids and two URLs; no others are."""
    first, second = account.assets[-2:]
    assert first.file.body == second.file.body
    assert account.url_of(first.file) != account.url_of(second.file)
    assert len({asset.file.body for asset in account.assets}) == len(account.assets) - 1


async def test_what_an_asset_may_say_instead(ask: Ask, account: Account) -> None:
    """Sizes, types and any field may be wrong, or missing."""
    file = SimOutput("x", "imageUrl", body=b"12345", content_type="image/png")
    account.assets[:] = [
        SimAsset("asset_a", "ws_a", file, size_bytes=99, content_type="video/mp4"),
        SimAsset("asset_b", "ws_a", file, with_size=False),
        SimAsset("asset_c", "ws_a", file, extra={"created_at": 1_795_435_200, "new": True}),
    ]
    third, second, first = (await ask("/assets")).json()["assets"]
    assert (first["size_bytes"], first["content_type"]) == (99, "video/mp4")
    assert (second["size_bytes"], second["content_type"]) == (None, "image/png")
    assert (third["size_bytes"], third["created_at"], third["new"]) == (5, 1_795_435_200, True)


async def test_life_of_an_asset(ask: Ask, get: Ask, account: Account) -> None:
    """An upload gets ready, its URL moves, it goes away: and its file stays."""
    (asset,) = insert_assets(account, 1, status=AssetStatus.PENDING)
    asset.asset_id = "asset_new"
    assert (await ask("/assets?limit=1")).json()["assets"][0]["url"] is None
    account.finish_asset("asset_new")
    old = (await ask("/assets/asset_new")).json()["url"]
    new = account.move_url(asset.file)
    assert (await ask("/assets/asset_new")).json()["url"] == new != old
    assert ((await get(old)).status_code, (await get(new)).content) == (410, asset.file.body)
    account.delete_asset(asset)
    assert (await ask("/assets/asset_new")).status_code == 404
    assert (await get(new)).content == asset.file.body


async def test_a_file_outlives_its_upload(get: Ask, account: Account) -> None:
    """Also one that nobody had asked for before its upload was deleted."""
    asset = account.assets[0]
    account.delete_asset(asset)
    assert (await get(asset.file.path)).content == asset.file.body


async def test_faults_reach_an_asset_like_an_output(
    ask: Ask, get: Ask, account: Account, sim: Simulator
) -> None:
    """A file of an upload takes ranges, has a validator, and does wrong what it is told to."""
    file = account.assets[0].file
    part = await get(file.path, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content, part.headers["etag"]) == (206, file.body[2:6], file.etag)
    sim.faults += [Fault(file.path, status=503), Fault("*/assets", on=(1,), status=429)]
    assert (await get(file.path)).status_code == 503
    assert [(await ask("/assets")).status_code for _ in range(2)] == [429, 200]


# --- canvases ---------------------------------------------------------------------------------------------


async def test_every_project_has_a_canvas(ask: Ask, get: Ask, account: Account) -> None:
    """Nodes have the SDK's fields; outputs and uploads have their URLs; the diagram has them all."""
    seen = set()
    for project in account.projects:
        nodes = await items_of(ask, f"/projects/{project.project_id}/nodes", "nodes")
        canvas = (await ask(f"/projects/{project.project_id}/canvas")).json()
        assert set(canvas) == {"canvas_url", "diagram", "project_id", "summary"}
        assert canvas["project_id"] == project.project_id
        assert canvas["summary"]["node_count"] == len(nodes) > 3
        first, *lines = canvas["diagram"].split("\n")
        assert first == "graph LR"
        assert len([line for line in lines if "-->" in line]) == canvas["summary"]["edge_count"] > 0
        assert len(lines) == len(nodes) + canvas["summary"]["edge_count"]
        for node in nodes:
            assert set(node) == NODE
            if node["type"] != "text":
                assert (await get(node["url"])).status_code == 200
                seen.add(node["url"])
    outputs = {account.url_of(output) for run in account.runs for output in run.outputs}
    uploads = {account.url_of(asset.file) for asset in account.assets}
    assert seen & outputs
    assert seen & uploads
    assert seen <= outputs | uploads


async def test_a_project_without_a_canvas_has_an_empty_one(ask: Ask, account: Account) -> None:
    """Nothing on it is no error; a project that is not there is."""
    account.projects.append(SimProject("prj_new", "ws_a", "New"))
    canvas = (await ask("/projects/prj_new/canvas")).json()
    assert (canvas["diagram"], set(canvas["summary"].values())) == ("graph LR", {0})
    assert (await ask("/projects/prj_new/nodes")).json()["nodes"] == []
    for path in ("canvas", "nodes"):
        assert (await ask(f"/projects/prj_nowhere/{path}")).status_code == 404
        assert (await ask(f"/projects/nonsense/{path}")).status_code == 500


async def test_editing_a_canvas_tells_the_project(ask: Ask, account: Account) -> None:
    """Each change shows in the diagram and moves `last_modified` on."""
    project_id = account.projects[0].project_id
    account.canvases[project_id] = SimCanvas()
    moments, diagrams = [], []

    async def look() -> None:
        moments.append((await ask(f"/projects/{project_id}")).json()["last_modified"])
        diagrams.append((await ask(f"/projects/{project_id}/canvas")).json()["diagram"])

    await look()
    edit_canvas(account, project_id, add=[SimNode("a", "text", 'A "boat"\nof paper'), SimNode("b")])
    await look()
    edit_canvas(account, project_id, connect=[("a", "b")])
    await look()
    edit_canvas(account, project_id, relabel={"b": "x" * 100}, at_ms=moments[-1] + 5)
    await look()
    edit_canvas(account, project_id, remove=["b"])
    await look()
    edit_canvas(account, project_id)
    await look()
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert moments[3] == moments[2] + 5
    boat = '  n1["A #quot;boat#quot; of paper (Text)"]'
    assert diagrams[:5] == [
        "graph LR",
        f'graph LR\n{boat}\n  n2["(Image)"]',
        f'graph LR\n{boat}\n  n2["(Image)"]\n  n1 --> n2',
        f'graph LR\n{boat}\n  n2["{"x" * 59}… (Image)"]\n  n1 --> n2',
        f"graph LR\n{boat}",
    ]
    edit_canvas(account, project_id, add=[SimNode("b")], relabel={"a": "boat"})
    assert "-->" not in account.canvas_of(project_id).diagram()
    assert re.fullmatch(re.escape(diagrams[4]) + r'\n  n2\["Note \(Text\)"\]', diagrams[5])


async def test_summary_of_a_canvas(ask: Ask, account: Account) -> None:
    """Two workflows, joined late, and a node on its own."""
    project_id = account.projects[0].project_id
    edges = [("a", "b"), ("c", "d"), ("b", "c"), ("e", "f"), ("a", "nowhere")]
    account.canvases[project_id] = SimCanvas([SimNode(name) for name in "abcdefg"], edges)
    canvas = (await ask(f"/projects/{project_id}/canvas")).json()
    assert canvas["summary"] == {
        "node_count": 7,
        "edge_count": 4,
        "group_count": 0,
        "isolated_node_count": 1,
        "workflow_count": 2,
    }
    account.canvases[project_id].text = "anything"
    assert (await ask(f"/projects/{project_id}/canvas")).json()["diagram"] == "anything"


# --- what the key may not see -----------------------------------------------------------------------------


async def test_refusing_a_source(ask: Ask, account: Account) -> None:
    """Each source can be refused by itself, with what status one likes; all the others answer."""
    project_id, asset = account.projects[0].project_id, account.assets[0]
    paths = {
        "generations": ["/generations"],
        "technique-runs": ["/technique-runs"],
        "runs": [f"/runs/{account.runs[0].run_id}"],
        "assets": ["/assets", f"/assets/{asset.asset_id}"],
        "canvas": [f"/projects/{project_id}/canvas", f"/projects/{project_id}/nodes"],
        "workspaces": ["/workspaces"],
        "projects": [f"/projects?workspace_id={asset.workspace_id}", f"/projects/{project_id}"],
    }
    for source, status in zip(paths, (403, 404, 403, 404, 403, 404, 401), strict=True):
        account.refuse(source, status)
        answers = {path: (name, (await ask(path)).status_code) for name in paths for path in paths[name]}
        assert {path: code for path, (name, code) in answers.items()} == {
            path: status if name == source else 200 for path, (name, _) in answers.items()
        }
        account.allow(source)
    account.refuse("assets")
    assert (await ask("/assets")).json()["error"]["code"] == "forbidden"
    with pytest.raises(ValueError, match="uploads"):
        account.refuse("uploads")


async def test_a_hidden_project_is_nowhere(ask: Ask, get: Ask, account: Account) -> None:
    """What is in it is in no list and 404 by its id; its media stay, and it can come back."""
    hidden = account.projects[0]
    run = next(run for run in account.runs if run.project_id == hidden.project_id and run.outputs)
    asset = next(
        asset for asset in account.assets if asset.project_id == hidden.project_id and asset.asset_id
    )
    account.hide(hidden.project_id)
    for path, name in (
        ("/generations", "generations"),
        ("/technique-runs", "technique_runs"),
        ("/assets", "assets"),
    ):
        items = await items_of(ask, path, name)
        assert items
        assert hidden.project_id not in {item["project_id"] for item in items}
        assert (await ask(f"{path}?project_id={hidden.project_id}")).status_code == 404
    projects = await items_of(ask, "/projects", "projects", workspace_id=hidden.workspace_id)
    assert hidden.project_id not in [item["project_id"] for item in projects]
    own = [f"/projects/{hidden.project_id}{end}" for end in ("", "/canvas", "/nodes")]
    for path in (*own, f"/runs/{run.run_id}", f"/assets/{asset.asset_id}"):
        assert (await ask(path)).status_code == 404, path
    assert (await get(asset.file.path)).status_code == 200
    account.hidden.discard(hidden.project_id)
    assert (await ask(own[0])).status_code == 200

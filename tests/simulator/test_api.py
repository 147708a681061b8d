"""The API: pages, parameters, keys and errors as FLORA documents them."""

from __future__ import annotations

import asyncio
from itertools import chain
from urllib.parse import urlsplit

import httpx
import pytest

from floradl.simulator import Account, Edit, Fault, Simulator

from .conftest import Ask

pytestmark = pytest.mark.anyio


async def pages_of(ask: Ask, **query: str) -> list[list[str]]:
    """Walk a listing to its end: the run ids of each page."""
    pages, cursor = [], ""
    while True:
        answer = (await ask("/generations", params=query | ({"cursor": cursor} if cursor else {}))).json()
        pages.append([item["run_id"] for item in answer["generations"]])
        cursor = answer["meta"]["next_cursor"]
        if cursor is None:
            return pages


async def test_pages_hold_the_whole_history(ask: Ask, account: Account) -> None:
    """Paging gives every run once, newest first, the last page the rest."""
    pages = await pages_of(ask, limit="10")
    assert [len(page) for page in pages] == [10, 10, 6]
    assert list(chain(*pages)) == [run.run_id for run in account.listed()]


async def test_last_page_may_be_full(ask: Ask) -> None:
    """A history that ends with a page has no empty page after it."""
    assert [len(page) for page in await pages_of(ask, limit="13")] == [13, 13]


async def test_default_limit(ask: Ask) -> None:
    """Without a limit a page has twenty items; the estimate is the whole."""
    answer = (await ask("/generations")).json()
    assert len(answer["generations"]) == 20
    assert answer["meta"]["total_estimate"] == 26


async def test_items_are_the_records(ask: Ask, account: Account) -> None:
    """An item is the account's record, with poll_url on the API's own origin."""
    item = (await ask("/generations?limit=1")).json()["generations"][0]
    assert item == account.record(account.get("run_known"), listed=True)
    assert item["poll_url"] == f"{account.base_url}/runs/run_known"
    assert (await ask(item["poll_url"])).json() == account.record(account.get("run_known"), listed=False)


async def test_filters(ask: Ask, account: Account) -> None:
    """Status, project and workspace each narrow the list, alone and together."""
    project = account.projects[1]
    for query in (
        {"status": "completed"},
        {"status": "running"},
        {"project_id": project.project_id},
        {"workspace_id": project.workspace_id},
        {"status": "completed", "project_id": project.project_id, "workspace_id": project.workspace_id},
    ):
        found = list(chain(*await pages_of(ask, **query)))
        assert found
        assert found == [run.run_id for run in account.listed(**query)]


async def test_unknown_place_is_empty(ask: Ask) -> None:
    """A well-formed project that is not there has no history."""
    assert await pages_of(ask, project_id="prj_nowhere") == [[]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=101", "limit"),
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=%C2%B2", "limit"),
        ("status=done", "status"),
        ("status=", "status"),
        ("cursor=junk", "cursor"),
        ("cursor=e30%3D", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("workspace_id=studio", "workspace_id"),
    ],
)
async def test_bad_parameter_is_named(ask: Ask, query: str, field: str) -> None:
    """A bad parameter is a 400 that names it."""
    answer = await ask(f"/generations?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "input_validation_error")
    assert [entry["field"] for entry in error["fields"]] == [field]


@pytest.mark.parametrize("path", ["/generations?project_id=nonsense", "/projects/nonsense"])
async def test_malformed_project_is_a_500(ask: Ask, path: str) -> None:
    """As measured in production, a malformed project id is an unknown error."""
    answer = await ask(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "unknown_error")


@pytest.mark.parametrize(
    "path",
    [
        *("/runs/run_nowhere", "/projects/prj_nowhere", "/assets/asset_nowhere", "/techniques", "/"),
        *("/runs/a/b", "/projects/a/b/c", "/../x", "/runs", "/*/*"),
    ],
)
async def test_not_found(ask: Ask, path: str) -> None:
    """What is not there is a 404 in the envelope."""
    answer = await ask(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_other_methods_are_not_found(sim: Simulator) -> None:
    """The simulator can only be read; a body that came along does not upset the next request."""
    headers = {"Authorization": f"Bearer {sim.account.api_key}"}
    async with httpx.AsyncClient(base_url=sim.base_url, headers=headers, trust_env=False) as client:
        assert (await client.post("/generations", json={"prompt": "x" * 5000})).status_code == 404
        assert (await client.get("/generations")).status_code == 200
    assert {request.connection for request in sim.requests} == {1}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "unauthorized"),
        ("", "unauthorized"),
        ("Bearer", "unauthorized"),
        ("Basic abc", "unauthorized"),
        ("Bearer sk_live_wrong", "invalid_api_key"),
    ],
)
async def test_keys(sim: Simulator, header: str | None, code: str) -> None:
    """No key and a wrong key are two different 401s, on every endpoint."""
    async with httpx.AsyncClient(base_url=sim.base_url, trust_env=False) as client:
        for path in ("/generations", "/runs/run_known", "/nowhere"):
            answer = await client.get(path, headers={} if header is None else {"Authorization": header})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
            assert answer.headers["request-id"].startswith("req_")


async def test_every_answer_has_its_own_request_id(ask: Ask, sim: Simulator) -> None:
    """Good answers, errors and faults each carry a new request id."""
    sim.faults.append(Fault("*/workspaces", status=503))
    paths = ["/generations", "/generations", "/runs/x", "/generations?limit=0", "/workspaces"]
    ids = [(await ask(path)).headers["request-id"] for path in paths]
    assert len(set(ids)) == len(paths)
    assert all(value.startswith("req_") for value in ids)


async def test_places(ask: Ask, account: Account) -> None:
    """Workspaces, a workspace's projects and a single project are told."""
    workspaces = (await ask("/workspaces")).json()["workspaces"]
    assert [entry["workspace_id"] for entry in workspaces] == [one.workspace_id for one in account.workspaces]
    found = []
    for entry in workspaces:
        answer = (await ask("/projects", params={"workspace_id": entry["workspace_id"]})).json()
        assert answer["meta"]["next_cursor"] is None
        found += answer["projects"]
    assert {entry["project_id"] for entry in found} == {one.project_id for one in account.projects}
    assert (await ask(f"/projects/{found[0]['project_id']}")).json() == found[0]
    answer = await ask("/projects")
    assert answer.json()["error"]["fields"][0]["field"] == "workspace_id"


async def test_deletion_between_pages_hides_a_run(ask: Ask, account: Account, sim: Simulator) -> None:
    """The cursor is an offset: a run that goes away on page one makes page two skip another run."""
    before = [run.run_id for run in account.listed(status="completed")]
    sim.faults.append(Fault("*/generations", query="cursor=", on=(1,), edit=Edit(delete_listed=(0,))))
    seen = list(chain(*await pages_of(ask, status="completed", limit="10")))
    assert seen == before[:10] + before[11:]


async def test_insertion_between_pages_repeats_a_run(ask: Ask, account: Account, sim: Simulator) -> None:
    """A run that arrives on page one makes page two repeat another run."""
    before = [run.run_id for run in account.listed()]
    sim.faults.append(Fault("*/generations", query="cursor=", on=(1,), edit=Edit(insert=1)))
    seen = list(chain(*await pages_of(ask, limit="10")))
    assert seen == before[:10] + before[9:]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, b"431"),
    ],
)
async def test_what_is_no_request_is_refused(sim: Simulator, sent: bytes, status: bytes) -> None:
    """Garbage gets a refusal and a closed connection, and is no failure of the simulator."""
    address = urlsplit(sim.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer
    writer.close()
    await writer.wait_closed()

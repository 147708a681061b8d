"""What the key can see: asked for once, with everything that an API may answer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import respx

from floradl.api import lists
from floradl.api import projects as discovery
from floradl.api.client import FloraApi
from floradl.api.lists import iter_pages, parse_list
from floradl.api.models import EVERYTHING, Scope
from floradl.api.projects import Discovery, ask_projects, discover, project_path
from floradl.errors import ApiAnswerError, ApiUnavailableError, KeyRefusedError
from floradl.network.retry import Backoff
from floradl.simulator import Account, Fault, SimProject, Simulator, SimWorkspace, serve_in_thread
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

BASE = "https://api.test/api/v1"
KEY = "sk_live_0123456789"

PROJECTS = (
    SimProject("prj_one", "ws_a", "Autumn", last_modified=1_795_435_200_000),
    SimProject("prj_two", "ws_a", "Packaging"),
    SimProject("prj_lab", "ws_b", "Moving colours"),
)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Three projects in two workspaces, and an empty workspace."""
    names = {"ws_a": "Studio", "ws_b": "Lab", "ws_c": "Empty"}
    account = Account(KEY, workspaces=[SimWorkspace(*item) for item in names.items()], projects=PROJECTS)
    with serve_in_thread(account) as simulator:
        yield simulator


async def found_in(sim: Simulator, *scopes: Scope, **more: Any) -> Discovery:
    """What a discovery over the simulator finds, with hardly any waiting."""
    async with FloraApi(sim.base_url, sim.account.api_key, clock=FakeTime().clock, retries=1) as api:
        return await discover(api, scopes, **more)


def asked(sim: Simulator) -> list[str]:
    """The requests made, paths and workspaces."""
    return [
        request.path.removeprefix("/api/v1/") + request.query.get("workspace_id", "").replace("ws_", "?")
        for request in sim.api_requests()
    ]


# --- against the simulator --------------------------------------------------------------------------------


async def test_the_whole_account(sim: Simulator) -> None:
    """All workspaces and their projects, at one request each."""
    found = await found_in(sim, EVERYTHING, EVERYTHING)
    projects = found.projects.values()
    assert [(project.workspace_id, project.project_id, project.name) for project in projects] == [
        (project.workspace_id, project.project_id, project.name) for project in PROJECTS
    ]
    assert [project.last_modified for project in projects] == ["1795435200000", "", ""]
    assert list(found.workspaces or ()) == ["ws_a", "ws_b", "ws_c"]
    assert (found.has_all_workspaces, found.complete, found.problems) == (True, {"ws_a", "ws_b", "ws_c"}, ())
    assert asked(sim) == ["workspaces", "projects?a", "projects?b", "projects?c"]


async def test_a_workspace(sim: Simulator) -> None:
    """Of a workspace only its projects are asked for, beside the workspaces' names."""
    found = await found_in(sim, Scope("ws_b"))
    assert list(found.projects) == ["prj_lab"]
    assert asked(sim) == ["workspaces", "projects?b"]
    assert (found.asked, found.complete) == ({"ws_b"}, {"ws_b"})


async def test_projects_by_their_ids(sim: Simulator) -> None:
    """A project that is named costs one request, and none where a list has it already."""
    found = await found_in(sim, Scope(project_id="prj_one"), Scope("ws_b", "prj_lab", "canvas"))
    assert list(found.projects) == ["prj_one", "prj_lab"]
    assert asked(sim) == ["projects/prj_one", "projects/prj_lab"]
    assert (found.workspaces, found.has_asked_workspaces, found.has_all_workspaces) == (None, False, False)
    sim.forget()
    found = await found_in(sim, Scope(project_id="prj_one"), Scope("ws_a"))
    assert asked(sim) == ["workspaces", "projects?a"]
    assert found.has_asked("ws_b", "prj_one")
    assert found.has_asked("ws_a", "prj_new")
    assert not found.has_asked("ws_b", "prj_lab")


async def test_many_projects(sim: Simulator) -> None:
    """A request for each hundred projects."""
    sim.account.projects = [SimProject(f"prj_{number}", "ws_a", "") for number in range(250)]
    found = await found_in(sim, Scope("ws_a"))
    assert len(found.projects) == 250
    assert asked(sim) == ["workspaces", *["projects?a"] * 3]


@pytest.mark.parametrize("status", [403, 404, 400])
async def test_one_workspace_that_is_refused(sim: Simulator, status: int) -> None:
    """What is refused is named, and costs the others nothing."""
    sim.faults.append(Fault("/api/v1/projects", query="workspace_id=ws_a", status=status))
    found = await found_in(sim, EVERYTHING, Scope(project_id="prj_none"), Scope(project_id="prj_two"))
    assert list(found.projects) == ["prj_lab", "prj_two"]
    assert (found.asked - found.complete, found.named) == ({"ws_a"}, {"prj_none", "prj_two"})
    assert [problem.message.partition(":")[0] for problem in found.problems] == [
        "the projects of ws_a", "project prj_none",
    ]  # fmt: skip


async def test_workspaces_that_are_refused(sim: Simulator) -> None:
    """Where the API does not list the workspaces, those that are known otherwise are asked for."""
    sim.faults.append(Fault("/api/v1/workspaces", status=403))
    found = await found_in(sim, EVERYTHING, known=["ws_b", "ws_gone"])
    assert (list(found.projects), found.workspaces, found.has_all_workspaces) == (["prj_lab"], None, False)
    assert found.has_asked_workspaces
    assert [problem.message.partition(":")[0] for problem in found.problems] == ["the workspaces"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("/api/v1/projects", status=401), KeyRefusedError),
        (Fault("/api/v1/projects", status=503), ApiUnavailableError),
        (Fault("/api/v1/projects", drop=True), ApiUnavailableError),
        (Fault("/api/v1/workspaces", status=401), KeyRefusedError),
        (Fault("/api/v1/workspaces", status=500), ApiUnavailableError),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_ends_a_discovery(sim: Simulator, fault: Fault, error: type[Exception]) -> None:
    """A key that the API does not know, and an API that does not answer."""
    sim.faults.append(fault)
    with pytest.raises(error):
        await found_in(sim, EVERYTHING)


async def test_a_cursor_that_comes_twice(sim: Simulator) -> None:
    """A list that turns in a circle ends, is a problem of its workspace, and makes no project unseen."""
    sim.account.projects += [SimProject(f"prj_{number}", "ws_b", "") for number in range(250)]
    sim.faults.append(Fault("/api/v1/projects", query="ws_b", on=(2, 3), repeat_cursor=True))
    found = await found_in(sim, EVERYTHING)
    assert (list(found.projects), found.complete) == (["prj_one", "prj_two"], {"ws_a", "ws_c"})
    assert "a second time" in found.problems[0].message


async def test_the_most_that_is_read(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A discovery ends after so many pages, and says which lists are not whole."""
    monkeypatch.setattr(discovery, "MAX_PAGES", 2)
    sim.account.projects = [SimProject(f"prj_{number}", "ws_a", "") for number in range(250)]
    found = await found_in(sim, EVERYTHING)
    assert (len(found.projects), found.complete) == (200, set())
    assert asked(sim) == ["workspaces", "projects?a", "projects?a"]
    assert [problem.message for problem in found.problems] == [
        "the projects of ws_a: the list is not whole",
        "the projects of ws_b: not asked for, since there were 2 pages of others",
        "the projects of ws_c: not asked for, since there were 2 pages of others",
    ]


# --- answers that no simulator gives ----------------------------------------------------------------------


@pytest.fixture
async def api(respx_mock: respx.MockRouter) -> AsyncIterator[FloraApi]:
    """A session whose requests are answered by the routes of the test."""
    async with FloraApi(
        BASE,
        KEY,
        clock=FakeTime().clock,
        retries=1,
        transport=httpx.MockTransport(respx_mock.async_handler),
        backoff=Backoff(rng=random.Random(1)),
    ) as api:
        yield api


Answer = Callable[[str, bytes], respx.Route]


@pytest.fixture
def answer(respx_mock: respx.MockRouter) -> Answer:
    """Answer a path with these bytes."""

    def answer(path: str, body: bytes) -> respx.Route:
        return respx_mock.get(f"{BASE}/{path}").mock(return_value=httpx.Response(200, content=body))

    return answer


async def test_odd_records(api: FloraApi, answer: Answer) -> None:
    """Fields may be missing or of any kind; a record without an id is left out, and the list not whole."""
    answer(
        "projects",
        b'{"projects": [3, null, {}, {"project_id": 5}, {"project_id": ""},'
        b' {"project_id": "prj_a", "name": 4, "workspace_id": null, "last_modified": "2026-11-24"},'
        b' {"project_id": "prj_a", "name": "again"}, {"project_id": "../..", "name": "\\ud83d"},'
        b' {"project_id": "prj_far", "workspace_id": "ws_far", "last_modified": %b},'
        b' {"project_id": "prj_large", "blob": "%b"}], "meta": 7}'
        % (b"1" * 101, b"x" * discovery.MAX_RECORD_BYTES),
    )
    answer("workspaces", b'{"workspaces": [{"workspace_id": "ws/../a"}, {"name": "no id"}]}')
    found = await discover(api, [EVERYTHING, EVERYTHING])
    assert [
        (project.workspace_id, project.project_id, project.name, project.last_modified)
        for project in found.projects.values()
    ] == [
        ("ws/../a", "prj_a", "", '"2026-11-24"'),
        ("ws/../a", "../..", "\ufffd", ""),
        ("ws_far", "prj_far", "", ""),
    ]
    assert found.projects["../.."].raw == b'{"project_id": "../..", "name": "\\ud83d"}'
    assert (found.workspaces, found.has_all_workspaces) == (
        {"ws/../a": b'{"workspace_id": "ws/../a"}'},
        False,
    )
    assert (found.asked, found.complete) == ({"ws/../a"}, set())
    problems = {problem.message.partition(" (")[0] for problem in found.problems}
    assert problems == {
        "the workspaces: the list is not whole",
        "the projects of ws/../a: the list is not whole",
    }


async def test_a_project_in_two_workspaces(api: FloraApi, answer: Answer) -> None:
    """A project that two workspaces list is taken once, in the workspace that its record names."""
    answer("projects", b'{"projects": [{"project_id": "prj_a", "workspace_id": "ws_b"}]}')
    answer("workspaces", b'{"workspaces": [{"workspace_id": "ws_a"}, {"workspace_id": "ws_b"}]}')
    found = await discover(api, [EVERYTHING])
    assert [(project.workspace_id, key) for key, project in found.projects.items()] == [("ws_b", "prj_a")]
    assert found.complete == {"ws_a", "ws_b"}


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"projects": 3}',
        b'{"projects": null}',
        b'{"projects": ["\xff"]}',
        b'{"projects": [' + b"0," * lists.MAX_RECORDS + b"0]}",
        b"[" * 100_000,
        b"",
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
async def test_answers_that_are_no_list(api: FloraApi, answer: Answer, body: bytes) -> None:
    """An answer that makes no sense is asked for again, and then a problem of its workspace."""
    answer("workspaces", b'{"workspaces": [], "meta": null}')
    route = answer("projects", body)
    found = await discover(api, [Scope("ws_a")])
    assert (found.projects, found.complete, route.call_count) == ({}, set(), 2)
    assert found.problems[0].message.startswith("the projects of ws_a: the API's answer ")


@pytest.mark.parametrize("cursor", [b"null", b'""', b"7", b"[]"], ids=bytes.decode)
async def test_ends_of_lists(api: FloraApi, answer: Answer, cursor: bytes) -> None:
    """A list ends with null, an empty cursor or none; with a cursor that is no text nobody knows."""
    answer("workspaces", b'{"workspaces": []}')
    answer("projects", b'{"projects": [{"project_id": "prj_a"}], "meta": {"next_cursor": %b}}' % cursor)
    found = await discover(api, [Scope("ws_a")])
    assert list(found.projects) == ["prj_a"]
    assert bool(found.complete) == (cursor in (b"null", b'""'))


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (b' {"project_id": "a/b",  "name": "\\ud83d"}\n', b'{"project_id": "a/b",  "name": "\\ud83d"}'),
        (b'{"project": {"project_id":  "a/b"}, "meta": 1}', b'{"project_id":  "a/b"}'),
        (b'{"project_id": "other"}', None),
        (b'{"project": [], "meta": 1}', None),
        (b'{"meta": 1}', None),
        (b"<html>", None),
    ],
)
async def test_a_record_by_its_id(api: FloraApi, answer: Answer, body: bytes, raw: bytes | None) -> None:
    """One record may come bare or below `project`; another project's is none."""
    route = answer("projects/a%2Fb", body)
    found = await discover(api, [Scope(project_id="a/b")])
    assert [project.raw for project in found.projects.values()] == ([] if raw is None else [raw])
    assert (len(found.problems), route.call_count) == ((0, 1) if raw else (1, 2))


@pytest.mark.parametrize("project_id", ["", ".", ".."])
async def test_ids_that_no_project_can_have(api: FloraApi, project_id: str) -> None:
    """An id that would lead to another endpoint is asked for nowhere."""
    found = await discover(api, [Scope(project_id=project_id)])
    assert (found.projects, len(found.problems), api.calls) == ({}, 1, 0)


async def test_a_list_is_left_when_all_that_is_wanted_was_met(sim: Simulator) -> None:
    """Who wants some projects gets the pages up to the last of them."""
    sim.account.projects = [SimProject(f"prj_{number}", "ws_a", "") for number in range(350)]
    async with FloraApi(sim.base_url, KEY, clock=FakeTime().clock) as api:
        found = await ask_projects(api, "ws_a", max_pages=9, wanted={"prj_3", "prj_120"})
    assert (len(found.items), found.pages, asked(sim)) == (200, 2, ["projects?a"] * 2)
    assert found.next_cursor


async def test_pages_of_another_list(api: FloraApi, answer: Answer) -> None:
    """Any list is walked page by page, each asked for with its cursor, and a circle is an error."""
    answer("projects/prj_a/nodes", b'{"nodes": [1, 2], "meta": {"next_cursor": "c&1"}}')
    path = f"{project_path('prj_a')}/nodes"
    listing = iter_pages(api, path, {}, lambda body: parse_list(body, "nodes"), max_pages=9)
    assert (await anext(listing)).items == (b"1", b"2")
    with pytest.raises(ApiAnswerError, match="a second time"):
        await anext(listing)

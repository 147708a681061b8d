"""Several scopes in one job: their lists are walked at the same time, and each is sealed by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from floradl.api.client import FloraApi
from floradl.api.models import Filters, Scope
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.errors import ApiUnavailableError, KeyRefusedError
from floradl.network.retry import Backoff
from floradl.simulator import (
    Account,
    Fault,
    SimOutput,
    SimProject,
    SimRun,
    Simulator,
    SimWorkspace,
    serve_in_thread,
)
from tests.support.accounts import completed
from tests.support.archives import assert_archived, manifest
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

LIST = "/api/v1/generations"
PROJECTS = [f"prj_{letter}" for letter in "abcdefg"]
NOW_MS = 1_795_000_000_000


@pytest.fixture
def account() -> Account:
    """Seven projects with 120 text runs each, so two pages of completed ones."""
    account = Account("sk_live_scopes")
    account.workspaces.append(SimWorkspace("ws_a", "A"))
    for place, project_id in enumerate(PROJECTS):
        account.projects.append(SimProject(project_id, "ws_a", project_id))
        for number in range(120):
            run = SimRun(f"run_{project_id[-1]}{number:03}", "ws_a", project_id)
            run.created_at = NOW_MS - 60_000 * number - place
            run.outputs = [SimOutput("output_1", "text", text=f"{project_id} {number}")]
            account.insert(run)
    return account


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Watched(httpx.AsyncBaseTransport):
    """Requests as the API's client makes them: which, in what order, and how many at the same time.

    Attributes:
        asked: project and status of each request for a list.
        most: the most requests that were under way at the same time.
        before: awaited before a request goes out.
    """

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(verify=False)
        self._under_way = 0
        self.asked: list[tuple[str, str]] = []
        self.most = 0
        self.before: Callable[[str, str], Any] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Note a request, and send it."""
        place = (request.url.params.get("project_id", ""), request.url.params.get("status", ""))
        self.asked.append(place)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            if self.before is not None:
                await self.before(*place)
            return await self._inner.handle_async_request(request)
        finally:
            self._under_way -= 1

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def order(self) -> list[str]:
        """The projects in the order in which their lists were first asked for."""
        return list(dict.fromkeys(project for project, _ in self.asked if project))


class Job:
    """An archive job over some projects of the account."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.time = FakeTime(NOW_MS / 1000)
        self.api_calls = Watched()

    async def run(self, *projects: str, stop: asyncio.Event | None = None, **more: Any) -> Report:
        """One job, over the list of generations alone unless `more` says otherwise."""
        more = {"sources": (Source.GENERATIONS,)} | more
        self.api_calls = watched = Watched() if self.api_calls.asked else self.api_calls
        scopes = tuple(Scope(project_id=project) for project in projects)
        options = ArchiveOptions(self.dest, self.sim.base_url, scopes=scopes, fsync=False, **more)
        async with FloraApi(
            self.sim.base_url,
            self.sim.account.api_key,
            clock=self.time.clock,
            retries=1,
            timeout_s=20,
            backoff=Backoff(base_s=0.0),
            transport=watched,
        ) as api:
            return await archive(options, api, clock=self.time.clock, stop=stop)

    def seals(self) -> dict[str, int]:
        """Project → up to when it is sealed."""
        scans = manifest(self.dest)["scans"]
        return {scan["scope"]["project_id"]: scan["sealed_before"] for scan in scans}


@pytest.fixture
def job(sim: Simulator, tmp_path: Path) -> Job:
    """The job, before it was run."""
    return Job(sim, tmp_path / "out")


async def test_a_slow_list_holds_up_no_other(job: Job) -> None:
    """While the completed runs of one project are waited for, another project's list is walked to its end."""
    ended = asyncio.Event()

    async def before(project: str, status: str) -> None:
        if (project, status) == ("prj_b", "completed") and job.api_calls.asked.count((project, status)) == 3:
            ended.set()  # the first page, the second, and the first again: that is the whole walk
        if (project, status) == ("prj_a", "completed"):
            await asyncio.wait_for(ended.wait(), 20)

    job.api_calls.before = before
    report = await job.run("prj_a", "prj_b")
    assert report.is_complete
    for project in ("prj_a", "prj_b"):
        assert_archived(job.dest, job.sim.account, completed(job.sim.account, project))
    assert job.seals() == {"prj_a": NOW_MS, "prj_b": NOW_MS - 1}


async def test_no_more_than_four_lists_at_the_same_time(job: Job) -> None:
    """Seven projects are listed four at a time, and each in the order pending, running, completed."""
    held: set[str] = set()
    are_four = asyncio.Event()

    async def before(project: str, status: str) -> None:
        if status == "completed" and not are_four.is_set():
            held.add(project)
            if len(held) == 4:
                assert job.api_calls.order() == PROJECTS[:4]
                are_four.set()
            await asyncio.wait_for(are_four.wait(), 20)

    job.api_calls.before = before
    report = await job.run(*PROJECTS)
    assert report.is_complete
    assert report.new_runs == 7 * 120
    assert held == set(PROJECTS[:4])
    assert job.api_calls.most == 4
    for project in PROJECTS:
        statuses = [status for asked, status in job.api_calls.asked if asked == project]
        assert statuses == ["pending", "running", "completed", "completed", "completed"]
    assert len(job.seals()) == 7


async def test_a_second_list_is_not_begun_before_the_first_answer(job: Job) -> None:
    """The client starts with one request; where nobody answers it never makes two at the same time."""

    async def before(_: str, __: str) -> None:
        await asyncio.sleep(0)
        raise httpx.ConnectError("no route")

    job.api_calls.before = before
    with pytest.raises(ApiUnavailableError):
        await job.run(*PROJECTS)
    assert job.api_calls.most == 1
    assert job.api_calls.order() == PROJECTS


async def test_a_refused_key_is_told_as_such(job: Job) -> None:
    """With several scopes too, a key that the API does not want ends in that error."""
    job.sim.faults.append(Fault(LIST, status=401))
    with pytest.raises(KeyRefusedError):
        await job.run("prj_a", "prj_b", "prj_c")
    assert job.api_calls.most == 1


async def test_an_error_in_one_scope_leaves_the_others_alone(job: Job) -> None:
    """The scope with the error is not sealed, the others are; the next night brings what was missed."""
    fault = Fault(LIST, query="project_id=prj_b&status=completed", on=(2, 3), status=500)
    job.sim.faults.append(fault)
    report = await job.run("prj_a", "prj_b", "prj_c")
    assert (int(report.exit_code), len(report.problems)) == (3, 1)
    assert job.seals() == {"prj_a": NOW_MS, "prj_c": NOW_MS - 2}
    for project in ("prj_a", "prj_c"):
        assert_archived(job.dest, job.sim.account, completed(job.sim.account, project))
    job.sim.faults.clear()
    assert (await job.run("prj_a", "prj_b", "prj_c")).is_complete
    assert job.seals() == {"prj_a": NOW_MS, "prj_b": NOW_MS - 1, "prj_c": NOW_MS - 2}
    assert_archived(job.dest, job.sim.account, completed(job.sim.account, "prj_b"))


async def test_max_runs_counts_over_the_scopes_in_their_order(job: Job) -> None:
    """`--max-runs` takes the first scope's newest runs first, and asks nobody else when that is enough."""
    report = await job.run("prj_c", "prj_a", "prj_b", filters=Filters(max_runs=130))
    assert report.new_runs == 130
    assert job.api_calls.order() == ["prj_c", "prj_a"]
    assert job.api_calls.most == 1
    found = [run_id[4] for run_id in manifest(job.dest)["runs"]]
    assert (found.count("c"), found.count("a")) == (120, 10)


async def test_a_run_that_is_looked_for_ends_the_listing(job: Job) -> None:
    """`--run-id` ends the job in the scope that has it."""
    report = await job.run("prj_b", "prj_a", "prj_c", filters=Filters(run_ids=frozenset({"run_a005"})))
    assert report.new_runs == 1
    assert job.api_calls.order() == ["prj_b", "prj_a"]


async def test_a_stop_ends_all_lists(job: Job) -> None:
    """A signal while several lists are waited for ends the job, and what was found is recorded."""
    stop = asyncio.Event()

    async def before(_: str, status: str) -> None:
        if status != "completed":
            return
        listed = [project for project, status in job.api_calls.asked if status == "completed"]
        if len(set(listed)) == 4 and listed.count("prj_a") == 3:
            stop.set()
        if listed[-1] != "prj_a":
            await asyncio.sleep(3600)

    job.api_calls.before = before
    stopping = asyncio.ensure_future(job.run("prj_a", "prj_b", "prj_c", "prj_d", stop=stop))
    report = await asyncio.wait_for(stopping, 30)
    assert report.is_interrupted
    assert {run_id[4] for run_id in manifest(job.dest)["runs"]} == {"a"}
    assert manifest(job.dest)["scans"] == []


async def test_runs_that_moved_to_another_scope_have_not_vanished(job: Job) -> None:
    """A full walk that misses sixty runs in one project and meets them in another calls none of them gone."""
    await job.run("prj_a", "prj_b")
    for run in completed(job.sim.account, "prj_b")[:60]:
        run.project_id = "prj_a"
    report = await job.run("prj_a", "prj_b", full=True)
    assert report.is_complete
    assert report.vanished_runs == ()


async def test_waiting_looks_at_all_scopes_again(job: Job) -> None:
    """`--wait` stays for the open runs of every scope."""
    for project in ("prj_a", "prj_b"):
        run = SimRun(f"run_{project[-1]}new", "ws_a", project, "running", NOW_MS + 1000)
        run.outputs = [SimOutput("output_1", "text", text="at last")]
        job.sim.account.insert(run)
    slept = len(job.time.slept)
    clock_sleep = job.time.clock.sleep

    async def sleep(seconds: float) -> None:
        await clock_sleep(seconds)
        for letter in "ab":
            job.sim.account.get(f"run_{letter}new").status = "completed"

    object.__setattr__(job.time.clock, "sleep", sleep)
    report = await job.run("prj_a", "prj_b", wait_s=600.0)
    assert report.is_complete
    assert (report.open_runs, report.new_runs) == (0, 242)
    assert len(job.time.slept) > slept
    assert json.loads((job.dest / "manifest.json").read_text())["scans"][0]["open_runs"] == {}

"""The scans of one session: what is asked of the API, what is archived, held to be gone, and sealed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floradl.api.client import FloraApi
from floradl.api.models import Filters, Scope
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.errors import ApiError, ApiUnavailableError, KeyRefusedError
from floradl.network.retry import Backoff
from floradl.simulator import (
    Account,
    Edit,
    Fault,
    Listing,
    SimAsset,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimTechnique,
    Simulator,
    SimWorkspace,
    edit_canvas,
    serve_in_thread,
)
from tests.support.accounts import completed
from tests.support.archives import all_entries, assert_archived, manifest
from tests.support.clock import FakeTime
from tests.support.media import png

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0
DAY_MS = 86_400_000
NOW_MS = 1_795_000_000_000
RUNS = "/api/v1/generations"
TECHNIQUE_RUNS = "/api/v1/technique-runs"
NODES = "/api/v1/projects/prj_a/nodes"
ONE_RUN = "/api/v1/runs/*"
BOTH = (Source.GENERATIONS, Source.TECHNIQUE_RUNS)
WALK = 2 + 6
"""Requests for a full walk of 255 runs, 50 a page, with what is not done yet."""
A, B = Scope(project_id="prj_a"), Scope(project_id="prj_b")


def run_of(run_id: str, project_id: str = "prj_a", age_days: int = 0, **more: Any) -> SimRun:
    """A completed run with one text."""
    run = SimRun(run_id, "ws_a", project_id, created_at=NOW_MS - DAY_MS * age_days, **more)
    run.outputs = [SimOutput("output_1", "text", text=f"of {run_id}")]
    return run


@pytest.fixture
def account() -> Account:
    """Two projects of one workspace; two runs in the first, two in the second, the older ones weeks old."""
    account = Account("sk_live_scanner")
    account.workspaces.append(SimWorkspace("ws_a", "A"))
    account.projects += [SimProject(f"prj_{letter}", "ws_a", letter) for letter in "ab"]
    for letter in "ab":
        account.insert(run_of(f"new_{letter}", f"prj_{letter}"))
        account.insert(run_of(f"old_{letter}", f"prj_{letter}", 30))
    return account


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Nights:
    """A nightly job, with a clock that only the test moves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.account = sim.account
        self.dest = dest
        self.time = FakeTime(NOW_MS / 1000 + 60)

    async def run(self, *scopes: Scope, **more: Any) -> Report:
        """One night's job, over the list of generations alone unless `more` says otherwise; a day passes."""
        self.sim.forget()
        more = {"sources": (Source.GENERATIONS,), "scopes": scopes or (Scope(),)} | more
        options = ArchiveOptions(self.dest, self.sim.base_url, fsync=False, **more)
        clock, backoff = self.time.clock, Backoff(base_s=0.0)
        key = self.account.api_key
        async with FloraApi(self.sim.base_url, key, clock=clock, retries=0, backoff=backoff) as api:
            report = await archive(options, api, clock=clock, backoff=backoff)
        self.time.now_s += DAY_S
        return report

    def asked(self, path: str) -> int:
        """How many requests there were this night for a path of the API."""
        return sum(request.path == path for request in self.sim.api_requests())

    def asked_one_by_one(self) -> list[str]:
        """The runs that were asked for by their ids."""
        start = "/api/v1/runs/"
        return [
            request.path.removeprefix(start)
            for request in self.sim.api_requests()
            if request.path.startswith(start)
        ]

    def scans(self) -> list[Any]:
        """What the manifest keeps of scans."""
        scans: list[Any] = manifest(self.dest)["scans"]
        return scans

    def sealed(self) -> set[tuple[str, str | None]]:
        """Source and project of each seal."""
        return {(scan["scope"]["source"], scan["scope"].get("project_id")) for scan in self.scans()}

    def vanished(self) -> set[str]:
        """Runs that the archive holds to be gone."""
        return {run_id for run_id, entry in all_entries(self.dest).items() if entry.get("vanished_at")}

    def assert_complete(self) -> None:
        """The archive has every run."""
        assert_archived(self.dest, self.account, completed(self.account))


@pytest.fixture
def nights(sim: Simulator, tmp_path: Path) -> Nights:
    """The job, before its first night."""
    return Nights(sim, tmp_path / "out")


def told(report: Report) -> str:
    """All that a report says went wrong."""
    return "\n".join(problem.message for problem in report.problems)


# ------------------------------------------------------------------------------------------ what is sealed


async def test_a_night_after_a_seal_asks_for_little(nights: Nights) -> None:
    """Below the seal nothing is listed again; a full walk lists everything all the same."""
    for number in range(250):
        nights.account.insert(run_of(f"run_{number}", age_days=40 + number))
    assert (await nights.run()).is_complete
    nights.assert_complete()
    first = nights.asked(RUNS)
    assert (await nights.run()).is_complete
    assert nights.asked(RUNS) < first
    assert (await nights.run(full=True)).is_complete
    assert nights.asked(RUNS) == first


async def test_a_run_that_could_not_be_looked_at_is_not_sealed_away(nights: Nights) -> None:
    """Its list was seen whole, and its outputs could not be asked for: the next night lists it again."""
    hidden = run_of("hidden", age_days=20, list_outputs=False)
    nights.account.insert(hidden)
    nights.sim.faults.append(Fault(ONE_RUN, status=500))
    report = await nights.run()
    assert (report.is_complete, "hidden" in told(report)) == (False, True)
    assert nights.scans() == []
    nights.sim.faults.clear()
    assert (await nights.run()).is_complete
    nights.assert_complete()
    assert nights.sealed() == {("generations", None)}


async def test_a_list_with_a_problem_is_not_sealed(nights: Nights) -> None:
    """The list of pending runs fails: what is completed comes, and nothing is sealed or held to be gone."""
    await nights.run()
    before = nights.scans()
    nights.account.delete("old_a")
    nights.sim.faults.append(Fault(RUNS, query="status=pending", status=500))
    report = await nights.run(full=True)
    assert "pending" in told(report)
    assert (nights.scans(), nights.vanished()) == (before, set())


async def test_a_list_that_ends_early_is_not_sealed(nights: Nights) -> None:
    """The others are: an error in one scope leaves the others alone."""
    fault = Fault(RUNS, query="project_id=prj_a", status=500)
    nights.sim.faults.append(fault)
    report = await nights.run(A, B)
    assert report.problems
    assert nights.sealed() == {("generations", "prj_b")}
    assert set(all_entries(nights.dest)) == {"new_b", "old_b"}


@pytest.mark.parametrize(
    "filters",
    [
        Filters(models=("*",)),
        Filters(since_ms=NOW_MS - DAY_MS),
        Filters(max_runs=100),
        Filters(run_ids=frozenset({"new_a"})),
    ],
    ids=["model", "since", "max runs", "run id"],
)
async def test_what_is_filtered_seals_nothing_and_holds_nothing_gone(
    nights: Nights, filters: Filters
) -> None:
    """It saw only what it looked for."""
    await nights.run()
    before = nights.scans()
    nights.account.delete("old_b")
    assert (await nights.run(filters=filters, full=True)).is_complete
    assert (nights.scans(), nights.vanished()) == (before, set())


async def test_waiting_goes_on_from_what_this_session_saw(nights: Nights) -> None:
    """`--wait` with `--full` walks everything once, and from then on only what is new."""
    for number in range(250):
        nights.account.insert(run_of(f"run_{number}", age_days=40 + number))
    waited_for = nights.account.insert(run_of("open", status="running"))
    nights.sim.faults.append(
        Fault(RUNS, query="status=running", on=(2,), edit=Edit(finish=(waited_for.run_id,)))
    )
    report = await nights.run(full=True, wait_s=600.0)
    assert (report.is_complete, report.open_runs) == (True, 0)
    nights.assert_complete()
    assert nights.asked(RUNS) < 2 * WALK


# ------------------------------------------------------------------------------------------ what is gone


async def test_a_run_that_is_gone(nights: Nights) -> None:
    """A full walk tells it from the others, says so once, and keeps its files."""
    await nights.run()
    nights.account.delete("old_a")
    report = await nights.run(full=True)
    assert (report.is_complete, report.vanished_runs) == (True, ("old_a",))
    assert nights.vanished() == {"old_a"}
    assert nights.asked_one_by_one() == ["old_a"]
    again = await nights.run(full=True)
    assert (again.vanished_runs, nights.asked_one_by_one()) == ((), [])


async def test_a_run_that_is_gone_is_not_noticed_by_a_short_walk(nights: Nights) -> None:
    """It ends at the seal, and knows nothing of what lies below."""
    await nights.run()
    nights.account.delete("old_a")
    assert (await nights.run()).vanished_runs == ()


@pytest.mark.parametrize("count", [3, 60], ids=["few", "many"])
async def test_runs_of_another_scope_are_not_looked_for(nights: Nights, count: int) -> None:
    """They are in the same workspace and in no list of this night. Many would not even be asked for."""
    for number in range(count):
        nights.account.insert(run_of(f"run_{number}", "prj_b", 1))
    await nights.run()
    report = await nights.run(A, full=True)
    assert (report.is_complete, report.vanished_runs, nights.vanished()) == (True, (), set())
    assert nights.asked_one_by_one() == []
    assert nights.asked(RUNS) == 3  # pending, running and completed runs, a page each


async def test_many_runs_that_are_gone_are_not_asked_for_one_by_one(nights: Nights) -> None:
    """They were missing from two walks."""
    gone = {f"run_{number}" for number in range(51)}
    for run_id in gone:
        nights.account.insert(run_of(run_id, age_days=1))
    await nights.run()
    for run_id in gone:
        nights.account.delete(run_id)
    report = await nights.run(full=True)
    assert (set(report.vanished_runs), nights.vanished()) == (gone, gone)
    assert nights.asked_one_by_one() == []


async def test_as_many_as_are_asked_for_one_by_one(nights: Nights) -> None:
    """Fifty are; of those that are gone only the ones that the API does not know."""
    for number in range(50):
        nights.account.insert(run_of(f"run_{number}", age_days=1))
    await nights.run(A)
    nights.account.get("run_0").project_id = "prj_b"
    for number in range(1, 50):
        nights.account.delete(f"run_{number}")
    report = await nights.run(A, full=True)
    assert sorted(nights.asked_one_by_one()) == sorted(f"run_{number}" for number in range(50))
    assert nights.vanished() == {f"run_{number}" for number in range(1, 50)}
    assert report.is_complete


async def test_runs_that_the_first_walk_missed(nights: Nights) -> None:
    """Three runs are deleted while a page is read, and three slip from the next page: those are not gone."""
    for number in range(250):
        nights.account.insert(run_of(f"run_{number}", age_days=40 + number))
    await nights.run()
    nights.sim.faults.append(Fault(RUNS, on=(4,), edit=Edit(delete_listed=(0, 1, 2))))
    report = await nights.run(full=True)
    assert (report.is_complete, report.vanished_runs, nights.asked_one_by_one()) == (True, (), [])


async def test_a_run_that_only_the_second_walk_meets(nights: Nights) -> None:
    """It is archived like any other."""
    await nights.run()
    nights.account.delete("old_a")
    nights.sim.faults.append(Fault(RUNS, on=(4,), edit=Edit(insert=1)))
    report = await nights.run(full=True)
    assert (report.new_runs, report.vanished_runs) == (1, ("old_a",))
    nights.assert_complete()


async def test_an_undated_run_that_is_gone(nights: Nights) -> None:
    """Nobody knows where in the list it stood, so all of it is walked again."""
    nights.account.insert(run_of("undated", extra={"created_at": None}))
    for number in range(250):
        nights.account.insert(run_of(f"run_{number}", age_days=40 + number))
    await nights.run()
    first = nights.asked(RUNS)
    nights.account.delete("undated")
    assert (await nights.run(full=True)).vanished_runs == ("undated",)
    assert nights.asked(RUNS) == 2 * first - 2  # the lists of what is not done yet are not walked again


async def test_a_second_walk_goes_no_further_than_it_must(nights: Nights) -> None:
    """It ends below the oldest run that is looked for."""
    for number in range(250):
        nights.account.insert(run_of(f"run_{number}", age_days=40 + number))
    await nights.run()
    first = nights.asked(RUNS)
    nights.account.delete("new_a")
    assert (await nights.run(full=True)).vanished_runs == ("new_a",)
    assert nights.asked(RUNS) == first + 1


async def test_looking_for_what_is_gone_fails(nights: Nights) -> None:
    """Then nothing is held gone, and nothing is sealed."""
    await nights.run()
    before = nights.scans()
    nights.account.delete("old_a")
    nights.sim.faults.append(Fault(ONE_RUN, status=500))
    report = await nights.run(full=True)
    assert (report.is_complete, len(report.problems)) == (False, 1)
    assert (nights.vanished(), nights.scans()) == (set(), before)


async def test_a_run_that_two_lists_had_is_not_gone_before_both_were_walked(nights: Nights) -> None:
    """One list alone does not tell whether the other still has it."""
    technique = SimTechnique("tech_a", "A technique")
    nights.account.insert(run_of("both", technique=technique, listed_by=Listing.BOTH))
    await nights.run(sources=BOTH)
    nights.account.delete("both")
    assert (await nights.run(full=True)).vanished_runs == ()
    report = await nights.run(sources=BOTH, full=True)
    assert report.vanished_runs == ("both",)


async def test_nothing_of_a_workspace_is_gone_of_which_nothing_is_listed(nights: Nights) -> None:
    """It is closed to this key; its runs are not even asked for."""
    await nights.run()
    for run_id in ("new_a", "old_a", "new_b", "old_b"):
        nights.account.delete(run_id)
    nights.account.insert(SimRun("elsewhere", "ws_other", "prj_other", created_at=NOW_MS))
    report = await nights.run(full=True)
    assert (report.vanished_runs, nights.asked_one_by_one()) == ((), [])


# ------------------------------------------------------------------------------------------ what is admitted


async def test_a_run_of_two_lists_is_archived_once(nights: Nights) -> None:
    """Its record is completed by what the second says more, and both are noted."""
    technique = SimTechnique("tech_a", "A technique")
    nights.account.insert(run_of("both", technique=technique, listed_by=Listing.BOTH))
    report = await nights.run(sources=BOTH)
    assert report.is_complete
    assert [(news.source, news.listed, news.new) for news in report.sources] == [
        (Source.GENERATIONS, 5, 5),
        (Source.TECHNIQUE_RUNS, 1, 0),
    ]
    assert all_entries(nights.dest)["both"]["sources"] == ["generations", "technique-runs"]
    nights.assert_complete()
    again = await nights.run(sources=BOTH)
    assert (again.new_runs, again.is_complete) == (0, True)


async def test_a_run_of_two_lists_that_could_not_be_had(nights: Nights) -> None:
    """The second list does not bring what the first one could not."""
    technique = SimTechnique("tech_a", "A technique")
    hidden = run_of("both", technique=technique, listed_by=Listing.BOTH, list_outputs=False)
    nights.account.insert(hidden)
    nights.sim.faults.append(Fault(ONE_RUN, status=500))
    report = await nights.run(sources=BOTH)
    assert "both" in told(report)
    assert "both" not in all_entries(nights.dest)


async def test_a_run_with_the_id_of_an_upload(nights: Nights) -> None:
    """Two things with one id are told, and the first keeps its place."""
    upload = SimAsset("twin", "ws_a", SimOutput("twin", body=png(b"upload")), "prj_a", created_at=NOW_MS)
    nights.account.assets.append(upload)
    await nights.run(sources=(Source.ASSETS,))
    nights.account.insert(run_of("twin"))
    report = await nights.run()
    assert "two things with one id" in told(report)
    assert all_entries(nights.dest)["twin"]["kind"] == "asset"


async def test_ids_that_were_asked_for_end_the_listing(nights: Nights) -> None:
    """The second project's list is not asked for; an id that is nowhere is told."""
    filters = Filters(run_ids=frozenset({"new_a"}))
    assert (await nights.run(A, B, filters=filters)).missing_runs == ()
    assert set(all_entries(nights.dest)) == {"new_a"}
    assert not any("prj_b" in request.query for request in nights.sim.api_requests())
    filters = Filters(run_ids=frozenset({"new_a", "nowhere"}))
    assert (await nights.run(A, B, filters=filters)).missing_runs == ("nowhere",)


async def test_so_many_runs_and_no_more(nights: Nights) -> None:
    """`--max-runs` counts what is listed, and what is only brought back."""
    assert (await nights.run(A, B, filters=Filters(max_runs=3))).listed_runs == 3
    assert set(all_entries(nights.dest)) == {"new_a", "old_a", "new_b"}


@pytest.mark.parametrize("limit", [1, 2])
async def test_what_is_brought_back_counts_too(nights: Nights, limit: int) -> None:
    """Files of two runs are lost that no list brings any more."""
    await nights.run()
    for run_id in ("old_a", "old_b"):
        (nights.dest / all_entries(nights.dest)[run_id]["path"] / "output_1.txt").unlink()
    report = await nights.run(filters=Filters(max_runs=limit, until_ms=NOW_MS - DAY_MS), full=False)
    assert report.fetched == limit


async def test_a_run_that_is_listed_is_not_asked_for_too(nights: Nights) -> None:
    """Its lost file comes back by what the list says."""
    await nights.run()
    (nights.dest / all_entries(nights.dest)["new_a"]["path"] / "output_1.txt").unlink()
    report = await nights.run()
    assert (report.fetched, nights.asked_one_by_one()) == (1, [])


async def test_a_new_run_gets_its_label_from_a_canvas_that_did_not_change(nights: Nights) -> None:
    """Whatever the canvas says of it is asked for, also when a session without canvases found the run."""
    run = run_of("later")
    edit_canvas(nights.account, "prj_a", add=[SimNode("node_1", label="A fox in snow", shows=run.outputs[0])])
    sources = (Source.GENERATIONS, Source.CANVAS)
    await nights.run(sources=sources)
    await nights.run(sources=sources)
    assert nights.asked(NODES) == 0
    nights.account.insert(run)
    nights.account.insert(run_of("later too"))
    await nights.run()
    await nights.run(sources=sources)
    assert nights.asked(NODES) > 0


# ------------------------------------------------------------------------------------------ what is refused


async def test_a_list_that_is_not_for_this_key(nights: Nights) -> None:
    """It is a failure where it was seen before; since when it is refused, is kept where there was a seal."""
    await nights.run(sources=BOTH)
    nights.account.refuse("technique-runs")
    report = await nights.run(sources=BOTH)
    assert [type(problem) for problem in report.problems] == [KeyRefusedError]
    refusals = {scan["scope"]["source"]: scan.get("refused_at") for scan in nights.scans()}
    assert refusals["generations"] is None
    since = refusals["technique-runs"]
    assert since is not None
    await nights.run(sources=BOTH)
    assert {scan.get("refused_at") for scan in nights.scans()} == {None, since}


async def test_a_list_that_never_was_for_this_key(nights: Nights) -> None:
    """There is nothing to keep of it."""
    nights.account.refuse("technique-runs")
    assert (await nights.run(sources=BOTH)).is_complete
    assert nights.sealed() == {("generations", None)}


async def test_a_list_that_was_asked_for_by_name_is_refused(nights: Nights) -> None:
    """That is a failure; what the other list has is archived."""
    nights.account.refuse("technique-runs")
    required = frozenset({Source.TECHNIQUE_RUNS})
    report = await nights.run(sources=BOTH, required_sources=required)
    assert [type(problem) for problem in report.problems] == [KeyRefusedError]
    assert "technique-runs" in told(report)
    nights.assert_complete()


@pytest.mark.parametrize("required", [frozenset(), frozenset({Source.GENERATIONS})], ids=["default", "named"])
async def test_all_lists_are_refused(nights: Nights, required: frozenset[Source]) -> None:
    """Then the key is refused."""
    for source in ("generations", "technique-runs"):
        nights.account.refuse(source)
    with pytest.raises(KeyRefusedError):
        await nights.run(sources=BOTH, required_sources=required)


async def test_one_of_two_scopes_is_refused(nights: Nights) -> None:
    """A list that answers elsewhere is not left out: what it keeps from this key is a problem."""
    nights.sim.faults.append(Fault(RUNS, query="project_id=prj_a", status=403))
    report = await nights.run(A, B)
    assert len(report.problems) == 1
    assert set(all_entries(nights.dest)) == {"new_b", "old_b"}


async def test_a_key_that_is_not_valid_asks_no_second_list(nights: Nights) -> None:
    """401 is about the key."""
    nights.sim.faults.append(Fault("/api/v1/*", status=401))
    with pytest.raises(KeyRefusedError):
        await nights.run(sources=BOTH)
    assert nights.asked(TECHNIQUE_RUNS) == 0


async def test_an_api_that_answers_nothing(nights: Nights) -> None:
    """There is nothing to report but that."""
    nights.sim.faults.append(Fault("/api/v1/*", status=503))
    with pytest.raises(ApiUnavailableError):
        await nights.run(sources=BOTH)


async def test_the_refusal_of_a_key_is_the_worst_that_is_said(nights: Nights) -> None:
    """Also when another list failed before."""
    nights.sim.faults += [Fault(RUNS, status=503), Fault(TECHNIQUE_RUNS, status=401)]
    nights.sim.faults.append(Fault("/api/v1/projects", status=503))
    with pytest.raises(ApiError) as raised:
        await nights.run(sources=BOTH)
    assert isinstance(raised.value, KeyRefusedError)

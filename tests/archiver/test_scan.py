"""Scans: no run is missed while the account changes, and how far down each kind of scan walks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.client import FloraApi
from floradl.api.models import EVERYTHING, Scope
from floradl.api.records import parse_generation
from floradl.api.walk import OVERLAP_MS, iter_listed, with_outputs
from floradl.archiver.scan import FULL_EVERY_MS, Scan
from floradl.clock import format_ms
from floradl.constants import Source
from floradl.errors import ApiAnswerError, ApiError, KeyRefusedError
from floradl.network.retry import Backoff
from floradl.repository.entries import ScanEntry, ScopeEntry
from floradl.simulator import Account, SimOutput, SimRun, insert_runs
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

BASE = "https://api.test/api/v1"
FIRST_MS = 1_795_000_000_000
MINUTE_MS = 60_000
FIRST_PAGES = ["pending", "running", "completed"]


class Flora:
    """An API that shows an account in small pages, and lets something happen just before chosen requests.

    Attributes:
        asked: what was asked for: `completed`, `completed 3` (from the fourth run on), or a run's id.
        before: what happens before the request of that number, from 1.
        answers: what is answered, whatever the account holds, to what `asked` calls so.
    """

    def __init__(self, *runs: SimRun, page_size: int = 3) -> None:
        self.account = Account("sk_live_1", runs, spacing_ms=MINUTE_MS)
        self.time = FakeTime()
        self.page_size = page_size
        self.asked: list[str] = []
        self.before: dict[int, Callable[[], object]] = {}
        self.answers: dict[str, httpx.Response] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer, as the handler of an `httpx.MockTransport`."""
        params, name = request.url.params, request.url.path.rpartition("/")[2]
        if name == "generations":
            name = f"{params['status']} {params.get('cursor', '')}".strip()
        self.asked.append(name)
        self.before.get(len(self.asked), lambda: None)()
        if name in self.answers:
            return self.answers[name]
        if "status" in params:
            return self._page(params["status"], int(params.get("cursor", 0)))
        known = {run.run_id: run for run in self.account.runs}
        if name not in known:
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "No such run."}})
        return httpx.Response(200, json=self.account.record(known[name], listed=False))

    def _page(self, status: str, start: int) -> httpx.Response:
        runs, end = self.account.listed(status=status), start + self.page_size
        records = [self.account.record(run, listed=True) for run in runs[start:end]]
        return page_of(*records, cursor=str(end) if end < len(runs) else None)

    def api(self) -> FloraApi:
        """A session that tries everything once."""
        transport, clock = httpx.MockTransport(self), self.time.clock
        return FloraApi(
            BASE, "k", clock=clock, retries=0, timeout_s=5, transport=transport, backoff=Backoff(0.0)
        )

    def scan(
        self,
        previous: ScanEntry | None = None,
        known: Collection[str] = (),
        *,
        scope: Scope = EVERYTHING,
        full: bool = False,
        since_ms: int | None = None,
    ) -> Scan:
        """A scan, of the whole account unless told otherwise, not begun."""
        clock, is_known = self.time.clock, known.__contains__
        return Scan(self.api(), scope, "acct", previous, is_known, clock, full=full, since_ms=since_ms)


def page_of(*records: object, cursor: str | None = None) -> httpx.Response:
    """A page as the API sends it."""
    return httpx.Response(200, json={"generations": records, "meta": {"next_cursor": cursor}})


def run(number: int, status: str = "completed", /, **extra: object) -> SimRun:
    """Run `run_<number>`, created that many minutes after the first; its record says `extra` all the same."""
    created_ms = FIRST_MS + number * MINUTE_MS
    return SimRun(f"run_{number}", "ws_a", "prj_a", status=status, created_at=created_ms, extra=extra)


def runs(count: int) -> list[SimRun]:
    """So many completed runs."""
    return [run(number) for number in range(count)]


def ids(*numbers: int) -> list[str]:
    """The ids of these runs."""
    return [f"run_{number}" for number in numbers]


async def found_by(scan: Scan) -> list[str]:
    """The ids of the runs that a scan brings."""
    return [run.run_id async for run in scan.iter_completed()]


def seal(
    sealed_before: int | None, *open_runs: SimRun, full_at: str = format_ms(int(FakeTime().now_s * 1000))
) -> ScanEntry:
    """What an earlier scan left."""
    account = Account("sk_live_1", open_runs)
    records = {run.run_id: account.record_json(run, listed=True).encode() for run in open_runs}
    raws = {run_id: msgspec.Raw(record) for run_id, record in records.items()}
    return ScanEntry(ScopeEntry("generations", None, None), "acct", sealed_before, raws, full_at, full_at)


# --- what a scan brings --------------------------------------------------------------------------------


async def test_every_completed_run_is_brought_once() -> None:
    """Over several pages each completed run comes once, newest first; open ones are kept apart."""
    flora = Flora(*runs(8), run(8, "pending"), run(9, "running"), run(10, "failed"))
    scan = flora.scan()
    assert await found_by(scan) == ids(7, 6, 5, 4, 3, 2, 1, 0)
    assert list(scan.open_runs) == ids(8, 9)
    assert (scan.problems, scan.workspaces) == ([], {"ws_a"})
    assert flora.asked == [
        *FIRST_PAGES, "completed 3", "completed", "completed 6", "completed 3",
    ]  # fmt: skip


@pytest.mark.parametrize("listed_as", ["pending", "running"])
async def test_a_run_that_completes_while_it_is_listed(listed_as: str) -> None:
    """A record that says completed in a list of open runs is taken at its word, once."""
    flora = Flora(run(1, listed_as, status="completed"), run(2))
    flora.before[3] = lambda: flora.account.finish("run_1")
    scan = flora.scan()
    assert await found_by(scan) == ids(1, 2)
    assert scan.open_runs == {}


async def test_a_run_that_moves_on_while_it_is_scanned() -> None:
    """A run met as pending, then running, then completed is brought once and is open no more."""
    flora = Flora(run(1, "pending"), run(2, "pending"), run(3, "pending"))
    flora.before[2] = lambda: [flora.account.start(run_id) for run_id in ids(1, 2)]
    flora.before[3] = lambda: flora.account.finish("run_1")
    scan = flora.scan()
    assert await found_by(scan) == ids(1)
    assert {run_id: run.status for run_id, run in scan.open_runs.items()} == {
        "run_3": "pending",
        "run_2": "running",
    }


async def test_a_run_that_was_done_is_not_waited_for() -> None:
    """A run that one list calls completed and a later one running is archived, and not asked for again."""
    late = run(1, "pending", status="completed")
    flora = Flora(late)

    def back_to_running() -> None:
        late.status, late.extra = "running", {}

    flora.before[2] = back_to_running
    scan = flora.scan()
    assert await found_by(scan) == ids(1)
    assert scan.sealed().open_runs == {}


async def test_an_unreadable_record_is_told_once() -> None:
    """A record that cannot be read is named once, however often its page is read."""
    flora = Flora(*runs(4), run(9, status=7))
    scan = flora.scan()
    assert await found_by(scan) == ids(3, 2, 1, 0)
    (problem,) = scan.problems
    assert "run_9" in problem.message


def with_pages(flora: Flora, count: int, *records: object) -> None:
    """Let the list of completed runs begin with so many pages of these records, and end with run_1."""
    for number in range(count):
        flora.answers[f"completed {number or ''}".strip()] = page_of(*records, cursor=str(number + 1))
    flora.answers[f"completed {count}"] = page_of(flora.account.record(run(1), listed=True))


async def test_a_few_pages_of_nothing() -> None:
    """An empty page with more to come is not the end."""
    flora = Flora()
    with_pages(flora, 9)
    assert await found_by(flora.scan()) == ids(1)


async def test_nothing_but_pages_of_nothing() -> None:
    """After twenty empty answers in a row the next is an error, and not the end."""
    flora = Flora()
    with_pages(flora, 30)
    with pytest.raises(ApiAnswerError, match="20 empty pages"):
        await found_by(flora.scan())
    assert len(flora.asked) == len(FIRST_PAGES) + 20


async def test_pages_of_unreadable_records() -> None:
    """A page of records that cannot be read is not an empty one, however many there are."""
    flora = Flora()
    with_pages(flora, 30, {"run_id": "run_2"})
    scan = flora.scan()
    assert await found_by(scan) == ids(1)
    assert len(scan.problems) == 1


async def test_a_cursor_that_turns_in_a_circle() -> None:
    """A list that leads back to a page it led to before is an error, and not walked for ever."""
    flora = Flora(*runs(9))
    flora.answers["completed 6"] = page_of(cursor="3")
    with pytest.raises(ApiAnswerError, match="second time"):
        await found_by(flora.scan())


async def test_a_status_that_nobody_knows() -> None:
    """A run of unknown status is named, neither brought nor waited for, and costs no other."""
    flora = Flora(run(1), run(2, status="done\x1b[2J"), run(3))
    scan = flora.scan()
    assert await found_by(scan) == ids(3, 1)
    (problem,) = scan.problems
    assert problem.message == "run run_2 has a status that nobody knows: done�[2J"
    assert scan.open_runs == {}


# --- while the list moves ------------------------------------------------------------------------------


# No set both adds to a list and takes from it: that could cancel out within two requests, unseen.
EDITS = st.sampled_from([["insert", "insert pending", "finish"], ["insert", "start"], ["delete"]]).flatmap(
    lambda kinds: st.dictionaries(
        st.integers(1, 20), st.tuples(st.sampled_from(kinds), st.integers(0, 30)), max_size=3
    )
)


@given(EDITS, st.integers(1, 5))
def test_nothing_is_missed_while_the_account_changes(edits: dict[int, tuple[str, int]], size: int) -> None:
    """Whatever comes or goes at three moments of a scan, each run that stays is brought once or kept open."""
    open_runs = [run(12 + n, ["pending", "running"][n % 2]) for n in range(8)]
    flora = Flora(*runs(12), *open_runs, page_size=size)
    account, there = flora.account, {run.run_id for run in flora.account.runs}
    for number, (what, place) in edits.items():
        flora.before[number] = lambda what=what, place=place: change(account, what, place)  # type: ignore[misc]  # bound now
    scan = flora.scan()
    found = asyncio.run(found_by(scan))
    assert len(found) == len(set(found))
    stayed = there & {run.run_id for run in account.runs}
    assert stayed <= set(found) | set(scan.open_runs)

    flora.before.clear()
    for open_run in account.listed(status="pending") + account.listed(status="running"):
        account.finish(open_run.run_id)
    later = flora.scan(scan.sealed(), found)
    found += asyncio.run(found_by(later))
    assert {run.run_id for run in account.runs} <= set(found), "not even the next scan brings it"


def change(account: Account, what: str, place: int) -> None:
    """Let something happen to the account; to the run of that place, where there is one."""
    if what.startswith("insert"):
        insert_runs(account, 1, status="pending" if what == "insert pending" else "completed")
        return
    with_status = {"delete": None, "start": "pending", "finish": "running"}[what]
    candidates = account.listed(status=with_status)
    if candidates:
        run_id = candidates[place % len(candidates)].run_id
        {"delete": account.delete, "start": account.start, "finish": account.finish}[what](run_id)


@pytest.mark.parametrize("removed", [1, 2, 3, 4, 5, 6, 7, 9, 12, 15, 20])
@pytest.mark.parametrize("request_number", range(3, 16))
async def test_many_runs_are_removed_at_once(removed: int, request_number: int) -> None:
    """A project is deleted while the list is read: more than a page goes, and no run that stays is missed."""
    flora = Flora(*runs(30))

    def remove() -> None:
        for gone in flora.account.listed(status="completed")[:removed]:
            flora.account.delete(gone.run_id)

    flora.before[request_number] = remove
    scan = flora.scan()
    found = await found_by(scan)
    assert {stays.run_id for stays in flora.account.runs} <= set(found)
    assert len(found) == len(set(found))
    assert scan.problems == []


async def test_a_list_that_moves_faster_than_it_can_be_read() -> None:
    """Where something is removed before every request, the scan ends with an error: it can seal nothing."""
    flora = Flora(*runs(400))
    for number in range(3, 400):
        flora.before[number] = lambda: flora.account.delete(
            flora.account.listed(status="completed")[0].run_id
        )
    with pytest.raises(ApiAnswerError, match="the list of completed runs never held still"):
        await found_by(flora.scan())


async def test_a_list_that_never_holds_still() -> None:
    """Where something completes before every request, the walk still ends, and brings all there was."""
    flora = Flora(*runs(7))
    for number in range(3, 30):
        flora.before[number] = lambda: insert_runs(flora.account, 1)
    found = await found_by(flora.scan())
    assert set(ids(*range(7))) <= set(found)
    assert len(found) == len(set(found))
    assert len(flora.asked) < 60


# --- how far down it walks -----------------------------------------------------------------------------


def created_ms(number: int) -> int:
    """When that run was created."""
    return run(number).created_at


@pytest.mark.parametrize(
    ("sealed_at", "known", "pages"),
    [
        pytest.param(17, range(20), ["completed", "completed 3"], id="down to the seal less an hour"),
        pytest.param(16, range(20), ["completed", "completed 3"], id="the page that crosses it is the last"),
        pytest.param(15, range(20), ["completed", "completed 3", "completed 6"], id="not the one at it"),
        pytest.param(25, range(20), ["completed"], id="all of it known"),
        pytest.param(25, range(19), ["completed", "completed 3"], id="a page with a new run is never last"),
    ],
)
async def test_a_scan_ends_below_the_seal(sealed_at: int, known: range, pages: list[str]) -> None:
    """It walks an hour below the seal, and until a page on which every run is known."""
    flora = Flora(*runs(20))
    previous = seal(created_ms(sealed_at - 1) + OVERLAP_MS)
    await found_by(flora.scan(previous, ids(*known)))
    assert list(dict.fromkeys(flora.asked))[2:] == pages


async def test_a_page_is_judged_before_its_runs_are_archived() -> None:
    """Runs that are recorded while their page is worked off do not make it the last one."""
    flora, known = Flora(*runs(12)), set[str]()
    async for new in flora.scan(seal(created_ms(30) + OVERLAP_MS), known).iter_completed():
        known.add(new.run_id)
    assert known == set(ids(*range(12)))


@pytest.mark.parametrize("new", [(5, 2), (8, 2)], ids=["it has become new", "it was new"])
async def test_a_page_that_moved_is_judged_again(new: tuple[int, int]) -> None:
    """A page is the last only if it was so before and after the list moved; or what lies below is missed."""
    flora = Flora(*runs(12))
    flora.before[5] = lambda: flora.account.delete("run_10")
    known = [each for each in ids(*range(12)) if each not in ids(*new)]
    found = await found_by(flora.scan(seal(created_ms(8) + OVERLAP_MS), known))
    assert flora.asked[2:7] == ["completed", "completed 3", "completed", "completed 3", "completed"]
    assert set(ids(*new)) <= set(found)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(run(18, created_at=created_ms(10)), id="a date out of order"),
        pytest.param(run(18, created_at=None), id="no date"),
        pytest.param(run(17, created_at=None), id="no date at its end"),
    ],
)
async def test_pages_that_are_not_newest_first_prove_nothing(odd: SimRun) -> None:
    """Where one date of a list makes no sense, the walk goes on to its end."""
    flora = Flora(*(each for each in runs(20) if each.run_id != odd.run_id), odd)
    await found_by(flora.scan(seal(created_ms(30) + OVERLAP_MS), ids(*range(20))))
    assert "completed 18" in flora.asked


async def test_an_undated_run_alone_on_its_page() -> None:
    """A page of one run without a date proves nothing either: the walk goes on to the end of the list."""
    flora = Flora(*runs(4), page_size=1)
    flora.answers["completed"] = page_of(
        flora.account.record(run(9, created_at=None), listed=True), cursor="0"
    )
    await found_by(flora.scan(seal(created_ms(30) + OVERLAP_MS), ids(0, 1, 2, 3, 9)))
    assert "completed 3" in flora.asked


async def test_runs_of_one_moment_are_in_order() -> None:
    """Runs that were created in the same millisecond do not make the next scan walk everything."""
    flora = Flora(*(each for each in runs(20) if each.run_id != "run_18"), run(18))
    flora.account.get("run_18").created_at = created_ms(19)
    await found_by(flora.scan(seal(created_ms(30) + OVERLAP_MS), ids(*range(20))))
    assert flora.asked == FIRST_PAGES


@pytest.mark.parametrize(
    ("since", "last"), [(18, "completed"), (17, "completed 3"), (15, "completed 3"), (14, "completed 6")]
)
async def test_a_filter_on_the_date_ends_the_walk(since: int, last: str) -> None:
    """With --since the walk ends with the first page that reaches below it, whatever is known."""
    flora = Flora(*runs(20))
    scan = flora.scan(since_ms=created_ms(since))
    found = await found_by(scan)
    assert set(ids(*range(since, 20))) <= set(found)
    assert list(dict.fromkeys(flora.asked))[-1] == last


@pytest.mark.parametrize(("down_to", "last"), [(16, "completed 3"), (None, "completed 18")])
async def test_looking_again_for_runs_that_were_not_met(down_to: int | None, last: str) -> None:
    """A second walk brings what the first did not meet, an hour below the oldest that is looked for."""
    flora = Flora(*runs(20))
    scan = flora.scan()
    await found_by(scan)
    flora.asked.clear()
    insert_runs(flora.account, 1)
    down_to_ms = None if down_to is None else created_ms(down_to) + OVERLAP_MS
    (new,) = [run.run_id async for run in scan.iter_again(down_to_ms=down_to_ms)]
    assert new == flora.account.listed()[0].run_id
    assert list(dict.fromkeys(flora.asked))[-1] == last


NOW_MS = int(FakeTime().now_s * 1000)


@pytest.mark.parametrize(
    ("previous", "full", "is_full"),
    [
        (None, False, True),
        (seal(5), False, False),
        (seal(5), True, True),
        (seal(None), False, False),
        (seal(5, full_at="soon"), False, True),
        (seal(5, full_at=format_ms(NOW_MS - FULL_EVERY_MS)), False, False),
        (seal(5, full_at=format_ms(NOW_MS - FULL_EVERY_MS - 1000)), False, True),
        (seal(5, full_at=format_ms(NOW_MS + 1000)), False, True),
    ],
    ids=["first", "lately", "asked for", "nothing", "no date", "a week ago", "over a week", "in the future"],
)
async def test_when_everything_is_walked(previous: ScanEntry | None, full: bool, is_full: bool) -> None:
    """At first, when asked to and after a week the whole history is walked, and the seal says when."""
    scan = Flora().scan(previous, full=full)
    await found_by(scan)
    assert scan.is_full is is_full
    sealed = scan.sealed()
    assert sealed.last_scan_at == format_ms(NOW_MS)
    assert (sealed.last_full_scan_at == format_ms(NOW_MS)) is (is_full or previous in (seal(5), seal(None)))


# --- what it seals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "before", "sealed"),
    [
        ([], None, None),
        ([], seal(None), None),
        ([], seal(77), 77),
        ([run(1, created_at=None)], None, None),
        ([run(1), run(3, "running"), run(2)], None, created_ms(3)),
        ([run(1)], seal(created_ms(9)), created_ms(9)),
        ([run(9)], seal(created_ms(1)), created_ms(9)),
    ],
    ids=["nothing", "still nothing", "nothing any more", "no date", "open runs count", "older", "newer"],
)
async def test_the_seal(there: list[SimRun], before: ScanEntry | None, sealed: int | None) -> None:
    """It is the newest date that this scan or the one before saw, and never goes down."""
    scan = Flora(*there).scan(before)
    await found_by(scan)
    assert scan.sealed().sealed_before == sealed


@pytest.mark.parametrize(("took_s", "lower_s"), [(1800, 0), (1801, 1801), (7200, 7200)])
async def test_a_slow_listing_of_open_runs_lowers_the_seal(took_s: int, lower_s: int) -> None:
    """What was created and not met while the open runs were listed lies above the next scan's end."""
    flora = Flora(run(1))

    def takes_long() -> None:
        flora.time.now_s += took_s

    flora.before[2] = takes_long
    scan = flora.scan()
    await found_by(scan)
    assert scan.sealed().sealed_before == created_ms(1) - lower_s * 1000


# --- runs that were open -------------------------------------------------------------------------------


async def test_open_runs_that_no_list_has_are_asked_for() -> None:
    """One by one, in their order; what has completed is brought with its place, what is gone is let go."""
    flora = Flora(run(1), run(2, "failed"), run(4, "running"))
    flora.account.get("run_1").created_at -= 30 * OVERLAP_MS
    before = [run(number, "running") for number in (1, 2, 3, 4)]
    scan = flora.scan(seal(created_ms(9), *before), known=ids(1))
    flora.answers["completed"] = page_of()
    found = [run async for run in scan.iter_completed()]
    assert [(run.run_id, run.workspace_id, run.project_id) for run in found] == [("run_1", "ws_a", "prj_a")]
    assert flora.asked == [*FIRST_PAGES, *ids(1, 2, 3)]
    assert (list(scan.sealed().open_runs), scan.problems) == (ids(4), [])


@pytest.mark.parametrize(
    ("status", "asked", "found"),
    [(503, ids(1), []), (400, ids(1, 2), ids(2))],
    ids=["an outage", "a refusal"],
)
async def test_an_open_run_that_cannot_be_asked_for(status: int, asked: list[str], found: list[str]) -> None:
    """It is named; after an outage the others are left for the next scan, after a refusal they are not."""
    flora = Flora()
    flora.account.insert(run(2))
    flora.answers |= {"run_1": httpx.Response(status), "completed": page_of()}
    scan = flora.scan(seal(5, run(1, "running"), run(2, "running")))
    assert await found_by(scan) == found
    assert flora.asked == [*FIRST_PAGES, *asked]
    (problem,) = scan.problems
    assert problem.message.startswith("run run_1: the API answered ")


async def test_a_refused_key_ends_the_scan() -> None:
    """A key that is refused half-way is an error of the whole scan, not of one run."""
    flora = Flora()
    flora.answers["run_1"] = httpx.Response(401)
    with pytest.raises(KeyRefusedError):
        await found_by(flora.scan(seal(5, run(1, "running"), run(2, "running"))))
    assert flora.asked == [*FIRST_PAGES, "run_1"]


# --- runs that are listed without outputs --------------------------------------------------------------


async def test_outputs_that_the_list_left_out() -> None:
    """A run without outputs is asked for by its id and keeps its place; one that has them is not."""
    late = run(1)
    late.outputs, late.list_outputs = [SimOutput("output_1", "text", text="hello")], False
    flora = Flora(late)
    listed = parse_generation(flora.account.record_json(late, listed=True).encode())
    asked = await with_outputs(flora.api(), listed)
    assert [output.value for output in asked.outputs or ()] == ["hello"]
    assert (asked.workspace_id, asked.project_id, flora.asked) == ("ws_a", "prj_a", ["run_1"])
    assert await with_outputs(flora.api(), asked) is asked
    assert flora.asked == ["run_1"]


async def test_a_run_that_contradicts_the_list() -> None:
    """A run that is listed as completed, and by itself still running, is an error that says so."""
    flora = Flora(run(1))
    listed = parse_generation(flora.account.record_json(run(1), listed=True).replace("outputs", "x").encode())
    flora.account.get("run_1").status = "running"
    with pytest.raises(ApiError, match="listed as completed, and by itself running"):
        await with_outputs(flora.api(), listed)


# --- lists that fail, and runs that are looked for -----------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_a_list_of_open_runs_that_fails_costs_no_completed_run(status: str) -> None:
    """What is completed is brought all the same; the failure is named, and nothing can be sealed."""
    flora = Flora(*runs(4))
    flora.answers[status] = httpx.Response(500)
    scan = flora.scan()
    assert sorted(await found_by(scan)) == ids(*range(4))
    (problem,) = scan.problems
    assert problem.message.startswith(f"the list of {status} runs: the API answered 500")


async def test_a_key_that_is_refused_ends_the_scan() -> None:
    """The other lists would say the same."""
    flora = Flora(*runs(4))
    flora.answers["pending"] = httpx.Response(401)
    with pytest.raises(KeyRefusedError):
        await found_by(flora.scan())
    assert flora.asked == ["pending"]


@pytest.mark.parametrize("down_to_ms", [None, FIRST_MS + 7 * MINUTE_MS + OVERLAP_MS])
async def test_runs_are_looked_for_in_the_list(down_to_ms: int | None) -> None:
    """Their whole records come, the walk ends with the last of them, or below the date of the oldest."""
    flora = Flora(*runs(12))
    listed = iter_listed(flora.api(), Scope(), ids(10, 7, 99), down_to_ms=down_to_ms)
    found = [run async for run in listed]
    assert [run.run_id for run in found] == ids(10, 7)
    assert found[0].workspace_id == "ws_a"
    assert ("completed 9" in flora.asked) is (down_to_ms is None)


async def test_looking_ends_with_the_last_run_that_is_looked_for() -> None:
    """No page is asked for when nothing is wanted any more."""
    flora = Flora(*runs(12))
    assert [run.run_id async for run in iter_listed(flora.api(), Scope(), ids(10), down_to_ms=None)] == ids(
        10
    )
    assert flora.asked == ["completed"]


async def test_a_walk_goes_back_further_than_it_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what was met is forgotten the walk goes back to the beginning, and still misses nothing."""
    monkeypatch.setattr("floradl.api.walk._REMEMBERED_PAGES", 1)
    flora = Flora(*runs(30))

    def remove() -> None:
        for gone in flora.account.listed(status="completed")[:20]:
            flora.account.delete(gone.run_id)

    flora.before[10] = remove
    found = await found_by(flora.scan())
    assert {stays.run_id for stays in flora.account.runs} <= set(found)


@pytest.mark.parametrize("told", [{}, {"workspace_id": None, "project_id": ""}, {"project_id": "prj_own"}])
async def test_an_asset_is_where_it_says_or_where_it_was_asked_for(told: dict[str, object]) -> None:
    """All is in one list, and a record that names no place is of the one that was asked for."""
    record = {"asset_id": "asset_1", "status": "ready", "url": "https://h/a"} | told
    waiting = {"asset_id": "asset_2", "status": "pending_upload"}
    flora = Flora()
    flora.answers["assets"] = httpx.Response(200, json={"assets": [record, waiting]})
    scan = flora.scan(scope=Scope("ws_a", "prj_b", Source.ASSETS))
    (asset,) = [run async for run in scan.iter_completed()]
    assert (asset.workspace_id, asset.project_id) == ("ws_a", told.get("project_id") or "prj_b")
    assert flora.asked == ["assets"]
    assert set(scan.open_runs) == {"asset_2"}


async def test_technique_runs_are_one_list_too() -> None:
    """Runs of all statuses are in it: what is completed is found, what is open is kept for the next time."""
    records = [
        {"run_id": f"run_{status}", "technique_run_id": f"run_{status}", "status": status}
        for status in ("pending", "failed", "completed", "running")
    ]
    flora = Flora()
    flora.answers["technique-runs"] = httpx.Response(200, json={"technique_runs": records})
    scan = flora.scan(scope=Scope(source=Source.TECHNIQUE_RUNS))
    assert [run.run_id async for run in scan.iter_completed()] == ["run_completed"]
    assert set(scan.open_runs) == {"run_pending", "run_running"}
    assert flora.asked == ["technique-runs"]

"""Any order of events: an account that changes between nights and during them, and what must be archived.

A machine inserts, starts, finishes, fails and deletes runs, lets pages fail, and lets nights pass, with
changes in the middle of them; after each night it compares the archive with what the account held. What no
walk can prove (docs/architecture.md, "Missing nothing") are changes that cancel each other out at the edge
of a page. So a night sees changes of one family, in each of which no list both grows and shrinks; or it is
a wild one, which must tell no lie, and after which a full walk must find everything.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import ssl
import tempfile
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import httpx
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from floradl.api import walk
from floradl.api.client import FloraApi
from floradl.api.models import Scope
from floradl.api.pages import PageQuery
from floradl.archiver import scan
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.errors import ApiNotFoundError, FloradlError
from floradl.network.retry import Backoff
from floradl.simulator import Account, Edit, Fault, Listing, SimOutput, SimRun, SimTechnique, serve_in_thread
from tests.support.archives import manifest
from tests.support.clock import FakeTime
from tests.support.hypothesis_settings import by_day

LIST = "/api/v1/[gt]*s"
"""Both lists of runs; requests are counted for each apart."""

PAGE = 4
OPEN = ("pending", "running")
SSL = ssl.create_default_context()

FAMILIES = {
    "finish": ("insert completed", "finish", "fail"),
    "start": ("insert completed", "start"),
    "insert": ("insert completed", "insert pending", "insert running"),
    "delete": ("delete", "delete", "delete open"),
}
WILD = tuple(dict.fromkeys(change for family in FAMILIES.values() for change in family))
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "html": {"status": 200, "body": b"<html>Sign in</html>", "content_type": "text/html"},
    "cut": {"cut_after": 30},
    "dropped": {"drop": True},
    "same cursor": {"repeat_cursor": True},
}
MOMENTS = ("now", "now", "equal", "behind", "far ahead", "undated", "odd")
SCOPES = (Scope(), Scope(), Scope(project_id="prj_a"), Scope("ws_a", "prj_b"))
BY_DAY = ("insert completed", "insert pending", "insert running", "insert failed", *WILD, "finish")

Day = list[tuple[str, str, int]]
Edits = list[tuple[int, int, int]]
PICKS = st.integers(0, 30)
REQUESTS = st.integers(1, 4) | st.integers(1, 12)
"""Which request for a list; many a night makes but four."""

EDITS = st.lists(st.tuples(REQUESTS, PICKS, PICKS), min_size=1, max_size=6)
DAYS = st.lists(st.tuples(st.sampled_from(BY_DAY), st.sampled_from(MOMENTS), PICKS), max_size=6)


@dataclass(frozen=True)
class Change(Edit):
    """A change that finds what it is about when it happens: the `pick`-th run that it fits."""

    what: str = ""
    pick: int = 0
    moment: str = "now"

    def apply_to(self, account: Account) -> None:
        """Make the change, if there is a run that it fits."""
        assert isinstance(account, LiveAccount)
        verb, _, what = self.what.partition(" ")
        if verb == "insert":
            for place in range(1 + self.pick % 6):
                account.add(what, self.moment, self.pick + place)
            return
        fitting = {"start": ("pending",), "delete": ("completed",)}.get(self.what, OPEN)
        runs = [run for run in account.runs if run.status in fitting]
        if runs:
            getattr(account, verb)(runs[self.pick % len(runs)].run_id)


class LiveAccount(Account):
    """An account whose runs are texts, and which remembers all that it ever held.

    Attributes:
        listings: what the runs are listed by, in turn.
        ever: every run there ever was, by id.
        tonight: ids of the runs that existed at some time since the night began.
        open_tonight: ids of those that were open then.
    """

    def __init__(self, time: FakeTime, listings: tuple[str, ...]) -> None:
        super().__init__("sk_live_machine")
        self.listings = listings
        self.ever: dict[str, SimRun] = {}
        self.tonight: set[str] = set()
        self.open_tonight: set[str] = set()
        self._time = time
        self._numbers = count()
        self._last_ms = 0

    def begin_night(self) -> None:
        """Forget the days before."""
        self.tonight = {run.run_id for run in self.runs}
        self.open_tonight = {run.run_id for run in self.runs if run.status in OPEN}

    def add(self, status: str, moment: str, pick: int) -> SimRun:
        """A new run at the top of the list, or where an odd date puts it."""
        number = next(self._numbers)
        # Each a little later than the one before, as long as the clock stands still.
        now_ms = self._last_ms = max(int(self._time.now_s * 1000), self._last_ms + 1000)
        is_far = any(run.created_at > now_ms + 86_400_000 for run in self.ever.values())
        run = SimRun(f"run_{number}", f"ws_{'ab'[pick % 2]}", f"prj_{'ab'[pick // 2 % 2]}", status, now_ms)
        match moment:
            case "equal":
                run.created_at = max((other.created_at for other in self.runs), default=now_ms)
            case "behind" if not is_far:  # below a seal that lies far ahead only a full walk would find it
                run.created_at = now_ms - 60_000 * pick
            case "far ahead" if not is_far:  # a page of them would hide what comes below
                run.created_at = 4_000_000_000_000
            case "undated":
                run.extra = {"created_at": None}
            case "odd":
                run.extra = {"created_at": (0, -1, "soon", [], 1e300)[pick % 5]}
        run.outputs = [SimOutput(f"output_{n}", "text", text=f"{number} {n}") for n in range(pick % 3)]
        run.list_outputs = pick % 7 != 0
        run.listed_by = self.listings[number % len(self.listings)]
        run.technique = (
            None if run.listed_by == Listing.GENERATIONS else SimTechnique("tech_a", "A technique")
        )
        self.insert(run)
        self.ever[run.run_id] = run
        self.tonight.add(run.run_id)
        if status in OPEN:
            self.open_tonight.add(run.run_id)
        return run


def seen_by_the_api(run: SimRun) -> int:
    """A run's `created_at` as far as it makes sense."""
    told = run.extra.get("created_at", run.created_at)
    return told if isinstance(told, int) else 0


class ScanMachine(RuleBasedStateMachine):
    """An account, its archive, and the nights that pass.

    Attributes:
        sources: the lists of runs that are archived.
        listings: what runs are listed by, in turn.
    """

    sources: ClassVar[tuple[Source, ...]] = (Source.GENERATIONS,)
    listings: ClassVar[tuple[str, ...]] = (Listing.GENERATIONS,)

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.account = LiveAccount(self.time, self.listings)
        self.dest = Path(tempfile.mkdtemp(prefix="floradl-machine-"))
        self.served = serve_in_thread(self.account)
        self.sim = self.served.__enter__()
        self.patches = [mock.patch.object(module, "PageQuery", _small_pages) for module in (scan, walk)]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        """End the simulator, which raises if anything went wrong in it."""
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.dest)
        self.served.__exit__(None, None, None)

    # --- days ------------------------------------------------------------------------------------------

    @initialize(runs=st.integers(6, 24), open_runs=st.integers(0, 7))
    def begin(self, runs: int, open_runs: int) -> None:
        """A history of some pages, the newest of it not done yet."""
        for number in range(runs):
            self.account.add("completed", "now", number)
        for number in range(open_runs):
            self.account.add(OPEN[number % 2], "now", number)

    @rule(hours=st.sampled_from([1, 24, 24 * 8]))
    def wait(self, hours: int) -> None:
        """Time passes; after more than a week a night walks everything by itself."""
        self.time.now_s += hours * 3600

    # --- nights ----------------------------------------------------------------------------------------

    @rule(day=DAYS, scope=st.sampled_from(SCOPES), full=st.booleans())
    def quiet_night(self, day: Day, scope: Scope, full: bool) -> None:
        """Nothing happens during the night, so it is complete, and its seal says exactly what is open."""
        self.pass_day(day)
        report = self.run_night(scope, full=full)
        assert report is not None
        assert report.is_complete
        for its in self.scopes(scope):
            is_open = {run.run_id for run in self.account.runs if run.status in OPEN and _is_in(run, its)}
            assert set(self.seal(its)["open_runs"]) == is_open

    @rule(
        day=DAYS,
        family=st.sampled_from(sorted(FAMILIES)),
        edits=EDITS,
        scope=st.sampled_from(SCOPES),
        full=st.booleans(),
    )
    def night_with_changes(self, day: Day, family: str, edits: Edits, scope: Scope, full: bool) -> None:
        """Changes of one family happen during the night, and cost it nothing."""
        self.pass_day(day)
        report = self.run_night(scope, full=full, faults=_edits(FAMILIES[family], edits))
        self.assert_complete(report)

    @rule(day=DAYS, edits=EDITS, full=st.booleans())
    def wild_night(self, day: Day, edits: Edits, full: bool) -> None:
        """Anything may happen; the archive tells no lie, and the next full walk makes it complete."""
        self.pass_day(day)
        self.run_night(Scope(), full=full, faults=_edits(WILD, edits), is_wild=True)
        self.quiet_night([], Scope(), full=True)

    @rule(
        day=DAYS,
        fault=st.sampled_from(sorted(FAULTS)),
        at=REQUESTS,
        family=st.sampled_from(sorted(FAMILIES)),
        edits=EDITS,
    )
    def night_with_a_bad_page(self, day: Day, fault: str, at: int, family: str, edits: Edits) -> None:
        """A page that fails once is asked for again, and nothing is missing."""
        self.pass_day(day)
        faults = [Fault(LIST, on=(at,), **FAULTS[fault]), *_edits(FAMILIES[family], edits)]
        report = self.run_night(Scope(), faults=faults)
        self.assert_complete(report)

    @rule(
        day=DAYS,
        place=st.sampled_from(["pending", "running", "completed", ""]),
        first=REQUESTS,
        fault=st.sampled_from(sorted(FAULTS)),
    )
    def night_with_a_dead_list(self, day: Day, place: str, first: int, fault: str) -> None:
        """A list that fails for good leaves the seal where it was."""
        self.pass_day(day)
        before = self.seals()
        on = tuple(range(first, 200))
        report = self.run_night(Scope(), faults=[Fault(LIST, query=place, on=on, **FAULTS[fault])])
        if report is None or not report.is_complete:
            self.assert_some_seal_stays(before)

    @rule(day=DAYS, pick=PICKS)
    def night_with_an_unreadable_record(self, day: Day, pick: int) -> None:
        """A record that cannot be read costs no other run its archive, and the night its seal."""
        self.pass_day(day)
        before = self.seals()
        runs = [run for run in self.account.runs if run.status != "failed"]
        odd = runs[pick % len(runs)] if runs else self.account.add("completed", "now", pick)
        told, odd.extra = odd.extra, odd.extra | {"status": 7}
        report = self.run_night(Scope(), full=True)
        odd.extra = told
        assert report is not None
        assert not report.is_complete
        self.assert_some_seal_stays(before)

    @rule(day=DAYS)
    def night_without_single_runs(self, day: Day) -> None:
        """Runs cannot be asked for one by one; a night that needs that is not complete."""
        self.pass_day(day)
        self.run_night(Scope(), faults=[Fault("/api/v1/runs/*", status=503)])

    # --- what must be true -----------------------------------------------------------------------------

    def pass_day(self, day: Day) -> None:
        """What happens to the account between two nights."""
        for what, moment, pick in day:
            Change(what=what, moment=moment, pick=pick).apply_to(self.account)
        self.time.now_s += 600

    def run_night(
        self, scope: Scope, *, full: bool = False, faults: list[Fault] | None = None, is_wild: bool = False
    ) -> Report | None:
        """One night's job and the checks after it; None when it ended in an error."""
        account = self.account
        account.begin_night()
        before, seals = {run.run_id for run in account.runs}, self.seals()
        self.sim.faults[:] = faults or []
        report = asyncio.run(self.archive(scope, full=full))
        self.sim.faults.clear()
        self.time.now_s += 60
        self.assert_no_lie()
        gone = before - {run.run_id for run in account.runs}
        if report is None or not report.is_complete:
            return report
        assert set(report.vanished_runs) <= account.ever.keys() - {run.run_id for run in account.runs}
        for its in self.scopes(scope):
            self.assert_seal(its, seals)
        if not is_wild:
            self.assert_nothing_missing(scope, before - gone)
        return report

    def scopes(self, scope: Scope) -> list[Scope]:
        """A scope in each of the lists."""
        return [replace(scope, source=source) for source in self.sources]

    async def archive(self, scope: Scope, *, full: bool) -> Report | None:
        """The job itself, in this process, over HTTP; None when it ended in an error of ours."""
        options = ArchiveOptions(
            self.dest,
            self.sim.base_url,
            scopes=(scope,),
            sources=self.sources,
            full=full,
            fsync=False,
            concurrency=2,
        )
        async with FloraApi(
            self.sim.base_url,
            self.account.api_key,
            clock=self.time.clock,
            retries=2,
            timeout_s=20,
            backoff=Backoff(base_s=0.0),
            transport=httpx.AsyncHTTPTransport(verify=SSL),
        ) as api:
            try:
                return await archive(
                    options, api, clock=self.time.clock, new_transport=lambda: httpx.MockTransport(_refuse)
                )
            except FloradlError:
                return None

    def seals(self) -> list[Any]:
        """The seals that the archive has."""
        return list(manifest(self.dest)["scans"]) if (self.dest / "manifest.json").exists() else []

    def seal(self, scope: Scope) -> Any:
        """The seal of one scope."""
        return _seal_of(self.seals(), scope)

    def assert_complete(self, report: Report | None) -> None:
        """The night was complete, but for runs that went between the list and a question about them."""
        assert report is not None
        assert not report.failures
        there = {run.run_id for run in self.account.runs}
        for problem in report.problems:
            assert isinstance(problem, ApiNotFoundError), problem
            run_id = problem.message.removeprefix("run ").partition(":")[0]
            assert run_id in self.account.tonight - there, problem

    def assert_no_lie(self) -> None:
        """Every entry is of a run that there was, and every file is recorded and holds what its run gave."""
        if not (self.dest / "manifest.json").exists():
            return
        files = {path for path in self.dest.glob("*/*/*/*") if path.name != "run.json"}
        for run_id, entry in manifest(self.dest)["runs"].items():
            run = self.account.ever[run_id]
            record = json.loads((self.dest / entry["path"] / "run.json").read_text(encoding="utf-8"))
            assert (record["run_id"], record["status"]) == (run_id, "completed")
            texts = {output.output_id: (output.text or "").encode() for output in run.outputs}
            for key, output in entry["outputs"].items():
                file = self.dest / entry["path"] / output["file"]
                assert file.read_bytes() == texts[key]
                assert output["sha256"] == hashlib.sha256(texts[key]).hexdigest()
                files.discard(file)
        assert (self.dest / ".floradl" / "journal").exists() or not files
        assert not [path for path in (self.dest / ".floradl" / "tmp").rglob("*") if path.is_file()]

    def assert_some_seal_stays(self, before: list[Any]) -> None:
        """Where a night was not complete, not all lists of the account are sealed anew."""
        now = self.seals()
        assert any(_seal_of(now, scope) == _seal_of(before, scope) for scope in self.scopes(Scope()))

    def assert_seal(self, scope: Scope, before: list[Any]) -> None:
        """The seal lies no higher than the newest run of that night, and names only runs that were open."""
        seal = self.seal(scope)
        account = self.account
        known = [seen_by_the_api(account.ever[run_id]) for run_id in account.tonight]
        earlier = _seal_of(before, scope)
        if earlier is not None:
            known.append(earlier["sealed_before"] or 0)
        assert (seal["sealed_before"] or 0) <= max(known, default=0)
        assert set(seal["open_runs"]) <= account.open_tonight

    def assert_nothing_missing(self, scope: Scope, run_ids: set[str]) -> None:
        """Runs that were there all night are archived if they are completed, and known to be open if not."""
        entries = manifest(self.dest)["runs"]
        for run in (self.account.get(run_id) for run_id in run_ids):
            seals = [self.seal(its)["open_runs"] for its in self.scopes(scope) if _is_in(run, its)]
            if not seals:
                continue
            still_open = set().union(*seals)
            if run.status in OPEN:
                assert all(run.run_id in its for its in seals)
            elif run.status == "completed" and run.run_id not in still_open:
                outputs = entries[run.run_id]["outputs"]
                assert set(outputs) == {output.output_id for output in run.outputs}
                assert all(output["state"] == "archived" for output in outputs.values())
            if run.run_id in still_open:
                assert run.run_id in self.account.open_tonight


def _small_pages(
    scope: Scope, status: str | None = None, cursor: str | None = None, limit: int = PAGE
) -> PageQuery:
    return PageQuery(scope, status, cursor, limit)


def _edits(family: tuple[str, ...], edits: Edits) -> list[Fault]:
    return [
        Fault(LIST, on=(request,), edit=Change(what=family[which % len(family)], pick=pick))
        for request, which, pick in edits
    ]


def _seal_of(seals: list[Any], scope: Scope) -> Any:
    wanted = {"source": scope.source, "workspace_id": scope.workspace_id, "project_id": scope.project_id}
    return next((seal for seal in seals if seal["scope"] == wanted), None)


def _is_in(run: SimRun, scope: Scope) -> bool:
    return scope.holds(run.workspace_id, run.project_id) and run.is_listed_by(scope.source)


def _refuse(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"nothing here needs {request.url}")


class OverlapMachine(ScanMachine):
    """The same where runs are in one list, the other, or both."""

    sources = (Source.GENERATIONS, Source.TECHNIQUE_RUNS)
    listings = (Listing.BOTH, Listing.GENERATIONS, Listing.TECHNIQUE_RUNS, Listing.BOTH, Listing.GENERATIONS)

    @rule(day=DAYS, closed=st.sampled_from(["generations", "technique-runs"]))
    def night_with_a_closed_list(self, day: Day, closed: str) -> None:
        """A list that is closed to the key costs the runs of the other nothing, and hides none of its own."""
        self.pass_day(day)
        before = self.seals()
        entries = manifest(self.dest)["runs"].values() if (self.dest / "manifest.json").exists() else ()
        has_seen = any(seal["scope"]["source"] == closed for seal in before)
        has_seen |= any(closed in entry.get("sources", ["generations"]) for entry in entries)
        self.account.refuse(closed)
        report = self.run_night_of_others(closed)
        self.account.allow(closed)
        assert report is not None
        assert report.exit_code == (4 if has_seen or closed == "generations" else 0)
        kept, scope = self.seals(), Scope(source=Source(closed))
        told, earlier = _seal_of(kept, scope), _seal_of(before, scope)
        assert (told or {}) | {"refused_at": None} == (earlier or {}) | {"refused_at": None}
        self.quiet_night([], Scope(), full=False)

    def run_night_of_others(self, closed: str) -> Report | None:
        """A night in which one list says nothing."""
        self.account.begin_night()
        report = asyncio.run(self.archive(Scope(), full=False))
        self.time.now_s += 60
        self.assert_no_lie()
        entries = manifest(self.dest)["runs"]
        for run in self.account.runs:
            if run.status == "completed" and run.listed_by not in (closed, None):
                assert run.run_id in entries
        return report


TestScanMachine = ScanMachine.TestCase
TestScanMachine.settings = settings(by_day(25), stateful_step_count=8)

TestOverlapMachine = OverlapMachine.TestCase
TestOverlapMachine.settings = settings(by_day(8), stateful_step_count=6)

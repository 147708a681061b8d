"""Night after night: what a scan must not miss while the account changes, and what a quiet night costs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floradl.api.client import FloraApi
from floradl.api.models import Scope
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.network.retry import Backoff
from floradl.simulator import (
    Account,
    Edit,
    Fault,
    SimOutput,
    SimRun,
    Simulator,
    generate_account,
    insert_runs,
    serve_in_thread,
)
from tests.support.accounts import completed
from tests.support.archives import assert_archived, manifest
from tests.support.clock import FakeTime
from tests.support.media import png
from tests.support.processes import floradl

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0
LIST = "/api/v1/generations"


def seals(dest: Path) -> list[Any]:
    """The seals of the list of generations."""
    return [scan for scan in manifest(dest)["scans"] if scan["scope"]["source"] == Source.GENERATIONS]


@pytest.fixture
def account() -> Account:
    """260 runs, three of them not done: more than two pages of completed ones. Most are a text each."""
    account = generate_account(60, seed=4, open_runs=3)
    oldest, place = min(run.created_at for run in account.runs), account.projects[0]
    for number in range(200):
        text = SimOutput("output_1", "text", text=f"text {number}")
        moment = oldest - 600_000 * (number + 1)
        run = SimRun(f"run_{number:03}", place.workspace_id, place.project_id, created_at=moment)
        run.outputs = [text]
        account.insert(run)
    return account


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Nights:
    """A nightly job against a served account, with a clock that only the test moves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.time = FakeTime()

    async def run(
        self, *, full: bool = False, wait_s: float | None = None, scope: Scope | None = None
    ) -> Report:
        """One night's job, and a day passes."""
        self.sim.forget()
        options = ArchiveOptions(
            self.dest, self.sim.base_url, scopes=(scope or Scope(),), full=full, wait_s=wait_s, fsync=False
        )
        key = self.sim.account.api_key
        async with FloraApi(
            self.sim.base_url,
            key,
            clock=self.time.clock,
            retries=3,
            timeout_s=20,
            backoff=Backoff(base_s=0.0),
        ) as api:
            report = await archive(options, api, clock=self.time.clock)
        self.time.now_s += DAY_S
        return report

    def media_paths(self) -> list[str]:
        """What was asked of the media host this night."""
        return [request.path for request in self.sim.media_requests()]


@pytest.fixture
def nights(sim: Simulator, tmp_path: Path) -> Nights:
    """The job, before its first night."""
    return Nights(sim, tmp_path / "out")


async def test_a_quiet_night_costs_eight_calls_at_most(nights: Nights) -> None:
    """With nothing new, a night asks the API eight times at most and the media host never."""
    assert (await nights.run()).is_complete
    report = await nights.run()
    assert report.is_complete
    assert len(nights.sim.api_requests()) <= 8
    assert report.api_calls == len(nights.sim.api_requests())
    assert nights.media_paths() == []


async def test_an_account_that_grows_by_150_between_nights(nights: Nights) -> None:
    """150 new runs are fetched, only they are, and the night after is quiet again."""
    await nights.run()
    new = insert_runs(nights.sim.account, 150)
    report = await nights.run()
    assert report.new_runs == 150
    assert set(nights.media_paths()) == {o.path for run in new for o in run.outputs if o.path}
    assert_archived(nights.dest, nights.sim.account, completed(nights.sim.account))
    quiet = await nights.run()
    assert (quiet.is_complete, quiet.new_runs, nights.media_paths()) == (True, 0, [])
    assert len(nights.sim.api_requests()) <= 8


@pytest.mark.parametrize("on", [1, 2, 3, 4, 5, 6])
async def test_runs_inserted_while_paging(nights: Nights, on: int) -> None:
    """Runs that appear at any point of a scan shift every later page, and cost none of the others."""
    listed = completed(nights.sim.account)
    nights.sim.faults.append(Fault(LIST, on=(on,), edit=Edit(insert=7)))
    assert (await nights.run()).is_complete
    assert_archived(nights.dest, nights.sim.account, listed)
    await nights.run()
    assert_archived(nights.dest, nights.sim.account, completed(nights.sim.account))


@pytest.mark.parametrize(
    ("on", "places"),
    [
        pytest.param(on, places, marks=[] if (on + number) % 3 == 0 else [pytest.mark.nightly])
        for on in (3, 4, 5, 6, 7)
        for number, places in enumerate([(0,), (0, 1, 2, 3, 4), (50, 51, 99, 100, 101), (98, 99), (150, 199)])
    ],
)
async def test_runs_deleted_while_paging(nights: Nights, on: int, places: tuple[int, ...]) -> None:
    """Runs that go at any point of a scan pull later ones across the page's edge; those are not skipped."""
    nights.sim.faults.append(Fault(LIST, on=(on,), edit=Edit(delete_listed=places)))
    assert (await nights.run()).is_complete
    assert_archived(nights.dest, nights.sim.account, completed(nights.sim.account))


async def test_many_pending_runs_that_start_while_they_are_listed(tmp_path: Path) -> None:
    """More than a page of pending runs, some of which leave the list between its pages: none is lost."""
    account = generate_account(20, seed=6)
    pending = insert_runs(account, 240, status="pending")
    started = tuple(run.run_id for run in pending[-30:])
    with serve_in_thread(account) as sim:
        nights = Nights(sim, tmp_path / "out")
        sim.faults.append(Fault(LIST, query="pending", on=(2,), edit=Edit(start=started)))
        report = await nights.run()
        assert report.open_runs == 240
        for run in pending:
            account.finish(run.run_id)
        assert (await nights.run()).is_complete
        assert_archived(nights.dest, account, completed(account))


async def test_a_run_that_was_pending_for_two_nights(nights: Nights) -> None:
    """A run that completes days later, far below the newest and below the seal, is still archived."""
    account = nights.sim.account
    late = next(run for run in account.listed() if run.status == "pending")
    await nights.run()
    insert_runs(account, 120)
    await nights.run()
    insert_runs(account, 120)
    account.finish(late.run_id)
    report = await nights.run()
    assert report.is_complete
    assert_archived(nights.dest, account, [late])
    assert late.run_id not in seals(nights.dest)[0]["open_runs"]
    quiet = await nights.run()
    assert (quiet.new_runs, nights.media_paths()) == (0, [])
    assert len(nights.sim.api_requests()) <= 8


async def test_an_open_run_that_fails_or_vanishes_is_let_go(nights: Nights) -> None:
    """An open run that fails, or is deleted, is asked for once more and then no longer."""
    account = nights.sim.account
    failing, deleted, *_ = [run for run in account.listed() if run.status in ("pending", "running")]
    await nights.run()
    account.fail(failing.run_id)
    account.delete(deleted.run_id)
    assert (await nights.run()).is_complete
    left = set(seals(nights.dest)[0]["open_runs"])
    assert not left & {failing.run_id, deleted.run_id}


async def test_a_scan_with_an_error_seals_nothing(nights: Nights) -> None:
    """A page that fails for good leaves exit 3 and no seal; the next night walks it all and is complete."""
    fault = Fault(LIST, query="completed", on=(3, 4, 5, 6), status=500)
    nights.sim.faults.append(fault)
    report = await nights.run()
    assert int(report.exit_code) == 3
    assert "500" in report.problems[0].message
    assert seals(nights.dest) == []
    nights.sim.faults.clear()
    assert (await nights.run()).is_complete
    assert_archived(nights.dest, nights.sim.account, completed(nights.sim.account))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(LIST, on=(2, 4), status=503),
        Fault(LIST, on=(1, 4), status=200, body=b"<html>Sign in</html>", content_type="text/html"),
        Fault(LIST, on=(4,), status=200, body=b'{"generations": [{"run_id"'),
        Fault(LIST, query="completed", on=(2,), repeat_cursor=True),
        Fault(LIST, on=(2,), drop=True),
    ],
    ids=["503", "html", "broken-json", "repeated-cursor", "dropped"],
)
async def test_a_page_that_fails_once_is_asked_for_again(nights: Nights, fault: Fault) -> None:
    """A page that fails, or makes no sense, is tried again and nothing is missing."""
    nights.sim.faults.append(fault)
    assert (await nights.run()).is_complete
    assert_archived(nights.dest, nights.sim.account, completed(nights.sim.account))


async def test_an_unreadable_record_is_named_and_costs_no_other(nights: Nights) -> None:
    """One record without a status: the page's others are archived, and the scan says it is not whole."""
    account = nights.sim.account
    account.insert(SimRun("run_odd", "ws_a", "prj_a", extra={"status": 7}))
    report = await nights.run()
    assert int(report.exit_code) == 3
    assert "run_odd" in report.problems[0].message
    assert seals(nights.dest) == []
    assert_archived(nights.dest, account, [run for run in completed(account) if run.run_id != "run_odd"])


async def test_the_history_is_walked_whole_once_a_week(nights: Nights) -> None:
    """A run that slipped in below the seal is found by the weekly walk at the latest."""
    await nights.run()
    account = nights.sim.account
    oldest = min(run.created_at for run in account.runs)
    hidden = account.insert(SimRun("run_hidden", "ws_a", "prj_a", created_at=oldest - 1))
    for _ in range(6):
        await nights.run()
    assert "run_hidden" not in manifest(nights.dest)["runs"]
    await nights.run()
    await nights.run()
    assert_archived(nights.dest, account, [hidden])


async def test_a_run_that_is_gone_is_reported_and_stays(nights: Nights) -> None:
    """A full walk that misses a recorded run twice says so once; its files and its entry stay."""
    await nights.run()
    account = nights.sim.account
    gone = next(run for run in completed(account) if run.outputs)
    account.delete(gone.run_id)
    report = await nights.run(full=True)
    assert report.vanished_runs == (gone.run_id,)
    assert report.is_complete
    entry = manifest(nights.dest)["runs"][gone.run_id]
    assert "vanished_at" in entry
    assert all((nights.dest / entry["path"] / o["file"]).exists() for o in entry["outputs"].values())
    assert (await nights.run(full=True)).vanished_runs == ()
    account.insert(gone)
    await nights.run(full=True)
    assert "vanished_at" not in manifest(nights.dest)["runs"][gone.run_id]


async def test_a_run_skipped_by_a_full_walk_has_not_vanished(nights: Nights) -> None:
    """Deletions during a full walk shift its pages; what is still there is not called vanished."""
    await nights.run()
    edit = Edit(delete_listed=(0, 1, 2))
    gone = {run.run_id for run in nights.sim.account.listed(status="completed")[:3]}
    nights.sim.faults.append(Fault(LIST, query="completed", on=(2,), edit=edit))
    report = await nights.run(full=True)
    assert set(report.vanished_runs) <= gone


async def test_scopes_have_seals_of_their_own(nights: Nights) -> None:
    """Projects archived one after another into one folder neither hide nor repeat each other's runs."""
    account = nights.sim.account
    for project in account.projects:
        assert (await nights.run(scope=Scope(project_id=project.project_id))).is_complete
        assert_archived(nights.dest, account, completed(account, project.project_id))
    assert len(seals(nights.dest)) == len(account.projects)
    assert (await nights.run()).new_runs == 0


def floradl_on(nights: Nights, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command on the nightly job's archive."""
    return floradl(nights.sim, *arguments, nights.dest)


def a_run_with_files(nights: Nights) -> tuple[SimRun, list[Path]]:
    """An archived run that has outputs, listed without fail, and where they lie."""
    run = next(run for run in completed(nights.sim.account) if len(run.outputs) > 1 and run.list_outputs)
    entry = manifest(nights.dest)["runs"][run.run_id]
    files = [nights.dest / entry["path"] / entry["outputs"][o.output_id]["file"] for o in run.outputs]
    return run, files


@pytest.mark.parametrize("full", [True, False])
async def test_an_output_that_its_run_no_longer_has(nights: Nights, full: bool) -> None:
    """While its file is there all is well; a file that nobody can bring back is named, and exits 3."""
    await nights.run()
    run, files = a_run_with_files(nights)
    lost = run.outputs.pop()
    assert (await nights.run(full=full)).is_complete
    files[-1].unlink()
    for _ in range(2):
        report = await nights.run(full=full)
        assert [(f.run_id, f.key, f.code) for f in report.failures] == [(run.run_id, lost.output_id, "gone")]
        assert int(report.exit_code) == 3


@pytest.mark.parametrize("full", [True, False])
async def test_a_file_is_brought_back_for_a_run_that_is_listed_without_outputs(
    nights: Nights, full: bool
) -> None:
    """The list says nothing of outputs: the run is asked for when one of its files is missing."""
    await nights.run()
    run, files = a_run_with_files(nights)
    run.list_outputs = False
    files[0].unlink()
    assert (await nights.run(full=full)).is_complete
    assert files[0].exists()


async def test_a_missing_file_of_a_run_that_is_gone(nights: Nights) -> None:
    """A deleted run's missing file comes from the URL in its run.json, as long as that serves."""
    await nights.run()
    run, files = a_run_with_files(nights)
    nights.sim.account.delete(run.run_id)
    assert (await nights.run()).is_complete
    files[0].unlink()
    assert (await nights.run()).is_complete
    assert files[0].exists()


async def test_a_missing_file_of_a_run_that_is_gone_with_its_media(nights: Nights) -> None:
    """What FLORA has no more cannot be brought back; that is said each time, and the entry stays."""
    await nights.run()
    run, files = a_run_with_files(nights)
    nights.sim.account.delete(run.run_id)
    nights.sim.account.dead_paths.update(output.path for output in run.outputs)
    files[0].unlink()
    before = manifest(nights.dest)["runs"][run.run_id]["outputs"]
    for _ in range(2):
        report = await nights.run()
        assert [failure.code for failure in report.failures] == ["http_410"]
        assert int(report.exit_code) == 3
        assert manifest(nights.dest)["runs"][run.run_id]["outputs"] == before


async def test_a_missing_file_of_a_run_of_which_nothing_is_left(nights: Nights) -> None:
    """Without a run.json there is no URL to try for a run that FLORA does not know any more."""
    await nights.run()
    run, files = a_run_with_files(nights)
    nights.sim.account.delete(run.run_id)
    files[0].unlink()
    (files[0].parent / "run.json").unlink()
    report = await nights.run()
    assert [failure.code for failure in report.failures] == ["run_not_found"]
    assert int(report.exit_code) == 3


async def test_a_missing_file_of_a_run_that_is_completed_no_more(nights: Nights) -> None:
    """A run that FLORA calls failed today gives nothing back; its missing file is named."""
    await nights.run()
    run, files = a_run_with_files(nights)
    run.status = "failed"
    files[0].unlink()
    report = await nights.run()
    assert [failure.message for failure in report.failures] == ["the run is failed now"]
    assert int(report.exit_code) == 3


async def test_a_run_that_was_moved_to_another_project_stays_where_it_is(nights: Nights) -> None:
    """Its files are not fetched again, its entry goes on speaking of them, and its record is the new one."""
    await nights.run()
    account = nights.sim.account
    moved = max(completed(account), key=lambda run: (bool(run.outputs), run.created_at))
    before = manifest(nights.dest)["runs"][moved.run_id]
    moved.project_id = next(p.project_id for p in account.projects if p.project_id != moved.project_id)
    report = await nights.run(full=True)
    assert (report.is_complete, nights.media_paths()) == (True, [])
    after = manifest(nights.dest)["runs"][moved.run_id]
    assert (after["path"], after["outputs"]) == (before["path"], before["outputs"])
    assert_archived(nights.dest, account, [moved])


async def test_a_moved_run_that_is_listed_without_outputs_stays_where_it_is(nights: Nights) -> None:
    """Asked for by itself, a moved run names no new place for files that are at the old one."""
    await nights.run()
    run, files = a_run_with_files(nights)
    before = manifest(nights.dest)["runs"][run.run_id]["path"]
    run.project_id = next(p.project_id for p in nights.sim.account.projects if p.project_id != run.project_id)
    run.list_outputs = False
    files[0].unlink()
    assert (await nights.run(full=True)).is_complete
    assert manifest(nights.dest)["runs"][run.run_id]["path"] == before
    assert files[0].exists()


async def test_a_run_listed_without_outputs_of_which_only_some_are_recorded(nights: Nights) -> None:
    """That a run has an entry does not mean that its outputs are known: a filter may have left some out."""
    account = nights.sim.account
    await nights.run()
    (new,) = insert_runs(account, 1)
    new.outputs = [SimOutput("p", "text", text="p"), SimOutput("q", body=png(b"0"))]
    new.list_outputs = False
    with_filter = floradl_on(nights, "--type", "text")
    assert with_filter.returncode == 0, with_filter.stderr
    assert (await nights.run()).is_complete
    assert_archived(nights.dest, account, [new])


async def test_two_keys_on_one_folder_do_not_seal_for_each_other(nights: Nights) -> None:
    """A seal over all that one key sees says nothing of what another sees; nor does its weekly walk."""
    await nights.run()
    other_account = Account("sk_live_other", seed=9)
    for number in range(250):
        text = SimOutput("output_1", "text", text=str(number))
        run = SimRun(f"run_other_{number}", "ws_o", "prj_o", created_at=1_600_000_000_000 + number)
        run.outputs = [text]
        other_account.insert(run)
    with serve_in_thread(other_account) as other_sim:
        other = Nights(other_sim, nights.dest)
        other.time = nights.time
        assert (await other.run()).new_runs == 250
        assert (await other.run()).vanished_runs == ()
        assert len(other_sim.api_requests()) <= 8, "its own seal does not count"
    assert (await nights.run(full=True)).vanished_runs == ()


async def test_a_clock_that_was_ahead_does_not_put_the_weekly_walk_off(nights: Nights) -> None:
    """After one night in the far future, the next is a full walk again."""
    account = nights.sim.account
    nights.time.now_s += 5 * 365 * DAY_S
    await nights.run()
    nights.time.now_s -= 5 * 365 * DAY_S
    oldest = min(run.created_at for run in account.runs)
    hidden = account.insert(SimRun("run_hidden", "ws_a", "prj_a", created_at=oldest - 1))
    await nights.run()
    assert_archived(nights.dest, account, [hidden])


async def test_an_open_run_whose_poll_url_is_dead(nights: Nights) -> None:
    """A poll_url that answers 404 is no proof: the run is asked for by its id before it is let go."""
    account = nights.sim.account
    late = next(run for run in account.listed() if run.status == "running")
    late.extra = {"poll_url": f"{nights.sim.base_url}/nowhere"}
    await nights.run()
    account.finish(late.run_id)
    insert_runs(account, 150)
    late.created_at -= 30 * 86_400_000
    assert (await nights.run()).is_complete
    assert late.run_id in manifest(nights.dest)["runs"]


async def test_a_status_that_nobody_knows_is_told(nights: Nights) -> None:
    """A run that is listed as completed and calls itself something else is named, and nothing is sealed."""
    account = nights.sim.account
    account.insert(SimRun("run_odd", "ws_a", "prj_a", extra={"status": "succeeded"}))
    report = await nights.run()
    assert int(report.exit_code) == 3
    assert "run_odd has a status that nobody knows: succeeded" in report.problems[0].message
    assert seals(nights.dest) == []


async def test_half_an_emoji_in_an_open_run(nights: Nights) -> None:
    """The record of an open run goes into the journal and the manifest, whatever its prompt holds."""
    account = nights.sim.account
    late = next(run for run in account.listed() if run.status == "running")
    record = json.dumps(account.record(late, listed=True) | {"prompt": "cut \ud83d"})
    page = f'{{"generations": [{record}], "meta": {{}}}}'.encode()
    nights.sim.faults.append(Fault(LIST, query="running", status=200, body=page))
    assert (await nights.run()).is_complete
    assert (await nights.run()).is_complete
    assert late.run_id in seals(nights.dest)[0]["open_runs"]


async def test_an_outage_is_not_asked_about_run_by_run(nights: Nights) -> None:
    """With many files missing and `/runs` down, one answer is enough to leave the rest to the next night."""
    await nights.run()
    for file in sorted(nights.dest.glob("ws_*/prj_*/run_1[6-9]?/output_1.txt")):
        file.unlink()
    nights.sim.faults.append(Fault("/api/v1/runs/*", status=503))
    report = await nights.run()
    assert int(report.exit_code) == 3
    assert report.problems[0].message.startswith("run run_")
    assert len([r for r in nights.sim.api_requests() if "/runs/" in r.path]) <= 8
    nights.sim.faults.clear()
    assert (await nights.run()).is_complete


async def test_the_numbers_of_an_archive_count_each_output_once(nights: Nights) -> None:
    """A file that was removed and fetched again is one output, not two."""
    first = await nights.run()
    a_run_with_files(nights)[1][0].unlink()
    assert (await nights.run()).archive_outputs == first.archive_outputs


async def test_removed_checksums_come_back(nights: Nights) -> None:
    """SHA256SUMS is written again when somebody removed it, on a quiet night too."""
    await nights.run()
    before = (nights.dest / "SHA256SUMS").read_bytes()
    (nights.dest / "SHA256SUMS").unlink()
    await nights.run()
    assert sorted((nights.dest / "SHA256SUMS").read_bytes().splitlines()) == sorted(before.splitlines())


async def test_a_date_in_the_future_hides_nothing_that_is_to_come(nights: Nights) -> None:
    """One run with a nonsense date far ahead, and so a seal there, costs no later run its archive."""
    account = nights.sim.account
    account.insert(SimRun("run_far", "ws_a", "prj_a", created_at=4_000_000_000_000))
    await nights.run()
    newest = max(run.created_at for run in account.runs if run.run_id != "run_far")
    for number in range(250):
        account.insert(SimRun(f"run_new_{number}", "ws_a", "prj_a", created_at=newest + 60_000 * number))
    assert (await nights.run()).new_runs == 250
    assert_archived(nights.dest, account, completed(account))
    quiet = await nights.run()
    assert (quiet.new_runs, len(nights.sim.api_requests())) == (0, 4)


async def test_a_seal_is_the_newest_run_that_was_seen(nights: Nights) -> None:
    """`sealed_before` is the newest `created_at` of any list, open runs' included."""
    await nights.run()
    (scan,) = seals(nights.dest)
    assert scan["sealed_before"] == max(run.created_at for run in nights.sim.account.runs)
    open_ids = {run.run_id for run in nights.sim.account.runs if run.status in ("pending", "running")}
    assert set(scan["open_runs"]) == open_ids


def test_wait_stays_until_open_runs_are_done(tmp_path: Path) -> None:
    """--wait looks again until what was pending has completed, and archives it in the same run."""
    account = generate_account(10, seed=2)
    (late,) = insert_runs(account, 1, status="running")
    with serve_in_thread(account) as sim:
        sim.faults.append(Fault(LIST, query="pending", on=(2,), edit=Edit(finish=(late.run_id,))))
        done = floradl(sim, "--wait", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert_archived(tmp_path / "out", account, completed(account))
        assert late.run_id in manifest(tmp_path / "out")["runs"]

"""An account whose sources overlap, night after night: every run once, every upload, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.api import FloraApi
from floradl.archiver import archive
from floradl.job import ArchiveOptions, Report
from floradl.retry import Backoff
from floradl.simulator import Account, AssetStatus, Fault, Listing, Simulator, serve_in_thread
from floradl.words import Source
from tests.support import (
    FakeTime,
    all_entries,
    assert_archived,
    assert_assets_archived,
    assert_files_whole,
    assert_not_fetched_again,
    assert_sound,
    assert_tidy,
    completed,
    full_account,
    manifest,
    output_files,
    ready_assets,
)

pytestmark = pytest.mark.anyio

SOURCES = (Source.GENERATIONS, Source.TECHNIQUE_RUNS, Source.ASSETS)


@pytest.fixture
def account() -> Account:
    """Runs in one history or both, and uploads of all states."""
    return full_account()


@pytest.fixture
def sim(account: Account) -> Iterator[Simulator]:
    """The account, served."""
    with serve_in_thread(account) as simulator:
        yield simulator


class Nights:
    """A nightly job over several sources, with a clock that only the test moves."""

    def __init__(self, sim: Simulator, dest: Path) -> None:
        self.sim = sim
        self.dest = dest
        self.time = FakeTime()

    async def run(self, sources: tuple[Source, ...] = SOURCES) -> Report:
        """One night's job, and a day passes; what was there is not asked for."""
        before = output_files(self.dest)
        self.sim.forget()
        options = ArchiveOptions(self.dest, self.sim.base_url, sources=sources, fsync=False)
        key, backoff = self.sim.account.api_key, Backoff(base_s=0.0)
        async with FloraApi(self.sim.base_url, key, clock=self.time.clock, backoff=backoff) as api:
            report = await archive(options, api, clock=self.time.clock)
        self.time.now_s += 86_400.0
        if sources == SOURCES:
            assert_not_fetched_again(self.sim, self.dest, before)
        assert_sound(self.dest)
        return report

    def assert_complete(self) -> None:
        """The archive has all that the account has, and nothing lies around."""
        account = self.sim.account
        assert_archived(self.dest, account, completed(account))
        assert set(manifest(self.dest)["runs"]) == {run.run_id for run in completed(account)}
        assert_assets_archived(self.dest, account)
        assert_files_whole(self.dest, account)
        assert_tidy(self.dest)


@pytest.fixture
def nights(sim: Simulator, tmp_path: Path) -> Nights:
    """The job, before its first night."""
    return Nights(sim, tmp_path / "out")


async def test_every_run_once_and_every_upload(nights: Nights) -> None:
    """All of it arrives, each file with one request; the manifest says who listed a run."""
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    asked = Counter(request.path for request in nights.sim.media_requests())
    assert set(asked.values()) == {1}
    entries = all_entries(nights.dest)
    for run in completed(nights.sim.account):
        sources = {source for source in SOURCES if run.is_listed_by(source)}
        assert set(entries[run.run_id].get("sources", ["generations"])) == sources, run.run_id
        if run.technique is not None:
            assert entries[run.run_id]["technique_id"] == run.technique.technique_id


async def test_a_source_that_is_added_later(nights: Nights) -> None:
    """Runs that were archived from one history are met in the other; nothing is fetched, both are told."""
    await nights.run((Source.GENERATIONS,))
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    entries = manifest(nights.dest)["runs"]
    for run in completed(nights.sim.account):
        sources = {source for source in SOURCES if run.is_listed_by(source)}
        assert set(entries[run.run_id].get("sources", ["generations"])) == sources, run.run_id


async def test_three_nights_of_changes(nights: Nights) -> None:
    """Uploads get ready, runs appear in either history or both: each is archived the next night, once."""
    account = nights.sim.account
    await nights.run()
    waiting = next(asset for asset in account.assets if asset.status == AssetStatus.PENDING)
    for listed_by in (Listing.BOTH, Listing.TECHNIQUE_RUNS):
        account.insert_techniques(2, listed_by=listed_by)
    account.insert_new(1)
    account.insert_assets(2)
    assert waiting.asset_id
    account.finish_asset(waiting.asset_id)
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()
    report = await nights.run()
    assert (report.exit_code, report.fetched, nights.sim.media_requests()) == (0, 0, [])
    nights.assert_complete()


async def test_a_quiet_night(nights: Nights) -> None:
    """It costs twelve calls of the API at most, and no request for media."""
    await nights.run()
    report = await nights.run()
    assert (report.exit_code, report.fetched, nights.sim.media_requests()) == (0, 0, [])
    assert len(nights.sim.api_requests()) <= 12


async def test_an_upload_whose_file_fails(nights: Nights) -> None:
    """It is named and costs nothing else; the next night has it."""
    account = nights.sim.account
    name, asset = next(iter(ready_assets(account).items()))
    nights.sim.faults.append(Fault(asset.file.path, status=404))
    report = await nights.run()
    assert [failure.run_id for failure in report.failures] == [name]
    assert_archived(nights.dest, account, completed(account))
    nights.sim.faults.clear()
    assert (await nights.run()).exit_code == 0
    nights.assert_complete()

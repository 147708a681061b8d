"""Uploads: their sizes are announced, and equal ones are kept once. Over real connections, on a real disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from floradl.api.client import FloraApi
from floradl.api.records import moment_ms
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.network.retry import Backoff
from floradl.simulator import Account, Fault, SimAsset, SimOutput, Simulator, serve_in_thread
from tests.support.archives import assert_sound, manifest, output_files
from tests.support.media import png
from tests.support.zygote import floradl

BODY = png(b"a" * 3000)
FILE = "ws_a/prj_a/assets/asset_a/asset_a.png"


def put_date(path: Path, account: Account) -> None:
    """Give a file the date that floradl gives the files of the first upload."""
    created_s = (moment_ms(str(account.assets[0].created_at).encode()) or 0) / 1000
    os.utime(path, (created_s, created_s))


def run_job(sim: Simulator, dest: Path) -> Report:
    """One run of the job, with one retry."""

    async def job() -> Report:
        backoff = Backoff(base_s=0.0)
        async with FloraApi(sim.base_url, sim.account.api_key) as api:
            options = ArchiveOptions(dest, sim.base_url, sources=(Source.ASSETS,), retries=1)
            return await archive(options, api, backoff=backoff)

    sim.forget()
    return asyncio.run(job())


def upload(name: str, *, created_at: int = 10**9, size_bytes: int | None = None) -> SimAsset:
    """An uploaded picture; None: FLORA announces its true size."""
    file = SimOutput(name, content_type="image/png", body=BODY)
    return SimAsset(name, "ws_a", file, project_id="prj_a", created_at=created_at, size_bytes=size_bytes)


def account(size_bytes: int | None = None) -> Account:
    """One picture, and what is announced as its size."""
    account = Account("sk_live_size")
    account.assets.append(upload("asset_a", size_bytes=size_bytes))
    return account


def test_a_file_of_the_announced_size(tmp_path: Path) -> None:
    """It is archived, and a second run asks for nothing."""
    with serve_in_thread(account()) as sim:
        report = run_job(sim, tmp_path)
        assert (report.exit_code, report.fetched, output_files(tmp_path)) == (0, 1, {FILE: BODY})
        assert (run_job(sim, tmp_path).exit_code, sim.media_requests()) == (0, [])


def test_a_whole_file_of_another_size_is_kept(tmp_path: Path) -> None:
    """Its host gives it twice, and it has its end: no failure but a warning, and both sizes are kept."""
    with serve_in_thread(account(len(BODY) + 1)) as sim:
        report = run_job(sim, tmp_path)
        assert (report.exit_code, report.fetched, output_files(tmp_path)) == (0, 1, {FILE: BODY})
        (told,) = report.other_sizes
        assert (told.size_bytes, told.announced_bytes) == (len(BODY), len(BODY) + 1)
        entry = manifest(tmp_path)["assets"]["asset_a"]["outputs"]["asset_a"]
        assert (entry["size_bytes"], entry["announced_bytes"]) == (len(BODY), len(BODY) + 1)
        again = run_job(sim, tmp_path)
        assert (again.exit_code, again.other_sizes, sim.media_requests()) == (0, (), [])
        assert_sound(tmp_path)
        status = json.loads(floradl(sim, "status", "--json", tmp_path).stdout)
        assert status["other_sizes"] == 1
        assert re.search(r"other sizes +1, whole", floradl(sim, "status", tmp_path).stdout)


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    """It is tried again, gets no name, and is a failure with exit code 3 that says both sizes."""
    cut = BODY[:-20]
    with serve_in_thread(account(len(BODY))) as sim:
        sim.faults.append(Fault(sim.account.assets[0].file.path, body=cut))
        report = run_job(sim, tmp_path)
        assert (report.exit_code, [failure.code for failure in report.failures]) == (3, ["wrong_size"])
        said = f"the host has {len(cut)} bytes, the API announced {len(BODY)}"
        assert report.failures[0].message == said
        assert manifest(tmp_path)["assets"]["asset_a"]["outputs"]["asset_a"]["error"]["code"] == "wrong_size"
        assert (len(sim.media_requests()), output_files(tmp_path)) == (4, {})

        sim.faults.clear()
        assert run_job(sim, tmp_path).exit_code == 0
    assert_sound(tmp_path)


def test_a_body_that_ends_too_early_and_says_nothing(tmp_path: Path) -> None:
    """Where the host names no length the announced size is all that tells; the next try has the whole."""
    with serve_in_thread(account()) as sim:
        path = sim.account.assets[0].file.path
        sim.faults.append(Fault(path, on=(1,), no_length=True, body=BODY[:-1000] + BODY[-12:]))
        assert run_job(sim, tmp_path).exit_code == 0
        assert (len(sim.media_requests()), output_files(tmp_path)) == (2, {FILE: BODY})


@pytest.mark.parametrize("is_of_announced_size", [True, False])
def test_a_file_that_is_found(tmp_path: Path, is_of_announced_size: bool) -> None:
    """Under its final name and without an entry, a file of the announced size is recorded; another is not."""
    left = BODY if is_of_announced_size else BODY[:-1]
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_bytes(left)
    with serve_in_thread(account()) as sim:
        put_date(tmp_path / FILE, sim.account)
        report = run_job(sim, tmp_path)
        assert (report.exit_code, report.adopted, report.fetched) == (
            0,
            is_of_announced_size,
            not is_of_announced_size,
        )
    assert (tmp_path / FILE).read_bytes() == BODY
    kept = [hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / ".floradl/aside").glob("*")]
    assert kept == ([] if is_of_announced_size else [hashlib.sha256(left).digest()])


# --- equal content once --------------------------------------------------------------------------------


def twins(*numbers: int) -> Account:
    """The same picture, uploaded several times."""
    account = Account("sk_live_twins")
    account.assets.extend(upload(f"asset_{number}", created_at=10**9 + number) for number in numbers)
    return account


def files_of(dest: Path, number: int) -> list[Path]:
    """Their files."""
    return [dest / f"ws_a/prj_a/assets/asset_{index}/asset_{index}.png" for index in range(number)]


def told_of(dest: Path) -> set[tuple[str | None, str | None]]:
    """What the manifest says of where the files are from."""
    outputs = (asset["outputs"][name] for name, asset in manifest(dest)["assets"].items())
    return {(output.get("same_as"), output.get("shared_by")) for output in outputs}


def test_equal_uploads_are_one_file(tmp_path: Path) -> None:
    """In one run, and in the next, which knows of them from the manifest alone."""
    with serve_in_thread(twins(0, 1, 2)) as sim:
        assert run_job(sim, tmp_path).exit_code == 0
        sim.account.assets.extend(twins(3, 4).assets)
        assert run_job(sim, tmp_path).exit_code == 0
        assert {shared_by for _, shared_by in told_of(tmp_path)} == {None, "hard_link"}
        first, *others = files_of(tmp_path, 5)
        assert all(other.samefile(first) for other in others)
        assert (run_job(sim, tmp_path).exit_code, sim.media_requests()) == (0, [])
    assert_sound(tmp_path)


def test_a_file_that_was_found_is_shared_with_too(tmp_path: Path) -> None:
    """One that a killed process left under its name serves as well as one that was fetched."""
    (found,) = files_of(tmp_path, 1)
    found.parent.mkdir(parents=True)
    found.write_bytes(BODY)
    with serve_in_thread(twins(0)) as sim:
        put_date(found, sim.account)
        assert run_job(sim, tmp_path).adopted == 1
        sim.account.assets.extend(twins(1).assets)
        assert run_job(sim, tmp_path).exit_code == 0
    assert told_of(tmp_path) == {(None, None), ("ws_a/prj_a/assets/asset_0/asset_0.png", "hard_link")}


def test_each_file_is_checked_and_brought_back_alone(tmp_path: Path) -> None:
    """A shared file that is damaged under all its names is found under each, and so is one that is gone.

    The repair fetches it and writes to no file that is there: whatever else bears the damaged one's names
    keeps its bytes.
    """
    with serve_in_thread(twins(0, 1, 2)) as sim:
        assert run_job(sim, tmp_path / "out").exit_code == 0
        first, second, third = files_of(tmp_path / "out", 3)
        (tmp_path / "witness").hardlink_to(first)
        damaged = BODY[:100] + b"!" + BODY[101:]
        first.write_bytes(damaged)
        third.unlink()
        found = floradl(sim, "verify", tmp_path / "out")
        assert found.returncode == 3
        assert all(path.parent.name in found.stderr + found.stdout for path in (first, second, third))
        assert floradl(sim, "verify", "--repair", tmp_path / "out").returncode == 0
        assert [path.read_bytes() for path in (first, second, third)] == [BODY] * 3
        assert (tmp_path / "witness").read_bytes() == damaged
        assert floradl(sim, "verify", tmp_path / "out").returncode == 0


@pytest.mark.parametrize("way", ["--hard-link", "--reflink", ""])
def test_what_is_restored_is_told_of_as_its_own(tmp_path: Path, way: str) -> None:
    """Each file is restored by itself, and nothing is said of files that may not be there."""
    with serve_in_thread(twins(0, 1, 2)) as sim:
        assert run_job(sim, tmp_path / "out").exit_code == 0
        options = ["--run-id", "asset_0", "--run-id", "asset_1", *filter(None, [way])]
        done = floradl(sim, "restore", *options, tmp_path / "out", tmp_path / "new")
        assert done.returncode == 0, done.stderr
    assert told_of(tmp_path / "new") == {(None, None)}
    assert_sound(tmp_path / "new")

"""The whole job where sizes are announced, or equal files are kept once: real connections, a real disk."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from floradl import model
from floradl.api import FloraApi
from floradl.archiver import archive
from floradl.job import ArchiveOptions, Report
from floradl.model import Output
from floradl.retry import Backoff
from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.steps import make_sharing
from tests.support import assert_sound, floradl, manifest, output_files, png

BODY = png(b"a" * 3000)
FILE = "ws_a/prj_a/run_a/output_1.png"


def announce(patch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """Let the API announce this size for each output."""
    parse: Callable[[object], tuple[Output, ...] | None] = model.parse_outputs

    def with_size(value: object) -> tuple[Output, ...] | None:
        outputs = parse(value)
        return outputs and tuple(replace(output, size_bytes=size_bytes) for output in outputs)

    patch.setattr(model, "parse_outputs", with_size)


def run_job(sim: Simulator, dest: Path) -> Report:
    """One run of the job, with one retry."""

    async def job() -> Report:
        backoff = Backoff(base_s=0.0)
        async with FloraApi(sim.base_url, sim.account.api_key) as api:
            return await archive(ArchiveOptions(dest, sim.base_url, retries=1), api, backoff=backoff)

    sim.forget()
    return asyncio.run(job())


def account() -> Account:
    """One picture."""
    output = SimOutput("output_1", content_type="image/png", body=BODY)
    return Account("sk_live_size", [SimRun("run_a", "ws_a", "prj_a", created_at=10**9, outputs=[output])])


def test_a_file_of_the_announced_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is archived, and a second run asks for nothing."""
    announce(monkeypatch, len(BODY))
    with serve_in_thread(account()) as sim:
        report = run_job(sim, tmp_path)
        assert (report.exit_code, report.fetched, output_files(tmp_path)) == (0, 1, {FILE: BODY})
        assert (run_job(sim, tmp_path).exit_code, sim.media_requests()) == (0, [])


def test_a_file_of_another_size_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, gets no name, and is a failure with exit code 3 that says both sizes."""
    announce(monkeypatch, len(BODY) + 1)
    with serve_in_thread(account()) as sim:
        report = run_job(sim, tmp_path)
        assert (report.exit_code, [failure.code for failure in report.failures]) == (3, ["wrong_size"])
        said = f"the host has {len(BODY)} bytes, the API announced {len(BODY) + 1}"
        assert report.failures[0].message == said
        assert manifest(tmp_path)["runs"]["run_a"]["outputs"]["output_1"]["error"]["code"] == "wrong_size"
        assert (len(sim.media_requests()), output_files(tmp_path)) == (2, {})

        announce(monkeypatch, len(BODY))
        assert run_job(sim, tmp_path).exit_code == 0
    assert_sound(tmp_path)


def test_a_body_that_ends_too_early_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host names no length the announced size is all that tells; the next try has the whole."""
    announce(monkeypatch, len(BODY))
    with serve_in_thread(account()) as sim:
        path = sim.account.get("run_a").outputs[0].path
        sim.faults.append(Fault(path, on=(1,), no_length=True, body=BODY[:-1000] + BODY[-12:]))
        assert run_job(sim, tmp_path).exit_code == 0
        assert (len(sim.media_requests()), output_files(tmp_path)) == (2, {FILE: BODY})


@pytest.mark.parametrize("is_of_announced_size", [True, False])
def test_a_file_that_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_announced_size: bool
) -> None:
    """Under its final name and without an entry, a file of the announced size is recorded; another is not."""
    announce(monkeypatch, len(BODY))
    left = BODY if is_of_announced_size else BODY[:-1]
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_bytes(left)
    with serve_in_thread(account()) as sim:
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


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs' outputs be made from equal ones."""
    make_sharing(monkeypatch.setattr, "hard_link")


def twins(number: int) -> Account:
    """So many runs with the same picture."""
    account = Account("sk_live_twins")
    for index in range(number):
        output = SimOutput("output_1", content_type="image/png", body=BODY)
        account.insert(SimRun(f"run_{index}", "ws_a", "prj_a", created_at=10**9 + index, outputs=[output]))
    return account


def files_of(dest: Path, number: int) -> list[Path]:
    """Their files."""
    return [dest / f"ws_a/prj_a/run_{index}/output_1.png" for index in range(number)]


def told_of(dest: Path) -> set[tuple[str | None, str | None]]:
    """What the manifest says of where the files are from."""
    outputs = (run["outputs"]["output_1"] for run in manifest(dest)["runs"].values())
    return {(output.get("same_as"), output.get("shared_by")) for output in outputs}


@pytest.mark.usefixtures("sharing")
def test_equal_outputs_are_one_file(tmp_path: Path) -> None:
    """In one run, and in the next, which knows of them from the manifest alone."""
    with serve_in_thread(twins(5)) as sim:
        late = [sim.account.delete(f"run_{index}") for index in (3, 4)]
        assert run_job(sim, tmp_path).exit_code == 0
        ((original, _),) = told_of(tmp_path) - {(None, None)}
        for run in late:
            sim.account.insert(run)
        assert run_job(sim, tmp_path).exit_code == 0
        assert told_of(tmp_path) == {(None, None), (original, "hard_link")}
        first, *others = files_of(tmp_path, 5)
        assert all(other.samefile(first) for other in others)
        assert (run_job(sim, tmp_path).exit_code, sim.media_requests()) == (0, [])
    assert_sound(tmp_path)


@pytest.mark.usefixtures("sharing")
def test_a_file_that_was_found_is_shared_with_too(tmp_path: Path) -> None:
    """One that a killed process left under its name serves as well as one that was fetched."""
    (found,) = files_of(tmp_path, 1)
    found.parent.mkdir(parents=True)
    found.write_bytes(BODY)
    with serve_in_thread(twins(1)) as sim:
        assert run_job(sim, tmp_path).adopted == 1
        sim.account.insert(twins(2).get("run_1"))
        assert run_job(sim, tmp_path).exit_code == 0
    assert told_of(tmp_path) == {(None, None), ("ws_a/prj_a/run_0/output_1.png", "hard_link")}


@pytest.mark.usefixtures("sharing")
def test_each_file_is_checked_and_brought_back_alone(tmp_path: Path) -> None:
    """A shared file that is damaged under all its names is found under each, and so is one that is gone.

    The repair fetches it and writes to no file that is there: whatever else bears the damaged one's names
    keeps its bytes.
    """
    with serve_in_thread(twins(3)) as sim:
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


@pytest.mark.usefixtures("sharing")
@pytest.mark.parametrize("way", ["--hard-link", "--reflink", ""])
def test_what_is_restored_is_told_of_as_its_own(tmp_path: Path, way: str) -> None:
    """Each file is restored by itself, and nothing is said of files that may not be there."""
    with serve_in_thread(twins(3)) as sim:
        assert run_job(sim, tmp_path / "out").exit_code == 0
        options = ["--run-id", "run_0", "--run-id", "run_1", *filter(None, [way])]
        done = floradl(sim, "restore", *options, tmp_path / "out", tmp_path / "new")
        assert done.returncode == 0, done.stderr
    assert told_of(tmp_path / "new") == {(None, None)}
    assert_sound(tmp_path / "new")

"""The whole job where the API says how large files are: media over real connections, files on a real disk."""

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
from tests.support import assert_sound, manifest, output_files, png

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

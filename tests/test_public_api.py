"""`import floradl`: what other programs may use, and what importing it costs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import floradl
from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import assert_archived
from tests.support.processes import environment

DOCS = Path(__file__).parent.parent / "docs" / "python.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "snippet", SNIPPETS, ids=[f"snippet-{number + 1}" for number in range(len(SNIPPETS))]
)
def test_every_documented_snippet_runs(snippet: str, tmp_path: Path) -> None:
    """Each example of docs/python.md is a program that does its work and prints what it says."""
    account = generate_account(6, seed=3)
    with serve_in_thread(account) as sim:
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            env=environment(sim),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    if "sk_live_not_a_key" in snippet:
        assert "401 invalid_api_key" in done.stdout
    elif "Filters" not in snippet:
        assert_archived(tmp_path / "archive", account, completed(account))


def test_every_documented_snippet_is_typed(tmp_path: Path) -> None:
    """mypy --strict accepts the examples, as it would in a program of somebody's."""
    names = []
    for number, snippet in enumerate(SNIPPETS):
        names.append(tmp_path / f"snippet_{number}.py")
        names[-1].write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", os.devnull, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_is_there_and_documented() -> None:
    """What `__all__` promises can be imported, is documented, and nothing else pretends to be."""
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    for name in floradl.__all__:
        value = getattr(floradl, name)
        assert value is not None
        assert not isinstance(value, type(os)), name
        assert getattr(floradl, name) is value, name
        assert name in documented or name == "__version__"
    with pytest.raises(AttributeError, match="nonsense"):
        floradl.nonsense  # noqa: B018 - asking is the test


def test_importing_the_package_imports_nothing_else() -> None:
    """`import floradl` is free until something of it is used."""
    code = "import sys, floradl; print(sorted(n for n in sys.modules if n.startswith(('floradl', 'httpx'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['floradl']"


def test_commands_do_their_work_by_what_is_public() -> None:
    """No command reaches past the public jobs to the modules that do them."""
    jobs = re.compile(r"from floradl\.(archiver\.archive|checker\.(verify|repair)|restorer\.restore) import")
    commands = sorted((Path(floradl.__file__).parent / "cli" / "commands").glob("*.py"))
    assert len(commands) > 10
    for file in commands:
        assert not jobs.search(file.read_text(encoding="utf-8")), file


@pytest.mark.anyio
async def test_progress_is_told_and_the_last_is_the_whole(tmp_path: Path) -> None:
    """A callback hears of a slow job more than once, never backwards, and in the end of everything."""
    account = generate_account(8, seed=3)
    told: list[floradl.Progress] = []
    faults = [Fault("/node-inputs/*", delay_s=0.7)]
    async with (
        Simulator(account, faults=faults) as sim,
        floradl.FloraApi(sim.base_url, account.api_key) as api,
    ):
        options = floradl.ArchiveOptions(tmp_path, sim.base_url, concurrency=4)
        report = await floradl.archive(options, api, progress=told.append)
    assert len(told) > 2
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1] == floradl.Progress(
        runs=len(completed(account)),
        is_listed=True,
        outputs=report.fetched,
        done=report.fetched,
        failed=0,
        moved_bytes=told[-1].moved_bytes,
    )
    assert told[-1].moved_bytes > 0


@pytest.mark.anyio
async def test_a_callback_that_raises_ends_the_job(tmp_path: Path) -> None:
    """Its own error comes out, and what was done until then is in the archive."""
    account = generate_account(8, seed=3)

    def progress(_: floradl.Progress) -> None:
        raise RuntimeError("mine")

    faults = [Fault("/node-inputs/*", delay_s=2)]
    async with (
        Simulator(account, faults=faults) as sim,
        floradl.FloraApi(sim.base_url, account.api_key) as api,
    ):
        with pytest.raises(RuntimeError, match="mine"):
            await floradl.archive(floradl.ArchiveOptions(tmp_path, sim.base_url), api, progress=progress)
        assert len([task for task in asyncio.all_tasks() if "floradl.download.pool" in repr(task)]) == 0


@pytest.mark.anyio
async def test_errors_come_out_bare_although_progress_is_told(tmp_path: Path) -> None:
    """A refused key is a KeyRefusedError, not a group of errors; http to elsewhere is refused at once."""
    account = generate_account(2)
    async with Simulator(account) as sim, floradl.FloraApi(sim.base_url, "sk_live_wrong") as api:
        with pytest.raises(floradl.KeyRefusedError):
            await floradl.archive(
                floradl.ArchiveOptions(tmp_path, sim.base_url), api, progress=lambda _: None
            )
    with pytest.raises(floradl.UsageError, match="in clear"):
        floradl.FloraApi("http://example.com/api/v1", "sk_live_x")


@pytest.mark.anyio
async def test_iter_generations_gives_each_run_once_and_tells_of_bad_records() -> None:
    """All pages, by status or all; a record that cannot be read is an error after all the others."""
    account = generate_account(230, seed=2, open_runs=3)
    async with Simulator(account) as sim, floradl.FloraApi(sim.base_url, account.api_key) as api:
        runs = [run.run_id async for run in floradl.iter_generations(api)]
        assert runs == [run.run_id for run in account.listed()]
        scope = floradl.Scope(project_id=account.projects[0].project_id)
        some = floradl.iter_generations(api, scope, status=floradl.Status.COMPLETED)
        assert [run.run_id async for run in some] == [
            run.run_id for run in account.listed(project_id=scope.project_id, status="completed")
        ]
        sim.faults.append(Fault("/api/v1/generations", body=b'{"generations": [{"nonsense": 1}]}'))
        with pytest.raises(floradl.ApiError):
            _ = [run async for run in floradl.iter_generations(api)]

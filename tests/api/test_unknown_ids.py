"""Ids that a user named and nobody knows: each command says so, and names the nearest that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.api.unknown_ids import unknown_error
from floradl.simulator import Fault, SimProject, Simulator, generate_account, serve_in_thread
from tests.support.archives import manifest
from tests.support.zygote import floradl

UNKNOWN = {"--project-id": "prj_typo", "--workspace-id": "ws_nope"}
SAID = {
    "--project-id": "FLORA does not know the project prj_typo, or does not show it to this key",
    "--workspace-id": "FLORA does not know the workspace ws_nope, or does not show it to this key",
}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account with two projects that have runs, and one that is empty."""
    account = generate_account(6, seed=3, projects=2)
    first = account.projects[0]
    account.projects.append(SimProject("prj_empty", first.workspace_id, "Nothing yet"))
    with serve_in_thread(account) as simulator:
        yield simulator


def named(sim: Simulator, flag: str) -> str:
    """The id of a place that is there."""
    project = sim.account.projects[0]
    return project.project_id if flag == "--project-id" else project.workspace_id


@pytest.mark.parametrize("flag", UNKNOWN)
@pytest.mark.parametrize("words", [[], ["--source", "all"], ["--source", "canvas"], ["--since", "1d"]])
def test_an_archive_job(sim: Simulator, tmp_path: Path, flag: str, words: list[str]) -> None:
    """It fails in the first night and in every other, and archives what else was named."""
    for _ in range(2):
        done = floradl(sim, *words, flag, UNKNOWN[flag], tmp_path)
        if words == ["--source", "canvas"] and flag == "--project-id":
            assert (done.returncode, "404 not_found" in done.stderr) == (4, True), done.stderr
            continue
        assert (done.returncode, SAID[flag] in done.stderr) == (3, True), done.stderr
        assert re.search(r"The nearest that there are: \S+", done.stderr), done.stderr
    both = floradl(sim, *words, flag, UNKNOWN[flag], flag, named(sim, flag), tmp_path)
    assert both.returncode in (3, 4)
    if not words:
        assert manifest(tmp_path)["runs"]


@pytest.mark.parametrize("flag", UNKNOWN)
def test_a_preview_and_a_list(sim: Simulator, tmp_path: Path, flag: str) -> None:
    """Nothing to show is not the same as nothing that could be."""
    for words in (["--dry-run", flag, UNKNOWN[flag], tmp_path], ["list", flag, UNKNOWN[flag]]):
        done = floradl(sim, *words)
        assert (done.returncode, SAID[flag] in done.stderr) == (2, True), done.stderr


def test_an_empty_project_is_no_unknown_one(sim: Simulator, tmp_path: Path) -> None:
    """It costs one request more, every night until it gives something."""
    for _ in range(2):
        sim.forget()
        assert floradl(sim, "--project-id", "prj_empty", tmp_path).returncode == 0
        assert [r.path for r in sim.api_requests()].count("/api/v1/projects/prj_empty") == 1
    assert floradl(sim, "list", "--project-id", "prj_empty").returncode == 0
    assert floradl(sim, "--dry-run", "--project-id", "prj_empty", tmp_path).returncode == 0


@pytest.mark.parametrize("flag", UNKNOWN)
def test_a_place_that_gave_something_once(sim: Simulator, tmp_path: Path, flag: str) -> None:
    """It is not asked for by its id again, when its runs were removed either."""
    assert floradl(sim, flag, named(sim, flag), tmp_path).returncode == 0
    sim.account.runs.clear()
    sim.forget()
    assert floradl(sim, flag, named(sim, flag), tmp_path).returncode == 0
    assert not any(r.path in ("/api/v1/workspaces", "/api/v1/projects") for r in sim.api_requests())


@pytest.mark.parametrize(
    ("flag", "path", "said"),
    [
        ("--project-id", "/api/v1/projects/prj_empty", "project prj_empty: the API answered 500"),
        ("--workspace-id", "/api/v1/workspaces", "the workspaces: the API answered 500"),
    ],
)
def test_a_place_that_cannot_be_asked_for(
    sim: Simulator, tmp_path: Path, flag: str, path: str, said: str
) -> None:
    """Whether it is there is not known, and the job says that."""
    sim.account.runs.clear()
    sim.faults.append(Fault(path, status=500))
    identifier = "prj_empty" if flag == "--project-id" else named(sim, flag)
    done = floradl(sim, "--retries", "0", flag, identifier, tmp_path)
    assert (done.returncode, said in done.stderr) == (3, True), done.stderr


def test_a_list_of_workspaces_that_is_not_whole(sim: Simulator, tmp_path: Path) -> None:
    """A workspace that is not in it may be there all the same."""
    sim.faults.append(Fault("/api/v1/workspaces", body=b'{"workspaces": [{"name": "no id"}]}'))
    done = floradl(sim, "--workspace-id", "ws_nope", tmp_path)
    assert (done.returncode, "the workspaces: the list is not whole" in done.stderr) == (3, True)


def test_nearest_ones_that_cannot_be_listed(sim: Simulator, tmp_path: Path) -> None:
    """The message stands without them."""
    sim.faults.append(Fault("/api/v1/workspaces", status=401))
    done = floradl(sim, "--project-id", "prj_typo", tmp_path)
    assert (done.returncode, SAID["--project-id"] in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize("flag", UNKNOWN)
@pytest.mark.parametrize("command", ["restore", "status"])
def test_what_an_archive_has_nothing_of(sim: Simulator, tmp_path: Path, command: str, flag: str) -> None:
    """A command over an archive says so before it does anything, and names the nearest of the archive."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    assert floradl(sim, source).returncode == 0
    places = [source, dest] if command == "restore" else [source]
    done = floradl(sim, command, flag, UNKNOWN[flag], *places)
    word = flag.removeprefix("--").removesuffix("-id")
    said = f"nothing in this archive is of a {word} {UNKNOWN[flag]}"
    assert (done.returncode, said in done.stderr, dest.exists()) == (2, True, False), done.stderr
    assert named(sim, flag)[:8] in done.stderr
    assert floradl(sim, command, flag, named(sim, flag), *places).returncode == 0


def test_an_empty_project_of_an_archive(sim: Simulator, tmp_path: Path) -> None:
    """It was scanned, so it is known."""
    assert floradl(sim, "--project-id", "prj_empty", tmp_path).returncode == 0
    assert floradl(sim, "status", "--project-id", "prj_empty", tmp_path).returncode == 0


def test_the_nearest_by_id_and_by_name() -> None:
    """A name that was given for an id finds its project; what cannot be shown is made printable."""
    known = {"prj_aaa": "Autumn campaign", "prj_bbb": "Winter\x1b[2J", "prj_typ0": "", "prj_zzzzzzzz": "x"}
    by_name = unknown_error("no {}", "autumn campain", known)
    assert by_name.hint.startswith("The nearest that there are: prj_aaa (Autumn campaign), ")
    by_id = unknown_error("no {}", "prj_typo", known)
    assert by_id.hint.startswith("The nearest that there are: prj_typ0, ")
    assert by_id.message == "no prj_typo"
    assert "\x1b" not in unknown_error("no {}", "winter", known).hint
    assert unknown_error("no {}", "prj_typo", {}).hint == "There is none at all."


@pytest.mark.parametrize("words", [["--since", "2026-02-01", "--until", "2026-01-01"],
                                   ["--since", "2026-01-01", "--until", "2026-01-01"],
                                   ["--since", "2999-01-01"]])  # fmt: skip
@pytest.mark.parametrize("command", ["archive", "restore"])
def test_filters_that_nothing_can_pass(
    sim: Simulator, tmp_path: Path, command: str, words: list[str]
) -> None:
    """They are a mistake, not an empty result."""
    assert floradl(sim, tmp_path / "a").returncode == 0
    places = [tmp_path / "a", tmp_path / "b"] if command == "restore" else [tmp_path / "b"]
    done = floradl(sim, command, *words, *places)
    assert (done.returncode, (tmp_path / "b").exists()) == (2, False), done.stderr

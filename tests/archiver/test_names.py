"""Names of projects and workspaces: kept with the archive, cheaply, and never at the job's cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from floradl.api.client import FloraApi
from floradl.api.models import EVERYTHING, Scope
from floradl.api.projects import Discovery, discover
from floradl.archiver.names import keep_names, unseen
from floradl.repository.names import Place, seen_by
from floradl.simulator import (
    Account,
    Fault,
    SimOutput,
    SimProject,
    SimRun,
    Simulator,
    SimWorkspace,
    serve_in_thread,
)
from floradl.storage.destination import Destination
from tests.support.clock import FakeTime
from tests.support.zygote import floradl

NAMES = re.compile(r"/api/v1/(workspaces|projects)")
HOSTILE = "\x1b[31mred\u202e\r\n<b>漢字</b>" + "x" * 3000


def asked(sim: Simulator) -> list[str]:
    """The requests for names since the log was emptied."""
    return [request.path for request in sim.api_requests() if NAMES.match(request.path)]


def record(dest: Path, *place: str) -> bytes:
    """The record of a workspace, or of a project."""
    return dest.joinpath(*place, "project.json" if len(place) == 2 else "workspace.json").read_bytes()


def told(dest: Path, *place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the API said of a workspace or project, and what floradl adds."""
    fields = json.loads(record(dest, *place))
    return fields, fields.pop("floradl")


def account_of(*projects: SimProject, runs: int = 1) -> Account:
    """An account with a run or more in each of some projects of `ws_a` and `ws_b`."""
    names = {"ws_a": "Studio", "ws_b": "Lab"}
    return Account(
        "sk_live_names",
        [
            SimRun(
                f"run_{project.project_id}_{number}",
                project.workspace_id,
                project.project_id,
                charged_cost=1.5,
            )
            for project in projects
            for number in range(runs)
        ],
        workspaces=[SimWorkspace(key, name) for key, name in names.items()],
        projects=projects,
    )


PROJECTS = (
    SimProject("prj_one", "ws_a", "Autumn"),
    SimProject("prj_two", "ws_a", "Packaging"),
    SimProject("prj_lab", "ws_b", "Moving colours"),
)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Three projects in two workspaces."""
    with serve_in_thread(account_of(*PROJECTS)) as simulator:
        yield simulator


@pytest.fixture
def dest(sim: Simulator, tmp_path: Path) -> Path:
    """The archive of it."""
    done = floradl(sim, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def test_records_are_kept_and_named_in_the_summary(sim: Simulator, tmp_path: Path) -> None:
    """The first job keeps each project's and workspace's record, and its summary and report say the names."""
    dest = tmp_path / "out"
    done = floradl(sim, "--json", dest)
    for project in PROJECTS:
        kept, ours = told(dest, project.workspace_id, project.project_id)
        assert (kept, set(ours)) == (vars(project), {"format", "version", "first_seen_at"})
        assert f"1  {project.name} ({project.project_id})" in done.stderr
    for workspace in sim.account.workspaces:
        kept, ours = told(dest, workspace.workspace_id)
        assert (kept, len(ours["seen_by"])) == (vars(workspace), 1)
    news = json.loads(done.stdout)["runs"]["new_by_project"]
    assert {(item["project_id"], item["name"], item["runs"]) for item in news} == {
        (project.project_id, project.name, 1) for project in PROJECTS
    }
    # Workspaces, and the projects of each: after a full walk they also tell what is not seen any more.
    assert sorted(asked(sim)) == ["/api/v1/projects", "/api/v1/projects", "/api/v1/workspaces"]


def test_a_quiet_night_asks_for_no_name(sim: Simulator, dest: Path) -> None:
    """With nothing new, or only new runs of known projects, the lists alone are asked for."""
    for _ in range(2):
        sim.forget()
        done = floradl(sim, dest)
        assert (done.returncode, len(sim.api_requests())) == (0, 4), done.stderr
        sim.account.insert(SimRun("run_later", "ws_a", "prj_one", created_at=1_795_435_300_000))
    assert "1  Autumn (prj_one)" in done.stderr


def test_a_new_project_gets_its_name_the_night_it_appears(sim: Simulator, dest: Path) -> None:
    """A project with a new run and without a record is asked for, and no other."""
    sim.account.projects.append(SimProject("prj_new", "ws_b", "Brand new"))
    sim.account.insert(SimRun("run_new", "ws_b", "prj_new", created_at=1_795_435_300_000))
    sim.forget()
    done = floradl(sim, dest)
    assert "1  Brand new (prj_new)" in done.stderr
    assert json.loads(record(dest, "ws_b", "prj_new"))["name"] == "Brand new"
    assert asked(sim) == ["/api/v1/workspaces", "/api/v1/projects/prj_new"]


def test_a_changed_name_is_taken_over_by_a_full_walk(sim: Simulator, dest: Path) -> None:
    """A full walk refreshes what changed, keeps what it was before, and writes nothing else anew."""
    others = [dest / "ws_a/prj_two/project.json", dest / "ws_a/workspace.json"]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in others]
    sim.account.projects[0] = replace(PROJECTS[0], name="Autumn, final")
    assert floradl(sim, dest).returncode == 0
    assert json.loads(record(dest, "ws_a", "prj_one"))["name"] == "Autumn"
    assert floradl(sim, "--full", dest).returncode == 0
    kept, ours = told(dest, "ws_a", "prj_one")
    assert kept == vars(sim.account.projects[0])
    assert [past["was"] for past in ours["history"]] == [{"name": "Autumn"}]
    assert ours["first_seen_at"] <= ours["history"][0]["until"]
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in others] == before


def test_an_archive_from_before_gets_names_with_its_next_full_walk(sim: Simulator, dest: Path) -> None:
    """An archive without any record has them all after a full walk."""
    records = [*dest.rglob("project.json"), *dest.rglob("workspace.json")]
    assert len(records) == 5
    for path in records:
        path.unlink()
    assert floradl(sim, "--full", dest).returncode == 0
    assert all(path.exists() for path in records)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403},
        {"status": 404},
        {"status": 401},
        {"status": 500},
        {"body": b"<html>", "content_type": "text/html"},
        {"body": b'{"workspaces": 3, "projects": [3, {}, null, {"project_id": 5}], "meta": 7}'},
        {"body": b"[]"},
        {"body": b'{"project_id": "prj_other", "name": 4}'},
    ],
    ids=str,
)
def test_names_that_cannot_be_had_cost_nothing(
    sim: Simulator, tmp_path: Path, fault: dict[str, object]
) -> None:
    """Whatever the API says to requests for names, the job is complete, exits 0 and with -q is silent."""
    for path in ("/api/v1/workspaces", "/api/v1/projects", "/api/v1/projects/*"):
        sim.faults.append(Fault(path, **fault))  # type: ignore[arg-type]  # one of its fields
    done = floradl(sim, "-q", "--retries", "0", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list((tmp_path / "out").rglob("project.json"))
    told = floradl(sim, "-v", "--full", "--retries", "0", tmp_path / "out")
    assert told.returncode == 0
    assert "names" in told.stderr or "project_id" in told.stderr


def test_a_refused_workspace_list_does_not_cost_the_projects(sim: Simulator, tmp_path: Path) -> None:
    """Each list is asked for by itself: without workspaces' names there are projects' names."""
    sim.faults.append(Fault("/api/v1/workspaces", status=403))
    assert floradl(sim, tmp_path).returncode == 0
    assert len(list(tmp_path.rglob("project.json"))) == 3
    assert not list(tmp_path.rglob("workspace.json"))


def test_a_record_that_is_wrapped(tmp_path: Path) -> None:
    """`GET /projects/{id}` may answer with the record below `project`; that alone is kept."""
    with serve_in_thread(account_of(PROJECTS[0])) as sim:
        body = b' {"project": {"project_id": "prj_one",  "name": "Half \\ud83d"}, "meta": {}}'
        sim.faults.append(Fault("/api/v1/projects/*", body=body))
        assert floradl(sim, "--project-id", "prj_one", tmp_path).returncode == 0
    assert record(tmp_path, "ws_a", "prj_one").startswith(
        b'{\n  "project_id": "prj_one",\n  "name": "Half \\ud83d",\n  "floradl": {'
    )


def test_projects_on_several_pages(tmp_path: Path) -> None:
    """Projects beyond the API's first page have their names too."""
    projects = [SimProject(f"prj_{number}", "ws_a", f"Number {number}") for number in range(130)]
    account = account_of(projects[5], projects[129])
    account.projects = projects
    with serve_in_thread(account) as sim:
        assert floradl(sim, "--workspace-id", "ws_a", tmp_path).returncode == 0
        assert asked(sim) == ["/api/v1/workspaces", "/api/v1/projects", "/api/v1/projects"]
    assert json.loads(record(tmp_path, "ws_a", "prj_129"))["name"] == "Number 129"
    assert len(list(tmp_path.rglob("project.json"))) == 2, "one of a project without runs"


def test_one_run_is_had_without_asking_for_names(sim: Simulator, tmp_path: Path) -> None:
    """`--run-id` is for one run, and asks for nothing else."""
    assert floradl(sim, "--run-id", "run_prj_one_0", tmp_path).returncode == 0
    assert asked(sim) == []


def test_a_nightly_job_with_a_filter_asks_once(sim: Simulator, tmp_path: Path) -> None:
    """A filter seals nothing, so each such night walks everything; names are had once."""
    for project in sim.account.projects:
        sim.account.insert(
            SimRun(
                f"run_text_{project.project_id}",
                project.workspace_id,
                project.project_id,
                outputs=[SimOutput("output_1", "text", text="words")],
            )
        )
    assert floradl(sim, "--type", "text", tmp_path).returncode == 0
    assert len(list(tmp_path.rglob("project.json"))) == 3
    sim.forget()
    assert floradl(sim, "--type", "text", tmp_path).returncode == 0
    assert asked(sim) == []


def test_hostile_names(tmp_path: Path) -> None:
    """A name with control characters is kept as it came and reaches no terminal as it is."""
    with serve_in_thread(account_of(replace(PROJECTS[0], name=HOSTILE))) as sim:
        done = floradl(sim, tmp_path)
    assert done.returncode == 0
    assert json.loads(record(tmp_path, "ws_a", "prj_one"))["name"] == HOSTILE
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", done.stderr)
    assert "[31mred" in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 200


def test_something_else_in_the_place_of_a_record(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """A folder or a link where a record would lie is left alone, and costs the job nothing."""
    path, other = dest / "ws_a/prj_one/project.json", dest / "ws_a/prj_two/project.json"
    path.unlink()
    path.mkdir()
    other.unlink()
    (tmp_path / "elsewhere").write_text("mine")
    other.symlink_to(tmp_path / "elsewhere")
    assert floradl(sim, "--full", dest).returncode == 0
    assert path.is_dir()
    assert (tmp_path / "elsewhere").read_text() == "mine"
    done = floradl(sim, "status", dest)
    assert done.returncode == 0, done.stderr
    assert "  prj_one " in done.stdout


def test_records_of_an_older_floradl(sim: Simulator, dest: Path) -> None:
    """A plain record is read, stays as it is while it says all there is, and is the past of what is new."""
    path, other = dest / "ws_a/prj_one/project.json", dest / "ws_a/prj_two/project.json"
    plain = json.dumps(vars(PROJECTS[0])).encode()
    path.write_bytes(plain)
    other.write_text(json.dumps(vars(PROJECTS[1]) | {"name": "Older"}))
    assert floradl(sim, "--full", dest).returncode == 0
    assert path.read_bytes() == plain
    assert "Autumn (prj_one)" in floradl(sim, "status", dest).stdout
    assert told(dest, "ws_a", "prj_two")[1]["history"][0]["was"] == {"name": "Older"}


@pytest.mark.parametrize(
    "content",
    [
        '{"project_id": "prj_o',
        "",
        "mine",
        '{"project_id": "prj_other", "name": "Mine"}',
        '{"project_id": "prj_one", "floradl": {"format": "floradl-names", "version": 2, "x": 1}}',
    ],
)
def test_files_that_are_broken_or_not_ours(sim: Simulator, dest: Path, content: str) -> None:
    """A file that is torn, somebody else's, another project's or a newer floradl's is left alone."""
    path = dest / "ws_a/prj_one/project.json"
    path.write_text(content)
    done = floradl(sim, "--full", "-v", dest)
    assert (done.returncode, path.read_text()) == (0, content)
    assert "ws_a/prj_one/project.json is none of ours" in done.stderr


def test_a_link_in_the_place_of_a_project(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """Nothing is written through a link that stands where a project's folder was."""
    (dest / "ws_b/prj_lab").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/project.json").unlink()
    (dest / "ws_b/prj_lab").symlink_to(tmp_path / "elsewhere")
    floradl(sim, "--full", dest)
    assert not (tmp_path / "elsewhere/project.json").exists()


def test_verify_knows_records_and_reports_what_only_looks_like_them(sim: Simulator, dest: Path) -> None:
    """`verify` finds nothing about names; a file of that name on another level is a stray."""
    done = floradl(sim, "verify", dest)
    assert done.returncode == 0
    assert "stray" not in done.stderr
    (dest / "project.json").write_text("{}")
    (dest / "ws_a/prj_one/workspace.json").write_text("{}")
    done = floradl(sim, "verify", dest)
    assert "stray: project.json" in done.stderr
    assert "stray: ws_a/prj_one/workspace.json" in done.stderr
    assert "2 strays" in done.stderr


def test_restore_takes_names_along(sim: Simulator, dest: Path, tmp_path: Path) -> None:
    """A restored archive has the records of its own projects and no others; a flat folder has none."""
    env = {"FLORA_API_KEY": ""}
    new = tmp_path / "new"
    assert floradl(sim, "restore", "--project-id", "prj_one", dest, new, **env).returncode == 0
    assert record(new, "ws_a", "prj_one") == record(dest, "ws_a", "prj_one")
    assert record(new, "ws_a") == record(dest, "ws_a")
    assert len([*new.rglob("project.json"), *new.rglob("workspace.json")]) == 2
    (new / "ws_a/prj_one/project.json").write_text('{"name": "newer"}')
    assert floradl(sim, "restore", dest, new, **env).returncode == 0
    assert record(new, "ws_a", "prj_one") == b'{"name": "newer"}', "a record was replaced by an older one"
    assert record(new, "ws_b", "prj_lab") == record(dest, "ws_b", "prj_lab")
    assert floradl(sim, "verify", new, **env).returncode == 0
    flat = tmp_path / "flat"
    assert floradl(sim, "restore", "--flat", dest, flat, **env).returncode == 0
    assert not list(flat.rglob("*project.json"))


# --- with a discovery, and what the key does not see any more ---------------------------------------------

ONE, TWO, LAB = (Place(project.workspace_id, project.project_id) for project in PROJECTS)


async def keep(
    sim: Simulator, dest: Path, *scopes: Scope, places: Iterable[Place], account: str = ""
) -> Discovery:
    """Keep the names of some places after a discovery of some scopes, whose requests are forgotten."""
    disk = Destination(dest)
    try:
        async with FloraApi(sim.base_url, sim.account.api_key, retries=0) as api:
            found = await discover(api, scopes)
            sim.forget()
            await keep_names(api, disk, places, clock=FakeTime().clock, discovery=found, account=account)
            return found
    finally:
        disk.close()


@pytest.mark.anyio
async def test_what_was_discovered_is_not_asked_for_again(sim: Simulator, dest: Path) -> None:
    """After a discovery of everything names cost no request, and are written as ever."""
    sim.account.projects[0] = replace(PROJECTS[0], name="Winter")
    await keep(sim, dest, EVERYTHING, places=[ONE, TWO, LAB, Place("ws_a", "prj_gone")])
    assert asked(sim) == []
    kept, ours = told(dest, "ws_a", "prj_one")
    assert (kept["name"], ours["history"]) == (
        "Winter", [{"until": "2026-11-24T06:00:00Z", "was": {"name": "Autumn"}}],
    )  # fmt: skip


@pytest.mark.anyio
async def test_what_a_discovery_left_out_is_asked_for(sim: Simulator, dest: Path) -> None:
    """Names of places that no discovery asked for are asked for as without one."""
    await keep(sim, dest, Scope(project_id="prj_one"), places=[ONE, TWO, LAB])
    assert asked(sim) == ["/api/v1/workspaces", "/api/v1/projects/prj_two", "/api/v1/projects/prj_lab"]
    sim.faults.append(Fault("/api/v1/workspaces", status=403))
    await keep(sim, dest, Scope("ws_b"), places=[ONE, LAB])
    assert asked(sim) == ["/api/v1/projects/prj_one"]


@pytest.mark.anyio
async def test_who_has_seen_a_workspace(sim: Simulator, dest: Path) -> None:
    """A workspace's record tells which accounts saw it, each once."""
    disk = Destination(dest)
    assert seen_by(disk, ["ws_a", "ws_b"], "other") == set()
    await keep(sim, dest, EVERYTHING, places=[ONE], account="other")
    before = record(dest, "ws_a")
    await keep(sim, dest, EVERYTHING, places=[ONE], account="other")
    assert record(dest, "ws_a") == before
    assert seen_by(disk, ["ws_a", "ws_b", "ws_none"], "other") == {"ws_a"}
    disk.close()


@pytest.mark.anyio
async def test_projects_that_the_key_does_not_see_any_more(sim: Simulator, dest: Path) -> None:
    """A project that a whole list does not have any more is named, with the name that is kept."""
    del sim.account.projects[0]
    found = await keep(sim, dest, EVERYTHING, places=[])
    gone = unseen(found, [ONE, TWO, LAB, Place("ws_a", ""), Place("", "prj_x"), ONE])
    assert gone == [ONE]


@pytest.mark.anyio
async def test_what_no_whole_list_says_is_not_unseen(sim: Simulator, dest: Path) -> None:
    """A project that moved, one of a list that is refused, and one out of scope are not reported."""
    sim.account.projects[:] = [replace(PROJECTS[0], workspace_id="ws_b")]
    assert unseen(await keep(sim, dest, EVERYTHING, places=[]), [ONE]) == []
    assert unseen(await keep(sim, dest, Scope("ws_b"), places=[]), [ONE, TWO, LAB]) == [LAB]
    assert unseen(await keep(sim, dest, Scope(project_id="prj_one"), places=[]), [TWO, LAB]) == []
    sim.faults.append(Fault("/api/v1/projects", query="ws_a", status=403))
    assert unseen(await keep(sim, dest, EVERYTHING, places=[]), [TWO, LAB]) == [LAB]


@pytest.mark.anyio
async def test_a_workspace_that_the_key_does_not_see_any_more(sim: Simulator, dest: Path) -> None:
    """Its projects are reported if this key saw it once, and only if the workspaces were listed."""
    del sim.account.workspaces[0]
    found = await keep(sim, dest, EVERYTHING, places=[])
    assert unseen(found, [ONE, TWO, LAB], {"ws_a", "ws_b"}) == [ONE, TWO]
    assert unseen(found, [ONE, TWO, LAB]) == [], "it is another key's"
    sim.faults.append(Fault("/api/v1/workspaces", status=403))
    assert unseen(await keep(sim, dest, EVERYTHING, places=[]), [ONE, TWO, LAB], {"ws_a"}) == []

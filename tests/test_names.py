"""Names of projects and workspaces: kept with the archive, cheaply, and never at the job's cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
from tests.zygote import floradl

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
    # Workspaces; all projects of one; the only project of the other.
    assert sorted(asked(sim)) == ["/api/v1/projects", "/api/v1/projects/prj_lab", "/api/v1/workspaces"]


def test_a_quiet_night_asks_for_no_name(sim: Simulator, dest: Path) -> None:
    """With nothing new, or only new runs of known projects, three calls suffice."""
    for _ in range(2):
        sim.forget()
        done = floradl(sim, dest)
        assert (done.returncode, len(sim.api_requests())) == (0, 3), done.stderr
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
    """A full walk refreshes what changed and writes nothing else anew."""
    others = [dest / "ws_a/prj_two/project.json", dest / "ws_a/workspace.json"]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in others]
    sim.account.projects[0] = replace(PROJECTS[0], name="Autumn, final")
    assert floradl(sim, dest).returncode == 0
    assert json.loads(record(dest, "ws_a", "prj_one"))["name"] == "Autumn"
    assert floradl(sim, "--full", dest).returncode == 0
    assert json.loads(record(dest, "ws_a", "prj_one"))["name"] == "Autumn, final"
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
        assert floradl(sim, tmp_path).returncode == 0
    assert record(tmp_path, "ws_a", "prj_one").startswith(
        b'{\n  "project_id": "prj_one",\n  "name": "Half \\ud83d",\n  "floradl": {'
    )


def test_projects_on_several_pages(tmp_path: Path) -> None:
    """Projects beyond the API's first page have their names too."""
    projects = [SimProject(f"prj_{number}", "ws_a", f"Number {number}") for number in range(130)]
    account = account_of(projects[5], projects[129])
    account.projects = projects
    with serve_in_thread(account) as sim:
        assert floradl(sim, tmp_path).returncode == 0
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

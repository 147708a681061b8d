"""`floradl list` for people: a table that fits, ages, progress, and `--watch`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from typing import IO

import pytest

from floradl.api.models import Generation
from floradl.api.records import parse_asset, parse_generation, parse_node
from floradl.cli.commands.list import list_lines
from floradl.cli.ui.tables import cells_wide
from floradl.constants import Source
from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.processes import COMMAND, environment, floradl, start

LIST = "/api/v1/generations"
NOW_MS = 1_795_500_000_000


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A dozen runs, two of them not done."""
    with serve_in_thread(generate_account(12, seed=11, open_runs=2)) as simulator:
        yield simulator


def generation(**fields: object) -> Generation:
    """A run as the API lists it."""
    facts = {"run_id": "run_1", "status": "completed", "created_at": NOW_MS - 3 * 3_600_000} | fields
    return parse_generation(json.dumps(facts).encode())


def test_a_row_says_how_old_how_far_and_how_much() -> None:
    """Age, progress of what runs (and of nothing else), model, outputs and cost stand in columns."""
    rows = [
        generation(status="running", progress=35, created_at=NOW_MS - 90_000),
        generation(progress=100, charged_cost=0.1234, model={"model_id": "t2i"}, outputs=[{}, {}]),
        generation(status="failed", progress=100, created_at=None),
    ]
    assert list_lines(rows, 80, NOW_MS) == [
        "created    status          run    model  outputs    cost",
        "1 min ago  running    35%  run_1",
        "3 h ago    completed       run_1  t2i          2  $0.123",
        "           failed          run_1",
    ]


def test_what_gives_way_on_a_narrow_terminal() -> None:
    """At 40 columns the run's id, which people copy, is whole; outputs, model and cost give way."""
    run = generation(run_id="run_" + "x" * 20, charged_cost=0.1, model={"model_id": "m" * 60}, outputs=[{}])
    wide = list_lines([run], 80, NOW_MS)
    assert max(map(cells_wide, wide)) == 80
    assert "mmm…" in wide[1]
    narrow = list_lines([run], 40, NOW_MS)
    assert narrow[1].endswith("run_" + "x" * 20)
    assert max(map(cells_wide, narrow)) <= 40


def asset(**fields: object) -> Generation:
    """An upload as the API lists it."""
    facts = {"asset_id": "asset_1", "status": "ready", "created_at": NOW_MS - 7_200_000} | fields
    return parse_asset(json.dumps(facts).encode())


def test_uploads_have_columns_of_their_own() -> None:
    """Name, type, size and the API's word for its state; the name gives way where there is little room."""
    rows = [
        asset(name="Mood board.jpg", content_type="image/jpeg", size_bytes=2_500_000),
        asset(asset_id=None, node_id="node_7", status="pending_upload", created_at=None, name=None),
    ]
    assert list_lines(rows, 80, NOW_MS, source=Source.ASSETS) == [
        "created  status          asset    name            type        size",
        "2 h ago  ready           asset_1  Mood board.jpg  image     2.5 MB",
        "         pending_upload  node_7                   document",
    ]
    narrow = list_lines([asset(name="n" * 60, size_bytes=9)], 40, NOW_MS, source=Source.ASSETS)
    assert narrow[1].startswith("2 h ago  ready   asset_1  nnn")
    assert max(map(cells_wide, narrow)) <= 40


def test_technique_runs_name_their_technique_and_nodes_their_label() -> None:
    """In the place of a model stands the technique's name, or its id; a node has a type and a label."""
    rows = [
        generation(technique={"technique_id": "tech_1", "name": "Relight"}, outputs=[{}], charged_cost=0.1),
        generation(technique={"technique_id": "tech_1"}),
    ]
    assert list_lines(rows, 80, NOW_MS, source=Source.TECHNIQUE_RUNS) == [
        "created  status     run    technique  outputs    cost",
        "3 h ago  completed  run_1  Relight          1  $0.100",
        "3 h ago  completed  run_1  tech_1",
    ]
    node = parse_node(b'{"node_id": "node_1", "type": "imageUrl", "label": "A paper boat", "url": "x"}')
    bare = parse_node(b'{"node_id": "node_2", "type": 7, "label": null}')
    assert list_lines([node, bare], 80, NOW_MS, source=Source.CANVAS) == [
        "node    type   label",
        "node_1  image  A paper boat",
        "node_2",
    ]


@pytest.mark.parametrize("source", [Source.ASSETS, Source.CANVAS, Source.TECHNIQUE_RUNS])
def test_hostile_fields_of_other_lists_do_not_break_their_tables(source: Source) -> None:
    """Names, labels and techniques are strangers' texts too."""
    hostile = "\x1b[2J\r\n\u202e漢字e\u0301" * 30
    rows = {
        Source.ASSETS: asset(asset_id=hostile, name=hostile, content_type=hostile, status=hostile),
        Source.CANVAS: parse_node(
            json.dumps({"node_id": hostile, "type": hostile, "label": hostile}).encode()
        ),
        Source.TECHNIQUE_RUNS: generation(technique={"technique_id": hostile, "name": hostile}),
    }
    for width in (20, 40, 80):
        lines = list_lines([rows[source]], width, NOW_MS, source=source)
        assert len(lines) == 2
        assert max(map(cells_wide, lines)) <= width
        assert all(line.isprintable() for line in lines)


@pytest.fixture(scope="module")
def everything() -> Iterator[Simulator]:
    """An account with technique runs, uploads and canvases."""
    account = generate_account(12, seed=11, techniques=4, assets=14, canvases=True)
    with serve_in_thread(account) as simulator:
        yield simulator


def test_each_list_as_the_api_gives_it(everything: Simulator) -> None:
    """--format json is the very page of the endpoint, jsonl its records, --all every page of them."""
    account = everything.account
    project = account.projects[0].project_id
    runs = account.listed(source="technique-runs")
    for words, path, name, count in (
        (["technique-runs"], "/technique-runs", "technique_runs", len(runs)),
        (["assets"], "/assets", "assets", len(account.listed_assets())),
        (["canvas", "--project-id", project], f"/projects/{project}/nodes", "nodes",
         len(account.canvas_of(project).nodes)),
    ):  # fmt: skip
        everything.requests.clear()
        page = json.loads(floradl(everything, "list", "--source", *words).stdout)
        assert len(page[name]) == count > 3
        lines = floradl(
            everything, "list", "--source", *words, "--format", "jsonl", "--limit", "3", "--all"
        ).stdout.splitlines()
        assert [json.loads(line) for line in lines] == page[name]
        assert {request.path for request in everything.requests} == {f"/api/v1{path}"}
        table = floradl(everything, "list", "--source", *words, "--format", "table", COLUMNS="80").stdout
        assert len(table.splitlines()) == count + 1


def test_a_list_of_one_technique(everything: Simulator) -> None:
    """--technique-id asks the endpoint for that one, and --status works there as for generations."""
    run = everything.account.listed(source="technique-runs")[0]
    assert run.technique is not None
    one = run.technique.technique_id
    done = floradl(
        everything, "list", "--source", "technique-runs", "--technique-id", one, "--status", "completed"
    )
    found = [item["technique_run_id"] for item in json.loads(done.stdout)["technique_runs"]]
    listed = everything.account.listed(source="technique-runs", technique_id=one, status="completed")
    assert found == [run.run_id for run in listed]
    none = floradl(
        everything, "list", "--source", "technique-runs", "--technique-id", "tech_0", "--format", "table"
    )
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "No such technique runs.\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--source", "assets", "--status", "completed"], "does not tell assets by --status"),
        (["--source", "canvas"], "needs --project-id"),
        (["--source", "all"], "does not fit"),
        (["--technique-id", "tech_1"], "for the list of technique runs"),
        (["--source", "uploads"], "does not fit"),
    ],
)
def test_what_an_endpoint_cannot_be_asked(everything: Simulator, words: list[str], told: str) -> None:
    """That is wrong usage, said before anything is asked."""
    everything.requests.clear()
    done = floradl(everything, "list", *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert not everything.requests


def test_sources_that_are_set_for_the_nightly_job_leave_the_list_alone(everything: Simulator) -> None:
    """FLORADL_SOURCE is about archiving; which list is shown is a setting of its own."""
    assert "generations" in json.loads(floradl(everything, "list", FLORADL_SOURCE="assets").stdout)
    assert "assets" in json.loads(floradl(everything, "list", FLORADL_LIST_SOURCE="assets").stdout)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_hostile_fields_do_not_break_the_table(width: int) -> None:
    """Control characters, wide characters and endless ids stay in their cells."""
    hostile = "\x1b[2J\r\n\u202e漢字e\u0301" * 30
    rows = [generation(run_id=hostile, status=hostile, model={"model_id": hostile}), generation()]
    lines = list_lines(rows, width, NOW_MS)
    assert len(lines) == 3
    assert max(map(cells_wide, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_running_runs_with_their_progress(sim: Simulator) -> None:
    """`--status running` shows how far each is."""
    done = floradl(sim, "list", "--status", "running", "--format", "table")
    (run,) = sim.account.listed(status="running")
    assert re.search(rf"ago +running +35% +{run.run_id}", done.stdout)
    none = floradl(sim, "list", "--status", "failed", "--format", "table")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "No such failed runs.\n")


def _read_lines(stream: IO[str] | None, wanted: str, count: int) -> str:
    """What comes up to the line in which something comes for the so-many-th time."""
    assert stream is not None
    shown = ""
    while shown.count(wanted) < count:
        line = stream.readline()
        assert line, shown
        shown += line
    return shown


def test_watch_off_a_terminal_prints_again(sim: Simulator) -> None:
    """--watch prints the same again, without control codes, also after an error, until Ctrl-C."""
    sim.faults.append(Fault(LIST, on=(2,), status=503))
    arguments = ("list", "--watch", "1", "--retries", "0", "--limit", "2", "--format", "table")
    process = start(sim, *arguments)
    shown = _read_lines(process.stdout, "created", 2)
    process.send_signal(signal.SIGINT)
    rest, stderr = process.communicate(timeout=60)
    stdout = shown + rest
    assert process.returncode == 130
    assert len(sim.api_requests()) >= 3
    assert stdout.count("created") >= 2
    assert "503" in stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", stdout + stderr)
    assert "Traceback" not in stderr


def test_watch_keeps_the_form(sim: Simulator) -> None:
    """Off a terminal the default stays JSON, a page each time."""
    process = start(sim, "list", "--watch", "1s", "--limit", "1")
    shown = _read_lines(process.stdout, "\n", 2)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    stdout = shown + rest
    assert len(stdout.splitlines()) >= 2
    assert all(len(json.loads(line)["generations"]) == 1 for line in stdout.splitlines())


@pytest.mark.parametrize("columns", [40, 80])
def test_watch_on_a_terminal_redraws(sim: Simulator, columns: int) -> None:
    """On a terminal each look takes the place of the one before, and no more lines than there are."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 6, columns, 0, 0))
    process = subprocess.Popen(
        [COMMAND, "list", "--watch", "1"],
        env={k: v for k, v in environment(sim, TERM="xterm").items() if k not in ("COLUMNS", "LINES")},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while shown.count(b"\x1b[H\x1b[J") < 3:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    os.close(ours)
    assert process.wait(timeout=60) == 130
    screens = shown.decode().split("\x1b[H\x1b[J")[1:3]
    for screen in screens:
        lines = screen.splitlines()
        assert lines[0].startswith("created")
        assert lines[-1] == "… 9 more"
        assert len(lines) == 5
        assert max(map(cells_wide, lines)) <= columns


def test_watch_needs_a_second(sim: Simulator) -> None:
    """An interval that would hammer the API is refused."""
    done = floradl(sim, "list", "--watch=0.1s")
    assert (done.returncode, "a second at least" in done.stderr) == (2, True)
    assert not sim.requests

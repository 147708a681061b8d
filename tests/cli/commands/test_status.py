"""`floradl status`: numbers that are the manifest's, ages that a monitor can trust, and nothing touched."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from floradl.cli.ui.tables import cells_wide
from floradl.repository.entries import (
    JournalHeader,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
)
from floradl.repository.journal import encode_lines
from floradl.simulator import (
    Account,
    Fault,
    SimOutput,
    SimProject,
    SimRun,
    Simulator,
    SimWorkspace,
    generate_account,
    serve_in_thread,
)
from tests.cli.reports.schema import closed
from tests.repository.test_lock import other_process
from tests.support.archives import manifest
from tests.support.media import mp4, png
from tests.support.sound_archive import tree_of
from tests.support.zygote import floradl

SCHEMA = Path(__file__).parents[3] / "docs" / "status.schema.json"
OCTOBER_MS, NOVEMBER_MS = 1_790_850_000_000, 1_793_600_000_000  # 2026-10-01, 2026-11-02
NOW_MS = 1_795_500_000_000  # 2026-11-24T06:00Z
DAY_MS = 86_400_000
HOSTILE = 'a"b\\c\n\x1b[31m\u202e漢字'
HOSTILE_LABEL = 'a"b\\c\n\\u001b[31m\\u202e漢字'
"""The same as a label of a metric: what a terminal would obey is written out."""


def make_account() -> Account:
    """Runs of two projects in two workspaces, whose numbers a reader can add up."""
    image = SimOutput("i", content_type="image/png", body=png(b"i"))
    video = SimOutput("v", "videoUrl", content_type="video/mp4", body=mp4(b"v"))
    runs = [
        SimRun("run_1", "ws_a", "prj_one", created_at=OCTOBER_MS, charged_cost=1.0, model_id="m1",
               outputs=[image]),
        SimRun("run_2", "ws_a", "prj_one", created_at=NOVEMBER_MS, model_id="m1",
               outputs=[SimOutput("t", "text", text="words")]),
        SimRun("run_3", "ws_b", "prj_two", created_at=NOVEMBER_MS, charged_cost=3.0, model_id="m2",
               outputs=[SimOutput("i", content_type="image/png", body=png(b"i2")), video,
                        SimOutput("lost", path="/lost.png", content_type="image/png", body=png(b"l"))]),
        SimRun("run_4", "ws_b", "prj_two", created_at=NOVEMBER_MS, charged_cost=0.25, with_model=False),
        SimRun("run_5", "ws_a", "prj_one", "running", created_at=NOVEMBER_MS + 1, progress=35),
    ]  # fmt: skip
    return Account(
        "sk_live_status",
        runs,
        workspaces=[SimWorkspace("ws_a", "Studio"), SimWorkspace("ws_b", HOSTILE)],
        projects=[SimProject("prj_one", "ws_a", "Autumn"), SimProject("prj_two", "ws_b", HOSTILE)],
    )


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """The account, one of whose outputs is gone."""
    with serve_in_thread(make_account()) as simulator:
        simulator.faults.append(Fault("/lost.png", status=404))
        yield simulator


@pytest.fixture(scope="module")
def archived(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of it."""
    dest = tmp_path_factory.mktemp("status") / "out"
    assert floradl(sim, dest).returncode == 3
    return dest


@pytest.fixture
def dest(archived: Path, tmp_path: Path) -> Path:
    """A copy of the archive, to change."""
    return Path(shutil.copytree(archived, tmp_path / "out"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    """An account of several sources, and its archive."""
    dest = tmp_path_factory.mktemp("everything") / "out"
    with serve_in_thread(generate_account(10, seed=4, techniques=6, assets=8)) as simulator:
        assert floradl(simulator, "--source", "all", dest).returncode == 0
        yield simulator, dest


def status_of(sim: Simulator, *arguments: str | Path) -> dict[str, Any]:
    """The object of `status --json`, which is as its schema says."""
    done = floradl(sim, "status", "--json", *arguments, FLORA_API_KEY="")
    value: dict[str, Any] = json.loads(done.stdout)
    assert value["exit_code"] == done.returncode
    jsonschema.validate(value, closed(json.loads(SCHEMA.read_text(encoding="utf-8"))))
    return value


def by(value: dict[str, Any], group: str, key: str) -> dict[str | None, tuple[object, ...]]:
    """A group's rows by their key: runs, outputs, failed, cost, runs without cost."""
    return {
        row[key]: (row["runs"], row["outputs"], row["failed"], row["cost"], row["runs_without_cost"])
        for row in value[group]
    }


def test_numbers_by_everything(sim: Simulator, archived: Path) -> None:
    """Runs, outputs, failures and dollars by project, model, type and month; a cost is split by outputs."""
    value = status_of(sim, archived)
    assert by(value, "by_project", "project_id") == {
        "prj_one": (2, 2, 0, 1.0, 1),
        "prj_two": (2, 2, 1, 3.25, 0),
    }
    assert by(value, "by_model", "model_id") == {
        "m1": (2, 2, 0, 1.0, 1),
        "m2": (1, 2, 1, 3.0, 0),
        None: (1, 0, 0, 0.25, 0),
    }
    assert by(value, "by_type", "type") == {
        "imageUrl": (2, 2, 1, 3.0, 0),
        "videoUrl": (1, 1, 0, 1.0, 0),
        "text": (1, 1, 0, 0.0, 1),
        None: (1, 0, 0, 0.25, 0),
    }
    assert by(value, "by_month", "month") == {"2026-10": (1, 1, 0, 1.0, 0), "2026-11": (3, 3, 1, 3.25, 1)}
    names = {row["project_id"]: (row["workspace_name"], row["project_name"]) for row in value["by_project"]}
    assert names == {"prj_one": ("Studio", "Autumn"), "prj_two": (HOSTILE, HOSTILE)}
    sizes = [
        output.get("size_bytes", 0)
        for run in manifest(archived)["runs"].values()
        for output in run["outputs"].values()
    ]
    for group in ("by_project", "by_model", "by_type", "by_month"):
        assert sum(row["bytes"] for row in value[group]) == sum(sizes) == value["total"]["bytes"]


def test_what_is_missing_and_what_is_open(sim: Simulator, archived: Path) -> None:
    """A failed output is named with its reason and dates, and so is a run that was not done yet."""
    value = status_of(sim, archived)
    (failed,) = value["failed_outputs"]
    assert (failed["run_id"], failed["output"], failed["code"]) == ("run_3", "lost", "http_404")
    assert failed["run_created_at"] == "2026-11-02T06:13:20Z"
    assert failed["last_tried_at"] >= value["archive"]["created_at"]
    (run,) = value["open_runs"]
    assert (run["run_id"], run["status"], run["project_id"]) == ("run_5", "running", "prj_one")
    assert value["vanished_runs"] == []


def test_numbers_of_a_whole_account(tmp_path: Path) -> None:
    """Every sum is the one that anybody gets who adds up `manifest.json`."""
    with serve_in_thread(generate_account(80, seed=7)) as sim:
        assert floradl(sim, tmp_path).returncode == 0
        value = status_of(sim, tmp_path)
    runs = manifest(tmp_path)["runs"].values()
    for group, of in (("by_project", "project_id"), ("by_model", "model_id")):
        counts: Counter[str | None] = Counter(run[of] for run in runs)
        costs: defaultdict[str | None, float] = defaultdict(float)
        for run in runs:
            costs[run[of]] += run["charged_cost"] or 0
        assert {row[of]: row["runs"] for row in value[group]} == counts
        assert {row[of]: row["cost"] for row in value[group]} == pytest.approx(costs)
    assert value["total"]["runs_without_cost"] == sum(run["charged_cost"] is None for run in runs) > 0
    assert sum(row["cost"] for row in value["by_type"]) == pytest.approx(value["total"]["cost"])
    kinds = Counter(output["type"] for run in runs for output in run["outputs"].values())
    assert {row["type"]: row["outputs"] for row in value["by_type"] if row["outputs"]} == kinds


def test_a_vanished_run(sim: Simulator, tmp_path: Path) -> None:
    """A run that FLORA does not list any more is counted and named, and its outputs still count."""
    with serve_in_thread(make_account()) as sim:
        assert floradl(sim, tmp_path).returncode == 0
        sim.account.delete("run_1")
        assert floradl(sim, "--full", tmp_path).returncode == 0
        value = status_of(sim, tmp_path)
        assert [run["run_id"] for run in value["vanished_runs"]] == ["run_1"]
        assert value["total"]["runs"] == 4
        assert re.search(r"^vanished runs +1, kept", floradl(sim, "status", tmp_path).stdout, re.MULTILINE)


def test_for_people(sim: Simulator, archived: Path) -> None:
    """Names and ids, human sizes, dollars with how many runs have none, failures by reason, ages."""
    done = floradl(sim, "status", archived, FLORA_API_KEY="", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^all +4 +4 +[\d.]+ B +\$4\.25 +1$", done.stdout, re.MULTILINE)
    assert re.search(r"^  Autumn \(prj_one\) +2 +2 +\S+ B +\$1\.00 +1$", done.stdout, re.MULTILINE)
    assert re.search(r"^  image +2 +2 ", done.stdout, re.MULTILINE)
    assert re.search(r"^failed outputs +1 http_404 +made \d+ \w+ ago, tried", done.stdout, re.MULTILINE)
    assert re.search(r"^open runs +1 running", done.stdout, re.MULTILINE)
    assert re.search(r"^last scan +\d+ s ago|^last scan +now", done.stdout, re.MULTILINE)
    assert "last verify     never" in done.stdout
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", done.stdout)
    told = floradl(sim, "status", "-v", archived)
    assert "failed: run_3 lost: http_404: " in told.stdout


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_it_fits_the_terminal(sim: Simulator, archived: Path, columns: int) -> None:
    """No line is wider than the terminal, and numbers of all parts end in the same cell."""
    lines = floradl(sim, "status", archived, COLUMNS=str(columns)).stdout.splitlines()
    assert max(map(cells_wide, lines[1:])) <= columns
    if columns == 20:  # too narrow for numbers to stay whole
        return
    rows = [line for line in lines if re.match(r"(all|  \S).* [\d,.]+ k?B", line)]
    assert len(rows) == 12
    sizes = [found for line in rows if (found := re.search(r"\d k?B", line))]
    assert len(sizes) == len(rows)
    assert len({cells_wide(size.string[: size.end()]) for size in sizes}) == 1


def test_nothing_is_touched_and_no_key_is_needed(sim: Simulator, archived: Path) -> None:
    """Every form of it leaves each byte and date alone, and asks the API nothing."""
    before = tree_of(archived)
    sim.forget()
    for form in ([], ["--json"], ["--prometheus"], ["--max-age", "26h"], ["-v"]):
        assert floradl(sim, "status", *form, archived, FLORA_API_KEY="").returncode == 0
    assert tree_of(archived) == before
    assert not sim.requests


def test_too_old(sim: Simulator, archived: Path, dest: Path) -> None:
    """--max-age exits 3 when the last complete scan is older, and says of what; with -q too."""
    assert floradl(sim, "status", "-q", "--max-age", "26h", archived).stdout == ""
    value = manifest(dest)
    for scan in value["scans"]:
        if scan["scope"]["source"] == "generations":
            scan["last_scan_at"] = "2026-01-01T02:30:00Z"
    (dest / "manifest.json").write_text(json.dumps(value))
    done = floradl(sim, "status", "-q", "--max-age", "26h", dest)
    assert (done.returncode, done.stdout) == (3, "")
    assert "TOO OLD: the last complete scan of the whole account was" in done.stderr
    assert f"`floradl {dest}` brings it up to date" in done.stderr
    told = status_of(sim, "--max-age", "26h", dest)
    assert (told["too_old"], told["max_age_s"]) == (True, 93_600)
    assert told["last_scan_at"] == "2026-01-01T02:30:00Z"
    assert status_of(sim, dest)["too_old"] is None


def test_a_scan_that_never_ended_is_too_old(tmp_path: Path) -> None:
    """An archive whose scans all had errors has no date, whatever was archived."""
    with serve_in_thread(make_account()) as sim:
        sim.faults.append(Fault("/api/v1/generations", query="pending", status=500))
        assert floradl(sim, "--source", "generations", "--retries", "0", tmp_path).returncode == 3
        value = status_of(sim, "--max-age", "10d", tmp_path)
        assert (value["exit_code"], value["last_scan_at"], value["total"]["runs"]) == (3, None, 4)
        done = floradl(sim, "status", "--max-age", "10d", tmp_path)
        assert "nothing was ever scanned to its end" in done.stderr
        assert "last scan       never" in done.stdout


def test_a_part_of_the_archive(sim: Simulator, archived: Path) -> None:
    """--project-id shows a project alone, with the scans that cover it."""
    value = status_of(sim, "--project-id", "prj_one", archived)
    assert (value["total"]["runs"], len(value["open_runs"]), value["failed_outputs"]) == (2, 1, [])
    assert [scope["source"] for scope in value["scopes"]] == ["generations", "technique-runs"]
    for scope in value["scopes"]:
        assert scope["project_id"] == "prj_one"
        assert scope["last_scan_at"] is not None
    other = status_of(sim, "--workspace-id", "ws_b", archived)
    assert (other["total"]["runs"], other["open_runs"]) == (2, [])


def test_a_check_leaves_its_date(sim: Simulator, dest: Path) -> None:
    """`verify` is dated and told sound or not; a sample does not stand for a check of all bytes."""
    assert status_of(sim, dest)["last_verify"] is None
    assert floradl(sim, "verify", "--sample", "1/3", dest).returncode == 3  # an output was never archived
    value = status_of(sim, dest)
    assert (value["last_verify"]["sample"], value["last_verify"]["sound"]) == ("1/3", False)
    assert (value["last_verify"]["findings"], value["last_full_verify"]) == (1, None)
    assert floradl(sim, "verify", dest).returncode == 3
    full = status_of(sim, dest)["last_full_verify"]
    assert (full["sample"], full["read"]) == ("1/1", 4)
    assert floradl(sim, "verify", "--sample", "2/3", dest).returncode == 3
    value = status_of(sim, dest)
    assert (value["last_full_verify"], value["last_verify"]["sample"]) == (full, "2/3")
    text = floradl(sim, "status", dest).stdout
    assert re.search(r"^last verify +(now|\d+ s ago), 1 finding ", text, re.MULTILINE)
    assert re.search(r"^last full verify +(now|\d+ s ago), 1 finding ", text, re.MULTILINE)
    (dest / ".floradl/verified.json").write_bytes(b"\xff")
    assert status_of(sim, dest)["last_verify"] is None


def test_a_repair_leaves_its_date(tmp_path: Path) -> None:
    """`verify --repair` is dated with what was left in the end."""
    with serve_in_thread(make_account()) as sim:
        assert floradl(sim, tmp_path).returncode == 0
        (tmp_path / "ws_a/prj_one/run_1/i.png").unlink()
        assert floradl(sim, "verify", "--repair", tmp_path).returncode == 0
        assert status_of(sim, tmp_path)["last_verify"]["sound"] is True


def test_a_check_where_nothing_can_be_noted(sim: Simulator, dest: Path) -> None:
    """A folder in the place of the note, or an archive without floradl's folder, costs a check nothing."""
    (dest / ".floradl/verified.json").mkdir()
    assert floradl(sim, "verify", "-q", dest).returncode == 3
    assert status_of(sim, dest)["last_verify"] is None
    shutil.rmtree(dest / ".floradl")
    assert floradl(sim, "verify", dest).returncode == 3
    assert not (dest / ".floradl").exists()


def test_what_only_the_journal_has(sim: Simulator, dest: Path) -> None:
    """A killed job's entries count before anything folded them."""
    value = manifest(dest)
    run = value["runs"].pop("run_1")
    outputs = run.pop("outputs")
    (dest / "manifest.json").write_text(json.dumps(value))
    facts = msgspec.convert(run, RunFacts)
    output = msgspec.convert(outputs["i"], OutputEntry)
    header = JournalHeader(1, value["archive_id"], value["created_at"])
    lines = encode_lines([header, RunOp("run_1", facts), OutputOp("run_1", "i", output)])
    (dest / ".floradl/journal").write_bytes(lines)
    assert status_of(sim, dest)["total"]["runs"] == 4


def test_no_archive_and_a_broken_one(sim: Simulator, tmp_path: Path, dest: Path) -> None:
    """Where nothing is, and where nothing can be read, it says so with exit code 1."""
    done = floradl(sim, "status", tmp_path / "none")
    assert (done.returncode, "there is no archive in" in done.stderr) == (1, True)
    assert not (tmp_path / "none").exists()
    (dest / "manifest.json").write_text("{")
    done = floradl(sim, "status", dest)
    assert (done.returncode, "verify --repair" in done.stderr) == (1, True)


def test_json_and_prometheus_exclude_each_other(sim: Simulator, archived: Path) -> None:
    """One stdout takes one of them."""
    done = floradl(sim, "status", "--json", "--prometheus", archived)
    assert (done.returncode, "exclude each other" in done.stderr) == (2, True)


def test_while_another_works_on_it(sim: Simulator, dest: Path) -> None:
    """While a job writes, status does not guess: exit 5, who it is, and --lock-timeout."""
    with other_process(dest) as holder:
        done = floradl(sim, "status", dest)
        assert done.returncode == 5
        assert f"process {holder.pid}" in done.stderr
    assert floradl(sim, "status", dest).returncode == 0


def test_prometheus(sim: Simulator, dest: Path) -> None:
    """Every line parses; each metric has HELP and TYPE once; hostile labels come through as they are."""
    floradl(sim, "verify", dest)
    done = floradl(sim, "status", "--prometheus", dest, FLORA_API_KEY="")
    assert done.returncode == 0
    assert done.stdout.endswith("\n")
    families = {family.name: family for family in text_string_to_metric_families(done.stdout)}
    assert all(family.type == "gauge" and family.documentation for family in families.values())
    assert done.stdout.count("# TYPE ") == done.stdout.count("# HELP ") == len(families)
    value = status_of(sim, dest)
    (total,) = families["floradl_bytes"].samples
    assert (total.labels, total.value) == ({"archive": str(dest)}, value["total"]["bytes"])
    projects = {
        sample.labels["project_id"]: sample for sample in families["floradl_project_cost_usd"].samples
    }
    assert projects["prj_two"].value == 3.25
    assert projects["prj_two"].labels["project"] == HOSTILE_LABEL
    assert projects["prj_one"].labels["workspace"] == "Studio"
    (reason,) = families["floradl_failed_outputs_by_reason"].samples
    assert (reason.labels["code"], reason.value) == ("http_404", 1)
    assert families["floradl_runs_without_cost"].samples[0].value == 1
    scans = families["floradl_last_scan_timestamp_seconds"].samples
    assert {scan.labels["source"] for scan in scans} == {"generations", "technique-runs"}
    assert all(1.7e9 < scan.value < 1e10 for scan in scans)
    assert families["floradl_last_verify_sound"].samples[0].value == 0


def test_every_metric_is_documented(everything: tuple[Simulator, Path]) -> None:
    """docs/status.md names each metric, or the pattern that it follows."""
    sim, dest = everything
    floradl(sim, "verify", dest)
    text = floradl(sim, "status", "--prometheus", dest).stdout
    assert "floradl_assets_bytes" in text
    documented = (SCHEMA.parent / "status.md").read_text(encoding="utf-8")
    for family in text_string_to_metric_families(text):
        plain = re.sub(r"^floradl_(project|model|type|sources|technique)_", "floradl_", family.name)
        assert f"`{plain}`" in documented, family.name
        assert plain == family.name or f"`{family.name.removesuffix(plain[8:])}…`" in documented


def test_what_is_no_run_is_counted_apart(everything: tuple[Simulator, Path]) -> None:
    """Assets have numbers of their own, and are in none of the sums of runs."""
    sim, dest = everything
    value, tables = status_of(sim, dest), manifest(dest)
    sizes = [
        output["size_bytes"] for asset in tables["assets"].values() for output in asset["outputs"].values()
    ]
    assert value["assets"] == {"assets": len(sizes), "files": len(sizes), "bytes": sum(sizes), "failed": 0}
    snapshots = [
        output["size_bytes"]
        for canvas in tables["canvases"].values()
        for output in canvas["outputs"].values()
    ]
    told = {
        "canvases": len(tables["canvases"]),
        "files": len(snapshots),
        "bytes": sum(snapshots),
        "failed": 0,
    }
    assert value["canvases"] == told
    assert len(snapshots) > 0
    runs = tables["runs"].values()
    assert value["total"]["runs"] == len(runs)
    assert value["total"]["bytes"] == sum(
        output.get("size_bytes", 0) for run in runs for output in run["outputs"].values()
    )
    listed = Counter(tuple(sorted(run.get("sources", ["generations"]))) for run in runs)
    assert {tuple(row["sources"]): row["runs"] for row in value["by_sources"]} == listed
    assert len(listed) == 3
    techniques = Counter(run["technique_name"] for run in runs if "technique_name" in run)
    assert {row["technique_name"]: row["runs"] for row in value["by_technique"]} == techniques
    text = floradl(sim, "status", dest, COLUMNS="80").stdout
    assert "besides runs\n" in text
    assert re.search(rf"^  assets +{len(sizes)} +\S+ k?B$", text, re.MULTILINE)
    assert re.search(rf"^  canvas snapshots +{len(snapshots)} +\S+ k?B$", text, re.MULTILINE)
    assert "by list\n" in text
    assert re.search(r"^  generations alone +\d", text, re.MULTILINE)
    assert re.search(r"^  both lists +\d", text, re.MULTILINE)
    assert re.search(r"^last scan +(\d+ s ago|now) +20\d\d-", text, re.MULTILINE)  # one line: one job did all
    narrow = floradl(sim, "status", dest, COLUMNS="40").stdout.splitlines()
    assert max(map(cells_wide, narrow[1:])) <= 40


@pytest.mark.parametrize("source", ["technique-runs", "assets"])
def test_a_list_that_is_closed_to_the_key_gets_old(tmp_path: Path, source: str) -> None:
    """What the key saw and sees no more is told as that, and as old, until the user leaves it out by name."""
    with serve_in_thread(generate_account(4, seed=4, techniques=2, assets=2)) as sim:
        assert floradl(sim, "--source", "all", tmp_path).returncode == 0
        sim.account.refuse(source, 404)
        assert floradl(sim, "--source", "all", tmp_path).returncode == 4
        assert status_of(sim, "--max-age", "26h", tmp_path)["too_old"] is False
        value = manifest(tmp_path)
        for scan in value["scans"]:
            if scan["scope"]["source"] == source:
                scan["last_scan_at"] = "2026-01-01T02:30:00Z"
        (tmp_path / "manifest.json").write_text(json.dumps(value))
        told = status_of(sim, "--max-age", "26h", tmp_path)
        assert told["too_old"] is True
        assert [scope["source"] for scope in told["scopes"] if scope["refused_at"]] == [source]
        words = source.replace("-", " ")
        old = floradl(sim, "status", "-q", "--max-age", "26h", tmp_path)
        assert re.search(f"TOO OLD: .* of {words} .*; FLORA refuses that list to the key", old.stderr)
        others = [each for each in told["scopes"] if each["source"] != source]
        named = [word for scope in others for word in ("--source", scope["source"])]
        assert status_of(sim, "--max-age", "26h", *named, tmp_path)["too_old"] is False
        text = floradl(sim, "status", tmp_path, COLUMNS="80").stdout
        assert re.search(rf"^closed to the key +{words} +noticed ", text, re.MULTILINE)
        metrics = floradl(sim, "status", "--prometheus", tmp_path).stdout
        assert re.search(rf'floradl_scope_refused{{[^}}]*source="{source}"}} 1', metrics)
        scanned = re.search(rf'floradl_last_scan_timestamp_seconds{{[^}}]*source="{source}"}} (\S+)', metrics)
        assert scanned is not None
        assert float(scanned[1]) == datetime(2026, 1, 1, 2, 30, tzinfo=UTC).timestamp()
        noticed = manifest(tmp_path)["scans"]
        assert floradl(sim, "--source", "all", tmp_path).returncode == 4
        again = manifest(tmp_path)["scans"]
        assert [scan.get("refused_at") for scan in again] == [scan.get("refused_at") for scan in noticed]
        sim.account.allow(source)
        assert floradl(sim, "--source", "all", tmp_path).returncode == 0
        told = status_of(sim, "--max-age", "26h", tmp_path)
        assert not any(scope["refused_at"] for scope in told["scopes"])
        assert told["too_old"] is False


# --- pure ------------------------------------------------------------------------------------------------

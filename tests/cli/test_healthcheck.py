"""A job that nobody watches: its log file, its monitor, and the command that runs afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from floradl.cli import healthcheck
from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.accounts import completed
from tests.support.clock import FakeTime
from tests.support.monitors import monitor
from tests.support.processes import floradl, start, wait_for
from tests.support.scripted_host import Host, Step, listening

DOCS = Path(__file__).parents[2] / "docs" / "unattended.md"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Eight runs."""
    with serve_in_thread(generate_account(8, seed=5)) as simulator:
        yield simulator


def lines_of(log: Path) -> list[dict[str, object]]:
    """The lines of a log file."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def fail_one(sim: Simulator) -> tuple[str, str]:
    """Let the media host refuse one output; its run and id."""
    run, output = next((run, out) for run in completed(sim.account) for out in run.outputs if out.path)
    sim.faults.append(Fault(output.path, status=404))
    return run.run_id, output.output_id


def script(path: Path, body: str) -> str:
    """A Python program, as a command line for --exec-after."""
    path.write_text(body)
    return shlex.join([sys.executable, str(path)])


def test_the_log_file_tells_everything_although_quiet(sim: Simulator, tmp_path: Path) -> None:
    """With -q nothing is shown; begin, each output, summary and end stand in the log, with time."""
    log, dest = tmp_path / "floradl.log", tmp_path / "out"
    done = floradl(sim, "-q", "--log-file", log, dest)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = lines_of(log)
    assert [lines[0]["event"], lines[-1]["event"]] == ["begin", "end"]
    assert lines[-1] | {"time": ""} == {
        "time": "",
        "level": "info",
        "event": "end",
        "message": f"floradl archive {dest}: exit code 0",
        "exit_code": 0,
    }
    archived = {(line["run"], line["output"]) for line in lines if line["event"] == "archived"}
    assert archived == {(run.run_id, out.output_id) for run in completed(sim.account) for out in run.outputs}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["time"])) for line in lines)
    assert any("holds" in str(line["message"]) for line in lines)
    documented = set(re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert {line["event"] for line in lines} <= documented
    assert sim.account.api_key not in log.read_text()


def test_the_log_file_names_what_failed_and_goes_on_where_it_was(sim: Simulator, tmp_path: Path) -> None:
    """A failure has run, output and code; the next job appends."""
    log = tmp_path / "floradl.log"
    run_id, output_id = fail_one(sim)
    for _ in range(2):
        assert floradl(sim, "--log-file", log, tmp_path / "out").returncode == 3
    failed = [line for line in lines_of(log) if line["event"] == "failed"]
    assert [(line["run"], line["output"], line["code"], line["level"]) for line in failed] == [
        (run_id, output_id, "http_404", "warning")
    ] * 2


def test_the_log_file_has_the_error_that_ended_a_job(sim: Simulator, tmp_path: Path) -> None:
    """A refused key, and a key that is not there, stand in the log too; the key does not."""
    log = tmp_path / "floradl.log"
    assert floradl(sim, "--log-file", log, tmp_path / "out", FLORA_API_KEY="sk_live_wrong").returncode == 4
    assert floradl(sim, "--log-file", log, tmp_path / "out", FLORA_API_KEY="").returncode == 2
    messages = " ".join(str(line["message"]) for line in lines_of(log))
    assert "401 invalid_api_key" in messages
    assert "there is no API key" in messages
    assert [line["exit_code"] for line in lines_of(log) if line["event"] == "end"] == [4, 2]
    assert "sk_live_wrong" not in log.read_text()


@pytest.mark.parametrize("place", ["missing/folder/log", "out", "out/log", "out/.floradl/log", "linked/log"])
def test_a_log_file_that_cannot_be_is_refused_first(sim: Simulator, tmp_path: Path, place: str) -> None:
    """No folder, a folder itself, a place inside the archive: exit 2, nothing asked or touched."""
    dest = tmp_path / "out"
    (dest / ".floradl").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(dest)
    with monitor() as fake:
        done = floradl(sim, "--log-file", tmp_path / place, "--ping-url", fake.url, dest)
    assert done.returncode == 2, done.stderr
    assert fake.paths[-1] == "/ping/0d338dcc/2"
    assert re.search(r"log file .*(cannot|would lie inside|No such|Is a directory)", done.stderr)
    assert sim.requests == []
    assert [file for file in dest.rglob("*") if file.is_file()] == []


def test_the_monitor_hears_of_a_job_that_went_well(sim: Simulator, tmp_path: Path) -> None:
    """POST URL/start, then POST URL with the summary; one id for both; query kept; no key anywhere."""
    with monitor() as fake:
        done = floradl(sim, "-q", "--ping-url", f"{fake.url}?create=1", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert fake.paths == ["/ping/0d338dcc/start", "/ping/0d338dcc"]
        queries = [parse_qs(told.query) for told in fake.told]
        assert queries[0] == queries[1]
        assert queries[0]["create"] == ["1"]
        assert uuid.UUID(queries[0]["rid"][0]).version == 4
        assert "exit code 0" in fake.told[1].body
        assert f"{tmp_path} holds" in fake.told[1].body
        assert sim.account.api_key not in repr(fake.told)
        assert floradl(sim, "verify", "-q", tmp_path, FLORADL_PING_URL=fake.url).returncode == 0
        assert fake.paths[2:] == ["/ping/0d338dcc/start", "/ping/0d338dcc"]
        assert "Everything is as it was archived." in fake.told[3].body


def test_the_monitor_hears_how_a_job_failed(sim: Simulator, tmp_path: Path) -> None:
    """URL/<exit code>: something missing, a refused key, no key at all; the reason is in the body."""
    fail_one(sim)
    with monitor() as fake:
        for key, code in ((sim.account.api_key, 3), ("sk_live_wrong", 4), ("", 2)):
            fake.told.clear()
            done = floradl(sim, "--ping-url", fake.url, tmp_path / "out", FLORA_API_KEY=key)
            assert done.returncode == code
            assert fake.paths == ["/ping/0d338dcc/start", f"/ping/0d338dcc/{code}"]
            reason = {3: "http_404: ", 4: "401 invalid_api_key", 2: "there is no API key"}[code]
            assert reason in fake.told[1].body
            assert "sk_live" not in fake.told[1].body
        fake.told.clear()
        assert floradl(sim, "--nonsense", "--ping-url", fake.url, tmp_path).returncode == 2
        assert floradl(sim, "-n", "--ping-url", fake.url, tmp_path).returncode == 0
        assert fake.told == []


def test_the_monitor_hears_of_a_signal(sim: Simulator, tmp_path: Path) -> None:
    """SIGTERM in mid-run: URL/143, sent before the process ends."""
    sim.faults.append(Fault("/node-inputs/*", delay_s=1.0))
    with monitor() as fake:
        process = start(sim, "--ping-url", fake.url, tmp_path)
        wait_for(lambda: bool(sim.media_requests()))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 143, stderr
        assert fake.paths == ["/ping/0d338dcc/start", "/ping/0d338dcc/143"]
        assert "Stopped before the end." in fake.told[1].body


@pytest.mark.parametrize(("statuses", "tries"), [([404], 1), ([500, 429, 200], 3)])
def test_a_monitor_that_does_not_answer_well_changes_nothing(
    sim: Simulator, tmp_path: Path, statuses: list[int], tries: int
) -> None:
    """A monitor that refuses is a warning without its URL, one that is busy is asked again."""
    with monitor(*statuses) as fake:
        done = floradl(sim, "verify", "--ping-url", fake.url, tmp_path / "none")
        assert done.returncode == 1
        assert fake.paths[:tries] == ["/ping/0d338dcc/start"] * tries
        assert ("could not be told: it answered 404" in done.stderr) is (statuses == [404])
        assert "0d338dcc" not in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("steps", "is_told"),
    [
        ([b"HTTP/1.1 200 OK\r\nX: ", *[b"a", 0.05] * 600], False),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n", 0.05] * 600], True),
    ],
    ids=["a head without an end", "a body without an end"],
)
async def test_a_monitor_that_does_not_end_holds_no_job(
    monkeypatch: pytest.MonkeyPatch, steps: list[Step], is_told: bool
) -> None:
    """Its status is enough; where there is none in time, it could not be told."""
    monkeypatch.setattr(healthcheck, "_TIMEOUT_S", 0.2)
    host, warnings = Host(*[steps] * 3), list[str]()
    async with listening(host) as port:
        url = f"http://127.0.0.1:{port}/ping"
        await healthcheck.Healthcheck(url, FakeTime().clock, warnings.append).start()
    assert len(host.answers) == (2 if is_told else 0)
    assert bool(warnings) != is_told


def test_the_command_afterwards_gets_the_report(sim: Simulator, tmp_path: Path) -> None:
    """The report on stdin, the exit code and no key in the environment; its output is no data."""
    seen = tmp_path / "seen.json"
    command = script(
        tmp_path / "after.py",
        "import json, os, sys\n"
        "print('from the command', sys.argv[1])\n"
        f"seen = {{'report': json.load(sys.stdin), 'env': dict(os.environ)}}\n"
        f"open({str(seen)!r}, 'w').write(json.dumps(seen))\n",
    )
    fail_one(sim)
    done = floradl(sim, "--json", "--exec-after", f"{command} '$HOME *'", tmp_path / "out")
    assert done.returncode == 3
    told = json.loads(seen.read_text())
    assert told["report"] == json.loads(done.stdout)
    assert told["report"]["outputs"]["failed"] == 1
    assert told["env"]["FLORADL_EXIT_CODE"] == "3"
    assert sim.account.api_key not in repr(told)
    assert "from the command $HOME *" in done.stderr


def test_the_command_afterwards_hears_of_errors_too(sim: Simulator, tmp_path: Path) -> None:
    """A job that a refused key ended has a report of one error."""
    seen = tmp_path / "seen.json"
    command = script(tmp_path / "after.py", f"import sys; open({str(seen)!r}, 'w').write(sys.stdin.read())")
    done = floradl(sim, "--exec-after", command, tmp_path / "out", FLORA_API_KEY="sk_live_wrong")
    assert done.returncode == 4
    report = json.loads(seen.read_text())
    assert (report["format"], report["exit_code"]) == ("floradl-error", 4)


def test_a_command_that_fails_is_told_and_exits_3(sim: Simulator, tmp_path: Path) -> None:
    """All is archived, the command failed: a warning, exit 3, also to the monitor; other codes stay."""
    command = script(tmp_path / "after.py", "raise SystemExit(7)")
    with monitor() as fake:
        done = floradl(sim, "-q", "--exec-after", command, "--ping-url", fake.url, tmp_path / "out")
        assert done.returncode == 3
        assert "--exec-after: " in done.stderr
        assert "ended with 7" in done.stderr
        assert fake.paths[-1].endswith("/3")
    wrong = floradl(sim, "--exec-after", command, tmp_path / "out", FLORA_API_KEY="sk_live_wrong")
    assert wrong.returncode == 4


@pytest.mark.parametrize("command", ["no-such-program --now", "'unclosed", "''"])
def test_a_command_that_cannot_run_is_refused_first(sim: Simulator, tmp_path: Path, command: str) -> None:
    """No such program, or no words at all: exit 2 before anything is done."""
    with monitor() as fake:
        done = floradl(sim, "--exec-after", command, "--ping-url", fake.url, tmp_path / "out")
    assert done.returncode == 2
    assert fake.paths[-1] == "/ping/0d338dcc/2"
    assert "--exec-after: " in done.stderr
    assert (sim.requests, (tmp_path / "out").exists()) == ([], False)


def test_what_is_said_to_signals(sim: Simulator, tmp_path: Path) -> None:
    """The first says what goes on meanwhile, the second that it was the last; neither loses anything."""
    sim.faults.append(Fault("/node-inputs/*", delay_s=20))
    process = start(sim, tmp_path)
    wait_for(lambda: bool(sim.media_requests()))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "Stopping: running transfers get 10 s to finish. Ctrl-C again ends at once" in first
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", first)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ended at once. Nothing is lost: the same command goes on from here." in rest


def test_a_command_that_hangs_ends_with_the_second_signal(sim: Simulator, tmp_path: Path) -> None:
    """No timeout: the first signal says what is waited for, the second ends both processes."""
    pid = tmp_path / "pid"
    command = script(
        tmp_path / "after.py",
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)",
    )
    process = start(sim, "--exec-after", command, tmp_path / "out")
    wait_for(lambda: pid.exists() and pid.read_text() != "")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    said = process.stderr
    assert said is not None
    wait_for(lambda: "--exec-after is still at work" in said.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143

    def is_gone() -> bool:
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{pid.read_text()}/status").read_text().find("State:\tZ") >= 0

    wait_for(is_gone)

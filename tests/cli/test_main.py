"""The command line as a stranger meets it: exit codes, messages, where output goes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import socket
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl import __version__
from floradl.cli.main import main
from floradl.cli.options import COMMANDS
from floradl.simulator import Fault, Simulator, generate_account, insert_runs, serve_in_thread
from tests.support.accounts import completed
from tests.support.archives import manifest
from tests.support.processes import COMMAND, environment, floradl

LIST = "/api/v1/generations"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Thirty runs, two of them not done."""
    with serve_in_thread(generate_account(30, seed=11, open_runs=2)) as simulator:
        yield simulator


def test_a_wrong_key_exits_4_and_says_what_to_check(sim: Simulator, tmp_path: Path) -> None:
    """A refused key is told as such, with the request-id that FLORA's support asks for."""
    done = floradl(sim, tmp_path / "out", FLORA_API_KEY="sk_live_wrong")
    assert done.returncode == 4
    assert "401 invalid_api_key" in done.stderr
    assert re.search(r"request-id req_\w+", done.stderr)
    assert "Check the key" in done.stderr
    assert "sk_live_wrong" not in done.stderr


def test_a_key_that_is_revoked_meanwhile_exits_4(sim: Simulator, tmp_path: Path) -> None:
    """Runs that were listed before the key died are archived; the exit code is the key's."""
    insert_runs(sim.account, 150)
    sim.faults.append(Fault(LIST, query="completed", on=(2,), status=401))
    done = floradl(sim, tmp_path)
    assert done.returncode == 4
    assert len(manifest(tmp_path)["runs"]) == 100


def test_an_unreachable_api_exits_1(tmp_path: Path, sim: Simulator) -> None:
    """Nobody listens: exit 1, the address and the reason, no traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v1"
        done = floradl(sim, "--retries", "1", tmp_path, FLORA_BASE_URL=url)
    assert done.returncode == 1
    assert f"the API at {url} does not answer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: floradl"),
        (["--nonsense", "out"], "unrecognized arguments: --nonsense"),
        (["--project-id", "banana", "out"], "'banana' does not fit: FLORA's ids"),
        (["-j", "0", "out"], "--concurrency: '0' does not fit: a whole number from 1 to 256"),
        (["--since", "yesterday", "out"], "--since: 'yesterday' does not fit"),
        (["--type", "picture", "out"], "one of image, video, audio, document, text"),
        (["--base-url", "http://example.com/api/v1", "out"], "the key would cross the network in clear"),
        (["--base-url", "ftp://x", "out"], "the base URL must be http(s)"),
        (["-q", "list"], "'list' is a command and stands first"),
        (["--api-key-file", "missing.txt", "--api-key", "", "out"], "cannot read the key file"),
        (["--profile", "nobody", "out"], "there is no profile 'nobody'"),
        (["--api-key", "two words", "out"], "characters that no key has"),
        (["--project-id", "prj_\udcff", "out"], "--project-id"),
        ([""], "DEST is empty"),
        (["~nosuchuser/out"], "DEST ~nosuchuser/out"),
        (["--api-key", "", "--api-key-file", "~nosuchuser/key", "out"], "cannot read the key file"),
    ],
)
def test_wrong_usage_exits_2_and_touches_nothing(
    arguments: list[str], said: str, tmp_path: Path, sim: Simulator
) -> None:
    """A usage error says what does not fit, sends no request and makes no folder."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment(sim, XDG_CONFIG_HOME=str(tmp_path / "none")),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert (sim.requests, list(tmp_path.iterdir())) == ([], [])


def test_no_key_at_all_says_where_one_comes_from(sim: Simulator, tmp_path: Path) -> None:
    """The first thing a newcomer meets is an instruction."""
    done = floradl(sim, tmp_path / "out", FLORA_API_KEY="")
    assert done.returncode == 2
    assert "there is no API key" in done.stderr
    assert "FLORA_API_KEY" in done.stderr


def test_a_key_from_a_file_and_from_standard_input(sim: Simulator, tmp_path: Path) -> None:
    """--api-key-file takes a path, and - for standard input; neither shows in the process list."""
    file = tmp_path / "key"
    file.write_text(f"{sim.account.api_key}\n")
    assert floradl(sim, "--api-key-file", file, tmp_path / "a", FLORA_API_KEY="").returncode == 0
    done = subprocess.run(
        [COMMAND, "--api-key-file", "-", str(tmp_path / "b")],
        input=f"{sim.account.api_key}\n",
        env=environment(sim, FLORA_API_KEY=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps that elsewhere")
@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, True), (0o604, True)])
@pytest.mark.parametrize("place", ["key file", "config file", "profile"])
def test_a_key_that_others_can_read_is_warned_about(
    sim: Simulator, tmp_path: Path, mode: int, is_told: bool, place: str
) -> None:
    """A file with a key in it is named when group or others may read it; the work goes on all the same."""
    file = tmp_path / ("key" if place == "key file" else "config/floradl/config.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    line = f'api_key = "{sim.account.api_key}"'
    file.write_text(
        {"key file": sim.account.api_key, "config file": line, "profile": f"[profile.p]\n{line}"}[place]
    )
    file.chmod(mode)
    arguments = {"key file": ["--api-key-file", str(file)], "profile": ["--profile", "p"]}.get(place, [])
    config = str(tmp_path / "config")
    done = floradl(sim, "list", "--limit", "1", *arguments, FLORA_API_KEY="", XDG_CONFIG_HOME=config)
    assert done.returncode == 0, done.stderr
    assert ("others on this machine can read" in done.stderr) is is_told
    assert (f"{file}" in done.stderr) is is_told
    assert sim.account.api_key not in done.stderr


def test_quiet_prints_nothing_when_all_went_well(sim: Simulator, tmp_path: Path) -> None:
    """-q is silent on success and still names what failed."""
    done = floradl(sim, "-q", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    run = next(run for run in completed(sim.account) if run.outputs and run.outputs[0].path)
    sim.faults.append(Fault(run.outputs[0].path, status=404))
    done = floradl(sim, "-q", tmp_path / "other")
    assert done.returncode == 3
    assert f"failed: {run.run_id}" in done.stderr


def test_json_is_one_object_on_stdout(sim: Simulator, tmp_path: Path) -> None:
    """--json prints one report; its numbers are those of the manifest."""
    done = floradl(sim, "--json", tmp_path)
    report = json.loads(done.stdout)
    entries = manifest(tmp_path)["runs"]
    assert (report["format"], report["exit_code"], report["complete"]) == ("floradl-report", 0, True)
    assert report["runs"]["new"] == len(entries) == len(completed(sim.account))
    assert report["outputs"]["fetched"] == sum(len(entry["outputs"]) for entry in entries.values())
    assert report["runs"]["open"] == 2
    assert report["api_calls"] == len(sim.api_requests())


def test_off_a_terminal_there_are_no_control_codes(sim: Simulator, tmp_path: Path) -> None:
    """What goes to a file or to cron's mail is plain text: no bar, no carriage return, no escape."""
    done = floradl(sim, "-v", tmp_path)
    assert done.stdout == ""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.stderr)
    assert "|" not in done.stderr


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_there_are_bars(sim: Simulator, tmp_path: Path, columns: int) -> None:
    """On a terminal of 80 or 40 columns bars show how far it is, and no line is longer than the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    sim.faults.append(Fault("/node-inputs/*", delay_s=0.3))
    process = subprocess.Popen(
        [COMMAND, "-j", "4", "out"],
        env=environment(sim, TERM="xterm"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\d*[AKJ]", "", shown.decode()))
    bars = [line for line in lines if line.startswith("outputs  |")]
    assert bars
    assert max(map(len, lines)) < columns
    assert re.search(r"outputs  \|.*\| \d+/\d+", bars[-1])
    assert any(re.fullmatch(r"bytes    .*B/s.*", line) for line in lines)


@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(sim: Simulator, tmp_path: Path, redirect: str) -> None:
    """A job that is started without standard streams does its work all the same."""
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} --json {tmp_path / 'out'} {redirect}"],
        env=environment(sim),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(manifest(tmp_path / "out")["runs"]) == len(completed(sim.account))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_standard_output(sim: Simulator, tmp_path: Path) -> None:
    """A report that cannot be written is an error of one line; messages that cannot are let go."""
    for redirect, expected in ((">/dev/full", 1), ("2>/dev/full", 0)):
        done = subprocess.run(
            ["sh", "-c", f"{COMMAND} -v --json {tmp_path / 'out'} {redirect}"],
            env=environment(sim),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (expected, False), done.stderr


def test_the_demo_leaves_real_archives_alone(tmp_path: Path) -> None:
    """`floradl demo` refuses a folder that holds somebody's archive."""
    real = {"format": "floradl-manifest", "version": 1, "archive_id": "a", "created_at": "x",
            "base_url": "https://app.flora.ai/api/v1", "runs": {"run_1": {}}}  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(real))
    done = subprocess.run([COMMAND, "demo", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "holds a real archive" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_key_never_goes_through_a_proxy_to_this_machine(sim: Simulator, tmp_path: Path) -> None:
    """With HTTP_PROXY set, a FLORA on loopback is still asked directly."""
    done = floradl(sim, "--retries", "0", tmp_path, HTTP_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr


def test_a_dry_run_as_one_object(sim: Simulator, tmp_path: Path) -> None:
    """-n --json prints one object; a run that nobody has heard of is named and exits 3."""
    done = floradl(sim, "-n", "--json", tmp_path)
    report = json.loads(done.stdout)
    assert len(report["to_do"]) == sum(len(run.outputs) for run in completed(sim.account))
    assert {item["action"] for item in report["to_do"]} == {"fetch", "write"}
    unknown = floradl(sim, "-n", "--run-id", "run_unknown", tmp_path)
    assert (unknown.returncode, "not found: run_unknown" in unknown.stderr) == (3, True)


def test_an_api_that_answers_nothing_exits_1_for_known_runs_too(sim: Simulator, tmp_path: Path) -> None:
    """Asking for a known run by its id while the API is down is no partial success."""
    assert floradl(sim, tmp_path).returncode == 0
    sim.faults.append(Fault("/api/v1/*", status=503))
    run_id = completed(sim.account)[0].run_id
    assert floradl(sim, "--retries", "0", "--run-id", run_id, tmp_path).returncode == 1


def test_a_dry_run_says_what_would_be_fetched_and_touches_nothing(sim: Simulator, tmp_path: Path) -> None:
    """-n names every output on stdout, asks the media host nothing and makes no folder."""
    dest = tmp_path / "out"
    done = floradl(sim, "-n", dest)
    assert done.returncode == 0
    outputs = sum(len(run.outputs) for run in completed(sim.account))
    assert len(done.stdout.splitlines()) == outputs
    assert f"{outputs} outputs to fetch, 0 already there" in done.stderr
    assert (sim.media_requests(), dest.exists()) == ([], False)
    assert floradl(sim, dest).returncode == 0
    again = floradl(sim, "--dry-run", "--full", dest)
    assert (again.stdout, again.returncode) == ("", 0)
    assert f"0 outputs to fetch, {outputs} already there" in again.stderr


def test_a_destination_that_cannot_be_written_exits_1(sim: Simulator, tmp_path: Path) -> None:
    """A file where the folder should be: exit 1 with what and where."""
    (tmp_path / "out").write_text("I am a file")
    done = floradl(sim, tmp_path / "out")
    assert done.returncode == 1
    assert "cannot use the archive" in done.stderr
    assert str(tmp_path / "out") in done.stderr


def test_a_broken_manifest_exits_1_and_is_left_alone(sim: Simulator, tmp_path: Path) -> None:
    """A manifest that is no JSON is not overwritten; moved away, the files are taken up and not fetched."""
    assert floradl(sim, tmp_path).returncode == 0
    (tmp_path / "manifest.json").write_bytes(b'{"format": "floradl-man')
    done = floradl(sim, tmp_path)
    assert done.returncode == 1
    assert "manifest.json cannot be read" in done.stderr
    assert "verify --repair" in done.stderr
    assert (tmp_path / "manifest.json").read_bytes() == b'{"format": "floradl-man'
    (tmp_path / "manifest.json").unlink()
    sim.forget()
    assert floradl(sim, tmp_path).returncode == 0
    assert sim.media_requests() == []
    assert len(manifest(tmp_path)["runs"]) == len(completed(sim.account))


def test_list_prints_the_apis_own_page(sim: Simulator) -> None:
    """Off a terminal `floradl list` is the endpoint's JSON, byte for byte, and says when there is more."""
    done = floradl(sim, "list", "--limit", "5", "--status", "completed")
    page = json.loads(done.stdout)
    listed = sim.account.listed(status="completed")
    assert [item["run_id"] for item in page["generations"]] == [run.run_id for run in listed[:5]]
    assert f"--cursor {page['meta']['next_cursor']}" in done.stderr
    onward = floradl(
        sim, "list", "--limit", "5", "--status", "completed", "--cursor", page["meta"]["next_cursor"]
    )
    assert json.loads(onward.stdout)["generations"][0]["run_id"] == listed[5].run_id


def test_list_all_as_lines_and_as_a_table(sim: Simulator) -> None:
    """`--all --format jsonl` gives every generation on a line; the table fits 80 columns."""
    project = sim.account.projects[0].project_id
    done = floradl(sim, "list", "--all", "--limit", "4", "--format", "jsonl", "--project-id", project)
    ids = [json.loads(line)["run_id"] for line in done.stdout.splitlines()]
    assert ids == [run.run_id for run in sim.account.listed(project_id=project)]
    table = floradl(sim, "list", "--all", "--format", "table", COLUMNS="80").stdout.splitlines()
    assert len(table) == 31
    assert table[0].startswith("created")
    assert max(map(len, table)) <= 80


def test_list_into_a_pipe_that_closes(sim: Simulator) -> None:
    """`floradl list --all | head -1` ends without a traceback."""
    pipeline = f"{COMMAND} list --all --limit 1 --format jsonl | head -1"
    done = subprocess.run(
        ["sh", "-c", pipeline], env=environment(sim), capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_the_config_file_is_read(sim: Simulator, tmp_path: Path) -> None:
    """A profile in config.toml gives the key and the project; the flag still wins."""
    first, second, _ = (project.project_id for project in sim.account.projects)
    config = tmp_path / "config" / "floradl" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f'retries = 1\n[profile.studio]\napi_key = "{sim.account.api_key}"\nproject_id = ["{first}"]\n'
    )
    config.chmod(stat.S_IRUSR | stat.S_IWUSR)
    home = str(tmp_path / "config")
    done = floradl(sim, "--profile", "studio", tmp_path / "a", FLORA_API_KEY="", XDG_CONFIG_HOME=home)
    assert done.returncode == 0, done.stderr
    assert {entry["project_id"] for entry in manifest(tmp_path / "a")["runs"].values()} == {first}
    arguments = ("--profile", "studio", "--project-id", second, tmp_path / "b")
    done = floradl(sim, *arguments, FLORA_API_KEY="", XDG_CONFIG_HOME=home)
    assert done.returncode == 0, done.stderr
    assert {entry["project_id"] for entry in manifest(tmp_path / "b")["runs"].values()} == {second}


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--version names the version; every option of every command stands in its help."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"floradl {__version__}\n"
    for command, options in COMMANDS.items():
        with pytest.raises(SystemExit) as exit_info:
            main([command, "--help"])
        assert exit_info.value.code == 0
        text = capsys.readouterr().out
        assert all(f"--{option.name}" in text for option in options), command
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_python_m_floradl_is_the_same_command() -> None:
    """`python -m floradl` works where the script is not on the PATH."""
    done = subprocess.run(
        [sys.executable, "-m", "floradl", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"floradl {__version__}\n"


def test_the_demo_ends_well_and_twice(tmp_path: Path) -> None:
    """`floradl demo` archives a made-up account, fetches nothing the second time, says where to look."""
    for _ in range(2):
        done = subprocess.run(
            [COMMAND, "demo", str(tmp_path / "demo")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Nothing new." in done.stderr
        assert ", 0 to the media host" in done.stderr
        assert f"Look at {tmp_path / 'demo'}" in done.stderr
        assert f"Open {(tmp_path / 'demo' / 'index.html').as_uri()} in a browser." in done.stderr
        assert (tmp_path / "demo" / "index.html").is_file()

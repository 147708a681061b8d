"""`python -m floradl.simulator`: two lines, an account behind them, and clean ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "floradl.simulator"]


def start(*arguments: str) -> tuple[subprocess.Popen[str], str, str]:
    """Start the command; returns it with the base URL and the key it printed."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    base_url = re.fullmatch(r"FLORA_BASE_URL=(http://127\.0\.0\.1:\d+/api/v1)\n", process.stdout.readline())
    key = re.fullmatch(r"FLORA_API_KEY=(sk_live_\w+)\n", process.stdout.readline())
    assert base_url
    assert key
    return process, base_url[1], key[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_told_to_stop(number: signal.Signals) -> None:
    """The printed lines lead to an account of the size asked for; a signal ends it without a word."""
    process, base_url, key = start("--port", "0", "--runs", "7", "--seed", "5")
    request = urllib.request.Request(  # noqa: S310 - a URL of the simulator
        base_url + "/generations", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
        assert len(json.load(answer)["generations"]) == 7
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_serves_the_other_sources() -> None:
    """Technique runs, uploads and canvases are there in the numbers asked for."""
    process, base_url, key = start("--runs", "9", "--techniques", "4", "--assets", "3", "--canvases")

    def get(path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - a URL of the simulator
            base_url + path, headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
            return json.load(answer)

    assert len(get("/technique-runs")["technique_runs"]) == 4
    assert len(get("/assets")["assets"]) == 3
    project_id = get("/generations")["generations"][0]["project_id"]
    assert get(f"/projects/{project_id}/canvas")["summary"]["node_count"] > 0
    process.terminate()
    process.communicate(timeout=60)


def test_faults_from_a_file(tmp_path: Path) -> None:
    """Faults in a file happen."""
    (tmp_path / "faults.json").write_text('[{"match": "*/workspaces", "status": 503}]')
    process, base_url, _ = start("--runs", "1", "--faults", str(tmp_path / "faults.json"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(base_url + "/workspaces")  # noqa: S310 - a URL of the simulator
    caught.value.close()
    assert caught.value.code == 503
    process.terminate()
    process.communicate(timeout=60)


@pytest.mark.parametrize("content", ["[{}]", "nonsense", None])
def test_bad_fault_file_is_one_line(tmp_path: Path, content: str | None) -> None:
    """A bad fault file is refused with one line that names it, and exit code 2."""
    path = tmp_path / "faults.json"
    if content is not None:
        path.write_text(content)
    done = subprocess.run([*COMMAND, "--faults", str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--port", "x"), ("--runs", "-1"), ("--assets", "x"), ("--port", "70000"), ("extra",)]
)
def test_bad_arguments(arguments: tuple[str, ...]) -> None:
    """Arguments that make no sense are exit code 2."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_port_in_use() -> None:
    """A port that is taken is one line and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1

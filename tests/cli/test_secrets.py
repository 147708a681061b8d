"""Credentials: the key goes to the API and nowhere else, and what signs a URL stays in the API's record.

Everything a run leaves and says is read: each request that the media hosts got, each file below DEST, stdout
and stderr. Secrets are looked for by a part of them, so that an escaped or shortened one is found too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support.archives import manifest
from tests.support.media import png
from tests.support.processes import floradl, start, wait_for

KEY = "sk_live_KEYKEYKEY"
PNG = png(bytes(range(256)) * 40_000)
LIST = "/api/v1/generations"
PLACES = ("good", "refused", "moved", "dead", "cut", "page")


@pytest.fixture
def elsewhere() -> Iterator[Simulator]:
    """Another media host, to which a redirect leads."""
    account = Account("sk_live_other")
    account.insert(SimRun("run_1", "w", "p", outputs=[SimOutput("o", body=PNG, path="/elsewhere.png")]))
    with serve_in_thread(account) as simulator:
        yield simulator


@pytest.fixture
def sim(elsewhere: Simulator) -> Iterator[Simulator]:
    """An account whose media URLs are signed, and most of whose media make trouble."""
    account = Account(KEY)
    with serve_in_thread(account) as simulator:
        for place in PLACES:
            url = f"{simulator.media_url}/{place}.png?sig=SECRET-{place}&Expires=SECRET#SECRET"
            account.insert(
                SimRun(f"run_{place}", "ws_a", "prj_a", outputs=[output := SimOutput("o", url=url)])
            )
            output.body, output.path = PNG, f"/{place}.png"
        account.insert(SimRun("run_open", "ws_a", "prj_a", "running", extra={"preview": "https://h/?SECRET"}))
        account.dead_paths.add("/dead.png")
        simulator.faults += [
            Fault("/refused.png", status=403),
            Fault("/moved.png", redirect=f"{elsewhere.media_url}/elsewhere.png?token=SECRET-redirect"),
            Fault("/cut.png", cut_after=5000),
            Fault("/page.png", body=b"<html>SECRET</html>"),
        ]
        yield simulator


def assert_discreet(dest: Path, *said: str) -> None:
    """Neither words nor files hold the key; what signs a URL stands in the API's own records alone."""
    for text in said:
        assert "KEYKEY" not in text
        assert "SECRET" not in text
    for file in (path for path in dest.rglob("*") if path.is_file()):
        data = file.read_bytes()
        assert b"KEYKEY" not in data, file
        if file.name == "manifest.json":
            scans = manifest(dest)["scans"]
            records = [record for scan in scans for record in scan.pop("open_runs").values()]
            assert "SECRET" not in json.dumps(manifest(dest) | {"scans": scans})
            assert all(record["run_id"] == "run_open" for record in records)
        elif file.name != "run.json":
            assert b"SECRET" not in data, file


def assert_no_key_sent(*sims: Simulator) -> None:
    """No request to a media host carries the key, or anything that names somebody."""
    for request in (request for sim in sims for request in sim.media_requests()):
        assert "KEYKEY" not in f"{request.path} {request.query} {request.headers}"
        assert not {"authorization", "cookie", "referer"} & request.headers.keys()


@pytest.mark.parametrize("flags", [("-v",), ("-v", "--json"), ("-q",), ("--json",)], ids=" ".join)
def test_a_run_full_of_trouble(
    sim: Simulator, elsewhere: Simulator, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """Failures, redirects and dead URLs are told without the key and without a query."""
    done = floradl(sim, *flags, "--retries", "0", tmp_path)
    assert done.returncode == 3, done.stderr
    assert "run_refused" in done.stderr + done.stdout
    assert_discreet(tmp_path, done.stdout, done.stderr)
    assert_no_key_sent(sim, elsewhere)
    asked = {request.path for request in (*sim.media_requests(), *elsewhere.media_requests())}
    assert asked == {f"/{place}.png" for place in (*PLACES, "elsewhere")}
    assert b"SECRET-good" in (tmp_path / "ws_a/prj_a/run_good/run.json").read_bytes()
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in sim.api_requests())


def test_a_killed_run(sim: Simulator, tmp_path: Path) -> None:
    """A partial, its sidecar and the journal know neither the key nor what signed a URL."""
    sim.faults.append(Fault("/good.png", stall_after=9_000_000))
    process = start(sim, "-v", "--retries", "0", tmp_path)
    wait_for(lambda: any((tmp_path / ".floradl/partials").glob("*.json")))
    process.kill()
    assert_discreet(tmp_path, *process.communicate())
    sim.faults.clear()
    done = floradl(sim, "-v", "--retries", "0", tmp_path)
    assert_discreet(tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 200, 302])
def test_an_api_that_repeats_the_key(sim: Simulator, tmp_path: Path, status: int) -> None:
    """Whatever the API's error says of the key, and wherever, it is not said again."""
    said = {"error": {"code": KEY, "message": f"{KEY} is bad", "fields": [{"field": KEY, "message": KEY}]}}
    headers = (("request-id", f"req_{KEY}"), ("Location", f"https://h/?SECRET={KEY}"))
    sim.faults.append(Fault(LIST, status=status, body=json.dumps(said).encode(), headers=headers))
    named = ("--source", "generations", "--retries", "0")
    for arguments in (("-v", *named, tmp_path), ("list", *named)):
        done = floradl(sim, *arguments)
        assert done.returncode in (1, 3, 4), done.stderr
        assert done.stderr
        assert_discreet(tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize("escaped", [False, True])
def test_records_that_repeat_the_key(tmp_path: Path, escaped: bool) -> None:
    """Ids, names, texts and prompts that hold the key are archived, listed and told of without it."""
    account = Account(KEY)
    outputs = [
        SimOutput("o", "text", text=f"pasted {KEY}."),
        SimOutput(f"o_{KEY}", body=PNG, path="/dead.png"),
    ]
    account.insert(SimRun(f"run_{KEY}", f"ws_{KEY}", f"prj_{KEY}", outputs=outputs, extra={"prompt": KEY}))
    account.insert(SimRun("run_b", "ws_b", "prj_b", model_id=KEY, outputs=[SimOutput("o", body=PNG)]))
    account.dead_paths.add("/dead.png")
    with serve_in_thread(account) as sim:
        if escaped:
            page = {"generations": [account.record(run, listed=True) for run in account.runs]}
            written = json.dumps(page).replace(KEY, KEY.replace("K", "\\u004b"))
            sim.faults.append(
                Fault(LIST, body=written.encode(), headers=(("Content-Type", "application/json"),))
            )
        for arguments in (("-v", "--retries", "0", tmp_path), ("--json", tmp_path), ("list",)):
            done = floradl(sim, *arguments)
            assert done.returncode in (0, 3), done.stderr
            assert_discreet(tmp_path, done.stdout, done.stderr)
        assert b"pasted (key)." in b"".join(path.read_bytes() for path in tmp_path.rglob("o.txt"))
        assert manifest(tmp_path)["runs"]["run_b"]["outputs"]["o"]["state"] == "archived"
        assert_no_key_sent(sim)


def test_a_key_that_is_refused(sim: Simulator, tmp_path: Path) -> None:
    """A wrong key is not shown either: it may be right elsewhere."""
    done = floradl(sim, "-v", tmp_path, FLORA_API_KEY="sk_wrong_KEYKEY")
    assert done.returncode == 4
    assert_discreet(tmp_path, done.stdout, done.stderr)


def test_the_list_shows_records_and_no_key(sim: Simulator) -> None:
    """`floradl list` prints what the API gives, and of the key nothing."""
    done = floradl(sim, "list")
    assert done.returncode == 0, done.stderr
    assert "KEYKEY" not in done.stdout + done.stderr
    assert "SECRET" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["environment", "file"])
def test_the_key_is_in_no_list_of_processes(sim: Simulator, tmp_path: Path, way: str) -> None:
    """Whoever looks at the machine's processes does not see the key."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    sim.faults.append(Fault("/good.png", stall_after=100))
    flags = ["--api-key-file", str(file)] if way == "file" else []
    env = {"FLORA_API_KEY": ""} if way == "file" else {}
    process = start(sim, *flags, tmp_path / "out", **env)
    wait_for(lambda: any(request.path == "/good.png" for request in sim.media_requests()))
    seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.kill()
    process.communicate()
    assert b"out" in seen
    assert b"KEYKEY" not in seen

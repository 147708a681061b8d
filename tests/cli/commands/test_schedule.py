"""`floradl schedule` as typed: what is printed really archives, what is installed is listed and removed."""

from __future__ import annotations

import plistlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from floradl.cli.options import COMMANDS
from floradl.simulator import Simulator, generate_account, serve_in_thread
from tests.cli.schedule.jobs import exec_start
from tests.support.accounts import completed
from tests.support.archives import assert_archived, manifest
from tests.support.schedulers import Home

LOCAL = "http://127.0.0.1:9/api/v1"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home without any job."""
    return Home(tmp_path)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A small account."""
    with serve_in_thread(generate_account(8, seed=3)) as simulator:
        yield simulator


@pytest.mark.parametrize("kind", ["--systemd", "--cron", "--launchd"])
def test_what_is_printed_archives(home: Home, sim: Simulator, kind: str) -> None:
    """The very command of each format, run as its scheduler does, brings everything; the key is in none."""
    home.write_key(sim.account.api_key)
    dest = home.path / 'my "flora" 100% $HOME it\'s'
    done = home.schedule(
        kind,
        "--api-key-file",
        "key",
        "--base-url",
        sim.base_url,
        "--model=*",
        "--model",
        "$none",
        dest,
    )
    assert (done.returncode, home.calls(), home.files()) == (0, [], {"key"}), done.stderr
    assert sim.account.api_key not in done.stdout + done.stderr
    assert "API key" not in done.stderr
    if kind == "--systemd":
        words = exec_start(done.stdout)
    elif kind == "--cron":
        words = ["/bin/sh", "-c", done.stdout.strip().split(maxsplit=5)[5].replace("\\%", "%")]
    else:
        words = plistlib.loads(done.stdout.encode())["ProgramArguments"]
    night = subprocess.run(
        words, env=home.program_environment(), cwd="/", capture_output=True, text=True, check=False
    )
    assert night.returncode == 0, night.stderr
    assert len(manifest(dest)["runs"]) == len(completed(sim.account))


def test_one_job_from_print_to_removal(home: Home, sim: Simulator) -> None:
    """Installed, changed, listed and removed with systemd: the units, and what systemctl is asked for."""
    home.write_key(sim.account.api_key)
    options = ("--api-key-file", "key", "--base-url", sim.base_url, "flora")
    printed = home.schedule(*options).stdout
    done = home.schedule("--install", *options)
    assert done.returncode == 0, done.stderr
    assert "Next run: Thu 2026-11-26 02:41:12 UTC" in done.stderr
    assert "loginctl enable-linger" in done.stderr
    (timer,) = home.units.glob("*.timer")
    service = timer.with_suffix(".service")
    for unit in (service, timer):
        assert f"# {unit}\n{unit.read_text()}" in printed + "\n"
    assert f"systemctl --user enable --now {timer.name}" in home.calls()
    assert (home.path / "flora").is_dir()  # which the job, with all else closed to it, could not make
    night = subprocess.run(
        exec_start(service.read_text()), env=home.program_environment(), capture_output=True, check=False
    )
    assert night.returncode == 0, night.stderr
    assert_archived(home.path / "flora", sim.account, completed(sim.account))

    before = service.stat().st_ino, timer.stat().st_ino
    assert home.schedule("--install", *options).returncode == 0
    assert (service.stat().st_ino, timer.stat().st_ino) == before
    assert home.schedule("--install", "--at", "4:05", "--random-delay", "0", *options).returncode == 0
    assert "OnCalendar=*-*-* 04:05:00\nRandomizedDelaySec=0s" in timer.read_text()
    assert "systemctl --user daemon-reload" in home.calls()
    assert home.schedule("--install", "--name", "other", *options[:-1], "other").returncode == 0
    listed = home.schedule("--list").stdout.splitlines()
    assert listed == [
        f"{timer.stem}  04:05, next Thu 2026-11-26 02:41:12 UTC  {home.path / 'flora'}",
        f"floradl-other  02:30, next Thu 2026-11-26 02:41:12 UTC  {home.path / 'other'}",
    ]

    home.calls()
    assert home.schedule("--remove", "flora").returncode == 0
    assert home.calls() == [f"systemctl --user disable --now {timer.name}", "systemctl --user daemon-reload"]
    assert {unit.name for unit in home.units.iterdir()} == {"floradl-other.service", "floradl-other.timer"}
    (home.units / "floradl-other.timer").unlink()  # by hand; what is left of the job goes all the same
    assert home.schedule("--remove", "--name", "other").returncode == 0
    assert list(home.units.iterdir()) == []
    none = home.schedule("--list")
    assert (none.stdout, "No job is installed" in none.stderr) == ("", True)
    again = home.schedule("--remove", "flora")
    assert (again.returncode, "there is no job floradl-flora-" in again.stderr) == (1, True)
    assert_archived(home.path / "flora", sim.account, completed(sim.account))


def test_a_system_without_user_namespaces(home: Home) -> None:
    """Where a sandbox would keep the job from starting, it is installed without, and that is told."""
    home.fail("systemd-run", "Failed to set up user namespacing")
    done = home.schedule("--install", "--base-url", LOCAL, "flora")
    assert done.returncode == 0, done.stderr
    assert "Without user namespaces" in done.stderr
    (service,) = home.units.glob("*.service")
    assert "ProtectSystem" not in service.read_text()
    assert "NoNewPrivileges=yes" in service.read_text()


@pytest.mark.parametrize("is_missing", [True, False])
def test_no_systemd_to_install_into(home: Home, is_missing: bool) -> None:
    """Without systemctl, or without a manager that answers, nothing is written and the way out is named."""
    if is_missing:
        home.remove_program("systemctl")
    else:
        home.fail("systemctl", "Failed to connect to bus: No medium found")
    done = home.schedule("--install", "flora", **(home.only_fakes if is_missing else {}))
    assert done.returncode == 1
    said = "cannot run systemctl: No such file" if is_missing else "Failed to connect to bus: No medium found"
    assert said in done.stderr
    assert "--cron" in done.stderr
    assert home.files() == set()


def test_a_disk_that_is_not_mounted_gets_no_folder(home: Home) -> None:
    """With --require-existing, installing makes no folder where a disk should be."""
    done = home.schedule("--install", "--require-existing", "disk/flora")
    assert (done.returncode, "Is its disk mounted?" in done.stderr) == (1, True)
    assert (home.calls(), list(home.path.iterdir())) == ([], [])
    (home.path / "disk/flora").mkdir(parents=True)
    assert home.schedule("--install", "--require-existing", "disk/flora").returncode == 0


def test_cron(home: Home) -> None:
    """One line of the crontab is put in, changed and taken out; the others stay as they are."""
    others = "MAILTO=me\n# floradl-x\x0c\n0 1 * * * backup --to '100\\%' # floradl-like\n"
    assert home.schedule("--cron", "--list").stdout == ""
    home.fakes.joinpath("table").write_text(others)
    assert home.schedule("--cron", "--install", "-q", "a b%").returncode == 0
    assert home.schedule("--cron", "--install", "-q", "a b%", "--at", "23:59").returncode == 0
    assert home.schedule("--cron", "--install", "--name", "two", "--random-delay", "0", "c").returncode == 0
    text = home.fakes.joinpath("table").read_text()
    assert text.startswith(others)
    first, second = text.removeprefix(others).splitlines()
    assert re.fullmatch(
        r"\d+ (0|23) \* \* \* /.* archive --quiet '.*/a b\\%' # floradl-a-b-[0-9a-f]{8}", first
    )
    assert second.startswith("30 2 * * * /")
    listed = home.schedule("--cron", "--list").stdout.splitlines()
    assert [line.split("  ")[2] for line in listed] == [str(home.path / "a b%"), str(home.path / "c")]
    assert home.schedule("--cron", "--remove", "a b%").returncode == 0
    assert home.schedule("--cron", "--remove", "--name", "two").returncode == 0
    assert home.fakes.joinpath("table").read_text() == others


def test_a_crontab_that_cannot_be_read_is_left_alone(home: Home) -> None:
    """When cron refuses to show the crontab, nothing is put in its place."""
    home.fakes.joinpath("table").write_text("0 1 * * * backup\n")
    home.fail("crontab", "you are not allowed to use this program")
    done = home.schedule("--cron", "--install", "flora")
    assert (done.returncode, "not allowed" in done.stderr) == (1, True)
    assert home.fakes.joinpath("table").read_text() == "0 1 * * * backup\n"


def test_launchd(home: Home) -> None:
    """An agent is written and loaded, listed, and unloaded and removed."""
    assert home.schedule("--launchd", "--install", "--at", "2:30", "flora").returncode == 0
    (plist,) = (home.path / "Library/LaunchAgents").iterdir()
    label = plist.stem
    assert plistlib.loads(plist.read_bytes())["Label"] == label
    bootout, bootstrap = home.calls()
    assert re.fullmatch(rf"launchctl bootout gui/\d+/{label}", bootout)
    assert re.fullmatch(rf"launchctl bootstrap gui/\d+ {re.escape(str(plist))}", bootstrap)
    assert home.schedule("--launchd", "--list").stdout.startswith(f"{label}  0")
    assert home.schedule("--launchd", "--remove", "flora").returncode == 0
    assert not plist.exists()


def test_the_task_scheduler(home: Home) -> None:
    """The task goes to schtasks in a file of UTF-16, which it wants; it is found again by its folder."""
    assert home.schedule("--task-scheduler", "--install", "Bücher").returncode == 0
    xml = home.fakes.joinpath("task.xml").read_bytes()
    assert xml.decode("utf-16").startswith('<?xml version="1.0"?>')
    arguments = ElementTree.fromstring(xml)[4][0][1].text or ""  # noqa: S314 - our own
    assert arguments.endswith(str(home.path / "Bücher"))
    (create,) = home.calls()
    match = re.search(r"/TN \\floradl\\(floradl-b-cher-[0-9a-f]{8}) /XML \S+ /F", create)
    assert match
    rows = f'"\\Microsoft\\x","N/A","Ready"\n"\\floradl\\{match[1]}","11/26/2026 2:30:00 AM","Ready"\n'
    home.fakes.joinpath("tasks").write_text(rows)
    assert home.schedule("--task-scheduler", "--list").stdout == f"{match[1]}  next 11/26/2026 2:30:00 AM\n"
    assert home.schedule("--task-scheduler", "--remove", "Bücher").returncode == 0
    assert f"schtasks /Delete /TN \\floradl\\{match[1]} /F" in home.calls()
    assert home.schedule("--task-scheduler", "--remove", "other").returncode == 1


def test_what_the_shell_has_set_goes_along_but_the_key(home: Home) -> None:
    """Variables are not there at night: their options are written down, paths made absolute, and no key."""
    home.write_key("sk_live_KEYKEYKEY")
    variables = {
        "FLORA_API_KEY": "sk_live_KEYKEYKEY",
        "FLORADL_API_KEY": "sk_live_KEYKEYKEY",
        "FLORA_BASE_URL": LOCAL,
        "FLORADL_API_KEY_FILE": "~/key",
        "FLORADL_TYPE": "image, video",
        "FLORADL_FULL": "yes",
        "FLORADL_JSON": "no",
        "FLORADL_CONCURRENCY": "9",
    }
    done = home.schedule("-j", "3", "--wait", "flora", **variables)
    assert done.returncode == 0, done.stderr
    assert "KEYKEY" not in done.stdout + done.stderr
    words = exec_start(done.stdout)
    assert words[words.index("archive") + 1 :] == [
        "--type=image",
        "--type=video",
        "--concurrency=3",
        "--full",
        "--wait=52w",
        f"--api-key-file={home.key_file}",
        f"--base-url={LOCAL}",
        str(home.path / "flora"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--api-key", "sk_live_KEYKEY", "flora"], "must not hold the key"),
        (["--api-key-file", "-", "flora"], "at night nobody is there to type"),
        (["-n", "flora"], "would archive nothing"),
        (["--at", "25:00", "flora"], "a time of day such as 02:30 is needed"),
        (["--random-delay", "1d", "flora"], "12h at most is needed"),
        (["--name", "a b", "flora"], "--name: 'a b' does not fit"),
        (["--since", "yesterday", "flora"], "--since: 'yesterday' does not fit"),
        (["--project-id", "banana", "flora"], "'banana' does not fit: FLORA's ids"),
        (["--profile", "nobody", "flora"], "there is no profile 'nobody'"),
        (["--base-url", "http://example.com/api/v1", "flora"], "the key would cross the network in clear"),
        (["--list", "--remove", "flora"], "one at a time"),
        (["--cron", "--launchd", "flora"], "only one scheduler"),
        ([], "DEST is missing"),
        ([""], "DEST is empty"),
        (["--remove"], "which job?"),
        (["a\nExecStartPre=/bin/evil"], "cannot stand in a nightly job"),
    ],
)
def test_what_is_refused(home: Home, arguments: list[str], said: str) -> None:
    """A job that could not work, or would show the key, is refused with exit code 2; nothing is touched."""
    done = home.schedule(*([] if "--remove" in arguments else ["--install"]), *arguments)
    assert (done.returncode, home.files(), home.calls()) == (2, set(), [])
    assert said in done.stderr
    assert "KEYKEY" not in done.stderr


def test_every_option_that_names_a_file_says_so() -> None:
    """Else its path would be another at night, and what the job writes there would be closed to it."""
    options = COMMANDS["archive"]
    assert [option.name for option in options if option.file] == [
        option.name for option in options if option.name.endswith("-file")
    ]


def test_the_log_files_folder_is_open_to_the_job(home: Home) -> None:
    """A log file lies beside the archive: its path is absolute, and rotation may rename there."""
    home.write_key("sk_live_KEYKEYKEY")
    done = home.schedule("--api-key-file", "~/key", "--log-file", "~/logs/night.log", "flora")
    assert done.returncode == 0, done.stderr
    assert f"--log-file={home.path}/logs/night.log" in exec_start(done.stdout)
    (writable,) = re.findall(r"^ReadWritePaths=(.*)$", done.stdout, re.MULTILINE)
    assert writable.split() == [f"-{home.path}/flora", f"-{home.path}/logs"]


def test_a_key_that_login_keeps_is_found_at_night(home: Home, sim: Simulator) -> None:
    """The key of `floradl login` serves the job; in a keyring it may be locked away then, which is told."""
    logged_in = home.run("login", given=sim.account.api_key, FLORA_BASE_URL=sim.base_url)
    assert logged_in.returncode == 0, logged_in.stderr
    done = home.schedule("flora", FLORA_BASE_URL=sim.base_url)
    assert (done.returncode, "At night" in done.stderr) == (0, False)
    night = subprocess.run(
        exec_start(done.stdout), env=home.program_environment(), capture_output=True, text=True, check=False
    )
    assert night.returncode == 0, night.stderr
    assert_archived(home.path / "flora", sim.account, completed(sim.account))

    keyring = {
        "PYTHON_KEYRING_BACKEND": "tests.support.keyrings.Working",
        "TEST_KEYRING": str(home.path / "keyring"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "FLORA_BASE_URL": sim.base_url,
    }
    assert home.run("login", given=sim.account.api_key, **keyring).returncode == 0
    done = home.schedule("flora", **keyring)
    assert (done.returncode, "The key is in the system keyring" in done.stderr) == (0, True)
    assert "login --to-file" in done.stderr


def test_a_night_without_a_key_is_foretold(home: Home) -> None:
    """A key in this shell's variables is none at night; a key file has to be there; config.toml will do."""
    done = home.schedule("flora", FLORA_API_KEY="sk_live_x")
    assert (done.returncode, "At night there is no API key" in done.stderr) == (0, True)
    done = home.schedule("--api-key-file", "nothing", "flora")
    assert "At night cannot read the key file" in done.stderr
    config = home.path / ".config/floradl/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[profile.studio]\napi_key = "sk_live_KEYKEY"\n')
    done = home.schedule("--profile", "studio", "flora")
    assert "At night" not in done.stderr
    assert exec_start(done.stdout)[-2:] == ["--profile=studio", str(home.path / "flora")]
    assert "KEYKEY" not in done.stdout


def test_a_monitors_url_is_no_part_of_the_job(home: Home) -> None:
    """Whoever knows it can say that all is well: a variable with it stays in its shell, which is told so."""
    done = home.schedule("flora", FLORADL_PING_URL="https://example.com/uuid-SECRET")
    assert "SECRET" not in done.stdout + done.stderr
    assert "FLORADL_PING_URL is not passed on" in done.stderr
    config = home.path / ".config/floradl/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('ping_url = "https://example.com/uuid-SECRET"\n')
    done = home.schedule("flora", FLORADL_PING_URL="https://example.com/uuid-SECRET")
    assert "PING_URL" not in done.stderr
    assert "SECRET" not in done.stdout + done.stderr

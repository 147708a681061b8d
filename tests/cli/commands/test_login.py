"""`floradl login`, `logout` and `whoami`: where a key is kept, who gets it, and who can read it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.cli import keystore
from floradl.cli.keystore import KeyStore, Place
from floradl.errors import DestinationError, UsageError
from floradl.simulator import Account, Fault, Simulator, SimWorkspace, generate_account, serve_in_thread
from tests.support.processes import COMMAND, environment, floradl
from tests.support.terminals import Terminal

KEY = "sk_live_KEYKEYKEYKEY7890"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account with one run, and two workspaces, one with a name that would drive a terminal."""
    account = generate_account(1, seed=4)
    account.api_key = KEY
    account.workspaces = [
        SimWorkspace("ws_a", "Studio \x1b[31mred", "owner"),
        SimWorkspace("ws_b", "Agency", "viewer"),
    ]
    with serve_in_thread(account) as simulator:
        yield simulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where keys are kept in files."""
    return tmp_path / "data" / "floradl" / "keys"


def login(
    sim: Simulator,
    *arguments: str,
    key: str = f"{KEY}\n",
    umask: int = 0o022,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`floradl login` with the key on standard input. It must never show a traceback, nor the key."""
    done = subprocess.run(
        [COMMAND, "login", *arguments],
        input=key,
        env=environment(sim, FLORA_API_KEY="", PYTHONPATH=str(ROOT)) | (env or {}),
        capture_output=True,
        text=True,
        umask=umask,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "KEYKEY" not in said
    return done


def kept(folder: Path) -> list[Path]:
    """The files with keys; whatever else lies there is one too many."""
    return sorted(folder.iterdir()) if folder.exists() else []


def with_kept_key(sim: Simulator, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A run that has no other key than the kept one."""
    done = floradl(sim, *arguments, timeout_s=60, **({"FLORA_API_KEY": "", "PYTHONPATH": str(ROOT)} | env))
    assert "KEYKEY" not in done.stdout + done.stderr
    return done


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps that elsewhere")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_key_is_kept_for_its_owner_alone(sim: Simulator, tmp_path: Path, folder: Path, umask: int) -> None:
    """The key is checked, kept in a file that nobody else can read whatever the umask, and used since."""
    folder.parent.mkdir(parents=True)  # no umask can make what is there unusable
    if umask == 0o777:
        folder.mkdir(0o700)
        umask = 0o177
    done = login(sim, umask=umask)
    assert done.returncode == 0, done.stderr
    assert [request.path for request in sim.requests] == ["/api/v1/workspaces"]
    assert f"kept in {folder}" in done.stderr
    (file,) = kept(folder)
    assert file.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert with_kept_key(sim, tmp_path / "out").returncode == 0


def test_a_new_file_is_never_open_to_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment it exists, also under another name, a file with a key has its last mode."""
    modes: list[int] = []
    before = os.umask(0)

    def fsync(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir())

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(folder)):
            opened.append(arguments[2])

    opened: list[object] = []
    watching = [True]
    sys.addaudithook(watch)
    monkeypatch.setattr(os, "fsync", fsync)
    try:
        KeyStore(folder, lambda: None).keep(Place("https://h/"), KEY, to_file=True)
    finally:
        os.umask(before)
        watching.clear()
    assert set(modes) == {0o600}
    assert opened
    assert all(isinstance(flags, int) and flags & os.O_EXCL for flags in opened)


def test_a_write_that_fails_leaves_the_old_key_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs neither the key that is there nor leaves a part of the new one."""
    repository, place = KeyStore(folder, lambda: None), Place("https://h/")
    repository.keep(place, "sk_live_old", to_file=True)

    def fsync(descriptor: int) -> None:
        raise OSError(28, f"No space left on device ({descriptor > 0})")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DestinationError, match="No space left"):
        repository.keep(place, KEY, to_file=True)
    found = repository.find(place)
    assert found is not None
    assert found.key == "sk_live_old"
    assert len(kept(folder)) == 1


def test_a_key_typed_in_is_not_shown(sim: Simulator, tmp_path: Path, folder: Path) -> None:
    """On a terminal the key is asked for with the echo off, and is kept."""
    with Terminal([COMMAND, "login"], environment(sim, FLORA_API_KEY=""), tmp_path) as terminal:
        shown = terminal.read_to("not shown): ")
        terminal.type(f"{KEY}\n")
        code, rest = terminal.read_to_end()
    shown += rest
    assert (code, "The key works" in shown) == (0, True), shown
    assert "KEYKEY" not in shown
    assert [path.read_text() for path in kept(folder)] == [f"{KEY}\n"]


@pytest.mark.parametrize(
    ("key", "fault", "code", "said"),
    [
        ("sk_live_wrong_KEYKEY", None, 4, "401 invalid_api_key"),
        ("wrong_KEYKEY", None, 4, "begin with sk_live_"),
        (KEY, Fault("/api/v1/workspaces", status=503), 1, "503"),
        (
            KEY,
            Fault("/api/v1/workspaces", body=b"<html>", content_type="text/html"),
            1,
            "no list of workspaces",
        ),
        ("", None, 2, "no key was given"),
        ("FLORA_API_KEY=sk_KEYKEY", None, 2, "an assignment"),
        ("sk-KEYKEY", None, 2, "another service"),
    ],
)
def test_a_key_that_was_not_accepted_is_not_kept(
    sim: Simulator, folder: Path, key: str, fault: Fault | None, code: int, said: str
) -> None:
    """Only what the API accepted replaces what is kept; what is no key is not even sent."""
    assert login(sim).returncode == 0
    before = [(path, path.read_text()) for path in kept(folder)]
    sim.forget()
    if fault is not None:
        sim.faults.append(fault)
    done = login(sim, "--retries", "0", key=key)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert [(path, path.read_text()) for path in kept(folder)] == before
    assert (sim.requests == []) is (code == 2)


def test_another_api_never_gets_the_kept_key(sim: Simulator, tmp_path: Path) -> None:
    """A key that is kept for one base URL is not sent to another, whoever names it."""
    assert login(sim).returncode == 0
    with serve_in_thread(Account(KEY)) as other:
        done = with_kept_key(other, tmp_path / "out")
        assert (done.returncode, "there is no API key" in done.stderr) == (2, True)
        assert other.requests == []
    assert with_kept_key(sim, tmp_path / "out", FLORA_BASE_URL=f"{sim.base_url}/").returncode == 0


def test_profiles_have_keys_of_their_own(sim: Simulator, tmp_path: Path, folder: Path) -> None:
    """`login --profile` makes the profile where it is missing, leaves the rest alone, keeps a key for it."""
    config = tmp_path / "config/floradl/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("retries = 0  # mine")
    for profile in ("studio", "my 'own' \"one\"", "studio"):
        done = login(sim, "--profile", profile)
        assert done.returncode == 0, done.stderr
    expected = 'retries = 0  # mine\n\n[profile.studio]\n\n\n[profile."my \'own\' \\"one\\""]\n'
    assert config.read_text() == expected
    assert len(kept(folder)) == 2
    assert with_kept_key(sim, "whoami", "--profile", "studio").returncode == 0
    assert with_kept_key(sim, "whoami", FLORADL_PROFILE="my 'own' \"one\"").returncode == 0
    assert with_kept_key(sim, "whoami").returncode == 2
    config.unlink()
    assert with_kept_key(sim, "logout", "--profile", "studio").returncode == 0
    assert len(kept(folder)) == 1


def test_any_other_source_counts_before_the_kept_key(sim: Simulator, tmp_path: Path) -> None:
    """A variable, the config file or a key file counts first, and `login` says so."""
    done = login(sim, env={"FLORA_API_KEY": "sk_live_elsewhere_KEYKEY"})
    assert "FLORA_API_KEY is set, and counts before the kept key" in done.stderr
    refused = with_kept_key(sim, "whoami", FLORA_API_KEY="sk_live_elsewhere_KEYKEY")
    assert refused.returncode == 4
    file = tmp_path / "wrong"
    file.write_text("sk_live_elsewhere_KEYKEY")
    assert with_kept_key(sim, "whoami", "--api-key-file", file).returncode == 4
    config = tmp_path / "config/floradl/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'api_key_file = "{file}"')
    assert with_kept_key(sim, "whoami").returncode == 4
    assert "api_key_file in" in login(sim).stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps that elsewhere")
def test_a_kept_key_that_others_can_read_is_warned_about(sim: Simulator, folder: Path) -> None:
    """Whoever loosened the file is told."""
    login(sim)
    (file,) = kept(folder)
    file.chmod(0o644)
    assert f"others on this machine can read {file}" in with_kept_key(sim, "whoami").stderr


def test_logout_forgets_the_key(sim: Simulator, tmp_path: Path, folder: Path) -> None:
    """After `logout` there is no key; a second one is no error, and sends nothing anywhere."""
    login(sim)
    sim.forget()
    done = with_kept_key(sim, "logout")
    assert (done.returncode, kept(folder)) == (0, [])
    assert str(folder) in done.stderr
    assert "revoke it" in done.stderr
    again = with_kept_key(sim, "logout")
    assert (again.returncode, "No key was kept" in again.stderr) == (0, True)
    assert with_kept_key(sim, tmp_path / "out").returncode == 2
    assert sim.requests == []


def test_whoami_tells_the_workspaces_and_whose_key_it_is(sim: Simulator) -> None:
    """A line a workspace on stdout, made printable; --json is one object; of the key its end is shown."""
    done = floradl(sim, "whoami")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ws_a  owner   Studio �[31mred\nws_b  viewer  Agency\n"
    assert "The key …7890 from FLORA_API_KEY" in done.stderr
    report = json.loads(floradl(sim, "whoami", "--json").stdout)
    assert report["key"] == {"shown": "…7890", "origin": "FLORA_API_KEY"}
    assert [each["workspace_id"] for each in report["workspaces"]] == ["ws_a", "ws_b"]
    assert (report["base_url"], report["profile"]) == (sim.base_url, None)
    assert floradl(sim, "-q", "whoami").returncode == 2
    sim.account.workspaces.clear()
    none = floradl(sim, "whoami")
    assert (none.returncode, none.stdout, "It sees no workspace" in none.stderr) == (0, "", True)


# --- the system's keyring, by the library `keyring` -------------------------------------------------------


@pytest.fixture
def keyring(tmp_path: Path) -> dict[str, str]:
    """The environment of a system whose keyring works."""
    return {
        "PYTHON_KEYRING_BACKEND": "tests.support.keyrings.Working",
        "TEST_KEYRING": str(tmp_path / "keyring.json"),
    }


def test_the_keyring_is_used_where_it_works(
    sim: Simulator, tmp_path: Path, folder: Path, keyring: dict[str, str]
) -> None:
    """The key goes into the keyring and nowhere else, is used from there, and is removed from there."""
    assert login(sim, "--to-file", env=keyring).returncode == 0
    assert (len(kept(folder)), Path(keyring["TEST_KEYRING"]).exists()) == (1, False)
    done = login(sim, env=keyring)
    assert "kept in the system keyring" in done.stderr
    assert kept(folder) == []
    assert json.loads(Path(keyring["TEST_KEYRING"]).read_text()) == {f"floradl {sim.base_url}": KEY}
    assert with_kept_key(sim, tmp_path / "out", **keyring).returncode == 0
    assert "the system keyring" in with_kept_key(sim, "whoami", **keyring).stderr
    assert login(sim, "--to-file", env=keyring).returncode == 0
    assert (len(kept(folder)), json.loads(Path(keyring["TEST_KEYRING"]).read_text())) == (1, {})
    login(sim, env=keyring)
    assert "removed from the system keyring" in with_kept_key(sim, "logout", **keyring).stderr
    assert with_kept_key(sim, "whoami", **keyring).returncode == 2


@pytest.mark.parametrize(
    "backend",
    ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring", "tests.support.keyrings.Locked"],
)
def test_a_keyring_that_does_not_work_gives_way_to_a_file(sim: Simulator, folder: Path, backend: str) -> None:
    """No keyring, one that keeps nothing and says nothing, a locked one: the key is in a file, and found."""
    env = {"PYTHON_KEYRING_BACKEND": backend}
    done = login(sim, "-v", env=env)
    assert done.returncode == 0, done.stderr
    assert ("the system keyring cannot be used" in done.stderr) is (
        backend != "keyring.backends.null.Keyring"
    )
    assert len(kept(folder)) == 1
    assert with_kept_key(sim, "whoami", **env).returncode == 0
    assert with_kept_key(sim, "logout", **env).returncode == 0
    assert kept(folder) == []


def test_a_locked_keyring_is_told_where_there_is_no_key(sim: Simulator, tmp_path: Path) -> None:
    """A nightly job that cannot ask the keyring says so and what to do; a check does not need it."""
    env = {"PYTHON_KEYRING_BACKEND": "tests.support.keyrings.Locked"}
    done = with_kept_key(sim, tmp_path / "out", **env)
    assert (done.returncode, "--to-file" in done.stderr) == (2, True)
    assert "\x1b" not in done.stderr
    assert floradl(sim, tmp_path / "out").returncode == 0
    assert with_kept_key(sim, "verify", "--repair", tmp_path / "out", **env).returncode == 0
    seen = with_kept_key(sim, "config", "show", **env)
    assert (seen.returncode, "cannot be asked for one" in seen.stdout) == (0, True)


def test_without_the_library_there_is_no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is an extra."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert keystore.system_keyring() is None


def test_an_unreadable_kept_key_is_told(folder: Path) -> None:
    """A kept key that is no text is named as such, without its content."""
    repository, place = KeyStore(folder, lambda: None), Place("https://h/", "p")
    found = repository.keep(place, KEY, to_file=True)
    assert found.path is not None
    found.path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not text"):
        repository.find(place)


def test_no_two_places_share_a_file() -> None:
    """Whatever profiles are called, each has a file of its own, with a name that every system takes."""
    profiles = [None, "default", "a/b", "a_b", "A_B", "..", "con", "x" * 300, "\u00e9", "e\u0301"]
    places = [Place(url, profile) for profile in profiles for url in ("https://a/api", "https://b/api")]
    names = [place.file_name for place in places]
    assert len({name.lower() for name in names}) == len(places)
    assert all(len(name) < 80 and name.isascii() and "/" not in name for name in names)
    assert Place("https://a/api/").file_name == Place("https://a/api").file_name

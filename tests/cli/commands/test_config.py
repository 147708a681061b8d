"""`floradl config`: where the file is, what each option is and why, what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from floradl.cli.keystore import KeyStore, Place, default_folder
from floradl.cli.options import EVERY_OPTION
from floradl.constants import DEFAULT_BASE_URL
from tests.support.processes import COMMAND

KEY = "sk_live_KEYKEYKEYKEY7890"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The config file, not made yet; its folder is."""
    path = tmp_path / "config/floradl/config.toml"
    path.parent.mkdir(parents=True)
    return path


def config(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`floradl config` with these variables. It shows neither a traceback nor a key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLORA")}
    done = subprocess.run(
        [COMMAND, "config", *arguments], env=kept | env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "KEYKEY" not in done.stdout + done.stderr
    return done


def shown(*arguments: str, **env: str) -> dict[str, tuple[object, str, str]]:
    """What `config show --json` says of each option: value, kind of origin, origin."""
    done = config("show", "--json", *arguments, **env)
    assert done.returncode == 0, done.stderr
    options = json.loads(done.stdout)["options"]
    return {key: (row["value"], row["source"], row["origin"]) for key, row in options.items()}


def test_where_the_file_is(file: Path) -> None:
    """`path` prints the path alone, whether there is a file or not, and even if it is broken."""
    for _ in range(2):
        done = config("path")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}\n", "")
        file.write_text("broken [")


def test_every_option_is_shown_with_its_origin(file: Path) -> None:
    """Each option stands there once, with a value from each of the places that it may be from."""
    file.write_text('retries = 1\nmin_free = "10G"\n[profile.work]\nretries = 2\ntype = ["image", "text"]\n')
    rows = shown(
        "--profile", "work", "-j", "3", "--wait", "--since=7d", FLORADL_TIMEOUT="5", FLORA_BASE_URL="http://h"
    )
    assert set(rows) == {option.key for option in EVERY_OPTION}
    assert rows["concurrency"] == (3, "flag", "--concurrency")
    assert rows["since"] == ("7d", "flag", "--since")
    assert rows["timeout"] == (5, "variable", "FLORADL_TIMEOUT")
    assert rows["base_url"] == ("http://h", "variable", "FLORA_BASE_URL")
    assert rows["retries"] == (2, "profile", "[profile.work]")
    assert rows["type"] == (["image", "text"], "profile", "[profile.work]")
    assert rows["min_free"] == (10_000_000_000, "config", "config.toml")
    assert rows["full"] == (False, "default", "")
    assert shown()["retries"] == (1, "config", "config.toml")


def test_show_for_people(file: Path) -> None:
    """A line an option, in columns: key, value, origin."""
    file.write_text('retries = 1\nproject_id = ["prj_a", "prj_b"]')
    done = config("show", FLORADL_QUIET="yes")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == sorted(option.key for option in EVERY_OPTION)
    assert ["retries", "1", "config.toml"] in lines
    assert ["project_id", "prj_a,prj_b", "config.toml"] in lines
    assert ["quiet", "true", "FLORADL_QUIET"] in lines
    assert ["sample", "1/1", "default"] in lines
    assert ["timeout", "60", "default"] in lines
    assert ["api_key", "-", "default"] in lines
    assert ["base_url", DEFAULT_BASE_URL, "default"] in lines


def test_a_key_is_never_shown(file: Path) -> None:
    """Wherever the key is from, its last four characters are shown and where it is; also of the kept one."""
    file.write_text(f'[profile.work]\napi_key = "{KEY}"\n[profile.home]\n')
    assert shown("--api-key", KEY)["api_key"] == ("…7890", "flag", "--api-key")
    assert shown(FLORA_API_KEY=KEY)["api_key"] == ("…7890", "variable", "FLORA_API_KEY")
    assert shown("--profile", "work")["api_key"] == ("…7890", "profile", "[profile.work]")
    assert shown(FLORA_API_KEY="KEYKEY")["api_key"] == ("…", "variable", "FLORA_API_KEY")
    kept = KeyStore(default_folder(), lambda: None).keep(Place(DEFAULT_BASE_URL, "home"), KEY, to_file=True)
    assert shown("--profile", "home")["api_key"] == ("…7890", "login", f"floradl login, in {kept.path}")
    assert shown("--profile", "home", "--api-key-file", "x")["api_key"] == (None, "default", "")
    assert shown()["api_key"] == (None, "default", "")
    assert "…7890" in config("show", "--profile", "home").stdout


def test_what_check_says_of_a_good_file(file: Path) -> None:
    """All is well: exit 0, in one line, and silently with -q; no file is well too."""
    assert (config("check").returncode, config("check", "-q").stderr) == (0, "")
    file.write_text(
        'project_id = ["prj_a", "prj_b"]\nsince = 2026-11-23\n[profile.work]\nwait = true\n[profile.b]'
    )
    done = config("check")
    assert (done.returncode, done.stderr) == (0, f"{file} is fine. Profiles: work, b.\n")
    report = json.loads(config("check", "--json").stdout)
    assert report == {"config_file": str(file), "profiles": ["work", "b"], "problems": []}


def test_check_names_everything_that_is_wrong(file: Path) -> None:
    """Every table is looked at, not only the one in use; each problem says where it is and what to do."""
    file.write_text(
        'concurency = 3\nretries = 101\nbase_url = "http://example.com"\n'
        '[profile.work]\nproject-id = "prj_a"\nsince = "yesterday"\n'
        f'[profile.home]\nprofile = "x"\napi_key = "Bearer {KEY}"\n'
    )
    done = config("check", FLORADL_TIMEOUT="soon", FLORADL_CONCURENCY="3", FLORADL_QQQ="x")
    assert done.returncode == 2
    for said in (
        "unknown key 'concurency'\n  Did you mean concurrency?",
        "retries in " + str(file) + ": '101' does not fit",
        "base_url in " + str(file) + ": the base URL is http",
        "unknown key 'project-id' in [profile.work]\n  Did you mean project_id?",
        "since in [profile.work]: 'yesterday' does not fit",
        "unknown key 'profile' in [profile.home]",
        "api_key in [profile.home]: what was given as the API key is an HTTP header",
        "FLORADL_TIMEOUT: 'soon' does not fit",
        "The variable FLORADL_CONCURENCY sets no option. Did you mean FLORADL_CONCURRENCY?",
        "The variable FLORADL_QQQ sets no option.\n",
    ):
        assert said in done.stderr
    assert len(json.loads(config("check", "--json").stdout)["problems"]) == 7


@pytest.mark.parametrize("text", ["retries = [", 'profile = "work"', "[profile]\nwork = 1"])
def test_check_of_a_file_that_cannot_be_read(file: Path, text: str) -> None:
    """What is no TOML, or has no profiles where they stand, is told with its path; exit 2."""
    file.write_text(text)
    done = config("check")
    assert (done.returncode, str(file) in done.stderr) == (2, True)
    assert len(json.loads(config("check", "--json").stdout)["problems"]) == 1


def test_unknown_variables_alone_are_no_error(file: Path) -> None:
    """Somebody's own variable that begins as floradl's do is told, and is no reason to fail."""
    assert not file.exists()
    assert config("check", FLORADL_QQQ="x").returncode == 0


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_config_needs_a_word(arguments: list[str]) -> None:
    """Without one of its words, or with another, `config` is wrong usage and tells them."""
    done = config(*arguments)
    assert done.returncode == 2
    assert "path" in done.stderr

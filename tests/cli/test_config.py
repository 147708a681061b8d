"""Options: where each value comes from, and what is said when it does not fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from floradl.cli.config import Settings, Source, default_config_path, resolve
from floradl.cli.options import COMMANDS, EVERY_OPTION, Option
from floradl.cli.parser import parse, parser_of
from floradl.constants import DEFAULT_BASE_URL
from floradl.errors import Exit, UsageError

NOW_MS = 1_795_487_412_000
PAIRS = [(command, option) for command, options in COMMANDS.items() for option in options]
OPTIONS = [pytest.param(command, option, id=f"{command}-{option.name}") for command, option in PAIRS]
FILED = [
    pytest.param(command, option, id=f"{command}-{option.name}")
    for command, option in PAIRS
    if option.key != "profile"
]
# Five values that fit, each unlike the others and the default, as text.
SAMPLES = {
    "workspace_id": ["ws_1", "ws_2", "ws_3", "ws_4", "ws_5"],
    "project_id": ["prj_1", "prj_2", "prj_3", "prj_4", "prj_5"],
    "source": ["generations", "technique-runs", "assets", "canvas", "all"],
    "restore_source": ["generations", "technique-runs", "assets", "canvas", "all"],
    "status_source": ["generations", "technique-runs", "assets", "canvas", "all"],
    "list_source": ["generations", "technique-runs", "assets", "canvas", "generations"],
    "technique_id": ["tech_1", "tech_2", "tech_3", "tech_4", "tech_5"],
    "run_id": ["run_1", "run_2", "run_3", "run_4", "run_5"],
    "type": ["image", "video", "audio", "text", "document"],
    "status": ["pending", "running", "completed", "failed", "pending"],
    "format": ["json", "jsonl", "table", "json", "jsonl"],
    "sample": ["1/2", "1/3", "1/4", "1/5", "1/6"],
    "ping_url": [f"https://hc-ping.com/{number}" for number in range(5)],
    "at": ["00:00", "01:59", "9:30", "23:05", "12:00"],
    "since": ["1d", "2d", "3d", "2026-11-23", "5d"],
    "until": ["1d", "2d", "3d", "2026-11-23", "5d"],
}


def texts(option: Option) -> list[str]:
    """Five texts that fit an option, the neighbours unlike each other."""
    if option.parse is None:
        return ["true", "false", "true", "false", "true"]
    return SAMPLES.get(option.key, ["91", "92", "93", "94", "95"])


def resolved(
    tmp_path: Path,
    command: str = "archive",
    *,
    flags: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    config: str | None = None,
) -> Settings:
    """The settings of one call."""
    path = tmp_path / "config.toml"
    if config is not None:
        path.write_text(config, encoding="utf-8")
    return resolve(COMMANDS[command], EVERY_OPTION, flags or {}, environment or {}, path)


def no_input() -> str:
    """Standard input of a call that must not read it."""
    raise AssertionError("standard input was read")


def value_of(settings: Settings, option: Option) -> Any:
    """The value of an option, as its command gets it."""
    return settings.api_key(no_input) if option.key == "api_key" else getattr(settings, option.key)


def expected(option: Option, text: str) -> Any:
    """What an option makes of a text."""
    if option.parse is None:
        return text == "true"
    value = option.parse(text)
    return (value,) if option.is_list else value


def as_typed(command: str, option: Option, text: str) -> list[str]:
    """The command line of a command with its arguments, and with one flag."""
    positional = [action for action in parser_of(command)._actions if not action.option_strings]
    arguments = [next(iter(action.choices or ["folder"])) for action in positional]
    flag = f"--{option.name}"
    return [command, *([flag] if option.parse is None else [flag, text]), *arguments]


@pytest.mark.parametrize(("command", "option"), FILED)
def test_precedence(tmp_path: Path, command: str, option: Option) -> None:
    """Flag, FLORADL_ variable, FLORA's variable, profile, config file, default: the first set one counts.

    The flag is typed as a user types it; the variables and the file are what the option's own table row says.
    """
    flag, own, extra, profile, config = texts(option)
    toml = f'{option.key} = "{config}"\n[profile.work]\n{option.key} = "{profile}"\n'
    variables = dict(zip(option.environment, (own, extra), strict=False))
    named, flags = parse(as_typed(command, option, flag))
    assert named == command
    flags["profile"] = "work"

    def value() -> Any:
        settings = resolved(tmp_path, command, flags=flags, environment=variables, config=toml)
        return value_of(settings, option)

    assert value() == expected(option, flag)
    del flags[option.key]
    for name, text in list(variables.items()):
        assert value() == expected(option, text)
        del variables[name]
    assert value() == expected(option, profile)
    flags.clear()
    assert value() == expected(option, config)
    toml = ""
    if option.key == "api_key":
        with pytest.raises(UsageError, match="no API key"):
            value()
    else:
        assert value() == option.default


def test_floras_own_variables() -> None:
    """Just the key and the base URL may come from the variables of FLORA's own tools."""
    extra = {option.key: option.variables for option in EVERY_OPTION if option.variables}
    assert extra == {"api_key": ("FLORA_API_KEY",), "base_url": ("FLORA_BASE_URL",)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_understood(command: str) -> None:
    """The parser takes each option's flag, and its hand-over is what the option reads; absent leaves none."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in COMMANDS[command]:
        option.add_to(parser)
    assert vars(parser.parse_args([])) == {}
    for option in COMMANDS[command]:
        text = texts(option)[0]
        for flag in (f"--{option.name}", option.short):
            if flag is not None:
                given = [flag] if option.parse is None else [flag, text]
                found = vars(parser.parse_args(given))
                assert set(found) == {option.key}
                assert option.read(found[option.key], flag) == expected(option, text)
        if option.implied is not None:
            bare = vars(parser.parse_args([f"--{option.name}"]))[option.key]
            assert option.read(bare, option.name) == expected(option, option.implied)


def test_a_list_may_be_given_in_every_way(tmp_path: Path) -> None:
    """A repeatable option is a flag given again, a variable with commas, or a list in the file."""
    both = ("image", "video")
    assert resolved(tmp_path, flags={"type": ["image", "video"]}).type == both
    assert resolved(tmp_path, environment={"FLORADL_TYPE": " image , video ,"}).type == both
    assert resolved(tmp_path, config='type = ["image", "video"]').type == both
    assert resolved(tmp_path, config='type = "image,video"').type == both
    assert resolved(tmp_path, config="type = []").type == ()


def test_the_files_own_types(tmp_path: Path) -> None:
    """In the config file numbers, switches and dates may stand without quotes."""
    settings = resolved(
        tmp_path, config="concurrency = 8\ntimeout = 1.5\nfull = true\nsince = 2026-11-23\nretries = [3]"
    )
    assert (settings.concurrency, settings.timeout, settings.full) == (8, 1.5, True)
    assert (settings.since, settings.retries) == ("2026-11-23", 3)


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_an_empty_variable_is_not_set(tmp_path: Path, command: str, option: Option) -> None:
    """A variable that is set to nothing counts as absent, as everywhere."""
    settings = resolved(tmp_path, command, environment=dict.fromkeys(option.environment, ""))
    if option.key == "api_key":
        settings = resolved(tmp_path, command, environment={"FLORADL_API_KEY": "", "FLORA_API_KEY": "sk_key"})
        assert value_of(settings, option) == "sk_key"
    else:
        assert value_of(settings, option) == option.default


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_switches_on(tmp_path: Path, text: str) -> None:
    """A switch may be set by any of the usual words."""
    assert resolved(tmp_path, environment={"FLORADL_FULL": text}).full is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_switches_off(tmp_path: Path, text: str) -> None:
    """A switch may be unset by any of the usual words, over what the file says."""
    assert resolved(tmp_path, environment={"FLORADL_FULL": text}, config="full = true").full is False


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("concurrency", "0"), ("concurrency", "257"), ("concurrency", "many"), ("concurrency", "-1"),
        ("concurrency", "1.5"), ("concurrency", "\u0663"), ("concurrency", "9" * 30), ("retries", "101"),
        ("max_runs", "0"), ("timeout", "soon"), ("timeout", "-5"),
        ("timeout", "0"), ("lock_timeout", "1y"), ("wait", "x"),
        ("workspace_id", "prj_1"), ("workspace_id", "ws_"), ("project_id", "prj_a b"), ("run_id", "1"),
        ("type", "picture"), ("type", "imageUrl"), ("full", "maybe"), ("quiet", "2"), ("json", "y"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_origin(tmp_path: Path, name: str, bad: str) -> None:
    """Whoever set a value that does not fit is told where it stands and what would fit."""
    option = next(option for option in EVERY_OPTION if option.key == name)
    toml = f'{name} = "{bad}"'
    calls: list[tuple[str, dict[str, Any]]] = [
        (f"--{option.name}: ", {"flags": {name: [bad] if option.is_list else bad}}),
        (f"FLORADL_{name.upper()}: ", {"environment": {f"FLORADL_{name.upper()}": bad}}),
        (f"{name} in {tmp_path / 'config.toml'}: ", {"config": toml}),
        (f"{name} in [profile.work]: ", {"config": f"[profile.work]\n{toml}", "flags": {"profile": "work"}}),
    ]
    for origin, call in calls:
        with pytest.raises(UsageError, match=r"does not fit: .") as caught:
            resolved(tmp_path, **({"config": ""} | call))
        assert caught.value.message.startswith(origin)
        assert caught.value.exit_code == Exit.USAGE


def test_a_bad_value_is_shown_printably(tmp_path: Path) -> None:
    """What does not fit is shown on one bounded line."""
    with pytest.raises(UsageError, match="does not fit") as caught:
        resolved(tmp_path, environment={"FLORADL_TYPE": "\x1b[2J" + "x" * 5000})
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("concurrency = ", "cannot read"),
        ("\xff", "cannot read"),
        ("concurrency = [1, 2]", "does not fit"),
        ("concurrency = true", "does not fit"),
        ("concurrency = {a = 1}", "does not fit"),
        ('profile = "work"', r"\[profile\.NAME\]"),
        ("[profile]\nwork = 1", r"\[profile\.NAME\]"),
        ("[[profile]]", r"\[profile\.NAME\]"),
    ],
)
def test_a_bad_file(tmp_path: Path, config: str, message: str) -> None:
    """A config file that cannot be used is named, and nothing is done."""
    (tmp_path / "config.toml").write_bytes(config.encode("latin-1"))
    with pytest.raises(UsageError, match=message) as caught:
        resolved(tmp_path)
    assert "config.toml" in caught.value.message


def test_a_file_that_is_a_folder(tmp_path: Path) -> None:
    """What cannot be opened is a usage error with its path."""
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(UsageError, match=r"cannot read the config file .*config\.toml"):
        resolved(tmp_path)


@pytest.mark.parametrize("table", ["", "[profile.work]\n"])
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("concurency", "Did you mean concurrency?"),
        ("project-id", "Did you mean project_id?"),
        ("apikey", "Did you mean api_key?"),
        ("zzz", "There are: all, api_key, "),
    ],
)
def test_an_unknown_key_suggests_the_nearest(tmp_path: Path, table: str, key: str, hint: str) -> None:
    """A misspelt key is an error, in a profile that is not in use too, for it would be without effect."""
    with pytest.raises(UsageError, match=f"unknown key '{key}'") as caught:
        resolved(tmp_path, config=f"{table}{key} = 1")
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("command", COMMANDS)
def test_keys_of_other_commands_may_stand_in_the_file(tmp_path: Path, command: str) -> None:
    """One config file serves every command."""
    lines = [f'{option.key} = "{texts(option)[0]}"' for option in EVERY_OPTION if option.key != "profile"]
    settings = resolved(tmp_path, command, config="\n".join(lines))
    assert {setting.option for setting in settings} == set(COMMANDS[command])
    assert {setting.source for setting in settings} <= {Source.CONFIG, Source.DEFAULT}
    assert all(setting.option.key == "profile" for setting in settings if setting.source == Source.DEFAULT)


@pytest.mark.parametrize(
    ("config", "hint"),
    [(None, "none"), ("", "none"), ("[profile.home]\n[profile.studio]", "home, studio")],
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_an_unknown_profile(tmp_path: Path, config: str | None, hint: str, by_flag: bool) -> None:
    """A profile that is not there is an error that names those that are."""
    flags = {"profile": "work"} if by_flag else {}
    environment = {} if by_flag else {"FLORADL_PROFILE": "work"}
    with pytest.raises(UsageError, match="no profile 'work'") as caught:
        resolved(tmp_path, flags=flags, environment=environment, config=config)
    assert caught.value.hint == f"There are: {hint}."


def test_the_profile_in_use(tmp_path: Path) -> None:
    """The flag's profile counts before the variable's; without one no profile is in use."""
    toml = "[profile.home]\nretries = 1\n[profile.work]\nretries = 2"
    environment = {"FLORADL_PROFILE": "home"}
    chosen = resolved(tmp_path, flags={"profile": "work"}, environment=environment, config=toml)
    assert (chosen.profile, chosen.retries) == ("work", 2)
    chosen = resolved(tmp_path, environment=environment, config=toml)
    assert (chosen.profile, chosen.retries) == ("home", 1)
    chosen = resolved(tmp_path, config=toml)
    assert (chosen.profile, chosen.retries) == (None, 5)


def test_defaults(tmp_path: Path) -> None:
    """With nothing set, the documented defaults hold."""
    settings = resolved(tmp_path)
    assert (settings.base_url, settings.timeout, settings.retries) == (DEFAULT_BASE_URL, 60.0, 5)
    assert (settings.concurrency, settings.limit_rate, settings.wait) == (64, 0, None)
    assert (settings.full, settings.dry_run) == (False, False)
    with pytest.raises(AttributeError):
        settings.nonsense  # noqa: B018 - looking it up is the test


PLACES = ["flag", "variable", "extra", "profile", "config", "nowhere"]


def settings_with(tmp_path: Path, **places: str) -> Settings:
    """Settings in which each option named has a value of its own at one place."""
    flags: dict[str, Any] = {"profile": "work"}
    environment: dict[str, str] = {}
    tables = {"config": "", "profile": "[profile.work]\n"}
    for key, place in places.items():
        value = "sk_key" if key == "api_key" else (tmp_path / "key.txt").as_posix()
        if place == "flag":
            flags[key] = value
        elif place == "variable":
            environment[f"FLORADL_{key.upper()}"] = value
        elif place == "extra":
            environment["FLORA_API_KEY"] = value
        elif place in tables:
            tables[place] += f'{key} = "{value}"\n'
    return resolved(
        tmp_path, flags=flags, environment=environment, config=tables["config"] + tables["profile"]
    )


@pytest.mark.parametrize("key_at", PLACES)
@pytest.mark.parametrize("file_at", [place for place in PLACES if place != "extra"])
def test_key_or_key_file(tmp_path: Path, key_at: str, file_at: str) -> None:
    """Of a key and a file with a key the one from the earlier source counts; of two in one place, the key."""
    (tmp_path / "key.txt").write_text(" sk_file\n")
    settings = settings_with(tmp_path, api_key=key_at, api_key_file=file_at)
    if key_at == file_at == "nowhere":
        with pytest.raises(UsageError, match="no API key") as caught:
            settings.api_key(no_input)
        assert "FLORA_API_KEY" in caught.value.hint
        return
    is_key = PLACES.index(key_at) <= PLACES.index(file_at)
    assert settings.api_key(no_input) == ("sk_key" if is_key else "sk_file")


def test_the_key_from_standard_input(tmp_path: Path) -> None:
    """`-` reads the key from standard input, without its line end."""
    assert resolved(tmp_path, flags={"api_key_file": "-"}).api_key(lambda: "sk_live\n") == "sk_live"


def test_the_key_file_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's folder in a config file, too, where no shell replaces it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "key").write_text("sk_home")
    assert resolved(tmp_path, config='api_key_file = "~/key"').api_key(no_input) == "sk_home"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\xff\xfe", "not text")], ids=["missing", "bytes"]
)
def test_a_key_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A key file that is missing or no text is named, without its content."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        resolved(tmp_path, flags={"api_key_file": str(path)}).api_key(no_input)
    assert str(path) in caught.value.message


def test_where_the_config_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config file is `config.toml` in floradl's folder among the platform's settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = default_config_path()
    assert path.name == "config.toml"
    assert path.parent.name == "floradl"

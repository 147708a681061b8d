"""Settings: the value of each option, wherever it was set.

A value comes from the first of these sources that sets it: the flag; an environment variable
(`FLORADL_<OPTION>`, or `FLORA_API_KEY` and `FLORA_BASE_URL`, which FLORA's own tools use); `[profile.NAME]`
of the config file; the config file; the default. The API key has one source more, after all others: the key
that `floradl login` keeps for this API and profile. The config file is `config.toml` in the platform's config
folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs

from floradl.cli.keystore import KeptKey, KeyStore, Place
from floradl.cli.options import Option
from floradl.errors import UsageError, printable

_MAX_VARIABLES = 2


class Source(StrEnum):
    """The kinds of sources of a value."""

    FLAG = "flag"
    VARIABLE = "variable"
    PROFILE = "profile"
    CONFIG = "config"
    LOGIN = "login"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one option, and where it was set.

    Args:
        option: the option.
        value: as the option's reader returns it.
        source: the kind of its source.
        origin: the source as messages name it, such as `--type`; "" for a default.
        rank: the source's place in the order of all sources; 0 is the flag.
    """

    option: Option
    value: Any
    source: Source
    origin: str
    rank: int


class Settings:
    """The values of all options of a command, as attributes: `settings.concurrency`.

    Args:
        found: each option's value.
        profile: the profile in use; None without one.
        config_path: the config file, if there is an API key in it.
        keys: the keys that `floradl login` keeps.
    """

    def __init__(
        self, found: Sequence[Setting], profile: str | None, config_path: Path | None, keys: KeyStore
    ) -> None:
        self._found = {setting.option.key: setting for setting in found}
        self._profile = profile
        self._key_files = [] if config_path is None else [config_path]
        self._keys = keys

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._found.values())

    def __getattr__(self, key: str) -> Any:
        try:
            return self._found[key].value
        except KeyError:
            raise AttributeError(key) from None

    @property
    def warnings(self) -> list[str]:
        """A warning for each file that holds an API key and can be read by other users of this machine."""
        return [
            f"others on this machine can read {path}, which holds an API key; `chmod 600` it"
            for path in self._key_files
            if _is_open_to_others(path)
        ]

    @property
    def has_api_key(self) -> bool:
        """Whether any source has an API key."""
        if self._key_setting is not None:
            return True
        try:
            return self.kept_key is not None
        except UsageError:  # a locked keyring: there may be a key, but it cannot be used
            return False

    @property
    def key_origin(self) -> str:
        """The source of the API key, for people; "" where there is no key."""
        setting = self._key_setting
        if setting is not None:
            return setting.origin
        return "" if self.kept_key is None else f"floradl login, in {self.kept_key.where}"

    @cached_property
    def kept_key(self) -> KeptKey | None:
        """The key that `floradl login` keeps for this API and profile, even if another source has priority.

        Raises:
            UsageError: there may be one, but it cannot be read.
        """
        return self._keys.find(Place(self.base_url, self._profile))

    @property
    def _key_setting(self) -> Setting | None:
        """The option `api_key` or `api_key_file`: the one whose source comes first; None without both."""
        given = [self._found[key] for key in ("api_key", "api_key_file") if self._found[key].value]
        return min(given, key=lambda setting: setting.rank, default=None)

    def api_key(self, stdin: Callable[[], str]) -> str:
        """The API key: as given, from the file that was given, or as `floradl login` keeps it.

        Args:
            stdin: reads the key where the file is `-`.

        Raises:
            UsageError: there is none, or its file cannot be read.
        """
        setting = self._key_setting
        if setting is None:
            return self._require_kept_key()
        if setting.option.key == "api_key":
            return str(setting.value).strip()
        if setting.value == "-":
            return stdin().strip()
        try:
            path = Path(setting.value).expanduser()
            self._key_files.append(path)
            return path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError, RuntimeError) as exc:  # no file, no text, no path, no such user
            reason = getattr(exc, "strerror", None) or "not text"
            raise UsageError(f"cannot read the key file {printable(setting.value)}: {reason}") from exc

    def _require_kept_key(self) -> str:
        kept = self.kept_key
        if kept is None:
            raise UsageError(
                "there is no API key",
                hint="Run `floradl login`, or set FLORA_API_KEY, or give --api-key-file. "
                "FLORA's workspace settings make keys.",
            )
        if kept.path is not None:
            self._key_files.append(kept.path)
        return kept.key


@dataclass(frozen=True, slots=True)
class Config:
    """The content of the config file.

    Args:
        path: the file.
        top: its keys outside of profiles.
        profiles: the keys of each profile.
        unknown: an error for each key that is no option's.
    """

    path: Path
    top: dict[str, Any]
    profiles: dict[str, dict[str, Any]]
    unknown: tuple[UsageError, ...] = ()

    @property
    def has_key(self) -> bool:
        """Whether it holds an API key."""
        return any("api_key" in table for table in (self.top, *self.profiles.values()))

    def tables(self) -> list[tuple[dict[str, Any], str]]:
        """All tables with their names for messages."""
        profiles = [(table, f"[profile.{name}]") for name, table in self.profiles.items()]
        return [(self.top, str(self.path)), *profiles]


def resolve(
    options: tuple[Option, ...],
    known: tuple[Option, ...],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    config_path: Path,
    *,
    may_be_new: bool = False,
) -> Settings:
    """The value of each option, from the first source that sets it.

    Args:
        options: the options of the command.
        known: the options of all commands; the config file may set any of them.
        flags: the flags that were given, by key.
        environment: the environment variables.
        config_path: the config file, which need not exist.
        may_be_new: whether a profile is allowed that the config file does not have.

    Raises:
        UsageError: a value cannot be read, or the config file is wrong.
    """
    profile = flags.get("profile") or environment.get("FLORADL_PROFILE") or None
    config = read_config(config_path, known)
    if config.unknown:
        raise config.unknown[0]
    if profile is not None and profile not in config.profiles and not may_be_new:
        raise UsageError(
            f"there is no profile {printable(str(profile))!r} in {config_path}",
            hint=f"There are: {', '.join(config.profiles) or 'none'}.",
        )
    table = config.profiles.get(profile, {}) if profile is not None else {}
    found = [_find(option, flags, environment, config, (table, f"[profile.{profile}]")) for option in options]
    return Settings(found, profile, config_path if config.has_key else None, KeyStore())


def _find(
    option: Option,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    config: Config,
    profile: tuple[Mapping[str, Any], str],
) -> Setting:
    variables = [(environment.get(name) or None, Source.VARIABLE, name) for name in option.environment]
    # Padded to two variables for every option, so that a rank means the same kind of source for all of them:
    # `api_key` and `api_key_file` are compared by their ranks, and only one of them has two variables.
    unused = [(None, Source.VARIABLE, "")] * (_MAX_VARIABLES - len(variables))
    places = [
        (flags.get(option.key), Source.FLAG, f"--{option.name}"),
        *variables,
        *unused,
        (profile[0].get(option.key), Source.PROFILE, f"{option.key} in {profile[1]}"),
        (config.top.get(option.key), Source.CONFIG, f"{option.key} in {config.path}"),
    ]
    for rank, (value, source, origin) in enumerate(places):
        if value is not None:
            return Setting(option, option.read(value, origin), source, origin, rank)
    return Setting(option, option.default, Source.DEFAULT, "", len(places))


def default_config_path() -> Path:
    """The path of the config file on this system."""
    return Path(platformdirs.user_config_dir("floradl", appauthor=False)) / "config.toml"


def read_config(path: Path, known: tuple[Option, ...]) -> Config:
    """Read the config file; its values are not checked yet. Without a file the result is empty.

    Raises:
        UsageError: it cannot be read, is no TOML, or its `profile` is no table of tables.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config(path, {}, {})
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    import tomllib  # its import takes long, and most users have no config file

    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"cannot read the config file {path}: {exc}") from exc
    profiles = top.pop("profile", {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"in {path}, profiles are written as [profile.NAME]")
    names = {option.key for option in known} - {"profile"}
    unknown = [
        _unknown_key(path, key, table_name, names)
        for table_name, table in [("", top), *profiles.items()]
        for key in table.keys() - names
    ]
    return Config(path, top, profiles, tuple(unknown))


def _unknown_key(path: Path, key: str, profile: str, names: set[str]) -> UsageError:
    where = f" in [profile.{printable(profile)}]" if profile else ""
    near = nearest(key, names)
    hint = f"Did you mean {near}?" if near else f"There are: {', '.join(sorted(names))}."
    return UsageError(f"the config file {path} has an unknown key {printable(key)!r}{where}", hint=hint)


def nearest(name: str, names: Collection[str]) -> str | None:
    """The name that was probably meant; None where none is similar."""
    import difflib  # needed only after a typing error

    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def problems_of(
    config: Config,
    environment: Mapping[str, str],
    variants: Mapping[str, tuple[Option, ...]],
    readers: Mapping[str, Callable[[str], object]],
) -> list[UsageError]:
    """All that is wrong with the config file and with floradl's environment variables.

    Args:
        config: the file.
        environment: the environment variables.
        variants: `options.variants_by_key()`; a value must be valid for one of the options that share a key.
        readers: further checks by key; each raises `UsageError` for a bad value.
    """
    places = [
        (variants[key], value, f"{key} in {where}")
        for table, where in config.tables()
        for key, value in table.items()
        if key in variants
    ]
    for options in variants.values():
        names = [name for name in options[0].environment if environment.get(name)]
        places += [(options, environment[name], name) for name in names]
    found = list(config.unknown)
    for options, value, origin in places:
        problem = _problem(options, value, origin, readers)
        if problem is not None:
            found.append(problem)
    return found


def _problem(
    options: tuple[Option, ...], value: object, origin: str, readers: Mapping[str, Callable[[str], object]]
) -> UsageError | None:
    first: UsageError | None = None
    for option in options:
        try:
            read = option.read(value, origin)
        except UsageError as exc:
            first = first or exc
            continue
        try:
            if option.key in readers:
                readers[option.key](read)
        except UsageError as exc:
            return exc.concerning(origin)
        return None
    return first


def _is_open_to_others(path: Path) -> bool:
    """Whether the file's group or all users may read it. False on Windows, whose permissions are others."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False

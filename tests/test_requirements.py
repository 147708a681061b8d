"""What the Makefile installs is pinned, and is what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = ROOT / "requirements" / "run.txt"
TEST = ROOT / "requirements" / "test.txt"

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pinned(path: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a file, with its options."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        stripped = line.split(" #")[0].strip()
        if stripped and not stripped.startswith("#"):
            requirement, *options = re.split(r"\s+(?=--)", stripped)
            yield Requirement(requirement), options


def versions(path: Path) -> dict[str, str]:
    """The one version of each package."""
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement, _ in pinned(path)
    }


def lacking(path: Path, wanted: list[str]) -> list[str]:
    """Which of the wanted requirements a file does not fulfil."""
    have = versions(path)
    return [
        line
        for line in wanted
        for requirement in [Requirement(line)]
        for version in [have.get(canonicalize_name(requirement.name))]
        if version is None or version not in requirement.specifier
    ]


def of_extras() -> list[str]:
    """What the extras ask for."""
    return [line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]


def test_what_floradl_runs_with_is_pinned() -> None:
    """Its dependencies, and what builds it; `make lock` brings what is lacking."""
    wanted = PROJECT["project"]["dependencies"]
    build = [*PROJECT["dependency-groups"]["build"], *PROJECT["build-system"]["requires"]]
    assert lacking(RUN, wanted + build) == []


def test_what_the_tests_run_with_is_pinned() -> None:
    """The tests' tools and the extras that they use, and all that floradl runs with in the same versions."""
    assert lacking(TEST, PROJECT["dependency-groups"]["test"] + of_extras()) == []
    assert versions(RUN).items() <= versions(TEST).items()


@pytest.mark.parametrize("name", ["floradl-has-no-such-dependency", "httpx>=999"])
def test_what_is_lacking_is_found(name: str) -> None:
    """A dependency that nobody locked, or of which the locked version is too old."""
    assert lacking(TEST, ["httpx", name]) == [name]


@pytest.mark.parametrize("path", [RUN, TEST], ids=lambda path: path.name)
def test_a_pin_is_a_version_and_hashes_and_no_address(path: Path) -> None:
    """So whoever installs it gets the same bytes, from whatever index is at hand."""
    pins = list(pinned(path))
    assert pins
    for requirement, options in pins:
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert options
        assert all(_HASH.fullmatch(option) for option in options), requirement
    assert "://" not in path.read_text(encoding="utf-8")

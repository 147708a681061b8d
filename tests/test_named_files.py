"""Every file, module and function that a document, a docstring or a comment names is there.

A module that moves or is renamed takes its imports with it, because nothing would run otherwise. What people
read about it has no such guard: this test is one.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import floradl

ROOT = Path(__file__).parent.parent
FOLDERS = ("floradl", "tests", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
FILE_NAMES = {path.name for path in SOURCES}

NOT_MODULES = {"floradl.prom", "floradl.data"}
"""A file of metrics, and what the gallery's scripts call their data."""

_PATH = re.compile(
    r"(?<![\w./~$-])(?:floradl|tests|benchmarks|docs)/[\w./-]+\.(?:py|md|json|js|css|html|svg)\b"
)
_DOTTED = re.compile(r"(?<![\w./@-])(?:floradl|tests|benchmarks)(?:\.[A-Za-z_]\w*)+")
_FILE = re.compile(r"(?<![\w./-])\w+\.py\b")
_QUOTED = re.compile(r"`([^`\n]+)`")


def prose_of(source: str) -> Iterator[str]:
    """The docstrings and comments of a source; also the texts below a constant that explain it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value


def text_of(path: Path) -> str:
    """What people read in a file."""
    text = path.read_text(encoding="utf-8")
    return "\n".join(prose_of(text)) if path.suffix == ".py" else text


def names_defined_in(path: Path) -> set[str]:
    """The names at the top of a module, and, as `Class.name`, those at the top of its classes."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a package, a module, or something that a module or `import floradl` offers."""
    parts = dotted.split(".")
    if dotted in NOT_MODULES or (parts[0] == "floradl" and parts[1] in floradl.__all__):
        return True
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.exists():
            return set(parts[end:]) <= names_defined_in(module)
    return False


def stale_names(text: str) -> list[str]:
    """The names in a text that lead nowhere: paths from the root, dotted modules, and files by name alone.

    A path with a folder `a` stands for any path, as in a rule.
    """
    stale = [name for name in _PATH.findall(text) if "/a/" not in name and not (ROOT / name).exists()]
    for quoted in _QUOTED.findall(text):
        stale += [name for name in _DOTTED.findall(quoted) if not is_there(name)]
        stale += [name for name in _FILE.findall(quoted) if name not in FILE_NAMES]
    return list(dict.fromkeys(stale))


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_file_names_is_there(path: Path) -> None:
    """A reader who looks for a file, a module or a function that a text names finds it."""
    assert stale_names(text_of(path)) == []


def test_stale_names_are_found() -> None:
    """The check above can fail: it finds each kind of name that leads nowhere, and no other."""
    text = "See floradl/nowhere.py, `floradl.nowhere.f`, `nowhere.py` and `floradl.clock.nothing`."
    assert stale_names(text) == [
        "floradl/nowhere.py",
        "floradl.nowhere.f",
        "nowhere.py",
        "floradl.clock.nothing",
    ]
    text = "See floradl/clock.py, `floradl.clock.Clock`, `clock.py`, `floradl.archive`, `floradl.prom`."
    assert stale_names(f"{text} floradl/a/b.py is tested by tests/a/test_b.py.") == []
    assert stale_names(text) == []
    assert list(prose_of('"""One."""\nTWO = 2  # three\n"""Four."""\n')) == ["# three", "One.", "Four."]

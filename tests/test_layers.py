"""The import direction: modules import only from lower layers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "floradl"
ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"

LAYERS = (
    {"errors", "words", "clock", "stopping", "quantities", "blocks"},
    {
        "model",
        "entries",
        "layout",
        "media",
        "durable",
        "direct",
        "pace",
        "bandwidth",
        "connection",
        "slots",
        "retry",
        "pressure",
        "net",
        "parts",
        "nightly",
        "keys",
        "tables",
        "sharing",
    },
    {
        "tree",
        "partial",
        "answer",
        "journal",
        "snapshot",
        "glance",
        "outcome",
        "findings",
        "chronicle",
        "api",
        "transport",
        "dimensions",
        "thumbnails",
        "schedulers",
    },
    {"files", "writer"},
    {"scribe"},
    {
        "manifest",
        "stamps",
        "lock",
        "walk",
        "fetching",
        "arrival",
        "inspection",
        "reading",
        "discovery",
        "verified",
        "catalogue",
    },
    {"listing", "plan", "job", "rebuild", "ahead", "names", "canvas"},
    {"prepare", "mend", "audit", "copying", "transfer", "status", "gallery", "labels", "found"},
    {"pool", "canvases"},
    {"recall", "verifier"},
    {"scanning", "surroundings", "preview", "repairer", "targets"},
    {"archiver", "restorer"},
    {"jobs", "values", "bars", "logfile", "monitor", "hook", "keystore"},
    {"progress"},
    {"options", "overview", "metrics"},
    {"config", "usage"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""Each module's layer, lowest first; `commands` is the package of that name."""

ANYWHERE = {"__init__", "simulator"}
"""The package's own version, and the simulator, which imports nothing of floradl."""


def layer_of(module: str) -> int:
    """The number of a module's layer."""
    return next(number for number, names in enumerate(LAYERS) if module in names)


def imports_of(source: str, module: str) -> list[str]:
    """Which modules of floradl a source imports, at whatever depth."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += names if node.module in ("floradl", "floradl.commands") else [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            found.append(f"floradl.{module}.{node.module or ''}")
    return [name.split(".")[1] for name in found if name.startswith("floradl.")]


def upward_imports(source: str, module: str) -> list[str]:
    """The imports of a module that do not go down."""
    known = {path.stem for path in PACKAGE.glob("*.py")} | {"commands", "simulator"}
    return [
        name
        for name in imports_of(source, module)
        if name in known and name not in ANYWHERE and name != module and layer_of(name) >= layer_of(module)
    ]


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "simulator" not in path.parts)


def module_of(path: Path) -> str:
    """The name under which a source stands in `LAYERS`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    """No module imports from its own layer or a higher one."""
    if module_of(path) not in ANYWHERE:
        assert upward_imports(path.read_text(encoding="utf-8"), module_of(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from floradl import pool",
        "from floradl.cli import main",
        "import floradl.archiver",
        "def f():\n    from floradl.transfer import Wanted",
    ],
)
def test_an_upward_import_is_found(source: str) -> None:
    """The check above can fail: a module of layer 1 that imports upwards is caught, in functions too."""
    assert upward_imports(source, "model")


def test_every_module_has_a_layer() -> None:
    """A new module has to say where it stands."""
    modules = {module_of(path) for path in SOURCES} - ANYWHERE
    assert modules == set().union(*LAYERS)


def test_the_simulator_imports_nothing_of_floradl() -> None:
    """The simulator cannot share floradl's mistakes."""
    for path in (PACKAGE / "simulator").rglob("*.py"):
        for name in imports_of(path.read_text(encoding="utf-8"), "simulator"):
            assert name == "simulator", path


def test_the_documented_layers_are_the_enforced_ones() -> None:
    """docs/architecture.md names the same modules on the same layers."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = [set(re.findall(r"`(\w+)`", modules)) for _, modules in rows]
    assert [int(number) for number, _ in rows] == list(range(len(rows)))
    assert documented == [names for names in LAYERS if names != {"__main__"}]

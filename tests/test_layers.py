"""The packages of floradl: what each may import, and by which of its modules the others may know it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import floradl

PACKAGE = Path(floradl.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

GROUND = {"errors", "constants", "clock", "bounds", "tasks", "buffers", "version"}
"""Modules right below `floradl` that everything may import; they import only each other."""

MAY_IMPORT: dict[str, set[str]] = {
    "network": set(),
    "storage": set(),
    "api": {"network"},
    "repository": {"api", "storage"},
    "download": {"repository", "api", "storage", "network"},
    "gallery": {"repository", "storage"},
    "archiver": {"download", "repository", "api", "storage", "network"},
    "checker": {"download", "repository", "api", "storage", "network"},
    "restorer": {"download", "repository", "api", "storage", "network"},
    "jobs": {"archiver", "checker", "restorer", "gallery", "download", "api"},
    "cli": {
        "jobs",
        "archiver",
        "checker",
        "restorer",
        "gallery",
        "download",
        "repository",
        "api",
        "storage",
        "network",
    },
}
"""Which packages each may import besides itself and the ground; `jobs` is a module, the face of all jobs."""

APART = {"simulator"}
"""What imports nothing of floradl and is imported by the command `demo` alone."""


def home_of(module: str) -> str:
    """The package of a dotted module of floradl; "ground" for the modules that all may import."""
    first = module.split(".")[1] if "." in module else ""
    return "ground" if first in GROUND or not first else first


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = ("floradl", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(source: str, module: str) -> Iterator[str]:
    """The dotted modules of floradl that a source imports, at whatever depth, for types too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            is_package = module in SOURCES and SOURCES[module].name == "__init__.py"
            parts = module.split(".") + ["__init__"] * is_package
            above = ".".join(parts[: -node.level]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in SOURCES else base for name in names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "floradl" and name != "floradl")


def face_of(package: str) -> tuple[str, ...]:
    """The modules of a package that others may import: its `__all__`."""
    init = PACKAGE / package / "__init__.py"
    if not init.exists():  # `jobs` is one module
        return ()
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return tuple(ast.literal_eval(node.value))
    return ()


def faults_of(source: str, module: str) -> list[str]:
    """What is wrong with the imports of a module: a sentence each, which says what to do."""
    home = home_of(module)
    found = []
    for name in dict.fromkeys(imports_of(source, module)):
        other = home_of(name)
        is_demo = (module, other) == ("floradl.cli.commands.demo", "simulator")
        if other in (home, "ground") or is_demo:
            continue
        if other not in MAY_IMPORT.get(home, set()):
            may = ", ".join(sorted(MAY_IMPORT.get(home, set()))) or "nothing but the ground"
            found.append(
                f"{module} imports {name}, but `{home}` may import {may}: move what is needed down, or"
                " take it as a parameter; if the packages are wrong, change MAY_IMPORT and the docs"
            )
        elif other != "jobs" and not set(inside(name)) & set(face_of(other)):
            found.append(
                f"{module} imports {name}, which `{other}` keeps to itself: import one of its modules"
                f" {', '.join(face_of(other))}, or add the module to __all__ in floradl/{other}/__init__.py"
            )
    return found


def inside(module: str) -> list[str]:
    """The ways in which a face may name a module: `local` stands for all of `storage.local`."""
    parts = module.split(".")[2:]
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down_and_by_the_face(module: str) -> None:
    """Every module imports only from packages below its own, and of those only what they offer."""
    if module != "floradl" and home_of(module) not in APART | {"__main__"}:
        assert faults_of(SOURCES[module].read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("source", "module", "message"),
    [
        (
            "from floradl.download import pool",
            "floradl.repository.layout",
            "`repository` may import api, storage",
        ),
        ("def f():\n    from floradl.cli.main import main", "floradl.jobs", "`jobs` may import"),
        (
            "import floradl.api.client.client",
            "floradl.network.client",
            "`network` may import nothing but the ground",
        ),
        ("from floradl import jobs", "floradl.archiver.scan", "move what is needed down"),
        ("from ..archiver.scan import Scan", "floradl.download.pool", "take it as a parameter"),
        ("from floradl.network import body", "floradl.download.pool", "`network` keeps to itself"),
        (
            "from floradl.network.body import Body",
            "floradl.download.pool",
            "add the module to __all__",
        ),
        ("from floradl.network import client", "floradl.clock", "`ground` may import nothing but the ground"),
        ("from floradl.simulator import Account", "floradl.cli.main.main", "`cli` may import"),
    ],
)
def test_a_planted_import_is_found(source: str, module: str, message: str) -> None:
    """The check above can fail: one message names the import and says what to do."""
    (fault,) = faults_of(source, module)
    assert message in fault


@pytest.mark.parametrize("package", sorted(set(MAY_IMPORT) - {"jobs"}))
def test_a_face_names_modules_and_nothing_else_is_in_it(package: str) -> None:
    """`__init__.py` is a page about its package, and a tuple of modules that exist: it costs nothing."""
    init = PACKAGE / package / "__init__.py"
    body = ast.parse(init.read_text(encoding="utf-8")).body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign], init
    for name in face_of(package):
        assert f"floradl.{package}.{name}" in SOURCES, f"{init} names {name}, which is not there"


def circles() -> Iterator[str]:
    """Modules that import each other, by whatever way round."""
    arrows = {
        module: {name for name in imports_of(path.read_text(encoding="utf-8"), module) if name in SOURCES}
        for module, path in SOURCES.items()
        if home_of(module) not in APART
    }
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> Iterator[str]:
        if module in way:
            yield " → ".join([*way[way.index(module) :], module])
        elif module not in done:
            for name in sorted(arrows.get(module, ())):
                yield from visit(name, [*way, module])
            done.add(module)

    for module in arrows:
        yield from visit(module, [])


def test_no_modules_import_each_other() -> None:
    """Inside a package too, imports go one way."""
    assert list(circles()) == []


def public_names(modules: list[str]) -> list[str]:
    """Modules and packages right below `floradl` that bear a name which `import floradl` offers."""
    return [
        f"{module} bears the public name floradl.{name}, and would hide it once imported: call it otherwise"
        for module in modules
        if (name := module.split(".")[1]) in floradl.__all__
    ]


def test_no_module_bears_a_public_name() -> None:
    """`floradl.archive` is a function; a module of that name would take its place once imported."""
    assert public_names([module for module in SOURCES if module.count(".") == 1]) == []
    (planted,) = public_names(["floradl.archive", "floradl.archiver"])
    assert "floradl.archive bears the public name" in planted


def test_every_module_has_a_home() -> None:
    """A new module or package right below `floradl` has to say where it stands."""
    homes = {home_of(module) for module in SOURCES} - APART - {"__main__", "ground"}
    assert homes == set(MAY_IMPORT)
    assert {
        module.split(".")[1] for module in SOURCES if home_of(module) == "ground" and "." in module
    } == GROUND


def test_the_simulator_imports_nothing_of_floradl() -> None:
    """The simulator cannot share floradl's mistakes."""
    for module, path in SOURCES.items():
        if home_of(module) == "simulator":
            for name in imports_of(path.read_text(encoding="utf-8"), module):
                assert home_of(name) == "simulator", path


def test_the_documented_table_is_the_enforced_one() -> None:
    """docs/architecture.md has a row for each package, with what it may import."""
    rows = {}
    for line in ARCHITECTURE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            rows[cells[0].strip("`")] = {name.strip(" `") for name in cells[2].split(",")} - {"—"}
    assert rows == MAY_IMPORT

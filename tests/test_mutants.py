"""The tool that makes modules wrong: which changes it makes, and what it says of the tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import mutants
from tests.support.mutants import Results, mutants_of, own_tests, run

MODULE = "floradl/small.py"
SOURCE = '''
def first(a, b):
    """Told."""
    if a and b < 3:
        close(a)
        return True
    log.info("nothing")
    return None
'''


def test_each_change() -> None:
    """Every operator changes what it is for, one place at a time; docstrings and what is logged stay."""
    changes = sorted(mutant.name.removeprefix("m.py:") for mutant in mutants_of("m.py", SOURCE))
    assert changes == [
        "4:13: b < 3 → b <= 3",
        "4:13: b < 3 → b >= 3",
        "4:17: 3 → 2",
        "4:17: 3 → 4",
        "4:4: if a and b < 3: → if not (a and b < 3):",
        "4:7: a and b < 3 → a or b < 3",
        "5:8: close(a) deleted",
        "6:15: True → False",
        "6:8: return True → return None",
    ]


def test_each_mutant_is_another_module() -> None:
    """All of them can be imported, none is the module as it was, no two are the same."""
    sources = [mutant.source for mutant in mutants_of("m.py", SOURCE)]
    assert len({ast.unparse(ast.parse(source)) for source in [*sources, SOURCE]}) == len(sources) + 1


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("floradl/buffers.py", "tests/test_buffers.py"),
        ("floradl/download/plan.py", "tests/download/test_plan.py"),
        ("floradl/storage/local/none_of_its_own.py", "tests/storage/local"),
    ],
)
def test_the_tests_of_a_module(path: str, tests: str) -> None:
    """Its own, or its neighbours'."""
    assert own_tests(path) == tests


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one module, and tests of it that leave much out."""
    (tmp_path / "floradl").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "floradl" / "__init__.py").touch()
    (tmp_path / MODULE).write_text("seen = []\ndef count(n):\n    seen.append(n)\n    return n * 5\n")
    (tmp_path / "tests" / "test_small.py").write_text(
        "from floradl.small import count\ndef test_it():\n    assert count(3) == 15\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "COPIED", ("floradl", "tests"))
    return tmp_path


def test_what_survives_and_what_is_killed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree stays as it was; a second run takes what the first one found."""
    before, said, again = (root / MODULE).read_bytes(), list[str](), list[str]()
    assert run([MODULE], 99, 1, 2, Results(root / "results"), said.append) == 1
    assert said[0] == "4 mutants of 1 modules; 4 are tried"
    assert said[-1] == "4 applied, 3 killed (0 by their time), 1 survived"
    assert f"survived: {MODULE}:3:4: seen.append(n) deleted" in said
    assert (root / MODULE).read_bytes() == before
    monkeypatch.setattr(mutants.Copy, "outcome", lambda *_: "passed")
    run([MODULE], 99, 1, 2, Results(root / "results"), again.append)
    assert sorted(again) == sorted(said)


def test_a_mutant_that_hangs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is killed, and the copy is as it was."""
    tree = mutants.Copy(tmp_path_factory.mktemp("copy"))
    assert tree.outcome(MODULE, "import time\ntime.sleep(600)\n", 2.0) == "hung"
    assert tree.outcome(MODULE, (root / MODULE).read_text(), 60.0) == "passed"


def test_tests_that_fail_with_the_module_as_it_is(root: Path) -> None:
    """Nothing can be learned from them."""
    (root / "tests" / "test_small.py").write_text("def test_it():\n    raise ValueError\n")
    with pytest.raises(SystemExit, match="failed with floradl/small"):
        run([MODULE], 99, 1, 1, Results(root / "results"), lambda _: None)

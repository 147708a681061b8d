"""Whether the tests of a module notice when it is wrong: it is made wrong in one place at a time.

    python -m tests.support.mutants --sample 120 --seed 1 floradl/download/plan.py …

Each mutant is one small change: a comparison turned or moved by one, a condition negated, `and` for `or`,
a constant one more or less, a statement deleted, `None` returned. A sample, drawn by the seed, is tried:
floradl/a/b.py is changed, and tests/a/test_b.py (where there is none, all of tests/a) has to fail, or to
hang, for the mutant to be killed. What survives is a test that is missing or a change that makes no
difference; a person tells which.

It works on copies of the tree, one for each process at work, so the tree itself is never touched. Each run
is a session of its own, which is killed as a whole when it takes too long. A module whose tests fail with it
as it is, is an error. Results go to a file as they come, and the same sample goes on from there.

mutmut was tried first. It deletes no statement, so no `os.close` either; it changes no decorated function,
so no property; where tests start processes of floradl's own it ends with an error before the first mutant;
and it takes no sample.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[2]
COPIED = ("floradl", "tests", "benchmarks", "docs", "requirements", "pyproject.toml", "README.md", "Makefile")
PYTEST = ("-x", "-q", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider", "--timeout=60")
LEAST_S = 30.0
"""How long tests may take however quick they are."""

TIMES_AS_LONG = 5
"""How much longer than with the module as it is they may take; a mutant may wait where nobody waited."""

_TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""For each comparison its boundary, where it has one, and its opposite."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes:
        path: the module's file.
        line: where.
        column: the same.
        change: what becomes of it.
        source: the whole module with it.
    """

    path: str
    line: int
    column: int
    change: str
    source: str

    @property
    def name(self) -> str:
        """What it is called in reports and in the file of results."""
        return f"{self.path}:{self.line}:{self.column}: {self.change}"


# ------------------------------------------------------------------------------------------------ the changes


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for replacement in _replacements(node):
            yield _mutant(path, tree, node, replacement)
        for statement in _deletable(node):
            yield _mutant(path, tree, statement, ast.Pass())


def _mutant(path: str, tree: ast.Module, node: ast.AST, replacement: ast.AST) -> Mutant:
    assert isinstance(node, ast.expr | ast.stmt)
    is_deleted = isinstance(replacement, ast.Pass)
    after = "deleted" if is_deleted else f"→ {_short(replacement)}"
    change = f"{_short(node)} {after}"
    changed = ast.unparse(ast.fix_missing_locations(_Swap(node, replacement).visit(copy.copy(tree))))
    return Mutant(path, node.lineno, node.col_offset, change, changed)


def _short(node: ast.AST) -> str:
    line = ast.unparse(node).partition("\n")[0]
    return line if len(line) <= 80 else f"{line[:79]}…"


class _Swap(ast.NodeTransformer):
    """A copy of a tree in which one node is another; the tree stays as it is."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The node, or what takes its place."""
        return self._new if node is self._old else self.generic_visit(copy.copy(node))

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """As it is, with copies of its children."""
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [self.visit(it) if isinstance(it, ast.AST) else it for it in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]):
            yield from (_with(node, ops=[turned()]) for turned in _TURNED[type(op)])
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.BinOp(op=ast.Add() | ast.Sub() as sign):
            yield _with(node, op=ast.Sub() if isinstance(sign, ast.Add) else ast.Add())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=value):
            yield from _other_constants(value)
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call() | ast.BoolOp() as test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))


def _other_constants(value: object) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _deletable(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a function that do something: calls, assignments, `raise`, `return`, `break`."""
    for body in ("body", "orelse", "finalbody"):
        statements = getattr(node, body, None)
        if not isinstance(statements, list) or isinstance(node, ast.Module | ast.ClassDef):
            continue
        for statement in statements:
            match statement:
                case ast.Expr(value=ast.Constant()):  # a docstring
                    continue
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
                    continue  # what is logged is no promise
                case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue() | ast.Delete():
                    yield statement
                case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Return(value=None):
                    yield statement


# ---------------------------------------------------------------------------------------------- trying them


def own_tests(path: str) -> str:
    """The file of tests that a module has to itself, or the folder of its neighbours' tests."""
    module = Path(path)
    folder = Path("tests", *module.relative_to("floradl").parts[:-1])
    own = folder / f"test_{module.name}"
    return str(own if (ROOT / own).exists() else folder)


class Copy:
    """A copy of the tree, in which one module at a time is another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def outcome(self, path: str, source: str, limit_s: float) -> str:
        """What the module's tests say of a source of it: `passed`, `failed`, `hung` or `no tests`."""
        module, original = self._folder / path, (ROOT / path).read_bytes()
        module.write_text(source, encoding="utf-8")
        try:
            code = self._pytest(own_tests(path), limit_s)
        finally:
            module.write_bytes(original)
        if code is None:
            return "hung"
        return {0: "passed", 4: "no tests", 5: "no tests"}.get(code, "failed")

    def _pytest(self, tests: str, limit_s: float) -> int | None:
        """The exit code of pytest; None when it had to be killed."""
        # No byte code is kept: two sources of one module may be equally long, and written in one second.
        env = os.environ | {"PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        temporary = self._folder / "tmp"
        command = [sys.executable, "-m", "pytest", *PYTEST, f"--basetemp={temporary}", tests]
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill_session(process.pid)
            process.wait()
            shutil.rmtree(temporary, ignore_errors=True)


def _kill_session(session_id: int) -> None:
    """Kill what is left of a run: pytest, and processes that its tests started."""
    try:
        os.killpg(session_id, signal.SIGKILL)
    except ProcessLookupError:
        return


class Results:
    """What became of mutants, kept in a file so that a run can go on where another ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._known: dict[str, str] = dict(json.loads(line) for line in lines)

    def get(self, mutant: Mutant) -> str | None:
        """What is known of a mutant of the module as it is now."""
        return self._known.get(self._key(mutant))

    def keep(self, mutant: Mutant, outcome: str) -> None:
        """Note it."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([self._key(mutant), outcome]) + "\n")

    @staticmethod
    def _key(mutant: Mutant) -> str:
        return f"{mutant.name} {_checksum(ROOT / mutant.path)} {_checksum(ROOT / own_tests(mutant.path))}"


def _checksum(path: Path) -> int:
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


def run(
    paths: list[str], sample: int, seed: int, jobs: int, results: Results, say: Callable[[str], None]
) -> int:
    """Try a sample of the mutants of some modules, and say what became of them.

    Returns:
        How many survived.
    """
    every = [mutant for path in paths for mutant in mutants_of(path, (ROOT / path).read_text("utf-8"))]
    chosen = random.Random(seed).sample(every, min(sample, len(every)))
    say(f"{len(every)} mutants of {len(paths)} modules; {len(chosen)} are tried")
    outcomes: dict[str, str] = {}
    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        copies: Queue[Copy] = Queue()
        for _ in range(jobs):
            copies.put(Copy(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))))
        limits = _limits(sorted({mutant.path for mutant in chosen}), copies, pool)

        def attempt(mutant: Mutant) -> str:
            known = results.get(mutant)
            if known is not None:
                return known
            tree = copies.get()
            try:
                outcome = tree.outcome(mutant.path, mutant.source, limits[mutant.path])
            finally:
                copies.put(tree)
            results.keep(mutant, outcome)
            return outcome

        futures = {pool.submit(attempt, mutant): mutant for mutant in chosen}
        for future in as_completed(futures):
            outcomes[futures[future].name] = future.result()
            if future.result() == "passed":
                say(f"survived: {futures[future].name}")
    survived = sum(outcome == "passed" for outcome in outcomes.values())
    hung = sum(outcome == "hung" for outcome in outcomes.values())
    say(f"{len(chosen)} applied, {len(chosen) - survived} killed ({hung} by their time), {survived} survived")
    return survived


def _limits(paths: list[str], copies: Queue[Copy], pool: ThreadPoolExecutor) -> dict[str, float]:
    """How long the tests of each module may take: a multiple of what they take with it as it is."""

    def measure(path: str) -> float:
        tree, began_s = copies.get(), time.monotonic()
        try:
            outcome = tree.outcome(path, (ROOT / path).read_text("utf-8"), 600)
        finally:
            copies.put(tree)
        if outcome != "passed":
            raise SystemExit(f"{own_tests(path)} {outcome} with {path} as it is")
        return max(LEAST_S, TIMES_AS_LONG * (time.monotonic() - began_s))

    return dict(zip(paths, pool.map(measure, paths), strict=True))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", help="modules, as floradl/download/plan.py")
    parser.add_argument("--sample", type=int, default=60, help="how many mutants are tried")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--results", type=Path, default=ROOT / ".mutants", help="where results are kept")
    told = parser.parse_args()
    results = Results(told.results)
    run(told.paths, told.sample, told.seed, told.jobs, results, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()

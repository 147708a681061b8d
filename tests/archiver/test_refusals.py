"""A list that is refused, as a table: which list, seen before or not, named or not, by whom it was refused.

For each: the requests for that list, the exit code, what is said with and without `-q`, what `status` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from floradl.api.models import Scope
from floradl.archiver.refusals import was_seen
from floradl.constants import Source
from floradl.repository.entries import ScanEntry, ScanOp, ScopeEntry
from floradl.repository.manifest import Manifest
from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.archives import manifest
from tests.support.zygote import floradl

PATHS = {
    "generations": "*/generations",
    "technique-runs": "*/technique-runs",
    "assets": "*/assets",
    "canvas": "*/canvas",
}
PAGE = b"<!doctype html><html><title>Blocked by your administrator</title></html>"


class Case(NamedTuple):
    """A refused list."""

    source: str
    status: int
    seen: bool
    named: bool
    by: str

    @property
    def exit_code(self) -> int:
        """3: what the API itself says is not known. 4: it refuses a list that must not be left out."""
        if self.by == "something on the way":
            return 3
        return 4 if self.named or self.seen or self.source == "generations" else 0

    @property
    def said(self) -> str:
        """A part of what stands on stderr, with `-q` too where it is a failure."""
        if self.by == "something on the way":
            return f"something between here and the API answered {self.status}"
        if self.named:
            return f"This key may not see that: leave out --source {self.source}"
        if self.source == "generations":
            return "An archive without generations is never complete: use a key that may see them"
        words = "canvases" if self.source == "canvas" else self.source.replace("-", " ")
        if self.seen:
            return f"This archive has seen {words} before: use a key that may see them"
        return f"Left out: {words}, which this key cannot see ({self.status} "


CASES = [
    Case(source, status, seen, named, by)
    for source, status, seen, named, by in product(
        PATHS, (403, 404), (False, True), (False, True), ("the API", "something on the way")
    )
    if (status == 403) != (source == "technique-runs")  # both kinds of status, each with every list but one
]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account with something in each list."""
    with serve_in_thread(
        generate_account(3, seed=7, projects=1, techniques=2, assets=2, canvases=True)
    ) as simulator:
        yield simulator


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_refused_list(sim: Simulator, tmp_path: Path, case: Case) -> None:
    """Nothing but a list that nobody ever saw, named or needs ends in exit code 0."""
    sources = [word for each in Source for word in ("--source", each)] if case.named else ["--source", "all"]
    if case.seen:
        assert floradl(sim, *sources, tmp_path).returncode == 0
    body = PAGE if case.by == "something on the way" else None
    sim.faults.append(Fault(PATHS[case.source], status=case.status, body=body))
    sim.forget()
    done = floradl(sim, *sources, "--retries", "1", tmp_path)
    assert (done.returncode, case.said in done.stderr) == (case.exit_code, True), done.stderr
    asked = [request.status for request in sim.api_requests() if request.path.endswith(f"/{case.source}")]
    lists = 3 if case.source == "generations" and body else 1  # pending, running and completed runs
    assert asked == [case.status] * (2 if body else 1) * lists
    quiet = floradl(sim, "-q", *sources, "--retries", "0", tmp_path)
    assert (quiet.returncode, case.said in quiet.stderr) == (case.exit_code, case.exit_code != 0)
    told = json.loads(floradl(sim, "status", "--json", tmp_path).stdout)
    refused = {scope["source"] for scope in told["scopes"] if scope["refused_at"]}
    assert refused == ({case.source} if case.seen and not body else set())
    known = {scope["source"] for scope in told["scopes"]}
    assert (case.source in known) is case.seen


@pytest.mark.parametrize("source", PATHS)
def test_a_list_is_left_out_by_naming_the_others(sim: Simulator, tmp_path: Path, source: str) -> None:
    """What the hint of the failure names is what helps; with the list back, nothing is left of it."""
    assert floradl(sim, "--source", "all", tmp_path).returncode == 0
    sim.account.refuse(source)
    failed = floradl(sim, "--source", "all", tmp_path)
    assert failed.returncode == 4
    hint = next(line for line in failed.stderr.splitlines() if "name what to archive without them: " in line)
    named = hint.partition("without them: ")[2].split()
    assert floradl(sim, *named, tmp_path).returncode == 0
    assert floradl(sim, "--source", "all", tmp_path).returncode == 4
    sim.account.allow(source)
    assert floradl(sim, "--source", "all", tmp_path).returncode == 0


@pytest.mark.parametrize("source", ["technique-runs", "assets", "canvas"])
def test_a_list_that_was_only_seen_in_part(sim: Simulator, tmp_path: Path, source: str) -> None:
    """What came from the list is as good as a scan of it; a job with filters leaves no scan behind."""
    assert floradl(sim, "--source", "all", tmp_path).returncode == 0
    value = manifest(tmp_path)
    value["scans"] = []
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    sim.account.refuse(source)
    done = floradl(sim, "--source", "all", tmp_path)
    assert (done.returncode, "This archive has seen" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize("source", ["generations", "technique-runs", "assets"])
def test_a_preview_fails_as_the_job_would(sim: Simulator, tmp_path: Path, source: str) -> None:
    """`--dry-run` of a list that must not be left out does not end well either."""
    assert floradl(sim, "--source", "all", tmp_path).returncode == 0
    sim.account.refuse(source)
    done = floradl(sim, "--dry-run", "--source", "all", tmp_path)
    assert (done.returncode, f"{source}: the API answered 403" in done.stderr) == (4, True), done.stderr
    fresh = floradl(sim, "--dry-run", "--source", "all", tmp_path / "new")
    assert fresh.returncode == (4 if source == "generations" else 0)


@pytest.mark.parametrize(
    ("scanned", "asked", "expected"),
    [
        ((None, None), (None, None), True),
        ((None, None), (None, "prj_a"), True),
        (("ws_a", None), (None, "prj_a"), True),  # the project may lie in that workspace
        ((None, "prj_a"), (None, None), True),
        ((None, "prj_a"), (None, "prj_b"), False),
        (("ws_a", None), ("ws_b", None), False),
        (("ws_a", "prj_a"), ("ws_a", "prj_b"), False),
    ],
)
def test_where_a_list_was_seen(
    scanned: tuple[str | None, str | None], asked: tuple[str | None, str | None], *, expected: bool
) -> None:
    """A scan of another place says nothing; one with another key does."""
    value = Manifest("0" * 32, "2026-01-01T00:00:00Z")
    at = "2026-01-01T00:00:00Z"
    value.apply(ScanOp(ScanEntry(ScopeEntry("assets", *scanned), "another key", None, {}, at, at)))
    assert was_seen(Source.ASSETS, [Scope(*asked)], value) is expected
    assert not was_seen(Source.CANVAS, [Scope(*asked)], value)

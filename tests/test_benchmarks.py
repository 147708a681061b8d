"""The benchmarks' own arithmetic, and that docs/performance.md says what was measured.

That every benchmark works, and that every contender fetches what it should, is what `make bench-tiny` sees
to.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import account, report, results
from benchmarks.bench import check_tree, empty_tree
from benchmarks.errors import BenchmarkError
from benchmarks.measure import Entrant, run_process, take_turns
from benchmarks.media import Files, make
from benchmarks.plot import draw
from benchmarks.results import Group, Results, Row, Sample
from benchmarks.suite import SUITE
from benchmarks.targets import checks
from floradl.api.models import Generation
from floradl.api.pages import parse_page
from floradl.repository.filetype import missing_end, page_instead_of_media


def a_row(name: str, *walls_s: float, **extra: float) -> Row:
    """A contender that took these times."""
    samples = [Sample(wall_s, wall_s / 2, 50_000_000, extra) for wall_s in walls_s]
    return Row(name, f"{name} URLS", samples=samples)


def piece(content: bytes, start: int, size: int) -> bytes:
    """A part of a file."""
    return content[start : start + size]


def test_the_page_and_the_plot_are_made_of_the_kept_figures() -> None:
    """Whoever changes a table by hand, or forgets to make it anew, is told."""
    kept = results.load(results.RESULTS)
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page, kept) == page
    assert draw(kept) == report.PLOT.read_text(encoding="utf-8")


def test_every_benchmark_has_its_block_on_the_page() -> None:
    """What is measured is shown."""
    page = report.PAGE.read_text(encoding="utf-8")
    missing = [name for name in SUITE if f"<!-- benchmarks: {name} -->" not in page]
    assert not missing


def test_what_a_turn_left_is_emptied_and_stays(tmp_path: Path) -> None:
    """No inode is freed for the next one to look through; what has a name elsewhere too keeps its bytes."""
    turn, other = tmp_path / "turn", tmp_path / "other.png"
    (turn / "run").mkdir(parents=True)
    (turn / "run" / "a.png").write_bytes(b"fetched")
    other.write_bytes(b"not theirs")
    (turn / "hard.png").hardlink_to(other)
    (turn / "soft.png").symlink_to(other)
    empty_tree(turn)
    assert (turn / "run" / "a.png").read_bytes() == b""
    assert other.read_bytes() == b"not theirs"
    assert (turn / "hard.png").exists()


def test_contenders_take_turns() -> None:
    """All run once before any runs again; the slow one and the missing one are no exception, but for that."""
    order: list[str] = []

    def entrant(name: str, max_runs: int | None = None, missing: str = "") -> Entrant:
        def run() -> Sample:
            order.append(name)
            return Sample(1.0, 1.0, 1)

        return Entrant(name, name, run, max_runs=max_runs, missing=missing)

    said: list[str] = []
    entrants = [
        entrant("a"),
        entrant("slow", max_runs=1),
        entrant("gone", missing="not installed"),
        entrant("b"),
    ]
    rows = take_turns(entrants, 2, said.append)
    assert order == ["a", "slow", "b", "a", "b"]
    assert [len(row.samples) for row in rows] == [2, 1, 0, 2]
    assert rows[2].missing == "not installed"
    assert any("MISSING" in line and "gone" in line for line in said)


def test_checks_compare_medians_of_one_group() -> None:
    """1.3 times as fast as aria2c holds, 0.8 times as fast as curl does not; nothing else was measured."""
    rows = [a_row("floradl", 4.0, 9.0, 5.0), a_row("aria2c -j 64", 6.5), a_row("curl --parallel 64", 3.9)]
    group = Group("small-40ms", "Small", "files", 3000, 600_000_000, rows)
    found = checks(Results({}, {group.id: group}))
    assert [(check.figure, check.holds) for check in found[:2]] == [
        ("1.3 \N{MULTIPLICATION SIGN}", True),
        ("0.78 \N{MULTIPLICATION SIGN}", False),
    ]
    assert {check.holds for check in found[2:]} == {None}
    assert {check.number for check in found} == set(range(1, 10))


def test_a_table_shows_medians_and_who_is_missing() -> None:
    """A line for each contender, with its speed beside the first one's."""
    rows = [
        a_row("floradl", 2.0, 1.0, 9.0, api_calls=8),
        a_row("wget", 4.0),
        Row("rclone", "", missing="gone"),
    ]
    group = Group("small-40ms", "Small", "files", 100, 200_000_000, rows)
    page = report.filled(
        "a\n<!-- benchmarks: small-40ms -->\nold\n<!-- end -->\nz\n", Results({}, {group.id: group})
    )
    assert page.startswith("a\n<!--")
    assert page.endswith("-->\nz\n")
    assert "old" not in page
    assert "| floradl | 3 | 2.000 | 50 | 100 | 1.00 | 50 | 1.00 | 8 |" in page
    assert "| wget | 1 | 4.000 | 25 | 50 | 2.00 | 50 | 0.50 |  |" in page
    assert "| rclone | missing: gone |" in page


def test_a_block_of_an_unknown_name_is_an_error() -> None:
    """A benchmark that was renamed leaves no table behind that is never made again."""
    with pytest.raises(BenchmarkError, match="no-such"):
        report.filled("<!-- benchmarks: no-such -->\n<!-- end -->\n", Results({}))


def test_what_was_not_fetched_is_noticed(tmp_path: Path) -> None:
    """A file too few, or a byte; floradl's own files do not count."""
    (tmp_path / ".floradl").mkdir()
    for name, size in ((".floradl/lock", 1), ("manifest.json", 9), ("a.png", 4), ("b.png", 5)):
        (tmp_path / name).write_bytes(b"x" * size)
    check_tree(tmp_path, 2, 9, "wget")
    with pytest.raises(BenchmarkError, match="wget fetched 2 files of 9 bytes instead of 2 of 10"):
        check_tree(tmp_path, 2, 10, "wget")
    with pytest.raises(BenchmarkError, match="instead of 3"):
        check_tree(tmp_path, 3, 9, "wget")


def test_a_process_that_fails_is_no_figure(tmp_path: Path) -> None:
    """What it said is passed on."""
    code = "import sys; sys.stderr.write('no disk'); sys.exit(3)"
    with pytest.raises(BenchmarkError, match=r"ended with 3:\nno disk"):
        run_process([sys.executable, "-c", code], {}, tmp_path)


def test_figures_are_of_the_process_and_its_children(tmp_path: Path) -> None:
    """Memory that a child of the child took, and what was printed."""
    grandchild = "b = bytearray(200_000_000); print('done')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], check=True)"
    outcome = run_process([sys.executable, "-c", code], {}, tmp_path)
    assert outcome.stdout == b"done\n"
    assert 200_000_000 < outcome.sample.peak_rss_bytes < 260_000_000
    assert 0 < outcome.sample.cpu_s < 60


@pytest.mark.parametrize("kind", ["imageUrl", "videoUrl"])
def test_media_look_whole(tmp_path: Path, kind: str) -> None:
    """floradl would refuse them otherwise, and fetch them again and again."""
    files = Files(2, 5000, kind)
    make(files, tmp_path)
    contents = [(tmp_path / path).read_bytes() for path in files.paths]
    assert contents[0] != contents[1]
    for content in contents:
        assert len(content) == 5000
        assert page_instead_of_media(content, "") is None
        assert missing_end(content, 5000, partial(piece, content)) == ""


def test_pages_are_the_api_s(tmp_path: Path) -> None:
    """A hundred runs a page, newest first; a list of all, and one a project; the last page leads nowhere."""
    runs = [account.Run(number, (account.Output("text", "t"),), f"prj_{number % 2}") for number in range(250)]
    account.write_pages(tmp_path / "scene", runs)
    cursor = "0"
    listed: list[Generation] = []
    while cursor:
        page = parse_page((tmp_path / "scene/all/completed" / f"{cursor}.json").read_bytes())
        listed += page.generations
        cursor = page.next_cursor or ""
    assert [run.run_id for run in listed] == [run.run_id for run in runs]
    assert [run.created_at_ms for run in listed] == sorted(
        (run.created_at_ms or 0 for run in listed), reverse=True
    )
    one = parse_page((tmp_path / "scene/prj_1/completed/0.json").read_bytes())
    assert {run.project_id for run in one.generations} == {"prj_1"}

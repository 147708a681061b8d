"""What `floradl status` says of an archive, from a manifest made by hand: ages, open runs, long lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from floradl.api.models import Scope
from floradl.cli.reports.metrics import metric_lines
from floradl.cli.reports.status import age_line, status_lines, status_object
from floradl.clock import format_ms
from floradl.repository.entries import (
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    SourcesOp,
    State,
)
from floradl.repository.manifest import Manifest
from floradl.repository.names import Place, PlaceName
from floradl.repository.statistics import Status, summarize
from tests.cli.reports.schema import closed
from tests.support.clock import FakeTime

SCHEMA = Path(__file__).parents[3] / "docs" / "status.schema.json"
OCTOBER_MS, NOVEMBER_MS = 1_790_850_000_000, 1_793_600_000_000  # 2026-10-01, 2026-11-02
NOW_MS = 1_795_500_000_000  # 2026-11-24T06:00Z
DAY_MS = 86_400_000
HOSTILE = 'a"b\\c\n\x1b[31m\u202e漢字'
HOSTILE_LABEL = 'a"b\\c\n\\u001b[31m\\u202e漢字'
"""The same as a label of a metric: what a terminal would obey is written out."""


def scan(
    project_id: str | None,
    days_ago: float,
    *,
    full_days_ago: float = 6,
    open_runs: tuple[str, ...] = (),
    source: str = "generations",
    refused: bool = False,
) -> ScanOp:
    """A scan of a project, or of everything, that ended well so long ago."""

    def moment(days: float) -> str:
        return format_ms(int(NOW_MS - days * DAY_MS))

    records = {
        run_id: msgspec.Raw(
            json.dumps(
                {"run_id": run_id, "status": "pending", "workspace_id": "ws_a", "project_id": "prj_a"}
            ).encode()
        )
        for run_id in open_runs
    }
    scope, refused_at = ScopeEntry(source, None, project_id), moment(0) if refused else None
    return ScanOp(ScanEntry(scope, "0" * 16, 1, records, moment(days_ago), moment(full_days_ago), refused_at))


def manifest_of(*ops: RunOp | OutputOp | ScanOp | SourcesOp) -> Manifest:
    """A manifest after some changes."""
    made = Manifest("0" * 32, "2026-01-01T00:00:00Z")
    for op in ops:
        made.apply(op)
    return made


@pytest.mark.parametrize(
    ("scans", "asked", "days"),
    [
        ([], [], None),
        ([scan(None, 1)], [], 1),
        ([scan("prj_a", 1), scan("prj_b", 9)], [], 9),  # one that nobody scans any more is not hidden
        ([scan("prj_a", 1), scan("prj_b", 9)], ["prj_a"], 1),  # unless it is not asked for
        ([scan("prj_b", 9), scan(None, 2)], [], 2),  # the whole account's covers it
        ([scan("prj_b", 1), scan(None, 2)], ["prj_b"], 1),
        ([scan("prj_b", 1)], ["prj_c"], None),
        ([scan("prj_b", 1)], ["prj_b", "prj_c"], None),
        ([scan(None, 1), scan(None, 9, source="assets")], [], 9),  # every list that was ever scanned
        ([scan(None, 1), scan(None, 9, source="assets")], ["prj_a"], 9),
        ([scan(None, 1), scan("prj_b", 9, source="assets")], ["prj_a"], 1),  # of what is asked for
        ([scan(None, 1), scan(None, 9, source="assets", refused=True)], [], 9),  # a refused list gets old
        ([scan("prj_a", 9, source="assets", refused=True), scan(None, 1, source="assets")], ["prj_a"], 1),
        ([scan(None, 9, refused=True)], [], 9),
        ([scan(None, 9, refused=True)], ["prj_a"], 9),
    ],
)
def test_the_age_of_an_archive(scans: list[ScanOp], asked: list[str], days: float | None) -> None:
    """It is that of the scope that was scanned the longest ago, larger scans counted for what they cover."""
    status = summarize(manifest_of(*scans), [Scope(None, project_id) for project_id in asked])
    if days is None:
        assert status.scanned_ms is None
        assert status.is_older_than(1e9, NOW_MS)
    else:
        assert status.scanned_ms == NOW_MS - days * DAY_MS
        assert not status.is_older_than(days * 86_400, NOW_MS)
        assert status.is_older_than(days * 86_400 - 1, NOW_MS)


@pytest.mark.parametrize("days", [-0.05, -1, -1825])
def test_a_clock_that_was_ahead(days: float) -> None:
    """A scan with a date to come is no young one: the archive is old, and says why; a right scan counts."""
    status = summarize(manifest_of(scan(None, days, full_days_ago=days)), now_ms=NOW_MS)
    assert status.is_older_than(1e12, NOW_MS)
    assert re.fullmatch(
        r"TOO OLD: the last scan of the whole account is dated \S+, which is to come: a clock was wrong\.",
        age_line(status, NOW_MS),
    )
    metrics = "\n".join(metric_lines(status, "/x", NOW_MS))
    assert re.search(r"^floradl_last_scan_timestamp_seconds\{.*\} 0\.0$", metrics, re.MULTILINE)
    assert re.search(r"^floradl_last_full_scan_timestamp_seconds\{.*\} 0\.0$", metrics, re.MULTILINE)
    other = scan(None, 1)
    right = msgspec.structs.replace(other, scan=msgspec.structs.replace(other.scan, account="1" * 16))
    both = summarize(manifest_of(scan(None, days), right), now_ms=NOW_MS)
    assert both.scanned_ms == NOW_MS - DAY_MS
    assert not both.is_older_than(2 * 86_400, NOW_MS)


def test_clocks_of_two_machines() -> None:
    """A few minutes between them are no clock that was wrong."""
    status = summarize(manifest_of(scan(None, -0.01)), now_ms=NOW_MS)
    assert not status.is_older_than(60, NOW_MS)


def test_open_runs_of_an_older_scan() -> None:
    """A newer scan that covers an older one has the last word about what is open; what is recorded is not."""
    older, newer = scan("prj_a", 3, open_runs=("run_1", "run_2")), scan(None, 1, open_runs=("run_2", "run_3"))
    facts = RunFacts("ws_a", "prj_a", "ws_a/prj_a/run_3", None, None, None, None, "0" * 64)
    status = summarize(manifest_of(older, newer, RunOp("run_3", facts)))
    assert [run.run_id for run in status.open_runs] == ["run_2"]
    apart = summarize(manifest_of(older, scan("prj_b", 1)))
    assert [run.run_id for run in apart.open_runs] == ["run_1", "run_2"]


def test_open_runs_of_two_lists() -> None:
    """A run that both lists have open is one; one list has no word about what the other alone has."""
    techniques = scan(None, 2, open_runs=("run_1", "run_2"), source="technique-runs")
    status = summarize(manifest_of(techniques, scan(None, 1, open_runs=("run_2", "run_3"))))
    assert sorted(run.run_id for run in status.open_runs) == ["run_1", "run_2", "run_3"]
    uploads = scan(None, 1, open_runs=("run_4",), source="assets")
    assert summarize(manifest_of(uploads)).open_runs == []


def test_lists_that_were_not_scanned_together_are_told_apart() -> None:
    """Within an hour it was one job, and one line; a list that waits longer is named with its age."""
    together = summarize(manifest_of(scan(None, 1), scan(None, 1.02, source="technique-runs")))
    (line,) = [one for one in status_lines(together, "out", 80, NOW_MS) if "last scan" in one]
    assert re.fullmatch(r"last scan +24 h ago +2026-11-23 \d\d:\d\d UTC", line)
    apart = summarize(manifest_of(scan(None, 1), scan(None, 9, source="technique-runs")))
    text = "\n".join(status_lines(apart, "out", 80, NOW_MS))
    assert re.search(r"^last scan +9 d ago +of technique runs of the whole account$", text, re.MULTILINE)
    assert re.search(r"^ +24 h ago +of the whole account$", text, re.MULTILINE)
    assert age_line(apart, NOW_MS) == (
        "TOO OLD: the last complete scan of technique runs of the whole account was 9 d ago."
    )
    closed = summarize(manifest_of(scan(None, 1, refused=True)))
    assert age_line(closed, NOW_MS) == (
        "TOO OLD: the last complete scan of the whole account was 24 h ago; "
        "FLORA refuses that list to the key since then."
    )


def test_what_a_newer_floradl_wrote_is_shown_as_it_is() -> None:
    """A list that is not known here, with a hostile name, is counted, named and stays on its line."""
    facts = RunFacts("ws_a", "prj_a", "ws_a/prj_a/run_1", None, None, None, 1.0, "0" * 64,
                     technique_name=HOSTILE)  # fmt: skip
    told = SourcesOp("run_1", (HOSTILE, "generations"))
    status = summarize(manifest_of(RunOp("run_1", facts), told, scan(None, 1, source=HOSTILE)))
    assert list(status.by_sources) == [("generations", HOSTILE)]
    lines = status_lines(status, "out", 80, NOW_MS)
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("  generations and a") for line in lines)
    text = "\n".join(metric_lines(status, "/x", NOW_MS)) + "\n"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["floradl_technique_runs"].samples[0].labels["technique"] == HOSTILE_LABEL
    assert families["floradl_last_scan_timestamp_seconds"].samples[0].labels["source"] == HOSTILE_LABEL


def test_long_lists_are_cut_short_unless_all_is_wanted() -> None:
    """Of 50 projects the largest 20 are shown; -v shows all."""
    ops: list[RunOp | OutputOp] = []
    for number in range(50):
        place = f"ws_a/prj_{number}/run_{number}"
        ops.append(
            RunOp(f"run_{number}", RunFacts("ws_a", f"prj_{number}", place, "m", 1, 1, 0.001, "0" * 64))
        )
        entry = OutputEntry("imageUrl", State.ARCHIVED, "o.png", 1000 * (number + 1), "0" * 64)
        ops.append(OutputOp(f"run_{number}", "o", entry))
    status = summarize(manifest_of(*ops))
    lines = status_lines(status, "out", 80, NOW_MS)
    assert "  … 30 more; -v shows all" in lines
    assert any(line.startswith("  prj_49 ") and "<$0.01" in line for line in lines)
    assert not any(line.startswith("  prj_0 ") for line in lines)
    everything = status_lines(status, "out", 80, NOW_MS, everything=True)
    assert any(line.startswith("  prj_0 ") for line in everything)
    assert any(line.startswith("  1970-01 ") for line in lines)


def test_the_object_of_an_empty_archive_is_as_its_schema_says() -> None:
    """An archive of nothing, and one with odd ids, give an object like any other."""
    odd = Status(scopes=summarize(manifest_of(scan(None, 1))).scopes)
    odd.by_project[Place("", "")] = odd.total
    odd.names = {Place("", ""): PlaceName(HOSTILE, HOSTILE)}
    for status in (Status(), odd):
        value = status_object(
            status,
            archive={"path": "/x", "archive_id": "", "created_at": "", "base_url": ""},
            now_ms=NOW_MS,
            max_age_s=None,
            exit_code=0,
        )
        jsonschema.validate(value, closed(json.loads(SCHEMA.read_text(encoding="utf-8"))))
        text = "\n".join(metric_lines(status, 'C:\\x "y"', NOW_MS)) + "\n"
        assert all(
            sample.labels["archive"] == 'C:\\x "y"'
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        )


def test_scopes_are_named(tmp_path: Path) -> None:
    """Several scopes are listed each with its age, the oldest first, by name where that is known."""
    status = summarize(manifest_of(scan("prj_a", 1), scan("prj_b", 9)))
    status.names = {Place("ws_a", "prj_b"): PlaceName("", "Moving colours")}
    text = "\n".join(status_lines(status, str(tmp_path), 80, FakeTime(NOW_MS / 1000).clock.now_ms()))
    assert re.search(
        r"^last scan +9 d ago +of Moving colours \(prj_b\)\n +24 h ago +of prj_a$", text, re.MULTILINE
    )

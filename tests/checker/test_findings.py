"""What a check reports: when an archive is sound, with which exit code, and how a finding reads."""

from __future__ import annotations

import pytest

from floradl.checker.findings import AuditReport, AuditTally, Finding, Trouble
from floradl.errors import ApiUnavailableError, Exit, FloradlError, KeyRefusedError

MISSING = Finding(Trouble.MISSING, "ws/prj/run_a/output_1.png", "the file is gone", "run_a", "output_1")
STRAY = Finding(Trouble.STRAY, "holiday.png", "nobody knows it; it is left alone")
LOST = Finding(Trouble.LOST, "ws/prj/canvas/a-canvas.mmd", "given up", "prj", "a-canvas")


def report(
    *left: Finding,
    findings: tuple[Finding, ...] | None = None,
    is_interrupted: bool = False,
    problems: tuple[FloradlError, ...] = (),
) -> AuditReport:
    """The report of a check, or of a repair that left these findings."""
    return AuditReport(
        runs=1,
        assets=0,
        canvases=1,
        outputs=2,
        read=2,
        read_bytes=10,
        sample="1/1",
        findings=left if findings is None else findings,
        left=left,
        elapsed_s=1.0,
        is_interrupted=is_interrupted,
        problems=problems,
    )


@pytest.mark.parametrize(
    ("left", "code"),
    [([], Exit.OK), ([STRAY], Exit.OK), ([LOST], Exit.OK), ([STRAY, MISSING], Exit.INCOMPLETE)],
)
def test_strays_and_reported_losses_are_no_faults(left: list[Finding], code: Exit) -> None:
    """An archive with those alone is sound; with anything else it is not."""
    assert report(*left).exit_code == code
    assert report(*left).is_sound == (code == Exit.OK)


def test_a_check_that_was_stopped_proves_nothing() -> None:
    """Without a finding it does not call the archive sound."""
    assert report(is_interrupted=True).exit_code == Exit.INCOMPLETE


def test_a_refused_key_has_an_exit_code_of_its_own() -> None:
    """A repair that another key would have completed says so; any other problem is what it left."""
    refused = KeyRefusedError("the key is unknown", status=401)
    assert report(MISSING, problems=(refused,)).exit_code == Exit.KEY_REFUSED
    assert report(MISSING, problems=(ApiUnavailableError("no answer"),)).exit_code == Exit.INCOMPLETE


def test_findings_that_a_repair_mended_are_counted() -> None:
    """A finding whose place has another kind of finding afterwards is not mended."""
    changed = Finding(Trouble.CHANGED, MISSING.path, "other bytes", "run_a", "output_1")
    bad = Finding(Trouble.BAD_CHECKSUMS, "SHA256SUMS", "there is no such file")
    repaired = report(changed, findings=(MISSING, bad))
    assert repaired.repaired == 1
    assert repaired.counts() == {Trouble.CHANGED: 1}


def test_a_tally_counts_faults_alone() -> None:
    """A display shows as failed what makes the archive unsound."""
    assert AuditTally(findings=[MISSING, STRAY, LOST]).failed == 1


def test_a_finding_is_one_printable_line() -> None:
    """Names come from disks and from FLORA: none of them may move a terminal's cursor."""
    hostile = Finding(Trouble.MISSING, "a\x1b[2Jb", "gone\nindeed", "run_a", "out\tput")
    line = hostile.line()
    assert line.isprintable()
    assert line.startswith("missing: ")
    assert MISSING.line() == "missing: ws/prj/run_a/output_1.png (run_a output_1): the file is gone"

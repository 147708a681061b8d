"""A nightly job with systemd: what stands in its units is the command, whatever the paths hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from floradl.cli.schedule.job import NightlyJob
from floradl.cli.schedule.systemd import systemd_service, systemd_timer
from tests.cli.schedule.jobs import PATHS, exec_start, job


def verified(folder: Path, a_job: NightlyJob) -> str:
    """What `systemd-analyze verify` has to say about the units of a job."""
    assert shutil.which("systemd-analyze"), "the tests need systemd-analyze (Debian: systemd)"
    texts = {"service": systemd_service(a_job), "timer": systemd_timer(a_job)}
    for kind, text in texts.items():
        (folder / f"{a_job.name}.{kind}").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *(f"{folder}/{a_job.name}.{kind}" for kind in texts)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr  # a directive that it does not know is told here, and is no failure


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ, reason="no systemd on this machine"
)


@needs_systemd
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_sandboxed", [True, False])
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path, path: str, is_sandboxed: bool) -> None:
    """Both units pass `systemd-analyze verify` without a word, whatever DEST is called."""
    assert verified(tmp_path, replace(job(path, "--model=*%*"), is_sandboxed=is_sandboxed)) == ""


@needs_systemd
def test_systemd_would_say_something(tmp_path: Path) -> None:
    """The check above can fail: a program that is not there is told."""
    with pytest.raises(AssertionError, match="is not executable"):
        verified(tmp_path, replace(job("/srv/flora"), command=("/no/such/program",)))


@needs_systemd
def test_the_exposure_that_systemd_counts(tmp_path: Path) -> None:
    """The sandbox is worth something: systemd's figure stays below a bare service's 9.8."""
    file = tmp_path / "floradl-x.service"
    file.write_text(systemd_service(job("/srv/flora")))
    done = subprocess.run(
        ["systemd-analyze", "--user", "security", "--offline=yes", str(file)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    figure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert figure
    assert float(figure[1]) < 7


@pytest.mark.parametrize("path", PATHS)
def test_the_command_of_a_unit(path: str) -> None:
    """What systemd reads is what was meant: no specifier, no variable, no quote gets lost."""
    a_job = job(path, "--model=$x 50%", "--api-key-file=/k \"e'y")
    assert exec_start(systemd_service(a_job)) == list(a_job.command)


def test_a_unit_writes_to_the_archive_alone() -> None:
    """All is closed but what the job writes to; /tmp is its own, unless something of the job lies there."""
    service = systemd_service(replace(job("/srv/a b"), writable=("/srv/a b", "/var/log/flora")))
    assert 'ReadWritePaths="-/srv/a b" -/var/log/flora\n' in service
    assert {"ProtectSystem=strict", "PrivateUsers=yes", "PrivateTmp=yes"} <= set(service.splitlines())
    assert "PrivateTmp" not in systemd_service(job("/tmp/out"))  # noqa: S108 - it is the case at hand
    assert "PrivateTmp" not in systemd_service(job("/srv/out", "--api-key-file=/var/tmp/key"))
    bare = systemd_service(replace(job("/srv/a"), is_sandboxed=False))
    assert not re.search("ProtectSystem|PrivateUsers|ReadWritePaths|PrivateTmp", bare)
    assert "NoNewPrivileges=yes" in bare


def test_the_timer() -> None:
    """Every night at the time given, at random within the delay, made up for after sleep."""
    timer = systemd_timer(replace(job('/srv/"a"'), at=(4, 5), random_delay_s=600))
    lines = timer.splitlines()
    assert {"OnCalendar=*-*-* 04:05:00", "RandomizedDelaySec=600s", "Persistent=true"} <= set(lines)
    assert json.loads(lines[-1].removeprefix("Dest=")) == '/srv/"a"'

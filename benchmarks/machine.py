"""The machine that the figures were taken on, as far as they depend on it; nothing names anybody."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import floradl
from benchmarks.host import WORKERS

_VERSIONS = {
    "aria2c": "--version",
    "curl": "--version",
    "wget": "--version",
    "gallery-dl": "--version",
    "rclone": "version",
    "nginx": "-v",
}
_NUMBER = re.compile(r"\d+\.\d+(?:\.\d+)?")


def describe_machine() -> dict[str, str]:
    """Cores, memory, kernel, and the versions of all contenders and of what they use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "floradl": floradl.__version__,
    }
    versions = {name: _version(name, flag) for name, flag in _VERSIONS.items()}
    versions["nginx"] += f" with {WORKERS} workers"
    return facts | versions


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1] if found else platform.machine()


def _version(program: str, flag: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        return "missing"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    found = _NUMBER.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"

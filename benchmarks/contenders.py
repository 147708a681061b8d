"""The other programs that floradl is measured beside: each can download a list of URLs.

Each program gets the flags that its documentation recommends for many files, no progress output and no
preallocation, so that it is measured at its best. `Peer.lacks` names the work that floradl does in the same
time and the program does not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PLAIN = "no hash, no fsync, no manifest, no run.json, no check of content"


@dataclass(frozen=True, slots=True)
class FetchJob:
    """URLs to download into a folder; `notes` is an empty folder for lists of them."""

    urls: Sequence[str]
    dest: Path
    notes: Path

    def write_list(self, name: str, lines: Sequence[str]) -> str:
        """Write these lines to a file and return its path."""
        path = self.notes / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that downloads lists of URLs.

    `shown` is its command line as docs/performance.md has it, and `max_runs` is as in `measure.Entrant`.
    Where a program is not installed it is left out with a message; if it `is_required`, a tiny run ends with
    an error.
    """

    name: str
    program: str
    shown: str
    command: Callable[[FetchJob], list[str]]
    lacks: str = _PLAIN
    max_runs: int | None = None
    is_required: bool = True

    @property
    def is_there(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self.program) is not None


def aria2c(concurrency: int, split: int = 1) -> Peer:
    """aria2c with this many files at once, and this many connections for each."""
    flags = [
        "--no-conf", "--quiet", "--file-allocation=none", "--async-dns=false", "--disable-ipv6",
        f"-j{concurrency}", f"-x{split}", f"-s{split}", *(["-k1M"] if split > 1 else []),
    ]  # fmt: skip

    def command(job: FetchJob) -> list[str]:
        return ["aria2c", *flags, "-i", job.write_list("urls", job.urls), "-d", str(job.dest)]

    name = f"aria2c -j {concurrency}" + (f" -x {split}" if split > 1 else "")
    return Peer(name, "aria2c", f"aria2c {' '.join(flags)} -i URLS -d DEST", command)


def curl(concurrency: int) -> Peer:
    """Curl with this many transfers at once."""
    flags = ["--silent", "--show-error", "--fail", "--http1.1", "--no-progress-meter"]
    flags += ["--parallel", "--parallel-immediate"]

    def command(job: FetchJob) -> list[str]:
        lines = [f'url = "{url}"\noutput = "{job.dest / _name(url)}"' for url in job.urls]
        config = job.write_list("curlrc", lines)
        return ["curl", "-q", *flags, "--parallel-max", str(concurrency), "-K", config]

    shown = f"curl -q {' '.join(flags)} --parallel-max {concurrency} -K URLS_AND_NAMES"
    return Peer(f"curl --parallel {concurrency}", "curl", shown, command)


def curl_single() -> Peer:
    """Curl with one URL after the other, over one connection: the time that one connection takes."""

    def command(job: FetchJob) -> list[str]:
        lines = [f'url = "{url}"\noutput = "{job.dest / _name(url)}"' for url in job.urls]
        return ["curl", "-q", "--silent", "--show-error", "--fail", "-K", job.write_list("curlrc", lines)]

    return Peer(
        "curl, one connection", "curl", "curl -q --silent --fail -K URLS_AND_NAMES", command, max_runs=1
    )


def wget() -> Peer:
    """Wget, which has one connection."""

    def command(job: FetchJob) -> list[str]:
        return ["wget", "--no-config", "-q", "-i", job.write_list("urls", job.urls), "-P", str(job.dest)]

    return Peer("wget", "wget", "wget --no-config -q -i URLS -P DEST", command, max_runs=1)


def gallery_dl() -> Peer:
    """gallery-dl, which downloads one file after the other."""

    def command(job: FetchJob) -> list[str]:
        urls = job.write_list("urls", job.urls)
        return ["gallery-dl", "--config-ignore", "-q", "-i", urls, "-D", str(job.dest)]

    shown = "gallery-dl --config-ignore -q -i URLS -D DEST"
    return Peer("gallery-dl", "gallery-dl", shown, command, max_runs=1, is_required=False)


def rclone(concurrency: int) -> Peer:
    """Rclone, which gets the host and a list of paths, because its `copyurl` takes one URL a process."""
    flags = ["--config", "/dev/null", "--no-traverse", "--no-check-dest", "--quiet"]
    counts = ["--transfers", str(concurrency), "--checkers", str(concurrency)]

    def command(job: FetchJob) -> list[str]:
        parts = [urlsplit(url) for url in job.urls]
        paths = job.write_list("paths", [part.path.lstrip("/") for part in parts])
        host = f"{parts[0].scheme}://{parts[0].netloc}"
        source = ["--http-url", host, ":http:", str(job.dest)]
        return ["rclone", "copy", *flags, *counts, "--files-from-raw", paths, *source]

    shown = f"rclone copy {' '.join(flags + counts)} --files-from-raw PATHS --http-url HOST :http: DEST"
    lacks = "asks for each file's head first; no hash, no fsync, no manifest, no run.json"
    return Peer(f"rclone copy {concurrency}", "rclone", shown, command, lacks=lacks, is_required=False)


def _name(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]

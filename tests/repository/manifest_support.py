"""Entries and changes that tests of the manifest, and of the archive on disk, share."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from floradl.clock import Clock
from floradl.repository.entries import (
    ErrorEntry,
    Op,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    ScanEntry,
    ScanOp,
    ScopeEntry,
    State,
)
from floradl.repository.manifest import Manifest

CLOCK = Clock(now=lambda: 1_795_487_412.0)
BASE_URL = "https://app.flora.ai/api/v1"
SUM = "ab" * 32
ARCHIVED = OutputEntry("imageUrl", State.ARCHIVED, "output_1.png", 7, SUM, "image/png", "https://h/1", "now")
FAILED = OutputEntry("imageUrl", State.FAILED, attempts=6, error=ErrorEntry("http_404", "gone", "now"))


def facts(run_id: str = "run_1", cost: float | None = None) -> RunFacts:
    """The facts of a run of ws_a/prj_b."""
    return RunFacts("ws_a", "prj_b", f"ws_a/prj_b/{run_id}", "t2i", 1000, 2000, cost, "00")


def recorded(run_id: str = "run_1", *, key: str = "output_1", entry: OutputEntry = ARCHIVED) -> list[Op]:
    """The changes that record a run with one output."""
    return [RunOp(run_id, facts(run_id)), OutputOp(run_id, key, entry)]


def scan_op(sealed_before: int | None = 5, project_id: str | None = "prj_b", record: bytes = b"{}") -> ScanOp:
    """The change that a clean scan makes."""
    scope = ScopeEntry("generations", None, project_id)
    return ScanOp(ScanEntry(scope, "acct", sealed_before, {"run_9": msgspec.Raw(record)}, "x", "y"))


def fed(*ops: Op) -> Manifest:
    """A new manifest after these changes."""
    manifest = Manifest("9f0c", "2026-11-23T02:30:00Z")
    for op in ops:
        manifest.apply(op)
    return manifest


def encoded(manifest: Manifest) -> bytes:
    """`manifest.json`."""
    return b"".join(manifest.encode(updated_at="then", base_url=BASE_URL))


def told(manifest: Manifest) -> Any:
    """`manifest.json`, as any program would read it."""
    return json.loads(encoded(manifest))


def checksums(manifest: Manifest) -> str:
    """`SHA256SUMS`."""
    return b"".join(manifest.encode_checksums()).decode()


def changed(data: bytes) -> Manifest:
    """A manifest that somebody else wrote, after run_1 got an output."""
    manifest = Manifest.parse(data)
    manifest.apply(OutputOp("run_1", "output_1", ARCHIVED))
    return manifest


def snapshot(**more: Any) -> bytes:
    """A `manifest.json` that somebody else wrote."""
    head = {"format": "floradl-manifest", "version": 1, "archive_id": "9f0c", "created_at": "then"}
    return json.dumps(head | more, indent=2).encode()

"""What became of an output, as receipt and as what the journal keeps of it. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from floradl.api.models import Failure, Generation, Output, Receipt
from floradl.errors import safe_url
from floradl.repository.entries import (
    ErrorEntry,
    Op,
    OutputEntry,
    OutputOp,
    RunFacts,
    RunOp,
    SourcesOp,
    State,
    VanishedOp,
)
from floradl.storage.digest import Digest

Result = RunOp | VanishedOp | SourcesOp | Receipt | Failure
"""What workers hand to the recorder."""


def receipt_of(run_id: str, output: Output, file: str, digest: Digest, *, is_fetched: bool) -> Receipt:
    """The receipt of an output that was not transferred: a text, or a file that was there."""
    return Receipt(
        run_id=run_id,
        key=output.key,
        type=output.type,
        file=file,
        size_bytes=digest.size_bytes,
        sha256=digest.sha256,
        content_type="text/plain; charset=utf-8" if output.is_text and is_fetched else "",
        url=None if output.is_text or output.value is None else safe_url(output.value, limit=2000),
        is_fetched=is_fetched,
    )


def facts_of(run: Generation, path: PurePosixPath, record_sha256: str) -> RunFacts:
    """What the manifest keeps of a run or an asset whose record, of this hash, lies in the folder `path`."""
    return RunFacts(
        workspace_id=run.workspace_id,
        project_id=run.project_id,
        path=str(path),
        model_id=run.model_id,
        created_at=run.created_at_ms,
        completed_at=run.completed_at_ms,
        charged_cost=run.charged_cost,
        record_sha256=record_sha256,
        output_count=None if run.outputs is None else len(run.outputs),
        kind=run.kind,
        technique_id=run.technique_id,
        technique_name=run.technique_name,
        name=run.name,
    )


def op_of(result: Result, at: str) -> Op | None:
    """What the journal keeps of a result; None when the entry stays as it is."""
    if isinstance(result, Receipt):
        entry = OutputEntry(
            type=result.type,
            state=State.ARCHIVED,
            file=result.file,
            size_bytes=result.size_bytes,
            sha256=result.sha256,
            content_type=result.content_type or None,
            url=result.url,
            archived_at=at,
            same_as=result.same_as,
            shared_by=result.shared_by,
        )
        return OutputOp(result.run_id, result.key, entry)
    if isinstance(result, Failure):
        if result.keeps_entry:
            return None
        error = ErrorEntry(result.code, result.message, at)
        entry = OutputEntry(
            type=result.type, state=State.FAILED, url=result.url, attempts=result.attempts, error=error
        )
        return OutputOp(result.run_id, result.key, entry)
    return result

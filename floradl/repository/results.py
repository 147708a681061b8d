"""What became of an output: a receipt or a failure, and the change that the journal keeps of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from floradl.api.models import Generation, Output
from floradl.constants import SharedBy
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


@dataclass(frozen=True, slots=True)
class Failure:
    """One output that could not be archived.

    Attributes:
        run_id, key, type: which output.
        url: where it should have come from, without the query; None when it has no URL.
        code: a short word for the reason, such as `http_404`.
        message: the reason, for people.
        attempts: how often it was tried.
        keeps_entry: whether the manifest's entry of the output stays as it is, as when a file that was
            archived once has changed since and its replacement could not be had.
    """

    run_id: str
    key: str
    type: str
    url: str | None
    code: str
    message: str
    attempts: int
    keeps_entry: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """One output that is hashed, flushed and under its final name. Nobody makes a receipt before that.

    Attributes:
        run_id, key, type: which output.
        file: its name in the run's folder.
        size_bytes, sha256: of its bytes.
        content_type: the host's `Content-Type`, or "".
        url: where it came from, without the query; None for texts.
        is_fetched: whether it was transferred or written now; False for a file that was there already.
        aside: where the damaged file is now that it replaced, relative to the archive.
        in_the_way: where something else is now that stood under its name, relative to the archive.
        same_as: the file with the same bytes from which it was made, relative to the archive.
        shared_by: how it was made from that file.
        announced_bytes: the size that the API announced, if the host has a file of another.
        is_compressed: whether the host refused the original, and sent what it makes of it.
    """

    run_id: str
    key: str
    type: str
    file: str
    size_bytes: int
    sha256: str
    content_type: str
    url: str | None
    is_fetched: bool
    aside: PurePosixPath | None = None
    in_the_way: PurePosixPath | None = None
    same_as: str | None = None
    shared_by: SharedBy | None = None
    announced_bytes: int | None = None
    is_compressed: bool = False


Result = RunOp | VanishedOp | SourcesOp | Receipt | Failure
"""What workers hand to the one recorder, which writes the journal."""


def receipt_of(run_id: str, output: Output, file: str, digest: Digest, *, is_fetched: bool) -> Receipt:
    """The receipt of an output that was not transferred: a text from the record, or a file that was there.

    Args:
        run_id: the output's run.
        output: the output, by the API's record.
        file: its name in the run's folder.
        digest: size and hash of the file.
        is_fetched: whether it was written now.
    """
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
    """What the manifest keeps of a run or an asset.

    Args:
        run: the run or asset.
        path: its folder, relative to the archive.
        record_sha256: the hash of its record there.
    """
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
    """The change that the journal keeps of a result; None when the entry stays as it is.

    Args:
        result: from a worker.
        at: now, in ISO 8601.
    """
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
            announced_bytes=result.announced_bytes,
            compressed=result.is_compressed,
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

"""What a list that the API refuses to the key (403, 404) means for a job: a failure, or nothing.

A key that never saw the assets of an account archives the rest of it, and that is complete. But a firewall,
an expired plan or a revoked role refuse a list too, and then exit code 0 would be wrong for ever. So a
refused list is left out only where nothing speaks for it:

- The user has not named it with `--source`.
- It is not the list of generations, which is what an archive is made of.
- The archive has never seen it, with whatever key: it holds no scan of the list, and nothing that came from
  it.

Otherwise the job fails, and so does every later one, until the list is answered again or the user leaves it
out by naming the other lists.
"""

from __future__ import annotations

from collections.abc import Collection

from floradl.api.models import Scope
from floradl.archiver.options import ArchiveOptions
from floradl.constants import SOURCE_WORDS, Source
from floradl.errors import ApiError, KeyRefusedError
from floradl.repository.entries import ScopeEntry
from floradl.repository.manifest import Manifest


def failure_of(
    source: Source, error: ApiError, options: ArchiveOptions, *, has_seen: bool
) -> KeyRefusedError | None:
    """The failure that a refused list is; None where it may be left out.

    Args:
        source: the list that the API refuses in the whole scope of the job.
        error: what the API said.
        options: the job's.
        has_seen: whether the archive has seen the list before (`was_seen`).
    """
    if source in options.required_sources:
        hint = f"This key may not see that: leave out --source {source}, or use another key."
    elif source is Source.GENERATIONS or has_seen:
        reason = f"This archive has seen {SOURCE_WORDS[source]} before"
        if source is Source.GENERATIONS:
            reason = "An archive without generations is never complete"
        others = " ".join(f"--source {other}" for other in options.sources if other != source)
        hint = f"{reason}: use a key that may see them, or name what to archive without them: {others}"
    else:
        return None
    message = f"{source}: {error.message}"
    return KeyRefusedError(message, status=error.status, code=error.code, hint=hint)


def was_seen(source: Source, scopes: Collection[Scope], manifest: Manifest) -> bool:
    """Whether the archive has a scan of a list in one of these scopes, or anything that came from the list.

    The scans of every key count: a key is replaced by another when it is renewed, and that must not make an
    archive forget what it has.
    """
    for scan in manifest.scans():
        if scan.scope.source == source and any(_may_share(scope, scan.scope) for scope in scopes):
            return True
    kind = Scope(source=source).kind
    counted = manifest.iter_counted() if manifest.count(kind) else ()
    return any(
        source in entry.sources and scope.holds(entry.workspace_id, entry.project_id)
        for _, entry in counted
        for scope in scopes
    )


def _may_share(scope: Scope, scanned: ScopeEntry) -> bool:
    """Whether two scopes have anything in common, as far as their ids tell."""
    return all(
        None in pair or pair[0] == pair[1]
        for pair in (
            (scope.workspace_id, scanned.workspace_id),
            (scope.project_id, scanned.project_id),
        )
    )

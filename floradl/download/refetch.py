"""Runs that no list brings: asked for by their ids, since something of them has to be fetched again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import aclosing

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.walk import iter_listed
from floradl.constants import Kind, Status
from floradl.download.missing import Missing, known_record, lost_outputs
from floradl.download.plan import RecordRule
from floradl.download.pool import Pool
from floradl.download.tally import Tally
from floradl.errors import ApiError, ApiNotFoundError, KeyRefusedError, printable
from floradl.storage.destination import Destination

_PAST_CANVAS = "FLORA has the canvas of today alone; `floradl verify --repair` records the loss"


async def visit_by_id(
    missing_runs: Iterable[Missing], pool: Pool, api: FloraApi | None, disk: Destination, tally: Tally
) -> list[ApiError]:
    """Ask for each run's record of today, which has fresh URLs, and admit it to the pool.

    For a run that is gone, and without an API to ask, the URLs that its `run.json` has may still serve. Where
    there is none, and for a run that is not completed any more, its outputs are counted as failed.

    Args:
        missing_runs: which runs, and why; taken one at a time.
        pool: at work.
        api: the API; None when there is no key.
        disk: the archive, for what is known of each run.
        tally: where failures go.

    Returns:
        What kept runs from being asked for. After an error that would meet the next run too, none is asked
        for any more.
    """
    problems: list[ApiError] = []
    for missing in missing_runs:
        if missing.entry.kind is Kind.CANVAS:
            _give_up(tally, missing, _PAST_CANVAS)
            continue
        known = await disk.call(known_record, disk, missing)
        if api is None:
            await _admit_known(pool, tally, missing, known, "there is no API key to ask for it with")
            continue
        try:
            run = await api.item(missing.entry.kind, missing.run_id, known=known)
        except ApiNotFoundError as exc:
            await _admit_known(pool, tally, missing, known, f"the {known.kind} is gone: {exc.message}")
        except ApiError as exc:
            problems.append(exc.concerning(f"{known.kind} {printable(missing.run_id, limit=80)}"))
            if exc.is_retryable or isinstance(exc, KeyRefusedError):
                break  # it does not answer; no need to ask it as often as there are runs
        else:
            if run.status == Status.COMPLETED:
                rule = RecordRule.KEEP if missing.has_record else RecordRule.REPLACE
                await pool.admit(missing.visit(run, rule))
            else:
                _give_up(tally, missing, f"the {run.kind} is {printable(run.status, limit=40)} now")
    return problems


def is_best_listed(missing: Missing) -> bool:
    """Whether a list tells more than the record that can be asked for by id.

    It has the fields that the other lacks; and of what stands on a canvas without being an asset of its own,
    the list alone tells.
    """
    return not missing.has_record or missing.entry.kind is Kind.ASSET


async def visit_listed(
    missing_runs: Iterable[Missing], pool: Pool, api: FloraApi
) -> tuple[set[str], list[ApiError]]:
    """Look for runs in the lists of their projects, whose records are whole, and admit what is found.

    Returns:
        The ids of the runs that were found, and what kept lists from being read.
    """
    by_scope: defaultdict[Scope, dict[str, Missing]] = defaultdict(dict)
    for missing in missing_runs:
        entry = missing.entry
        if entry.kind is Kind.CANVAS:
            continue  # no list has what it was on some day
        scope = Scope(entry.workspace_id or None, entry.project_id or None, entry.sources[0])
        by_scope[scope][missing.run_id] = missing
    found: set[str] = set()
    problems: list[ApiError] = []
    for scope, wanted in by_scope.items():
        moments = [missing.entry.created_at for missing in wanted.values()]
        oldest_ms = None if None in moments else min(moment for moment in moments if moment is not None)
        try:
            async with aclosing(iter_listed(api, scope, wanted, down_to_ms=oldest_ms)) as runs:
                async for run in runs:
                    if run.status != Status.COMPLETED:
                        continue
                    found.add(run.run_id)
                    missing = wanted[run.run_id]
                    rule = RecordRule.UPDATE if missing.has_record else RecordRule.REPLACE
                    await pool.admit(missing.visit(run, rule))
        except ApiError as exc:
            problems.append(exc.concerning(f"the list of {scope}"))
    return found, problems


async def _admit_known(pool: Pool, tally: Tally, missing: Missing, known: Generation, why: str) -> None:
    """Try with what is known of a run; give it up, saying why, where that is nothing."""
    if known.outputs is None:
        _give_up(tally, missing, why)
    else:
        await pool.admit(missing.visit(known, RecordRule.KEEP, is_current=False))


def _give_up(tally: Tally, missing: Missing, why: str) -> None:
    """Count what a run cannot give any more as failed."""
    failures = lost_outputs(missing, why)
    tally.outputs += len(failures)
    for failure in failures:
        tally.fail(failure)

"""Fetch again what an archive lacks: look for its runs in the lists, then ask for them by their ids.

The URLs in an archived record have expired by the time that a file is missing. So FLORA is asked for the
record of each such run as it is today, which has fresh URLs, and the run is admitted to the pool with that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.walk import iter_listed
from floradl.constants import Kind, Status
from floradl.download.missing import Missing, known_record, lost_outputs
from floradl.download.plan import RecordRule
from floradl.download.pool import Pool
from floradl.download.tally import Tally
from floradl.errors import ApiError, ApiNotFoundError, FloradlError, KeyRefusedError, printable
from floradl.storage.destination import Destination

_LOST_SNAPSHOT = "FLORA has the canvas of today alone; `floradl verify --repair` records the loss"


async def refetch(
    missing_runs: Sequence[Missing],
    pool: Pool,
    api: FloraApi | None,
    disk: Destination,
    tally: Tally,
    problems: list[FloradlError],
) -> None:
    """Fetch again what is missing of these runs, and wait until all of it is recorded.

    Runs that a list describes best are looked for in the lists. All others, and those that no list has any
    more, are asked for by their ids.

    Args:
        missing_runs: the runs, and what is missing of each.
        pool: at work.
        api: the API; None if there is no key, so that the archived records have to do.
        disk: the archive, for what is known of each run.
        tally: counts the outputs that cannot be had.
        problems: gets what kept runs from being asked for. It is filled as the errors come, so that a caller
            who is stopped half-way can still report them.
    """
    found: set[str] = set()
    if api is not None:
        listed = (missing for missing in missing_runs if is_best_listed(missing))
        found, list_problems = await visit_listed(listed, pool, api)
        problems.extend(list_problems)
    rest = [missing for missing in missing_runs if missing.run_id not in found]
    problems.extend(await visit_by_id(rest, pool, api, disk, tally))
    await pool.drain()


async def visit_by_id(
    missing_runs: Iterable[Missing], pool: Pool, api: FloraApi | None, disk: Destination, tally: Tally
) -> list[ApiError]:
    """Ask FLORA for the record of each run as it is today, and admit the run to the pool with it.

    If the run is gone, or there is no key to ask with, the URLs in the archived `run.json` may still work,
    and the run is admitted with those. If there is no such record, or the run is not completed any more, its
    outputs are counted as failed.

    Args:
        missing_runs: the runs, and what is missing of each; taken one at a time.
        pool: at work.
        api: the API; None if there is no key.
        disk: the archive, for what is known of each run.
        tally: counts the outputs that cannot be had.

    Returns:
        The errors that kept runs from being asked for. An error that the next run would meet too (no answer,
        a refused key) ends the asking: one request is enough to know that.
    """
    problems: list[ApiError] = []
    for missing in missing_runs:
        if missing.entry.kind is Kind.CANVAS:
            _give_up(tally, missing, _LOST_SNAPSHOT)
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
                break
        else:
            if run.status == Status.COMPLETED:
                rule = RecordRule.KEEP if missing.has_record else RecordRule.REPLACE
                await pool.admit(missing.visit(run, rule))
            else:
                _give_up(tally, missing, f"the {run.kind} is {printable(run.status, limit=40)} now")
    return problems


def is_best_listed(missing: Missing) -> bool:
    """Whether a list describes this run better than the record that `GET` by id gives.

    Lists have fields that the record by id lacks, so a lost `run.json` is made from a list. Files that stand
    on a canvas and have no asset id of their own are in the list of assets alone.
    """
    return not missing.has_record or missing.entry.kind is Kind.ASSET


async def visit_listed(
    missing_runs: Iterable[Missing], pool: Pool, api: FloraApi
) -> tuple[set[str], list[ApiError]]:
    """Look for runs in the lists of their projects, and admit those that are found to the pool.

    Args:
        missing_runs: the runs, and what is missing of each; canvases are passed over, since no list has their
            earlier states.
        pool: at work.
        api: the API.

    Returns:
        The ids of the runs that were found, and the errors that kept lists from being read.
    """
    by_scope: defaultdict[Scope, dict[str, Missing]] = defaultdict(dict)
    for missing in missing_runs:
        entry = missing.entry
        if entry.kind is Kind.CANVAS:
            continue
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
    """Admit a run with its archived record, whose URLs may still work; give it up if there is none.

    Args:
        why: why FLORA does not give a better record; told to the user if the run is given up.
    """
    if known.outputs is None:
        _give_up(tally, missing, why)
    else:
        await pool.admit(missing.visit(known, RecordRule.KEEP, is_current=False))


def _give_up(tally: Tally, missing: Missing, why: str) -> None:
    """Count the missing outputs of a run as failed: nobody can give them any more."""
    failures = lost_outputs(missing, why)
    tally.outputs += len(failures)
    for failure in failures:
        tally.fail(failure)

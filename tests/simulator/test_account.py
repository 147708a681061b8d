"""The account: the same for the same seed, rich enough to be a fair test, and changed as told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from floradl.simulator import (
    Account,
    SimOutput,
    SimRun,
    generate_account,
    insert_runs,
)


def outputs_of(account: Account) -> Iterator[SimOutput]:
    """All outputs of an account, in the order of its runs."""
    for run in account.runs:
        yield from run.outputs


def told(account: Account) -> list[str]:
    """The history as the API tells it."""
    return [account.record_json(run, listed=True) for run in account.listed()]


def test_listed_newest_first() -> None:
    """Order depends on the facts and not on the order of insertion; equal times fall back to the id."""
    runs = [SimRun(run_id, "ws_a", "prj_a", created_at=at) for run_id, at in (("a", 1), ("c", 2), ("b", 1))]
    account = Account("sk_live_x", runs)
    assert [run.run_id for run in account.listed()] == ["c", "b", "a"]


def test_record_of_a_run_by_itself_lacks_its_place() -> None:
    """`GET /runs/{id}` tells neither workspace nor project; the listing tells both."""
    account = generate_account(1)
    listed = account.record(account.runs[0], listed=True)
    alone = account.record(account.runs[0], listed=False)
    assert listed["generation_id"] == listed["run_id"] == alone["run_id"]
    assert set(listed) - set(alone) >= {"generation_id", "workspace_id", "project_id"}


def test_listing_may_leave_outputs_out() -> None:
    """With `list_outputs` off only the run itself tells its outputs."""
    account = Account("k", [SimRun("run_a", "ws_a", "prj_a", list_outputs=False)])
    assert "outputs" not in account.record(account.runs[0], listed=True)
    assert account.record(account.runs[0], listed=False)["outputs"] == []


def test_life_of_a_run() -> None:
    """A pending run starts, completes and then shows its outputs; another one fails and shows none."""
    account = generate_account(0)
    first, second = insert_runs(account, 2, status="pending")
    assert "outputs" not in account.record(first, listed=False)
    account.start(first.run_id)
    assert account.record(first, listed=False)["status"] == "running"
    account.finish(first.run_id, at_ms=123)
    record = account.record(first, listed=False)
    assert (record["status"], record["completed_at"]) == ("completed", 123)
    assert record["outputs"]
    account.fail(second.run_id)
    record = account.record(second, listed=False)
    assert (record["status"], record["progress"]) == ("failed", 100)
    assert "outputs" not in record
    assert "completed_at" in record
    assert record["error_code"]


def test_moved_url_serves_the_same_bytes() -> None:
    """After a move the old path is dead, and the record's new URL leads to the same output."""
    account = generate_account(30)
    output = next(output for output in outputs_of(account) if output.type == "imageUrl")
    old, body = output.path, account.body_of(output)
    fresh = account.move_url(output)
    assert old in account.dead_paths
    assert account.output_at(old) is None
    found = account.output_at(fresh.removeprefix(account.media_url))
    assert found is not None
    assert found[1].body == body


def test_media_outlive_their_run() -> None:
    """Deleting a run takes it out of the history, and leaves its files where they are."""
    account = generate_account(30)
    run = next(run for run in account.runs if run.outputs and run.outputs[0].type == "imageUrl")
    account.delete(run.run_id)
    assert account.output_at(run.outputs[0].path) == (run, run.outputs[0])
    with pytest.raises(KeyError):
        account.get(run.run_id)


def test_setting_a_body_changes_the_validator() -> None:
    """The ETag follows the bytes."""
    output = SimOutput("output_1", body=b"one")
    before = output.etag
    output.body = b"two"
    assert (output.body, output.etag == before) == (b"two", False)

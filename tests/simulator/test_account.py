"""The account: the same for the same seed, rich enough to be a fair test, and changed as told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from floradl.simulator import (
    Account,
    Edit,
    EditError,
    RunStatus,
    SimOutput,
    SimRun,
    demo_account,
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


def test_same_seed_same_account() -> None:
    """The same arguments give the same key, records and bytes."""
    first, second = generate_account(60, seed=9), generate_account(60, seed=9)
    assert first.api_key == second.api_key
    assert told(first) == told(second)
    assert [output.body for output in outputs_of(first)] == [output.body for output in outputs_of(second)]


def test_another_seed_another_account() -> None:
    """Another seed shares neither the key nor any run."""
    first, second = generate_account(20, seed=1), generate_account(20, seed=2)
    assert first.api_key != second.api_key
    assert not {run.run_id for run in first.runs} & {run.run_id for run in second.runs}


def test_new_runs_are_the_same_for_the_same_seed() -> None:
    """What is inserted later depends on the seed alone, too."""
    first, second = generate_account(5, seed=4), generate_account(5, seed=4)
    insert_runs(first, 3)
    insert_runs(second, 3)
    assert told(first) == told(second)


@pytest.mark.parametrize("seed", range(5))
def test_mix_is_rich(seed: int) -> None:
    """Seventy runs have every type, every oddity of the record and every count of outputs."""
    account = generate_account(70, seed=seed)
    records = [account.record(run, listed=True) for run in account.runs]
    types = {output.type for output in outputs_of(account)}
    assert types >= {"imageUrl", "videoUrl", "audioUrl", "documentUrl", "text", "modelUrl", "noteCard"}
    kinds = {output.content_type for output in outputs_of(account)}
    assert kinds >= {"image/png", "image/jpeg", "image/webp", "video/mp4", "audio/wav", "application/pdf"}
    assert {len(run.outputs) for run in account.runs} >= {0, 1, 2, 3, 4, 24}
    assert any(record.get("model") == {"model_id": None} for record in records)
    assert any("model" not in record for record in records)
    assert any("charged_cost" not in record for record in records)
    assert any("lineage" in record for record in records)
    failed = [record for record in records if record["status"] == "failed"]
    assert failed
    assert all(record["progress"] == 100 and "completed_at" in record for record in failed)
    texts = {output.text for output in outputs_of(account) if output.text}
    assert any(text.startswith("https://") for text in texts)
    assert any("\r\n" in text for text in texts)
    assert any("🌸" in text for text in texts)


def test_all_bytes_differ() -> None:
    """No two generated files are the same, so that a mix-up shows in the hashes."""
    account = generate_account(100, seed=6)
    bodies = [output.body for output in outputs_of(account) if output.drawing]
    assert len(bodies) > 100
    assert len(set(bodies)) == len(bodies)


def test_numbers_keep_their_form() -> None:
    """Unknown fields reach the client with the numbers as they were written."""
    account = generate_account(70)
    text = "".join(told(account))
    assert '"ratio": 1.0' in text
    assert '"budget": 1e+22' in text
    assert '"big": 9007199254740993' in text


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


def test_inserted_runs_are_newer_than_the_newest() -> None:
    """`insert_new` returns its runs oldest first, and all come before what was there."""
    account = generate_account(3)
    before = account.listed()
    fresh = insert_runs(account, 2)
    assert account.listed() == [fresh[1], fresh[0], *before]


def test_edit_makes_every_change() -> None:
    """One edit inserts, deletes by id and by place, starts, finishes and fails."""
    account = generate_account(10)
    opened = insert_runs(account, 3, status="pending")
    names = [run.run_id for run in account.listed(status="completed")]
    to_start, to_finish, to_fail = (run.run_id for run in opened)
    edit = Edit(
        insert=1,
        insert_status="failed",
        delete=(names[0],),
        delete_listed=(1, 2),
        start=(to_start,),
        finish=(to_finish,),
        fail=(to_fail,),
    )
    edit.apply_to(account)
    left = {run.run_id: run.status for run in account.runs}
    assert not {names[0], names[1], names[2]} & set(left)
    assert (left[to_start], left[to_finish], left[to_fail]) == ("running", "completed", "failed")
    assert account.listed()[0].status == RunStatus.FAILED


@pytest.mark.parametrize(
    "edit", [Edit(delete=("run_x",)), Edit(delete_listed=(99,)), Edit(finish=("run_x",))]
)
def test_impossible_edit_is_refused(edit: Edit) -> None:
    """An edit of a run that is not there says so."""
    with pytest.raises(EditError, match="not there"):
        edit.apply_to(generate_account(5))


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


def test_demo_is_small_and_handsome() -> None:
    """The demo's account has pictures, films, sounds, documents, texts and open runs, soon drawn."""
    account = demo_account()
    sizes = [len(output.body) for output in outputs_of(account)]
    assert sum(sizes) < 6_000_000
    assert 50 <= len(account.runs) <= 70
    assert max(sizes) < 250_000
    assert {run.status for run in account.runs} == set(RunStatus)
    types = {output.type for output in outputs_of(account)}
    assert types == {"imageUrl", "videoUrl", "audioUrl", "documentUrl", "text"}
    assert json.loads(account.record_json(account.runs[0], listed=True))["run_id"] == account.runs[0].run_id

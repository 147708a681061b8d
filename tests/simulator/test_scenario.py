"""Made-up accounts are the same for the same seed, and rich enough to be a fair test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from floradl.simulator import (
    Account,
    SimOutput,
    generate_account,
    insert_assets,
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


def test_inserted_runs_are_newer_than_the_newest() -> None:
    """`insert_new` returns its runs oldest first, and all come before what was there."""
    account = generate_account(3)
    before = account.listed()
    fresh = insert_runs(account, 2)
    assert account.listed() == [fresh[1], fresh[0], *before]


def test_more_sources_change_nothing_about_the_runs() -> None:
    """A seed gives the same runs, bytes and later runs whatever else the account has."""
    plain, rich = (
        generate_account(25, seed=3),
        generate_account(25, seed=3, techniques=9, assets=5, canvases=True),
    )
    insert_runs(plain, 2)
    insert_assets(rich, 2)
    insert_runs(rich, 2)
    told = [plain.record_json(run, listed=True) for run in plain.runs]
    kept = [run for run in rich.runs if run.technique is None]
    assert [rich.record_json(run, listed=True) for run in kept] == told
    assert rich.projects == plain.projects


def test_same_seed_same_sources() -> None:
    """Everything made up besides the runs is the same for the same seed, too."""
    accounts = [generate_account(10, seed=5, techniques=5, assets=8, canvases=True) for _ in range(2)]
    first, second = (
        [
            [account.technique_record(run) for run in account.listed(source="technique-runs")],
            [(account.asset_record(asset, listed=True), asset.file.body) for asset in account.assets],
            [canvas.diagram() for canvas in account.canvases.values()],
        ]
        for account in accounts
    )
    assert first == second

"""An edit makes every change that it names to an account, or says what it did not find."""

from __future__ import annotations

import pytest

from floradl.simulator import (
    Account,
    AssetStatus,
    Edit,
    EditError,
    Fault,
    RunStatus,
    Simulator,
    generate_account,
    insert_runs,
)

from .conftest import Ask, ids_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def account() -> Account:
    """Runs, nine of techniques, 26 uploads and canvases."""
    return generate_account(25, seed=3, open_runs=2, techniques=9, assets=26, canvases=True)


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


def test_an_edit_of_what_is_not_there(account: Account) -> None:
    """Is refused."""
    for edit in (
        Edit(delete_assets=("asset_x",)),
        Edit(delete_listed_assets=(99,)),
        Edit(finish_assets=("asset_x",)),
        Edit(edit_canvas=("prj_x",)),
        Edit(hide=("prj_x",)),
    ):
        with pytest.raises(EditError, match="not there"):
            edit.apply_to(account)


async def test_edits_of_all_sources(ask: Ask, account: Account, sim: Simulator) -> None:
    """An edit of uploads, technique runs, canvases and what can be seen happens before the answer."""
    waiting = next(asset for asset in account.assets if asset.status == AssetStatus.PENDING)
    by_place = account.listed_assets()[0]
    by_id = next(asset for asset in account.listed_assets()[1:] if asset.asset_id and asset is not waiting)
    shown, hidden = account.projects[:2]
    assert waiting.asset_id
    assert by_id.asset_id
    edit = Edit(
        insert_techniques=2,
        insert_assets=1,
        delete_assets=(by_id.asset_id,),
        delete_listed_assets=(1,),  # the first is the one that was just inserted
        finish_assets=(waiting.asset_id,),
        edit_canvas=(shown.project_id,),
        hide=(hidden.project_id,),
    )
    runs, notes = await ids_of(ask, "/technique-runs"), len(account.canvas_of(shown.project_id).nodes)
    sim.faults.append(Fault("*/workspaces", edit=edit))
    await ask("/workspaces")
    assert hidden.project_id in account.hidden
    account.hidden.clear()
    assert (await ids_of(ask, "/technique-runs"))[2:] == runs
    assert len(account.assets) == 26 + 1 - 2
    assert not {by_id, by_place} & set(account.assets)
    assert (await ask(f"/assets/{waiting.asset_id}")).json()["status"] == "ready"
    assert len((await ask(f"/projects/{shown.project_id}/nodes?limit=100")).json()["nodes"]) == notes + 1

"""A change to an account as data, so that a fault can make it just before a request is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import scenario
from .runs import RunStatus

if TYPE_CHECKING:
    from .account import Account


class EditError(LookupError):
    """An `Edit` names a thing, or a place in a list, that the account does not have; one line."""


@dataclass(frozen=True)
class Edit:
    """A change to an account. Its parts happen in the order of the fields.

    Attributes:
        insert: how many made-up runs to add, each newer than the newest.
        insert_status: the status of these runs.
        delete: ids of runs to delete.
        delete_listed: places of runs to delete in the list of completed runs, newest first, from 0; looked up
            before the first run is deleted.
        start: ids of pending runs that begin to run.
        finish: ids of open runs that complete.
        fail: ids of open runs that fail.
        insert_techniques: how many made-up runs of techniques to add, each newer than the newest run.
        insert_assets: how many made-up uploads to add, each newer than the newest upload.
        delete_assets: ids of uploads to delete.
        delete_listed_assets: places of uploads to delete in the list of uploads, newest first, from 0; looked
            up before the first upload is deleted.
        finish_assets: ids of uploads that become ready.
        edit_canvas: ids of projects whose canvas gets a note.
        hide: ids of projects that the key cannot see any more.
    """

    insert: int = 0
    insert_status: str = RunStatus.COMPLETED
    delete: tuple[str, ...] = ()
    delete_listed: tuple[int, ...] = ()
    start: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    fail: tuple[str, ...] = ()
    insert_techniques: int = 0
    insert_assets: int = 0
    delete_assets: tuple[str, ...] = ()
    delete_listed_assets: tuple[int, ...] = ()
    finish_assets: tuple[str, ...] = ()
    edit_canvas: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()

    def apply_to(self, account: Account) -> None:
        """Make the change; raises EditError when it names a thing that the account does not have.

        The parts before the one that failed have been made by then.
        """
        try:
            self._change_runs(account)
            self._change_sources(account)
        except LookupError as exc:
            raise EditError(f"an edit names what is not there: {exc}") from exc

    def _change_runs(self, account: Account) -> None:
        if self.insert:
            scenario.insert_runs(account, self.insert, status=self.insert_status)
        completed = account.listed(status=RunStatus.COMPLETED)
        for run_id in (*self.delete, *[completed[place].run_id for place in self.delete_listed]):
            account.delete(run_id)
        for change, run_ids in (
            (account.start, self.start),
            (account.finish, self.finish),
            (account.fail, self.fail),
        ):
            for run_id in run_ids:
                change(run_id)

    def _change_sources(self, account: Account) -> None:
        scenario.insert_technique_runs(account, self.insert_techniques)
        scenario.insert_assets(account, self.insert_assets)
        listed = account.listed_assets()
        named = [account.get_asset(asset_id) for asset_id in self.delete_assets]
        for asset in (*named, *[listed[place] for place in self.delete_listed_assets]):
            account.delete_asset(asset)
        for asset_id in self.finish_assets:
            account.finish_asset(asset_id)
        for project_id in self.edit_canvas:
            scenario.edit_canvas(account, project_id)
        for project_id in self.hide:
            account.hide(account.get_project(project_id).project_id)

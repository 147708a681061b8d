"""What a simulated account holds that an archive of it must hold, too."""

from __future__ import annotations

from collections.abc import Iterator

from floradl.simulator import Account, AssetStatus, SimAsset, SimOutput, SimRun, generate_account


def completed(account: Account, project_id: str | None = None) -> list[SimRun]:
    """The completed runs of an account, or of one of its projects."""
    return [
        run
        for run in account.runs
        if run.status == "completed" and (project_id is None or run.project_id == project_id)
    ]


def expected_bytes(account: Account, output: SimOutput) -> bytes:
    """What an output's file must hold."""
    if output.url is not None and not output.url.startswith("http"):
        return output.url.encode()  # a type that nobody knows, with its content in place of a URL
    return output.text.encode() if output.text is not None else account.body_of(output)


def full_account(*, runs: int = 12, seed: int = 6, techniques: int = 9, assets: int = 14) -> Account:
    """An account with something of every source.

    Of every three runs of techniques `GET /generations` has two; uploads are of all states and kinds, two of
    them equal, one without a project; the canvases show some of both.
    """
    return generate_account(runs, seed=seed, techniques=techniques, assets=assets, canvases=True)


def ready_assets(account: Account) -> dict[str, SimAsset]:
    """The uploads that can be had, by the id that an archive knows each by."""
    return {
        asset.asset_id or asset.node_id or "": asset
        for asset in account.listed_assets()
        if asset.status == AssetStatus.READY
    }


def files_of(account: Account) -> Iterator[tuple[str, SimOutput]]:
    """Every file that can be had of completed runs and of uploads, with the id of its entry."""
    for run in completed(account):
        yield from ((run.run_id, output) for output in run.outputs)
    for name, asset in ready_assets(account).items():
        yield name, asset.file

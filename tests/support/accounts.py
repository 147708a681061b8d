"""What an archive of a simulated account must hold: its completed runs, its ready uploads, their bytes."""

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
    """The bytes that the archived file of an output must have."""
    if output.url is not None and not output.url.startswith("http"):
        return output.url.encode()  # an unknown type, which has its content in place of a URL
    return output.text.encode() if output.text is not None else account.body_of(output)


def full_account(*, runs: int = 12, seed: int = 6, techniques: int = 9, assets: int = 14) -> Account:
    """An account with something of every source.

    `GET /generations` lists two of every three runs of techniques as well. The uploads are of all states and
    kinds; two of them have equal bytes and one has no project. The canvases show some outputs and uploads.
    """
    return generate_account(runs, seed=seed, techniques=techniques, assets=assets, canvases=True)


def ready_assets(account: Account) -> dict[str, SimAsset]:
    """The uploads that can be downloaded, by the id under which an archive has them."""
    return {
        asset.asset_id or asset.node_id or "": asset
        for asset in account.listed_assets()
        if asset.status == AssetStatus.READY
    }


def files_of(account: Account) -> Iterator[tuple[str, SimOutput]]:
    """Every file of completed runs and ready uploads, after the id of the entry that it belongs to."""
    for run in completed(account):
        yield from ((run.run_id, output) for output in run.outputs)
    for name, asset in ready_assets(account).items():
        yield name, asset.file

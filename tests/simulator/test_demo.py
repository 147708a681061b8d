"""The demo's account is pleasant to look at, quickly drawn, and has something of every source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from floradl.simulator import (
    Account,
    RunStatus,
    SimOutput,
    demo_account,
)


def outputs_of(account: Account) -> Iterator[SimOutput]:
    """All outputs of an account, in the order of its runs."""
    for run in account.runs:
        yield from run.outputs


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


def test_the_demo_has_all_sources() -> None:
    """Technique runs in both histories, one upload twice in two projects, and canvases that name outputs."""
    account = demo_account()
    assert len(account.listed()) == len(account.runs) == 60
    assert len(account.listed(source="technique-runs")) >= 5
    bodies = Counter(asset.file.body for asset in account.assets)
    (twice,) = [body for body, count in bodies.items() if count == 2]
    assert len({asset.project_id for asset in account.assets if asset.file.body == twice}) == 2
    outputs = {account.url_of(output) for run in account.runs for output in run.outputs}
    for project in account.projects:
        nodes = account.canvas_of(project.project_id).nodes
        shown = [node for node in nodes if node.record(account.url_of)["url"] in outputs]
        assert len(shown) >= 5
        assert all(node.label and " " in node.label for node in shown)

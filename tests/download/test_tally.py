"""What displays and reports count."""

from __future__ import annotations

from floradl.constants import Kind
from floradl.download.tally import ActiveTransfer, Tally
from floradl.repository.results import Failure


def test_runs_and_assets_are_counted_apart() -> None:
    """Each with how many of them are new."""
    tally = Tally()
    for kind, is_new in ((Kind.RUN, True), (Kind.RUN, False), (Kind.ASSET, True), (Kind.ASSET, False)):
        tally.note(kind, is_new=is_new)
    tally.note(Kind.RUN, is_new=False)
    assert (tally.runs, tally.new_runs, tally.assets, tally.new_assets) == (3, 1, 2, 1)


def test_an_output_is_done_however_it_ended() -> None:
    """There are never more done than there are."""
    tally = Tally(outputs=3, already=1, fetched=2, adopted=4)
    failure = Failure("run_1", "output_1", "imageUrl", None, "http_404", "gone", 1)
    tally.fail(failure)
    assert (tally.failed, tally.failures) == (1, [failure])
    assert (tally.done, tally.total, tally.moved) == (8, 8, 2)
    tally.outputs = 9
    assert (tally.done, tally.total) == (8, 9)


def test_what_comes_over_the_network() -> None:
    """Bytes so far, and what is on its way."""
    tally, one = Tally(), ActiveTransfer("run_1 output_1", 0.0)
    tally.traffic.flows.add(one)
    tally.traffic.received_bytes += 7
    assert (tally.moved_bytes, list(tally.flows)) == (7, [one])

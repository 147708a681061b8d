"""Answers that are waited for with their bodies: from which hosts, and what becomes of those that fail."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from floradl import fetching, gathering
from floradl.fetching import new_tools
from floradl.gathering import GATHER_BYTES, QUICK_S, SLOW_S, Gathering
from floradl.job import ArchiveOptions
from floradl.model import Failure, Receipt
from floradl.transfer import fetch_output
from floradl.transport import MediaClient
from tests.test_transfer import BIG, HALF, PNG, Answers, Bench, Body, Host, Reply, bench, etag

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

HOST = "media.test"


def gathers(request: httpx.Request) -> int:
    """How much of the body a request waits for."""
    return int(request.extensions["gather_bytes"])


def quick(bench: Bench) -> Bench:
    """The same, where the host is known to be quick."""
    bench.tools.gathering.streamed(HOST, 0.0)
    return bench


def slow(bench: Bench, seconds: float) -> Answers:
    """An answer whose body takes so long."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = Body([PNG[:HALF], seconds, PNG[HALF:]], time=bench.time)
        return httpx.Response(200, headers={"Content-Length": str(len(PNG))}, stream=body, request=request)

    return answer


# ---------------------------------------------------------------------------------------------- which hosts


def test_a_host_whose_bodies_come_at_once() -> None:
    """It counts as quick until an answer took long, or none came; one that was never slow stays unknown."""
    known = Gathering()
    assert known.size_bytes(HOST) == 0
    known.streamed(HOST, QUICK_S + 0.01)
    assert known.size_bytes(HOST) == 0
    known.streamed(HOST, QUICK_S)
    assert (known.size_bytes(HOST), known.size_bytes("other.test")) == (GATHER_BYTES, 0)
    known.streamed(HOST, 100.0)  # a large file; it says nothing of small ones
    known.gathered(HOST, SLOW_S)
    assert known.size_bytes(HOST) == GATHER_BYTES
    known.gathered(HOST, SLOW_S + 0.01)
    assert known.size_bytes(HOST) == 0
    known.streamed(HOST, 0.0)
    known.failed(HOST)
    known.failed(HOST)
    assert known.size_bytes(HOST) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts come from outside."""
    monkeypatch.setattr(gathering, "_MAX_HOSTS", 2)
    known = Gathering()
    for host in ("a", "b", "c"):
        known.streamed(host, 0.0)
    assert [known.size_bytes(host) for host in ("a", "b", "c")] == [0, GATHER_BYTES, GATHER_BYTES]


@pytest.mark.parametrize(("rate_bytes", "expected"), [(0, GATHER_BYTES), (100_000, 0)])
def test_not_where_bytes_are_rationed(bench: Bench, rate_bytes: int, expected: int) -> None:
    """With `--limit-rate` each byte is accounted for as it comes."""
    options = ArchiveOptions(bench.disk.root, "https://app.flora.ai/api/v1", limit_rate_bytes=rate_bytes)
    tools = new_tools(options, bench.disk, bench.time.clock, None)
    tools.gathering.streamed(HOST, 0.0)
    assert tools.gathering.size_bytes(HOST) == expected


# ---------------------------------------------------------------------------------------------- what is asked


async def test_the_first_answer_tells(bench: Bench) -> None:
    """Nothing is waited for until a body came at once."""
    host = Host([Reply(200, PNG, etag())] * 2, bench.time)
    for _ in range(2):
        assert isinstance(await bench.fetch(host), Receipt)
    assert [gathers(request) for request in host.requests] == [0, GATHER_BYTES]


async def test_a_body_that_takes_its_time_tells_too(bench: Bench) -> None:
    """Whoever waits for it would not see that it comes."""
    host = Host([slow(bench, QUICK_S + 1), Reply(200, PNG, etag())], bench.time)
    for _ in range(2):
        assert isinstance(await bench.fetch(host), Receipt)
    assert [gathers(request) for request in host.requests] == [0, 0]


async def test_an_answer_that_took_long(bench: Bench) -> None:
    """It is the last that is waited for."""

    def late(request: httpx.Request) -> httpx.Response:
        bench.time.now_s += SLOW_S + 1
        return Reply(200, PNG, etag()).response(request)

    host = Host([late, slow(bench, QUICK_S + 1)], quick(bench).time)
    for _ in range(2):
        assert isinstance(await bench.fetch(host), Receipt)
    assert [gathers(request) for request in host.requests] == [GATHER_BYTES, 0]


async def test_what_is_gone_on_with_is_not_waited_for(bench: Bench) -> None:
    """What comes of the rest is kept whatever happens."""
    bench.leave_partial(BIG[:300_000], total_bytes=len(BIG))
    rest = {"Content-Range": f"bytes 300000-{len(BIG) - 1}/{len(BIG)}"} | etag()
    host = Host([Reply(206, BIG[300_000:], rest)], quick(bench).time)
    assert isinstance(await bench.fetch(host, bench.wanted(has_partial=True)), Receipt)
    assert [gathers(request) for request in host.requests] == [0]


@pytest.mark.parametrize(
    "error", [httpx.RemoteProtocolError("cut"), httpx.ReadTimeout("silent"), httpx.ReadError("reset")]
)
async def test_an_answer_that_was_cut_off(bench: Bench, error: Exception) -> None:
    """With its body its status is lost; so the next try sees all that comes, and so do others."""
    host = Host([error, Reply(200, PNG, etag()), Reply(200, PNG, etag())], quick(bench).time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert [gathers(request) for request in host.requests] == [GATHER_BYTES, 0]
    assert isinstance(await bench.fetch(host), Receipt)
    assert gathers(host.requests[-1]) == GATHER_BYTES  # since the second try's body came at once


async def test_a_refusal_is_none_of_it(bench: Bench) -> None:
    """A host that says no at once is quick."""
    failure = await bench.fetch_once(Host([Reply(404, b"gone")], quick(bench).time), bench.wanted())
    assert (failure.code, bench.tools.gathering.size_bytes(HOST)) == ("http_404", GATHER_BYTES)


class Trickling(httpx.AsyncBaseTransport):
    """A host that has become slow: who waits for a body waits for ever."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, once its body is there."""
        self.asked.append(gathers(request))
        if gathers(request):
            await asyncio.Event().wait()
        return Reply(200, PNG, etag()).response(request)


async def test_an_answer_that_does_not_come(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for anew at once, as no try of its own, and its body is seen coming."""
    monkeypatch.setattr(fetching, "PATIENCE_S", 0.01)
    host = Trickling()
    async with MediaClient(host, timeout_s=5) as client:
        done = await fetch_output(quick(bench).wanted(), client, bench.tools, bench.fresh_url)
    assert isinstance(done, Receipt)
    assert host.asked == [GATHER_BYTES, 0]


async def test_a_time_out_of_the_system_is_a_failure(bench: Bench) -> None:
    """One that is not ours is no reason to ask again without a pause."""
    bench = quick(bench).with_tools(retries=0)
    failure = await bench.fetch_once(Host([TimeoutError("no route")], bench.time), bench.wanted())
    assert isinstance(failure, Failure)
    assert (failure.code, bench.tools.gathering.size_bytes(HOST)) == ("connection", 0)

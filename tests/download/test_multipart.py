"""A large file by several connections: what is asked, what becomes of the answers, what is on disk after."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floradl.download import ranges as parts
from floradl.download import streaming
from floradl.download.context import Context
from floradl.download.transfer import fetch_output
from floradl.errors import DestinationError
from floradl.network.client import MediaClient
from floradl.network.concurrency import HostLimits
from floradl.network.retry import Backoff, HostPauses
from floradl.repository.results import Failure, Receipt
from floradl.storage.destination import Destination
from floradl.storage.local import partial
from floradl.storage.local.partial import Partial
from floradl.storage.local.writer_pool import WriterPool
from tests.download.test_transfer import Bench, handles_of
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

DATA = random.Random(5).randbytes(60_000)
ETAG = '"one"'
CHUNK = 500
ALONE = ["-"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large, in small."""
    make_small(monkeypatch)


def make_small(patch: pytest.MonkeyPatch) -> None:
    """A file of some kilobytes is large."""
    patch.setattr(parts, "LARGE_BYTES", 20_000)
    patch.setattr(parts, "MAX_PART_BYTES", 6_000)
    patch.setattr(parts, "MIN_PART_BYTES", 1_000)
    patch.setattr(streaming, "WRITE_BYTES", 1_000)
    patch.setattr(streaming, "FLUSH_BYTES", 5_000)
    patch.setattr(partial, "CHECKPOINT_BYTES", 2_000)
    patch.setattr(partial, "MIN_RESUME_BYTES", 1_000)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one answer.

    Args:
        status: instead of the bytes.
        headers: besides, or instead of, the right ones.
        cut: after so many bytes the connection breaks.
        stalls: or it falls silent there.
        more: bytes that nobody asked for.
        less: bytes that are missing although nothing breaks.
        ignores_range: the whole comes, as a 200.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    stalls: int | None = None
    more: bytes = b""
    less: int = 0
    ignores_range: bool = False


FINE = Fault()


class RangeHost:
    """A host that slows each connection down: after each piece of a body some time passes.

    Args:
        time: is moved on.
        faults: request number → what is wrong with it.
        pace_s: the time for one piece, whoever gets it: less when there are more.
        data: the file.
    """

    def __init__(
        self,
        time: FakeTime,
        faults: dict[int, Fault] | None = None,
        *,
        pace_s: float = 0.2,
        data: bytes = DATA,
    ) -> None:
        self._time = time
        self._faults = faults or {}
        self._pace_s = pace_s
        self.data = data
        self.head = {"ETag": ETAG}
        self.open = 0
        self.most = 0
        self.asked: list[str] = []
        self.stalled = asyncio.Event()
        self.requests: list[httpx.Request] = []
        self.bodies: list[_Slow] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer, as the handler of an `httpx.MockTransport`."""
        number = len(self.asked)
        self.requests.append(request)
        fault = self._faults.get(number, FINE)
        wanted = request.headers.get("range", "")
        self.asked.append(wanted.removeprefix("bytes=") or "-")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if fault.status:
            return httpx.Response(fault.status, headers=dict(fault.headers), request=request)
        if match is None or fault.ignores_range or request.headers["if-range"] != self.head.get("ETag"):
            start, end, status, head = 0, len(self.data), 200, dict(self.head)
        else:
            start, end = int(match[1]), int(match[2] or len(self.data) - 1) + 1
            status, head = 206, {**self.head, "Content-Range": f"bytes {start}-{end - 1}/{len(self.data)}"}
        body = self.data[start : end - fault.less] + fault.more
        head |= {"Content-Length": str(end - start), **dict(fault.headers)}
        self.bodies.append(_Slow(self, body, fault))
        return httpx.Response(status, headers=head, stream=self.bodies[-1], request=request)

    async def pace(self) -> None:
        """Let others go on, and time pass."""
        self._time.now_s += self._pace_s / max(1, self.open)
        await asyncio.sleep(0)


class _Slow(httpx.AsyncByteStream):
    def __init__(self, host: RangeHost, body: bytes, fault: Fault) -> None:
        self._host, self._body, self._fault = host, body, fault
        self.is_open = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        host, fault = self._host, self._fault
        self.is_open = True
        host.open += 1
        host.most = max(host.most, host.open)
        for at in range(0, len(self._body), CHUNK):
            chunk = self._body[at : at + CHUNK]
            if fault.stalls is not None and at >= fault.stalls:
                host.stalled.set()
                await asyncio.Event().wait()
            if fault.cut is not None and at + len(chunk) > fault.cut:
                if fault.cut > at:
                    yield chunk[: fault.cut - at]
                raise httpx.ReadError("reset")
            yield chunk
            await host.pace()

    async def aclose(self) -> None:
        self._host.open -= self.is_open
        self.is_open = False


@contextmanager
def bench_at(path: Path) -> Iterator[Bench]:
    """A prepared archive, a clock that others move, and three tries after the first."""
    disk = Destination(path, fsync=False, threads=4)
    disk.prepare()
    time = FakeTime()
    context = Context(
        disk=disk,
        writer_pool=WriterPool(disk),
        clock=time.clock,
        pauses=HostPauses(time.clock),
        retries=3,
        allow_loopback=False,
        backoff=Backoff(rng=random.Random(1)),
    )
    yield Bench(disk, time, context)
    disk.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The same, for one test."""
    with bench_at(tmp_path / "out") as made:
        yield made


async def fetch(bench: Bench, host: RangeHost, *, has_partial: bool = False) -> Receipt | Failure:
    """One output, of a kind of which any bytes are right."""
    async with MediaClient(httpx.MockTransport(host), timeout_s=5) as client:
        wanted = bench.wanted(kind="documentUrl", has_partial=has_partial)
        return await fetch_output(wanted, client, bench.context, bench.fresh_url)


def assert_whole(bench: Bench, receipt: Receipt | Failure, data: bytes = DATA) -> None:
    """The file is there, its bytes and hash are right, and nothing else is left."""
    assert isinstance(receipt, Receipt), receipt
    assert list(bench.files.values()) == [data]
    assert (receipt.size_bytes, receipt.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert bench.leftovers == []
    assert handles_of(bench.disk.root) == []


def ranges(host: RangeHost) -> list[tuple[int, int]]:
    """First and last byte of each part asked for."""
    return sorted(
        (int(start), int(end)) for start, end in (a.split("-") for a in host.asked) if start and end
    )


# --- when it helps, and when it does not ----------------------------------------------------------------


async def test_others_join_a_slow_connection(bench: Bench) -> None:
    """After a second more connections join; the parts they ask for cover the rest, each byte once."""
    host = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench, host))
    assert host.asked[0] == "-"
    assert host.most > 3
    assert max(end - start for start, end in ranges(host)) < 6_000 + 1_000
    ends = [end + 1 for _, end in ranges(host)]
    assert [start for start, _ in ranges(host)][1:] == ends[:-1], "no gap and nothing twice"
    assert ends[-1] == len(DATA)
    assert {request.headers["if-range"] for request in host.requests[1:]} == {ETAG}
    assert host.open == 0


async def test_parts_become_smaller_towards_the_end(bench: Bench) -> None:
    """Whoever is slow with the last one does not hold the rest for long."""
    host = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench, host))
    sizes = [end + 1 - start for start, end in ranges(host)]
    assert sizes[0] > 2 * sizes[-1]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param({"ETag": 'W/"one"'}, id="a weak validator"),
        pytest.param({}, id="no validator"),
        pytest.param({"ETag": ETAG, "Accept-Ranges": "none"}, id="no ranges"),
    ],
)
async def test_what_cannot_be_put_together_comes_alone(bench: Bench, head: dict[str, str]) -> None:
    """Without a strong validator and ranges there are no parts."""
    host = RangeHost(bench.time)
    host.head = head
    assert_whole(bench, await fetch(bench, host))
    assert host.asked == ALONE


async def test_an_unknown_size_comes_alone(bench: Bench) -> None:
    """Nobody knows where the parts of a body without a length would end."""
    host = RangeHost(bench.time, {0: Fault(headers=(("Content-Length", "?"),))})
    assert_whole(bench, await fetch(bench, host))
    assert host.asked == ALONE


async def test_a_small_file_comes_alone(bench: Bench) -> None:
    """Below the threshold nothing is divided, however slow it is."""
    data = DATA[:19_999]
    host = RangeHost(bench.time, data=data)
    assert_whole(bench, await fetch(bench, host), data)
    assert host.asked == ALONE


async def test_a_fast_host_is_left_alone(bench: Bench) -> None:
    """What will be done within two seconds needs no help."""
    host = RangeHost(bench.time, pace_s=0.025)
    assert_whole(bench, await fetch(bench, host))
    assert host.asked == ALONE


async def test_without_idle_places_nobody_joins(bench: Bench) -> None:
    """Other outputs come before parts of this one."""
    host = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench.with_context(limits=HostLimits(1)), host))
    assert host.asked == ALONE


async def test_no_more_than_there_are_places(bench: Bench) -> None:
    """The main stream and the parts together keep to what the host takes."""
    host = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench.with_context(limits=HostLimits(3)), host))
    assert host.most == 3


async def test_a_place_is_given_to_an_output_that_waits(bench: Bench) -> None:
    """Between two parts a connection ends when somebody waits for its place; one goes on to the end."""
    host, limits = RangeHost(bench.time), HostLimits(2)
    waiters: list[asyncio.Task[None]] = []

    async def other() -> None:
        async with limits.slot("media.test"):
            await asyncio.Event().wait()

    async def waits(request: httpx.Request) -> httpx.Response:
        if len(host.asked) == 1:
            waiters.append(asyncio.create_task(other()))
        return await host(request)

    async with MediaClient(httpx.MockTransport(waits), timeout_s=5) as client:
        context = replace(bench.context, limits=limits)
        receipt = await fetch_output(bench.wanted(kind="documentUrl"), client, context, bench.fresh_url)
    assert_whole(bench, receipt)
    assert waiters, "nobody joined"
    waiters[0].cancel()
    await asyncio.wait(waiters)


async def test_a_shared_line_is_not_divided_further(bench: Bench) -> None:
    """Where twice as many bring no more, half of them end."""
    host = RangeHost(bench.time, pace_s=0.05)
    host.pace = lambda: _shared(bench.time)  # type: ignore[method-assign]  # looked at  # all connections share a line
    data = DATA * 4
    host.data = data
    assert_whole(bench, await fetch(bench, host), data)
    assert host.most == 2


async def _shared(time: FakeTime) -> None:
    time.now_s += 0.05
    await asyncio.sleep(0)


# --- answers to parts -----------------------------------------------------------------------------------


ALL_BUT_ONE = range(1, 40)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(ignores_range=True), id="all of it"),
        pytest.param(Fault(headers=(("ETag", '"two"'),)), id="of another validator"),
        pytest.param(Fault(headers=(("Content-Range", f"bytes 0-9/{len(DATA)}"),)), id="of another range"),
        pytest.param(Fault(headers=(("Content-Range", "bytes 0-9"),)), id="of no range"),
        pytest.param(Fault(headers=(("Content-Encoding", "gzip"),)), id="compressed"),
        pytest.param(Fault(416), id="416"),
        pytest.param(Fault(403), id="403"),
        pytest.param(Fault(404), id="404"),
    ],
)
async def test_no_parts_here(bench: Bench, fault: Fault) -> None:
    """After a wrong answer to the first part the main stream goes on alone, without a retry."""
    host = RangeHost(bench.time, {1: fault})
    assert_whole(bench, await fetch(bench, host))
    assert len(host.asked) == 2
    assert bench.fresh_asked == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(429), id="429"),
        pytest.param(Fault(503), id="503"),
        pytest.param(Fault(500), id="500"),
        pytest.param(Fault(cut=0), id="cut at once"),
    ],
)
async def test_no_more_connections_here(bench: Bench, fault: Fault) -> None:
    """A host that gives one connection and refuses every other is left with that one."""
    host = RangeHost(bench.time, dict.fromkeys(ALL_BUT_ONE, fault))
    assert_whole(bench, await fetch(bench, host))
    assert len(host.asked) == 2


@pytest.mark.parametrize("number", range(2, 8))
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(429, (("Retry-After", "3"),)), id="429"),
        pytest.param(Fault(429, (("Retry-After", "9999999"),)), id="429 for ever"),
        pytest.param(Fault(cut=0), id="cut at once"),
        pytest.param(Fault(cut=700), id="cut"),
        pytest.param(Fault(less=300), id="short"),
        pytest.param(Fault(ignores_range=True), id="all of it"),
        pytest.param(Fault(headers=(("ETag", '"two"'),)), id="of another validator"),
        pytest.param(Fault(more=b"!"), id="a byte too many"),
        pytest.param(Fault(403), id="403"),
    ],
)
async def test_one_bad_answer_costs_no_bytes(bench: Bench, fault: Fault, number: int) -> None:
    """Whichever part goes wrong, the file comes whole."""
    bench.fresh_urls.append("https://media.test/fresh")
    host = RangeHost(bench.time, {number: fault})
    assert_whole(bench, await fetch(bench, host))


async def test_a_cut_part_keeps_what_came(bench: Bench) -> None:
    """What a broken connection brought of a part is not asked for again."""
    host = RangeHost(bench.time, {1: Fault(cut=700)})
    assert_whole(bench, await fetch(bench, host))
    first = ranges(host)[0][0]
    assert first + 700 in [start for start, _ in ranges(host)]


async def test_retry_after_of_a_part_pauses_the_host(bench: Bench) -> None:
    """A part's `Retry-After` counts as any other does."""
    host = RangeHost(bench.time, {2: Fault(429, (("Retry-After", "7"),))})
    pauses = HostPauses(bench.time.clock)
    paused: list[tuple[str, float]] = []
    pauses.pause = lambda host, seconds: paused.append((host, seconds))  # type: ignore[method-assign]  # a spy
    assert_whole(bench, await fetch(bench.with_context(pauses=pauses), host))
    assert paused == [("media.test", 7.0)]


async def test_a_dead_url_in_the_middle_is_replaced(bench: Bench) -> None:
    """A URL that expires when the main stream has ended is replaced, and what is there is kept."""
    host = RangeHost(bench.time)
    bench.fresh_urls.append("https://media.test/fresh")
    fresh: list[str] = []

    async def expires(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/fresh":
            fresh.append(request.headers["range"])
        elif host.bodies and not host.bodies[0].is_open:
            return httpx.Response(403, request=request)
        return await host(request)

    async with MediaClient(httpx.MockTransport(expires), timeout_s=5) as client:
        wanted = bench.wanted(kind="documentUrl")
        assert_whole(bench, await fetch_output(wanted, client, bench.context, bench.fresh_url))
    assert min(int(asked.removeprefix("bytes=").split("-")[0]) for asked in fresh) > 9_000


async def test_a_main_stream_that_is_cut(bench: Bench) -> None:
    """The next try goes on from what is there, parts included."""
    host = RangeHost(bench.time, {0: Fault(cut=6_000)})
    assert_whole(bench, await fetch(bench, host))
    total = sum(end + 1 - start for start, end in ranges(host))
    assert total < len(DATA) + 8 * 6_000


async def test_a_changed_file_voids_all_parts(bench: Bench) -> None:
    """When the host has another file by now, nothing of the old one is kept."""
    host = RangeHost(bench.time, {0: Fault(cut=7_000)})
    new = DATA[::-1]

    async def changes(request: httpx.Request) -> httpx.Response:
        response = await host(request)
        if len(host.asked) == 4:
            host.data, host.head = new, {"ETag": '"two"'}
        return response

    async with MediaClient(httpx.MockTransport(changes), timeout_s=5) as client:
        receipt = await fetch_output(bench.wanted(kind="documentUrl"), client, bench.context, bench.fresh_url)
    assert_whole(bench, receipt, new)


# --- stopping, and going on -----------------------------------------------------------------------------


async def stop_in_the_middle(bench: Bench, stalls: dict[int, Fault]) -> RangeHost:
    """Cancel a transfer when nothing comes any more."""
    host = RangeHost(bench.time, stalls)
    before = asyncio.all_tasks()
    task = asyncio.create_task(fetch(bench, host))
    await host.stalled.wait()
    for _ in range(300):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.open == 0
    assert asyncio.all_tasks() == before, "no task is left"
    assert handles_of(bench.disk.root) == []
    assert bench.files == {}
    return host


STALLS = {0: Fault(stalls=6_500), 1: Fault(stalls=2_000)}


async def test_stopped_and_resumed_part_by_part(bench: Bench) -> None:
    """A cancelled transfer leaves no task and no handle; the next process asks only for what is missing."""
    before = await stop_in_the_middle(bench, STALLS)
    assert len(bench.leftovers) == 2
    later = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench, later, has_partial=True))
    assert later.asked[0] == "6500-"
    missing = len(DATA) - 6_500 - 2_000 - sum(end + 1 - start for start, end in ranges(before)[1:])
    assert sum(end + 1 - start for start, end in ranges(later)) < missing + 8_000


async def test_what_was_damaged_meanwhile_is_fetched_again(bench: Bench) -> None:
    """A part whose bytes do not agree with its hash is not trusted."""
    await stop_in_the_middle(bench, STALLS)
    (path,) = (bench.disk.root / ".floradl" / "partials").glob("*.part")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_whole(bench, await fetch(bench, RangeHost(bench.time), has_partial=True))


async def test_an_older_floradl_cuts_parts_off(bench: Bench) -> None:
    """Whoever knows nothing of parts goes on from the prefix, whose hash stands where it always stood."""
    await stop_in_the_middle(bench, STALLS)
    (path,) = (bench.disk.root / ".floradl" / "partials").glob("*.json")
    text = re.sub(rb',"ahead":\[.*?\]', b"", path.read_bytes())
    path.write_bytes(text)
    later = RangeHost(bench.time)
    assert_whole(bench, await fetch(bench, later, has_partial=True))
    assert later.asked[0] == "6500-"


@pytest.mark.parametrize("method", ["append_ahead", "begin_ahead", "absorb_next", "flush", "append"])
async def test_a_disk_error_is_fatal(bench: Bench, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends everything, whoever meets it, and leaves nothing under way."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Partial, method, full)
    host, before = RangeHost(bench.time), asyncio.all_tasks()
    with pytest.raises(DestinationError, match="No space left"):
        await fetch(bench, host)
    assert host.open == 0
    assert asyncio.all_tasks() == before
    assert bench.files == {}
    assert handles_of(bench.disk.root) == []


# --- any order, any failure -----------------------------------------------------------------------------


FAULTS = st.one_of(
    st.builds(Fault, cut=st.integers(0, 7_000)),
    st.builds(Fault, less=st.integers(1, 900)),
    st.sampled_from(
        [
            Fault(ignores_range=True),
            Fault(more=b"!"),
            Fault(429),
            Fault(503, (("Retry-After", "2"),)),
            Fault(500),
            Fault(403),
            Fault(416),
            Fault(headers=(("ETag", '"two"'),)),
            Fault(headers=(("Content-Range", "bytes 0-9/10"),)),
        ]
    ),
)


@settings(max_examples=150)
@given(faults=st.dictionaries(st.integers(0, 25), FAULTS, max_size=12), stop_after=st.integers(0, 400))
def test_whatever_happens(faults: dict[int, Fault], stop_after: int) -> None:
    """Whatever hosts answer and whenever it is stopped: the file's bytes, or what can be resumed to them."""

    async def run(bench: Bench) -> None:
        bench.fresh_urls += [None] * 100
        task = asyncio.create_task(fetch(bench, RangeHost(bench.time, faults)))
        for _ in range(stop_after):
            await asyncio.sleep(0)
        if stop_after % 3:
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        assert handles_of(bench.disk.root) == []
        assert len(asyncio.all_tasks()) == 1
        if not isinstance(result, Receipt):
            assert isinstance(result, (Failure, asyncio.CancelledError))
            assert bench.files == {}
            result = await fetch(bench, RangeHost(bench.time), has_partial=True)
        assert_whole(bench, result)

    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        bench_at(Path(folder) / "out") as bench,
    ):
        make_small(patch)
        asyncio.run(run(bench))

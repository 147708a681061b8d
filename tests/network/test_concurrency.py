"""How many requests a host gets: what is learned of made-up hosts, and whose turn it is."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from floradl.errors import TransferError
from floradl.network import concurrency
from floradl.network.concurrency import FIRST_PATIENCE, START, HostLimits, Limit, Ticket

ANSWER_S = 0.04


# --- what is learned, against made-up hosts -------------------------------------------------------------


@dataclass
class Night:
    """What came of a simulated night: when each request ended, and the level then."""

    sent: int = 0
    refused: int = 0
    levels: list[tuple[float, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.levels[-1][0]

    @property
    def refused_share(self) -> float:
        """Refused requests among all."""
        return self.refused / self.sent

    def reached_at_s(self, level: int, *, after_s: float = 0.0) -> float:
        """When that many requests at a time were reached."""
        return next(now_s for now_s, reached in self.levels if reached >= level and now_s >= after_s)


def simulate(
    takes: Callable[[float], int], *, outputs: int = 3000, ceiling: int = 64, seed: int = 0
) -> Night:
    """Fetch outputs, as a pool of `ceiling` workers does, from a host that refuses what is too much.

    Args:
        takes: how many requests at a time the host takes at a moment.
        outputs: how many there are.
        ceiling: as `-j`.
        seed: of the jitter of answers, which come after 40 to 44 ms, and of waits before another try.
    """
    rng, limit, night = random.Random(seed), Limit(ceiling), Night()
    ends: list[tuple[float, int, Ticket | None, bool, int]] = []  # when, order, ticket, is it taken, tries
    line = deque([0] * min(ceiling, outputs))
    waiting, busy, now_s, done = outputs - len(line), 0, 0.0, 0
    while done < outputs:
        while line and limit.in_flight < limit.level:
            is_taken = busy < takes(now_s)
            busy += is_taken
            night.sent += 1
            limit.in_flight += 1
            end_s = now_s + ANSWER_S * rng.uniform(1, 1.1)
            heapq.heappush(ends, (end_s, night.sent, limit.begin(), is_taken, line.popleft()))
        now_s, number, ticket, is_taken, tries = heapq.heappop(ends)
        if ticket is None:
            line.append(tries)  # it has waited, and tries again
            continue
        if is_taken:
            busy, done = busy - 1, done + 1
            limit.succeed(ticket)
            if waiting:
                waiting -= 1
                line.append(0)
        else:
            night.refused += 1
            limit.push_back(ticket)
            heapq.heappush(ends, (now_s + rng.uniform(0, 2**tries), number, None, False, tries + 1))
        limit.in_flight -= 1
        night.levels.append((now_s, limit.level))
    return night


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("takes", [1, 2, 5, 8, 15, 16, 17, 30, 48])
def test_a_host_that_takes_so_many(takes: int, seed: int) -> None:
    """It is asked nearly as fast as it lets itself be asked, and hardly ever has to refuse anything."""
    night = simulate(lambda _: takes, seed=seed)
    fixed = simulate(lambda _: takes, ceiling=takes, seed=seed)
    assert fixed.refused == 0
    assert night.refused_share < 0.03
    assert night.seconds < 1.25 * fixed.seconds
    later = sorted(level for now_s, level in night.levels if now_s > night.seconds / 2)
    assert later[len(later) // 2] == takes


@pytest.mark.parametrize("ceiling", [1, 8, 16, 64, 256])
def test_a_host_that_takes_all(ceiling: int) -> None:
    """The ceiling is reached within a few answers, and never passed."""
    night = simulate(lambda _: 1000, ceiling=ceiling)
    assert night.refused == 0
    assert night.reached_at_s(ceiling) < 5 * ANSWER_S
    assert max(level for _, level in night.levels) == ceiling


@pytest.mark.parametrize("seed", range(5))
def test_a_host_that_changes(seed: int) -> None:
    """One that takes less for a while is asked less, and soon again as much as before."""
    night = simulate(lambda now_s: 4 if 4 <= now_s < 12 else 32, outputs=6000, seed=seed)
    at_4 = [level for now_s, level in night.levels if 5 <= now_s < 12]
    assert max(at_4) <= 5
    assert night.reached_at_s(32, after_s=12) < 12 + 3.5  # the next try is 64 rounds away at most
    assert night.refused_share < 0.03
    mean_s = 1.05 * ANSWER_S
    best_s = 4 + 8 + (6000 - 4 * 32 / mean_s - 8 * 4 / mean_s) * mean_s / 32
    assert night.seconds < 1.25 * best_s


def test_a_host_that_changes_for_a_moment() -> None:
    """However rare tries had become, a host that has just changed is tried again soon."""
    night = simulate(lambda now_s: 4 if 6 <= now_s < 7 else 32, outputs=8000)
    assert night.reached_at_s(32, after_s=7) < 8.2


def test_a_host_that_takes_all_again() -> None:
    """Once a try of one more passes, the level grows faster and faster."""
    night = simulate(lambda now_s: 4 if now_s < 3 else 1000)
    first_try_s = night.reached_at_s(6, after_s=3)
    assert night.reached_at_s(64) < first_try_s + 0.8


def test_a_host_that_refuses_everything_for_a_while() -> None:
    """A burst that is refused as a whole says nothing of how many would be taken: all is tried anew."""
    night = simulate(lambda now_s: 0 if 1 <= now_s < 1.5 else 1000)
    assert night.reached_at_s(64, after_s=1.5) < 3
    assert night.refused < 64 + 20


def full(limit: Limit) -> list[Ticket]:
    """Send as many requests as there may be."""
    tickets = []
    while limit.in_flight < limit.level:
        limit.in_flight += 1
        tickets.append(limit.begin())
    return tickets


def test_one_burst_is_one_push_back() -> None:
    """Whatever part of those on their way is refused, the level is halved once, or falls to what was had."""
    limit = Limit(64)
    tickets = full(limit)
    for ticket in tickets[:3]:
        limit.push_back(ticket)
        limit.in_flight -= 1
    assert (START, limit.level) == (16, 8)
    for ticket in tickets[3:12]:
        limit.push_back(ticket)
        limit.in_flight -= 1
    assert limit.level == 4


def test_news_of_long_ago() -> None:
    """A refusal of what was sent before the last but one push-back changes nothing."""
    limit = Limit(64)
    first = full(limit)
    limit.push_back(first[0])
    limit.in_flight -= 15
    limit.push_back(full(limit)[0])
    level = limit.level
    for ticket in first[1:]:
        limit.push_back(ticket)
    assert limit.level == level


def test_a_refusal_at_the_end() -> None:
    """How many were on their way counts from when the refused request was sent, not when its answer came."""
    limit = Limit(64)
    tickets = full(limit)
    for ticket in tickets[:-1]:
        limit.succeed(ticket)
        limit.in_flight -= 1
    limit.push_back(tickets[-1])
    assert (limit.level, limit.refusals) == (8, 0)


def test_success_of_what_was_sent_before_a_push_back() -> None:
    """It does not make the level climb: it was sent at the level that was too much."""
    limit = Limit(64)
    tickets = full(limit)
    limit.push_back(tickets[0])
    limit.succeed(tickets[1])
    assert limit.level == 8


def test_few_requests_do_not_raise_the_level() -> None:
    """Where there is less to ask for than could be asked, nothing is learned of what the host would take."""
    limit = Limit(64)
    for _ in range(100):
        limit.in_flight = 1
        limit.succeed(limit.begin())
    assert limit.level == START


def test_tries_get_rarer() -> None:
    """Each time that one more is refused, twice as many rounds go by before it is tried again."""
    night = simulate(lambda _: 1, outputs=600)
    tried = [index for index, (_, level) in enumerate(night.levels) if level == 2 and index > 20]
    rounds = [later - earlier for earlier, later in pairwise(tried) if later > earlier + 4]
    assert rounds == sorted(rounds)
    assert rounds[-1] > 8 * FIRST_PATIENCE


def test_only_lone_refusals_are_counted() -> None:
    """A host that refuses the only request on its way refuses everything, until it takes one."""
    limit = Limit(64)
    for ticket in full(limit):
        limit.push_back(ticket)
        limit.in_flight -= 1
    assert (limit.level, limit.refusals) == (1, 0)
    for count in (1, 2, 3):
        (ticket,) = full(limit)
        limit.push_back(ticket)
        limit.in_flight -= 1
        assert (limit.level, limit.refusals) == (1, count)
    (ticket,) = full(limit)
    limit.succeed(ticket)
    assert limit.refusals == 0


# --- whose turn it is -----------------------------------------------------------------------------------


REFUSED = TransferError("http_429", "the host answered 429", is_retryable=True)


class Requests:
    """Requests that stay on their way until they are told how to end."""

    def __init__(self, ceiling: int, host: str = "h") -> None:
        self.limits = HostLimits(ceiling)
        self.host = host
        self.begun: list[int] = []
        self.at_the_end: Callable[[], object] = lambda: None
        self.afterwards: Callable[[], object] = lambda: None
        self._ends: dict[int, asyncio.Future[None]] = {}

    async def send(self, number: int, host: str = "") -> None:
        """Be on the way until `end`."""
        async with self.limits.slot(host or self.host) as turn:
            turn.begin()
            self.begun.append(number)
            self._ends[number] = asyncio.get_running_loop().create_future()
            await self._ends[number]
            self.at_the_end()
        self.afterwards()

    def end(self, number: int, error: Exception | None = None) -> None:
        """Let one be answered, or fail."""
        if error is None:
            self._ends[number].set_result(None)
        else:
            self._ends[number].set_exception(error)


async def settle() -> None:
    """Let all tasks do what they can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_first_come_first_served() -> None:
    """Places go to those who wait in the order in which they came, one for each that was given back."""
    requests = Requests(2)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(requests.send(number))
            await settle()
        assert requests.begun == [0, 1]
        for number in range(6):
            requests.end(number)
            await settle()
            assert requests.begun == list(range(min(6, number + 3)))


@pytest.mark.anyio
async def test_nobody_overtakes() -> None:
    """Who comes when a place is free, but promised to others, waits behind them."""
    requests = Requests(1)
    async with asyncio.TaskGroup() as group:
        for number in (0, 1):
            group.create_task(requests.send(number))
            await settle()
        requests.end(0)
        group.create_task(requests.send(2))
        await settle()
        assert requests.begun == [0, 1]
        requests.end(1)
        await settle()
        requests.end(2)


@pytest.mark.anyio
async def test_hosts_do_not_wait_for_each_other() -> None:
    """Every host has its own places."""
    requests = Requests(1)
    async with asyncio.TaskGroup() as group:
        for number, host in enumerate("ab"):
            group.create_task(requests.send(number, host))
        await settle()
        assert requests.begun == [0, 1]
        requests.end(0)
        requests.end(1)


@pytest.mark.anyio
@pytest.mark.parametrize("moment", ["long before", "just before", "just after"])
@pytest.mark.parametrize("ceiling", [1, 3])
async def test_who_is_cancelled_while_waiting_takes_no_place_along(ceiling: int, moment: str) -> None:
    """Not before it would get one, and not in the moment in which it gets one."""
    requests = Requests(ceiling)
    tasks = []
    for number in range(ceiling + 2):
        tasks.append(asyncio.create_task(requests.send(number)))
        await settle()
    if moment == "long before":
        tasks[ceiling].cancel()
        await settle()
    elif moment == "just before":
        requests.at_the_end = tasks[ceiling].cancel  # it is in the line still when the place is given back
    else:
        requests.afterwards = tasks[ceiling].cancel  # its place is given, and it does not know yet
    requests.end(0)
    await settle()
    requests.afterwards = requests.at_the_end = lambda: None
    assert tasks[ceiling].cancelled()
    assert (ceiling in requests.begun) is False
    for number in [*range(1, ceiling), ceiling + 1]:
        requests.end(number)  # that there is something to end says that the last one got its place
    await asyncio.gather(*tasks, return_exceptions=True)
    assert requests.limits.idle("h") == ceiling


@pytest.mark.anyio
async def test_who_is_cancelled_on_the_way_gives_the_place_back() -> None:
    """Cancellation is no push-back either, nor is one before the request was sent."""
    requests = Requests(1)
    task = asyncio.create_task(requests.send(0))
    await settle()
    task.cancel()
    await settle()
    await _quiet(_refused(requests.limits, "h", is_sent=False))
    assert requests.limits.idle("h") == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "is_push_back"),
    [
        (TransferError("http_429", ""), True),
        (TransferError("http_503", ""), True),
        (TransferError("http_500", "", retry_after_s=0.0), True),
        (TransferError("http_500", ""), False),
        (TransferError("http_404", ""), False),
        (TransferError("truncated", ""), False),
        (OSError("reset"), False),
    ],
    ids=lambda value: getattr(value, "code", str(value)),
)
async def test_what_is_a_push_back(error: Exception, is_push_back: bool) -> None:
    """429, 503, and whatever names a time to come back; nothing else makes floradl ask less."""
    requests = Requests(64)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_quiet(requests.send(number))) for number in range(6)]
        await settle()
        requests.end(0, error)
        await tasks[0]
        assert requests.limits.idle("h") == (0 if is_push_back else START - 5)
        for number in range(1, 6):
            requests.end(number)


async def _quiet(request: Awaitable[None]) -> None:
    with suppress(TransferError, OSError):
        await request


async def _refused(source: HostLimits, host: str, *, is_sent: bool = True) -> None:
    async with source.slot(host) as turn:
        if is_sent:
            turn.begin()
        raise REFUSED


@pytest.mark.anyio
async def test_answers_that_are_no_push_back_let_the_level_climb() -> None:
    """A host that says 404 quickly takes requests all the same."""
    requests = Requests(64)
    for number in range(START):
        asyncio.create_task(_quiet(requests.send(number)))  # noqa: RUF006 - ended below
    await settle()
    requests.end(0, TransferError("http_404", ""))
    await settle()
    assert requests.limits.idle("h") == 2
    for number in range(1, START):
        requests.end(number)
    await settle()


@pytest.mark.anyio
async def test_idle_places() -> None:
    """What is neither taken nor waited for; of an unknown host as many as it would get at first."""
    requests = Requests(3)
    assert (requests.limits.idle("h"), HostLimits(64).idle("h")) == (3, START)
    tasks = []
    for number, idle in enumerate((2, 1, 0, 0, 0)):
        tasks.append(asyncio.create_task(requests.send(number)))
        await settle()
        assert requests.limits.idle("h") == idle
    for number in range(5):
        requests.end(number)
        await settle()
    assert requests.limits.idle("h") == 3
    await asyncio.gather(*tasks)


@pytest.mark.anyio
async def test_a_host_that_refuses_everything_is_asked_by_nobody_else() -> None:
    """All who wait get its answer, also one that is cancelled in that moment; later ones are asked again."""
    requests = Requests(1)
    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(requests.send(number)))
        await settle()
    requests.end(0, REFUSED)
    with pytest.raises(TransferError):
        await tasks[0]
    assert requests.limits.refusals("h") == 1
    tasks[4].cancel()
    tasks[2].cancel()
    await settle()
    asyncio.get_running_loop().call_soon(tasks[3].cancel)
    requests.limits.turn_away("h", REFUSED)
    requests.limits.turn_away("nowhere", REFUSED)
    requests.end(1)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[2:]] == [asyncio.CancelledError] * 3
    assert requests.limits.refusals("h") == 0
    assert requests.limits.refusals("nowhere") == 0


@pytest.mark.anyio
async def test_the_answer_of_those_who_wait() -> None:
    """It is the refusal's, an error of their own each."""
    requests = Requests(1)
    tasks = [asyncio.create_task(requests.send(number)) for number in range(3)]
    await settle()
    tasks[2].cancel()
    requests.limits.turn_away("h", REFUSED)  # before that one could leave the line
    requests.end(0)
    answered = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answered[1], TransferError)
    assert (answered[1].code, answered[1].message) == (REFUSED.code, REFUSED.message)
    assert (answered[1].is_retryable, answered[1] is REFUSED) == (True, False)
    assert isinstance(answered[2], asyncio.CancelledError)
    assert requests.limits.idle("h") == 1


@pytest.mark.anyio
async def test_what_is_known_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many hosts the one not asked for longest is forgotten, never one that is being asked."""
    monkeypatch.setattr(concurrency, "MAX_HOSTS", 3)
    requests = Requests(64)
    tasks = [asyncio.create_task(requests.send(0, "busy"))]
    await settle()
    for host in ("a", "b", "a", "c"):
        await _quiet(_refused(requests.limits, host))
    known = {host: requests.limits.idle(host) for host in ("busy", "a", "b", "c")}
    assert known == {"busy": START - 1, "a": 1, "b": START, "c": 1}
    for number, host in enumerate(("a", "c", "d", "e"), 1):  # more than may be known, all of them busy
        tasks.append(asyncio.create_task(requests.send(number, host)))
        await settle()
    assert [requests.limits.idle(host) for host in ("busy", "d", "e")] == [START - 1] * 3
    for number in range(5):
        requests.end(number)
    await asyncio.gather(*tasks)


@pytest.mark.anyio
async def test_what_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """That a host takes less, once it is known how much, and that it takes much more again; not each step."""
    caplog.set_level(logging.INFO, logger="floradl")
    source, busy = HostLimits(64), 0

    async def request(takes: int) -> None:
        nonlocal busy
        async with source.slot("media.test") as turn:
            turn.begin()
            if busy >= takes:
                await settle()
                raise REFUSED
            busy += 1
            await settle()
            busy -= 1

    async def worker(takes: int) -> None:
        for _ in range(60):
            await _quiet(request(takes))

    for takes in (8, 9, 1000):
        async with asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(worker(takes))
    assert caplog.messages == [
        "media.test pushes back: 8 requests at a time",
        "media.test takes more again: 64 requests at a time",
    ]

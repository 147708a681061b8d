"""How many requests a host gets at the same time: as many as it takes.

No host says how many it takes, so the number (the level) is found out for each host. It doubles from round to
round until the host pushes back with 429, 503, or any answer with `Retry-After`. A round is as many answers
as the level has requests. Then the level is halved at once, and climbs back within a round or two to what the
host
took: the requests that were in flight, less those that were refused. There it stays. From time to time one
request more is tried, each time after twice as many rounds as before, since the host may take more by now.
Where that succeeds, the number grows faster and faster.

`Limit` decides; it knows neither hosts nor clocks and waits for nothing. `HostLimits` acts: it lets requests
wait for their turn, first come, first served.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from floradl.errors import TransferError, printable

START = 16
"""The level before anything is known about a host. Browsers open 6 connections; many hosts take more."""

FIRST_PATIENCE, MAX_PATIENCE = 8, 64
"""Rounds at a known level before one request more is tried: at first, and at most."""

MAX_HOSTS = 1024
"""When so many hosts are remembered, one without requests is forgotten for each new one."""

PUSH_BACK_CODES = frozenset({"http_429", "http_503"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was known about a host when a request to it was sent.

    Args:
        cuts: how often the host had pushed back.
        stage: how often the level had changed.
        in_flight: how many requests were in flight, this one included.
    """

    cuts: int
    stage: int
    in_flight: int


class Limit:
    """How many requests one host may have at a time, learned from the outcome of each request.

    Args:
        ceiling: the level is never higher.

    Attributes:
        level: how many requests the host may have at a time, at least 1.
        in_flight: how many it has; the owner of the object counts them.
        refusals: how often in a row the host refused a request while no other was in flight.
    """

    def __init__(self, ceiling: int) -> None:
        self.level = min(START, ceiling)
        self.in_flight = 0
        self.refusals = 0
        self._ceiling = ceiling
        self._known: int | None = None  # the level that the host is known to take
        self._cuts = 0  # how often the host has pushed back
        self._cut_at = 0  # requests in flight when it pushed back last
        self._refused = 0  # how many of those were refused
        self._known_before = 0  # the known level before the last push-back
        self._stage = 0  # how often the level has changed
        self._successes = 0  # in this stage
        self._step = 0  # by how much the level under test is above the one that is known; 0: none is tested
        self._patience = FIRST_PATIENCE

    @property
    def settled(self) -> int | None:
        """The level, once requests have succeeded at it and it is not about to change; None before."""
        has_proved_right = self._successes > 0 and self.level == self._known and not self._step
        return self.level if has_proved_right or self.level == self._ceiling else None

    def begin(self) -> Ticket:
        """A request is sent; it is among `in_flight` already."""
        return Ticket(self._cuts, self._stage, self.in_flight)

    def succeed(self, ticket: Ticket) -> None:
        """A request was answered; it is still among `in_flight`."""
        self.refusals = 0
        # A request that was sent before the last push-back says nothing about the level since then. Nor does
        # an answer while places are free: fewer requests than the level were tried.
        if ticket.cuts != self._cuts or self.in_flight < self.level:
            return
        if self._known is None or self.level < self._known:
            self.level = min(self.level + 1, self._known or self._ceiling)
            self._enter_stage()
        elif ticket.stage == self._stage:
            self._successes += 1
            if self._successes >= self.level * (1 if self._step else self._patience):
                self._climb(self._known)

    def push_back(self, ticket: Ticket) -> None:
        """A request was refused because there are too many; it is still among `in_flight`."""
        if ticket.cuts == self._cuts:
            # Where few requests are left to send, fewer are in flight when the answer comes than when the
            # host decided about it.
            self._cut(max(self.in_flight, ticket.in_flight))
        elif ticket.cuts < self._cuts - 1:
            return  # it was sent before the last push-back but one, and was counted among that one's requests
        # All requests that were in flight at the cut belong to this one push-back. Each that is refused shows
        # that the host takes one fewer; none of them cuts the level again.
        self._refused += 1
        taken = self._cut_at - self._refused
        self._known = taken if taken > 0 else None
        self.level = max(1, min(self.level, taken))
        if taken < self._known_before // 2:
            self._patience = FIRST_PATIENCE  # the host takes far less than before, and may change again soon

    def _cut(self, in_flight: int) -> None:
        self.refusals = self.refusals + 1 if in_flight == 1 else 0
        self._cuts += 1
        self._cut_at, self._refused = in_flight, 0
        self._known_before = self._known or self.level
        self.level = max(1, in_flight // 2)
        self._step = 0
        self._patience = min(2 * self._patience, MAX_PATIENCE) if self._known else FIRST_PATIENCE
        self._enter_stage()

    def _climb(self, known: int) -> None:
        """Try more than the host is known to take: one at first, twice as many each time that it succeeds."""
        if self._step:
            self._patience = FIRST_PATIENCE
        self._step = 2 * self._step or 1
        self._known = self.level = min(known + self._step, self._ceiling)
        if self.level == self._ceiling:
            self._known, self._step = None, 0
        self._enter_stage()

    def _enter_stage(self) -> None:
        self._stage += 1
        self._successes = 0


@dataclass(slots=True)
class _Host:
    """A host's limit, the level that was logged last, and the requests that wait for their turn."""

    limit: Limit
    logged_level: int
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def idle(self) -> int:
        return max(0, self.limit.level - self.limit.in_flight)


class Turn:
    """The place that one request has among the requests of its host."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._ticket: Ticket | None = None

    def begin(self) -> None:
        """The request is sent now."""
        self._ticket = self._limit.begin()

    def end(self, error: BaseException | None) -> None:
        """The request has ended.

        Args:
            error: why it failed, None where its answer was read. Only answers of the host say something about
                the level: errors of the network and cancellations do not.
        """
        if self._ticket is None:
            return
        if error is None:
            self._limit.succeed(self._ticket)
        elif isinstance(error, TransferError):
            if error.code in PUSH_BACK_CODES or error.retry_after_s is not None:
                self._limit.push_back(self._ticket)
            elif error.code.startswith("http_"):
                self._limit.succeed(self._ticket)


class HostLimits:
    """The limits of all hosts of a session.

    Args:
        ceiling: the most requests that one host ever gets at a time.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def idle(self, host: str) -> int:
        """How many places of `host` are free."""
        known = self._hosts.get(host)
        return known.idle if known else min(START, self._ceiling)

    def refusals(self, host: str) -> int:
        """How often in a row `host` refused a request while no other was in flight."""
        known = self._hosts.get(host)
        return known.limit.refusals if known else 0

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[Turn]:
        """Wait for a place among the requests of `host`, and hold it while the block runs.

        The block must let the request's `TransferError` through: from it the limit learns whether the host
        refused the request because there are too many.

        Raises:
            TransferError: the wait was ended by `turn_away`.
        """
        state = self._state(host)
        await self._take_place(state)
        turn = Turn(state.limit)
        error: BaseException | None = None
        try:
            yield turn
        except BaseException as exc:
            error = exc
            raise
        finally:
            turn.end(error)
            self._log_level(host, state)
            _free_place(state)

    def turn_away(self, host: str, error: TransferError) -> None:
        """End all waits for a place of `host` with the last request's error: the host refuses everything."""
        known = self._hosts.get(host)
        while known and known.waiting:
            waiter = known.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(TransferError(error.code, error.message, is_retryable=True))

    async def _take_place(self, state: _Host) -> None:
        if state.limit.in_flight < state.limit.level:  # then nobody waits: see `_free_place`
            state.limit.in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state.waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                # `_free_place` or `turn_away` may have taken the cancelled waiter from the queue already.
                with suppress(ValueError):
                    state.waiting.remove(waiter)
            elif waiter.exception() is None:
                # The place was given in the same moment in which this request was cancelled. If it were not
                # given back, the host would have one place less for the rest of the session.
                _free_place(state)
            raise

    def _state(self, host: str) -> _Host:
        state = self._hosts.get(host)
        if state is None:
            self._forget_one()
            state = self._hosts[host] = _Host(Limit(self._ceiling), self._ceiling)
        self._hosts.move_to_end(host)
        return state

    def _forget_one(self) -> None:
        """Make room for another host: they come from outside, and memory must not grow with them."""
        if len(self._hosts) >= MAX_HOSTS:
            unused = (name for name, one in self._hosts.items() if not (one.limit.in_flight or one.waiting))
            if (name := next(unused, None)) is not None:
                del self._hosts[name]

    def _log_level(self, host: str, state: _Host) -> None:
        """Log a settled level that is lower than the one logged last, or at least twice as high."""
        level = state.limit.settled
        if level is None:
            return
        if level < state.logged_level:
            log.info("%s pushes back: %d requests at a time", printable(host, limit=80), level)
        elif level >= 2 * state.logged_level:
            log.info("%s takes more again: %d requests at a time", printable(host, limit=80), level)
        else:
            return
        state.logged_level = level


def _free_place(state: _Host) -> None:
    """Free the place of a request that has ended, and give all free places to those who wait longest."""
    state.limit.in_flight -= 1
    while state.waiting and state.limit.in_flight < state.limit.level:
        waiter = state.waiting.popleft()
        if not waiter.done():
            state.limit.in_flight += 1
            waiter.set_result(None)

"""How many requests a host gets at the same time: as many as it takes.

No host says how many that are, so the number is found out, host by host. The number doubles from round to
round (a round is as many answers as there are requests at a time) until the host pushes back: 429, 503, or
any answer with `Retry-After`. Then it is halved at once, and climbs back within a round or two to what the
host took: those that were on their way, less those that were refused. There it stays. To see whether the host
takes more by now, one request above that is tried, each time after twice as many rounds as before; where it
passes, the number grows faster and faster.

`Limit` decides. It is pure: it knows neither hosts nor clocks. `HostLimits` acts: it lets requests wait for
their turn, in the order in which they came.
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
"""The number of requests before anything is known of a host; browsers open 6 connections, many hosts take
more.
"""

FIRST_PATIENCE, MAX_PATIENCE = 8, 64
"""Rounds at a known level before one more is tried: at first, and at most."""

MAX_HOSTS = 1024
PUSH_BACK_CODES = frozenset({"http_429", "http_503"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request on its way, with the state of its host's limit at the moment when it was sent.

    Attributes:
        cuts: how often the host had pushed back.
        stage: how often the level had changed.
        in_flight: how many requests were on their way.
    """

    cuts: int
    stage: int
    in_flight: int


class Limit:
    """The number of requests that one host may have at a time; pure, fed with what becomes of each request.

    Args:
        ceiling: never more than that.

    Attributes:
        level: requests at a time, 1 at least.
        in_flight: those on their way.
        refusals: how often in a row the host refused a request that was its only one.
    """

    def __init__(self, ceiling: int) -> None:
        self.level = min(START, ceiling)
        self.in_flight = 0
        self.refusals = 0
        self._ceiling = ceiling
        self._known: int | None = None  # what the host took when it pushed back
        self._cuts = 0
        self._cut_at = 0  # requests on their way when it pushed back last
        self._refused = 0  # those of them that were refused
        self._formerly = 0  # the known level before
        self._stage = 0
        self._successes = 0  # in this stage
        self._step = 0  # how far above the level that is known for good
        self._patience = FIRST_PATIENCE

    @property
    def settled(self) -> int | None:
        """The level, once it has proved right and is not about to change."""
        has_proved_right = self._successes > 0 and self.level == self._known and not self._step
        return self.level if has_proved_right or self.level == self._ceiling else None

    def begin(self) -> Ticket:
        """A request is sent, whose place was taken before."""
        return Ticket(self._cuts, self._stage, self.in_flight)

    def succeed(self, ticket: Ticket) -> None:
        """A request was answered; its place is still taken."""
        self.refusals = 0
        # A request that was sent before the last push-back says nothing about the level that holds since
        # then. Nor does an answer while places are free: the level was not reached, so it was not tried.
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
        """A request was refused because there are too many; its place is still taken."""
        if ticket.cuts == self._cuts:
            # At the end of a session fewer requests are on their way when the answer comes than when it was
            # made.
            self._cut(max(self.in_flight, ticket.in_flight))
        elif ticket.cuts < self._cuts - 1:
            return  # it was sent two push-backs ago, and has been counted among those refused then
        # All requests that were sent before the last cut are one push-back. Each refusal among them says that
        # one more of them was too much.
        self._refused += 1
        taken = self._cut_at - self._refused
        self._known = taken if taken > 0 else None
        self.level = max(1, min(self.level, taken))
        if taken < self._formerly // 2:
            self._patience = FIRST_PATIENCE  # the host has changed, and may change again

    def _cut(self, in_flight: int) -> None:
        self.refusals = self.refusals + 1 if in_flight == 1 else 0
        self._cuts += 1
        self._cut_at, self._refused = in_flight, 0
        self._formerly = self._known or self.level
        self.level = max(1, in_flight // 2)
        self._step = 0
        self._patience = min(2 * self._patience, MAX_PATIENCE) if self._known else FIRST_PATIENCE
        self._enter_stage()

    def _climb(self, known: int) -> None:
        """Try more than the host is known to take: one at first, twice as many each time that it passes."""
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
    limit: Limit
    told: int
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def idle(self) -> int:
        return max(0, self.limit.level - self.limit.in_flight)


class Turn:
    """A place among the requests of one host, held until the answer was read."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._ticket: Ticket | None = None

    def begin(self) -> None:
        """The request is sent now."""
        self._ticket = self._limit.begin()

    def end(self, error: BaseException | None) -> None:
        """Tell the limit what became of the request.

        An error of the network or a cancellation says nothing about how many requests the host takes.
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
    """The places of all hosts of a session.

    Args:
        ceiling: never more requests than that to one host at a time.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def idle(self, host: str) -> int:
        """How many more requests `host` could have now, with nobody waiting for their turn."""
        known = self._hosts.get(host)
        return known.idle if known else min(START, self._ceiling)

    def refusals(self, host: str) -> int:
        """How often in a row `host` refused a request although it was its only one."""
        known = self._hosts.get(host)
        return known.limit.refusals if known else 0

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[Turn]:
        """A place among the requests of `host`, once it is this request's turn.

        The error that ends the block tells whether the host refused the request.

        Raises:
            TransferError: the host refuses everything; see `turn_away`.
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
            self._tell(host, state)
            _give_back(state)

    def turn_away(self, host: str, error: TransferError) -> None:
        """End all waits for a turn with `host` with the answer that the last request had."""
        known = self._hosts.get(host)
        while known and known.waiting:
            waiter = known.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(TransferError(error.code, error.message, is_retryable=True))

    async def _take_place(self, state: _Host) -> None:
        if state.limit.in_flight < state.limit.level:  # then nobody waits: see `_give_back`
            state.limit.in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state.waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # `_give_back` may have taken the cancelled waiter out already
                    state.waiting.remove(waiter)
            elif waiter.exception() is None:
                _give_back(
                    state
                )  # the waiter got its place just before the cancellation; nobody would use it
            raise

    def _state(self, host: str) -> _Host:
        state = self._hosts.get(host)
        if state is None:
            self._forget()
            state = self._hosts[host] = _Host(Limit(self._ceiling), self._ceiling)
        self._hosts.move_to_end(host)
        return state

    def _forget(self) -> None:
        """Keep what is remembered bounded: hosts come from outside."""
        if len(self._hosts) >= MAX_HOSTS:
            unused = (name for name, one in self._hosts.items() if not (one.limit.in_flight or one.waiting))
            if (name := next(unused, None)) is not None:
                del self._hosts[name]

    def _tell(self, host: str, state: _Host) -> None:
        """Log a level that has changed; a level that was logged is not logged again."""
        level = state.limit.settled
        if level is None:
            return
        if level < state.told:
            log.info("%s pushes back: %d requests at a time", printable(host, limit=80), level)
        elif level >= 2 * state.told:
            log.info("%s takes more again: %d requests at a time", printable(host, limit=80), level)
        else:
            return
        state.told = level


def _give_back(state: _Host) -> None:
    """Give a place back, and give the places that are free to the requests that wait longest."""
    state.limit.in_flight -= 1
    while state.waiting and state.limit.in_flight < state.limit.level:
        waiter = state.waiting.popleft()
        if not waiter.done():
            state.limit.in_flight += 1
            waiter.set_result(None)

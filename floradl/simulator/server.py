"""The simulator: an API server and a media server over one account, on two ports of this machine.

Guarantees:

- A request is in the log before any byte of its answer is sent.
- Closing ends every connection at once, stalled ones too, and leaves no task and no open socket behind.
- An exception inside the simulator (or in an `Edit`) closes the connection on which it happened, and is
  raised again when the simulator is closed. A test therefore cannot take it for an answer of FLORA.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import endpoints, wire
from .faults import NO_FAULT, Fault, FaultCounter, merge
from .wire import BadRequestError, Request, Response, SimRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from .account import Account


class Simulator:
    """Serves an account; an async context manager that can be entered once.

    Args:
        account: the account; it may be changed while it is served.
        host: the address to listen on.
        port: of the API; 0 means any free port. The media server always takes any free port.
        faults: what goes wrong.

    Attributes:
        base_url: of the API, with its `/api/v1`; set when entered.
        media_url: of the media server; set when entered.
        account: the account that is served.
        faults: may be changed at any time, also from another thread.
        requests: every request since the start or the last `forget()`, in the order of their arrival.
    """

    def __init__(
        self, account: Account, *, host: str = "127.0.0.1", port: int = 0, faults: Iterable[Fault] = ()
    ) -> None:
        self.account = account
        self.faults = list(faults)
        self.requests: list[SimRequest] = []
        self.base_url = ""
        self.media_url = ""
        self._host = host
        self._port = port
        self._counter = FaultCounter()
        self._numbers = itertools.count(1)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._closing = False

    def api_requests(self) -> list[SimRequest]:
        """The requests to the API that are in the log."""
        return [request for request in list(self.requests) if request.server == "api"]

    def media_requests(self) -> list[SimRequest]:
        """The requests to the media server that are in the log."""
        return [request for request in list(self.requests) if request.server == "media"]

    def forget(self) -> None:
        """Empty the log. Faults go on counting: the next request is not number 1 to them."""
        self.requests.clear()

    async def __aenter__(self) -> Self:
        self.base_url = await self._listen("api", self._port) + endpoints.BASE_PATH
        try:
            self.media_url = await self._listen("media", 0)
        except BaseException:
            await self._close()
            raise
        self.account.base_url, self.account.media_url = self.base_url, self.media_url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        if self._failures and error is None:
            raise self._failures[0]

    async def _listen(self, name: str, port: int) -> str:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._closing:
                writer.transport.abort()  # it was accepted after `_close` had begun
                return
            # A task of our own: asyncio keeps the one it makes for a handler to itself, and `_close` has to
            # wait for it.
            task = asyncio.get_running_loop().create_task(self._converse(name, reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._ended)

        server = await asyncio.start_server(accept, self._host, port, limit=wire.MAX_HEAD_BYTES, backlog=512)
        self._servers.append(server)
        address = server.sockets[0].getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def _close(self) -> None:
        # Stop accepting before closing the server: asyncio raises an error for a connection that it is just
        # accepting when its server closes.
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                with contextlib.suppress(NotImplementedError):  # the event loop of Windows has no readers
                    loop.remove_reader(listening.fileno())
        for _ in range(5):  # accepting takes a few turns of the loop; these are more than enough
            await asyncio.sleep(0)
        self._closing = True
        for server in self._servers:
            server.close()
        if tasks := list(self._connections):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for server in self._servers:
            await server.wait_closed()
        # When a task is over, `_ended` and the clean-up of its transport are scheduled but not done yet.
        await asyncio.sleep(0)

    async def _converse(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests on one connection until either side closes it."""
        number = next(self._numbers)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(name, number, reader, writer):
                    pass
            writer.close()
        finally:
            if not writer.is_closing():
                writer.transport.abort()
            await _closed(writer)

    async def _exchange(
        self, name: str, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read one request and answer it; returns False when the connection is to be closed."""
        try:
            request = await wire.read_request(reader)
        except BadRequestError as exc:
            refusal = Response(exc.status, b"", (endpoints.request_id(),))
            return await wire.send(reader, writer, refusal, fault=NO_FAULT, keep_alive=False)
        if request is None:
            return False
        log = SimRequest(
            name, request.method, request.path, request.query, request.headers, number, time.monotonic()
        )
        self.requests.append(log)
        faults = self._counter.matching(list(self.faults), request.path, request.raw_query)
        fault = merge(faults) if faults else NO_FAULT
        for one in faults:
            if one.edit is not None:
                one.edit.apply_to(self.account)
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.drop:
            return False
        response = self._answer(name, request, fault)
        return await wire.send(reader, writer, response, fault=fault, keep_alive=request.keep_alive, log=log)

    def _answer(self, name: str, request: Request, fault: Fault) -> Response:
        if name == "api":
            response = endpoints.answer_api(self.account, request, fault)
        else:
            response = endpoints.answer_media(self.account, request, fault)
        return response.with_headers(fault.headers) if fault.headers else response


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Wait until a connection is closed, and abort it on cancellation: its client might never read."""
    try:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


@contextmanager
def serve_in_thread(
    account: Account, *, host: str = "127.0.0.1", port: int = 0, faults: Iterable[Fault] = ()
) -> Iterator[Simulator]:
    """Serve an account from a thread with its own event loop, for callers without one.

    Takes the arguments of `Simulator`. The simulator serves before the body of the `with` begins, and is
    closed after it has ended.
    """
    simulator = Simulator(account, host=host, port=port, faults=faults)
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with simulator:
            ready.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="simulator") as pool:
        served = pool.submit(lambda: asyncio.run(serve()))
        served.add_done_callback(
            lambda _: ready.cancel()
        )  # when it could not start, so that nobody waits for `ready` forever
        try:
            loop, stop = ready.result()
        except CancelledError:
            served.result()  # raises the reason
            raise
        try:
            yield simulator
        finally:
            loop.call_soon_threadsafe(stop.set)
            served.result()

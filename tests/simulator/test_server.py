"""Serving: the log, the thread, many connections at once, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import http.client
import socket
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from floradl.simulator import Account, Fault, SimOutput, Simulator, serve_in_thread

from .conftest import BODY


def fetch(url: str) -> bytes:
    """The body behind a URL, by Python's own client."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a URL of the simulator
        content: bytes = answer.read()
    return content


def test_serve_in_thread(account: Account, output: SimOutput) -> None:
    """A synchronous caller gets a served account, its log, and room for faults while it is served."""
    with serve_in_thread(account) as sim:
        url = account.url_of(output)
        assert url == sim.media_url + output.path
        assert fetch(url) == BODY
        assert [request.sent_bytes for request in sim.requests] == [len(BODY)]
        sim.forget()
        assert sim.requests == []
        sim.faults.append(Fault(output.path, body=b"new"))
        assert fetch(url) == b"new"
        sim.faults.clear()
        assert fetch(url) == BODY
        assert [request.server for request in sim.requests] == ["media", "media"]
    with pytest.raises(OSError, match="refused"):
        fetch(url)


def test_thread_ends_with_stalled_connections(account: Account, output: SimOutput) -> None:
    """Closing does not wait for a stall, a delay, an idle connection or a client that does not read."""
    output.body = b"x" * 30_000_000
    faults = [
        Fault("/stall", status=200, body=b"abc", stall_after=1),
        Fault("/wait", delay_s=3600),
        Fault("/drip", status=200, body=b"abc", drip=(1, 3600)),
    ]
    threads = threading.active_count()
    clients = []
    with serve_in_thread(account, faults=faults) as sim:
        address = urlsplit(sim.media_url)
        for path in ("/stall", "/wait", "/drip", output.path, ""):
            client = socket.create_connection((address.hostname, address.port or 0))
            clients.append(client)
            if path:
                client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        while len(sim.requests) < 4:
            time.sleep(0.01)
    assert threading.active_count() == threads
    for client in clients:
        client.close()


def test_failure_of_the_caller_comes_through(account: Account) -> None:
    """An exception in the body is what the caller sees, and the server is gone."""
    with pytest.raises(ZeroDivisionError), serve_in_thread(account) as sim:
        raise ZeroDivisionError
    with pytest.raises(OSError, match="refused"):
        fetch(sim.base_url)


def test_port_in_use_is_an_error(account: Account) -> None:
    """A port that is taken is told to the caller, who does not wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)) as caught, serve_in_thread(account, port=port):
            pass
    assert caught.value.errno == errno.EADDRINUSE


def test_given_port(account: Account) -> None:
    """The API listens where it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serve_in_thread(account, port=port) as sim:
        assert sim.base_url == f"http://127.0.0.1:{port}/api/v1"


def test_connections_are_kept(account: Account, output: SimOutput) -> None:
    """Requests on one connection come from one connection; another client is another one."""
    with serve_in_thread(account) as sim:
        address = urlsplit(sim.media_url)
        client = http.client.HTTPConnection(address.netloc)
        for _ in range(3):
            client.request("GET", output.path)
            assert client.getresponse().read() == BODY
        client.close()
        fetch(sim.media_url + output.path)
        first, second, third, other = (request.connection for request in sim.requests)
        assert first == second == third != other


def test_connection_is_closed_on_request(account: Account, output: SimOutput) -> None:
    """A client that asks for the connection to be closed, or speaks HTTP/1.0, gets that."""
    with serve_in_thread(account) as sim:
        address = urlsplit(sim.media_url)
        for request in (
            f"GET {output.path} HTTP/1.0\r\n\r\n",
            f"GET {output.path} HTTP/1.1\r\nConnection: close\r\n\r\n",
        ):
            with socket.create_connection((address.hostname, address.port or 0)) as client:
                client.sendall(request.encode())
                received = b"".join(iter(lambda: client.recv(65536), b""))
            assert received.endswith(BODY)
            assert b"Connection: close\r\n" in received


@pytest.mark.anyio
async def test_large_file_arrives_whole(account: Account, output: SimOutput) -> None:
    """A file of many pieces is sent as the client reads it."""
    output.body = bytes(range(256)) * 20_000
    async with Simulator(account) as sim:
        received = await asyncio.to_thread(fetch, account.url_of(output))
        assert received == output.body
        assert sim.requests[0].sent_bytes == len(output.body)


@pytest.mark.anyio
async def test_many_connections(account: Account, output: SimOutput) -> None:
    """Sixty-four connections get a thousand files between them, each one whole."""
    async with Simulator(account) as sim:
        address = urlsplit(sim.media_url)

        async def read_many() -> int:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            for _ in range(16):
                writer.write(f"GET {output.path} HTTP/1.1\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(BODY)) == BODY
            writer.close()
            await writer.wait_closed()
            return 16

        counts = await asyncio.gather(*(read_many() for _ in range(64)))
        assert sum(counts) == len(sim.requests) == 1024

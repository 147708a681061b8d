"""A small account, and clients of it: httpx where the answer is sound, bare sockets where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from floradl.simulator import Account, Fault, SimOutput, SimRun, Simulator, generate_account

BODY = bytes(range(256)) * 8

Ask = Callable[..., Awaitable[httpx.Response]]
Talk = Callable[..., Awaitable[tuple[str, bytes]]]


@pytest.fixture
def anyio_backend() -> str:
    """The simulator is made for asyncio."""
    return "asyncio"


@pytest.fixture
def output() -> SimOutput:
    """An output whose 2048 bytes tell where they are."""
    return SimOutput("output_1", content_type="image/png", body=BODY, path="/files/one.png")


@pytest.fixture
def account(output: SimOutput) -> Account:
    """Twenty-five generated runs, and one with the known output, newer than the others."""
    account = generate_account(25, seed=3, open_runs=2)
    project = account.projects[0]
    run = SimRun("run_known", project.workspace_id, project.project_id, model_id="m", outputs=[output])
    run.created_at += 1000
    account.insert(run)
    return account


@pytest.fixture
async def sim(account: Account) -> AsyncIterator[Simulator]:
    """The account, served without faults."""
    async with Simulator(account) as simulator:
        yield simulator


@pytest.fixture
async def ask(sim: Simulator) -> AsyncIterator[Ask]:
    """`ask(path, **httpx arguments)`: GET from the API, with the right key."""
    headers = {"Authorization": f"Bearer {sim.account.api_key}"}
    async with httpx.AsyncClient(base_url=sim.base_url, headers=headers, trust_env=False) as client:
        yield client.get


@pytest.fixture
async def get(sim: Simulator) -> AsyncIterator[Ask]:
    """`get(path, **httpx arguments)`: GET from the media server."""
    async with httpx.AsyncClient(base_url=sim.media_url, trust_env=False) as client:
        yield client.get


@pytest.fixture
def talk(sim: Simulator) -> Talk:
    """`talk(path, fault, range_=…)`: the head and the body the media server puts on the wire under a fault.

    It reads until the server closes, or until `enough` bytes of the body are there.
    """

    async def talk(path: str, fault: Fault, *, enough: int | None = None) -> tuple[str, bytes]:
        sim.faults.append(fault)
        address = urlsplit(sim.media_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            close = "" if enough is not None else "Connection: close\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = await (reader.read() if enough is None else reader.readexactly(enough))
        finally:
            writer.close()
            await writer.wait_closed()
        return head, body

    return talk


async def items_of(ask: Ask, path: str, name: str, **query: str) -> list[dict[str, Any]]:
    """Walk a list to its end, seven at a time."""
    items, cursor = [], ""
    while True:
        params = {"limit": "7"} | query | ({"cursor": cursor} if cursor else {})
        answer = await ask(path, params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()[name]
        cursor = answer.json()["meta"]["next_cursor"]
        if cursor is None:
            return items


async def ids_of(ask: Ask, path: str, **query: str) -> list[str]:
    """The run ids of a history."""
    name = path.strip("/").replace("-", "_")
    return [item["run_id"] for item in await items_of(ask, path, name, **query)]

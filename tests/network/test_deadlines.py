"""Answers that one of httpx's transports reads, as over a proxy: no host holds a request for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from floradl.network.client import MediaClient, NotHttpError
from floradl.network.transport import media_transports
from tests.support.scripted_host import CHUNKED, OK, SIZED, Host, Step, listening, trickle

pytestmark = pytest.mark.anyio

URL = httpx.URL("http://media.invalid/a.png")


@asynccontextmanager
async def proxied(
    monkeypatch: pytest.MonkeyPatch, *answers: Sequence[Step]
) -> AsyncIterator[tuple[MediaClient, Host]]:
    """A client of media over a proxy that does these steps; it waits for 0.3 s."""
    host = Host(*answers)
    async with listening(host) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        made = media_transports(allow_loopback=True, timeout_s=0.3)()
        async with MediaClient(made, timeout_s=0.3) as media:
            yield media, host


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([OK + b"X: ", *trickle(b"a")], id="a head"),
        pytest.param(trickle(b"HTTP/1.1 100 Continue\r\n\r\n"), id="interim answers"),
        pytest.param([9.0], id="silence"),
    ],
)
async def test_a_head_has_its_time_as_a_whole(monkeypatch: pytest.MonkeyPatch, steps: list[Step]) -> None:
    """However much of it comes."""
    async with proxied(monkeypatch, steps) as (media, _):
        with pytest.raises(httpx.ReadTimeout):
            await media.get(URL, {})


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([b"5\r\nhello\r\n0\r\n", *trickle(b"X: y\r\n")], id="trailers"),
        pytest.param([b"5\r\nhello\r\n5;x=", *trickle(b"a")], id="a chunk's extension"),
        pytest.param([b"5\r\nhello\r\n", 9.0], id="silence"),
    ],
)
async def test_what_frames_a_body_is_no_sign_of_life(
    monkeypatch: pytest.MonkeyPatch, steps: list[Step]
) -> None:
    """A host that sends it for ever is as silent as one that sends nothing."""
    async with proxied(monkeypatch, [CHUNKED, *steps]) as (media, _):
        response = await media.get(URL, {})
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"hello"
        with pytest.raises(httpx.ReadTimeout):
            await anext(pieces)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], NotHttpError, id="SSH"),
        pytest.param([OK + b"Content-Length: 5, 6\r\n\r\nhello"], NotHttpError, id="two lengths"),
        pytest.param([CHUNKED + b"zz\r\n"], NotHttpError, id="no chunk"),
        pytest.param([CHUNKED + b"5;x=" + b"a" * 300_000], NotHttpError, id="a chunk without an end"),
        pytest.param(["close"], httpx.RemoteProtocolError, id="nothing"),
        pytest.param([OK, "close"], httpx.RemoteProtocolError, id="half a head"),
        pytest.param(
            [OK + b"Content-Length: 9\r\n\r\nhello", "close"], httpx.RemoteProtocolError, id="half a body"
        ),
    ],
)
async def test_no_http_is_told_from_a_cut(
    monkeypatch: pytest.MonkeyPatch, steps: list[Step], error: type[Exception]
) -> None:
    """One is no fault of the network."""
    async with proxied(monkeypatch, steps) as (media, _):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await (await media.get(URL, {})).aread()
        assert type(caught.value) is error


async def test_a_body_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on comes, however long it takes as a whole; and the connection is used again."""
    piece: list[Step] = [b"1\r\na\r\n", 0.1]
    slow: list[Step] = [CHUNKED, *piece * 8, b"0\r\n\r\n"]
    async with proxied(monkeypatch, slow, [SIZED]) as (media, host):
        assert await (await media.get(URL, {})).aread() == b"a" * 8
        assert await (await media.get(URL, {})).aread() == b"hello"
        assert len(host.tasks) == 1

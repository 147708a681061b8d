"""The body of an answer of the API: when it has to come, how large it may become, how it is compressed."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
import respx

from floradl.api import answer
from floradl.api.client import FloraApi
from floradl.api.pages import PageQuery
from floradl.errors import ApiAnswerError, ApiUnavailableError, KeyRefusedError
from tests.support.scripted_host import CHUNKED, OK, Host, Step, listening, trickle

pytestmark = pytest.mark.anyio

BASE = "https://api.test/api/v1"
PAGES = f"{BASE}/generations"
PAGE = b'{"generations": [{"run_id": "run_a", "status": "completed"}]}'
REQUEST_ID = {"request-id": "req_42"}
MIB = 1024 * 1024


@pytest.fixture
async def api(respx_mock: respx.MockRouter) -> AsyncIterator[FloraApi]:
    """A session that tries once; what it asks is answered by the routes of the test."""
    transport = httpx.MockTransport(respx_mock.async_handler)
    async with FloraApi(BASE, "sk_live_0123456789", retries=0, timeout_s=5, transport=transport) as opened:
        yield opened


class Wire(httpx.AsyncByteStream):
    """A body as it comes over the network: nothing has looked at it before."""

    def __init__(self, body: bytes, piece_bytes: int = 64 * 1024) -> None:
        self._pieces = [body[place : place + piece_bytes] for place in range(0, len(body), piece_bytes)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def ids(api: FloraApi) -> list[str]:
    """The ids on the first page."""
    return [run.run_id for run in (await api.page(PageQuery())).generations]


# --- when it has to come ---------------------------------------------------------------------------


@asynccontextmanager
async def served(*answers: Sequence[Step]) -> AsyncIterator[FloraApi]:
    """A session with an API on this machine that does these steps; it waits for 0.3 s."""
    async with listening(Host(*answers)) as port:
        url = f"http://127.0.0.1:{port}"
        async with FloraApi(url, "sk_live_0123456789", retries=0, timeout_s=0.3) as opened:
            yield opened


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([OK + b"X: ", *trickle(b"a")], id="a head"),
        pytest.param(trickle(b"HTTP/1.1 100 Continue\r\n\r\n"), id="interim answers"),
        pytest.param([CHUNKED + b"2\r\n{}\r\n0\r\n", *trickle(b"X: y\r\n")], id="trailers"),
        pytest.param([CHUNKED + b"2;x=", *trickle(b"a")], id="a chunk's extension"),
    ],
)
async def test_an_answer_that_trickles_beside_its_body(steps: list[Step]) -> None:
    """An API that is never silent, and never says anything, does not answer."""
    async with served(steps) as api:
        with pytest.raises(ApiUnavailableError, match="timeout"):
            await ids(api)


async def test_what_is_no_http() -> None:
    """Another service in the API's place is told as one."""
    async with served([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"]) as api:
        with pytest.raises(ApiUnavailableError, match="does not answer: illegal status line"):
            await ids(api)


async def test_a_key_in_what_is_no_http() -> None:
    """httpx repeats what it could not read; the key is not in what is said of it."""
    async with served([b"You sent sk_live_0123456789\r\n\r\n"]) as api:
        with pytest.raises(ApiUnavailableError) as caught:
            await ids(api)
    assert "0123" not in caught.value.message
    assert "(key)" in caught.value.message


# --- how it is compressed --------------------------------------------------------------------------


async def test_what_is_asked_for(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """One compression that can be undone in pieces, whatever libraries are there for others."""
    route = respx_mock.get(PAGES).respond(200, content=PAGE)
    await ids(api)
    assert route.calls.last.request.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", gzip.compress(PAGE), id="gzip"),
        pytest.param("X-GZIP", gzip.compress(PAGE), id="gzip by its old name"),
        pytest.param("gzip", gzip.compress(PAGE[:9]) + gzip.compress(PAGE[9:]), id="gzip of two members"),
        pytest.param("deflate", zlib.compress(PAGE), id="zlib"),
        pytest.param("identity", PAGE, id="none"),
        pytest.param("identity, gzip", gzip.compress(PAGE), id="none and gzip"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 1000])
async def test_answers_that_are_compressed(
    api: FloraApi, respx_mock: respx.MockRouter, coding: str, body: bytes, piece_bytes: int
) -> None:
    """They are read, wherever they are cut."""
    respx_mock.get(PAGES).respond(200, headers={"content-encoding": coding}, stream=Wire(body, piece_bytes))
    assert await ids(api) == ["run_a"]


@pytest.mark.parametrize("size", [answer._PIECE_BYTES - 1, answer._PIECE_BYTES, 2 * answer._PIECE_BYTES + 1])
async def test_sizes_around_a_piece(api: FloraApi, respx_mock: respx.MockRouter, size: int) -> None:
    """None of the decompressed bytes is lost at the edge."""
    page = PAGE.ljust(size)
    respx_mock.get(PAGES).respond(200, stream=Wire(gzip.compress(page)), headers={"content-encoding": "gzip"})
    assert (await api.page(PageQuery())).body == page


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,deflate", "br", "zstd", "gzip, identity, gzip", "?"])
async def test_what_was_not_asked_for(api: FloraApi, respx_mock: respx.MockRouter, coding: str) -> None:
    """Several compressions on top of each other, or another one, are not undone; an error stays one."""
    bomb = gzip.compress(gzip.compress(PAGE))
    headers = REQUEST_ID | {"content-encoding": coding}
    respx_mock.get(PAGES).respond(200, stream=Wire(bomb), headers=headers)
    with pytest.raises(ApiAnswerError, match=r"compressed in a way.*req_42"):
        await ids(api)
    respx_mock.get(PAGES).respond(401, stream=Wire(bomb), headers=headers)
    with pytest.raises(KeyRefusedError, match=r"^the API answered 401 \(request-id req_42\)$"):
        await ids(api)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(PAGE)[:-1], id="no end"),
        pytest.param(gzip.compress(PAGE)[:4], id="no beginning"),
        pytest.param(PAGE, id="not compressed"),
        pytest.param(gzip.compress(PAGE) + b"junk", id="something behind it"),
    ],
)
async def test_broken_compression(api: FloraApi, respx_mock: respx.MockRouter, body: bytes) -> None:
    """It is as good as no answer."""
    respx_mock.get(PAGES).respond(200, stream=Wire(body), headers={"content-encoding": "gzip"})
    with pytest.raises(ApiUnavailableError):
        await ids(api)


async def test_no_body_has_no_compression(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """An error without words is that error, though its head speaks of gzip."""
    respx_mock.get(PAGES).respond(401, stream=Wire(b""), headers={"content-encoding": "gzip"})
    with pytest.raises(KeyRefusedError, match=r"^the API answered 401$"):
        await ids(api)


# --- how large it may become -----------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_does_not_fill_the_memory(
    api: FloraApi, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    """One piece that would become a thousand times as large is left at the limit, and not before it."""
    monkeypatch.setattr(answer, "MAX_ANSWER_BYTES", 4 * MIB)
    headers = REQUEST_ID | {"content-encoding": coding}
    compress = gzip.compress if coding == "gzip" else zlib.compress
    respx_mock.get(PAGES).respond(200, stream=Wire(compress(bytes(64 * MIB))), headers=headers)
    tracemalloc.start()
    try:
        with pytest.raises(ApiAnswerError, match=r"larger than 4194304 bytes \(request-id req_42\)"):
            await ids(api)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    respx_mock.get(PAGES).respond(200, stream=Wire(compress(PAGE.ljust(4 * MIB))), headers=headers)
    assert await ids(api) == ["run_a"]


async def test_compressed_bytes_count_too(
    api: FloraApi, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of nothing without an end are an answer without an end."""
    monkeypatch.setattr(answer, "MAX_ANSWER_BYTES", 10_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield gzip.compress(b"") * 10

    headers = {"content-encoding": "gzip"}
    respx_mock.get(PAGES).mock(return_value=httpx.Response(200, headers=headers, content=endless()))
    with pytest.raises(ApiAnswerError, match="larger than 10000 bytes"):
        await ids(api)

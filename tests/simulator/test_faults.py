"""Each fault does what it says, to the requests it names, and to no other."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from floradl.simulator import (
    Account,
    Edit,
    EditError,
    Fault,
    SimOutput,
    Simulator,
)

from .conftest import BODY, Ask, Talk

pytestmark = pytest.mark.anyio
PATH = "/files/one.png"


async def statuses(get: Ask, *paths: str) -> list[int]:
    """The status of each path, asked for in turn."""
    return [(await get(path)).status_code for path in paths]


async def test_numbers_are_counted_per_path(get: Ask, sim: Simulator) -> None:
    """`on` counts the requests of each path apart, from 1."""
    sim.faults.append(Fault("/x/*", on=(1, 3), status=503))
    assert await statuses(get, "/x/a", "/x/a", "/x/b", "/x/a", "/x/b") == [503, 404, 503, 503, 404]


async def test_equal_faults_count_apart(get: Ask, sim: Simulator) -> None:
    """A fault appended later begins at 1, also when it equals one that has been there."""
    sim.faults.append(Fault("/x", on=(1,), status=503))
    assert await statuses(get, "/x", "/x") == [503, 404]
    sim.faults[:] = [Fault("/x", on=(1,), status=503)]
    assert await statuses(get, "/x", "/x") == [503, 404]


async def test_query_must_match(get: Ask, sim: Simulator) -> None:
    """With `query` only requests that have it in their query string match, and count."""
    sim.faults.append(Fault(PATH, query="tr=orig-true", on=(1,), status=400))
    assert await statuses(get, PATH, PATH + "?tr=orig-true", PATH + "?tr=orig-true") == [200, 400, 200]


async def test_error_page(get: Ask, sim: Simulator) -> None:
    """A status with a body, a type and headers is an error page, honest or not."""
    page = b"<html>busy</html>"
    headers = (("Retry-After", "7"), ("ETag", ""))
    sim.faults.append(Fault(PATH, status=200, body=page, content_type="image/png", headers=headers))
    answer = await get(PATH)
    assert (answer.status_code, answer.content) == (200, page)
    assert (answer.headers["content-type"], answer.headers["retry-after"]) == ("image/png", "7")


async def test_error_page_of_its_own(get: Ask, ask: Ask, sim: Simulator) -> None:
    """A bare status is a web page on the media server and the envelope on the API."""
    sim.faults.append(Fault("*", status=503))
    page = await get(PATH)
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html")
    assert b"<html>" in page.content
    answer = await ask("/generations")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")


async def test_api_answers_nonsense(ask: Ask, sim: Simulator) -> None:
    """The API's body and type can be replaced, under 200 as well."""
    sim.faults.append(Fault("*/generations", body=b"<html>login</html>", content_type="text/html"))
    answer = await ask("/generations")
    assert (answer.status_code, answer.text) == (200, "<html>login</html>")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["request-id"]


async def test_dishonest_type(get: Ask, sim: Simulator) -> None:
    """A file can claim another type, or none at all."""
    sim.faults.append(Fault(PATH, on=(1,), content_type="text/html"))
    sim.faults.append(Fault(PATH, on=(2,), content_type=""))
    first, second = await get(PATH), await get(PATH)
    assert first.headers["content-type"] == "text/html"
    assert "content-type" not in second.headers
    assert first.content == second.content == BODY


@pytest.mark.parametrize("after", [0, 1, 700])
async def test_cut(talk: Talk, sim: Simulator, after: int) -> None:
    """The whole length is announced, some of it arrives, and the connection ends."""
    head, body = await talk(PATH, Fault(PATH, cut_after=after))
    assert f"Content-Length: {len(BODY)}\r\n" in head
    assert body == BODY[:after]
    assert sim.requests[-1].sent_bytes == after


async def test_cut_happens_to_a_kept_alive_connection_too(sim: Simulator) -> None:
    """A client sees a cut as an incomplete read."""
    sim.faults.append(Fault(PATH, cut_after=9))
    async with httpx.AsyncClient(base_url=sim.media_url, trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="received 9 bytes, expected 2048"):
            await client.get(PATH)


async def test_cut_within_chunks(talk: Talk) -> None:
    """A cut chunked body lacks its end mark."""
    _, body = await talk(PATH, Fault(PATH, chunked=True, cut_after=5))
    assert body == b"5\r\n" + BODY[:5] + b"\r\n"


@pytest.mark.parametrize("after", [0, 100, len(BODY)])
async def test_stall(talk: Talk, sim: Simulator, after: int) -> None:
    """So many bytes arrive, and then none for as long as the client waits."""
    sim.faults.append(Fault(PATH, on=(1,), stall_after=after, headers=(("Content-Length", "9999"),)))
    asked = asyncio.ensure_future(talk(PATH, Fault("/never"), enough=after + 1))
    while not (sim.requests and sim.requests[-1].sent_bytes == after):
        await asyncio.wait([asked], timeout=0.01)
    assert await asyncio.wait([asked], timeout=0.2) == (set(), {asked})
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert sim.requests[-1].sent_bytes == after


async def test_stall_ends(get: Ask, sim: Simulator) -> None:
    """After `stall_s` the rest follows."""
    sim.faults.append(Fault(PATH, stall_after=3, stall_s=0.1))
    began = time.monotonic()
    assert (await get(PATH)).content == BODY
    assert time.monotonic() - began >= 0.1


async def test_drip(get: Ask, sim: Simulator) -> None:
    """The body comes in pieces with pauses, and is whole."""
    sim.faults.append(Fault(PATH, drip=(512, 0.03)))
    began = time.monotonic()
    assert (await get(PATH)).content == BODY
    assert time.monotonic() - began >= 0.09


async def test_no_length(talk: Talk) -> None:
    """No length is told; the end of the connection is the end of the body."""
    head, body = await talk(PATH, Fault(PATH, no_length=True), enough=len(BODY))
    assert "Content-Length" not in head
    assert "Connection: close" in head
    assert body == BODY


async def test_chunked(get: Ask, sim: Simulator) -> None:
    """A chunked body has no length, is whole, and leaves the connection usable."""
    sim.faults.append(Fault(PATH, on=(1,), chunked=True))
    answer = await get(PATH)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert answer.content == (await get(PATH)).content == BODY
    assert sim.requests[0].connection == sim.requests[1].connection


@pytest.mark.parametrize("delta", [-5, 5])
async def test_wrong_length(talk: Talk, delta: int) -> None:
    """The announced length is off, the body is what it is, and the connection ends."""
    head, body = await talk(PATH, Fault(PATH, length_delta=delta), enough=len(BODY))
    assert f"Content-Length: {len(BODY) + delta}\r\n" in head
    assert "Connection: close" in head
    assert body == BODY


async def test_range_faults(get: Ask, sim: Simulator) -> None:
    """A range can be ignored, answered with another part, or refused; plain requests are left alone."""
    for range_, status, place in (
        ("ignore", 200, None),
        ("wrong", 206, f"bytes 50-{len(BODY) - 1}/{len(BODY)}"),
        ("416", 416, f"bytes */{len(BODY)}"),
    ):
        sim.faults[:] = [Fault(PATH, range=range_)]
        answer = await get(PATH, headers={"Range": "bytes=100-"})
        assert (answer.status_code, answer.headers.get("content-range")) == (status, place)
        assert (await get(PATH)).content == BODY


async def test_wrong_range_from_the_start(get: Ask, sim: Simulator) -> None:
    """A wrong part begins elsewhere also when the first byte was asked for."""
    sim.faults.append(Fault(PATH, range="wrong"))
    assert (await get(PATH, headers={"Range": "bytes=0-"})).content == BODY[1:]


async def test_unknown_range_fault_is_refused() -> None:
    """A misspelt effect is a mistake of the test, and is told at once."""
    with pytest.raises(ValueError, match="sideways"):
        Fault("*", range="sideways")


async def test_changed_etag(get: Ask, sim: Simulator, output: SimOutput) -> None:
    """Under a new validator and body an old condition no longer holds; the new one does."""
    sim.faults.append(Fault(PATH, etag='"new"', body=b"changed bytes"))
    old = await get(PATH, headers={"Range": "bytes=3-", "If-Range": output.etag})
    new = await get(PATH, headers={"Range": "bytes=3-", "If-Range": '"new"'})
    assert (old.status_code, old.content, old.headers["etag"]) == (200, b"changed bytes", '"new"')
    assert (new.status_code, new.content) == (206, b"nged bytes")


async def test_no_etag(get: Ask, sim: Simulator) -> None:
    """A file can do without a validator."""
    sim.faults.append(Fault(PATH, etag=""))
    assert "etag" not in (await get(PATH)).headers


async def test_weak_etag_is_no_condition(get: Ask, sim: Simulator) -> None:
    """A weak validator does not let a range through, even when it is the file's own."""
    sim.faults.append(Fault(PATH, etag='W/"weak"'))
    answer = await get(PATH, headers={"Range": "bytes=3-", "If-Range": 'W/"weak"'})
    assert (answer.status_code, answer.content) == (200, BODY)


async def test_redirect(get: Ask, ask: Ask, sim: Simulator) -> None:
    """A redirect goes where it is told, on both servers, by 302 or another status."""
    sim.faults.append(Fault("/old", redirect=PATH))
    sim.faults.append(Fault("*/runs/*", redirect="http://127.0.0.1:9/x", status=307))
    answer = await get("/old", follow_redirects=True)
    assert (answer.history[0].status_code, answer.content) == (302, BODY)
    answer = await ask("/runs/run_known")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/x")


async def test_delay(get: Ask, sim: Simulator) -> None:
    """Nothing at all is said before the delay is over."""
    sim.faults.append(Fault(PATH, delay_s=0.1))
    began = time.monotonic()
    assert (await get(PATH)).status_code == 200
    assert time.monotonic() - began >= 0.1


async def test_drop(get: Ask, sim: Simulator) -> None:
    """The connection ends without an answer, and the log has the request."""
    sim.faults.append(Fault(PATH, drop=True))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending"):
        await get(PATH)
    assert [(request.path, request.status) for request in sim.requests] == [(PATH, 0)]


async def test_repeated_cursor(ask: Ask, sim: Simulator) -> None:
    """A list's next cursor leads back to the page it came with."""
    sim.faults.append(Fault("*/generations", on=(2,), repeat_cursor=True))
    first = (await ask("/generations?limit=5")).json()["meta"]["next_cursor"]
    second = (await ask("/generations", params={"limit": 5, "cursor": first})).json()
    assert second["meta"]["next_cursor"] == first
    third = (await ask("/generations", params={"limit": 5, "cursor": first})).json()
    assert third["generations"] == second["generations"]
    assert third["meta"]["next_cursor"] != first


async def test_edit_happens_before_the_answer(ask: Ask, sim: Simulator, account: Account) -> None:
    """The answer to the request that triggers an edit shows what it did."""
    pending = account.listed(status="pending")[0].run_id
    sim.faults.append(Fault(f"*/runs/{pending}", on=(2,), edit=Edit(finish=(pending,))))
    answers = [(await ask(f"/runs/{pending}")).json()["status"] for _ in range(3)]
    assert answers == ["pending", "completed", "completed"]


async def test_faults_add_up(get: Ask, sim: Simulator) -> None:
    """Of several faults the later wins where both speak, headers gather, and each edit is made."""
    before = len(sim.account.runs)
    sim.faults += [
        Fault(PATH, status=503, headers=(("X-One", "1"), ("X-Both", "1")), edit=Edit(insert=1)),
        Fault(PATH, status=429, headers=(("X-Two", "2"),), edit=Edit(insert=2)),
    ]
    answer = await get(PATH)
    assert answer.status_code == 429
    assert (answer.headers["x-one"], answer.headers["x-two"]) == ("1", "2")
    assert len(sim.account.runs) == before + 3


async def test_impossible_edit_is_raised_at_the_end(account: Account) -> None:
    """An edit that cannot be made answers nothing and fails the test that wrote it."""
    sim = Simulator(account, faults=[Fault("*", edit=Edit(delete=("run_nowhere",)))])
    await sim.__aenter__()
    async with httpx.AsyncClient(base_url=sim.media_url, trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(PATH)
    with pytest.raises(EditError, match="run_nowhere"):
        await sim.__aexit__(None, None, None)

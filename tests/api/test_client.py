"""The API: what each answer becomes, what is asked again and when, and where the key goes."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import AsyncIterator, Iterable
from email.utils import formatdate

import httpx
import pytest
import respx

from floradl.api import answer as answer_module
from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope, Workspace, is_open
from floradl.api.pages import Page, PageQuery, parse_page
from floradl.api.records import parse_generation
from floradl.constants import Kind, Source
from floradl.errors import (
    ApiAnswerError,
    ApiError,
    ApiNotFoundError,
    ApiUnavailableError,
    Exit,
    KeyRefusedError,
    UsageError,
)
from floradl.network.retry import Backoff
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

BASE = "https://api.test/api/v1"
PAGES = f"{BASE}/generations"
KEY = "sk_live_0123456789"
RETRIES = 2
RUN = {"run_id": "run_a", "status": "completed", "workspace_id": "ws_a", "project_id": "prj_b"}
REQUEST_ID = {"request-id": "req_42"}


def page_of(*records: object, cursor: object = None) -> httpx.Response:
    """A page as the API sends it."""
    body = {"generations": list(records), "meta": {"next_cursor": cursor}}
    return httpx.Response(200, json=body, headers=REQUEST_ID)


def refusal(
    status: int, code: str = "some_code", message: str = "Some words.", **headers: str
) -> httpx.Response:
    """An error in FLORA's envelope."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error = {"error": {"code": code, "message": message}}
    return httpx.Response(status, json=error, headers=REQUEST_ID | named)


@pytest.fixture
def time() -> FakeTime:
    """A clock that moves only when somebody sleeps."""
    return FakeTime()


@pytest.fixture
async def api(time: FakeTime, respx_mock: respx.MockRouter) -> AsyncIterator[FloraApi]:
    """A session that tries twice more; what it asks is answered by the routes of the test."""
    async with FloraApi(
        BASE,
        KEY,
        clock=time.clock,
        retries=RETRIES,
        timeout_s=5,
        transport=httpx.MockTransport(respx_mock.async_handler),
        backoff=Backoff(rng=random.Random(1)),
    ) as api:
        yield api


async def page(api: FloraApi, query: PageQuery | None = None) -> Page:
    """Ask for a page."""
    return await api.page(query or PageQuery())


# --- what is asked ---------------------------------------------------------------------------------


async def test_page_request(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A page is asked for with every filter that is set, a full limit, the key, and nothing else."""
    route = respx_mock.get(PAGES).mock(return_value=page_of(RUN, cursor="next"))
    query = PageQuery(Scope(workspace_id="ws_a", project_id="prj & b"), status="completed", cursor="c=1")
    got = await api.page(query)
    assert [run.run_id for run in got.generations] == ["run_a"]
    assert (got.bad_records, got.next_cursor) == ((), "next")
    assert json.loads(got.body)["generations"] == [RUN]
    sent = route.calls.last.request
    assert dict(sent.url.params) == {
        "workspace_id": "ws_a", "project_id": "prj & b",
        "status": "completed", "cursor": "c=1", "limit": "100",
    }  # fmt: skip
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert api.calls == 1


async def test_page_request_without_filters(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """What is not set is not sent, the limit included when the API's own default is wanted."""
    route = respx_mock.get(PAGES).mock(return_value=page_of())
    await api.page(PageQuery(limit=None))
    assert route.calls.last.request.url == PAGES


@pytest.mark.parametrize(
    ("source", "path", "field", "record"),
    [
        (Source.TECHNIQUE_RUNS, "technique-runs", "technique_runs", RUN),
        (Source.ASSETS, "assets", "assets", {"asset_id": "run_a", "status": "ready"}),
    ],
)
async def test_page_of_another_list(
    api: FloraApi,
    respx_mock: respx.MockRouter,
    source: Source,
    path: str,
    field: str,
    record: dict[str, object],
) -> None:
    """Lists of other things are read as the history is; one under another name is none."""
    body = {field: [record], "meta": {"next_cursor": "c2"}}
    route = respx_mock.get(f"{BASE}/{path}").respond(200, json=body)
    found = await page(api, PageQuery(Scope("ws_a").of(source), status=None))
    assert [run.run_id for run in found.generations] == ["run_a"]
    assert [run.kind for run in found.generations] == [Scope().of(source).kind]
    assert found.next_cursor == "c2"
    assert dict(route.calls.last.request.url.params) == {"workspace_id": "ws_a", "limit": "100"}
    with pytest.raises(ApiAnswerError, match=f"page of {field.replace('_', ' ')}"):
        parse_page(b'{"generations": []}', source)


async def test_an_asset_is_asked_for_by_its_id(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """As a run is, at a place of its own."""
    answer = {"asset_id": "asset/1", "status": "ready", "url": "https://new"}
    respx_mock.get(f"{BASE}/assets/asset%2F1").respond(200, json=answer)
    asset = await api.item(Kind.ASSET, "asset/1")
    assert (asset.kind, asset.status) == (Kind.ASSET, "completed")
    respx_mock.get(f"{BASE}/runs/run_a").respond(200, json=RUN)
    assert (await api.item(Kind.RUN, "run_a")).kind is Kind.RUN
    respx_mock.get(f"{BASE}/assets/asset_2").respond(200, json=answer)
    with pytest.raises(ApiAnswerError, match="another asset than asset_2"):
        await api.item(Kind.ASSET, "asset_2")


async def test_no_canvas_can_be_asked_for(api: FloraApi) -> None:
    """FLORA has no canvas of the past, so nothing is asked."""
    with pytest.raises(ApiNotFoundError):
        await api.item(Kind.CANVAS, "prj_b")
    assert api.calls == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (PageQuery(status="running"), "running runs"),
        (PageQuery(Scope().of(Source.TECHNIQUE_RUNS), status="completed"), "completed technique runs"),
        (PageQuery(Scope().of(Source.ASSETS)), "assets"),
    ],
)
def test_what_a_list_holds(query: PageQuery, words: str) -> None:
    """For messages about it."""
    assert query.words == words


async def test_workspaces(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """The workspaces that the key sees; a name may be missing, and fields may be new."""
    found = [{"workspace_id": "ws_a", "name": None, "colour": 3}, {"workspace_id": "ws_b", "role": "viewer"}]
    route = respx_mock.get(f"{BASE}/workspaces").mock(
        return_value=httpx.Response(200, json={"workspaces": found})
    )
    assert await api.workspaces() == (Workspace("ws_a"), Workspace("ws_b", role="viewer"))
    assert route.calls.last.request.url == f"{BASE}/workspaces"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"workspaces": [3]}', b'{"workspaces": [{}]}', b"\xff"])
async def test_what_is_no_list_of_workspaces(
    api: FloraApi, respx_mock: respx.MockRouter, body: bytes
) -> None:
    """An answer of another form is asked for again, and then told as such."""
    route = respx_mock.get(f"{BASE}/workspaces").mock(
        return_value=httpx.Response(200, content=body, headers=REQUEST_ID)
    )
    with pytest.raises(ApiAnswerError, match=r"no list of workspaces.*req_42"):
        await api.workspaces()
    assert route.call_count == 1 + RETRIES


@pytest.mark.parametrize("cursor", [None, ""])
async def test_end_of_the_history(api: FloraApi, respx_mock: respx.MockRouter, cursor: str | None) -> None:
    """The end is a cursor that is null or empty."""
    respx_mock.get(PAGES).mock(return_value=page_of(RUN, cursor=cursor))
    assert (await page(api)).next_cursor is None


@pytest.mark.parametrize("body", [b'{"generations": []}', b'{"generations": [], "meta": null, "new": 1}'])
def test_end_without_meta(body: bytes) -> None:
    """A page without `meta` is the last one."""
    assert parse_page(body).next_cursor is None


# --- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "exit_code", "is_retried"),
    [
        (400, ApiError, Exit.FAILED, False),
        (401, KeyRefusedError, Exit.KEY_REFUSED, False),
        (402, ApiError, Exit.FAILED, False),
        (403, KeyRefusedError, Exit.KEY_REFUSED, False),
        (404, ApiNotFoundError, Exit.FAILED, False),
        (408, ApiUnavailableError, Exit.FAILED, True),
        (409, ApiError, Exit.FAILED, False),
        (422, ApiError, Exit.FAILED, False),
        (425, ApiUnavailableError, Exit.FAILED, True),
        (429, ApiUnavailableError, Exit.FAILED, True),
        (500, ApiUnavailableError, Exit.FAILED, True),
        (502, ApiUnavailableError, Exit.FAILED, True),
        (503, ApiUnavailableError, Exit.FAILED, True),
        (504, ApiUnavailableError, Exit.FAILED, True),
        (301, ApiError, Exit.FAILED, False),
        (304, ApiError, Exit.FAILED, False),
    ],
)
async def test_status_to_error(
    api: FloraApi, respx_mock: respx.MockRouter, status: int, kind: type, exit_code: Exit, is_retried: bool
) -> None:
    """Each status has its error, exit code and number of tries, and the message carries the request-id."""
    route = respx_mock.get(PAGES).mock(return_value=refusal(status))
    with pytest.raises(ApiError) as caught:
        await page(api, PageQuery(cursor="SECRET"))
    error = caught.value
    assert type(error) is kind
    assert (error.exit_code, error.status, error.code) == (exit_code, status, "some_code")
    assert error.request_id == "req_42"
    assert "(request-id req_42)" in error.message
    assert status < 400 or f"{status} some_code: Some words." in error.message
    assert bool(error.hint) == (status in (401, 403, 404))
    assert route.call_count == api.calls == (1 + RETRIES if is_retried else 1)
    assert_no_secrets(error)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "answered 400 (request"),
        (b"<html>Bad Gateway</html>", "answered 400 (request"),
        (b'{"error": "text"}', "answered 400 (request"),
        (b'{"error": {"code": null, "message": null}}', "answered 400 (request"),
        (b'{"error": {"code": "x"}}', "answered 400 x (request"),
        (
            b'{"error": {"message": "m\\u001b[2J\\u202e"}}',
            "answered 400: m\N{REPLACEMENT CHARACTER}[2J\ufffd (",
        ),
        (
            b'{"error": {"code": "c", "message": "m", "fields": [{"field": "limit", "message": "too big"}]}}',
            "answered 400 c: m; limit: too big (request",
        ),
        (b'{"error": {"code": "c", "message": "m", "fields": [1]}}', "answered 400 (request"),
        (b'{"error": {"code": "c", "message": "\xff"}}', "answered 400 (request"),
        (b"[" * 5000, "answered 400 (request"),
    ],
)
async def test_envelope_is_shown_as_far_as_it_is_one(
    api: FloraApi, respx_mock: respx.MockRouter, body: bytes, shown: str
) -> None:
    """Code, message and fields are shown, safe for a terminal; anything else is left out."""
    respx_mock.get(PAGES).respond(400, content=body, headers=REQUEST_ID)
    with pytest.raises(ApiError) as caught:
        await page(api)
    assert shown in caught.value.message


async def test_message_without_a_request_id(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """An answer without a request-id, as from a proxy in between, still has a message."""
    respx_mock.get(PAGES).respond(401)
    with pytest.raises(KeyRefusedError, match=r"^the API answered 401$"):
        await page(api)


async def test_echoed_key_is_not_shown(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A server that repeats the key in its words does not get it into a message."""
    respx_mock.get(PAGES).mock(return_value=refusal(401, message=f"Wrong key: {'.' * 275}{KEY}."))
    with pytest.raises(KeyRefusedError, match="Wrong key") as caught:
        await page(api)
    assert_no_secrets(caught.value)


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [
        (500, "false", 1),
        (429, "false", 1),
        (400, "true", 3),
        (409, "true", 3),
        (500, "maybe", 3),
        (400, "", 1),
    ],
)
async def test_x_should_retry(
    api: FloraApi, respx_mock: respx.MockRouter, status: int, said: str, tries: int
) -> None:
    """The API's own word on whether to try again goes before the status."""
    route = respx_mock.get(PAGES).mock(return_value=refusal(status, x_should_retry=said))
    with pytest.raises(ApiError):
        await page(api)
    assert route.call_count == tries


# --- waits -----------------------------------------------------------------------------------------


async def test_retried_until_it_works(api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime) -> None:
    """A page that comes at the third try is a page, after two jittered waits."""
    respx_mock.get(PAGES).mock(side_effect=[refusal(500), httpx.ReadTimeout("x"), page_of(RUN)])
    assert len((await page(api)).generations) == 1
    first, second = time.slept
    assert 0 < first <= 1
    assert 0 < second <= 2


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [
        ({"retry_after": "120"}, 120),
        ({"retry_after": " 7 "}, 7),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "2500"}, 2.5),
        ({"retry_after_ms": "2500.5"}, 2.5),
        ({"retry_after_ms": "-1", "retry_after": "60"}, 60),
        ({"retry_after_ms": "nan", "retry_after": "60"}, 60),
        ({"retry_after_ms": "2500", "retry_after": "60"}, 2.5),
        ({"retry_after_ms": "soon", "retry_after": "60"}, 60),
        ({"retry_after": formatdate(FakeTime().now_s + 90, usegmt=True)}, 90),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_api_says_when_to_come_back(
    api: FloraApi,
    respx_mock: respx.MockRouter,
    time: FakeTime,
    status: int,
    headers: dict[str, str],
    least_s: float,
) -> None:
    """`Retry-After` in either form, and `retry-after-ms`, are waited for, and not much longer."""
    begun = time.now_s
    respx_mock.get(PAGES).mock(side_effect=[refusal(status, **headers), page_of()])
    await page(api)
    assert least_s <= time.now_s - begun <= least_s + 1


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1e3", "1.5.5", "inf", "nan", formatdate(0, usegmt=True)]
)
async def test_senseless_retry_after(
    api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime, value: str
) -> None:
    """A `Retry-After` that makes no sense, or lies in the past, is as good as none."""
    begun = time.now_s
    respx_mock.get(PAGES).mock(side_effect=[refusal(503, retry_after=value), page_of()])
    await page(api)
    assert 0 < time.now_s - begun <= 1


async def test_429_without_a_time(api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime) -> None:
    """Without `Retry-After`, a 429 is waited for as FLORA's own sample does, longer each time."""
    begun = time.now_s
    respx_mock.get(PAGES).mock(side_effect=[refusal(429), refusal(429), page_of()])
    await page(api)
    assert 15 <= time.now_s - begun <= 18


async def test_too_long_a_wait(api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime) -> None:
    """An API that asks for an hour is given up at once, and the error says for how long it asked."""
    route = respx_mock.get(PAGES).mock(return_value=refusal(429, retry_after="3600"))
    with pytest.raises(ApiUnavailableError) as caught:
        await page(api)
    assert (caught.value.retry_after_s, route.call_count, time.slept) == (3600, 1, [])


# --- no answer, and answers that are none -------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("refused"), "refused"),
        (httpx.ConnectTimeout("x"), "timeout"),
        (httpx.ReadTimeout("x"), "timeout"),
        (httpx.PoolTimeout("x"), "timeout"),
        (httpx.ReadError(""), "ReadError"),
        (ssl.SSLError("bad record mac"), "bad record mac"),
        (httpx.WriteError("x"), "x"),
        (httpx.RemoteProtocolError("x"), "x"),
        (httpx.LocalProtocolError("x"), "x"),
        (httpx.ProxyError("x"), "x"),
        (httpx.UnsupportedProtocol("x"), "x"),
        (httpx.DecodingError("x"), "x"),
        (httpx.InvalidURL("x"), "x"),
    ],
)
async def test_no_answer(api: FloraApi, respx_mock: respx.MockRouter, error: Exception, said: str) -> None:
    """Every error of httpx becomes one of ours, is retried, and says where and why."""
    route = respx_mock.get(PAGES).mock(side_effect=error)
    with pytest.raises(
        ApiUnavailableError, match=rf"https://api\.test/api/v1 does not answer: .*{said}"
    ) as caught:
        await page(api, PageQuery(cursor="SECRET"))
    assert caught.value.hint
    assert caught.value.__cause__ is error
    assert route.call_count == 1 + RETRIES
    assert_no_secrets(caught.value)


NO_PAGES = [
    b"",
    b"<!doctype html><html>Log in</html>",
    b"  <p>",
    b"null",
    b"[]",
    b"{}",
    b'{"generations": null}',
    b'{"generations": {}}',
    b'{"generations": []',
    b'{"generations": [], "meta": 5}',
    b'{"generations": [], "meta": {"next_cursor": 5}}',
    b'{"generations": [], "meta": {"next_cursor": "\xff"}}',
    b"\xff\xfe",
    b"\x00" * 10,
    b'{"generations": [' + b"[" * 5000,
]


@pytest.mark.parametrize("body", NO_PAGES)
async def test_answer_that_is_no_page(api: FloraApi, respx_mock: respx.MockRouter, body: bytes) -> None:
    """HTML, broken JSON and other nonsense with status 200 are retried, and then an error, not an end."""
    route = respx_mock.get(PAGES).respond(200, content=body, headers=REQUEST_ID)
    with pytest.raises(ApiAnswerError, match=r"request-id req_42") as caught:
        await page(api, PageQuery(cursor="SECRET"))
    assert route.call_count == 1 + RETRIES
    assert caught.value.status == 200
    assert_no_secrets(caught.value)


async def test_html_is_called_that(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A log-in page or a proxy's error is named as what it is."""
    respx_mock.get(PAGES).respond(200, content=NO_PAGES[1])
    with pytest.raises(ApiAnswerError, match="HTML"):
        await page(api)


async def test_nonsense_may_pass(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """An answer that makes sense at the second try is used."""
    respx_mock.get(PAGES).mock(side_effect=[httpx.Response(200, content=b"<html>"), page_of(RUN)])
    assert len((await page(api)).generations) == 1


async def test_repeated_cursor(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A cursor that was given before is retried, and then an error: following it would turn in a circle."""
    route = respx_mock.get(PAGES).mock(return_value=page_of(RUN, cursor="SECRET"))
    with pytest.raises(ApiAnswerError, match="cursor a second time") as caught:
        await api.page(PageQuery(), given_cursors={"SECRET"})
    assert route.call_count == 1 + RETRIES
    assert_no_secrets(caught.value)


async def test_over_large_answer(
    api: FloraApi, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer larger than any page is left, with its request-id, before it fills the memory."""
    monkeypatch.setattr(answer_module, "MAX_ANSWER_BYTES", 1000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=endless(), headers=REQUEST_ID)

    respx_mock.get(PAGES).mock(side_effect=answer)
    with pytest.raises(ApiAnswerError, match=r"larger than 1000 bytes \(request-id req_42\)"):
        await page(api)
    assert sent == 1100 * (1 + RETRIES)


async def test_largest_answer(
    api: FloraApi, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of exactly the limit is read."""
    monkeypatch.setattr(answer_module, "MAX_ANSWER_BYTES", 1000)
    respx_mock.get(PAGES).respond(200, content=b'{"generations": []}'.ljust(1000))
    assert (await page(api)).generations == ()


@pytest.mark.parametrize(
    "record",
    [
        b"null", b"7", b'"run"', b"[]", b"{}", b'{"run_id": "r"}', b'{"status": "completed"}',
        b'{"run_id": 5, "status": "completed"}', b'{"run_id": "\xff", "status": "completed"}',
    ],
)  # fmt: skip
async def test_bad_record_does_not_cost_the_page(
    api: FloraApi, respx_mock: respx.MockRouter, record: bytes
) -> None:
    """A record that cannot be read is told, and the others of its page are there."""
    good = json.dumps(RUN).encode()
    route = respx_mock.get(PAGES).respond(200, content=b'{"generations": [' + record + b", " + good + b"]}")
    got = await page(api)
    assert [run.run_id for run in got.generations] == ["run_a"]
    assert len(got.bad_records) == 1
    assert route.call_count == 1


HALF_EMOJI = rb'{"run_id": "run_h", "status": "completed", "prompt": "\\ \ud83d\ude00 cut \uD83D"}'


async def test_half_an_emoji_does_not_cost_the_page(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A prompt cut in the middle of an emoji, which is legal JSON, costs neither page nor run."""
    respx_mock.get(PAGES).respond(200, content=b'{"generations": [' + HALF_EMOJI + b"]}")
    (run,) = (await page(api)).generations
    assert run.run_id == "run_h"
    assert json.loads(run.raw)["prompt"].startswith("\\ \N{GRINNING FACE} cut ")


async def test_half_an_emoji_in_a_run(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """The same in the record of one run, laid over what is known of it."""
    respx_mock.get(f"{BASE}/runs/run_h").respond(200, content=HALF_EMOJI)
    known = parse_generation(b'{"run_id": "run_h", "status": "running", "project_id": "prj_b"}')
    run = await api.run("run_h", known=known)
    assert (run.status, run.project_id) == ("completed", "prj_b")


# --- one run ---------------------------------------------------------------------------------------


def known_run(poll_url: object = None) -> Generation:
    """A record as the list gave it."""
    record = RUN | {"status": "running", "model": {"model_id": "m"}, "poll_url": poll_url}
    return parse_generation(json.dumps(record).encode())


async def test_run_is_asked_for_by_its_id(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """The endpoint's record is laid over what is known, since it lacks workspace, project and model."""
    respx_mock.get(f"{BASE}/runs/run_a").respond(200, json={"run_id": "run_a", "status": "completed"})
    run = await api.run("run_a", known=known_run())
    assert (run.status, run.workspace_id, run.project_id, run.model_id) == ("completed", "ws_a", "prj_b", "m")
    assert (await api.run("run_a")).workspace_id == ""


@pytest.mark.parametrize(
    ("run_id", "path"),
    [
        ("a/b", "a%2Fb"),
        ("../generations", "..%2Fgenerations"),
        ("a?b#c", "a%3Fb%23c"),
        ("é %", "%C3%A9%20%25"),
        ("...", "..."),
        ("\udcff", "%ED%B3%BF"),
    ],
)
async def test_strange_run_id_stays_one_segment(
    api: FloraApi, respx_mock: respx.MockRouter, run_id: str, path: str
) -> None:
    """Whatever an id holds, it cannot lead to another endpoint."""
    route = respx_mock.get(url__startswith=BASE).mock(return_value=refusal(404))
    with pytest.raises(ApiNotFoundError):
        await api.run(run_id)
    assert route.calls.last.request.url.raw_path == f"/api/v1/runs/{path}".encode()


@pytest.mark.parametrize("run_id", [".", ".."])
async def test_dots_are_no_run(api: FloraApi, respx_mock: respx.MockRouter, run_id: str) -> None:
    """An id that a URL would swallow is not asked for."""
    with pytest.raises(ApiNotFoundError):
        await api.run(run_id)
    assert not respx_mock.calls


async def test_answer_about_another_run(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """The record of another run is retried, and then an error: it must not end up in this one's folder."""
    route = respx_mock.get(f"{BASE}/runs/run_z").respond(200, json=RUN, headers=REQUEST_ID)
    with pytest.raises(ApiAnswerError, match=r"another run than run_z \(request-id req_42\)"):
        await api.run("run_z")
    assert route.call_count == 1 + RETRIES


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status": "completed"}', b'{"run_id": "\xff"}'])
@pytest.mark.parametrize("is_known", [False, True])
async def test_answer_that_is_no_run(
    api: FloraApi, respx_mock: respx.MockRouter, body: bytes, is_known: bool
) -> None:
    """Nonsense in place of a run is retried, and then an error of ours."""
    if is_known and body.startswith(b'{"status'):
        body = b"null"
    respx_mock.get(f"{BASE}/runs/run_a").respond(200, content=body)
    with pytest.raises(ApiAnswerError):
        await api.run("run_a", known=known_run() if is_known else None)
    assert api.calls == 1 + RETRIES


OWN_ORIGIN = [
    "https://api.test/api/v1/poll/run_a?x=1",
    "https://api.test:443/other",
    "HTTPS://API.TEST/poll",
]
OTHER_ORIGIN = [
    "https://evil.test/poll",
    "http://api.test/poll",
    "https://api.test:8443/poll",
    "https://api.test.evil.test/poll",
    "https://evil.test@api.test/poll",
    "https://api.test@evil.test/poll",
    "https://sub.api.test/poll",
    "//evil.test/poll",
    "/api/v1/poll",
    "https://[::1/poll",
    "https://xn--/poll",
    "javascript:alert(1)",
    "",
    7,
]


@pytest.mark.parametrize("poll_url", OWN_ORIGIN)
async def test_poll_url_of_the_api_is_used(
    api: FloraApi, respx_mock: respx.MockRouter, poll_url: str
) -> None:
    """A `poll_url` on the API's own origin is asked, with the key."""
    route = respx_mock.get(url=poll_url).respond(200, json=RUN)
    await api.run("run_a", known=known_run(poll_url))
    assert route.calls.last.request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("poll_url", OTHER_ORIGIN)
async def test_poll_url_elsewhere_is_not_used(
    api: FloraApi, respx_mock: respx.MockRouter, poll_url: object
) -> None:
    """A `poll_url` anywhere else never sees the key; the run is asked for at the API."""
    respx_mock.get(f"{BASE}/runs/run_a").respond(200, json=RUN)
    await api.run("run_a", known=known_run(poll_url))
    assert [str(call.request.url) for call in respx_mock.calls] == [f"{BASE}/runs/run_a"]


# --- limits ----------------------------------------------------------------------------------------


class Drip(httpx.AsyncByteStream):
    """A body that comes in pieces, with a pause before each that no timeout of a read would notice."""

    def __init__(self, pieces: Iterable[bytes], pause_s: float, time: FakeTime) -> None:
        self._pieces = pieces
        self._pause_s = pause_s
        self._time = time

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self._time.now_s += self._pause_s
            yield piece


def single_bytes(body: bytes) -> list[bytes]:
    """A body a byte at a time."""
    return [body[place : place + 1] for place in range(len(body))]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_answer_that_only_drips(
    api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime, encoding: str
) -> None:
    """A byte every four seconds is no answer: it is broken off after a minute and asked for again."""
    body = page_of(RUN).content
    # A gzip header may hold a name of any length; a decoder that reads it gives nothing.
    sent = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 10_000 if encoding == "gzip" else body
    began_s = time.now_s

    dripping = Drip(single_bytes(sent), 4.0, time)
    drip = httpx.Response(200, headers={"content-encoding": encoding}, stream=dripping)
    route = respx_mock.get(PAGES).mock(side_effect=[drip, page_of(RUN)])
    assert [run.run_id for run in (await page(api)).generations] == ["run_a"]
    assert route.call_count == 2
    assert time.now_s - began_s < 90


async def test_answers_that_always_drip(api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime) -> None:
    """An API that never does better is down, and the message says why."""
    respx_mock.get(PAGES).mock(
        side_effect=lambda _: httpx.Response(200, stream=Drip(single_bytes(bytes(1000)), 4.0, time))
    )
    with pytest.raises(ApiUnavailableError, match="slower than 1024 bytes/s"):
        await page(api)
    assert api.calls == 1 + RETRIES


async def test_large_answer_over_a_slow_line(
    api: FloraApi, respx_mock: respx.MockRouter, time: FakeTime
) -> None:
    """An answer that takes ten minutes is read to its end while it keeps coming."""
    body = page_of(RUN | {"prompt": "p" * 1_000_000}).content
    pieces = [body[place : place + 20_000] for place in range(0, len(body), 20_000)]
    respx_mock.get(PAGES).respond(200, stream=Drip(pieces, 12.0, time))
    assert [run.run_id for run in (await page(api)).generations] == ["run_a"]


@pytest.mark.parametrize("count", [101, 10_000])
async def test_page_larger_than_asked_for(api: FloraApi, respx_mock: respx.MockRouter, count: int) -> None:
    """An API that ignores `limit` is still read."""
    respx_mock.get(PAGES).mock(return_value=page_of(*[RUN] * count))
    assert len((await page(api)).generations) == count


async def test_page_of_too_many_records(api: FloraApi, respx_mock: respx.MockRouter) -> None:
    """A page without measure is an answer that makes no sense."""
    respx_mock.get(PAGES).mock(return_value=page_of(*[0] * 10_001))
    with pytest.raises(ApiAnswerError, match="10001 records"):
        await page(api)


# --- the key ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["https://evil.test/", "https://api.test/api/v2/generations", "/elsewhere?token=SECRET"]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    api: FloraApi, respx_mock: respx.MockRouter, status: int, location: str
) -> None:
    """A redirect is an error, not a journey for the key, and its target is not shown."""
    respx_mock.get(PAGES).respond(status, headers=REQUEST_ID | {"Location": location})
    with pytest.raises(ApiError, match=f"redirect.*{status}.*req_42") as caught:
        await page(api)
    assert len(respx_mock.calls) == 1
    assert_no_secrets(caught.value)


@pytest.mark.parametrize(
    "key", ["", "sk live", "sk\nX-Evil: 1", "sk\x00", "schlüssel", "sk\t", " sk", "sk\x7f"]
)
def test_key_that_is_none(key: str, time: FakeTime) -> None:
    """A key that no header can carry is refused before anything is sent, and not shown."""
    with pytest.raises(UsageError) as caught:
        FloraApi(BASE, key, clock=time.clock, retries=0, timeout_s=5)
    assert caught.value.exit_code == Exit.USAGE
    assert caught.value.hint
    assert not key or key not in str(caught.value)


async def test_default_waits(respx_mock: respx.MockRouter, time: FakeTime) -> None:
    """Without a backoff of its own a session waits as design has it: at most a second after one failure."""
    respx_mock.get(PAGES).mock(side_effect=[refusal(500), page_of()])
    async with FloraApi(BASE, KEY, clock=time.clock, retries=1, timeout_s=5) as api:
        await page(api)
    assert len(time.slept) == 1
    assert time.slept[0] <= 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [("pending", True), ("running", True), ("completed", False), ("failed", False), ("new", False)],
)
def test_open_statuses(status: str, expected: bool) -> None:
    """Only pending and running runs may still complete."""
    assert is_open(status) is expected


def assert_no_secrets(error: ApiError) -> None:
    """Neither key nor cursor nor query stands in what a user, a log or a report would show."""
    shown = f"{error} {error.message} {error.hint} {error.code} {error.request_id}"
    for secret in (KEY[:12], KEY[8:], "SECRET", "?"):
        assert secret not in shown

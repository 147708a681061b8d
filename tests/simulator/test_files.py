"""The media server: whole files, parts of files, and files that have moved."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx
import pytest

from floradl.simulator import Account, SimOutput, Simulator

from .conftest import BODY, Ask

pytestmark = pytest.mark.anyio
SIZE = len(BODY)


async def test_whole_file(get: Ask, output: SimOutput) -> None:
    """A file comes with its length, type, a strong validator and a date, and takes ranges."""
    answer = await get(output.path)
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == output.etag
    assert output.etag.startswith('"')
    assert parsedate_to_datetime(answer.headers["last-modified"]).year == 2026


async def test_every_url_of_a_record_works(get: Ask, sim: Simulator) -> None:
    """Each media URL the API tells leads to the output's bytes under the type they have."""
    for run in sim.account.runs:
        for output in run.outputs:
            if output.text is None and output.url is None:
                answer = await get(sim.account.url_of(output))
                assert (answer.status_code, answer.content) == (200, output.body)
                assert answer.headers["content-type"] == output.content_type


async def test_query_changes_nothing(get: Ask, output: SimOutput) -> None:
    """A query (ImageKit's, say) is ignored, and logged."""
    assert (await get(output.path + "?tr=orig-true")).content == BODY


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=2000-", 2000, SIZE),
        ("bytes=2000-99999", 2000, SIZE),
        ("bytes=-10", SIZE - 10, SIZE),
        ("bytes=-99999", 0, SIZE),
    ],
)
async def test_range(get: Ask, output: SimOutput, asked: str, start: int, end: int) -> None:
    """A range gives that part and says where it is."""
    answer = await get(output.path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, BODY[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == output.etag


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=5-4", "bytes=-0", "bytes=9999-10000"])
async def test_range_outside(get: Ask, output: SimOutput, asked: str) -> None:
    """A range beyond the file is refused with the size of the file."""
    answer = await get(output.path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"])
async def test_range_not_understood(get: Ask, output: SimOutput, asked: str) -> None:
    """What is no single byte range is ignored: the whole file comes."""
    answer = await get(output.path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, BODY)


async def test_if_range(get: Ask, output: SimOutput) -> None:
    """A range with a condition comes only when the condition names this very file."""
    modified = (await get(output.path)).headers["last-modified"]
    for condition, status in (
        (output.etag, 206),
        (modified, 206),
        ('"another"', 200),
        ("W/" + output.etag, 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ):
        answer = await get(output.path, headers={"Range": "bytes=5-", "If-Range": condition})
        assert (answer.status_code, answer.content) == (status, BODY[5:] if status == 206 else BODY)


async def test_changed_bytes_end_an_old_condition(get: Ask, output: SimOutput) -> None:
    """When the bytes behind a URL change, a resume under the old validator gets everything anew."""
    old = output.etag
    output.body = BODY[::-1]
    answer = await get(output.path, headers={"Range": "bytes=5-", "If-Range": old})
    assert (answer.status_code, answer.content) == (200, BODY[::-1])


async def test_moved_file(get: Ask, account: Account, output: SimOutput) -> None:
    """An old URL is gone for good, the record has the new one, and a path never given out is not found."""
    old = account.url_of(output)
    account.move_url(output)
    assert (await get(old)).status_code == 410
    assert (await get(account.url_of(output))).content == BODY
    assert (await get("/files/nowhere.png")).status_code == 404


async def test_empty_file_takes_no_range(get: Ask, output: SimOutput) -> None:
    """An empty body is served as such, and no range of it exists."""
    output.body = b""
    assert (await get(output.path)).headers["content-length"] == "0"
    assert (await get(output.path, headers={"Range": "bytes=0-"})).status_code == 416


async def test_media_requests_are_logged_with_their_headers(sim: Simulator, output: SimOutput) -> None:
    """A key that strays to the media server is in the log, where a test finds it."""
    async with httpx.AsyncClient(base_url=sim.media_url, trust_env=False) as client:
        await client.get(output.path + "?tr=orig-true&x=", headers={"Authorization": "Bearer stray"})
    (request,) = sim.media_requests()
    assert request.headers["authorization"] == "Bearer stray"
    assert (request.method, request.path, request.status) == ("GET", output.path, 200)
    assert request.query == {"tr": "orig-true", "x": ""}
    assert request.sent_bytes == SIZE
    assert sim.api_requests() == []

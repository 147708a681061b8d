"""One output from URL to file: what the host answers, what is asked of it, and what is on disk after."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import random
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path, PurePosixPath

import httpx
import pytest

from floradl.archiver.options import ArchiveOptions
from floradl.download import streaming
from floradl.download.commit import WantedOutput
from floradl.download.context import Context, new_context
from floradl.download.tally import TransferCounters
from floradl.download.transfer import MAX_TRIES, fetch_output
from floradl.errors import ApiNotFoundError, DestinationError
from floradl.network import bandwidth
from floradl.network.bandwidth import BURST_BYTES, Bandwidth
from floradl.network.client import MediaClient, NotHttpError
from floradl.network.retry import Backoff
from floradl.repository import layout
from floradl.repository.results import Failure, Receipt
from floradl.storage import base
from floradl.storage.destination import Destination
from floradl.storage.local.direct_io import Direct
from floradl.storage.local.fsync import Flusher
from floradl.storage.local.partial import MIN_RESUME_BYTES, Partial
from tests.support.clock import FakeTime

pytestmark = pytest.mark.anyio

URL = "https://media.test/one.png?token=SECRET"
START, END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
PNG = START + bytes(range(256)) * 10 + END
BIG = START + bytes(range(256)) * (10 + 2 * MIN_RESUME_BYTES // 256) + END
HALF = len(PNG) // 2
HTML = b"<!doctype html><html><body>Sorry</body></html>"
XML = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
FOLDER = PurePosixPath("ws_a/prj_b/run_c")


class Body(httpx.AsyncByteStream):
    """A body that arrives in chunks, and may end in an error; a float lets that much time pass."""

    def __init__(
        self, chunks: Sequence[bytes | float], error: Exception | None = None, time: FakeTime | None = None
    ) -> None:
        self._chunks = chunks
        self._error = error
        self._time = time
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, float):
                assert self._time is not None
                self._time.now_s += chunk
            else:
                yield chunk
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """What httpx does when it has done with a body."""
        self.is_closed = True


@dataclass(frozen=True)
class Reply:
    """One answer of the host: a status, headers, a body, and how the body ends.

    Without `length`, `Content-Length` is that of `body`; None leaves the header out.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    length: int | None = -1

    def response(self, request: httpx.Request) -> httpx.Response:
        """The httpx response; the body comes in two chunks."""
        middle = len(self.body) // 2
        length = len(self.body) if self.length == -1 else self.length
        head = {} if length is None else {"Content-Length": str(length)}
        stream = Body([self.body[:middle], self.body[middle:]], self.error)
        return httpx.Response(self.status, headers=head | self.headers, stream=stream, request=request)


Answers = Callable[[httpx.Request], httpx.Response]


class Longest(random.Random):
    """Waits as long as it may be."""

    def random(self) -> float:
        """The highest number."""
        return 1.0


class Host:
    """A media host with a script of answers, one a request; it notes what was asked and when."""

    def __init__(self, script: Sequence[Reply | Exception | Answers], time: FakeTime) -> None:
        self._script = list(script)
        self._time = time
        self.requests: list[httpx.Request] = []
        self.moments: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Give the next answer, as the handler of an `httpx.MockTransport`."""
        assert self._script, f"one request too many: {request.url}"
        self.requests.append(request)
        self.moments.append(self._time.now_s)
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer.response(request) if isinstance(answer, Reply) else answer(request)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """`Range` and `If-Range` of each request."""
        return [(r.headers.get("range", ""), r.headers.get("if-range", "")) for r in self.requests]

    @property
    def urls(self) -> list[str]:
        """The URL of each request."""
        return [str(request.url) for request in self.requests]

    @property
    def is_done(self) -> bool:
        """Whether every answer was asked for."""
        return not self._script


@dataclass
class Bench:
    """Everything that a transfer needs, and what it left."""

    disk: Destination
    time: FakeTime
    context: Context
    fresh_urls: list[str | None] = field(default_factory=list)
    fresh_asked: list[tuple[str, str]] = field(default_factory=list)

    async def fresh_url(self, run_id: str, key: str) -> str | None:
        """The API's current URL: the next of `fresh_urls`."""
        self.fresh_asked.append((run_id, key))
        return self.fresh_urls.pop(0)

    def wanted(self, url: str = URL, *, kind: str = "imageUrl", has_partial: bool = False) -> WantedOutput:
        """An output of one run."""
        return WantedOutput("run_c", "output_1", kind, url, FOLDER, 1_700_000_000_000, has_partial)

    async def fetch(self, host: Host, wanted: WantedOutput | None = None) -> Receipt | Failure:
        """Run a transfer against a scripted host."""
        async with MediaClient(httpx.MockTransport(host), timeout_s=5) as client:
            return await fetch_output(wanted or self.wanted(), client, self.context, self.fresh_url)

    async def fetch_once(self, host: Host, wanted: WantedOutput) -> Failure:
        """A transfer that fails, where the API has no other URL."""
        self.fresh_urls.append(None)
        failure = await self.fetch(host, wanted)
        assert isinstance(failure, Failure)
        return failure

    def with_context(self, **changes: object) -> Bench:
        """The same with other settings."""
        return replace(self, context=replace(self.context, **changes))  # type: ignore[arg-type]  # names are checked by `replace`

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the run's folder."""
        folder = self.disk.root / FOLDER
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}

    @property
    def leftovers(self) -> list[str]:
        """Partials and temporary files."""
        folders = [self.disk.root / base.PARTIALS, self.disk.root / base.TEMPORARY]
        return sorted(path.name for folder in folders for path in folder.rglob("*") if path.is_file())

    def leave_partial(self, data: bytes, *, etag: str = '"one"', total_bytes: int | None = None) -> None:
        """A partial as an earlier process left it."""
        path = self.disk.root / layout.partial_path("run_c", "output_1")
        earlier = Partial(lambda: path, Flusher(is_on=False), Direct(is_on=False))
        earlier.expect(etag, total_bytes)
        earlier.append([data])
        earlier.suspend()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A prepared archive, a clock that moves only when somebody sleeps, and three tries after the first."""
    disk = Destination(tmp_path / "out", fsync=False, threads=2)
    disk.prepare()
    time = FakeTime()
    options = ArchiveOptions(disk.root, retries=3)
    context = new_context(options, disk, time.clock, Backoff(rng=random.Random(1)))
    yield Bench(disk, time, context)
    disk.close()


def etag(value: str = '"one"', **more: str) -> dict[str, str]:
    """Headers with an ETag."""
    return {"ETag": value, **more}


def cut(data: bytes = PNG[:HALF], headers: dict[str, str] | None = None, total: int = len(PNG)) -> Reply:
    """A 200 that announces the whole and breaks off after `data`."""
    headers = etag() if headers is None else headers
    return Reply(200, data, headers, httpx.ReadError("reset"), length=total)


def rest(start: int = HALF, data: bytes = PNG, content_range: str = "", **headers: str) -> Reply:
    """A 206 with the bytes from `start` on."""
    content_range = content_range or f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Reply(206, data[start:], {"Content-Range": content_range, "ETag": '"one"', **headers})


WHOLE = Reply(200, PNG, etag())
ASK = ("", "")
RESUME = (f"bytes={HALF}-", '"one"')
CHANGED = "Mon, 23 Nov 2026 02:30:00 GMT"
DATED = {"Last-Modified": CHANGED, "Date": "Mon, 23 Nov 2026 02:31:00 GMT"}
RESUME_DATED = (f"bytes={HALF}-", CHANGED)
REST_DATED = {"Content-Range": f"bytes {HALF}-{len(PNG) - 1}/{len(PNG)}", **DATED}
LONGER = f"bytes {HALF}-{len(PNG)}/{len(PNG) + 1}"

DEFLATE = {"Content-Encoding": "deflate"}
DEFLATED = zlib.compress(PNG)
GZIP = {"Content-Encoding": "gzip"}


def stated(body: bytes, name: str = "Content-MD5") -> dict[str, str]:
    """The MD5 of a body, as hosts state it."""
    value = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return {name: value if name == "Content-MD5" else f"md5={value}"}


HASHED = stated(PNG, "x-goog-hash")


# --- resuming: answers, what is asked, and the file ----------------------------------------------------


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        pytest.param([WHOLE], [ASK], id="whole"),
        pytest.param([Reply(200, PNG, length=None)], [ASK], id="no length, no validator"),
        pytest.param([Reply(200, PNG, etag("W/1", Accept_Ranges="x"))], [ASK], id="an ETag that is none"),
        pytest.param([cut(), rest()], [ASK, RESUME], id="cut, then the rest"),
        pytest.param(
            [cut(), rest(content_range=f"bytes {HALF}-{len(PNG) - 1}/*")],
            [ASK, RESUME],
            id="cut, then the rest, of a total that the host keeps to itself",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], {"Content-Range": f"bytes {HALF}-{len(PNG) - 1}/{len(PNG)}"})],
            [ASK, RESUME],
            id="cut, then the rest, without an ETag",
        ),
        pytest.param(
            [cut(), cut(PNG[:0], total=0), WHOLE],
            [ASK, RESUME, ASK],
            id="cut, then an empty 200 cut off at once",
        ),
        pytest.param([cut(), Reply(200, PNG, etag('"two"'))], [ASK, RESUME], id="cut, then all of another"),
        pytest.param([cut(), WHOLE], [ASK, RESUME], id="cut, then a 200 starts over"),
        pytest.param(
            [cut(b"\1" * HALF), cut(), rest()],
            [ASK, RESUME, RESUME],
            id="cut, a 200 cut again, then its rest",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], rest().headers | etag('"two"')), WHOLE],
            [ASK, RESUME, ASK],
            id="cut, then the rest of another ETag",
        ),
        pytest.param([cut(), rest(HALF - 1), WHOLE], [ASK, RESUME, ASK], id="206 from too early"),
        pytest.param([cut(), rest(HALF + 1), WHOLE], [ASK, RESUME, ASK], id="206 from too late"),
        pytest.param([cut(), rest(0), WHOLE], [ASK, RESUME, ASK], id="206 from the start"),
        pytest.param(
            [cut(), rest(content_range=f"bytes {HALF}-{len(PNG) - 2}/{len(PNG)}"), WHOLE],
            [ASK, RESUME, ASK],
            id="206 that ends before the end",
        ),
        pytest.param(
            [cut(), rest(content_range=LONGER), WHOLE],
            [ASK, RESUME, ASK],
            id="206 of another total",
        ),
        pytest.param(
            [cut(), rest(content_range="bytes */5"), WHOLE], [ASK, RESUME, ASK], id="206 of no range"
        ),
        pytest.param([cut(), Reply(206, PNG[HALF:]), WHOLE], [ASK, RESUME, ASK], id="206 without a range"),
        pytest.param(
            [cut(), Reply(206, PNG[HALF - 1 : -1], rest(HALF - 1).headers), WHOLE],
            [ASK, RESUME, ASK],
            id="206 from too early, as long as the rest",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:] + b"!", etag() | {"Content-Range": LONGER}), WHOLE],
            [ASK, RESUME, ASK],
            id="206 of another total, and as long as that",
        ),
        pytest.param([rest(0), WHOLE], [ASK, ASK], id="206 that nobody asked for"),
        pytest.param([cut(), Reply(416), WHOLE], [ASK, RESUME, ASK], id="416 starts over"),
        pytest.param([cut(headers=etag('W/"one"')), WHOLE], [ASK, ASK], id="a weak ETag never resumes"),
        pytest.param([cut(headers={}), WHOLE], [ASK, ASK], id="no ETag never resumes"),
        pytest.param(
            [cut(headers={"Last-Modified": CHANGED}), WHOLE],
            [ASK, ASK],
            id="a date is no strong validator where it is not known when that was said",
        ),
        pytest.param(
            [cut(headers=DATED | {"Date": CHANGED}), WHOLE],
            [ASK, ASK],
            id="a date is no strong validator of a file that has just changed",
        ),
        pytest.param(
            [cut(headers=DATED), Reply(206, PNG[HALF:], REST_DATED)],
            [ASK, RESUME_DATED],
            id="cut, then the rest of what was changed at the same date",
        ),
        pytest.param(
            [cut(headers=DATED | etag('W/"one"')), Reply(206, PNG[HALF:], REST_DATED | etag('W/"one"'))],
            [ASK, RESUME_DATED],
            id="the same beside a weak ETag",
        ),
        pytest.param(
            [
                cut(headers=DATED),
                Reply(206, PNG[HALF:], REST_DATED | {"Last-Modified": "Mon, 23 Nov 2026 02:30:01 GMT"}),
                WHOLE,
            ],
            [ASK, RESUME_DATED, ASK],
            id="cut, then the rest of what was changed since",
        ),
        pytest.param([Reply(200, DEFLATED, DEFLATE | etag())], [ASK], id="compressed"),
        pytest.param([Reply(200, gzip.compress(PNG), GZIP, length=None)], [ASK], id="compressed, no length"),
        pytest.param([Reply(200, DEFLATED, DEFLATE | stated(DEFLATED))], [ASK], id="compressed, as stated"),
        pytest.param([Reply(200, PNG, GZIP)], [ASK], id="called compressed, and decoded on the way"),
        pytest.param(
            [Reply(200, PNG, GZIP | stated(gzip.compress(PNG)))],
            [ASK],
            id="the same, and stated before that",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], rest().headers | {"Content-Encoding": "lzma"}), WHOLE],
            [ASK, RESUME, ASK],
            id="cut, then the rest in a coding that nobody knows",
        ),
        pytest.param(
            [cut(gzip.compress(PNG)[:50], GZIP | etag()), WHOLE], [ASK, ASK], id="compressed never resumes"
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], rest().headers | GZIP), WHOLE],
            [ASK, RESUME, ASK],
            id="cut, then the rest of a compressed form",
        ),
        pytest.param([Reply(200, PNG, stated(PNG))], [ASK], id="as its checksum says"),
        pytest.param([Reply(200, PNG, stated(b"?")), WHOLE], [ASK, ASK], id="other bytes than it says"),
        pytest.param(
            [cut(headers=etag() | stated(PNG)), Reply(206, PNG[HALF:], rest().headers | HASHED)],
            [ASK, RESUME],
            id="cut, then the rest, with a checksum of all",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], rest().headers | HASHED)],
            [ASK, RESUME],
            id="cut, then the rest, first then with a checksum of all",
        ),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:], rest().headers | stated(b"?", "x-goog-hash")), WHOLE],
            [ASK, RESUME, ASK],
            id="cut, then the rest, and together not what was stated",
        ),
        pytest.param(
            [cut(headers=etag(**{"Accept-Ranges": "none"})), WHOLE], [ASK, ASK], id="Accept-Ranges: none"
        ),
        pytest.param([cut(PNG, total=len(PNG))], [ASK], id="cut after the last byte asks no more"),
        pytest.param([cut(b""), WHOLE], [ASK, ASK], id="cut before the first byte"),
        pytest.param([Reply(200, PNG[:-1], etag(), length=len(PNG)), WHOLE], [ASK, ASK], id="a short body"),
        pytest.param([Reply(200, PNG + b"!", etag(), length=len(PNG)), WHOLE], [ASK, ASK], id="a long body"),
        pytest.param([Reply(200, b"", etag()), WHOLE], [ASK, ASK], id="an empty body"),
        pytest.param([Reply(200, b"", length=None), WHOLE], [ASK, ASK], id="an empty body of unknown length"),
        pytest.param(
            [cut(), Reply(206, PNG[HALF:-1], rest().headers), WHOLE], [ASK, RESUME, ASK], id="a short rest"
        ),
        pytest.param([cut(), Reply(503), rest()], [ASK, RESUME, RESUME], id="503 keeps what is there"),
        pytest.param(
            [cut(), httpx.ReadTimeout("silent"), rest()],
            [ASK, RESUME, RESUME],
            id="silence keeps what is there",
        ),
        pytest.param([Reply(408), Reply(425), Reply(500), WHOLE], [ASK] * 4, id="statuses that pass"),
        pytest.param([httpx.ConnectError("refused"), WHOLE], [ASK, ASK], id="no connection at first"),
    ],
)
async def test_answers_to_bytes(
    bench: Bench, script: list[Reply | Exception], asked: list[tuple[str, str]]
) -> None:
    """Whatever the host does on the way, the file is the whole output and only the rest is asked for."""
    host = Host(script, bench.time)
    receipt = await bench.fetch(host)
    assert host.asked == asked
    assert host.is_done
    assert bench.files == {"output_1.png": PNG}
    assert bench.leftovers == []
    assert receipt == Receipt(
        run_id="run_c",
        key="output_1",
        type="imageUrl",
        file="output_1.png",
        size_bytes=len(PNG),
        sha256=hashlib.sha256(PNG).hexdigest(),
        content_type="",
        url="https://media.test/one.png",
        is_fetched=True,
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param([Reply(500)] * 4, "http_500", id="500"),
        pytest.param([Reply(429)] * 4, "http_429", id="429"),
        pytest.param([Reply(400)], "http_400", id="400 is not asked again"),
        pytest.param([Reply(304)], "http_304", id="a redirect to nowhere"),
        pytest.param([Reply(204)], "http_204", id="no content"),
        pytest.param([Reply(416)], "http_416", id="416 to a request without a range"),
        pytest.param([Reply(200, b"")] * 4, "empty", id="empty"),
        pytest.param([Reply(200, PNG[:-1], length=len(PNG))] * 4, "truncated", id="short"),
        pytest.param([Reply(200, HTML)] * 4, "not_media", id="a page"),
        pytest.param([rest(0)] * 4, "bad_range", id="a range that nobody asked for"),
        pytest.param([cut(headers={})] * 4, "connection", id="cut at the same place each time"),
        pytest.param([cut(b"")] * 4, "connection", id="cut before the first byte each time"),
        pytest.param([Reply(200, PNG, {"Content-Encoding": "lzma"})], "encoded", id="an unknown coding"),
        pytest.param([Reply(200, PNG, DEFLATE)] * 4, "encoded", id="called compressed, and it is not"),
        pytest.param([Reply(200, DEFLATED[:-9], DEFLATE)] * 4, "truncated", id="compressed without its end"),
        pytest.param(
            [Reply(200, DEFLATED, DEFLATE, length=len(DEFLATED) + 1)] * 4, "truncated", id="compressed, short"
        ),
        pytest.param([Reply(200, b"", DEFLATE)] * 4, "truncated", id="compressed, and nothing came"),
        pytest.param([Reply(200, PNG, stated(b"other"))] * 4, "wrong_hash", id="another checksum"),
        pytest.param(
            [Reply(200, DEFLATED, DEFLATE | stated(PNG))] * 4, "wrong_hash", id="of the coded, another one"
        ),
        pytest.param(
            [Reply(200, b"400;chunk-signature=" + b"0" * 64 + PNG, {"Content-Encoding": "aws-chunked"})],
            "encoded",
            id="kept as it was uploaded",
        ),
    ],
)
async def test_answers_to_failures(bench: Bench, script: list[Reply], code: str) -> None:
    """What never works is a failure that says so, after its tries, with no file and no secret in it."""
    bench.fresh_urls = [None]
    host = Host(script, bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts) == (code, len(script))
    assert failure.url == "https://media.test/one.png"
    assert "SECRET" not in repr(failure)
    assert host.is_done
    assert bench.files == {}
    assert bench.leftovers == []


async def test_identity_encoding_is_no_compression(bench: Bench) -> None:
    """A host that says that it did not compress is believed."""
    host = Host([Reply(200, PNG, {"Content-Encoding": "Identity"})], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)


async def test_large_body_goes_to_disk_in_pieces(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body larger than the buffer arrives whole, is counted, and is dated as the run."""
    monkeypatch.setattr(streaming, "WRITE_BYTES", 1000)
    chunks = [BIG[at : at + 700] for at in range(0, len(BIG), 700)]
    traffic = TransferCounters()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body(chunks), request=request)

    receipt = await bench.with_context(traffic=traffic).fetch(Host([answer], bench.time))
    assert isinstance(receipt, Receipt)
    assert receipt.size_bytes == traffic.received_bytes == len(BIG)
    assert bench.files == {"output_1.png": BIG}
    path = bench.disk.root / FOLDER / "output_1.png"
    assert path.stat().st_mtime_ns == 1_700_000_000_000 * 1_000_000


async def test_nothing_secret_is_sent(bench: Bench) -> None:
    """A media request carries no credentials, and asks for bytes as they are."""
    host = Host([WHOLE], bench.time)
    await bench.fetch(host)
    headers = host.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & set(headers)


# --- pages in place of media ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["imageUrl", "videoUrl", "audioUrl"])
@pytest.mark.parametrize("page", [HTML, XML, b'{"error": "gone"}', b"\xef\xbb\xbf \n" + HTML, b"[]", b"<p>"])
async def test_page_is_never_media(bench: Bench, kind: str, page: bytes) -> None:
    """A page is refused whatever its type claims, retried, and then had from a fresh URL."""
    bench.fresh_urls = ["https://media.test/fresh.png"]
    lie = Reply(200, page, {"Content-Type": "image/png", **etag()})
    host = Host([lie, lie, lie, lie, WHOLE], bench.time)
    receipt = await bench.fetch(host, bench.wanted(kind=kind))
    assert isinstance(receipt, Receipt)
    assert host.urls == [URL] * 4 + ["https://media.test/fresh.png"]
    assert host.asked == [ASK] * 5
    assert bench.files == {"output_1.png": PNG}


@pytest.mark.parametrize("length", [1023, 1024, 1025, 3 * MIN_RESUME_BYTES])
@pytest.mark.parametrize("is_cut", [False, True])
async def test_long_page_is_no_media_either(bench: Bench, length: int, is_cut: bool) -> None:
    """A page of any length is recognised, also when it comes in two parts."""
    page = HTML.ljust(length, b" ")
    script = [cut(page[:20], total=length), rest(20, page)] if is_cut else [Reply(200, page, etag())]
    host = Host([*script, WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert bench.files == {"output_1.png": PNG}


async def test_large_page_is_refused_at_its_head(bench: Bench) -> None:
    """An endless page is left after its beginning."""

    def endless(request: httpx.Request) -> httpx.Response:
        async def pages() -> AsyncIterator[bytes]:
            yield HTML.ljust(2000)
            raise AssertionError("read on")

        return httpx.Response(200, content=pages(), request=request)

    assert isinstance(await bench.fetch(Host([endless, WHOLE], bench.time)), Receipt)


async def test_text_for_an_image(bench: Bench) -> None:
    """Bytes of no known format are refused when the host itself calls them text."""
    host = Host([Reply(200, b"not found", {"Content-Type": "text/plain"}), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)


@pytest.mark.parametrize(
    ("kind", "body", "content_type", "name"),
    [
        ("documentUrl", HTML, "text/html", "output_1.html"),
        ("documentUrl", b'{"a": 1}', "application/json; charset=utf-8", "output_1.json"),
        ("documentUrl", XML, "application/xml", "output_1.xml"),
        ("modelUrl", b"{}", "model/gltf+json", "output_1.gltf"),
        ("imageUrl", SVG, "image/svg+xml", "output_1.svg"),
        ("imageUrl", SVG, "application/octet-stream", "output_1.svg"),
        ("imageUrl", PNG, "image/jpeg", "output_1.png"),
        ("imageUrl", b"\1unknown bytes", "", "output_1.png"),
        ("imageUrl", b"\1unknown bytes", "image/avif", "output_1.avif"),
    ],
)
async def test_names_and_pages_that_are_right(
    bench: Bench, kind: str, body: bytes, content_type: str, name: str
) -> None:
    """A document may be a page and an image may be SVG; bytes, then type, then URL give the extension."""
    host = Host([Reply(200, body, {"Content-Type": content_type})], bench.time)
    url = URL if kind == "imageUrl" else "https://media.flora.ai/a/1f2e3d"
    receipt = await bench.fetch(host, bench.wanted(url, kind=kind))
    assert isinstance(receipt, Receipt)
    assert (receipt.file, receipt.content_type) == (name, content_type)
    assert bench.files == {name: body}


@pytest.mark.parametrize(
    ("kind", "suffix", "declared", "body"),
    [
        ("documentUrl", ".pdf", "", HTML),
        ("documentUrl", ".pdf", "", XML),
        ("documentUrl", ".docx", "", b'{"error": "expired"}'),
        ("documentUrl", ".txt", "", HTML),
        ("documentUrl", "", "application/pdf", HTML),
        ("documentUrl", ".html", "application/zip", HTML),  # the record knows better than the URL
        ("modelUrl", ".glb", "", HTML),
        ("modelUrl", "", "", HTML),
        ("glbUrl", "", "", HTML),
        ("zip_file", "", "", HTML),
    ],
)
async def test_a_page_in_place_of_a_document(
    bench: Bench, kind: str, suffix: str, declared: str, body: bytes
) -> None:
    """What its record, its URL or its type says to be something else is no page to sign in at."""
    page = Reply(200, body, {"Content-Type": "text/html; charset=utf-8"})
    wanted = replace(
        bench.wanted(f"https://media.flora.ai/a/report{suffix}", kind=kind), content_type=declared
    )
    failure = await bench.fetch_once(Host([page] * 12, bench.time), wanted)
    assert (failure.code, bench.files) == ("not_media", {})
    assert re.fullmatch(r"the host sent (HTML|XML|JSON) instead of a \.[a-z]+ file", failure.message)


@pytest.mark.parametrize(
    ("kind", "suffix", "declared", "body", "name"),
    [
        ("documentUrl", "", "", HTML, "output_1.html"),
        ("documentUrl", ".html", "", HTML, "output_1.html"),
        ("documentUrl", ".v2", "", HTML, "output_1.html"),  # a suffix that says nothing
        ("documentUrl", ".pdf", "text/html", HTML, "output_1.html"),
        ("documentUrl", ".md", "", b"<b>Bold</b> markdown", "output_1.html"),
        ("documentUrl", ".pdf", "", b"%PDF-1.7 <html>", "output_1.pdf"),
        ("documentUrl", ".docx", "", b"PK\3\4 a zip", "output_1.html"),
        ("webPageUrl", "", "", HTML, "output_1.html"),
    ],
)
async def test_a_document_that_may_be_a_page(
    bench: Bench, kind: str, suffix: str, declared: str, body: bytes, name: str
) -> None:
    """Where nothing says that it is something else, a page is the document."""
    reply = Reply(200, body, {"Content-Type": "text/html"})
    wanted = replace(
        bench.wanted(f"https://media.flora.ai/a/report{suffix}", kind=kind), content_type=declared
    )
    receipt = await bench.fetch(Host([reply], bench.time), wanted)
    assert isinstance(receipt, Receipt), receipt
    assert receipt.file == name


# --- dead URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_dead_url_is_replaced_once(bench: Bench, status: int) -> None:
    """A dead URL is not retried; the API's current one is asked for once and used."""
    bench.fresh_urls = ["https://other.test/two.png?t=SECRET2"]
    host = Host([Reply(status), WHOLE], bench.time)
    receipt = await bench.fetch(host)
    assert isinstance(receipt, Receipt)
    assert host.urls == [URL, "https://other.test/two.png?t=SECRET2"]
    assert bench.fresh_asked == [("run_c", "output_1")]
    assert "SECRET" not in repr(receipt)
    assert bench.time.slept == []


async def test_fresh_url_that_is_dead_too(bench: Bench) -> None:
    """When the fresh URL is dead as well, that is the end."""
    bench.fresh_urls = ["https://other.test/two.png"]
    host = Host([Reply(404), Reply(410)], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts) == ("http_410", 2)
    assert len(bench.fresh_asked) == 1


@pytest.mark.parametrize("fresh", [None, URL])
async def test_no_fresh_url(bench: Bench, fresh: str | None) -> None:
    """When the API has no other URL, no further request is made."""
    bench.fresh_urls = [fresh]
    host = Host([Reply(404)], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts, len(host.requests)) == ("http_404", 1, 1)


async def test_api_that_cannot_be_asked(bench: Bench) -> None:
    """An error of the API while it is asked for a fresh URL does not hide why one was needed."""

    async def broken(_run_id: str, _key: str) -> str | None:
        raise ApiNotFoundError("gone")

    host = Host([Reply(403)], bench.time)
    async with MediaClient(httpx.MockTransport(host), timeout_s=5) as client:
        failure = await fetch_output(bench.wanted(), client, bench.context, broken)
    assert isinstance(failure, Failure)
    assert failure.code == "http_403"


async def test_partial_survives_a_changed_url(bench: Bench) -> None:
    """When the URL dies half-way, the fresh one gives the rest."""
    bench.fresh_urls = ["https://other.test/two.png"]
    host = Host([cut(), Reply(404), rest()], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.asked == [ASK, RESUME, RESUME]
    assert bench.files == {"output_1.png": PNG}


@pytest.mark.parametrize("fresh", ["http://media.test/x.png", "https://127.0.0.1/x", "junk", ""])
async def test_fresh_url_is_not_trusted(bench: Bench, fresh: str) -> None:
    """A fresh URL is checked like the first."""
    bench.fresh_urls = [fresh]
    host = Host([Reply(404)], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert failure.code == "unsafe_url"


UNSAFE = [
    "http://media.test/x.png",
    "ftp://media.test/x.png",
    "file:///etc/passwd",
    "https://localhost/x.png",
    "https://127.0.0.1/x.png",
    "https://[::1]/x.png",
    "https://10.0.0.1/x.png",
    "https://169.254.169.254/latest/meta-data",
    "https://[::ffff:10.0.0.1]/x.png",
    "https://user:pass@media.test/x.png",
    "https:///x.png",
    "https://[::1/x.png",
    "https://media.test:99999/x.png",
    "https://xn--/x.png",
    "",
    "\x00",
]


# In a redirect the first is relative to the host that sent it, and httpx refuses the second by itself.
UNREADABLE = ["https:///x.png", "https://[::1/x.png"]


@pytest.mark.parametrize("url", UNSAFE)
async def test_unsafe_url_is_never_asked(bench: Bench, url: str) -> None:
    """A URL that must not be fetched is a failure without one request; a fresh one is not asked for."""
    host = Host([], bench.time)
    failure = await bench.fetch(host, bench.wanted(url))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts) == ("unsafe_url", 0)
    assert "pass@" not in repr(failure)


# --- redirects ------------------------------------------------------------------------------------


def redirect(location: str, status: int = 302) -> Reply:
    """A redirect."""
    return Reply(status, b"", {"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(bench: Bench, status: int) -> None:
    """Up to five redirects are followed, relative ones too, and each is asked for the same range."""
    hops = ["/two", "three?x=1", "//other.test/four", "https://third.test/five", "six.png"]
    host = Host([*(redirect(hop, status) for hop in hops), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.urls == [
        URL,
        "https://media.test/two",
        "https://media.test/three?x=1",
        "https://other.test/four",
        "https://third.test/five",
        "https://third.test/six.png",
    ]
    assert not any({"authorization", "cookie"} & set(request.headers) for request in host.requests)


async def test_resume_through_a_redirect(bench: Bench) -> None:
    """The rest is asked for at the end of a redirect too."""
    host = Host([redirect("/two"), cut(), redirect("/two"), rest()], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.asked == [ASK, ASK, RESUME, RESUME]


async def test_sixth_redirect_is_too_many(bench: Bench) -> None:
    """A host that redirects for ever is left after five."""
    bench.fresh_urls = [None]
    host = Host([redirect("/again")] * 6, bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, len(host.requests)) == ("too_many_redirects", 6)


@pytest.mark.parametrize("location", [url for url in UNSAFE if "://" in url and url not in UNREADABLE])
async def test_redirect_to_where_nothing_is_fetched(bench: Bench, location: str) -> None:
    """Every redirect is checked like a URL of its own, before it is followed."""
    bench.fresh_urls = [None]
    host = Host([redirect(location)], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, len(host.requests)) == ("unsafe_url", 1)


@pytest.mark.parametrize("location", ["https://[::1/x.png", "https://media.test:x/", "\x7f"])
async def test_redirect_to_what_is_no_url(bench: Bench, location: str) -> None:
    """A redirect that nobody can read is a fault of the host: tried again, and then a failure."""
    bench.fresh_urls = [None]
    host = Host([redirect(location)] * 2, bench.time)
    assert isinstance(await bench.with_context(retries=1).fetch(host), Failure)
    assert set(host.urls) == {URL}
    readable = Host([redirect(location), WHOLE], bench.time)
    assert isinstance(await bench.fetch(readable), Receipt)


async def test_redirect_that_httpx_can_read_and_nobody_else(bench: Bench) -> None:
    """A redirect to what only one of two readers takes for a URL is not followed; another URL is had."""
    bench.fresh_urls = ["https://media.test/fresh.png"]
    host = Host([redirect("https://a[b@other.test/x"), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.urls == [URL, "https://media.test/fresh.png"]


async def test_loopback_and_http_where_the_api_is_local(bench: Bench) -> None:
    """With the API on loopback, media may come from there, and over http."""
    host = Host([redirect("http://127.0.0.1:9/x"), WHOLE], bench.time)
    local = bench.with_context(allow_loopback=True)
    assert isinstance(await local.fetch(host, bench.wanted("http://localhost:9/y")), Receipt)


# --- ImageKit -------------------------------------------------------------------------------------


KIT = "https://ik.imagekit.io/flora/a.png"


async def test_imagekit_original(bench: Bench) -> None:
    """When ImageKit has the original, the bare URL is not asked."""
    host = Host([WHOLE], bench.time)
    receipt = await bench.fetch(host, bench.wanted(KIT))
    assert isinstance(receipt, Receipt)
    assert (host.urls, receipt.url) == ([f"{KIT}?tr=orig-true"], KIT)


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_imagekit_falls_back(bench: Bench, status: int) -> None:
    """When ImageKit refuses the original, its own version is taken."""
    host = Host([Reply(status), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host, bench.wanted(KIT)), Receipt)
    assert host.urls == [f"{KIT}?tr=orig-true", KIT]
    assert bench.fresh_asked == []


async def test_imagekit_dead_both_ways(bench: Bench) -> None:
    """When both are dead the fresh URL is tried, its original first."""
    bench.fresh_urls = [f"{KIT}?v=2"]
    host = Host([Reply(404), Reply(404), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host, bench.wanted(KIT)), Receipt)
    assert host.urls == [f"{KIT}?tr=orig-true", KIT, f"{KIT}?v=2&tr=orig-true"]


@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_imagekit_busy_is_no_reason_to_take_less(bench: Bench, status: int) -> None:
    """A host that is down, or asked too much, does not make floradl settle for compressed bytes."""
    host = Host([Reply(status)] * 4, bench.time)
    assert isinstance(await bench.with_context(retries=3).fetch(host, bench.wanted(KIT)), Failure)
    assert set(host.urls) == {f"{KIT}?tr=orig-true"}


# --- retries, pauses, patience --------------------------------------------------------------------


async def test_without_retries_there_is_one_try(bench: Bench) -> None:
    """`--retries 0` means one request, whatever it brought."""
    host = Host([cut()], bench.time)
    failure = await bench.with_context(retries=0).fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.attempts, bench.time.slept) == (1, [])


async def test_waits_grow_and_are_jittered(bench: Bench) -> None:
    """Waits lie between nothing and a ceiling that doubles up to 30 seconds."""
    bench.fresh_urls = [None]
    await bench.with_context(retries=9).fetch(Host([Reply(500)] * 10, bench.time))
    ceilings = [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert len(bench.time.slept) == len(ceilings)
    assert all(0 <= slept <= most for slept, most in zip(bench.time.slept, ceilings, strict=True))
    assert len(set(bench.time.slept)) == len(ceilings)


async def test_count_starts_afresh_when_bytes_arrived(bench: Bench) -> None:
    """As long as each try brings new bytes, more of them than `--retries` are made."""
    steps = [Reply(206, PNG[at : at + 9], rest(at).headers, httpx.ReadError("x")) for at in range(9, 90, 9)]
    host = Host([cut(PNG[:9]), *steps, rest(90)], bench.time)
    assert isinstance(await bench.with_context(retries=1).fetch(host), Receipt)
    assert len(host.requests) == 11
    assert bench.files == {"output_1.png": PNG}


async def test_the_same_bytes_again_are_no_progress(bench: Bench) -> None:
    """A transfer that can only start over, and breaks at the same place, uses up its tries."""
    host = Host([cut(headers={})] * 4, bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert failure.attempts == 4


async def test_bytes_that_come_and_go_are_no_progress(bench: Bench) -> None:
    """A host that sends a half, will not go on from it, and sends it again, uses up its tries."""
    host = Host([cut(), Reply(416)] * 2, bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts) == ("range_refused", 4)


async def test_patience_ends(bench: Bench) -> None:
    """A host that always sends one byte more and breaks off is given up in the end."""
    steps = [
        Reply(206, PNG[at : at + 1], rest(at).headers, httpx.ReadError("x")) for at in range(1, MAX_TRIES)
    ]
    host = Host([cut(PNG[:1]), *steps], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert failure.attempts == MAX_TRIES


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retries", [0, 3])
async def test_retry_after_pauses_the_host(bench: Bench, status: int, form: str, retries: int) -> None:
    """`Retry-After` keeps every request away from that host, and from no other, for as long as it says."""
    begun = bench.time.now_s
    value = "120" if form == "seconds" else formatdate(begun + 120, usegmt=True)
    context = bench.with_context(retries=retries)
    first = Host([Reply(status, b"", {"Retry-After": value}), WHOLE], bench.time)
    await context.fetch(first)
    assert all(moment >= begun + 120 for moment in first.moments[1:])
    bench.time.now_s = begun + 1  # another worker, at the time of the pause
    other_host = Host([WHOLE], bench.time)
    await context.fetch(other_host, bench.wanted("https://other.test/x.png"))
    assert other_host.moments == [begun + 1]
    same_host = Host([WHOLE], bench.time)
    await context.fetch(same_host, bench.wanted("https://MEDIA.test/two.png"))
    assert same_host.moments[0] >= begun + 120


async def test_host_behind_a_redirect_is_the_one_that_is_paused(bench: Bench) -> None:
    """The pause is for the host that asked for it, not for the one that led there."""
    begun = bench.time.now_s
    busy = Reply(429, b"", {"Retry-After": "120"})
    await bench.with_context(retries=0).fetch(Host([redirect("https://other.test/x"), busy], bench.time))
    first = Host([WHOLE], bench.time)
    await bench.fetch(first)
    assert first.moments == [begun]
    second = Host([WHOLE], bench.time)
    await bench.fetch(second, bench.wanted("https://other.test/y.png"))
    assert second.moments[0] >= begun + 120


async def test_429_without_a_time_pauses_too(bench: Bench) -> None:
    """A host that pushes back without saying for how long is left alone for a while by everyone."""
    begun = bench.time.now_s
    await bench.with_context(retries=0).fetch(Host([Reply(429)], bench.time))
    host = Host([WHOLE], bench.time)
    await bench.fetch(host)
    assert host.moments[0] > begun


async def test_pauses_of_a_host_that_refuses_everything_grow(bench: Bench) -> None:
    """One request after each pause, each longer than the last, whichever output it is for."""
    longest = bench.with_context(backoff=Backoff(rng=Longest()), retries=4)
    host = Host([Reply(429)] * 5, bench.time)
    assert isinstance(await longest.fetch(host), Failure)
    pauses = [later - earlier for earlier, later in pairwise(host.moments)]
    assert pauses == [1, 2, 4, 8]
    # Another output finds a host that has refused everything: its one try is the next in that row.
    second = Host([Reply(429)], bench.time)
    assert isinstance(await longest.fetch(second), Failure)
    assert second.moments == [host.moments[-1] + 16]


async def test_a_host_that_refuses_everything_answers_for_those_who_wait(bench: Bench) -> None:
    """Outputs that wait for their turn with such a host fail with the one that was refused, unasked."""
    asked = 0

    async def refuse(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)  # the others come in the meantime
        return httpx.Response(429)

    await bench.with_context(retries=0).fetch(
        Host([Reply(429)], bench.time)
    )  # so that one at a time is asked
    async with MediaClient(httpx.MockTransport(refuse), timeout_s=5) as client:
        context = replace(bench.context, retries=2)
        wanted = [replace(bench.wanted(), key=f"output_{number}") for number in range(20)]
        fetches = [fetch_output(one, client, context, bench.fresh_url) for one in wanted]
        results = await asyncio.gather(*fetches)
    assert [result.code for result in results if isinstance(result, Failure)] == ["http_429"] * 20
    assert asked < 5


async def test_429_among_answers_pauses_nobody(bench: Bench) -> None:
    """A host that refuses one of several requests is asked less, and goes on being asked."""
    begun = bench.time.now_s
    release = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/busy.png":
            return httpx.Response(429)
        await release.wait()
        return WHOLE.response(request)

    async with MediaClient(httpx.MockTransport(answer), timeout_s=5) as client, asyncio.TaskGroup() as group:
        context = replace(bench.context, retries=0)
        for number in range(3):
            one = replace(bench.wanted(), key=f"output_{number}")
            group.create_task(fetch_output(one, client, context, bench.fresh_url))
        await asyncio.sleep(0.01)
        busy = bench.wanted("https://media.test/busy.png")
        assert isinstance(await fetch_output(busy, client, context, bench.fresh_url), Failure)
        await context.pauses.wait("media.test")
        assert bench.time.now_s == begun
        assert context.limits.idle("media.test") == 0  # three on their way, where two may be
        release.set()


async def test_no_place_is_held_while_nothing_is_asked(bench: Bench) -> None:
    """Not in the wait for another try, not behind a redirect, not while the file gets its name."""
    limits, idle = bench.context.limits, []

    async def sleep(seconds: float) -> None:
        idle.append(limits.idle("media.test"))
        await bench.time.clock.sleep(seconds)

    def moved(request: httpx.Request) -> httpx.Response:
        idle.append(limits.idle("media.test"))
        return Reply(302, b"", {"Location": "https://other.test/x"}).response(request)

    def there(request: httpx.Request) -> httpx.Response:
        idle.extend([limits.idle("media.test"), limits.idle("other.test")])
        return WHOLE.response(request)

    context = bench.with_context(clock=replace(bench.time.clock, sleep=sleep))
    assert isinstance(await context.fetch(Host([Reply(500), moved, there], bench.time)), Receipt)
    assert idle == [16, 15, 16, 15]


async def test_a_low_limit_is_not_blamed_on_the_host(bench: Bench) -> None:
    """Minutes that a transfer waits for its share of the bandwidth are no slowness of the host's."""
    limited = bench.with_context(bandwidth=Bandwidth(bench.time.clock, 10), retries=0)
    bench.time.now_s += 1
    await limited.context.bandwidth.take(BURST_BYTES)
    begun = bench.time.now_s
    assert isinstance(await limited.fetch(Host([WHOLE], bench.time)), Receipt)
    assert bench.time.now_s == pytest.approx(begun + len(PNG) / 10)
    assert bench.time.now_s > begun + 2 * bandwidth.FLOOR_WINDOW_S


async def test_what_came_is_kept_when_a_wait_for_bandwidth_is_cancelled(bench: Bench) -> None:
    """A stop in mid-wait leaves a partial that the next run goes on with."""
    is_waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        is_waiting.set()
        await asyncio.sleep(3600)

    clock = replace(bench.time.clock, sleep=sleep)
    limited = bench.with_context(bandwidth=Bandwidth(clock, 1))
    host = Host([Reply(200, BIG, etag())], bench.time)
    task = asyncio.create_task(limited.fetch(host))
    await is_waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limited.context.limits.idle("media.test") == 16
    middle = len(BIG) // 2
    again = Host([rest(middle, BIG)], bench.time)
    receipt = await bench.fetch(again, bench.wanted(has_partial=True))
    assert isinstance(receipt, Receipt)
    assert again.asked == [(f"bytes={middle}-", '"one"')]


async def test_longest_wait_that_is_waited_for(bench: Bench) -> None:
    """A host that asks for a quarter of an hour gets it."""
    begun = bench.time.now_s
    host = Host([Reply(503, b"", {"Retry-After": "900"}), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.moments[1] >= begun + 900


async def test_too_long_a_wait_is_given_up(bench: Bench) -> None:
    """A host that asks for longer is left for the next run, without waiting."""
    host = Host([Reply(503, b"", {"Retry-After": "901"})], bench.time)
    failure = await bench.fetch(host)
    assert isinstance(failure, Failure)
    assert (failure.code, bench.time.slept) == ("http_503", [])


async def test_too_slow_is_started_again(bench: Bench) -> None:
    """A transfer below the floor for a minute is broken off, keeps its bytes, and goes on from there."""

    def trickle(request: httpx.Request) -> httpx.Response:
        chunks: list[bytes | float] = [PNG[:HALF], 59.0, b"", 2.0, b"", PNG[HALF:]]
        body = Body(chunks, time=bench.time)
        return httpx.Response(200, headers=etag(), stream=body, request=request)

    host = Host([trickle, rest()], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.asked == [ASK, RESUME]
    assert bench.files == {"output_1.png": PNG}


async def test_always_too_slow_is_a_failure(bench: Bench) -> None:
    """Bytes that only trickle do not count as progress for ever."""

    def trickle(request: httpx.Request) -> httpx.Response:
        at = int((request.headers.get("range") or "bytes=0-")[6:-1])
        head = etag() if not at else rest(at).headers
        body = Body([PNG[at : at + 5], 61.0, PNG[at + 5 : at + 10]], time=bench.time)
        return httpx.Response(206 if at else 200, headers=head, stream=body, request=request)

    failure = await bench.fetch(Host([trickle] * 9, bench.time))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts) == ("too_slow", 4)


async def test_fast_beginning_buys_no_patience(bench: Bench) -> None:
    """Each minute is measured by itself, however much came in the one before."""

    def tiring(request: httpx.Request) -> httpx.Response:
        chunks: list[bytes | float] = [PNG, BIG, 60.0, b"x", 60.0, b"x"]
        return httpx.Response(200, stream=Body(chunks, time=bench.time), request=request)

    failure = await bench.with_context(retries=0).fetch(Host([tiring], bench.time))
    assert isinstance(failure, Failure)
    assert failure.code == "too_slow"


async def test_just_fast_enough_goes_on(bench: Bench) -> None:
    """A minute at the floor itself is not too slow; one byte less is."""
    minute_bytes = bandwidth.FLOOR_BYTES_PER_S * int(bandwidth.FLOOR_WINDOW_S)

    def slow(request: httpx.Request) -> httpx.Response:
        body = Body(
            [PNG.ljust(minute_bytes - 1), bandwidth.FLOOR_WINDOW_S, last, b"the rest"], time=bench.time
        )
        return httpx.Response(200, stream=body, request=request)

    once = bench.with_context(retries=0)
    last = b"x"
    assert isinstance(await once.fetch(Host([slow], bench.time)), Receipt)
    last = b""
    failure = await once.fetch(Host([slow], bench.time))
    assert isinstance(failure, Failure)
    assert failure.code == "too_slow"


async def test_fast_enough_goes_on(bench: Bench) -> None:
    """A slow transfer above the floor is left alone, however long it takes."""
    chunk = b"x" * 70_000

    def slow(request: httpx.Request) -> httpx.Response:
        minute: list[bytes | float] = [60.0, chunk]
        body = Body([PNG, *minute * 10, END], time=bench.time)
        return httpx.Response(200, stream=body, request=request)

    receipt = await bench.fetch(Host([slow], bench.time))
    assert isinstance(receipt, Receipt)
    assert receipt.size_bytes == len(PNG) + 10 * len(chunk) + len(END)


# --- what an earlier process left -----------------------------------------------------------------


async def test_killed_process_is_resumed_under_another_url(bench: Bench) -> None:
    """A partial of an earlier process is resumed with its validator, whatever the URL is now."""
    bench.leave_partial(BIG[:-9], total_bytes=len(BIG))
    host = Host([rest(len(BIG) - 9, BIG)], bench.time)
    receipt = await bench.fetch(host, bench.wanted("https://new.test/other", has_partial=True))
    assert isinstance(receipt, Receipt)
    assert host.asked == [(f"bytes={len(BIG) - 9}-", '"one"')]
    assert receipt.sha256 == hashlib.sha256(BIG).hexdigest()
    assert bench.files == {"output_1.png": BIG}
    assert bench.leftovers == []


async def test_changed_output_is_fetched_anew(bench: Bench) -> None:
    """When the validator is another by now, the host's 200 replaces what was there."""
    bench.leave_partial(BIG, total_bytes=2 * len(BIG))
    host = Host([Reply(200, PNG, etag('"two"'))], bench.time)
    assert isinstance(await bench.fetch(host, bench.wanted(has_partial=True)), Receipt)
    assert bench.files == {"output_1.png": PNG}


async def test_whole_partial_needs_no_request(bench: Bench) -> None:
    """A process killed between the last byte and the final name costs no second download."""
    bench.leave_partial(BIG, total_bytes=len(BIG))
    host = Host([], bench.time)
    receipt = await bench.fetch(host, bench.wanted(has_partial=True))
    assert isinstance(receipt, Receipt)
    assert receipt.size_bytes == len(BIG)
    assert bench.files == {"output_1.png": BIG}


async def test_whole_partial_may_be_a_page(bench: Bench) -> None:
    """A whole partial is looked at too before it gets the name of a picture."""
    page = HTML.ljust(MIN_RESUME_BYTES)
    bench.leave_partial(page, total_bytes=len(page))
    host = Host([WHOLE], bench.time)
    assert isinstance(await bench.fetch(host, bench.wanted(has_partial=True)), Receipt)
    assert bench.files == {"output_1.png": PNG}


async def test_partial_is_not_looked_for_in_vain(bench: Bench) -> None:
    """Without a partial known to be there, the transfer starts at the first byte."""
    bench.leave_partial(BIG, total_bytes=len(BIG))
    host = Host([WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.asked == [ASK]
    assert bench.files == {"output_1.png": PNG}


async def test_failure_keeps_a_large_partial(bench: Bench) -> None:
    """What a failed transfer brought is there for the next run."""
    host = Host([cut(BIG[:-9], total=len(BIG))], bench.time)
    assert isinstance(await bench.with_context(retries=0).fetch(host), Failure)
    assert len(bench.leftovers) == 2
    later = Host([rest(len(BIG) - 9, BIG)], bench.time)
    assert isinstance(await bench.fetch(later, bench.wanted(has_partial=True)), Receipt)
    assert bench.files == {"output_1.png": BIG}
    assert bench.leftovers == []


# --- cancellation and errors ----------------------------------------------------------------------


def handles_of(root: Path) -> list[str]:
    """The files below `root` that this process has open."""
    folder = Path("/proc/self/fd")
    links = [link.readlink() for link in folder.iterdir() if link.is_symlink()] if folder.exists() else []
    return [link.name for link in links if link.is_relative_to(root)]


@pytest.mark.parametrize("sent", [BIG[:-9], PNG[:HALF], b""], ids=["large", "small", "nothing"])
async def test_cancelled_mid_stream(bench: Bench, sent: bytes) -> None:
    """A cancelled transfer closes its response and its file; only a partial worth resuming stays."""
    never, waiting, bodies = asyncio.Event(), asyncio.Event(), list[Body]()

    class Stalled(Body):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield sent
            waiting.set()
            await never.wait()

    def stalled(request: httpx.Request) -> httpx.Response:
        bodies.append(Stalled([]))
        head = etag(**{"Content-Length": str(len(BIG))})
        return httpx.Response(200, headers=head, stream=bodies[0], request=request)

    task = asyncio.create_task(bench.fetch(Host([stalled], bench.time)))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bodies[0].is_closed
    assert handles_of(bench.disk.root) == []
    assert bench.files == {}
    if len(sent) < MIN_RESUME_BYTES:
        assert bench.leftovers == []
        return
    host = Host([rest(len(sent), BIG)], bench.time)
    assert isinstance(await bench.fetch(host, bench.wanted(has_partial=True)), Receipt)
    assert bench.files == {"output_1.png": BIG}


async def test_cancelled_while_it_waits_to_retry(bench: Bench) -> None:
    """A transfer that is cancelled between two tries leaves a partial and no open file."""
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    waiting = bench.with_context(clock=replace(bench.time.clock, sleep=sleep))
    task = asyncio.create_task(waiting.fetch(Host([cut(BIG[:-9], total=len(BIG))], bench.time)))
    await asleep.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handles_of(bench.disk.root) == []
    assert len(bench.leftovers) == 2


@pytest.mark.parametrize("method", ["append", "commit"])
async def test_disk_error_is_raised(bench: Bench, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends the transfer with a DestinationError, and not with a failure of one output."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Partial, method, full)
    monkeypatch.setattr(streaming, "WRITE_BYTES", 1000)
    with pytest.raises(DestinationError, match="No space left"):
        await bench.fetch(Host([WHOLE], bench.time))
    assert bench.files == {}
    assert handles_of(bench.disk.root) == []


async def test_linked_folder_is_a_disk_error(bench: Bench, tmp_path: Path) -> None:
    """An output is not written through a link in place of its folder."""
    (tmp_path / "elsewhere").mkdir()
    (bench.disk.root / "ws_a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match="symbolic link"):
        await bench.fetch(Host([WHOLE], bench.time))
    assert list((tmp_path / "elsewhere").iterdir()) == []


FOREIGN = [
    (httpx.ConnectError("x"), "connection"),
    (httpx.ReadError(""), "connection"),
    (httpx.WriteError("x"), "connection"),
    (httpx.CloseError("x"), "connection"),
    (httpx.ProxyError("x"), "connection"),
    (httpx.LocalProtocolError("x"), "connection"),
    (httpx.ConnectTimeout("x"), "timeout"),
    (httpx.ReadTimeout("x"), "timeout"),
    (httpx.WriteTimeout("x"), "timeout"),
    (httpx.PoolTimeout("x"), "timeout"),
    (httpx.RemoteProtocolError("x"), "truncated"),
    (NotHttpError("x"), "not_http"),
    (httpx.UnsupportedProtocol("x"), "unsafe_url"),
    (httpx.DecodingError("x"), "unsafe_url"),
    (httpx.TooManyRedirects("x"), "unsafe_url"),
    (httpx.InvalidURL("x"), "unsafe_url"),
    (ssl.SSLError("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "connection"),
]


@pytest.mark.parametrize(("error", "code"), FOREIGN, ids=[type(error).__name__ for error, _ in FOREIGN])
@pytest.mark.parametrize("where", ["asking", "reading", "closing"])
async def test_no_foreign_exception_leaks(bench: Bench, error: Exception, code: str, where: str) -> None:
    """Every error of httpx, wherever it comes up, ends as a failure with a code and a message of its own."""

    class Closing(Body):
        async def aclose(self) -> None:
            raise error

    def answer(request: httpx.Request) -> httpx.Response:
        if where == "asking":
            raise error
        stream = Body([PNG], error) if where == "reading" else Closing([PNG])
        return httpx.Response(200, stream=stream, request=request)

    bench.fresh_urls = [None]
    failure = await bench.with_context(retries=1).fetch(Host([answer] * 3, bench.time))
    assert isinstance(failure, Failure)
    assert failure.code == code
    assert failure.message
    assert bench.files == {}


# --- files that their format says are cut off ----------------------------------------------------------

CUT_OFF = Reply(200, PNG[:-20], etag())
ENDLESS = Reply(200, PNG[:-20], length=None)


async def test_a_file_without_its_end_is_fetched_again(bench: Bench) -> None:
    """A host that announced too little once gives the whole the next time."""
    receipt = await bench.fetch(Host([CUT_OFF, WHOLE], bench.time))
    assert isinstance(receipt, Receipt)
    assert bench.files == {"output_1.png": PNG}


async def test_a_file_that_has_no_end_is_kept_with_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The same bytes twice, as long as announced, are what the host has."""
    receipt = await bench.fetch(Host([CUT_OFF, CUT_OFF], bench.time))
    assert isinstance(receipt, Receipt)
    assert bench.files == {"output_1.png": PNG[:-20]}
    assert "a PNG without IEND, each time" in caplog.text


async def test_what_ends_with_its_connection_proves_nothing(bench: Bench) -> None:
    """A body of unknown length that has no end is never taken, however often it comes."""
    once = bench.with_context(retries=2)
    once.fresh_urls.append(None)
    failure = await once.fetch(Host([ENDLESS] * 3, bench.time))
    assert isinstance(failure, Failure)
    assert (failure.code, bench.files) == ("no_end", {})


async def test_a_document_needs_no_end(bench: Bench) -> None:
    """What a document is, nobody knows well enough to say that it is cut off."""
    receipt = await bench.fetch(Host([CUT_OFF], bench.time), bench.wanted(kind="documentUrl"))
    assert isinstance(receipt, Receipt)


async def test_room_for_what_was_announced(bench: Bench) -> None:
    """A file that would leave too little room is not begun; of one that says nothing nothing is known."""
    bench.disk.min_free_bytes = 1
    announced = Reply(200, PNG, etag(), length=10**17)
    with pytest.raises(DestinationError, match="shall stay so"):
        await bench.fetch(Host([announced], bench.time))
    assert isinstance(await bench.fetch(Host([Reply(200, PNG, length=None)], bench.time)), Receipt)


async def test_a_damaged_file_makes_room(bench: Bench) -> None:
    """It stays until the new one is whole, and is then set aside, also where that has another name."""
    folder = bench.disk.ensure_dir(FOLDER)
    (folder / "output_1.jpg").write_bytes(b"damaged")
    wanted = replace(bench.wanted(), replaces="output_1.jpg")
    failure = await bench.with_context(retries=0).fetch(Host([Reply(400)], bench.time), wanted)
    assert isinstance(failure, Failure)
    assert bench.files == {"output_1.jpg": b"damaged"}
    receipt = await bench.fetch(Host([WHOLE], bench.time), wanted)
    assert isinstance(receipt, Receipt)
    assert bench.files == {"output_1.png": PNG}
    assert receipt.aside is not None
    assert bench.disk.read(receipt.aside) == b"damaged"


# --- bodies that are compressed, empty, or other than was stated ---------------------------------------


async def test_a_compressed_large_file_is_what_it_means(bench: Bench) -> None:
    """It is decoded in pieces on its way to the disk, whatever the API says of its size: this or that."""
    packed = gzip.compress(BIG)
    for announced in (len(BIG), len(packed)):
        receipt = await bench.fetch(
            Host([Reply(200, packed, GZIP)], bench.time), announcing(bench, announced)
        )
        assert isinstance(receipt, Receipt)
        assert bench.files == {"output_1.png": BIG}
        (bench.disk.root / FOLDER / "output_1.png").unlink()
    failure = await bench.with_context(retries=0).fetch_once(
        Host([Reply(200, packed, GZIP)], bench.time), announcing(bench, len(BIG) - 1)
    )
    assert failure.code == "wrong_size"


@pytest.mark.parametrize("is_right", [True, False])
async def test_a_large_file_is_held_to_its_checksum(bench: Bench, is_right: bool) -> None:
    """The stated checksum is computed while the file comes, or of what is on disk where it was continued."""
    headers = etag() | stated(BIG if is_right else b"?", "x-goog-hash")
    script = [
        Reply(200, BIG[: len(BIG) // 2], headers, httpx.ReadError("reset"), length=len(BIG)),
        Reply(206, BIG[len(BIG) // 2 :], rest(len(BIG) // 2, BIG).headers | headers),
    ]
    host = Host(script if is_right else [*script, Reply(200, BIG, etag())], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert (bench.files, host.is_done) == ({"output_1.png": BIG}, True)


async def test_what_an_earlier_process_left_is_held_to_the_checksum(bench: Bench) -> None:
    """Its bytes are read back for a hash that was not computed when they came."""
    half = len(BIG) // 2
    bench.leave_partial(b"?" + BIG[1:half], total_bytes=len(BIG))
    replies = [Reply(206, BIG[half:], rest(half, BIG).headers | stated(BIG, "x-goog-hash")), Reply(200, BIG)]
    receipt = await bench.fetch(Host(replies, bench.time), bench.wanted(has_partial=True))
    assert isinstance(receipt, Receipt)
    assert bench.files == {"output_1.png": BIG}


async def test_an_empty_document_is_a_file(bench: Bench) -> None:
    """What a host twice announces as empty is; one that is merely empty is not, nor is a picture."""
    document = bench.wanted("https://media.test/a.csv", kind="documentUrl")
    host = Host([Reply(200, b"", length=None), Reply(200, b""), Reply(200, b"")], bench.time)
    receipt = await bench.fetch(host, document)
    assert isinstance(receipt, Receipt)
    assert (receipt.size_bytes, bench.files, host.is_done) == (0, {"output_1.csv": b""}, True)
    bench.fresh_urls = [None]
    failure = await bench.fetch(Host([Reply(200, b"")] * 4, bench.time), replace(document, size_bytes=5))
    assert isinstance(failure, Failure)
    assert failure.code == "wrong_size"


EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


async def test_a_url_that_expired_with_another_status(bench: Bench) -> None:
    """Some stores answer 400, and say in the body that the URL has expired: then a fresh one is asked for."""
    fresh = "https://media.test/one.png?token=NEW"
    bench.fresh_urls = [fresh]
    host = Host([Reply(400, EXPIRED), WHOLE], bench.time)
    assert isinstance(await bench.fetch(host), Receipt)
    assert host.urls == [URL, fresh]
    drip = Body([b"x"] * 100)
    script: list[Reply | Answers] = [
        lambda request: httpx.Response(400, stream=drip, request=request),
        Reply(400, b"x" * 9000),
    ]
    for answer in script:
        failure = await bench.fetch(Host([answer], bench.time))
        assert isinstance(failure, Failure)
        assert failure.code == "http_400"


async def test_a_host_that_refuses_everything_is_not_asked_about_for_ever(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """After three files that fresh URLs did not bring, the API is asked for no more of this host."""
    bench.fresh_urls = [f"{URL}&fresh=1", None, URL]
    for number, replies in enumerate((2, 1, 1, 1, 1), 1):
        host = Host([Reply(403)] * replies, bench.time)
        failure = await bench.fetch(host)
        assert isinstance(failure, Failure)
        assert (failure.code, host.is_done) == ("http_403", True)
        assert len(bench.fresh_asked) == min(number, 3)
    said = [record for record in caplog.records if "refuses its files" in record.message]
    assert [record.args for record in said] == [("media.test",)]
    # The files of another host have nothing to do with it.
    bench.fresh_urls = ["https://other.test/two.png"]
    there = bench.wanted("https://other.test/one.png")
    assert isinstance(await bench.fetch(Host([Reply(403), WHOLE], bench.time), there), Receipt)


# --- sizes that the API announced ----------------------------------------------------------------------

ORIGINAL = BIG + END
"""Longer than `PNG`, as an original is longer than what was made of it."""


def announcing(
    bench: Bench, size_bytes: object, url: str = URL, *, has_partial: bool = False
) -> WantedOutput:
    """An output of which the API says the size."""
    return replace(bench.wanted(url, has_partial=has_partial), size_bytes=size_bytes)  # type: ignore[arg-type]  # it comes from outside


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Reply(200, PNG[:-1]), id="shorter, and says so"),
        pytest.param(Reply(200, PNG[:-1], length=None), id="ends too early"),
        pytest.param(Reply(200, PNG + b"!", length=None), id="goes on for too long"),
        pytest.param(Reply(200, PNG, length=0), id="announced as empty"),
    ],
)
async def test_a_body_of_another_size_gets_no_name(bench: Bench, first: Reply) -> None:
    """It is fetched again, then with a fresh URL, and fails where none helps; both sizes are named."""
    assert isinstance(
        await bench.fetch(Host([first, WHOLE], bench.time), announcing(bench, len(PNG))), Receipt
    )
    assert bench.files == {"output_1.png": PNG}

    (bench.disk.root / FOLDER / "output_1.png").unlink()
    bench.fresh_urls = [f"{URL}&fresh=1"]
    # Where the host says the size, one try is enough to see it again, and one to look at the file's end.
    tries = 6 if first.length == -1 else 8
    host = Host([first] * tries, bench.time)
    failure = await bench.fetch(host, announcing(bench, len(PNG)))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts, host.is_done) == ("wrong_size", tries, True)
    assert f"the API announced {len(PNG)}" in failure.message
    assert re.search(r"the host has \d+ bytes", failure.message)
    assert (bench.files, bench.leftovers, bench.fresh_asked) == ({}, [], [("run_c", "output_1")])


@pytest.mark.parametrize("fresh", [URL, f"{URL}&fresh=1"])
async def test_a_whole_file_of_another_size_is_kept(
    bench: Bench, caplog: pytest.LogCaptureFixture, fresh: str
) -> None:
    """Its host gives the same by the URL that the API has now, and it has its end: both sizes are told."""
    bench.fresh_urls = [fresh]
    host = Host([WHOLE] * 3, bench.time)
    receipt = await bench.with_context(retries=0).fetch(host, announcing(bench, len(ORIGINAL)))
    assert isinstance(receipt, Receipt)
    assert (receipt.size_bytes, receipt.announced_bytes) == (len(PNG), len(ORIGINAL))
    assert (bench.files, host.urls) == ({"output_1.png": PNG}, [URL, fresh, fresh])
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"announced {len(ORIGINAL)} bytes" in said
    assert f"has {len(PNG)};" in said


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        pytest.param([WHOLE, Reply(200, BIG)], "imageUrl", "wrong_size", id="of two sizes"),
        pytest.param([WHOLE] * 2 + [Reply(200, BIG)], "imageUrl", "wrong_size", id="of a third size"),
        pytest.param([WHOLE] * 2 + [Reply(500)], "imageUrl", "http_500", id="and then not there"),
        pytest.param([WHOLE] * 2 + [Reply(200, PNG, length=None)], "imageUrl", "wrong_size", id="no length"),
        pytest.param([Reply(200, b"ID3" + bytes(50))] * 3, "audioUrl", "wrong_size", id="no definite end"),
        pytest.param([Reply(200, b"%PDF-1.7")] * 3, "documentUrl", "wrong_size", id="a document"),
        pytest.param([Reply(200, PNG[:-20])] * 3, "imageUrl", "wrong_size", id="without its end"),
        pytest.param([WHOLE, Reply(404)], "imageUrl", "http_404", id="the fresh URL is dead"),
        pytest.param(
            [WHOLE] * 2 + [Reply(200, PNG, stated(b"?"))], "imageUrl", "wrong_hash", id="another checksum"
        ),
    ],
)
async def test_a_file_of_another_size_of_which_nothing_tells_that_it_is_whole(
    bench: Bench, script: list[Reply], kind: str, code: str
) -> None:
    """It is not kept, and the failure names both sizes."""
    bench.fresh_urls = [f"{URL}&fresh=1"]
    host = Host(script, bench.time)
    wanted = replace(bench.wanted(kind=kind), size_bytes=len(ORIGINAL))
    failure = await bench.with_context(retries=0).fetch(host, wanted)
    assert isinstance(failure, Failure)
    assert (failure.code, host.is_done, bench.files, bench.leftovers) == (code, True, {}, [])
    if code == "wrong_size" and script[-1].length is not None:
        assert f"the API announced {len(ORIGINAL)}" in failure.message


async def test_a_body_that_never_ends_is_left_at_its_announced_size(bench: Bench) -> None:
    """Without a length from the host, more than was announced is not waited for, nor written."""
    endless = Body([START, *[b"x" * 1000] * 10_000])
    host = Host([lambda request: httpx.Response(200, stream=endless, request=request)], bench.time)
    failure = await bench.with_context(retries=0).fetch_once(host, announcing(bench, 1500))
    assert "the host has 2008 bytes or more, the API announced 1500" in failure.message


@pytest.mark.parametrize("nonsense", [None, 0, -5, True, 2**63 + 1, float(len(PNG) + 1), "7"])
async def test_a_size_that_can_be_none_says_nothing(bench: Bench, nonsense: object) -> None:
    """What cannot be a file's size is as if the API had said nothing."""
    receipt = await bench.fetch(Host([Reply(200, PNG, length=None)], bench.time), announcing(bench, nonsense))
    assert isinstance(receipt, Receipt)


@pytest.mark.parametrize(
    ("left", "total_bytes"),
    [
        pytest.param(ORIGINAL[: len(BIG)], len(ORIGINAL) + 1, id="of a longer file"),
        pytest.param(ORIGINAL + b"!" * 9, None, id="longer than the file"),
        pytest.param(ORIGINAL + b"!" * 9, len(ORIGINAL) + 9, id="whole, and of another file"),
    ],
)
async def test_a_partial_of_another_size_is_not_gone_on_with(
    bench: Bench, left: bytes, total_bytes: int | None
) -> None:
    """Whatever an earlier process left, it does not become part of a file that it cannot be of."""
    bench.leave_partial(left, total_bytes=total_bytes)
    host = Host([Reply(200, ORIGINAL, etag())], bench.time)
    receipt = await bench.fetch(host, announcing(bench, len(ORIGINAL), has_partial=True))
    assert isinstance(receipt, Receipt)
    assert (host.asked, bench.files) == ([ASK], {"output_1.png": ORIGINAL})


async def test_a_partial_of_the_announced_size_is_gone_on_with(bench: Bench) -> None:
    """The announced size costs nothing where all is as it should be."""
    bench.leave_partial(BIG[:-9], total_bytes=len(BIG))
    host = Host([rest(len(BIG) - 9, BIG)], bench.time)
    receipt = await bench.fetch(host, announcing(bench, len(BIG), has_partial=True))
    assert isinstance(receipt, Receipt)
    assert (host.asked, bench.files) == ([(f"bytes={len(BIG) - 9}-", '"one"')], {"output_1.png": BIG})


@pytest.mark.parametrize(
    ("script", "urls"),
    [
        pytest.param([Reply(200, ORIGINAL)], ["orig"], id="the original first"),
        pytest.param([Reply(200, PNG), Reply(200, ORIGINAL)], ["orig", "bare"], id="the bare URL has it"),
        pytest.param(
            [Reply(200, PNG), Reply(503), Reply(200, ORIGINAL)],
            ["orig", "bare", "bare"],
            id="the bare URL has it, the second time",
        ),
        pytest.param(
            [Reply(200, PNG), Reply(404), Reply(200, ORIGINAL)],
            ["orig", "bare", "orig"],
            id="the bare URL is dead, the other was wrong for a moment",
        ),
        pytest.param(
            [Reply(200, PNG), Reply(200, PNG), Reply(200, PNG), Reply(200, ORIGINAL)],
            ["orig", "bare", "bare", "orig"],
            id="both wrong for a moment",
        ),
        pytest.param([Reply(404), Reply(200, ORIGINAL)], ["orig", "bare"], id="as without a size"),
    ],
)
async def test_imagekit_has_the_original_where_the_size_is_right(
    bench: Bench, script: list[Reply], urls: list[str]
) -> None:
    """The announced size tells which of ImageKit's files is the original; another is never taken."""
    host = Host(script, bench.time)
    receipt = await bench.fetch(host, announcing(bench, len(ORIGINAL), KIT))
    assert isinstance(receipt, Receipt)
    assert bench.files == {"output_1.png": ORIGINAL}
    assert host.urls == [{"orig": f"{KIT}?tr=orig-true", "bare": KIT}[name] for name in urls]
    assert bench.fresh_asked == []


async def test_imagekit_without_retries_is_asked_both_ways(bench: Bench) -> None:
    """The other URL is no second try of the first, and needs no wait."""
    host = Host([Reply(200, PNG), Reply(200, ORIGINAL)], bench.time)
    once = bench.with_context(retries=0)
    assert isinstance(await once.fetch(host, announcing(bench, len(ORIGINAL), KIT)), Receipt)
    assert bench.time.slept == []


async def test_imagekit_without_the_original_is_a_failure(bench: Bench) -> None:
    """Where neither URL has the announced size nothing is archived."""
    bench.fresh_urls = [None]
    host = Host([Reply(200, PNG)] * 8, bench.time)
    failure = await bench.fetch(host, announcing(bench, len(ORIGINAL), KIT))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.attempts, bench.files) == ("wrong_size", 8, {})


@pytest.mark.parametrize("status", [200, 400])
async def test_imagekit_has_the_best_file_of_another_size(bench: Bench, status: int) -> None:
    """Where neither of its files has the announced size, the original is kept, or what there is of it."""
    bench.fresh_urls = [KIT]
    original, other = Reply(status, BIG), Reply(200, PNG)
    tries = [original, other, original, other, original if status == 200 else other]
    host = Host(tries, bench.time)
    receipt = await bench.with_context(retries=0).fetch(host, announcing(bench, len(ORIGINAL), KIT))
    assert isinstance(receipt, Receipt)
    assert receipt.announced_bytes == len(ORIGINAL)
    assert (bench.files, host.is_done) == ({"output_1.png": BIG if status == 200 else PNG}, True)
    assert host.urls[-1] == (f"{KIT}?tr=orig-true" if status == 200 else KIT)


async def test_an_announced_size_is_an_end(bench: Bench) -> None:
    """The same bytes twice, as long as the API says, are what the host has, though it names no length."""
    announced = announcing(bench, len(ENDLESS.body))
    assert isinstance(await bench.fetch(Host([ENDLESS] * 2, bench.time), announced), Receipt)
    assert bench.files == {"output_1.png": PNG[:-20]}

"""What media hosts can do wrong, and what comes of it. `row.Row` says what each column means.

Unless a row says otherwise: the output is a PNG of 400 kB at `FILE`, `--retries` is 1, three outputs of other
runs lie on the same host and always arrive, and after the fault the same command fetches what is missing.
"""

from __future__ import annotations

import gzip

from floradl.simulator import Fault
from tests.faults.row import (
    DATE,
    FILE,
    HTML,
    JSON,
    MEDIA,
    OLD,
    ONCE,
    PICTURE,
    PORT,
    RUN,
    TEXT,
    Row,
    retry_after,
)

CUT = 300_000
BODY = PICTURE.body
HTML_PAGE = b"<!doctype html><html><title>Oops</title><p>Something went wrong.</html>"
XML_PAGE = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>'
JSON_PAGE = b'{"error": {"code": "not_found"}}'


def _cut_once(*, etag: str | None = None) -> Fault:
    """The first answer ends after `CUT` bytes, of a file with this ETag where one is given."""
    return Fault(FILE, on=ONCE, cut_after=CUT, etag=etag)


LATER = (("Date", "Sat, 05 Dec 2026 00:00:00 GMT"),)
"""Long after all files were changed last."""

# Below the speed floor for the whole minute that floradl has patience. They last, so they come first.
SLOW = (
    Row("a trickle is broken off after a minute and resumed", [Fault(FILE, on=ONCE, drip=(400, 0.5))],
        asked="200, 206 from *"),
    Row("a trickle, no retry left", [Fault(FILE, drip=(400, 0.5))], retries=0,
        asked="200", exit=3, error="too_slow"),
)  # fmt: skip

# Statuses that say to come back later are asked again; others are not.
STATUSES = (
    Row("400", [Fault(FILE, status=400)], asked="400", exit=3, error="http_400"),
    Row("408 once", [Fault(FILE, status=408, on=ONCE)], asked="408, 200"),
    Row("408 for good", [Fault(FILE, status=408)], asked="408, 408", exit=3, error="http_408"),
    Row("425 once", [Fault(FILE, status=425, on=ONCE)], asked="425, 200"),
    Row("425 for good", [Fault(FILE, status=425)], asked="425, 425", exit=3, error="http_425"),
    Row("429 once", [Fault(FILE, status=429, on=ONCE)], asked="429, 200"),
    Row("429 for good", [Fault(FILE, status=429)], asked="429, 429", exit=3, error="http_429"),
    Row("500 once", [Fault(FILE, status=500, on=ONCE)], asked="500, 200"),
    Row("500 for good", [Fault(FILE, status=500)], asked="500, 500", exit=3, error="http_500"),
    Row("500 for good, two retries", [Fault(FILE, status=500)], retries=2,
        asked="500, 500, 500", exit=3, error="http_500"),
    Row("502 once", [Fault(FILE, status=502, on=ONCE)], asked="502, 200"),
    Row("502 for good", [Fault(FILE, status=502)], asked="502, 502", exit=3, error="http_502"),
    Row("503 once", [Fault(FILE, status=503, on=ONCE)], asked="503, 200"),
    Row("503 for good", [Fault(FILE, status=503)], asked="503, 503", exit=3, error="http_503"),
    Row("204, no content", [Fault(FILE, status=204, body=b"")], asked="204", exit=3, error="http_204"),
)  # fmt: skip

# `Retry-After` is waited for, unless it is longer than a run has patience.
RETRY_AFTER = (
    Row("429, back in 2 s", [Fault(FILE, on=ONCE, status=429, headers=retry_after("2"))],
        asked="429, 200", wait_s=2),
    Row("429, back at a date", [Fault(FILE, on=ONCE, status=429, headers=retry_after(DATE))],
        asked="429, 200"),
    Row("500, back in 1 s", [Fault(FILE, on=ONCE, status=500, headers=retry_after("1"))],
        asked="500, 200", wait_s=1),
    Row("503, back in 2 s", [Fault(FILE, on=ONCE, status=503, headers=retry_after("2"))],
        asked="503, 200", wait_s=2),
    Row("503, back at a date", [Fault(FILE, on=ONCE, status=503, headers=retry_after(DATE))],
        asked="503, 200"),
    Row("503 for good, each time back in 1 s", [Fault(FILE, status=503, headers=retry_after("1"))],
        asked="503, 503", wait_s=1, exit=3, error="http_503"),
    Row("503, back in an hour", [Fault(FILE, status=503, headers=retry_after("3600"))],
        asked="503", exit=3, error="http_503"),
    Row("503, back at no date at all", [Fault(FILE, on=ONCE, status=503, headers=retry_after("soon"))],
        asked="503, 200"),
    Row("400 with Retry-After is no invitation", [Fault(FILE, status=400, headers=retry_after("1"))],
        asked="400", exit=3, error="http_400"),
)  # fmt: skip

# A dead URL is not asked twice. The API is asked, once, whether it has another.
DEAD_URLS = (
    Row("401, no other URL", [Fault(FILE, status=401)], asked="401, API 200", exit=3, error="http_401"),
    Row("403, no other URL", [Fault(FILE, status=403)], asked="403, API 200", exit=3, error="http_403"),
    Row("404, no other URL", [Fault(FILE, status=404)], asked="404, API 200", exit=3, error="http_404"),
    Row("410, no other URL", [Fault(FILE, status=410)], asked="410, API 200", exit=3, error="http_410"),
    Row("400 that says expired, the API has another URL",
        [Fault(OLD, status=400, body=b"<Error><Code>ExpiredToken</Code></Error>")], listed_at=OLD,
        asked=f"400 {OLD}, API 200, 200"),
    Row("403, the API has another URL", [Fault(OLD, status=403)], listed_at=OLD,
        asked=f"403 {OLD}, API 200, 200"),
    Row("404, the API has another URL", [Fault(OLD, status=404)], listed_at=OLD,
        asked=f"404 {OLD}, API 200, 200"),
    Row("410, the API has another URL", [], listed_at=OLD,
        asked=f"410 {OLD}, API 200, 200"),
    Row("404, and the other URL is dead too", [Fault("/media/*", status=404)], listed_at=OLD,
        asked=f"404 {OLD}, API 200, 404", exit=3, error="http_404"),
    Row("410, the API fails once", [Fault(RUN, status=500, on=ONCE)], listed_at=OLD,
        asked=f"410 {OLD}, API 500, API 200, 200"),
    Row("410, the API fails for good", [Fault(RUN, status=500)], listed_at=OLD,
        asked=f"410 {OLD}, API 500, API 500", exit=3, error="http_410", said="the API answered 500"),
    Row("410, the API no longer knows the run", [Fault(RUN, status=404)], listed_at=OLD,
        asked=f"410 {OLD}, API 404", exit=3, error="http_410"),
    Row("the API gives no URL", [], record={"outputs": [{"output_id": "output_1", "type": "imageUrl"}]},
        asked="", exit=3, error="no_url"),
)  # fmt: skip

# What came is kept, and the rest is asked for. Tries start afresh whenever new bytes came.
CUTS = (
    Row("cut before the first byte", [Fault(FILE, on=ONCE, cut_after=0)], asked="200, 200"),
    Row("cut before the first byte for good", [Fault(FILE, cut_after=0)],
        asked="200, 200, API 200", exit=3, error="truncated"),
    Row("cut in the middle", [Fault(FILE, on=ONCE, cut_after=CUT)], asked="200, 206 from 300000"),
    Row("cut one byte before the end", [Fault(FILE, on=ONCE, cut_after=len(BODY) - 1)],
        asked=f"200, 206 from {len(BODY) - 1}"),
    Row("cut again and again, more often than there are retries",
        [Fault(FILE, on=(1, 2, 3), cut_after=100_000)],
        asked="200, 206 from 100000, 206 from 200000, 206 from 300000"),
    Row("cut in the middle, then nothing more comes",
        [_cut_once(), Fault(FILE, on=(2, 3), cut_after=0)],
        asked="200, 206 from 300000, API 200", exit=3, error="truncated", then="206 from 300000"),
    Row("cut early, then nothing more comes: too little to keep",
        [Fault(FILE, on=ONCE, cut_after=1000), Fault(FILE, on=(2, 3), cut_after=0)],
        asked="200, 206 from 1000, API 200", exit=3, error="truncated", then="200"),
    Row("cut in the middle, then 404", [_cut_once(), Fault(FILE, on=(2,), status=404)],
        asked="200, 404 from 300000, API 200", exit=3, error="http_404", then="206 from 300000"),
    Row("dropped without an answer", [Fault(FILE, on=ONCE, drop=True)], asked="no answer, 200"),
    Row("dropped for good", [Fault(FILE, drop=True)],
        asked="no answer, no answer, API 200", exit=3, error="truncated"),
    Row("nobody listens", [Fault(FILE, redirect="http://127.0.0.1:1/picture.png")],
        asked="302, 302", exit=3, error="connection"),
)  # fmt: skip

# `--timeout` is how long a host may say nothing.
STALLS = (
    Row("silent for a second", [Fault(FILE, on=ONCE, stall_after=CUT, stall_s=1)], asked="200"),
    Row("slow to answer", [Fault(FILE, on=ONCE, delay_s=1)], asked="200"),
    Row("slow, but above the floor", [Fault(FILE, drip=(50_000, 0.3))], asked="200"),
    Row("no answer ever, for good", [Fault(FILE, delay_s=600)], timeout_s=5,
        asked="no answer, no answer", exit=3, error="timeout"),
    Row("silent before the first byte", [Fault(FILE, on=ONCE, stall_after=0)], timeout_s=5,
        asked="200, 200"),
    Row("silent in the middle", [Fault(FILE, on=ONCE, stall_after=CUT)], timeout_s=5,
        asked="200, 206 from 300000"),
    Row("silent in the middle for good", [Fault(FILE, stall_after=0), Fault(FILE, on=ONCE, stall_after=CUT)],
        timeout_s=5, asked="200, 206 from 300000", exit=3, error="timeout", then="206 from 300000"),
)  # fmt: skip

LENGTHS = (
    Row("no Content-Length", [Fault(FILE, no_length=True)], asked="200"),
    Row("chunked", [Fault(FILE, chunked=True)], asked="200"),
    Row("chunked and cut", [Fault(FILE, on=ONCE, chunked=True, cut_after=CUT)],
        asked="200, 206 from 300000"),
    Row("Content-Length too large", [Fault(FILE, on=ONCE, length_delta=1000)], retries=2,
        asked=f"200, 416 from {len(BODY)}, 200"),
    Row("Content-Length too large for good", [Fault(FILE, length_delta=1000)], retries=2,
        asked=f"200, 416 from {len(BODY)}, 200, API 200", exit=3, error="truncated",
        then=f"416 from {len(BODY)}, 200"),
    Row("empty", [Fault(FILE, on=ONCE, body=b"")], asked="200, 200"),
    Row("empty for good", [Fault(FILE, body=b"")], asked="200, 200, API 200", exit=3, error="empty"),
)  # fmt: skip

# A resume must be the rest of the same file, or it starts over.
RANGES = (
    Row("the range is ignored", [_cut_once(), Fault(FILE, range="ignore")],
        asked="200, 200 from 300000"),
    Row("another range comes", [_cut_once(), Fault(FILE, on=(2,), range="wrong")], retries=2,
        asked="200, 206 from 300000, 200"),
    Row("another range comes, no retry left", [_cut_once(), Fault(FILE, range="wrong")],
        asked="200, 206 from 300000", exit=3, error="bad_range"),
    Row("the range is refused", [_cut_once(), Fault(FILE, on=(2,), range="416")], retries=2,
        asked="200, 416 from 300000, 200"),
    Row("the range is refused, no retry left", [_cut_once(), Fault(FILE, range="416")],
        asked="200, 416 from 300000", exit=3, error="range_refused"),
    Row("a part that nobody asked for", [Fault(FILE, on=ONCE, status=206, body=BODY[:1000])],
        asked="206, 200"),
    Row("another file since", [_cut_once(etag='"before"')], asked="200, 200 from 300000"),
    Row("another file since, its rest sent all the same",
        [_cut_once(), Fault(FILE, on=(2,), headers=(("ETag", '"after"'),))], retries=2,
        asked="200, 206 from 300000, 200"),
    Row("a weak ETag proves nothing", [_cut_once(etag='W/"weak"')], asked="200, 200"),
    Row("no ETag", [_cut_once(etag="")], asked="200, 200"),
    Row("a date of long ago proves as much as an ETag", [
            _cut_once(),
            Fault(FILE, etag='W/"weak"', headers=LATER),
        ], asked="200, 206 from 300000"),
    Row("no ranges on offer", [Fault(FILE, on=ONCE, cut_after=CUT, headers=(("Accept-Ranges", "none"),))],
        asked="200, 200"),
)  # fmt: skip

# A page never passes for a picture, whatever it claims to be; a document may be one.
PAGES = (
    Row("a page of HTML once", [Fault(FILE, on=ONCE, status=200, body=HTML_PAGE)], asked="200, 200"),
    Row("a page of HTML", [Fault(FILE, status=200, body=HTML_PAGE)],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("HTML that claims to be a PNG", [Fault(FILE, status=200, body=HTML_PAGE, content_type="image/png")],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("a page of XML once",
        [Fault(FILE, on=ONCE, status=200, body=XML_PAGE, content_type="application/xml")],
        asked="200, 200"),
    Row("XML that claims to be a PNG", [Fault(FILE, status=200, body=XML_PAGE, content_type="image/png")],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("a page of JSON once",
        [Fault(FILE, on=ONCE, status=200, body=JSON_PAGE, content_type="application/json")],
        asked="200, 200"),
    Row("JSON that claims to be a PNG", [Fault(FILE, status=200, body=JSON_PAGE, content_type="image/png")],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("text", [Fault(FILE, status=200, body=b"Not found", content_type="text/plain")],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("text that claims to be a PNG",
        [Fault(FILE, status=200, body=b"Not found", content_type="image/png")],
        asked="200, 200, API 200", exit=3, error="not_media"),
    Row("a PNG that claims to be HTML", [Fault(FILE, content_type="text/html")], asked="200"),
    Row("a page after a cut", [_cut_once(), Fault(FILE, on=(2,), status=200, body=HTML_PAGE)], retries=2,
        asked="200, 200 from 300000, 200"),
    Row("a document that is JSON", [], victim=JSON, asked="200"),
    Row("a document that is HTML", [], victim=HTML, asked="200"),
    Row("a text that looks like a URL", [], victim=TEXT, asked=""),
    Row("compressed although asked not to", [
            Fault(FILE, body=gzip.compress(BODY, 1), headers=(("Content-Encoding", "gzip"),))
        ], asked="200"),
    Row("compressed, cut, and by then not", [
            Fault(FILE, on=ONCE, cut_after=300_000, body=gzip.compress(BODY, 1),
                  headers=(("Content-Encoding", "gzip"),)),
        ], asked="200, 200"),
    Row("compressed as nobody knows", [Fault(FILE, headers=(("Content-Encoding", "lzma"),))],
        asked="200", exit=3, error="encoded"),
    Row("called compressed by the store that it was uploaded to",
        [Fault(FILE, headers=(("Content-Encoding", "aws-chunked"),))], asked="200"),
    Row("other bytes than the host states once",
        [Fault(FILE, on=ONCE, headers=(("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),))], asked="200, 200"),
    Row("other bytes than the host states",
        [Fault(FILE, headers=(("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="),))],
        asked="200, 200, API 200", exit=3, error="wrong_hash"),
)  # fmt: skip

# At most five redirects, each checked before it is followed; what must not be asked never is.
REDIRECTS = (
    Row("a permanent redirect", [
            Fault(FILE, status=308, redirect=f"{MEDIA}/elsewhere"),
            Fault("/elsewhere", status=200, body=BODY),
        ], asked="308, 200 /elsewhere"),
    Row("five redirects", [
            Fault(FILE, redirect="/1"),
            Fault("/1", redirect="/2"),
            Fault("/2", redirect="/3"),
            Fault("/3", redirect="/4"),
            Fault("/4", redirect="/5"),
            Fault("/5", status=200, body=BODY),
        ], asked="302, 302 /1, 302 /2, 302 /3, 302 /4, 200 /5"),
    Row("six redirects", [
            Fault(FILE, redirect="/1"),
            Fault("/1", redirect="/2"),
            Fault("/2", redirect="/3"),
            Fault("/3", redirect="/4"),
            Fault("/4", redirect="/5"),
            Fault("/5", redirect="/6"),
        ], asked="302, 302 /1, 302 /2, 302 /3, 302 /4, 302 /5, API 200", exit=3, error="too_many_redirects"),
    Row("a redirect to itself", [Fault(FILE, redirect=FILE)],
        asked="302, 302, 302, 302, 302, 302, API 200", exit=3, error="too_many_redirects"),
    Row("a redirect, then cut", [
            Fault(FILE, redirect="/elsewhere"),
            Fault("/elsewhere", status=200, body=BODY),
            Fault("/elsewhere", on=ONCE, cut_after=CUT),
        ], asked="302, 200 /elsewhere, 302, 200 /elsewhere"),
    Row("a redirect to nowhere", [Fault(FILE, status=302)], asked="302", exit=3, error="http_302"),
    Row("a redirect to a cloud's metadata", [Fault(FILE, redirect="http://169.254.169.254/latest/meta-data")],
        asked="302, API 200", exit=3, error="unsafe_url", said="private address"),
    Row("a redirect into a private network", [Fault(FILE, redirect="https://10.0.0.1/picture.png")],
        asked="302, API 200", exit=3, error="unsafe_url", said="private address"),
    Row("a redirect to this machine in disguise", [Fault(FILE, redirect=f"http://0.0.0.0:{PORT}/elsewhere")],
        asked="302, API 200", exit=3, error="unsafe_url", said="private address"),
    Row("a redirect with a password", [Fault(FILE, redirect=f"http://me:pass@127.0.0.1:{PORT}/elsewhere")],
        asked="302, API 200", exit=3, error="unsafe_url", said="holds credentials"),
    Row("a redirect to a file", [Fault(FILE, redirect="file:///etc/hostname")],
        asked="302, API 200", exit=3, error="unsafe_url"),
)  # fmt: skip

# Where the host's word does not tell that the end is missing, the format does. What comes twice the same, as
# long as announced, is what the host has; what ends with its connection proves nothing.
ENDS = (
    Row("Content-Length too small once", [Fault(FILE, on=ONCE, length_delta=-1000)], asked="200, 200"),
    Row("Content-Length too small for good", [Fault(FILE, length_delta=-1000)],
        asked="200, 200", said="a PNG without IEND, each time; archived as it is", kept=BODY[:-1000]),
    Row("no Content-Length and cut once", [Fault(FILE, on=ONCE, no_length=True, cut_after=CUT)],
        asked="200, 200"),
    Row("no Content-Length and cut for good", [Fault(FILE, no_length=True, cut_after=CUT)],
        asked="200, 200, API 200", exit=3, error="no_end"),
)  # fmt: skip

MEDIA_TABLE = (
    *SLOW,
    *STATUSES,
    *RETRY_AFTER,
    *DEAD_URLS,
    *CUTS,
    *STALLS,
    *LENGTHS,
    *RANGES,
    *PAGES,
    *REDIRECTS,
    *ENDS,
)

"""What the API can do wrong, and what comes of it. `row.Row` says what each column means.

Most rows are about `GET /generations?status=completed`, called the list; `asked` then tells of its pages.
"""

from __future__ import annotations

from floradl.simulator import Fault
from tests.faults.row import API, DATE, LIST, MEDIA, ONCE, PAGE_2, RUN, Archived, Row, retry_after

DONE = "status=completed"
HTML_PAGE = b"<!doctype html><html><title>Maintenance</title></html>"
STILL_RUNNING = b'{"run_id": "run_victim", "status": "running"}'

# The one page there is. Without it nothing is known of any run; the pages of open runs were read.
LISTS = (
    Row("list: 500 once", [Fault(LIST, query=DONE, on=ONCE, status=500)], asked="500, 200"),
    Row("list: 500 for good", [Fault(LIST, query=DONE, status=500)],
        asked="500, 500", exit=3, said="the API answered 500", archived=Archived.NOTHING),
    Row("list: 500 that is not to be tried again",
        [Fault(LIST, query=DONE, status=500, headers=(("x-should-retry", "false"),))],
        asked="500", exit=3, said="the API answered 500", archived=Archived.NOTHING),
    Row("list: 503, back in 1 s", [Fault(LIST, query=DONE, on=ONCE, status=503, headers=retry_after("1"))],
        asked="503, 200", wait_s=1),
    Row("list: 503, back at a date",
        [Fault(LIST, query=DONE, on=ONCE, status=503, headers=retry_after(DATE))],
        asked="503, 200"),
    Row("list: 429 once", [Fault(LIST, query=DONE, on=ONCE, status=429, headers=retry_after("1"))],
        asked="429, 200", wait_s=1),
    Row("list: 400", [Fault(LIST, query=DONE, status=400)],
        asked="400", exit=3, said="the API answered 400", archived=Archived.NOTHING),
    Row("list: 401", [Fault(LIST, query=DONE, status=401)],
        asked="401", exit=4, said="the API answered 401", archived=Archived.NOTHING),
    Row("list: 403", [Fault(LIST, query=DONE, status=403)],
        asked="403", exit=4, said="An archive without generations is never complete",
        archived=Archived.NOTHING),
    Row("list: 403 once, from something on the way",
        [Fault(LIST, query=DONE, on=ONCE, status=403, body=HTML_PAGE)], asked="403, 200"),
    Row("list: 403 for good, from something on the way",
        [Fault(LIST, query=DONE, status=403, body=HTML_PAGE)],
        asked="403, 403", exit=3, said="something between here and the API answered 403",
        archived=Archived.NOTHING),
    Row("list: 404 for good, from something on the way",
        [Fault(LIST, query=DONE, status=404, body=b'{"message": "no Route matched"}')],
        asked="404, 404", exit=3, said="something between here and the API answered 404",
        archived=Archived.NOTHING),
    Row("list: dropped once", [Fault(LIST, query=DONE, on=ONCE, drop=True)],
        asked="no answer, 200"),
    Row("list: dropped for good", [Fault(LIST, query=DONE, drop=True)],
        asked="no answer, no answer", exit=3, said="does not answer", archived=Archived.NOTHING),
    Row("list: silent once", [Fault(LIST, query=DONE, on=ONCE, stall_after=100)], timeout_s=5,
        asked="200, 200"),
    Row("list: silent for good", [Fault(LIST, query=DONE, stall_after=100)], timeout_s=5,
        asked="200, 200", exit=3, said="does not answer: timeout", archived=Archived.NOTHING),
    Row("list: cut once", [Fault(LIST, query=DONE, on=ONCE, cut_after=400)], asked="200, 200"),
    Row("list: cut for good", [Fault(LIST, query=DONE, cut_after=400)],
        asked="200, 200", exit=3, said="does not answer", archived=Archived.NOTHING),
    Row("list: chunked", [Fault(LIST, chunked=True)], asked="200"),
    Row("list: HTML once", [Fault(LIST, query=DONE, on=ONCE, body=HTML_PAGE)], asked="200, 200"),
    Row("list: HTML for good", [Fault(LIST, query=DONE, body=HTML_PAGE)],
        asked="200, 200", exit=3, said="the API's answer is HTML", archived=Archived.NOTHING),
    Row("list: broken JSON once", [Fault(LIST, query=DONE, on=ONCE, body=b'{"generations": [')],
        asked="200, 200"),
    Row("list: broken JSON for good", [Fault(LIST, query=DONE, body=b'{"generations": [')],
        asked="200, 200", exit=3, said="not a page of generations", archived=Archived.NOTHING),
    Row("list: a redirect", [Fault(LIST, query=DONE, redirect=f"{MEDIA}/elsewhere")],
        asked="302", exit=3, said="a redirect (302), which is not followed", archived=Archived.NOTHING),
    Row("list: a cursor that comes again once", [Fault(LIST, query=DONE, on=ONCE, repeat_cursor=True)],
        asked="200, 200 page 2, 200"),
    Row("list: a cursor that comes again and again", [Fault(LIST, query=DONE, repeat_cursor=True)],
        asked="200, 200 page 2, 200 page 2", exit=3, said="a page cursor a second time"),
    Row("everything: 500", [Fault(API, status=500)],
        asked="500, 500", exit=1, said="the API answered 500", archived=Archived.NOTHING),
    Row("everything: 401", [Fault(API, status=401)],
        asked="", exit=4, said="the API answered 401", archived=Archived.NOTHING),
)  # fmt: skip

# Pending and running runs are listed first. Where that fails, completed runs are not asked for.
OPEN_RUNS = (
    Row("list of pending runs: 500 once", [Fault(LIST, query="status=pending", on=ONCE, status=500)],
        asked="200"),
    Row("list of pending runs: 500 for good", [Fault(LIST, query="status=pending", status=500)],
        asked="200", exit=3, said="the list of pending runs: the API answered 500"),
    Row("list of running runs: 500 for good", [Fault(LIST, query="status=running", status=500)],
        asked="200", exit=3, said="the list of running runs: the API answered 500"),
)  # fmt: skip

# Two pages: what the first one has is archived, whatever becomes of the second.
SECOND_PAGES = (
    Row("page 2: 500 once", [Fault(LIST, query=PAGE_2, on=ONCE, status=500)], history=100,
        asked="200, 500 page 2, 200 page 2, 200"),
    Row("page 2: 500 for good", [Fault(LIST, query=PAGE_2, status=500)], history=100,
        asked="200, 500 page 2, 500 page 2", exit=3, said="the API answered 500",
        archived=Archived.FIRST_PAGE, then="200, 200 page 2, 200"),
    Row("page 2: HTML for good", [Fault(LIST, query=PAGE_2, body=HTML_PAGE)], history=100,
        asked="200, 200 page 2, 200 page 2", exit=3, said="the API's answer is HTML",
        archived=Archived.FIRST_PAGE, then="200, 200 page 2, 200"),
    Row("page 2: 401", [Fault(LIST, query=PAGE_2, status=401)], history=100,
        asked="200, 401 page 2", exit=4, said="the API answered 401",
        archived=Archived.FIRST_PAGE, then="200, 200 page 2, 200"),
)  # fmt: skip

# One run that cannot be read costs no other run. `asked` tells of the victim's output again.
RUNS = (
    Row("run: its record has no status", [], record={"status": None},
        asked="", exit=3, said="the record of a run (run_victim) lacks its run_id or status",
        archived=Archived.OTHERS),
    Row("run: a status that nobody knows", [], record={"status": "archived"},
        asked="", exit=3, said="run run_victim has a status that nobody knows: archived",
        archived=Archived.OTHERS),
    Row("run: listed without outputs", [], has_outputs=False, asked="API 200, 200", then="API 200, 200"),
    Row("run: listed without outputs, 500 once", [Fault(RUN, on=ONCE, status=500)], has_outputs=False,
        asked="API 500, API 200, 200"),
    Row("run: listed without outputs, 500 for good", [Fault(RUN, status=500)], has_outputs=False,
        asked="API 500, API 500", exit=3, said="run run_victim: the API answered 500",
        archived=Archived.OTHERS, then="API 200, 200"),
    Row("run: listed without outputs, 404", [Fault(RUN, status=404)], has_outputs=False,
        asked="API 404, API 404", exit=3, said="run run_victim: the API answered 404",
        archived=Archived.OTHERS, then="API 200, 200"),
    Row("run: listed without outputs, HTML", [Fault(RUN, body=HTML_PAGE)], has_outputs=False, retries=0,
        asked="API 200, API 200", exit=3, said="run run_victim: a run's record is not a JSON object",
        archived=Archived.OTHERS, then="API 200, 200"),
    Row("run: listed as completed, and by itself running", [Fault(RUN, body=STILL_RUNNING)],
        has_outputs=False, asked="API 200", exit=3, said="listed as completed, and by itself running",
        archived=Archived.OTHERS, then="API 200, 200"),
)  # fmt: skip

API_TABLE = (*LISTS, *OPEN_RUNS, *SECOND_PAGES, *RUNS)

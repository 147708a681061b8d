"""The pages of a list, each read once: all of them, or as many as are asked for."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from floradl.api.client import FloraApi
from floradl.api.models import Scope
from floradl.api.pages import Page, PageQuery
from floradl.api.walk import iter_run_pages
from floradl.simulator import Simulator
from floradl.simulator.scenario import generate_account

pytestmark = pytest.mark.anyio


async def pages_of(api: FloraApi, query: PageQuery, max_pages: int | None) -> list[Page]:
    """The pages that are read."""
    async with aclosing(iter_run_pages(api, query, max_pages=max_pages)) as pages:
        return [page async for page in pages]


@pytest.mark.parametrize(("max_pages", "expected"), [(None, 5), (1, 1), (3, 3), (9, 5)])
async def test_a_list_is_read_to_its_end_or_as_far_as_wanted(max_pages: int | None, expected: int) -> None:
    """Each run of the pages is given once, in the order of the list, and no further page is asked for."""
    account = generate_account(48, seed=3)
    async with Simulator(account) as sim, FloraApi(sim.base_url, account.api_key) as api:
        pages = await pages_of(api, PageQuery(Scope(), limit=10), max_pages)
        asked = [request for request in sim.requests if "/generations" in request.path]
    assert (len(pages), len(asked)) == (expected, expected)
    given = [run.run_id for page in pages for run in page.generations]
    assert given == [run.run_id for run in account.listed()][: len(given)]
    assert len(given) == (48 if expected == 5 else 10 * expected)


async def test_reading_begins_at_a_cursor() -> None:
    """A query with a cursor gives what stands after it."""
    account = generate_account(25, seed=3)
    async with Simulator(account) as sim, FloraApi(sim.base_url, account.api_key) as api:
        (first,) = await pages_of(api, PageQuery(Scope(), limit=10), 1)
        rest = await pages_of(api, PageQuery(Scope(), limit=10, cursor=first.next_cursor), None)
    assert [run.run_id for page in rest for run in page.generations] == [
        run.run_id for run in account.listed()
    ][10:]
